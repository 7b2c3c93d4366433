"""Distances of matrices of many classes, against the matrices written out."""

from __future__ import annotations

import numpy as np
import pytest

from implicit_geometry._validate import Floats, InputError, Ints
from implicit_geometry.comparison import SplitComparison, compare, gram_distance, systematic_distance
from implicit_geometry.differences import CommonRows, Products, UnitDifference
from implicit_geometry.geometry import Geometry, simplex_etf
from implicit_geometry.gram import Gram
from implicit_geometry.lowrank import MAX_EXACT_ROWS, LowRank

K = 40
GROUP = np.arange(K) % 3
MANY = MAX_EXACT_ROWS + 4


def unit_difference(a: Floats, b: Floats) -> Floats:
    return a / np.linalg.norm(a) - b / np.linalg.norm(b)


def averaged(matrix: Floats, group: Ints) -> Floats:
    """Every entry replaced by the mean over those that a permutation inside the groups sends it to."""
    member = (group[:, None] == np.unique(group)).astype(float)
    sums, trace = member.T @ matrix @ member, member.T @ matrix.diagonal()
    pairs = np.outer(member.sum(0), member.sum(0)) - np.diag(member.sum(0))
    result = member @ ((sums - np.diag(trace)) / pairs) @ member.T
    np.fill_diagonal(result, member @ (trace / member.sum(0)))
    return result


def made(seed: int, rank: int, rows: int = K) -> LowRank:
    """A matrix of K classes, with a diagonal of its own."""
    rng = np.random.default_rng(seed)
    left, right = rng.standard_normal((2, rows, rank))
    group = np.concatenate([np.arange(rows), rng.integers(0, rows, K - rows)])
    return LowRank(rng.uniform(1, 2, rows), left, right, group)


def difference(a: LowRank, b: LowRank, group: Ints = GROUP) -> UnitDifference:
    return UnitDifference(a, b, CommonRows.of(a, b, group), Products())


PAIRS = {
    "of one rank": (made(0, 5), made(1, 5)),
    "of two ranks": (made(0, 5), made(1, 2)),
    "classes that share rows": (made(0, 5, rows=11), made(1, 5, rows=17)),
    "a theory of two rows": (made(0, 5), LowRank([1.0, 2.0], [[1.0], [0.5]], [[-0.3], [0.1]], np.arange(K) % 2)),
    "only diagonals": (LowRank(np.arange(1.0, K + 1), np.zeros((K, 1)), np.zeros((K, 1)), np.arange(K)), made(1, 1)),
    "one a million times the other": (made(0, 5).scaled(1e6), made(1, 5)),
    "opposite": (made(0, 5), made(0, 5).scaled(-2.0)),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_the_distance_is_that_of_the_matrices(pair: str) -> None:
    a, b = PAIRS[pair]
    expected = np.linalg.norm(unit_difference(a.dense(), b.dense()))
    assert difference(a, b).norm() == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("pair", PAIRS)
def test_the_average_is_that_over_permutations_inside_groups(pair: str) -> None:
    a, b = PAIRS[pair]
    expected = np.linalg.norm(averaged(unit_difference(a.dense(), b.dense()), GROUP))
    assert difference(a, b).norms()[1] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("step", [1e-3, 1e-6, 1e-8, 1e-11])
def test_matrices_of_nearly_equal_factors_keep_their_distance(step: float) -> None:
    rng = np.random.default_rng(0)
    vectors, noise = rng.standard_normal((2, K, 4))
    a, b = Gram.from_factors(vectors), Gram.from_factors(3 * (vectors + step * noise))
    expected = np.linalg.norm(unit_difference(a.dense(), b.dense()))
    assert difference(a, b).norm() == pytest.approx(expected, rel=1e-7, abs=2e-16)


@pytest.mark.parametrize("step", [0.0, 1e-9])
def test_below_1e_7_the_distance_of_turned_factors_is_rounding(step: float) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((K, 4))
    turned = (vectors + step) @ np.linalg.qr(rng.standard_normal((4, 4)))[0]
    assert difference(Gram.from_factors(vectors), Gram.from_factors(turned)).norm() < 1e-7


def test_one_long_vector_takes_no_digits_from_the_other_matrix() -> None:
    rng = np.random.default_rng(0)
    vectors, others = rng.standard_normal((2, K, 4))
    vectors[0] *= 1e7
    a, b = Gram.from_factors(vectors), Gram.from_factors(others)
    expected = np.linalg.norm(unit_difference(a.dense(), b.dense()))
    assert difference(a, b).norm() == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("scale", [1e-130, 1e130])
def test_a_distance_neither_under_nor_overflows_on_the_way(scale: float) -> None:
    a, b = PAIRS["of one rank"]
    factors = [Gram.from_factors(each.left * scale) for each in (a, b)]
    expected = np.linalg.norm(unit_difference(a.left @ a.left.T, b.left @ b.left.T))
    assert difference(*factors).norm() == pytest.approx(expected, rel=1e-13)


def test_a_matrix_that_is_zero_has_no_distance() -> None:
    zero, other = (Gram.from_factors(factor * np.ones((MANY, 1))) for factor in (0, 1))
    for pair in ((zero, other), (other, zero)):
        assert np.isnan(gram_distance(*pair))
        assert np.isnan(systematic_distance(*pair, np.arange(MANY) % 3)).all()


def test_entries_whose_squares_overflow_are_refused() -> None:
    large = LowRank(np.ones(K), np.full((K, 1), 1e200), np.full((K, 1), 1e100), np.arange(K))
    with pytest.raises(InputError, match=r"entries must be at most 1e\+290 for a Frobenius norm"):
        difference(large, made(0, 1))


def test_many_classes_are_compared_as_few_are() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((4, MANY, 3))
    a, b = Geometry.from_factors(*vectors[:2]), Geometry.from_factors(*vectors[2:])
    counts = np.arange(MANY) % 5 + 1
    found = compare(a, b, groups=counts)
    assert isinstance(found, SplitComparison)
    for block, (left, right) in {"classifier": (0, 0), "embedding": (1, 1), "cross": (0, 1)}.items():
        expected = unit_difference(*(vectors[s + left] @ vectors[s + right].T for s in (0, 2)))
        whole, systematic = np.linalg.norm(expected), np.linalg.norm(averaged(expected, counts))
        assert getattr(found, block) == pytest.approx(whole, rel=1e-12)
        assert getattr(found.systematic, block) == pytest.approx(systematic, rel=1e-9)
        assert getattr(found.heterogeneity, block) == pytest.approx(np.sqrt(whole**2 - systematic**2), rel=1e-12)
        assert gram_distance(getattr(a, block), getattr(b, block)) == getattr(compare(a, b), block)


def test_many_measured_classes_are_compared_with_two_rows_of_a_theory() -> None:
    vectors = np.random.default_rng(0).standard_normal((MANY, 3))
    measured = Geometry.from_factors(vectors, vectors)
    etf = np.eye(MANY) - 1 / MANY
    expected = np.linalg.norm(unit_difference(vectors @ vectors.T, etf))
    assert compare(measured, simplex_etf(MANY)).embedding == pytest.approx(expected, rel=1e-12)
