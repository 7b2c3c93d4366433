"""The paper's Fig. 2: classifiers and embeddings of three classes, drawn in their plane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from implicit_geometry.report.figures.style import FIGURE_STYLE
from implicit_geometry.rules import RULES

CAPTION = (
    "Fig. 2: classifiers and class-mean embeddings of three classes in their plane, each of unit Frobenius norm. "
    "Arrows: predicted; markers: trained models."
)

_TITLES = {"classifier": "classifiers W", "embedding": "embeddings H"}
_MAJORITY, _MINORITY = "#0072B2", "#D55E00"
_MARKERS = {"ufm": "o", "mlp": "s"}
_ARROW: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.016, "headaxislength": 5}


def vectors_figure(vectors: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Fig. 2: predicted vectors as arrows, the tips of trained ones as markers; one column per loss.

    Args:
        vectors: as :func:`implicit_geometry.studies.figure_tables.vector_table` makes it.
        names: trained model to name in the legend.
    """
    rules = list(dict.fromkeys(vectors["rule"]))
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(3.1 * len(rules), 5.9), layout="constrained")
        axes = figure.subplots(2, len(rules), sharex=True, sharey=True, squeeze=False)
        for row, (factor, title) in zip(axes, _TITLES.items(), strict=True):
            for ax, rule in zip(row, rules, strict=True):
                mine = vectors[(vectors["factor"] == factor) & (vectors["rule"] == rule)]
                _panel(ax, mine, names)
                exponent = mine["exponent"].iloc[0]
                gamma = f", γ = {exponent:g}" if exponent else ""
                ax.set_title(f"{RULES[rule].label}{gamma}: {title}")
        figure.legend(
            handles=_handles(names),
            loc="outside lower center",
            ncols=3 + len(names),
            columnspacing=1.5,
        )
    return figure


def _panel(ax: Axes, vectors: pd.DataFrame, names: Mapping[str, str]) -> None:
    largest = vectors["count"].max()
    for row in vectors.to_dict("records"):
        color = _MAJORITY if row["count"] == largest else _MINORITY
        x, y = row["x"], row["y"]
        if row["model"] == "theory":
            ax.quiver(0, 0, x, y, color=color, alpha=0.45, zorder=2, **_ARROW)
        elif row["model"] in names:
            ax.plot([0, x], [0, y], color=color, linewidth=0.9, linestyle=":")
            ax.plot(x, y, marker=_MARKERS[row["model"]], color=color, mec="white", mew=0.8, markersize=7, zorder=3)
    ax.set_aspect("equal")
    ax.set_xlim(-0.85, 0.85)
    ax.set_ylim(-0.6, 0.9)
    ax.set_xticks([-0.5, 0, 0.5])
    ax.set_yticks([-0.5, 0, 0.5])


def _handles(names: Mapping[str, str]) -> list[Line2D]:
    gray: dict[str, Any] = {"color": "#555555", "linestyle": "none"}
    return [
        Line2D([], [], color=_MAJORITY, linewidth=2.6, label="majority class"),
        Line2D([], [], color=_MINORITY, linewidth=2.6, label="minority classes"),
        Line2D([], [], marker=r"$\rightarrow$", markersize=14, label="predicted", **gray),
        *(Line2D([], [], marker=_MARKERS[model], label=f"trained: {name}", **gray) for model, name in names.items()),
    ]
