"""From logits on groups of equal classes to the geometry of all classes."""

from __future__ import annotations

import numpy as np

from implicit_geometry._validate import Floats, Ints
from implicit_geometry.geometry import Geometry
from implicit_geometry.gram import Gram
from implicit_geometry.groups import ClassGroups
from implicit_geometry.lowrank import LowRank
from implicit_geometry.theory.numerics.singular_values import svd

_Parts = tuple[Floats, Floats, Floats, Ints]  # of a LowRank


def grouped_geometry(
    groups: ClassGroups,
    root_count: Floats,
    own: Floats,
    mean: Floats,
    gradient: Floats | None = None,
    bins: tuple[Floats, Ints] | None = None,
) -> Geometry:
    """The geometry of balanced factors of logits X (columns scaled by sqrt(n)) that treat the classes of a group alike.

    Args:
        groups: which classes are alike; G groups.
        root_count: sqrt(n) of the classes of each group, shape (G,).
        own: number by which X acts on the mean-zero vectors of each group, >= 0 (any for a group of one), shape (G,).
        mean: X on the normalised group means, shape (G, G).
        gradient: at an optimum, the loss gradient by ``mean`` in units of the ridge, shape (G, G). It is minus the
            polar factor of X, but holds small rows and columns to relative accuracy, which singular vectors do not.
        bins: sizes of bins of groups and the bin of each group, shapes (B,) and (G,), for logits that treat the classes
            of a bin alike: ``own`` and ``mean`` are those of bins then.

    Returns:
        W W^T = (X X^T)^(1/2), the embeddings' Gram D^-1 (X^T X)^(1/2) D^-1 and X D^-1 as it is, with D = diag(sqrt(n)).
    """
    left, sigma, right = svd(mean)
    size, place = (groups.size, np.arange(groups.size.size)) if bins is None else bins
    root_size, several = np.sqrt(size)[:, None], root_count[:, None]
    apart = np.diag(np.sqrt(own / size))[place]
    root_sigma = np.sqrt(sigma) / root_size
    polar = (left, right.T) if gradient is None else (-gradient @ right.T, -gradient.T @ left)
    classifier, embedding = (polar[0] * root_sigma)[place], (polar[1] * root_sigma)[place] / several
    embedding_apart, alone = apart / several, (own * (1 - 1 / size))[place]
    logits, units = (mean / root_size)[place], np.diag(1 / root_size[:, 0])[place] / several

    def block(rows: Floats, columns: Floats, rows_apart: Floats, columns_apart: Floats, scale: Floats) -> _Parts:
        diagonal = np.einsum("gi,gi->g", rows, columns) + alone / scale
        return diagonal, np.hstack([rows, -rows_apart]), np.hstack([columns, columns_apart]), groups.group

    return Geometry(
        Gram(*block(classifier, classifier, apart, apart, np.ones_like(root_count))),
        Gram(*block(embedding, embedding, embedding_apart, embedding_apart, root_count**2)),
        LowRank(*block(logits, units, apart, embedding_apart, root_count)),
    )
