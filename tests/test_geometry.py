"""The three blocks, their alignment and the simplex equiangular tight frame."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from implicit_geometry._validate import InputError
from implicit_geometry.comparison import compare
from implicit_geometry.geometry import Geometry, mean_geometry, simplex_etf
from implicit_geometry.gram import Gram
from strategies import geometries, seeds


@given(st.integers(2, 8), st.integers(1, 6), seeds)
def test_vectors_give_their_three_blocks(num_classes: int, dim: int, seed: int) -> None:
    w, h = np.random.default_rng(seed).standard_normal((2, num_classes, dim))
    geometry = Geometry.from_factors(w, h)
    assert geometry.num_classes == num_classes
    np.testing.assert_allclose(geometry.classifier.dense(), w @ w.T, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(geometry.embedding.dense(), h @ h.T, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(geometry.cross.dense(), w @ h.T, rtol=1e-13, atol=1e-14)


@given(st.integers(2, 8), st.integers(1, 6), seeds)
def test_alignment_is_the_cosine_of_classifier_and_class_mean(num_classes: int, dim: int, seed: int) -> None:
    w, h = np.random.default_rng(seed).standard_normal((2, num_classes, dim))
    expected = [w[c] @ h[c] / np.linalg.norm(w[c]) / np.linalg.norm(h[c]) for c in range(num_classes)]
    np.testing.assert_allclose(Geometry.from_factors(w, h).alignment(), expected, rtol=1e-12, atol=1e-14)


def test_a_zero_vector_has_no_alignment() -> None:
    alignment = Geometry.from_factors([[1.0, 0.0], [0.0, 0.0]], [[2.0, 0.0], [0.0, 1.0]]).alignment()
    assert alignment[0] == 1
    assert np.isnan(alignment[1])


def test_blocks_over_different_classes_are_refused() -> None:
    two, three = Gram.from_factors(np.eye(2)), Gram.from_factors(np.eye(3))
    with pytest.raises(InputError, match=r"'classifier': 2, 'embedding': 2, 'cross': 3"):
        Geometry(two, two, three)
    with pytest.raises(InputError, match=r"embedding must have the shape of classifier, \(2, 2\), got \(3, 3\)"):
        Geometry.from_factors(np.eye(2), np.eye(3))


@pytest.mark.parametrize("num_classes", [2, 3, 10, 1000])
def test_the_simplex_etf_is_centred_identity_scaled_to_unit_norms(num_classes: int) -> None:
    k = num_classes
    frame = (np.eye(k) - np.ones((k, k)) / k) * np.sqrt(k / (k - 1))
    etf = simplex_etf(k)
    for block in (etf.classifier, etf.embedding, etf.cross):
        np.testing.assert_allclose(block.dense(), frame @ frame.T, rtol=1e-12)
    np.testing.assert_allclose(etf.alignment(), 1)


def test_the_simplex_etf_of_a_million_classes_is_at_hand() -> None:
    etf = simplex_etf(1_000_000)
    assert etf.classifier.cosine(3, 999_999) == pytest.approx(-1 / 999_999, rel=1e-12)
    assert etf.classifier.frobenius_norm() == pytest.approx(np.sqrt(1e6 + 1e6 / 999_999), rel=1e-12)


@pytest.mark.parametrize("num_classes", [1, 0, -3, 2.5, "ten", None, True])
def test_a_simplex_etf_needs_two_classes(num_classes: object) -> None:
    with pytest.raises(InputError, match="num_classes"):
        simplex_etf(num_classes)  # type: ignore[arg-type]


@given(st.integers(2, 6).flatmap(geometries))
def test_cosines_lie_between_minus_one_and_one(geometry: Geometry) -> None:
    k = geometry.num_classes
    cosines = [geometry.classifier.cosine(i, j) for i in range(k) for j in range(k)]
    assert np.abs(cosines).max() <= 1 + 1e-12
    assert np.abs(geometry.alignment()).max() <= 1 + 1e-12


def test_the_mean_is_that_of_unit_norm_matrices() -> None:
    rng = np.random.default_rng(0)
    vectors = [tuple(10.0**scale * rng.standard_normal((4, 3)) for scale in pair) for pair in ((0, 2), (-3, 1), (2, 2))]
    mean = mean_geometry(Geometry.from_factors(w, h) for w, h in vectors)
    grams = [(w @ w.T, h @ h.T, w @ h.T) for w, h in vectors]
    scales = [(1 / np.linalg.norm(w), 1 / np.linalg.norm(h)) for w, h, _ in grams]
    for place, block in enumerate((mean.classifier, mean.embedding)):
        expected = np.mean([gram[place] * scale[place] for gram, scale in zip(grams, scales, strict=True)], axis=0)
        np.testing.assert_allclose(block.dense(), expected, atol=1e-14)
    cross = np.mean([c * np.sqrt(w * h) for (_, _, c), (w, h) in zip(grams, scales, strict=True)], axis=0)
    np.testing.assert_allclose(mean.cross.dense(), cross, atol=1e-14)


def test_over_all_orders_of_the_classes_the_mean_is_systematic() -> None:
    vectors = np.random.default_rng(1).standard_normal((4, 4))
    orders = [list(order) for order in permutations(range(4))]
    one = Geometry.from_factors(vectors, vectors)
    mean = mean_geometry(Geometry.from_factors(vectors[order], vectors[order]) for order in orders)
    found = compare(one, simplex_etf(4), groups=[7, 7, 7, 7])
    left = mean.classifier.minus(simplex_etf(4).classifier.scaled(1 / simplex_etf(4).classifier.frobenius_norm()))
    assert left.frobenius_norm() == pytest.approx(found.systematic.classifier)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "geometries must be at least one, all with the same number of classes"),
        ([simplex_etf(3), simplex_etf(4)], r"with the same number of classes, got \[3, 4\]"),
        ([simplex_etf(3), 1], "geometries must be a Geometry"),
        (3, "geometries must be geometries, got int"),
        ([Geometry.from_factors(np.zeros((2, 2)), np.eye(2))], "classifiers and embeddings that are not zero"),
    ],
)
def test_a_mean_of_other_things_is_refused(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mean_geometry(given)
