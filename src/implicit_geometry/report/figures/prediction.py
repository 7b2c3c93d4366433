"""A picture of one geometry: cosines and norms, class by class."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from implicit_geometry._validate import Floats, InputError, instance
from implicit_geometry.counts import ClassCounts
from implicit_geometry.geometry import Geometry
from implicit_geometry.gram import Gram
from implicit_geometry.report.figures.style import FIGURE_STYLE
from implicit_geometry.rules import RULES

MAX_CLASSES = 1000
"""Largest number of classes that :func:`geometry_picture` draws."""


def geometry_picture(counts: ClassCounts, geometry: Geometry) -> Figure:
    """Cosines between classifiers and between embeddings, and their norms over the class counts.

    Args:
        counts: samples per class.
        geometry: over the same classes, at most :data:`MAX_CLASSES`.

    Raises:
        InputError: too many classes for a picture, or a geometry of other classes.
    """
    counts = ClassCounts(counts)
    if instance("geometry", geometry, Geometry).num_classes != counts.num_classes:
        raise InputError("geometry", f"must have the {counts.num_classes} classes of counts", geometry.num_classes)
    if counts.num_classes > MAX_CLASSES:
        raise InputError("counts", f"must have at most {MAX_CLASSES} classes to be drawn", counts.num_classes)
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(11.2, 3.6), layout="constrained")
        cosine_w, cosine_h, norms = figure.subplots(1, 3, width_ratios=(1, 1, 1.25))
        blocks = {"Classifiers W: cosines": geometry.classifier, "Class means H: cosines": geometry.embedding}
        cosines = {title: _cosines(gram) for title, gram in blocks.items()}
        largest = max(float(np.nanmax(np.abs(matrix), initial=1e-12)) for matrix in cosines.values())
        for ax, (title, matrix) in zip((cosine_w, cosine_h), cosines.items(), strict=True):
            draw_cosines(ax, matrix, largest)
            ax.set_title(title)
        figure.colorbar(cosine_h.images[0], ax=[cosine_w, cosine_h], shrink=0.85, aspect=30)
        draw_norms(norms, counts, geometry)
    return figure


def draw_cosines(ax: Axes, cosines: Floats, largest: float) -> Axes:
    """Cosines of every pair of classes, shape (k, k), on a diverging scale from -largest to largest; NaN is grey."""
    colors = colormaps["RdBu_r"].with_extremes(bad="#DDDDDD")
    ax.imshow(cosines, cmap=colors, vmin=-largest, vmax=largest, interpolation="nearest")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("class")
    ax.grid(False)
    return ax


def _cosines(gram: Gram) -> Floats:
    norms = gram.norms()
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines: Floats = gram.dense() / np.outer(norms, norms)
    np.fill_diagonal(cosines, np.nan)
    return cosines


def draw_norms(ax: Axes, counts: ClassCounts, geometry: Geometry) -> Axes:
    """Norms relative to the largest class's, over the class counts, both on logarithmic axes."""
    order = np.argsort(counts.values, kind="stable")[::-1]
    shown = counts.values[order]
    for name, gram, rule in (("|w|", geometry.classifier, "cdt"), ("|h|", geometry.embedding, "ldt")):
        norms = gram.norms()[order]
        style = RULES[rule]
        label = f"{name}, relative to the largest class"
        ax.plot(shown, norms / norms[0], color=style.color, marker=style.marker, markersize=5, label=label)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_title("Norms")
    ax.set_xlabel("samples of the class")
    ax.legend()
    return ax
