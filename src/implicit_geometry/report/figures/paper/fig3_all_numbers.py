"""The paper's Fig. 3: norm ratios and mean cosines of classifiers and embeddings, for CDT and LDT."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from implicit_geometry.frames import Frame
from implicit_geometry.report.figures.paper.shared import (
    HOLLOW,
    LIMIT,
    LIMIT_LOOK,
    MODEL_LOOKS,
    RELU,
    RELU_LOOK,
    RIDGE,
    RIDGE_LOOK,
    draw_markers,
    limit_overshoot,
)
from implicit_geometry.report.figures.runs_over_theory import ETF_LABEL, shared_legend, titled_panels
from implicit_geometry.report.figures.style import FIGURE_STYLE
from implicit_geometry.report.frames import rule_runs
from implicit_geometry.rules import RULES

CAPTION = (
    "Fig. 3: squared norm ratio and mean cosines of classifiers W and class-mean embeddings H over the exponent, CDT "
    "above, LDT below. Wide lines: the paper's limit (grey) and that of features behind a ReLU (red); dash-dotted: the "
    "optimum at the ridge that fits; markers: trained models."
)

_NUM_CLASSES = 10


def four_by_four_figure(
    curves: pd.DataFrame, records: pd.DataFrame, names: Mapping[str, str], *, frame: Frame = "centred"
) -> Figure:
    """Fig. 3: norm ratio and mean cosines of W and H for CDT (upper half) and LDT (lower half), ten classes.

    Args:
        curves: theory, as :func:`implicit_geometry.studies.figure_tables.fitted_curves` makes it, and ``model``.
        records: one row per run; columns ``model``, ``rule``, ``exponent``, ``terminal_phase`` and the eight numbers.
        names: model to name in the legend.
        frame: of the embeddings; the paper's by default.
    """
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(11.2, 9.8), layout="constrained")
        halves = figure.subfigures(2, 1, squeeze=False)[:, 0]
        for half, rule in zip(halves, ("cdt", "ldt"), strict=True):
            half.suptitle(RULES[rule].label, fontweight="bold", x=0.02, ha="left")
            _eight_panels(half.subplots(2, 4, sharex=True), rule, curves, records, names, frame)
        shared_legend(figure, [*names.values(), LIMIT, RELU, RIDGE, ETF_LABEL, HOLLOW], columns=5)
    return figure


def _eight_panels(
    axes: NDArray[np.object_],
    rule: str,
    curves: pd.DataFrame,
    records: pd.DataFrame,
    names: Mapping[str, str],
    frame: Frame,
) -> None:
    theory = curves[curves["rule"] == rule].sort_values("exponent")
    runs = rule_runs(records, rule)
    for ax, column in titled_panels(axes, _NUM_CLASSES, frame):
        _models(ax, theory, runs, column, names)
    for ax in axes[-1]:
        ax.set_xlabel("exponent γ")


def _models(ax: Axes, theory: pd.DataFrame, runs: pd.DataFrame, column: str, names: Mapping[str, str]) -> None:
    first = theory[theory["model"] == next(iter(names))]  # the limits are the same for all
    for kind, label, look in (("limit", LIMIT, LIMIT_LOOK), ("relu", RELU, RELU_LOOK)):
        line = first[first["kind"] == kind]
        ax.plot(line["exponent"], line[column], label=label, **look)
    for model, name in names.items():
        draw_markers(ax, runs[runs["model"] == model], column, *MODEL_LOOKS[model], name)
    low, high = ax.get_ylim()
    for model in names:
        line = theory[(theory["kind"] == "ridge") & (theory["model"] == model)]
        ax.plot(line["exponent"], line[column], color=MODEL_LOOKS[model][0], **RIDGE_LOOK)
    limit_overshoot(ax, low, high)
    ax.plot([], [], color="#444444", label=RIDGE, **RIDGE_LOOK)
