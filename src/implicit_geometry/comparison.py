"""How far two geometries are from each other, and which part of that a theory of counts and loss can be blamed for.

Theory knows the counts and the loss: classes that agree in both are exchangeable to it. Real classes are not. The
average of a matrix over all permutations inside the groups of such classes is an orthogonal projection, so that the
square of a distance is exactly the sum of two: that of the averages (systematic), and that of what the averages leave
(heterogeneity). A predicted geometry is its own average; the heterogeneity is then all of the measured one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import ArrayLike

from implicit_geometry._validate import Floats, InputError, Ints, instance
from implicit_geometry.counts import ClassCounts
from implicit_geometry.differences import CommonRows, GroupAverage, Products, UnitDifference
from implicit_geometry.geometry import Geometry
from implicit_geometry.groups import exchangeable_classes
from implicit_geometry.lowrank import MAX_EXACT_ROWS, LowRank
from implicit_geometry.problem import Problem

_BLOCKS = ("classifier", "embedding", "cross")


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


@dataclass(frozen=True, repr=False)
class SplitComparison(Comparison):
    """Distances of the three blocks, and the two parts of each, whose squares sum to that of the distance.

    Attributes:
        systematic: distances of the averages over all permutations inside groups of equal classes, left at their size:
            what a theory of counts and loss can be blamed for.
        heterogeneity: distances of what the averages leave: how unlike each other equal classes are.

    Example:
        >>> parts = Comparison(0.3, 0.0, 0.6), Comparison(0.4, 0.2, 0.8)
        >>> SplitComparison(0.5, 0.2, 1.0, systematic=parts[0], heterogeneity=parts[1]).heterogeneity.classifier
        0.4
    """

    systematic: Comparison
    heterogeneity: Comparison

    def __repr__(self) -> str:
        parts = (
            f"{name}=({', '.join(format(getattr(part, block), '.3g') for block in _BLOCKS)})"
            for name, part in (("systematic", self.systematic), ("heterogeneity", self.heterogeneity))
        )
        blocks = (f"{block}={getattr(self, block):.3g}" for block in _BLOCKS)
        return f"SplitComparison({', '.join([*blocks, *parts])})"


@overload
def compare(geometry_a: Geometry, geometry_b: Geometry, *, groups: None = None) -> Comparison: ...


@overload
def compare(
    geometry_a: Geometry, geometry_b: Geometry, *, groups: Problem | ClassCounts | ArrayLike
) -> SplitComparison: ...


def compare(
    geometry_a: Geometry, geometry_b: Geometry, *, groups: Problem | ClassCounts | ArrayLike | None = None
) -> Comparison | SplitComparison:
    """Compare two geometries up to the scale of each block, | A / |A| - B / |B| |_F.

    Args:
        geometry_a: over k classes.
        geometry_b: over the same k classes in the same order.
        groups: split every distance into a systematic part and the heterogeneity of equal classes: those of equal
            counts, or, where a problem is given, of equal counts and equal vectors of the loss. Give the problem where
            the loss treats classes of equal counts differently.

    Returns:
        The distances, with their parts where ``groups`` are given.

    Raises:
        InputError: one is no :class:`Geometry`, the numbers of classes differ, or no two classes of ``groups`` are
            equal.

    Source: Behnia et al. (2023), Section 5 (the distances of their Fig. 4).

    Example:
        >>> from implicit_geometry.geometry import simplex_etf
        >>> compare(simplex_etf(4), simplex_etf(4)).classifier < 1e-15
        True
        >>> measured = Geometry.from_factors(np.diag([3.0, 2.0, 1.0]), np.eye(3))
        >>> found = compare(measured, simplex_etf(3), groups=[90, 10, 10])
        >>> round(found.heterogeneity.classifier, 4)  # squared norms 4 and 1 in place of 2.5, over |A|
        0.2143
        >>> abs(found.systematic.classifier**2 + found.heterogeneity.classifier**2 - found.classifier**2) < 1e-12
        True
    """
    instance("geometry_a", geometry_a, Geometry)
    instance("geometry_b", geometry_b, Geometry)
    if geometry_a.num_classes != geometry_b.num_classes:
        raise InputError(
            "geometry_b", f"must have the {geometry_a.num_classes} classes of geometry_a", geometry_b.num_classes
        )
    if groups is None:
        products = Products()
        pairs = ((getattr(geometry_a, name), getattr(geometry_b, name)) for name in _BLOCKS)
        return Comparison(*(gram_distance(a, b, products) for a, b in pairs))
    alike = exchangeable_classes("groups", groups)
    if alike.group.size != geometry_a.num_classes:
        raise InputError("groups", f"must cover the {geometry_a.num_classes} classes compared", alike.group.size)
    if alike.all_differ:
        kind = "counts and vectors of the loss" if isinstance(groups, Problem) else "counts"
        expected = f"must hold two classes of equal {kind}: a distance splits at what equal classes have in common"
        raise InputError("groups", expected, f"{alike.group.size} classes that all differ")
    return _split(geometry_a, geometry_b, alike.group)


def _split(geometry_a: Geometry, geometry_b: Geometry, group: Ints) -> SplitComparison:
    products = Products()
    parts = [split_distance(getattr(geometry_a, name), getattr(geometry_b, name), group, products) for name in _BLOCKS]
    whole, systematic, heterogeneity = (Comparison(*numbers) for numbers in zip(*parts, strict=True))
    return SplitComparison(whole.classifier, whole.embedding, whole.cross, systematic, heterogeneity)


def gram_distance(a: LowRank, b: LowRank, products: Products | None = None) -> float:
    """Frobenius distance of two matrices scaled to unit Frobenius norm; NaN where one is zero, or below 1e-307.

    Args:
        a: over k classes.
        b: likewise.
        products: of the factors of other blocks, which are not computed again; new ones are added.
    """
    rows = CommonRows.of(a, b)
    if rows.group.size > MAX_EXACT_ROWS:
        return UnitDifference(a, b, rows, products or Products()).norm()
    difference = _unit_difference(a, b)
    return float("nan") if difference is None else difference.frobenius_norm()


def systematic_distance(a: LowRank, b: LowRank, group: Ints) -> tuple[float, float]:
    """The distance of :func:`gram_distance`, and that of the averages inside groups of classes.

    Args:
        a: over k classes.
        b: likewise.
        group: a number for each class, shape (k,).
    """
    rows = CommonRows.of(a, b, group)
    if rows.group.size > MAX_EXACT_ROWS:
        return UnitDifference(a, b, rows, Products()).norms()
    difference = _unit_difference(a, b)
    if difference is None:
        return float("nan"), float("nan")
    return difference.frobenius_norm(), _Averaged(difference, group).average.norm()


def split_distance(a: LowRank, b: LowRank, group: Ints, products: Products | None = None) -> tuple[float, float, float]:
    """As :func:`systematic_distance`, and the heterogeneity: the distance of what the averages leave."""
    rows = CommonRows.of(a, b, group)
    if rows.group.size > MAX_EXACT_ROWS:
        whole, systematic = UnitDifference(a, b, rows, products or Products()).norms()
        return whole, systematic, float(np.sqrt(np.maximum(whole**2 - systematic**2, 0.0)))
    difference = _unit_difference(a, b)
    if difference is None:
        return float("nan"), float("nan"), float("nan")
    averaged = _Averaged(difference, group)
    return difference.frobenius_norm(), averaged.average.norm(), averaged.distance()


def _unit_difference(a: LowRank, b: LowRank) -> LowRank | None:
    norm_a, norm_b = a.frobenius_norm(), b.frobenius_norm()
    if min(norm_a, norm_b) < np.finfo(np.float64).tiny:
        return None
    return a.scaled(1 / norm_a).minus(b.scaled(1 / norm_b))


class _Averaged:
    """A matrix beside its average over all permutations inside groups of classes, entry by entry."""

    def __init__(self, matrix: LowRank, group: Ints) -> None:
        group = np.unique(group, return_inverse=True)[1]
        code = matrix.group * np.int64(group.max() + 1) + group  # rows within which classes share entries and group
        _, first, row = np.unique(code, return_index=True, return_inverse=True)
        rows = matrix.group[first]
        self._group, self._multiplicity = group[first], np.bincount(row).astype(np.float64)
        self._diagonal, self._left, self._right = matrix.diagonal[rows], matrix.left[rows], matrix.right[rows]
        self._by_group = np.argsort(self._group, kind="stable")
        self._first_of_group = np.flatnonzero(np.diff(self._group[self._by_group], prepend=-1))
        own = np.einsum("ij,ij->i", self._left, self._right)
        parts = np.ones(rows.size), self._diagonal, own, self._left, self._right
        self.average = GroupAverage.of(*map(self._sums, parts))

    def distance(self) -> float:
        """Frobenius norm of what the average leaves of the matrix."""
        average = self.average
        means = average.left @ average.right.T / np.outer(average.size, average.size)
        means[np.diag_indices_from(means)] = average.inside
        rest = self._left @ self._right.T
        rest -= means[np.ix_(self._group, self._group)]
        rest *= rest
        weights = np.outer(self._multiplicity, self._multiplicity)
        weights[np.diag_indices_from(weights)] -= self._multiplicity
        on_diagonal = self._multiplicity @ (self._diagonal - average.diagonal[self._group]) ** 2
        return float(np.sqrt(on_diagonal + np.vdot(weights, rest)))

    def _sums(self, rows: Floats) -> Floats:
        """Sums over the classes of each group, shape (G,) or (G, r)."""
        weighted = (rows.T * self._multiplicity).T[self._by_group]
        return np.asarray(np.add.reduceat(weighted, self._first_of_group, axis=0))
