"""The difference of two matrices of many classes at unit norm, from products of their thin factors.

With A = L_a R_a^T and B = L_b R_b^T all norms follow from r x r products, L_a^T L_b and the like: no k x k matrix is
formed. Where the ranks agree, the products are those of the first factor and of the difference E = L_a - L_b,

    c_a L_a R_a^T - c_b L_b R_b^T = (c_a - c_b) L_a R_a^T + c_b (L_a E_R^T + E_L R_a^T - E_L E_R^T)

in which nothing large cancels where the factors are nearly equal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.sparse import coo_array

from implicit_geometry._validate import Floats, Ints
from implicit_geometry.lowrank import LowRank, refuse_overflow

_ROWS_AT_ONCE = 4096  # of two factors of 256 columns: 16 MB


@dataclass(frozen=True, eq=False)
class CommonRows:
    """Classes that share all entries of two matrices, and their group, in one row.

    Attributes:
        first: row of each in the first matrix, shape (R,).
        second: row of each in the second, shape (R,).
        group: number of the group of each, from 0 on, shape (R,).
        multiplicity: classes of each, shape (R,).
    """

    first: Ints
    second: Ints
    group: Ints
    multiplicity: Floats

    @classmethod
    def of(cls, a: LowRank, b: LowRank, group: Ints | None = None) -> CommonRows:
        """The rows of two matrices over k classes, whose groups are one number for each class, shape (k,)."""
        groups = np.zeros(a.num_classes, dtype=np.int64) if group is None else np.unique(group, return_inverse=True)[1]
        pair = np.unique(a.group * np.int64(b.diagonal.size) + b.group, return_inverse=True)[1]
        code = pair * np.int64(groups.max() + 1) + groups
        _, some, row = np.unique(code, return_index=True, return_inverse=True)
        return cls(a.group[some], b.group[some], groups[some], np.bincount(row).astype(np.float64))

    def same(self, other: CommonRows) -> bool:
        """Whether both have the same rows."""
        return all(np.array_equal(mine, vars(other)[name]) for name, mine in vars(self).items())


@dataclass(frozen=True, eq=False)
class GroupAverage:
    """The average of a matrix over all permutations inside groups of classes: three kinds of entries.

    One on the diagonal for each group, one for each pair of different classes of a group, one for each pair of groups.

    Attributes:
        size: classes of each group, shape (G,).
        diagonal: mean entry on the diagonal, shape (G,).
        inside: mean entry of pairs of different classes of the group, shape (G,).
        left: sums of the left factor over the classes of each group, shape (G, r).
        right: likewise of the right factor.
    """

    size: Floats
    diagonal: Floats
    inside: Floats
    left: Floats
    right: Floats

    @classmethod
    def of(cls, size: Floats, diagonal: Floats, own: Floats, left: Floats, right: Floats) -> GroupAverage:
        """From sums over the classes of each group: of the diagonal, of the factors' product there, of the factors."""
        pairs = np.maximum(size * (size - 1), 1.0)
        inside = (np.einsum("ij,ij->i", left, right) - own) / pairs
        return cls(size, diagonal / size, inside, left, right)

    def norm(self) -> float:
        """Its Frobenius norm: that of one row per group, with all that is inside of a group on its diagonal."""
        root = np.sqrt(self.size)
        inside = np.sqrt(self.size * self.diagonal**2 + self.size * (self.size - 1) * self.inside**2)
        rows = LowRank(inside, self.left / root[:, None], self.right / root[:, None], np.arange(root.size))
        return rows.frobenius_norm()


@dataclass(frozen=True, eq=False)
class _Joint:
    """Two factors, each divided by its norm: P_0 the first, P_1 the second or what the first is more than it.

    Attributes:
        products: P_p^T P_q summed over all classes, by p and q.
        sums: P_0 and P_1 summed over the classes of each group, shape (G, r) each.
    """

    products: tuple[tuple[Floats, Floats], tuple[Floats, Floats]]
    sums: tuple[Floats, Floats]

    @classmethod
    def of(cls, first: Floats, second: Floats, scales: tuple[float, float], rows: CommonRows) -> _Joint:
        cut, width = first.shape[1], first.shape[1] + second.shape[1]
        gram, sums = np.zeros((width, width)), np.zeros((rows.group.max() + 1, width))
        equal_rank = _of_one_rank(first, second)
        for start in range(0, rows.group.size, _ROWS_AT_ONCE):
            chunk = slice(start, start + _ROWS_AT_ONCE)
            size, group = rows.multiplicity[chunk], rows.group[chunk]
            both = np.empty((size.size, width))
            one, other = both[:, :cut], both[:, cut:]
            np.divide(_taken(first, rows.first, chunk), scales[0], out=one)
            np.divide(_taken(second, rows.second, chunk), scales[1], out=other)
            if equal_rank:
                np.subtract(one, other, out=other)
            sums += coo_array((size, (group, np.arange(size.size))), shape=(len(sums), size.size)) @ both
            if size.max() > 1:
                both *= np.sqrt(size)[:, None]
            gram += both.T @ both
        products = (gram[:cut, :cut], gram[:cut, cut:]), (gram[cut:, :cut], gram[cut:, cut:])
        return cls(products, (sums[:, :cut], sums[:, cut:]))


class Products:
    """Products of pairs of factors, each computed once: the blocks of a geometry share their factors."""

    def __init__(self) -> None:
        self._known: list[tuple[Floats, Floats, CommonRows, _Joint]] = []

    def of(self, first: Floats, second: Floats, scales: tuple[float, float], rows: CommonRows) -> _Joint:
        """Those of a factor of one matrix and a factor of another, with their Frobenius norms."""
        for one, other, of_rows, joint in self._known:
            if one is first and other is second and of_rows.same(rows):
                return joint
        self._known.append((first, second, rows, _Joint.of(first, second, scales, rows)))
        return self._known[-1][-1]


class UnitDifference:
    """A / |A| - B / |B| for two matrices; its norms are NaN where one is zero, or below 1e-307.

    Args:
        a: over k classes.
        b: likewise.
        rows: those that they have in common.
        products: that are known already.
    """

    def __init__(self, a: LowRank, b: LowRank, rows: CommonRows, products: Products) -> None:
        self._rows = rows
        self._left, self._right = (
            products.of(one, other, (a.factor_norms[side] or 1.0, b.factor_norms[side] or 1.0), rows)
            for side, (one, other) in enumerate(((a.left, b.left), (a.right, b.right)))
        )
        shares = ((1.0, 0.0), (1.0, -1.0)) if _of_one_rank(a.left, b.left) else ((1.0, 0.0), (0.0, 1.0))
        first = self._at_unit_norm(a, rows.first, np.outer(shares[0], shares[0]))
        second = self._at_unit_norm(b, rows.second, np.outer(shares[1], shares[1]))
        # entry (p, q) is the factor of P_p Q_q^T; what these have on the diagonal, and what stands there instead
        self._coefficients, self._own, self._diagonal = (x - y for x, y in zip(first, second, strict=True))

    def norm(self) -> float:
        """Its Frobenius norm.

        Right to half the digits, and to as many of a small one where the factors are nearly equal. Below 1e-7 it is
        rounding where they are not: nearly equal matrices from factors of different ranks, or turned ones.
        """
        return self._norm(self._coefficients, self._own, self._diagonal)

    def norms(self) -> tuple[float, float]:
        """Its Frobenius norm, and that of its average over all permutations inside the groups of the rows."""
        whole = self.norm()
        return whole, whole if np.isnan(whole) else self._average().norm()

    def _average(self) -> GroupAverage:
        group, size = self._rows.group, self._rows.multiplicity
        pairs = [(p, q) for p, q in product((0, 1), repeat=2) if self._coefficients[p, q] or p == q]
        left = np.hstack([self._coefficients[p, q] * self._left.sums[p] for p, q in pairs])
        right = np.hstack([self._right.sums[q] for _, q in pairs])
        classes, diagonal, own = (
            np.bincount(group, weights=size * each).astype(np.float64)
            for each in (np.ones(size.size), self._diagonal, self._own)
        )
        return GroupAverage.of(classes, diagonal, own, left, right)

    def _at_unit_norm(self, matrix: LowRank, rows: Ints, coefficients: Floats) -> tuple[Floats, Floats, Floats]:
        """Coefficients, the low-rank part's diagonal and the diagonal of one of the two."""
        refuse_overflow(max(float(np.abs(matrix.diagonal).max()), math.prod(matrix.factor_norms)))
        scales = [norm or 1.0 for norm in matrix.factor_norms]
        own = (np.einsum("ij,ij->i", matrix.left, matrix.right) / scales[0] / scales[1])[rows]
        diagonal = (matrix.diagonal / scales[0] / scales[1])[rows]
        peak = max(float(np.abs(diagonal).max()), 1.0)
        parts = coefficients / peak, own / peak, diagonal / peak
        norm = self._norm(*parts)
        if norm * peak * scales[0] * scales[1] < np.finfo(np.float64).tiny:
            norm = np.nan
        return parts[0] / norm, parts[1] / norm, parts[2] / norm

    def _norm(self, coefficients: Floats, own: Floats, diagonal: Floats) -> float:
        terms = [(p, q) for p, q in product((0, 1), repeat=2) if coefficients[p, q]]
        low_rank = sum(
            coefficients[p, q] * coefficients[s, t] * np.vdot(self._left.products[p][s], self._right.products[q][t])
            for (p, q), (s, t) in product(terms, repeat=2)
        )
        size = self._rows.multiplicity
        return float(np.sqrt(np.maximum(low_rank - size @ own**2 + size @ diagonal**2, 0.0)))


def _taken(factor: Floats, rows: Ints, chunk: slice) -> Floats:
    """Some of the given rows, without a copy where these are neighbours in order."""
    some = rows[chunk]
    in_order = some[-1] - some[0] == some.size - 1 and (np.diff(some) == 1).all()
    return factor[some[0] : some[-1] + 1] if in_order else factor[some]


def _of_one_rank(first: Floats, second: Floats) -> bool:
    return bool(first.shape[1] == second.shape[1])
