"""The accuracy study as figures: accuracy per loss with its interval, and accuracy against geometry."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from implicit_geometry.report.figures.style import FIGURE_STYLE
from implicit_geometry.report.frames import require_columns
from implicit_geometry.rules import RULES

_MEASURES = {"test_balanced": "balanced", "test_minority": "minority", "test_worst": "worst class"}
_MARKERS = {"test_balanced": "o", "test_minority": "v", "test_worst": "x"}


def accuracy_study_figure(table: pd.DataFrame, data: str) -> Figure:
    """Balanced, minority and worst-class test accuracy of every loss, one panel per profile and ratio.

    Args:
        table: what :func:`implicit_geometry.studies.accuracy.accuracy_table` returns.
        data: which data set of it.

    Raises:
        InputError: a column is missing.
    """
    require_columns("table", table, ["data", "profile", "imbalance_ratio", "rule", *_MEASURES])
    rows = table[table["data"] == data]
    settings = rows[["profile", "imbalance_ratio"]].drop_duplicates().to_numpy()
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(11.2, 0.8 + 2.6 * -(-len(settings) // 2)), layout="constrained")
        axes = figure.subplots(-(-len(settings) // 2), 2, squeeze=False).ravel()
        for ax, (profile, ratio) in zip(axes, settings, strict=False):
            _draw_setting(ax, rows[(rows["profile"] == profile) & (rows["imbalance_ratio"] == ratio)])
            ax.set_title(f"{data}, {profile}, R = {ratio}")
        for ax in axes[len(settings) :]:
            ax.remove()
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(_MEASURES))
    return figure


def accuracy_against_geometry_figure(records: pd.DataFrame, data: str) -> Figure:
    """Balanced test accuracy over the distance of the classifier to the ETF and to its own limit, one dot per run.

    Args:
        records: one row per run of the study.
        data: which data set of it.

    Raises:
        InputError: a column is missing.
    """
    columns = {
        "classifier_etf_distance": "distance of W to the simplex ETF",
        "classifier_limit_distance": "to its own limit",
    }
    require_columns("records", records, ["data", "profile", "imbalance_ratio", "rule", "test_balanced", *columns])
    rows = records[records["data"] == data]
    settings = rows[["profile", "imbalance_ratio"]].drop_duplicates().to_numpy()
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(11.2, 5.2), layout="constrained")
        axes = figure.subplots(2, len(settings), squeeze=False)
        for column, (profile, ratio) in zip(axes.T, settings, strict=True):
            runs = rows[(rows["profile"] == profile) & (rows["imbalance_ratio"] == ratio)]
            for ax, (name, label) in zip(column, columns.items(), strict=True):
                for rule, style in RULES.items():
                    chosen = runs[runs["rule"] == rule]
                    ax.plot(
                        chosen[name],
                        chosen["test_balanced"],
                        linestyle="",
                        marker=style.marker,
                        markersize=4,
                        alpha=0.8,
                        color=style.color,
                        label=style.label,
                    )
                ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}%"))
                ax.set_xlabel(label)
            column[0].set_title(f"{data}, {profile}, R = {ratio}")
        for row in axes:
            row[0].set_ylabel("balanced test accuracy")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(RULES))
    return figure


def _draw_setting(ax: Axes, rows: pd.DataFrame) -> None:
    """One line per loss; the marks of the accuracies lie a little apart so that their intervals can be seen."""
    rules = [rule for rule in RULES if (rows["rule"] == rule).any()]
    ordered = rows.set_index("rule").loc[rules]
    for place, (column, label) in enumerate(_MEASURES.items()):
        ax.errorbar(
            ordered[column],
            np.arange(len(rules)) + (place - 1) * 0.22,
            xerr=ordered[f"{column}_half"],
            linestyle="",
            marker=_MARKERS[column],
            markersize=5,
            elinewidth=1,
            capsize=2,
            color=("#0072B2", "#D55E00", "#666666")[place],
            label=label,
        )
    ax.set_yticks(np.arange(len(rules)), [RULES[rule].label for rule in rules])
    ax.invert_yaxis()
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}%"))
    ax.set_xlabel("test accuracy, mean and 95 % interval over seeds")
