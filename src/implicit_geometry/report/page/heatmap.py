"""Gram matrices as pictures of one pixel per entry, which a page scales up: small enough for hundreds of runs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib.image
import numpy as np
from matplotlib import colormaps

from implicit_geometry._validate import Floats, Ints
from implicit_geometry.lowrank import LowRank

MOST_CLASSES = 100
"""Classes that are drawn; of more, as many evenly spaced ones."""

_COLORS = colormaps["RdBu_r"].with_extremes(bad="#BBBBBB")


def drawn_classes(num_classes: int) -> Ints:
    """The classes whose entries are drawn.

    Example:
        >>> drawn_classes(3).tolist(), len(drawn_classes(1000)), int(drawn_classes(1000)[-1])
        ([0, 1, 2], 100, 999)
    """
    return np.unique(np.linspace(0, num_classes - 1, min(num_classes, MOST_CLASSES)).round().astype(np.int64))


def drawn_entries(gram: LowRank) -> Floats:
    """Entries between the drawn classes over the Frobenius norm of the whole matrix; NaN where that is zero.

    Example:
        >>> from implicit_geometry.gram import Gram
        >>> drawn_entries(Gram.from_factors([[3.0, 0.0], [0.0, 2.0]])).round(4).tolist()
        [[0.9138, 0.0], [0.0, 0.4061]]
    """
    part = LowRank(gram.diagonal, gram.left, gram.right, gram.group[drawn_classes(gram.num_classes)])
    norm = gram.frobenius_norm()
    return part.dense() / norm if norm else np.full((part.num_classes, part.num_classes), np.nan)


def heatmap_pngs(matrices: Sequence[Floats]) -> list[bytes]:
    """PNGs on one diverging scale, linear in the signed square root of the entry; NaN is grey.

    Example:
        >>> [image[1:4] for image in heatmap_pngs([np.eye(2)])]
        [b'PNG']
    """
    largest = max(float(np.nanmax(np.abs(matrix), initial=0.0)) for matrix in matrices) or 1.0
    return [_png(np.sign(matrix) * np.sqrt(np.abs(matrix) / largest)) for matrix in matrices]


def scale_png() -> bytes:
    """The colours of :func:`heatmap_pngs` from the most negative entry to the most positive, in one line."""
    return _png(np.linspace(-1, 1, 101)[None])


def _png(positions: Floats) -> bytes:
    """Positions from -1 to 1 on the colour scale as a picture."""
    colors = np.asarray(_COLORS(np.ma.masked_invalid(0.5 + 0.5 * positions)))
    bare: dict[str, Any] = {"Software": None}
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, (255 * colors[..., :3]).round().astype(np.uint8), metadata=bare)
    return buffer.getvalue()
