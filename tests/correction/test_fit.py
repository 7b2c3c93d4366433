"""Corrections fitted on held-out data, and priors estimated from unlabelled data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

import implicit_geometry as ig
from implicit_geometry.correction.fit import NoFiniteTemperature

COUNTS = np.array([800, 150, 40, 10])
LOG_PI = np.log(COUNTS / COUNTS.sum())


def draw(n: int, seed: int, *, tau: float = 1.0, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels that a balanced world draws with probabilities softmax(z / T - tau log pi)."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(n, 4)) + LOG_PI
    odds = softmax(logits / temperature - tau * LOG_PI, axis=1)
    return logits, np.array([rng.choice(4, p=row) for row in odds])


def weighted_loss(
    logits: np.ndarray, labels: np.ndarray, prior: np.ndarray, tau: float, temperature: float, factor: Any = 1.0
) -> float:
    """Mean negative log-likelihood, the held-out classes weighted to have the shares of the prior."""
    scores = log_softmax(factor * logits / temperature - tau * LOG_PI + np.log(prior), axis=1)
    found = np.bincount(labels, minlength=4)
    share = np.where(found > 0, prior, 0) / prior[found > 0].sum()
    return float(sum(-share[y] / found[y] * row[y] for row, y in zip(scores, labels, strict=True)))


@pytest.mark.parametrize("prior", ["balanced", "train", [0.1, 0.2, 0.3, 0.4]], ids=str)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=6)
def test_no_tau_and_no_temperature_fit_better(prior: Any, seed: int) -> None:
    logits, labels = draw(80, seed)
    found = ig.fit_logit_correction(logits, labels, COUNTS, prior)
    shares = {"balanced": np.full(4, 0.25), "train": np.exp(LOG_PI)}.get(str(prior), found.prior)
    best = minimize(
        lambda x: weighted_loss(logits, labels, shares, x[0], np.exp(x[1])),
        [1.0, 0.0],
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-14, "maxiter": 2000},
    )
    reached = weighted_loss(logits, labels, shares, found.tau, found.temperature)
    assert reached <= best.fun + 1e-9


def test_what_was_planted_is_found() -> None:
    logits, labels = draw(20_000, 0, tau=0.6, temperature=1.7)
    found = ig.fit_logit_correction(logits, labels, COUNTS)
    assert found.tau == pytest.approx(0.6, abs=0.05)
    assert found.temperature == pytest.approx(1.7, abs=0.1)


def test_with_the_loss_its_link_is_fitted() -> None:
    logits, labels = draw(500, 1)
    loss = ig.vs(COUNTS, gamma=0.2)
    found = ig.fit_logit_correction(logits, labels, COUNTS, parameterization=loss)
    linked = ig.logit_correction(COUNTS, loss, "train").apply(logits)
    again = ig.fit_logit_correction(linked, labels, COUNTS)
    assert (found.tau, found.temperature) == pytest.approx((again.tau, again.temperature), rel=1e-5)
    np.testing.assert_allclose(found.probabilities(logits), again.probabilities(linked), rtol=1e-5)


def test_tensors_are_taken_too() -> None:
    logits, labels = draw(200, 2)
    expected = ig.fit_logit_correction(logits, labels, COUNTS)
    found = ig.fit_logit_correction(torch.tensor(logits), torch.tensor(labels), COUNTS)
    assert (found.tau, found.temperature) == (expected.tau, expected.temperature)


def test_classes_without_held_out_samples_are_left_out_of_the_fit() -> None:
    logits, labels = draw(400, 3)
    some = labels != 3
    found = ig.fit_logit_correction(logits[some], labels[some], COUNTS)
    assert np.isfinite([found.tau, found.temperature]).all()


def test_equal_counts_leave_tau_at_one() -> None:
    logits, labels = draw(200, 4)
    assert ig.fit_logit_correction(logits, labels, [50, 50, 50, 50]).tau == 1.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"logits": np.zeros((3, 4))}, r"^labels must have shape \(3,\), as logits has samples, got shape \(50,\)"),
        ({"logits": np.zeros((50, 3))}, r"^logits must have 4 classes along axis -1, got shape \(50, 3\)"),
        ({"logits": np.zeros(4)}, r"^logits must have shape \(n, k\) with at least one sample"),
        ({"logits": np.full((50, 4), np.nan)}, r"^logits must be finite, got 200 entries that are not"),
        ({"labels": np.full(50, 4)}, r"^labels must be whole numbers in 0..3, got 4"),
        ({"labels": np.full(50, 0.5)}, r"^labels must be whole numbers in 0..3, got 0.5"),
        ({"labels": np.zeros(50, int)}, r"^labels must hold at least two classes that have a share in prior"),
        ({"prior": [1.0, 0.0, 0.0, 0.0]}, r"^labels must hold at least two classes that have a share in prior"),
    ],
)
def test_bad_input(change: dict[str, Any], words: str) -> None:
    logits, labels = draw(50, 5)
    with pytest.raises(ig.InputError, match=words):
        ig.fit_logit_correction(**{"logits": logits, "labels": labels, "counts": COUNTS, **change})


def test_samples_that_are_all_classified_rightly_determine_no_temperature() -> None:
    with pytest.raises(NoFiniteTemperature, match=r"^logits must get some held-out samples wrong"):
        ig.fit_logit_correction(5 * np.eye(4), np.arange(4), COUNTS)


class TestEstimatePrior:
    @given(seed=st.integers(0, 2**32 - 1))
    @settings(max_examples=10)
    def test_no_prior_has_a_greater_likelihood(self, seed: int) -> None:
        logits, _ = draw(60, seed)
        correction = ig.logit_correction(COUNTS)
        found = ig.estimate_prior(logits, correction)
        likelihood = correction.probabilities(logits)
        best = minimize(
            lambda q: -np.log(likelihood @ q).mean(),
            np.full(4, 0.25),
            method="SLSQP",
            bounds=[(1e-12, 1)] * 4,
            constraints={"type": "eq", "fun": lambda q: q.sum() - 1},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert found.sum() == pytest.approx(1)
        assert np.log(likelihood @ found).mean() >= -best.fun - 2e-6

    def test_the_prior_of_the_data_is_found_and_helps(self) -> None:
        prior = np.array([0.05, 0.15, 0.3, 0.5])
        rng = np.random.default_rng(0)
        labels = rng.choice(4, 8000, p=prior)
        logits = 3 * np.eye(4)[labels] + rng.normal(size=(8000, 4))  # softmax(3 z + log pi) is exact
        trained = 3 * logits + LOG_PI
        correction = ig.logit_correction(COUNTS)
        found = ig.estimate_prior(trained, correction)
        np.testing.assert_allclose(found, prior, atol=0.02)
        better = correction.with_prior(found).apply(trained).argmax(1)
        assert (better == labels).mean() > (trained.argmax(1) == labels).mean()

    def test_its_own_prior_has_no_say(self) -> None:
        logits, _ = draw(60, 0)
        first, second = (ig.estimate_prior(logits, ig.logit_correction(COUNTS, prior=q)) for q in ("balanced", "train"))
        np.testing.assert_array_equal(first, second)
