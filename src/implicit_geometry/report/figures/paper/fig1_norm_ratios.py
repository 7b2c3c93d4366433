"""The paper's Fig. 1: the norm ratio of classifiers over the exponent, for every loss."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from implicit_geometry.report.figures.paper.shared import (
    HOLLOW,
    LIMIT,
    LIMIT_LOOK,
    RIDGE,
    RIDGE_LOOK,
    draw_markers,
    limit_overshoot,
)
from implicit_geometry.report.figures.runs_over_theory import ETF_LABEL, log_scale, shared_legend
from implicit_geometry.report.figures.style import ETF_COLOR, FIGURE_STYLE
from implicit_geometry.rules import RULES

CAPTION = (
    "Fig. 1: squared norm ratio of majority to minority classifiers over the exponent. Wide lines: the limit of "
    "vanishing ridge; dash-dotted: the optimum at the ridge that fits the runs of a loss; markers: trained models."
)


def norm_ratio_figure(curves: pd.DataFrame, records: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Fig. 1: the squared norm ratio of majority to minority classifiers over the exponent, one panel per model.

    Args:
        curves: theory, as :func:`implicit_geometry.studies.figure_tables.fitted_curves` makes it, and ``model``.
        records: one row per run; columns ``model``, ``rule``, ``exponent``, ``classifier_norm_ratio``,
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
        shared_legend(figure, [*labels, LIMIT, RIDGE, ETF_LABEL, HOLLOW], columns=min(2 * len(names), 5))
    return figure


def _ratio_panel(ax: Axes, curves: pd.DataFrame, records: pd.DataFrame) -> None:
    log_scale(ax)
    ax.axhline(1.0, color=ETF_COLOR, linestyle="--", linewidth=1.1, label=ETF_LABEL)
    for rule in dict.fromkeys(curves["rule"]):
        limit = curves[(curves["rule"] == rule) & (curves["kind"] == "limit")].sort_values("exponent")
        color = RULES["ce" if RULES[rule].has_limit_of_ce else rule].color
        ax.plot(limit["exponent"], limit["classifier_norm_ratio"], color=color, linewidth=2.0, alpha=0.45)
    for rule in dict.fromkeys(records["rule"]):
        draw_markers(ax, records[records["rule"] == rule], "classifier_norm_ratio", *_rule_look(rule))
    low, high = ax.get_ylim()
    for rule in dict.fromkeys(curves["rule"]):
        theory = curves[(curves["rule"] == rule) & (curves["kind"] == "ridge")].sort_values("exponent")
        color = RULES[rule].color
        ax.plot(theory["exponent"], theory["classifier_norm_ratio"], color=color, **RIDGE_LOOK)
    limit_overshoot(ax, low, high)
    ax.plot([], [], label=LIMIT, **LIMIT_LOOK)
    ax.plot([], [], color="#444444", label=RIDGE, **RIDGE_LOOK)


def _rule_look(rule: str) -> tuple[str, str, str]:
    style = RULES[rule]
    return style.color, style.marker, style.label
