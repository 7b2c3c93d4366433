"""The study of laws as figures: what each law adds, how other losses than the fitted one come out, what was fitted."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from implicit_geometry.experiments.spec_texts import labels_text, loss_name
from implicit_geometry.report.figures.style import FIGURE_STYLE
from implicit_geometry.report.frames import require_columns

_LAWS = {
    "paper": "paper",
    "labels": "labels as trained",
    "relu": "labels and ReLU",
    "decay": "weight decay",
    "counts": "effective counts",
    "counts_relu": "effective counts and ReLU",
    "counts_ridge": "effective counts and ridge",
}
_BLOCKS = {"classifier": "W", "embedding": "H", "cross": "mean logits W Hᵀ"}
_LOOKS = {"batch": ("#0072B2", "o"), "layer": ("#D55E00", "s"), "none": ("#009E73", "^")}
_NAMES = {"batch": "batch-norm", "layer": "LayerNorm", "none": "no normalisation"}
_NEEDED = [
    *("normalization", "label_smoothing", "imbalance_ratio", "rule", "exponent", "main", "law"),
    *(f"{block}_{part}" for block in _BLOCKS for part in ("systematic", "heterogeneity")),
]


def laws_figure(table: pd.DataFrame) -> Figure:
    """Distance to every law, the median over plain cross-entropy and the temperatures at 1/2, at the main ratio.

    Args:
        table: what :func:`implicit_geometry.studies.laws.table.law_table` returns, of one data set.

    Raises:
        InputError: a column is missing.
    """
    require_columns("table", table, _NEEDED)
    rows = table[table["main"] & (table["imbalance_ratio"] == _main_ratio(table))]
    smoothings = sorted(set(rows["label_smoothing"]))
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(11.0, 0.9 + 2.7 * len(smoothings)), layout="constrained")
        axes = figure.subplots(len(smoothings), len(_BLOCKS), squeeze=False, sharex=True, sharey="col")
        for line, smoothing in zip(axes, smoothings, strict=True):
            for ax, (block, name) in zip(line, _BLOCKS.items(), strict=True):
                _draw_laws(ax, rows[rows["label_smoothing"] == smoothing], block)
                ax.set_title(f"{name}, {labels_text(smoothing)}")
            line[0].set_ylabel("systematic distance")
        for ax in axes[-1]:
            ax.set_ylim(bottom=0)  # of the whole column, once all is drawn
            ax.set_xticks(range(len(_LAWS)), list(_LAWS.values()), rotation=30, ha="right")
        _legend(figure, axes[0, 0])
    return figure


def losses_figure(table: pd.DataFrame) -> Figure:
    """Every loss at the main ratio with smoothed labels: distance to the paper's limit, and to that of all laws.

    Args:
        table: as for :func:`laws_figure`.

    Raises:
        InputError: a column is missing.
    """
    require_columns("table", table, _NEEDED)
    smoothed = table["label_smoothing"] == table["label_smoothing"].max()
    rows = table[smoothed & (table["imbalance_ratio"] == _main_ratio(table))]
    losses = list(dict.fromkeys(zip(rows["rule"], rows["exponent"], strict=True)))
    names = [loss_name(rule, exponent) for rule, exponent in losses]
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(11.0, 4.0), layout="constrained")
        axes = figure.subplots(1, len(_BLOCKS), squeeze=False)[0]
        for ax, (block, name) in zip(axes, _BLOCKS.items(), strict=True):
            for step, normalization in enumerate(_present(rows)):
                one = rows[rows["normalization"] == normalization]
                place = np.arange(len(losses)) + 0.22 * _aside(step, rows)
                color, marker = _LOOKS[normalization]
                paper, best = (_of_losses(one, law, f"{block}_systematic", losses) for law in ("paper", "counts_relu"))
                free = _of_losses(one, "counts", f"{block}_systematic", losses)
                best = np.where(np.isnan(best), free, best)
                look: dict[str, Any] = {"linestyle": "none", "marker": marker, "markersize": 5.5}
                ax.vlines(place, np.minimum(paper, best), np.maximum(paper, best), color=color, alpha=0.35, linewidth=1)
                ax.plot(place, paper, mfc="white", mec=color, **look)
                ax.plot(place, best, color=color, label=_NAMES[normalization], **look)
            ax.set_xticks(range(len(losses)), names, rotation=45, ha="right")
            ax.set_title(name)
            ax.set_ylim(bottom=0)
        axes[0].set_ylabel("systematic distance")
        handles, labels = axes[0].get_legend_handles_labels()
        hollow = matplotlib.lines.Line2D([], [], linestyle="none", marker="o", mfc="white", mec="#444444")
        figure.legend(
            [*handles, hollow], [*labels, "the paper's limit"], loc="outside lower center", ncols=len(labels) + 1
        )
    return figure


def exponents_figure(table: pd.DataFrame) -> Figure:
    """The count exponent fitted on plain cross-entropy against the imbalance ratio, with its interval.

    Args:
        table: as for :func:`laws_figure`.

    Raises:
        InputError: a column is missing.
    """
    ends = ["count_exponent_low", "count_exponent_high"]
    require_columns("table", table, [*_NEEDED, "count_exponent", *ends])
    rows = table[(table["law"] == "counts") & (table["rule"] == "ce")].sort_values("imbalance_ratio")
    smoothings = sorted(set(rows["label_smoothing"]))
    ratios = sorted(set(rows["imbalance_ratio"]))
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(1.5 + 3.4 * len(smoothings), 3.4), layout="constrained")
        axes = figure.subplots(1, len(smoothings), squeeze=False, sharey=True)[0]
        for ax, smoothing in zip(axes, smoothings, strict=True):
            for step, normalization in enumerate(_present(rows)):
                one = rows[(rows["normalization"] == normalization) & (rows["label_smoothing"] == smoothing)]
                place = np.array([ratios.index(ratio) for ratio in one["imbalance_ratio"]]) + 0.12 * _aside(step, rows)
                color, marker = _LOOKS[normalization]
                ax.vlines(place, one[ends[0]], one[ends[1]], color=color, linewidth=1.2)
                ax.plot(place, one["count_exponent"], marker, color=color, label=_NAMES[normalization])
            ax.set_xticks(range(len(ratios)), [f"R = {ratio:g}" for ratio in ratios])
            ax.set_xlim(-0.5, len(ratios) - 0.5)
            ax.set_title(labels_text(smoothing))
            for price in (0.0, 1.0):
                ax.axhline(price, color="#888888", linestyle="--", linewidth=1)
        axes[0].set(ylabel="count exponent a, fitted on CE", ylim=(-1, 2))
        _legend(figure, axes[0])
    return figure


def _draw_laws(ax: Axes, rows: pd.DataFrame, block: str) -> None:
    laws = list(_LAWS)
    for step, normalization in enumerate(_present(rows)):
        one = rows[rows["normalization"] == normalization]
        color, marker = _LOOKS[normalization]
        values = one.groupby("law")[f"{block}_systematic"]
        shift = 0.12 * (step - 1)
        ax.plot(np.arange(len(laws)) + shift, values.median().reindex(laws), "-" + marker, color=color, linewidth=1)
        ax.plot([], [], marker, color=color, label=_NAMES[normalization])
        place = one["law"].map({law: position for position, law in enumerate(laws)}) + shift
        ax.plot(place, one[f"{block}_systematic"], ".", color=color, alpha=0.4, markersize=4)
        heterogeneity = float(one.loc[one["law"] == "paper", f"{block}_heterogeneity"].median())
        ax.axhline(heterogeneity, color=color, linestyle=":", linewidth=1)
    ax.plot([], [], ":", color="#444444", label="heterogeneity of equal classes")


def _of_losses(rows: pd.DataFrame, law: str, column: str, losses: list[tuple[str, float]]) -> Any:
    of_law = rows[rows["law"] == law].set_index(["rule", "exponent"])[column]
    return of_law.reindex(losses).to_numpy(dtype=float)


def _main_ratio(table: pd.DataFrame) -> float:
    """The imbalance ratio at which most losses were trained."""
    return float(table.groupby("imbalance_ratio").size().idxmax())  # type: ignore[arg-type]


def _present(rows: pd.DataFrame) -> list[str]:
    return [name for name in _LOOKS if name in set(rows["normalization"])]


def _aside(step: int, rows: pd.DataFrame) -> float:
    """Place of a normalisation beside the others that are there, 0 in the middle."""
    return step - (len(_present(rows)) - 1) / 2


def _legend(figure: Figure, ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
