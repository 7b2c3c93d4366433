"""The study of test-time logits as a figure: accuracy and calibration error of every loss, by method and prior."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from implicit_geometry.report.figures.style import FIGURE_STYLE
from implicit_geometry.report.frames import require_columns
from implicit_geometry.rules import RULES

_MEASURES = {"accuracy": "accuracy", "ece": "expected calibration error"}
_PRIORS = {"balanced": "balanced test data", "train": "test data with the prior of training"}
_STYLE = {
    "plain": ("0.45", "o"),
    "link": ("#0072B2", "s"),
    "fitted plain": ("#E69F00", "^"),
    "fitted link": ("#D55E00", "D"),
}


def logits_at_test_figure(table: pd.DataFrame, data: str) -> Figure:
    """Accuracy and calibration error of every loss, one row of panels per prior, one marker per method.

    Args:
        table: what :func:`implicit_geometry.studies.logits_at_test.logit_table` returns.
        data: which data set of it.

    Raises:
        InputError: a column is missing.
    """
    columns = [name for measure in _MEASURES for name in (measure, f"{measure}_half")]
    require_columns("table", table, ["data", "prior", "rule", "method", *columns])
    rows = table[table["data"] == data]
    rules = list(dict.fromkeys(rows["rule"]))
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(10.4, 6.2), layout="constrained")
        axes = figure.subplots(len(_PRIORS), len(_MEASURES), squeeze=False)
        for line, (prior, title) in zip(axes, _PRIORS.items(), strict=True):
            for ax, (measure, name) in zip(line, _MEASURES.items(), strict=True):
                for step, (method, (color, marker)) in enumerate(_STYLE.items()):
                    part = rows[(rows["prior"] == prior) & (rows["method"] == method)].set_index("rule").reindex(rules)
                    place = np.arange(len(rules)) + 0.18 * (step - 1.5)
                    style = {"fmt": marker, "color": color, "markersize": 5, "label": method}
                    ax.errorbar(place, part[measure], part[f"{measure}_half"], **style)
                ax.set_xticks(range(len(rules)), [RULES[rule].label for rule in rules])
                ax.set(title=title, ylabel=name)
                ax.grid(axis="y", alpha=0.3)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(_STYLE))
    return figure
