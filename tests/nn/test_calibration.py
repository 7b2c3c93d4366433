"""Accuracy and calibration of logits, plain and corrected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

import implicit_geometry as ig
from implicit_geometry.nn import calibration, reliability


def draw(n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return 2 * rng.normal(size=(n, k)), rng.integers(0, k, n)


def bins_by_loops(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> dict[int, tuple[float, float, float]]:
    """Mean confidence, accuracy and share of each bin that has samples."""
    found: dict[int, list[tuple[float, bool]]] = {}
    for row, label in zip(probabilities, labels, strict=True):
        confidence = row.max()
        place = next(b for b in range(bins) if confidence <= (b + 1) / bins)
        found.setdefault(place, []).append((confidence, row.argmax() == label))
    return {
        b: (*np.mean(np.array(pairs, dtype=float), axis=0), len(pairs) / len(labels))
        for b, pairs in sorted(found.items())
    }


@given(n=st.integers(1, 40), k=st.integers(2, 5), seed=st.integers(0, 2**32 - 1))
def test_the_numbers_are_those_of_scikit_learn_and_of_loops(n: int, k: int, seed: int) -> None:
    logits, labels = draw(n, k, seed)
    probabilities = softmax(logits, axis=1)
    found = calibration(logits, labels, bins=10)
    predicted = probabilities.argmax(1)
    assert found.accuracy == pytest.approx(accuracy_score(labels, predicted))
    recalls = [np.mean(predicted[labels == c] == c) for c in np.unique(labels)]
    assert found.balanced_accuracy == pytest.approx(np.mean(recalls))
    assert found.nll == pytest.approx(log_loss(labels, probabilities, labels=range(k)))
    assert found.brier == pytest.approx(np.mean(np.sum((probabilities - np.eye(k)[labels]) ** 2, axis=1)))
    bins = bins_by_loops(probabilities, labels, 10).values()
    assert found.ece == pytest.approx(sum(share * abs(a - c) for c, a, share in bins), abs=1e-6)


@given(n=st.integers(1, 40), seed=st.integers(0, 2**32 - 1), bins=st.sampled_from([1, 5, 15]))
def test_the_curve_is_that_of_loops(n: int, seed: int, bins: int) -> None:
    logits, labels = draw(n, 3, seed)
    curve = reliability(logits, labels, bins=bins)
    expected = list(bins_by_loops(softmax(logits, axis=1), labels, bins).values())
    np.testing.assert_allclose(np.stack([curve.confidence, curve.accuracy, curve.share], 1), expected)


def test_balanced_accuracy_is_scikit_learns_where_all_classes_occur() -> None:
    logits, labels = draw(60, 3, 0)
    assert calibration(logits, labels).balanced_accuracy == pytest.approx(
        balanced_accuracy_score(labels, logits.argmax(1))
    )


def test_a_correction_is_applied_first() -> None:
    logits, labels = draw(60, 3, 1)
    correction = ig.logit_correction([90, 9, 1])
    assert calibration(logits, labels, correction) == calibration(correction.apply(logits), labels)
    first, second = reliability(logits, labels, correction), reliability(correction.apply(logits), labels)
    np.testing.assert_array_equal(first.accuracy, second.accuracy)


def test_tensors_are_taken_too() -> None:
    logits, labels = draw(20, 3, 2)
    assert calibration(torch.tensor(logits), torch.tensor(labels)) == calibration(logits, labels)


def test_a_true_class_of_probability_zero_has_an_infinite_loss() -> None:
    assert calibration([[1.0, 0.0]], [1], ig.logit_correction([5, 4], prior=[1.0, 0.0])).nll == np.inf


@pytest.mark.parametrize("function", [calibration, reliability])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": [0, 1]}, r"^labels must have shape \(3,\)"),
        ({"labels": [0, 1, 2]}, r"^labels must be whole numbers in 0..1, got 2"),
        ({"logits": [[np.inf, 0.0]] * 3}, r"^logits must be finite"),
        ({"correction": ig.ce([5, 4])}, r"^correction must be a LogitCorrection"),
        ({"correction": ig.logit_correction([5, 4, 3])}, r"^logits must have 3 classes"),
        ({"bins": 0}, r"^bins must be a whole number between 1 and 10000, got 0"),
    ],
)
def test_bad_input(function: Any, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ig.InputError, match=words):
        function(**{"logits": np.zeros((3, 2)), "labels": [0, 1, 0], **change})
