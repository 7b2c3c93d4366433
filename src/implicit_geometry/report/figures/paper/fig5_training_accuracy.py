"""The paper's Fig. 5: training accuracy of all, majority and minority classes, epoch by epoch."""

from __future__ import annotations

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from implicit_geometry.report.figures.paper.shared import draw_lines, finish_epochs
from implicit_geometry.report.figures.style import FIGURE_STYLE
from implicit_geometry.report.frames import rule_runs
from implicit_geometry.rules import RULES

CAPTION = (
    "Fig. 5: training accuracy by epoch of all, majority and minority classes, CDT above, LDT below; a line for each "
    "exponent."
)

_ACCURACIES = {"train_balanced": "all classes", "train_majority": "majority", "train_minority": "minority"}


def training_accuracy_figure(records: pd.DataFrame, name: str) -> Figure:
    """Fig. 5: training accuracy by epoch of all, majority and minority classes for one model, one line per exponent.

    Args:
        records: one row per run and epoch; columns ``rule``, ``exponent``, ``epoch``, ``train_balanced``,
            ``train_majority`` and ``train_minority``.
        name: of the model.
    """
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(8.8, 5.2), layout="constrained")
        axes = figure.subplots(2, 3, sharex=True, sharey=True, squeeze=False)
        for row, rule in zip(axes, ("cdt", "ldt"), strict=True):
            for ax, (column, group) in zip(row, _ACCURACIES.items(), strict=True):
                draw_lines(ax, rule_runs(records, rule), column, sorted(set(records["exponent"])))
                ax.set_title(f"{RULES[rule].label}: {group}")
                ax.yaxis.set_major_formatter(PercentFormatter(xmax=1.0))
            row[0].set_ylabel("training accuracy")
        for ax in axes[-1]:
            ax.set_xlabel("epoch")
        finish_epochs(figure, records, name)
    return figure
