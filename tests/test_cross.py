"""The mean logits W H^T: cosines of classifiers with embeddings, against dense factors."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import implicit_geometry as ig
from implicit_geometry._validate import InputError
from implicit_geometry.geometry import Cross, Geometry, simplex_etf
from implicit_geometry.gram import Gram
from implicit_geometry.lowrank import LowRank
from oracles import factor_logits, limit_logits
from strategies import seeds

STEP = ig.ClassCounts.step(num_classes=4, imbalance_ratio=10, max_count=50)


def cosines(w: np.ndarray, h: np.ndarray) -> np.ndarray:
    return w @ h.T / np.outer(np.linalg.norm(w, axis=1), np.linalg.norm(h, axis=1))


def test_a_cosine_of_step_counts_is_that_of_the_classifier_and_the_embedding() -> None:
    logits = limit_logits(STEP.values, np.ones(4), np.ones(4))
    left, singular, right = np.linalg.svd(logits)
    w, h = left * np.sqrt(singular), right.T * np.sqrt(singular) / np.sqrt(STEP.values)[:, None]
    cross = ig.predict(ig.Problem(STEP)).geometry.cross
    assert cross.cosine(0, 3) == pytest.approx(cosines(w, h)[0, 3], rel=1e-12)
    assert cross.cosine(0, 3) == pytest.approx(-0.218, abs=5e-4)
    assert cross.cosine(3, 0) == pytest.approx(cosines(w, h)[3, 0], rel=1e-12)


@pytest.mark.parametrize("options", [{}, {"ridge": 0.3}, {"bias": True}, {"ridge": 0.3, "bias": True}], ids=str)
def test_every_predicted_cosine_is_that_of_the_factored_logits(options: dict[str, float]) -> None:
    counts = ig.ClassCounts([90, 90, 30, 30, 7])
    solution = ig.predict(ig.Problem(counts, ig.cdt(counts, gamma=0.2), **options))  # type: ignore[arg-type]
    cross = solution.geometry.cross
    exact = factor_logits(cross.dense() * np.sqrt(counts.values), counts)
    norms = np.sqrt(np.outer(np.diag(exact.classifier), np.diag(exact.embedding)))
    found = [[cross.cosine(c, y) for y in range(5)] for c in range(5)]
    np.testing.assert_allclose(found, exact.cross / norms, atol=1e-7)
    np.testing.assert_allclose(cross.alignment(), np.diag(exact.cross / norms), atol=1e-7)


@given(st.integers(2, 7), st.integers(1, 5), seeds)
def test_entries_and_cosines_are_those_of_the_vectors(num_classes: int, dim: int, seed: int) -> None:
    w, h = np.random.default_rng(seed).standard_normal((2, num_classes, dim))
    cross = Cross.from_factors(w, h)
    k = range(num_classes)
    np.testing.assert_allclose([[cross.entry(c, y) for y in k] for c in k], w @ h.T, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose([[cross.cosine(c, y) for y in k] for c in k], cosines(w, h), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(cross.dense(), w @ h.T, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(cross.alignment(), np.diag(cosines(w, h)), rtol=1e-10, atol=1e-13)
    np.testing.assert_array_equal(cross.alignment(), Geometry.from_factors(w, h).alignment())


def test_mean_logits_have_no_norms_of_their_own() -> None:
    cross = simplex_etf(4).cross
    assert type(cross) is ig.Cross
    for name in ("norms", "squared_norms", "block_cosines", "block_summary"):
        assert not hasattr(cross, name)


def test_a_zero_vector_has_no_cosine() -> None:
    cross = Cross.from_factors([[1.0, 0.0], [0.0, 0.0]], [[2.0, 0.0], [0.0, 1.0]])
    assert np.isnan([cross.cosine(1, 0), cross.cosine(1, 1), cross.alignment()[1]]).all()
    assert cross.cosine(0, 1) == 0


def test_mean_logits_given_as_a_matrix_take_the_norms_of_the_other_blocks() -> None:
    w, h = np.random.default_rng(0).standard_normal((2, 4, 3))
    given_blocks = Geometry(Gram.from_factors(w), Gram.from_factors(h), LowRank(np.diag(w @ h.T), w, h, np.arange(4)))
    assert given_blocks.cross.cosine(1, 2) == pytest.approx(cosines(w, h)[1, 2], rel=1e-12)
    longer = dataclasses.replace(given_blocks, embedding=given_blocks.embedding.scaled(4.0))
    assert longer.cross.cosine(1, 2) == pytest.approx(cosines(w, h)[1, 2] / 2, rel=1e-12)


def test_a_cosine_lost_to_rounding_is_refused() -> None:
    push = np.array([[1e9], [1e9]])
    cross = Cross(np.ones(2), np.hstack([push, push]), np.hstack([push, -push]), np.arange(2), np.ones(2), np.ones(2))
    with pytest.raises(InputError, match=r"comparable size.*2\.0e\+18"):
        cross.cosine(0, 1)


@pytest.mark.parametrize(("c", "y"), [(0, 3), (-1, 0), (0, 1.5), ("a", 0), (True, 0), (None, 0)])
def test_a_class_that_does_not_exist_is_refused(c: object, y: object) -> None:
    with pytest.raises(InputError, match=r"[cy] must be"):
        simplex_etf(3).cross.cosine(c, y)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"[cy] must be"):
        simplex_etf(3).cross.entry(c, y)  # type: ignore[arg-type]


@pytest.mark.parametrize("norms", [[1.0], [1.0, -1.0], [1.0, np.nan], "ab", None])
def test_norms_that_are_none_are_refused(norms: object) -> None:
    with pytest.raises(InputError, match="embedding_norms must"):
        Cross([1.0], [[0.0]], [[0.0]], [0, 0], [1.0, 1.0], norms)  # type: ignore[arg-type]


def test_a_geometry_of_other_things_than_matrices_is_refused() -> None:
    gram = Gram.from_factors(np.eye(2))
    with pytest.raises(InputError, match="classifier must be a Gram, got None"):
        Geometry(None, gram, gram)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="embedding must be a Gram, got Cross"):
        Geometry(gram, simplex_etf(2).cross, gram)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="cross must be a LowRank, got array"):
        Geometry(gram, gram, np.eye(2))  # type: ignore[arg-type]


def test_equal_mean_logits_are_equal_and_hash_alike_also_when_pickled() -> None:
    cross = ig.predict(ig.Problem(STEP)).geometry.cross
    again = pickle.loads(pickle.dumps(cross))
    assert (again, hash(again)) == (cross, hash(cross))
    assert cross != simplex_etf(4).cross
    assert cross != Gram(cross.diagonal, cross.left, cross.right, cross.group)
