"""How far two geometries are from each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from implicit_geometry._validate import InputError, instance
from implicit_geometry.geometry import Geometry
from implicit_geometry.lowrank import LowRank


@dataclass(frozen=True)
class Comparison:
    """Distances of the three blocks, each scaled to unit Frobenius norm: 0 is equal up to scale, 2 is opposite.

    A block that is zero in one of the two geometries (minority collapse of all classes) has distance NaN.

    Example:
        >>> Comparison(classifier=0.0, embedding=0.1, cross=0.2).embedding
        0.1
    """

    classifier: float
    embedding: float
    cross: float


def compare(geometry_a: Geometry, geometry_b: Geometry) -> Comparison:
    """Compare two geometries up to the scale of each block, | A / |A| - B / |B| |_F.

    Args:
        geometry_a: over k classes.
        geometry_b: over the same k classes in the same order.

    Raises:
        InputError: one is no :class:`Geometry`, or the numbers of classes differ.

    Source: Behnia et al. (2023), Section 5 (the distances of their Fig. 4).

    Example:
        >>> from implicit_geometry.geometry import simplex_etf
        >>> compare(simplex_etf(4), simplex_etf(4)).classifier < 1e-15
        True
    """
    instance("geometry_a", geometry_a, Geometry)
    instance("geometry_b", geometry_b, Geometry)
    if geometry_a.num_classes != geometry_b.num_classes:
        raise InputError(
            "geometry_b", f"must have the {geometry_a.num_classes} classes of geometry_a", geometry_b.num_classes
        )
    return Comparison(
        gram_distance(geometry_a.classifier, geometry_b.classifier),
        gram_distance(geometry_a.embedding, geometry_b.embedding),
        gram_distance(geometry_a.cross, geometry_b.cross),
    )


def gram_distance(a: LowRank, b: LowRank) -> float:
    """Frobenius distance of two matrices scaled to unit Frobenius norm; NaN where one is zero, or below 1e-307."""
    norm_a, norm_b = a.frobenius_norm(), b.frobenius_norm()
    if min(norm_a, norm_b) < np.finfo(np.float64).tiny:
        return float("nan")
    return a.scaled(1 / norm_a).minus(b.scaled(1 / norm_b)).frobenius_norm()
