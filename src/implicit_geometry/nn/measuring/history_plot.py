"""The rows of a training as one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from implicit_geometry._extras import require
from implicit_geometry._validate import InputError
from implicit_geometry.summary import BLOCKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TARGETS = {"limit": ("limit", "-"), "ridge": ("fitted ridge", "--"), "etf": ("ETF", ":")}
_COLORS = {"classifier": "#0072B2", "embedding": "#D55E00", "cross": "#009E73"}
_ACCURACIES = {"train_balanced": "training", "test_balanced": "test"}


def history_figure(history: Sequence[Mapping[str, float]]) -> Figure:
    """Distances to theory, balanced accuracies and the largest cosine of two classes, over the epochs.

    Args:
        history: rows of a monitor; what they lack is not drawn.

    Raises:
        InputError: there is no row.
        MissingExtra: Matplotlib is not installed.
    """
    if not history:
        raise InputError("history", "must have at least one row: there is one at the end of every epoch", "none")
    require("the picture of a training", "train", "matplotlib")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 3.4), layout="constrained")
    distances, accuracies, closest = figure.subplots(1, 3)
    for block, symbol in BLOCKS.items():
        for target, (title, line) in _TARGETS.items():
            style = {"linestyle": line, "color": _COLORS[block]}
            _draw(distances, history, f"{block}_{target}_distance", f"{symbol} to {title}", **style)
    for name, title in _ACCURACIES.items():
        _draw(accuracies, history, name, title)
    _draw(closest, history, "closest_cosine", "closest classes")
    distances.set(title="distance to theory", ylim=(0, None))
    accuracies.set(title="balanced accuracy", ylim=(0, 1.02))
    closest.set(title="largest cosine of two classes", ylim=(-1, 1.02))
    for ax in (distances, accuracies, closest):
        ax.set_xlabel("epoch")
        if ax.lines:
            ax.legend(fontsize="small")
    return figure


def _draw(ax: Axes, history: Sequence[Mapping[str, float]], name: str, label: str, **style: Any) -> None:
    if name in history[0]:
        epochs, values = ([row[key] for row in history] for key in ("epoch", name))
        ax.plot(epochs, values, marker="." if len(history) < 30 else "", label=label, **style)
