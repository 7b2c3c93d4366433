"""The distance of two geometries: a metric that does not see the scale of a block."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from implicit_geometry._validate import InputError
from implicit_geometry.comparison import compare, gram_distance
from implicit_geometry.geometry import Geometry, simplex_etf
from implicit_geometry.gram import Gram
from strategies import geometries

sizes = st.integers(2, 6)
pairs = sizes.flatmap(lambda k: st.tuples(geometries(k), geometries(k)))
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
