"""One representation of every k x k matrix of inner products: its diagonal, and a low-rank rest.

Ten classes and a million classes are the same code: norms, cosines, block averages and Frobenius products cost O(G
r) or
O(G r^2) for G rows of rank r, and no k x k matrix is formed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from implicit_geometry._validate import Floats, InputError, Ints, class_index, frozen, group_labels, instance, number

MAX_DENSE_CLASSES = 5000
"""Largest number of classes for which :meth:`Gram.dense` forms the k x k matrix (200 MB)."""

_MAX_EXACT_ROWS = 4096


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


@dataclass(frozen=True, eq=False)
class Gram:
    """A k x k matrix whose entry (i, j) is ``diagonal[g(i)]`` if i = j, else ``left[g(i)] . right[g(j)]``.

    ``g`` = ``group`` sends classes that share every entry to one row. Keeping the diagonal itself (not the diagonal
    minus
    the low-rank part) keeps norms accurate to machine precision where classes differ by many orders of magnitude.

    Args:
        diagonal: shape (G,).
        left: shape (G, r).
        right: shape (G, r).
        group: row of each class, shape (k,).

    Raises:
        InputError: the shapes do not fit together, or a group is not a row.

    Example:
        >>> Gram.from_factors([[3.0, 4.0], [0.0, 2.0]]).norms()
        array([5., 2.])
    """

    diagonal: Floats
    left: Floats
    right: Floats
    group: Ints

    def __post_init__(self) -> None:
        for name in ("diagonal", "left", "right", "group"):
            array = np.asarray(getattr(self, name))
            object.__setattr__(self, name, frozen(array) if array.flags.writeable else array)
        rows = self.diagonal.shape[0] if self.diagonal.ndim == 1 else -1
        if self.left.ndim != 2 or self.left.shape != self.right.shape or self.left.shape[0] != rows:
            shapes = {name: getattr(self, name).shape for name in ("diagonal", "left", "right")}
            raise InputError("parts", "must have shapes (G,), (G, r) and (G, r)", shapes)
        group = self.group
        if (
            group.ndim != 1
            or group.dtype.kind not in "iu"
            or not (group.size and 0 <= group.min() <= group.max() < rows)
        ):
            raise InputError("group", f"must hold a row in 0..{rows - 1} for every class", f"{group.dtype} {group}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Gram) and all(
            np.array_equal(a, b) for a, b in zip(self._parts, other._parts, strict=True)
        )

    def __hash__(self) -> int:
        return hash(tuple(part.tobytes() for part in self._parts))

    def __reduce__(self) -> tuple[Any, ...]:
        return Gram, self._parts

    @classmethod
    def from_factors(cls, left: ArrayLike, right: ArrayLike | None = None) -> Gram:
        """All inner products ``left[i] . right[j]`` of two sets of k vectors (k, r); ``right`` defaults to ``left``.

        Raises:
            InputError: the factors are not two finite matrices of one shape.
        """
        rows = _matrix("left", left)
        columns = rows if right is None else _matrix("right", right)
        if rows.shape != columns.shape:
            raise InputError("right", f"must have the shape of left, {rows.shape}", columns.shape)
        return cls(np.einsum("ij,ij->i", rows, columns), rows, columns, np.arange(len(rows)))

    @classmethod
    def from_dense(cls, matrix: ArrayLike) -> Gram:
        """A k x k matrix given entry by entry.

        Raises:
            InputError: the matrix is not square and finite.
        """
        entries = _matrix("matrix", matrix)
        if entries.shape[0] != entries.shape[1]:
            raise InputError("matrix", "must be square", f"shape {entries.shape}")
        return cls.from_factors(entries, np.eye(len(entries)))

    @property
    def num_classes(self) -> int:
        """Number of classes k."""
        return int(self.group.size)

    @cached_property
    def multiplicity(self) -> Floats:
        """Number of classes behind each row, shape (G,)."""
        return np.bincount(self.group, minlength=self.diagonal.size).astype(np.float64)

    def entry(self, i: int, j: int) -> float:
        """The inner product of classes ``i`` and ``j``."""
        i, j = (class_index(name, index, self.num_classes) for name, index in (("i", i), ("j", j)))
        row, column = self.group[i], self.group[j]
        return float(self.diagonal[row] if i == j else self.left[row] @ self.right[column])

    def squared_norms(self) -> Floats:
        """The diagonal, one value a class, shape (k,)."""
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
        _refuse_lost_digits(float(np.abs(self.left[row]) @ np.abs(self.right[column])) / scale)
        return inner / scale

    def dense(self) -> Floats:
        """The k x k matrix.

        Raises:
            InputError: k is above :data:`MAX_DENSE_CLASSES`.
        """
        if self.num_classes > MAX_DENSE_CLASSES:
            raise InputError(
                "dense()",
                f"forms a k x k matrix and needs at most {MAX_DENSE_CLASSES} classes",
                f"{self.num_classes}; use norms(), cosine(i, j) or block_cosines(groups)",
            )
        full = (self.left @ self.right.T)[np.ix_(self.group, self.group)]
        np.fill_diagonal(full, self.squared_norms())
        return full

    def block_cosines(self, groups: ArrayLike) -> Floats:
        """Mean cosine over all pairs of different classes, for every pair of groups.

        Args:
            groups: one label a class, of any comparable kind, shape (k,).

        Returns:
            Symmetric matrix in the order of the sorted labels, shape (number of groups, number of groups). NaN on the
            diagonal for a group of one class, and wherever a vector of the group is zero.

        Raises:
            InputError: not one label a class, or rounding leaves no six digits of a mean.
        """
        labels = group_labels("groups", groups, self.num_classes)
        size = np.bincount(labels).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = 1.0 / self._row_norms
            left, right = self.left * scale[:, None], self.right * scale[:, None]
            weight = np.zeros((size.size, self.diagonal.size))
            np.add.at(weight, (labels, self.group), 1.0)
            present = weight > 0
            totals = _masked_product(weight, present, left), _masked_product(weight, present, right)
            own = _masked_product(weight, present, np.einsum("ij,ij->i", left, right)[:, None])[:, 0]
            sums = totals[0] @ totals[1].T
            sums[np.diag_indices_from(sums)] -= own
            pairs = np.outer(size, size)
            pairs[np.diag_indices_from(pairs)] -= size
            terms = _masked_product(weight, present, np.abs(left)) @ _masked_product(weight, present, np.abs(right)).T
            mean_terms = np.where(pairs > 0, terms / pairs, 0.0)
            _refuse_lost_digits(float(np.max(mean_terms[np.isfinite(mean_terms)], initial=0.0)))
            return np.asarray(np.where(pairs > 0, sums / pairs, np.nan))

    def block_summary(self, majority: ArrayLike) -> BlockSummary:
        """Squared norm ratio and the three mean cosines of majority and minority classes.

        Args:
            majority: boolean mask with at least one class of either kind, shape (k,).

        Raises:
            InputError: the mask has another shape, or holds only one kind.
        """
        mask = np.asarray(majority, dtype=bool)
        if mask.shape != (self.num_classes,) or mask.all() or not mask.any():
            raise InputError(
                "majority",
                f"must be a mask of shape ({self.num_classes},) with classes of both kinds",
                f"shape {mask.shape} with {int(mask.sum())} majority classes",
            )
        squared = self.squared_norms()
        cosines = self.block_cosines(mask)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.divide(squared[mask].mean(), squared[~mask].mean())
        return BlockSummary(float(ratio), float(cosines[1, 1]), float(cosines[0, 0]), float(cosines[0, 1]))

    def frobenius_norm(self) -> float:
        """Root of the sum of all squared entries.

        Entry by entry up to 4096 rows; above that by traces of r x r matrices, which loses half the digits where the
        off-diagonal entries cancel.
        """
        peak = float(
            max(np.abs(self.diagonal).max(), np.abs(self.left).max(initial=0) * np.abs(self.right).max(initial=0))
        )
        if peak == 0:
            return 0.0
        m, diagonal, left = self.multiplicity, self.diagonal / peak, self.left / peak
        own = np.einsum("ij,ij->i", left, self.right)
        if self.diagonal.size <= _MAX_EXACT_ROWS:
            squares = (left @ self.right.T) ** 2
            weights = np.outer(m, m)
            weights[np.diag_indices_from(weights)] -= m
            off_diagonal = float((weights * squares).sum())
        else:
            outer_left, outer_right = (factor.T @ (m[:, None] * factor) for factor in (left, self.right))
            off_diagonal = max(float((outer_left * outer_right).sum() - m @ own**2), 0.0)
        return peak * float(np.sqrt(m @ diagonal**2 + off_diagonal))

    def scaled(self, factor: float) -> Gram:
        """The matrix times a finite number.

        Raises:
            InputError: the factor is not a finite number.
        """
        factor = number("factor", factor)
        return Gram(self.diagonal * factor, self.left * factor, self.right, self.group)

    def minus(self, other: Gram) -> Gram:
        """The difference of two matrices over the same classes, on the common refinement of their rows.

        Raises:
            InputError: the numbers of classes differ.
        """
        if self.num_classes != instance("other", other, Gram).num_classes:
            raise InputError("other", f"must have {self.num_classes} classes", other.num_classes)
        code = self.group * np.int64(other.diagonal.size) + other.group
        _, first, group = np.unique(code, return_index=True, return_inverse=True)
        mine, theirs = self.group[first], other.group[first]
        return Gram(
            self.diagonal[mine] - other.diagonal[theirs],
            np.hstack([self.left[mine], -other.left[theirs]]),
            np.hstack([self.right[mine], other.right[theirs]]),
            group,
        )

    @property
    def _parts(self) -> tuple[Floats, Floats, Floats, Ints]:
        return self.diagonal, self.left, self.right, self.group

    @cached_property
    def _row_norms(self) -> Floats:
        return np.sqrt(np.maximum(self.diagonal, 0.0))


def _refuse_lost_digits(largest_terms: float) -> None:
    """Refuse a cosine that is the difference of terms so large that rounding leaves no six digits of it."""
    if largest_terms * np.finfo(np.float64).eps > 1e-6:
        raise InputError(
            "classes",
            "must have vectors of comparable size for a cosine between them",
            f"terms that cancel from {largest_terms:.1e} times the product of the norms",
        )


def _masked_product(weight: Floats, present: NDArray[np.bool_], rows: Floats) -> Floats:
    """``weight @ rows`` in which a row that is not finite only touches the groups it is part of."""
    finite = np.isfinite(rows)
    product = weight @ np.where(finite, rows, 0.0)
    product[(present.astype(np.float64) @ ~finite) > 0] = np.nan
    return np.asarray(product)


def _matrix(name: str, values: Any) -> Floats:
    try:
        matrix = np.asarray(values)
        if matrix.dtype.kind not in "iuf":
            raise TypeError(f"dtype {matrix.dtype}")
        matrix = matrix.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(name, "must be a matrix of numbers", error) from error
    if matrix.ndim != 2 or matrix.size == 0 or not np.isfinite(matrix).all():
        raise InputError(name, "must be a finite, non-empty matrix", f"shape {matrix.shape}")
    return frozen(matrix)
