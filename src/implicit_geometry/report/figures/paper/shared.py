"""What the paper's figures have in common: the looks of models and of theory, lines by epoch, markers of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from implicit_geometry.report.figures.runs_over_theory import shared_legend

MODEL_LOOKS = {
    "ufm": ("#0072B2", "o"),
    "mlp": ("#E69F00", "s"),
    "mlp-6x2048": ("#7B3294", "D"),
    "resnet18": ("#009E73", "^"),
}
"""Colour and marker of each model."""

LIMIT, RELU, RIDGE = "theory: limit", "theory: limit behind a ReLU", "theory: fitted ridge"
LIMIT_LOOK: dict[str, Any] = {"color": "#444444", "linewidth": 2.4, "alpha": 0.45}
RELU_LOOK: dict[str, Any] = {"color": "#D55E00", "linewidth": 2.4, "alpha": 0.55}
RIDGE_LOOK: dict[str, Any] = {"linestyle": "-.", "linewidth": 1.1}
HOLLOW = "training accuracy below 100 %"

_OVERSHOOT = 0.25


def draw_lines(ax: Axes, runs: pd.DataFrame, column: str, exponents: Sequence[float]) -> None:
    """A line an exponent, the mean over seeds; negative exponents dashed, plain cross-entropy black."""
    colors = colormaps["viridis"].resampled(len(exponents) + 1)
    shown = runs[runs["epoch"] > 0]
    for position, exponent in enumerate(exponents):
        line = shown[shown["exponent"] == exponent].groupby("epoch")[column].mean()
        look: dict[str, Any] = {"color": colors(position) if exponent else "black", "linewidth": 1.4}
        if len(line):
            ax.plot(line.index, line, "--" if exponent < 0 else "-", label=exponent_label(exponent), **look)


def finish_epochs(figure: Figure, records: pd.DataFrame, name: str) -> None:
    """The model's name, a legend of exponents, and a logarithmic axis where there are many epochs."""
    exponents = sorted(set(records["exponent"]))
    if records["epoch"].max() > 1000:
        for ax in figure.axes:
            ax.set_xscale("log")
    figure.suptitle(name, fontweight="bold", x=0.01, ha="left")
    shared_legend(figure, [exponent_label(exponent) for exponent in exponents], columns=len(exponents))


def exponent_label(exponent: float) -> str:
    """An exponent in a legend."""
    return "γ = 0 (CE)" if exponent == 0 else f"γ = {exponent:g}".replace("-", "−")


def draw_markers(ax: Axes, runs: pd.DataFrame, column: str, color: str, marker: str, label: str) -> None:
    """One marker per run, hollow where it did not reach the terminal phase."""
    done = runs["terminal_phase"].astype(bool)
    look: dict[str, Any] = {"linestyle": "none", "marker": marker, "markersize": 6.5, "zorder": 3}
    ax.plot(runs["exponent"][done], runs[column][done], color=color, mec="white", mew=0.6, label=label, **look)
    ax.plot(runs["exponent"][~done], runs[column][~done], mfc="white", mec=color, mew=1.3, **look)
    if not done.all():
        ax.plot([], [], linestyle="none", marker="o", mfc="white", mec="#444444", mew=1.3, label=HOLLOW)


def limit_overshoot(ax: Axes, low: float, high: float) -> None:
    """Let lines leave the axes that would stretch them by more than a quarter on a side."""
    now_low, now_high = ax.get_ylim()
    if ax.get_yscale() == "log":
        room = (high / low) ** _OVERSHOOT
        ax.set_ylim(max(now_low, low / room), min(now_high, high * room))
    else:
        room = (high - low) * _OVERSHOOT
        ax.set_ylim(max(now_low, low - room), min(now_high, high + room))
