"""The paper's Fig. 4: how far classifiers and embeddings are from their limits, epoch by epoch."""

from __future__ import annotations

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from implicit_geometry.frames import Frame
from implicit_geometry.report.figures.paper.shared import draw_lines, finish_epochs
from implicit_geometry.report.figures.style import FIGURE_STYLE
from implicit_geometry.report.frames import rule_runs
from implicit_geometry.rules import RULES
from implicit_geometry.summary import VECTORS_IN

CAPTION = (
    "Fig. 4: distance of W W' and H H' (each of unit Frobenius norm) from their limits by epoch; a column for each "
    "imbalance ratio and loss, a line for each exponent."
)

_FACTOR_NAMES = ("classifiers W", "embeddings H")


def distance_figure(records: pd.DataFrame, name: str, *, frame: Frame = "centred") -> Figure:
    """Fig. 4: distance of W W^T and H H^T (unit Frobenius norm) to their limits by epoch, for one model.

    One column per profile and rule, one line per exponent.

    Args:
        records: one row per run and epoch; columns ``imbalance_ratio``, ``rule``, ``exponent``, ``epoch`` and the
            distances.
        name: of the model.
        frame: of the embeddings; the paper's by default.
    """
    rules = [rule for rule in ("cdt", "ldt") if (records["rule"] == rule).any()]
    columns = [(ratio, rule) for ratio in sorted(set(records["imbalance_ratio"])) for rule in rules]
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(2.8 * len(columns), 5.2), layout="constrained")
        axes = figure.subplots(2, len(columns), sharex=True, sharey="row", squeeze=False)
        for column, (ratio, rule) in zip(axes.T, columns, strict=True):
            mine = rule_runs(records[records["imbalance_ratio"] == ratio], rule)
            for ax, block, title in zip(column, VECTORS_IN[frame], _FACTOR_NAMES, strict=True):
                draw_lines(ax, mine, f"{block}_limit_distance", sorted(set(records["exponent"])))
                ax.set_title(f"{RULES[rule].label}, R = {ratio:g}: {title}")
            column[-1].set_xlabel("epoch")
        for ax in axes[:, 0]:
            ax.set_ylabel("distance to the limit")
            ax.set_ylim(bottom=0)
        finish_epochs(figure, records, name)
    return figure
