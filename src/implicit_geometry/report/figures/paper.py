"""The paper's figures: theory as lines, the trained models on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from implicit_geometry.report.figures.finished_runs import ETF_LABEL, log_scale, shared_legend, titled_panels
from implicit_geometry.report.figures.style import ETF_COLOR, FIGURE_STYLE
from implicit_geometry.report.frames import rule_runs
from implicit_geometry.rules import RULES

MODEL_NAMES = {"ufm": "UFM", "mlp": "MLP", "resnet18": "ResNet18"}
"""The models of the paper's figures, in the order in which panels and legends list them."""

_MODEL_LOOKS = {"ufm": ("#0072B2", "o"), "mlp": ("#E69F00", "s"), "resnet18": ("#009E73", "^")}
_FACTOR_NAMES = {"classifier": "classifiers W", "embedding": "embeddings H"}
_ACCURACIES = {"train_balanced": "all classes", "train_majority": "majority", "train_minority": "minority"}
_LIMIT, _RIDGE = "theory: limit", "theory: fitted ridge"
_NUM_CLASSES = 10  # of the figure with eight panels a rule
_LIMIT_LOOK: dict[str, Any] = {"color": "#444444", "linewidth": 2.4, "alpha": 0.45}
_RIDGE_LOOK: dict[str, Any] = {"linestyle": "-.", "linewidth": 1.1}
_HOLLOW = "training accuracy below 100 %"
_OVERSHOOT = 0.25


def norm_ratio_figure(curves: pd.DataFrame, records: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Fig. 1: the squared norm ratio of majority to minority classifiers over the exponent, a panel a model.

    Args:
        curves: theory, as :func:`implicit_geometry.studies.figure_tables.fitted_curves` makes it, and ``model``.
        records: one row a run; columns ``model``, ``rule``, ``exponent``, ``classifier_norm_ratio``,
            ``terminal_phase``.
        names: model to title of its panel.
    """
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(3.4 * len(names) + 1.2, 4.3), layout="constrained")
        axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for ax, (model, name) in zip(axes, names.items(), strict=True):
            _ratio_panel(ax, curves[curves["model"] == model], records[records["model"] == model])
            ax.set_title(name)
            ax.set_xlabel("exponent γ (τ for LA)")
        axes[0].set_ylabel("|w majority|² / |w minority|²")
        labels = [style.label for style in RULES.values()]
        shared_legend(figure, [*labels, _LIMIT, _RIDGE, ETF_LABEL, _HOLLOW], columns=min(2 * len(names), 5))
    return figure


def _ratio_panel(ax: Axes, curves: pd.DataFrame, records: pd.DataFrame) -> None:
    log_scale(ax)
    ax.axhline(1.0, color=ETF_COLOR, linestyle="--", linewidth=1.1, label=ETF_LABEL)
    for rule in dict.fromkeys(curves["rule"]):
        limit = curves[(curves["rule"] == rule) & (curves["kind"] == "limit")].sort_values("exponent")
        color = RULES["ce" if RULES[rule].has_limit_of_ce else rule].color
        ax.plot(limit["exponent"], limit["classifier_norm_ratio"], color=color, linewidth=2.0, alpha=0.45)
    for rule in dict.fromkeys(records["rule"]):
        _markers(ax, records[records["rule"] == rule], "classifier_norm_ratio", *_rule_look(rule))
    low, high = ax.get_ylim()
    for rule in dict.fromkeys(curves["rule"]):
        theory = curves[(curves["rule"] == rule) & (curves["kind"] == "ridge")].sort_values("exponent")
        color = RULES[rule].color
        ax.plot(theory["exponent"], theory["classifier_norm_ratio"], color=color, **_RIDGE_LOOK)
    _limit_overshoot(ax, low, high)
    ax.plot([], [], label=_LIMIT, **_LIMIT_LOOK)
    ax.plot([], [], color="#444444", label=_RIDGE, **_RIDGE_LOOK)


def four_by_four_figure(curves: pd.DataFrame, records: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Fig. 3: norm ratio and mean cosines of W and H for CDT (upper half) and LDT (lower half), ten classes.

    Args:
        curves: theory, as :func:`implicit_geometry.studies.figure_tables.fitted_curves` makes it, and ``model``.
        records: one row a run; columns ``model``, ``rule``, ``exponent``, ``terminal_phase`` and the eight numbers.
        names: model to name in the legend.
    """
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(11.2, 9.8), layout="constrained")
        halves = figure.subfigures(2, 1, squeeze=False)[:, 0]
        for half, rule in zip(halves, ("cdt", "ldt"), strict=True):
            half.suptitle(RULES[rule].label, fontweight="bold", x=0.02, ha="left")
            _eight_panels(half.subplots(2, 4, sharex=True), rule, curves, records, names)
        shared_legend(figure, [*names.values(), _LIMIT, _RIDGE, ETF_LABEL, _HOLLOW], columns=7)
    return figure


def _eight_panels(
    axes: NDArray[np.object_], rule: str, curves: pd.DataFrame, records: pd.DataFrame, names: Mapping[str, str]
) -> None:
    theory = curves[curves["rule"] == rule].sort_values("exponent")
    runs = rule_runs(records, rule)
    for ax, column in titled_panels(axes, _NUM_CLASSES):
        _models(ax, theory, runs, column, names)
    for ax in axes[-1]:
        ax.set_xlabel("exponent γ")


def _models(ax: Axes, theory: pd.DataFrame, runs: pd.DataFrame, column: str, names: Mapping[str, str]) -> None:
    limit = theory[(theory["kind"] == "limit") & (theory["model"] == next(iter(names)))]
    ax.plot(limit["exponent"], limit[column], label=_LIMIT, **_LIMIT_LOOK)
    for model, name in names.items():
        _markers(ax, runs[runs["model"] == model], column, *_MODEL_LOOKS[model], name)
    low, high = ax.get_ylim()
    for model in names:
        line = theory[(theory["kind"] == "ridge") & (theory["model"] == model)]
        ax.plot(line["exponent"], line[column], color=_MODEL_LOOKS[model][0], **_RIDGE_LOOK)
    _limit_overshoot(ax, low, high)
    ax.plot([], [], color="#444444", label=_RIDGE, **_RIDGE_LOOK)


def distance_figure(records: pd.DataFrame, name: str) -> Figure:
    """Fig. 4: distance of W W^T and H H^T (unit Frobenius norm) to their limits by epoch, for one model.

    A column a profile and rule, a line an exponent.

    Args:
        records: one row a run and epoch; columns ``imbalance_ratio``, ``rule``, ``exponent``, ``epoch`` and distances.
        name: of the model.
    """
    columns = [(ratio, rule) for ratio in sorted(set(records["imbalance_ratio"])) for rule in ("cdt", "ldt")]
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(2.8 * len(columns), 5.2), layout="constrained")
        axes = figure.subplots(2, len(columns), sharex=True, sharey="row", squeeze=False)
        for column, (ratio, rule) in zip(axes.T, columns, strict=True):
            mine = rule_runs(records[records["imbalance_ratio"] == ratio], rule)
            for ax, (factor, title) in zip(column, _FACTOR_NAMES.items(), strict=True):
                _lines(ax, mine, f"{factor}_limit_distance", sorted(set(records["exponent"])))
                ax.set_title(f"{RULES[rule].label}, R = {ratio:g}: {title}")
            column[-1].set_xlabel("epoch")
        for ax in axes[:, 0]:
            ax.set_ylabel("distance to the limit")
            ax.set_ylim(bottom=0)
        _finish_epochs(figure, records, name)
    return figure


def training_accuracy_figure(records: pd.DataFrame, name: str) -> Figure:
    """Fig. 5: training accuracy by epoch of all, majority and minority classes for one model, a line an exponent.

    Args:
        records: one row a run and epoch; columns ``rule``, ``exponent``, ``epoch``, ``train_balanced``,
            ``train_majority`` and ``train_minority``.
        name: of the model.
    """
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(8.8, 5.2), layout="constrained")
        axes = figure.subplots(2, 3, sharex=True, sharey=True, squeeze=False)
        for row, rule in zip(axes, ("cdt", "ldt"), strict=True):
            for ax, (column, group) in zip(row, _ACCURACIES.items(), strict=True):
                _lines(ax, rule_runs(records, rule), column, sorted(set(records["exponent"])))
                ax.set_title(f"{RULES[rule].label}: {group}")
                ax.yaxis.set_major_formatter(PercentFormatter(xmax=1.0))
            row[0].set_ylabel("training accuracy")
        for ax in axes[-1]:
            ax.set_xlabel("epoch")
        _finish_epochs(figure, records, name)
    return figure


def _lines(ax: Axes, runs: pd.DataFrame, column: str, exponents: Sequence[float]) -> None:
    """A line an exponent, the mean over seeds; negative exponents dashed, plain cross-entropy black."""
    colors = colormaps["viridis"].resampled(len(exponents) + 1)
    shown = runs[runs["epoch"] > 0]
    for position, exponent in enumerate(exponents):
        line = shown[shown["exponent"] == exponent].groupby("epoch")[column].mean()
        look: dict[str, Any] = {"color": colors(position) if exponent else "black", "linewidth": 1.4}
        if len(line):
            ax.plot(line.index, line, "--" if exponent < 0 else "-", label=_exponent_label(exponent), **look)


def _finish_epochs(figure: Figure, records: pd.DataFrame, name: str) -> None:
    exponents = sorted(set(records["exponent"]))
    if records["epoch"].max() > 1000:
        for ax in figure.axes:
            ax.set_xscale("log")
    figure.suptitle(name, fontweight="bold", x=0.01, ha="left")
    shared_legend(figure, [_exponent_label(exponent) for exponent in exponents], columns=len(exponents))


def _exponent_label(exponent: float) -> str:
    return "γ = 0 (CE)" if exponent == 0 else f"γ = {exponent:g}".replace("-", "−")


def _rule_look(rule: str) -> tuple[str, str, str]:
    style = RULES[rule]
    return style.color, style.marker, style.label


def _markers(ax: Axes, runs: pd.DataFrame, column: str, color: str, marker: str, label: str) -> None:
    """One marker a run, hollow where it did not reach the terminal phase."""
    done = runs["terminal_phase"].astype(bool)
    look: dict[str, Any] = {"linestyle": "none", "marker": marker, "markersize": 6.5, "zorder": 3}
    ax.plot(runs["exponent"][done], runs[column][done], color=color, mec="white", mew=0.6, label=label, **look)
    ax.plot(runs["exponent"][~done], runs[column][~done], mfc="white", mec=color, mew=1.3, **look)
    if not done.all():
        ax.plot([], [], linestyle="none", marker="o", mfc="white", mec="#444444", mew=1.3, label=_HOLLOW)


def _limit_overshoot(ax: Axes, low: float, high: float) -> None:
    """Let lines leave the axes that would stretch them by more than a quarter on a side."""
    now_low, now_high = ax.get_ylim()
    if ax.get_yscale() == "log":
        room = (high / low) ** _OVERSHOOT
        ax.set_ylim(max(now_low, low / room), min(now_high, high * room))
    else:
        room = (high - low) * _OVERSHOOT
        ax.set_ylim(max(now_low, low - room), min(now_high, high + room))
