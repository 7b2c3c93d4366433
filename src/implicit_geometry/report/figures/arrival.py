"""How the geometry arrives: distance to the limit by epoch, hard labels beside smoothed ones."""

from __future__ import annotations

import matplotlib
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from implicit_geometry.experiments.spec_texts import labels_text
from implicit_geometry.report.figures.style import FIGURE_STYLE
from implicit_geometry.report.frames import require_columns
from implicit_geometry.summary import BLOCKS

_COLUMNS = {f"{block}_limit_systematic": title for block, title in BLOCKS.items()}


def arrival_figure(histories: pd.DataFrame, *, narrow: bool = False) -> Figure:
    """Systematic distances of W, H and mean logits to the limit of their own labels, one line per loss and smoothing.

    Args:
        histories: one row per run and epoch: ``loss`` (its name), ``label_smoothing``, ``epoch`` and the systematic
            distances to the limit.
        narrow: for a column or a telephone.

    Raises:
        InputError: a column is missing.

    Example:
        >>> rows = {"loss": "CE", "label_smoothing": 0.1, "epoch": [25, 50], **dict.fromkeys(_COLUMNS, [0.3, 0.1])}
        >>> len(arrival_figure(pd.DataFrame(rows)).axes)
        3
    """
    require_columns("histories", histories, ["loss", "label_smoothing", "epoch", *_COLUMNS])
    losses = list(dict.fromkeys(histories["loss"]))
    colors = dict(zip(losses, colormaps["tab10"].colors, strict=False))  # type: ignore[attr-defined]
    shape = (len(_COLUMNS), 1) if narrow else (1, len(_COLUMNS))
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(4.6, 8.4) if narrow else (11.0, 3.8), layout="constrained")
        axes = figure.subplots(*shape, sharex=True, squeeze=False).ravel()
        for ax, (column, title) in zip(axes, _COLUMNS.items(), strict=True):
            for (loss, smoothing), rows in histories.groupby(["loss", "label_smoothing"], sort=False):
                line = rows.groupby("epoch")[column].mean()
                style = {"linewidth": 1.8, "linestyle": "-"} if smoothing else {"linewidth": 1.2, "linestyle": "--"}
                ax.plot(line.index, line, color=colors[loss], **style)
            ax.set(title=title, ylim=(0, None))
        for ax in axes[-1:] if narrow else axes:
            ax.set_xlabel("epoch")
        axes[0].set_ylabel("systematic distance to the limit")
        smoothings = sorted(set(histories["label_smoothing"]))
        names = {labels_text(eps): Line2D([], [], color="#444444", ls="-" if eps else "--") for eps in smoothings}
        names |= {loss: Line2D([], [], color=color) for loss, color in colors.items()}
        figure.legend(list(names.values()), list(names), loc="outside lower center", ncols=2 if narrow else len(names))
    return figure
