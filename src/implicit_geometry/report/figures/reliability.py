"""Reliability diagrams: accuracy over confidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import matplotlib
from matplotlib.figure import Figure

from implicit_geometry._validate import Floats, InputError
from implicit_geometry.report.figures.style import FIGURE_STYLE


class Curve(Protocol):
    """What :func:`implicit_geometry.nn.reliability` returns."""

    @property
    def confidence(self) -> Floats:
        """Mean confidence of each bin."""

    @property
    def accuracy(self) -> Floats:
        """Accuracy of each bin."""

    @property
    def share(self) -> Floats:
        """Share of the samples in each bin."""


def reliability_figure(curves: Mapping[str, Curve]) -> Figure:
    """One panel per curve: accuracy over confidence beside the diagonal of honest ones, and the samples of each bin.

    Args:
        curves: by title, such as ``{"plain": ..., "corrected": ...}``.

    Raises:
        InputError: there is no curve.
    """
    if not curves:
        raise InputError("curves", "must hold at least one curve", "none")
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(3.2 * len(curves) + 0.4, 3.8), layout="constrained")
        axes = figure.subplots(2, len(curves), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 1))
        for (title, curve), upper, lower in zip(curves.items(), *axes, strict=True):
            upper.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="honest")
            upper.plot(curve.confidence, curve.accuracy, marker="o", label="measured")
            upper.set_title(title)
            lower.bar(curve.confidence, curve.share, width=0.04)
            lower.set_xlabel("confidence")
        axes[0, 0].set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
        axes[1, 0].set_ylabel("share of samples")
        axes[0, 0].legend(loc="upper left")
    return figure
