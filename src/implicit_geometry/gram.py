"""Gram matrices: norms, cosines and block averages of k vectors, from their inner products."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from implicit_geometry._validate import Floats, InputError, group_labels, shown
from implicit_geometry.lowrank import LowRank, factored, finite_matrix, refuse_lost_digits


@dataclass(frozen=True)
class BlockSummary:
    """The four numbers the paper plots for one factor: a squared norm ratio and three mean cosines.

    Attributes:
        norm_ratio: mean squared norm of the majority classes over that of the minority classes.
        cos_majority: mean cosine between two different majority classes (NaN where there is only one).
        cos_minority: the same for two minority classes.
        cos_between: the same for a majority and a minority class.

    Example:
        >>> BlockSummary(norm_ratio=1.0, cos_majority=-0.5, cos_minority=-0.5, cos_between=-0.5).norm_ratio
        1.0
    """

    norm_ratio: float
    cos_majority: float
    cos_minority: float
    cos_between: float


@dataclass(frozen=True, eq=False, repr=False)
class Gram(LowRank):
    """The inner products of k vectors with one another, held as in :class:`LowRank`.

    Example:
        >>> Gram.from_factors([[3.0, 4.0], [0.0, 2.0]]).norms()
        array([5., 2.])
    """

    @classmethod
    def from_factors(cls, left: ArrayLike, right: ArrayLike | None = None) -> Gram:
        """All inner products ``left[i] . right[j]`` of two sets of k vectors (k, r); ``right`` defaults to ``left``.

        Raises:
            InputError: the factors are not two finite matrices of one shape, or a vector is neither zero nor of a size
                whose square float64 holds.
        """
        return cls(*factored(left, right))

    @classmethod
    def from_dense(cls, matrix: ArrayLike) -> Gram:
        """A k x k matrix given entry by entry.

        Raises:
            InputError: the matrix is not square and finite.
        """
        entries = finite_matrix("matrix", matrix)
        if entries.shape[0] != entries.shape[1]:
            raise InputError("matrix", "must be square", f"shape {entries.shape}")
        return cls(entries.diagonal(), entries, np.eye(len(entries)), np.arange(len(entries)))

    def scaled(self, factor: float) -> Gram:
        """The matrix times a number.

        Raises:
            InputError: ``factor`` is not a finite number, or an entry overflows.
        """
        return Gram(*self._scaled_parts(factor), self.right, self.group)

    def subset(self, classes: ArrayLike) -> Gram:
        """The inner products of some of the vectors, in the order given.

        Raises:
            InputError: ``classes`` are not class indices.
        """
        rows, group = self._rows_of(classes)
        return Gram(self.diagonal[rows], self.left[rows], self.right[rows], group)

    def squared_norms(self) -> Floats:
        """Squared norms of the k vectors, shape (k,)."""
        return self.diagonal[self.group]

    def norms(self) -> Floats:
        """Norms of the k vectors, shape (k,)."""
        return self._row_norms[self.group]

    def cosine(self, i: int, j: int) -> float:
        """Cosine of the angle between the vectors of classes ``i`` and ``j`` (NaN where one is zero).

        Raises:
            InputError: a class is out of range, or rounding leaves no six digits of the cosine.
        """
        inner = self.entry(i, j)
        row, column = self.group[i], self.group[j]
        scale = float(self._row_norms[row] * self._row_norms[column])
        if scale == 0:
            return float("nan")
        if i == j:
            return 1.0
        refuse_lost_digits(float(np.abs(self.left[row]) @ np.abs(self.right[column])) / scale)
        return inner / scale

    def block_cosines(self, groups: ArrayLike) -> Floats:
        """Mean cosine over all pairs of different classes, for every pair of groups.

        Args:
            groups: one label per class, of any comparable kind, shape (k,).

        Returns:
            Symmetric matrix in the order of the sorted labels, shape (number of groups, number of groups). NaN on the
            diagonal for a group of one class, and wherever a vector of the group is zero.

        Raises:
            InputError: not one label per class, or rounding leaves no six digits of a mean.
        """
        labels = group_labels("groups", groups, self.num_classes)
        size = np.bincount(labels).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = 1.0 / self._row_norms
            left = self.left * scale[:, None]
            right = left if self.right is self.left else self.right * scale[:, None]
            weight = np.zeros((size.size, self.diagonal.size))
            np.add.at(weight, (labels, self.group), 1.0)
            present = weight > 0
            total, size_of_terms = _sums_and_sizes(weight, present, left)
            other = (total, size_of_terms) if right is left else _sums_and_sizes(weight, present, right)
            own = _masked_product(weight, present, np.einsum("ij,ij->i", left, right)[:, None])[:, 0]
            sums = total @ other[0].T
            sums[np.diag_indices_from(sums)] -= own
            pairs = np.outer(size, size)
            pairs[np.diag_indices_from(pairs)] -= size
            terms = size_of_terms @ other[1].T
            mean_terms = np.where(pairs > 0, terms / pairs, 0.0)
            refuse_lost_digits(float(np.max(mean_terms[np.isfinite(mean_terms)], initial=0.0)))
            return np.asarray(np.where(pairs > 0, sums / pairs, np.nan))

    def block_summary(self, majority: ArrayLike) -> BlockSummary:
        """Squared norm ratio and the three mean cosines of majority and minority classes.

        Args:
            majority: boolean mask with at least one class of either kind, shape (k,).

        Raises:
            InputError: the mask has another shape, or holds only one kind.
        """
        expected = f"must be a mask of shape ({self.num_classes},) with classes of both kinds"
        try:
            mask = np.asarray(majority)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError("majority", expected, f"{shown(majority)} ({error})") from error
        if mask.dtype != np.bool_ or mask.shape != (self.num_classes,) or mask.all() or not mask.any():
            count = f" with {int(mask.sum())} majority classes" if mask.dtype == np.bool_ else ""
            raise InputError("majority", expected, f"{mask.dtype} of shape {mask.shape}{count}")
        squared = self.squared_norms()
        cosines = self.block_cosines(mask)
        with np.errstate(divide="ignore", invalid="ignore"):
            squared = squared / squared.max()
            ratio = np.divide(squared[mask].mean(), squared[~mask].mean())
        return BlockSummary(float(ratio), float(cosines[1, 1]), float(cosines[0, 0]), float(cosines[0, 1]))

    @cached_property
    def _row_norms(self) -> Floats:
        return np.sqrt(np.maximum(self.diagonal, 0.0))


def _sums_and_sizes(weight: Floats, present: NDArray[np.bool_], rows: Floats) -> tuple[Floats, Floats]:
    """Sums of the rows of each group, and of their absolute values."""
    return _masked_product(weight, present, rows), _masked_product(weight, present, np.abs(rows))


def _masked_product(weight: Floats, present: NDArray[np.bool_], rows: Floats) -> Floats:
    """``weight @ rows`` in which a row that is not finite only touches the groups it is part of."""
    finite = np.isfinite(rows)
    if finite.all():
        return np.asarray(weight @ rows)
    product = weight @ np.where(finite, rows, 0.0)
    product[(present.astype(np.float64) @ ~finite) > 0] = np.nan
    return np.asarray(product)
