"""The distance of two geometries: a metric that does not see the scale of a block."""

from __future__ import annotations

from dataclasses import astuple, replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from implicit_geometry._validate import InputError
from implicit_geometry.comparison import SplitComparison, compare, gram_distance
from implicit_geometry.counts import ClassCounts
from implicit_geometry.geometry import Geometry, simplex_etf
from implicit_geometry.gram import Gram
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem
from implicit_geometry.rules import cdt
from implicit_geometry.theory.predict import predict
from strategies import geometries

sizes = st.integers(2, 6)
pairs = sizes.flatmap(lambda k: st.tuples(geometries(k), geometries(k)))
BLOCKS = ("classifier", "embedding", "cross")
grouped_pairs = st.lists(st.integers(1, 3), min_size=2, max_size=6).flatmap(
    lambda counts: st.tuples(st.just(counts), geometries(len(counts)), geometries(len(counts)))
)
triples = sizes.flatmap(lambda k: st.tuples(geometries(k), geometries(k), geometries(k)))


def unit_distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b)))


@given(pairs)
def test_each_block_is_compared_at_unit_frobenius_norm(pair: tuple[Geometry, Geometry]) -> None:
    a, b = pair
    distance = compare(a, b)
    for block in ("classifier", "embedding", "cross"):
        expected = unit_distance(getattr(a, block).dense(), getattr(b, block).dense())
        assert getattr(distance, block) == pytest.approx(expected, abs=1e-12)


@given(pairs)
def test_the_distance_is_symmetric_and_between_zero_and_two(pair: tuple[Geometry, Geometry]) -> None:
    a, b = pair
    forth, back = astuple(compare(a, b)), astuple(compare(b, a))
    assert forth == pytest.approx(back, abs=1e-12)
    assert min(forth) >= 0
    assert max(forth) <= 2 + 1e-12


@given(triples)
def test_the_triangle_inequality_holds(triple: tuple[Geometry, Geometry, Geometry]) -> None:
    a, b, c = triple
    direct, first, second = (np.array(astuple(compare(*pair))) for pair in ((a, c), (a, b), (b, c)))
    assert (direct <= first + second + 1e-12).all()


@given(pairs, st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_the_scale_of_a_block_does_not_matter(pair: tuple[Geometry, Geometry], stretch: float, other: float) -> None:
    a, b = pair
    scaled = Geometry(a.classifier.scaled(stretch), a.embedding.scaled(other), a.cross.scaled(stretch))
    assert astuple(compare(scaled, b)) == pytest.approx(astuple(compare(a, b)), abs=1e-12)
    assert astuple(compare(scaled, a)) == pytest.approx((0, 0, 0), abs=1e-12)


@given(pairs)
@settings(max_examples=30)
def test_common_relabelling_does_not_matter(pair: tuple[Geometry, Geometry]) -> None:
    def reversed_classes(geometry: Geometry) -> Geometry:
        blocks = (geometry.classifier, geometry.embedding, geometry.cross)
        return Geometry(*(Gram.from_dense(block.dense()[::-1, ::-1]) for block in blocks))

    a, b = pair
    relabelled = compare(reversed_classes(a), reversed_classes(b))
    assert astuple(relabelled) == pytest.approx(astuple(compare(a, b)), abs=1e-12)


def test_known_distances() -> None:
    identity, minus = Gram.from_dense(np.eye(3)), Gram.from_dense(-np.eye(3))
    assert gram_distance(identity, minus) == pytest.approx(2)
    assert gram_distance(Gram.from_dense([[1.0, 0.0], [0.0, 0.0]]), Gram.from_dense([[0.0, 0.0], [0.0, 1.0]])) == (
        pytest.approx(np.sqrt(2))
    )
    assert astuple(compare(simplex_etf(10), simplex_etf(10))) == pytest.approx((0, 0, 0), abs=1e-15)


def test_an_etf_equals_its_vectors() -> None:
    """Two classes in one row against k rows of rank k: the same matrix, held differently."""
    centred = np.eye(5) - 1 / 5
    assert astuple(compare(simplex_etf(5), Geometry.from_factors(centred, 3 * centred))) == pytest.approx(
        (0, 0, 0), abs=1e-15
    )


def test_beyond_four_thousand_rows_a_distance_keeps_half_the_digits() -> None:
    rng = np.random.default_rng(0)
    vectors, noise = rng.standard_normal((2, 4500, 4))
    a, b = Gram.from_factors(vectors), Gram.from_factors(vectors + 1e-3 * noise)
    assert gram_distance(a, a.scaled(3.0)) < 1e-7
    expected = unit_distance(vectors @ vectors.T, b.left @ b.right.T)
    assert gram_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_a_block_that_is_zero_has_no_distance() -> None:
    collapsed = Geometry.from_factors(np.zeros((3, 2)), np.eye(3)[:, :2])
    distance = compare(collapsed, Geometry.from_factors(np.eye(3)[:, :2], np.eye(3)[:, :2]))
    assert np.isnan(distance.classifier)
    assert distance.embedding == 0
    assert np.isnan(distance.cross)


def test_geometries_over_different_classes_are_refused() -> None:
    with pytest.raises(InputError, match=r"geometry_b must have the 3 classes of geometry_a, got 4"):
        compare(simplex_etf(3), simplex_etf(4))


def average_over_permutations(matrix: np.ndarray, counts: list[int]) -> np.ndarray:
    """The mean over all permutations of the classes that leave their counts as they are."""
    n = np.array(counts)
    kept = [list(order) for order in permutations(range(n.size)) if (n[list(order)] == n).all()]
    return np.mean([matrix[np.ix_(order, order)] for order in kept], axis=0)


@given(grouped_pairs)
@settings(max_examples=60)
def test_the_parts_are_those_of_the_average_over_all_permutations(case: tuple[list[int], Geometry, Geometry]) -> None:
    counts, a, b = [case[0][0], *case[0][:-1]], case[1], case[2]  # of the first two classes alike
    found = compare(a, b, groups=counts)
    assert astuple(found)[:3] == astuple(compare(a, b))
    for block in BLOCKS:
        dense = [getattr(geometry, block).dense() for geometry in (a, b)]
        one, other = (matrix / np.linalg.norm(matrix) for matrix in dense)
        difference = one - other
        average = average_over_permutations(difference, counts)
        systematic, heterogeneity = np.linalg.norm(average), np.linalg.norm(difference - average)
        assert getattr(found.systematic, block) == pytest.approx(systematic, abs=1e-12)
        assert getattr(found.heterogeneity, block) == pytest.approx(heterogeneity, abs=1e-12)
        assert systematic**2 + heterogeneity**2 == pytest.approx(getattr(found, block) ** 2, abs=1e-12)


@given(geometries(6), st.floats(-1, 1), st.sampled_from([0.0, 1e-2, 1.0]))
@settings(max_examples=30)
def test_beside_a_prediction_all_heterogeneity_is_of_the_measured(a: Geometry, gamma: float, ridge: float) -> None:
    counts = [70, 70, 9, 9, 9, 2]
    problem = Problem(counts, cdt(counts, gamma=gamma), ridge=ridge)
    found = compare(a, predict(problem).geometry, groups=problem)
    for block in BLOCKS:
        one = getattr(a, block).dense() / np.linalg.norm(getattr(a, block).dense())
        expected = np.linalg.norm(one - average_over_permutations(one, counts))
        assert getattr(found.heterogeneity, block) == pytest.approx(expected, abs=1e-12)


@given(st.floats(-1, 1), st.floats(-1, 1))
@settings(max_examples=20)
def test_predicted_geometries_have_no_heterogeneity(gamma: float, other: float) -> None:
    counts = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)
    first, second = (predict(Problem(counts, cdt(counts, gamma=value))).geometry for value in (gamma, other))
    found = compare(first, second, groups=counts)
    assert astuple(found.heterogeneity) == pytest.approx((0, 0, 0), abs=1e-14)
    assert astuple(found.systematic) == pytest.approx(astuple(found)[:3], abs=1e-14)


@given(grouped_pairs, st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
@settings(max_examples=30)
def test_scale_does_not_matter_to_the_parts(
    case: tuple[list[int], Geometry, Geometry], stretch: float, other: float
) -> None:
    counts, a, b = [case[0][0], *case[0][:-1]], case[1], case[2]
    scaled = Geometry(a.classifier.scaled(stretch), a.embedding.scaled(other), a.cross.scaled(stretch))
    expected, found = (compare(geometry, b, groups=counts) for geometry in (a, scaled))
    for part in ("systematic", "heterogeneity"):
        assert astuple(getattr(found, part)) == pytest.approx(astuple(getattr(expected, part)), abs=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-70, 1e70])
def test_geometries_of_many_classes_are_compared_by_inner_products_of_factors(scale: float) -> None:
    rng = np.random.default_rng(0)
    w, h, noise = rng.standard_normal((3, 4500, 3))
    a, b = Geometry.from_factors(scale * w, h), Geometry.from_factors(w + 0.1 * noise, h - 0.2 * noise)
    found = compare(a, b)
    for name, left, right, other_left, other_right in (
        ("classifier", w, w, w + 0.1 * noise, w + 0.1 * noise),
        ("embedding", h, h, h - 0.2 * noise, h - 0.2 * noise),
        ("cross", w, h, w + 0.1 * noise, h - 0.2 * noise),
    ):
        one, other = left @ right.T, other_left @ other_right.T
        difference = one / np.linalg.norm(one) - other / np.linalg.norm(other)
        assert getattr(found, name) == pytest.approx(np.linalg.norm(difference), abs=1e-7)
    assert compare(a, a).classifier < 1e-7


@pytest.mark.parametrize("num_groups", [3, 4500])
def test_beyond_four_thousand_rows_the_parts_keep_half_the_digits(num_groups: int) -> None:
    rng = np.random.default_rng(0)
    vectors, noise = rng.standard_normal((2, 5000, 3))
    counts = 1 + np.arange(5000) % num_groups
    a, b = (Geometry.from_factors(w, w) for w in (vectors, vectors + 0.1 * noise))
    found = compare(a, b, groups=counts)
    one, other = (gram / np.linalg.norm(gram) for gram in (w @ w.T for w in (a.classifier.left, b.classifier.left)))
    squares = systematic_squares(one - other, counts)
    assert found.systematic.classifier == pytest.approx(np.sqrt(squares), abs=1e-7)
    whole = np.linalg.norm(one - other) ** 2
    assert found.heterogeneity.classifier == pytest.approx(np.sqrt(whole - squares), abs=1e-7)


def systematic_squares(matrix: np.ndarray, counts: np.ndarray) -> float:
    """Squared norm of the average inside groups, by sums over blocks of a k x k matrix."""
    order = np.argsort(counts, kind="stable")
    start = np.flatnonzero(np.diff(counts[order], prepend=0))
    size = np.diff(np.append(start, counts.size)).astype(float)
    sums = np.add.reduceat(np.add.reduceat(matrix[np.ix_(order, order)], start, axis=0), start, axis=1)
    diagonal = np.add.reduceat(matrix.diagonal()[order], start)
    inside = sums.diagonal() - diagonal
    between = sums**2 / np.outer(size, size)
    pairs = np.maximum(size * (size - 1), 1)
    return float(between.sum() - between.trace() + (inside**2 / pairs).sum() + (diagonal**2 / size).sum())


def test_a_loss_that_treats_equal_counts_differently_makes_other_groups() -> None:
    counts = [9, 9, 9, 9]
    loss = replace(Parameterization.neutral(4), class_scale=np.array([1.0, 1.0, 2.0, 2.0]))
    problem = Problem(counts, loss)
    geometry = predict(problem).geometry
    assert compare(geometry, simplex_etf(4), groups=problem).heterogeneity.classifier < 1e-14
    assert compare(geometry, simplex_etf(4), groups=counts).heterogeneity.classifier > 0.1


def test_a_million_classes_are_split_without_a_square_matrix() -> None:
    counts = ClassCounts.step(num_classes=1_000_000, imbalance_ratio=10, max_count=50)
    geometry = predict(Problem(counts)).geometry
    found = compare(geometry, simplex_etf(1_000_000), groups=counts)
    assert isinstance(found, SplitComparison)
    assert found.systematic.classifier == pytest.approx(found.classifier, abs=1e-12)
    assert found.heterogeneity.classifier < 1e-9


def test_a_block_that_is_zero_has_no_parts() -> None:
    collapsed = Geometry.from_factors(np.zeros((3, 2)), np.eye(3)[:, :2])
    found = compare(collapsed, simplex_etf(3), groups=[5, 1, 1])
    assert np.isnan([found.classifier, found.systematic.classifier, found.heterogeneity.classifier]).all()


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([3, 2, 1], r"groups must hold two classes of equal counts: .*, got 3 classes that all differ"),
        (Problem([3, 2, 1]), r"groups must hold two classes of equal counts and vectors of the loss: .*"),
        ([3, 3], r"groups must cover the 3 classes compared, got 2"),
        ("step", r"groups must be a Problem or class counts, which .*"),
    ],
)
def test_groups_that_split_nothing_are_refused(groups: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare(simplex_etf(3), simplex_etf(3), groups=groups)  # type: ignore[call-overload]
