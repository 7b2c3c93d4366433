"""One representation of every k x k matrix of inner products: its diagonal, and a low-rank rest.

Ten classes and a million classes are the same code: entries, differences and Frobenius norms cost O(G r) or O(G r^2)
for G rows of rank r, and no k x k matrix is formed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from implicit_geometry._validate import Floats, InputError, Ints, class_index, frozen, instance, number

MAX_DENSE_CLASSES = 5000
"""Largest number of classes for which :meth:`LowRank.dense` forms the k x k matrix (200 MB)."""

MAX_EXACT_ROWS = 4096
"""Largest number of rows up to which norms are summed entry by entry (128 MB)."""

_SMALLEST, _LARGEST = 1e-145, 1e145  # largest entries of vectors whose squared norms float64 holds


@dataclass(frozen=True, eq=False, repr=False)
class LowRank:
    """A k x k matrix whose entry (i, j) is ``diagonal[g(i)]`` if i = j, else ``left[g(i)] . right[g(j)]``.

    ``g`` = ``group`` sends classes that share every entry to one row. Keeping the diagonal itself (not the diagonal
    minus the low-rank part) keeps it accurate to machine precision where classes differ by many orders of magnitude.

    Args:
        diagonal: shape (G,).
        left: shape (G, r).
        right: shape (G, r).
        group: row of each class, shape (k,).

    Raises:
        InputError: the shapes do not fit together, a number is not finite, or a group is not a row.

    Example:
        >>> LowRank([2.0], [[1.0]], [[-1.0]], [0, 0]).dense()
        array([[ 2., -1.],
               [-1.,  2.]])
    """

    diagonal: Floats
    left: Floats
    right: Floats
    group: Ints

    def __post_init__(self) -> None:
        for name in ("diagonal", "left", "right"):
            object.__setattr__(self, name, finite_array(name, getattr(self, name)))
        rows = self.diagonal.shape[0] if self.diagonal.ndim == 1 else -1
        if self.left.ndim != 2 or self.left.shape != self.right.shape or self.left.shape[0] != rows:
            shapes = ", ".join(f"{name} {getattr(self, name).shape}" for name in ("diagonal", "left", "right"))
            raise InputError("parts", "must have shapes (G,), (G, r) and (G, r)", shapes)
        object.__setattr__(self, "group", _rows_of_classes(self.group, rows))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(
            np.array_equal(a, b) for a, b in zip(self._parts, other._parts, strict=True)
        )

    def __hash__(self) -> int:
        return hash(tuple(part.tobytes() for part in self._parts))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._parts

    def __repr__(self) -> str:
        rows, rank = self.left.shape
        return f"{type(self).__name__}(num_classes={self.num_classes}, rows={rows}, rank={rank})"

    @property
    def num_classes(self) -> int:
        """Number of classes k."""
        return int(self.group.size)

    @cached_property
    def multiplicity(self) -> Floats:
        """Number of classes behind each row, shape (G,)."""
        return np.bincount(self.group, minlength=self.diagonal.size).astype(np.float64)

    @cached_property
    def factor_norms(self) -> tuple[float, float]:
        """Frobenius norms of ``left`` and of ``right``."""
        left = _norm(self.left)
        return left, left if self.right is self.left else _norm(self.right)

    def entry(self, i: int, j: int) -> float:
        """Row ``i``, column ``j``.

        Raises:
            InputError: a class is out of range.
        """
        return self._entry(*(class_index(name, index, self.num_classes) for name, index in (("i", i), ("j", j))))

    def _entry(self, i: int, j: int) -> float:
        row, column = self.group[i], self.group[j]
        return float(self.diagonal[row] if i == j else self.left[row] @ self.right[column])

    def dense(self) -> Floats:
        """The k x k matrix.

        Raises:
            InputError: k is above :data:`MAX_DENSE_CLASSES`.
        """
        if self.num_classes > MAX_DENSE_CLASSES:
            raise InputError(
                "num_classes",
                f"must be at most {MAX_DENSE_CLASSES} for the k x k matrix of dense() (entry(i, j) needs none)",
                self.num_classes,
            )
        full = (self.left @ self.right.T)[np.ix_(self.group, self.group)]
        np.fill_diagonal(full, self.diagonal[self.group])
        return full

    def frobenius_norm(self) -> float:
        """Root of the sum of all squared entries.

        Entry by entry up to 4096 rows; above that by traces of r x r matrices, which loses half the digits where the
        off-diagonal entries cancel.

        Raises:
            InputError: entries, or products of the largest of ``left`` and ``right``, above 1e290.
        """
        peak = max(_largest(self.diagonal), _largest(self.left) * _largest(self.right))
        refuse_overflow(peak)
        if peak == 0:
            return 0.0
        m, diagonal, left = self.multiplicity, self.diagonal / peak, self.left / peak
        own = np.einsum("ij,ij->i", left, self.right)
        if self.diagonal.size <= MAX_EXACT_ROWS:
            squares = (left @ self.right.T) ** 2
            weights = np.outer(m, m)
            weights[np.diag_indices_from(weights)] -= m
            off_diagonal = float((weights * squares).sum())
        else:
            root = np.sqrt(m)[:, None]
            rows = root * left
            outer_left = rows.T @ rows
            rows = root * self.right
            outer_right = rows.T @ rows
            off_diagonal = max(float((outer_left * outer_right).sum() - m @ own**2), 0.0)
        return peak * float(np.sqrt(m @ diagonal**2 + off_diagonal))

    def scaled(self, factor: float) -> LowRank:
        """The matrix times a number.

        Raises:
            InputError: ``factor`` is not a finite number, or an entry overflows.
        """
        return LowRank(*self._scaled_parts(factor), self.right, self.group)

    def minus(self, other: LowRank) -> LowRank:
        """The difference of two matrices over the same classes, on the common refinement of their rows.

        Raises:
            InputError: the numbers of classes differ, or an entry overflows.
        """
        if self.num_classes != instance("other", other, LowRank).num_classes:
            raise InputError("other", f"must have {self.num_classes} classes", other.num_classes)
        code = self.group * np.int64(other.diagonal.size) + other.group
        _, first, group = np.unique(code, return_index=True, return_inverse=True)
        mine, theirs = self.group[first], other.group[first]
        with np.errstate(over="ignore"):
            diagonal = self.diagonal[mine] - other.diagonal[theirs]
        return LowRank(
            diagonal,
            np.hstack([self.left[mine], -other.left[theirs]]),
            np.hstack([self.right[mine], other.right[theirs]]),
            group,
        )

    def subset(self, classes: ArrayLike) -> LowRank:
        """Rows and columns of some classes, in the order given.

        Raises:
            InputError: ``classes`` are not class indices.

        Example:
            >>> LowRank([2.0, 3.0], [[1.0], [0.0]], [[-1.0], [0.0]], [0, 1, 0]).subset([0, 2]).dense().tolist()
            [[2.0, -1.0], [-1.0, 2.0]]
        """
        rows, group = self._rows_of(classes)
        return LowRank(self.diagonal[rows], self.left[rows], self.right[rows], group)

    def _rows_of(self, classes: ArrayLike) -> tuple[Ints, Ints]:
        """The rows that some classes need, and the new row of each of these classes."""
        chosen = [class_index("classes", c, self.num_classes) for c in np.asarray(classes).ravel().tolist()]
        rows, group = np.unique(self.group[chosen], return_inverse=True)
        return rows, group

    def _scaled_parts(self, factor: float) -> tuple[Floats, Floats]:
        by = number("factor", factor)
        with np.errstate(over="ignore"):
            diagonal, left = self.diagonal * by, self.left * by
        if not (np.isfinite(diagonal).all() and np.isfinite(left).all()):
            raise InputError("factor", "must leave every entry within float64's range", f"{by:g}")
        return diagonal, left

    @property
    def _parts(self) -> tuple[NDArray[Any], ...]:
        return self.diagonal, self.left, self.right, self.group


def factored(
    left: ArrayLike, right: ArrayLike | None, names: tuple[str, str] = ("left", "right")
) -> tuple[Floats, Floats, Floats, Ints]:
    """Diagonal, left, right and group of all products ``left[i] . right[j]``; ``right`` defaults to ``left``.

    Errors call the factors by their ``names``.

    Raises:
        InputError: the factors are not two finite matrices of one shape, or a row is neither zero nor of a size whose
            square float64 holds.
    """
    rows = _vectors(names[0], left)
    columns = rows if right is None else _vectors(names[1], right)
    if rows.shape != columns.shape:
        raise InputError(names[1], f"must have the shape of {names[0]}, {rows.shape}", columns.shape)
    return np.einsum("ij,ij->i", rows, columns), rows, columns, np.arange(len(rows))


def finite_matrix(name: str, values: Any) -> Floats:
    """A read-only float64 matrix, or an error that names what was given instead."""
    matrix = finite_array(name, values)
    if matrix.ndim != 2 or matrix.size == 0:
        raise InputError(name, "must be a finite, non-empty matrix", f"shape {matrix.shape}")
    return matrix


def refuse_overflow(peak: float) -> None:
    """Refuse matrices whose largest entry is such that float64 does not hold squares."""
    if not peak <= _LARGEST**2:
        raise InputError("entries", f"must be at most {_LARGEST**2:g} for a Frobenius norm", f"up to {peak:g}")


def _largest(values: Floats) -> float:
    return max(float(values.max(initial=0.0)), -float(values.min(initial=0.0)))


def _norm(values: Floats) -> float:
    with np.errstate(over="ignore"):
        size = float(np.linalg.norm(values))
    if _SMALLEST < size < _LARGEST:
        return size
    peak = _largest(values)
    return peak * float(np.linalg.norm(values / peak)) if peak else 0.0


def refuse_lost_digits(largest_terms: float) -> None:
    """Refuse a cosine that is the difference of terms so large that rounding leaves no six digits of it."""
    if largest_terms * np.finfo(np.float64).eps > 1e-6:
        raise InputError(
            "classes",
            "must have vectors of comparable size for a cosine between them",
            f"terms that cancel from {largest_terms:.1e} times the product of the norms",
        )


def _vectors(name: str, values: Any) -> Floats:
    matrix = finite_matrix(name, values)
    largest = np.abs(matrix).max(axis=1)
    bad = (largest > 0) & ((largest < _SMALLEST) | (largest > _LARGEST))
    if bad.any():
        row = int(np.argmax(bad))
        expected = f"must have rows of zeros or with a largest entry between {_SMALLEST:g} and {_LARGEST:g}"
        raise InputError(name, f"{expected}, for float64 to hold squared norms", f"{largest[row]:g} in row {row}")
    return matrix


def finite_array(name: str, values: Any) -> Floats:
    """A read-only float64 array of any shape, or an error that names what was given instead."""
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "iuf":
            raise TypeError(f"dtype {array.dtype}")
        with np.errstate(over="ignore"):  # of longer floats: infinity is refused by name
            array = array.astype(np.float64, order="C", copy=False)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(name, "must be an array of numbers", error) from error
    if not np.isfinite(array).all():
        raise InputError(name, "must be finite", "NaN or infinity")
    return frozen(array) if array.flags.writeable else array


def _rows_of_classes(values: Any, rows: int) -> Ints:
    try:
        group = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError("group", "must hold the row of every class", error) from error
    if group.ndim != 1 or group.size == 0 or group.dtype.kind not in "iu":
        raise InputError("group", "must hold the row of every class", f"{group.dtype} of shape {group.shape}")
    if not 0 <= group.min() <= group.max() < rows:
        raise InputError("group", f"must hold rows in 0..{rows - 1}", f"{group.min()} to {group.max()}")
    return frozen(group) if group.flags.writeable else group
