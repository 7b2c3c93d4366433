"""The paper's figures on the unconstrained-features model."""

from __future__ import annotations

import matplotlib
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure

from implicit_geometry.report.figures import LEGEND, geometry_panels, log_scale, shared_legend
from implicit_geometry.report.style import FIGURE_STYLE, RULE_STYLES

_LINES = (("limit", "-", 2.0, 0.5), ("ridge", "-.", 1.2, 1.0))
_FACTORS = {"classifier": "classifiers W", "embedding": "embeddings H"}


def norm_ratio_figure(curves: pd.DataFrame, records: pd.DataFrame) -> Figure:
    """Fig. 1: the squared norm ratio of majority to minority classifiers over the exponent, for several rules.

    Args:
        curves: theory, as :func:`implicit_geometry.experiments.curves.theory_curves` makes it.
        records: one row a run; columns ``rule``, ``exponent``, ``classifier_norm_ratio``.
    """
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        ax = figure.subplots()
        log_scale(ax)
        ax.axhline(1.0, color="#666666", linestyle="--", linewidth=1.1)
        for rule in dict.fromkeys(records["rule"]):
            style = RULE_STYLES[rule]
            for kind, line, width, alpha in _LINES:
                shown = curves[(curves["rule"] == rule) & (curves["kind"] == kind)].sort_values("exponent")
                ax.plot(
                    shown["exponent"],
                    shown["classifier_norm_ratio"],
                    color=style.color,
                    linestyle=line,
                    linewidth=width,
                    alpha=alpha,
                )
            runs = records[records["rule"] == rule]
            ax.plot(
                runs["exponent"],
                runs["classifier_norm_ratio"],
                color=style.color,
                marker=style.marker,
                linestyle="none",
                label=style.label,
            )
        ax.set_title("Squared norm ratio of majority to minority classifiers")
        ax.set_xlabel("exponent γ (τ for LA)")
        ax.legend()
    return figure


def four_by_four_figure(curves: pd.DataFrame, records: pd.DataFrame, num_classes: int) -> Figure:
    """Fig. 3: norm ratio and mean cosines of W and H for CDT (upper half) and LDT (lower half)."""
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(11.2, 9.6), layout="constrained")
        halves = figure.subfigures(2, 1, squeeze=False)[:, 0]
        for half, rule in zip(halves, ("cdt", "ldt"), strict=True):
            geometry_panels(half.subplots(2, 4, sharex=True), rule, curves, records, num_classes)
        shared_legend(figure, LEGEND, columns=5)
    return figure


def distance_figure(records: pd.DataFrame) -> Figure:
    """Fig. 4: distance of W W^T and H H^T (unit Frobenius norm) to their limits by epoch.

    A column a profile and rule, a line an exponent.

    Args:
        records: one row a run and epoch; columns ``imbalance_ratio``, ``rule``, ``exponent``, ``epoch`` and distances.
    """
    columns = list(dict.fromkeys(zip(records["imbalance_ratio"], records["rule"], strict=True)))
    exponents = sorted(set(records["exponent"]))
    colors = colormaps["viridis"].resampled(len(exponents) + 1)
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(2.9 * len(columns), 5.2), layout="constrained")
        axes = figure.subplots(2, len(columns), sharex=True, sharey="row", squeeze=False)
        for column, (ratio, rule) in zip(axes.T, columns, strict=True):
            mine = records[(records["imbalance_ratio"] == ratio) & (records["rule"] == rule) & (records["epoch"] > 0)]
            for ax, (factor, name) in zip(column, _FACTORS.items(), strict=True):
                for position, exponent in enumerate(exponents):
                    run = mine[mine["exponent"] == exponent].groupby("epoch")[f"{factor}_limit_distance"].mean()
                    ax.plot(run.index, run, color=colors(position), label=f"γ = {exponent:g}")
                ax.set_title(f"{RULE_STYLES[rule].label}, R = {ratio:g}: {name}")
                ax.set_xscale("log")
                ax.set_ylim(0, 1.5)
            column[-1].set_xlabel("epoch")
        for ax in axes[:, 0]:
            ax.set_ylabel("distance to the limit")
        shared_legend(figure, [f"γ = {exponent:g}" for exponent in exponents], columns=len(exponents))
    return figure
