"""How the unconstrained-features model nears its limit: distances and gap by epoch, and the gap at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from implicit_geometry.report.figures.paper.shared import exponent_label
from implicit_geometry.report.figures.runs_over_theory import shared_legend
from implicit_geometry.report.figures.style import FIGURE_STYLE
from implicit_geometry.report.frames import rule_runs
from implicit_geometry.rules import RULES

CAPTION = (
    "Distance of the unconstrained-features model from its limit, and relative gap of (|W|² + |H|²)/2 at margin 1 to "
    "the limit's certified value, over 1 / ln(epoch): what falls like c / ln(epoch) is a straight line. Dotted: lines "
    "fitted to the last decade of epochs, drawn on to infinity. The second picture has the gap at the end (filled) "
    "and where its line meets infinity (hollow)."
)

_TITLES = {
    "classifier_distance": "distance of W",
    "embedding_distance": "distance of H, centred",
    "gap": "gap to the global minimum",
}
_EPOCHS = (10, 100, 10_000)
_FIRST_DRAWN = 1 / np.log(_EPOCHS[0])
_RATIO_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00")
_FITTED = "fitted: y∞ + c / ln(epoch)"


def convergence_figure(history: pd.DataFrame, rates: pd.DataFrame) -> Figure:
    """Distances and gap over 1 / ln(epoch): a row for each, a column for each ratio and rule, a line an exponent.

    Args:
        history: as :func:`implicit_geometry.studies.convergence.convergence_history` makes it.
        rates: as :func:`implicit_geometry.studies.convergence.fitted_rates` makes them.
    """
    shown, lines = (table[table["scale"] == 1] for table in (history, rates))
    exponents = sorted(set(shown["exponent"]))
    columns = [(ratio, rule) for ratio in sorted(set(shown["imbalance_ratio"])) for rule in ("cdt", "ldt")]
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(2.5 * len(columns) + 0.5, 7.6), layout="constrained")
        axes = figure.subplots(len(_TITLES), len(columns), sharex=True, sharey="row", squeeze=False)
        for column, (ratio, rule) in zip(axes.T, columns, strict=True):
            runs, fits = (rule_runs(table[table["imbalance_ratio"] == ratio], rule) for table in (shown, lines))
            for ax, quantity in zip(column, _TITLES, strict=True):
                _panel(ax, runs, fits, quantity, exponents)
            column[0].set_title(f"{RULES[rule].label}, R = {ratio:g}")
            column[-1].set_xlabel("epoch")
        late = shown[shown["epoch"] >= shown["epoch"].max() / 20]
        for ax, (quantity, title) in zip(axes[:, 0], _TITLES.items(), strict=True):
            ax.set_ylabel(title)
            ax.set_ylim(0, 1.2 * late[quantity][np.isfinite(late[quantity])].max())
        shared_legend(figure, [*(exponent_label(value) for value in exponents), _FITTED], columns=len(exponents) + 1)
    return figure


def gap_figure(rates: pd.DataFrame) -> Figure:
    """The gap at the end of training, and that of its fitted line at infinity, over exponent and scale of delta.

    Args:
        rates: as :func:`implicit_geometry.studies.convergence.fitted_rates` makes them.
    """
    usual = rates[rates["scale"] == 1]
    scales = rates[(rates["rule"] == "cdt") & (rates["exponent"] == _scaled_exponent(rates))]
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(10.2, 3.9), layout="constrained")
        axes = figure.subplots(1, 3, sharey=True)
        for ax, rule in zip(axes, ("cdt", "ldt"), strict=False):
            _gaps(ax, rule_runs(usual, rule), "exponent")
            ax.set_title(RULES[rule].label)
            ax.set_xlabel("exponent γ")
        _gaps(axes[2], scales, "scale")
        axes[2].set_title(f"CDT, γ = {_scaled_exponent(rates):g}")
        axes[2].set_xlabel("mean of δ")
        axes[2].set_xscale("log", base=2)
        axes[2].xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes[0].set_ylabel("gap to the global minimum")
        axes[0].yaxis.set_major_formatter(PercentFormatter(xmax=1.0))
        labels = [f"R = {ratio:g}" for ratio in sorted(set(rates["imbalance_ratio"]))]
        shared_legend(figure, [*labels, "at the end", "fitted line at infinity"], columns=5)
    return figure


def _panel(ax: Axes, runs: pd.DataFrame, fits: pd.DataFrame, quantity: str, exponents: Sequence[float]) -> None:
    colors = colormaps["viridis"].resampled(len(exponents) + 1)
    for position, exponent in enumerate(exponents):
        mean = runs[(runs["exponent"] == exponent) & (runs["epoch"] > 1)].groupby("epoch")[quantity].mean()
        line = mean[np.isfinite(mean)]
        fit = fits[fits["exponent"] == exponent]
        look: dict[str, Any] = {"color": colors(position) if exponent else "black", "linewidth": 1.4}
        if len(line):
            ax.plot(1 / np.log(line.index.to_numpy(float)), line, label=exponent_label(exponent), **look)
        far = np.array([0.0, 1 / np.log(mean.index.max() / 10)])
        values = fit[f"{quantity}_at_infinity"].mean() + fit[f"{quantity}_slope"].mean() * far
        ax.plot(far, values, linestyle=":", linewidth=1.0, color=look["color"])
    ax.plot([], [], linestyle=":", color="#444444", linewidth=1.0, label=_FITTED)
    ax.set_xticks([*(1 / np.log(epoch) for epoch in _EPOCHS), 0.0], [*(f"{epoch:,}" for epoch in _EPOCHS), "∞"])
    ax.set_xlim(_FIRST_DRAWN, 0)


def _gaps(ax: Axes, runs: pd.DataFrame, over: str) -> None:
    ratios = sorted(set(runs["imbalance_ratio"]))
    for ratio, color in zip(ratios, _RATIO_COLORS, strict=False):
        mean = runs[runs["imbalance_ratio"] == ratio].groupby(over)[["gap_end", "gap_at_infinity"]].mean()
        ax.plot(mean.index, mean["gap_end"], "-o", color=color, mec="white", label=f"R = {ratio:g}")
        ax.plot(mean.index, mean["gap_at_infinity"], "--o", color=color, mfc="white", linewidth=1.0)
    ax.axhline(0, color="#444444", linewidth=0.8)
    ax.plot([], [], "-o", color="#444444", mec="white", label="at the end")
    ax.plot([], [], "--o", color="#444444", mfc="white", linewidth=1.0, label="fitted line at infinity")


def _scaled_exponent(rates: pd.DataFrame) -> float:
    """The exponent of the runs whose scales have another mean."""
    return float(rates.loc[rates["scale"] != 1, "exponent"].iloc[0])
