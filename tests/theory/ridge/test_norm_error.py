"""Proven bounds of the squared norms' errors: never below the true error, and useful where classes are not tiny."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from implicit_geometry import ClassCounts, Problem, cdt, collapse_thresholds, ldt, predict, vs
from implicit_geometry.certificate import Status
from implicit_geometry.theory.ridge.norm_error import _log_ratios, _slope_errors
from ridge_judge import true_norms

COUNTS = np.array([761278186, 185008065, 11760, 4, 1])
ORDERS = [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 4, 0, 3, 1]]


def strong(seed: int) -> Problem:
    """Two or three classes, exponents from 1 to 3, ridges from 4 to 10 decades below collapse."""
    draw = np.random.default_rng(seed)
    size = int(draw.integers(2, 4))
    counts = ClassCounts(np.floor(10.0 ** draw.uniform(0, 9, size)).astype(np.int64))
    gamma = float(draw.uniform(1, 3) * draw.choice([-1, 1]))
    rule = draw.integers(3)
    loss = (cdt(counts, gamma), ldt(counts, gamma), vs(counts, gamma))[int(rule)]
    return Problem(counts, loss, float(collapse_thresholds(counts, loss).total * 10 ** -draw.uniform(4, 10)))


@pytest.mark.parametrize("seed", range(8))
def test_true_errors_under_strong_temperatures_are_within_the_bounds(seed: int) -> None:
    """The truth by Newton's method in 60 digits."""
    solution = predict(strong(seed))
    truth = true_norms(solution)
    assert abs(truth.gap) < 1e-20
    for block, true in (("classifier", truth.classifier), ("embedding", truth.embedding)):
        stated = getattr(solution.geometry, block).squared_norms()
        assert (np.abs(stated - true) <= getattr(solution.norm_error, block) * stated).all()


def test_mild_problems_are_known_to_four_digits() -> None:
    for loss in (None, cdt([50, 20, 5], 0.5), ldt([50, 20, 5], 0.5)):
        for bias in (False, True):
            error = predict(Problem([50, 20, 5], loss, 1e-3, bias)).norm_error
            assert error is not None
            assert max(error.classifier.max(), error.embedding.max()) < 1e-4
            assert not error.uncertain().any()


def test_orders_of_the_classes_agree_in_every_norm_that_counts_as_certain() -> None:
    """Two orders differed by 100 % in norms that nothing marked, and others ended far from the optimum."""
    found = []
    for order in ORDERS:
        counts = COUNTS[order]
        solution = predict(Problem(counts, vs(counts, gamma=-2.653), 5.66e-5))
        assert solution.certificate.status is Status.OPTIMAL
        norms, error = np.empty(5), np.empty(5)
        norms[order], error[order] = solution.geometry.classifier.squared_norms(), solution.norm_error.classifier
        found.append((norms, error))
    for norms, error in found:
        assert (error[3:] < 0.01).all()
        assert (error[:3] > 0.01).all()
        for other, other_error in found:
            assert (np.abs(norms - other) <= error * norms + other_error * other).all()
        np.testing.assert_allclose(norms[3:], found[0][0][3:], rtol=1e-6)


def test_groups_have_the_bounds_of_their_classes() -> None:
    counts = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)
    grouped = predict(Problem(counts, ldt(counts, 0.5), 1e-2)).norm_error
    assert grouped.classifier.shape == (10,)
    assert len(set(grouped.classifier[:5])) == 1
    assert 0 < grouped.classifier.max() < 1e-4


def test_a_collapsed_head_is_known_exactly_and_the_limit_has_no_bounds() -> None:
    assert predict(Problem([50, 20, 5], ridge=100.0)).norm_error.classifier.tolist() == [0, 0, 0]
    assert predict(Problem([50, 20, 5])).norm_error is None


@given(st.floats(-12, 6), st.floats(-12, 6), st.floats(-20, 20))
def test_no_ratio_within_the_divergence_is_outside_the_bounds(log_slope: float, log_gap: float, y: float) -> None:
    """slope (r - 1 - log r) <= gap, at r = exp(y)."""
    slope, gap = 10.0**log_slope, 10.0**log_gap
    up, down = _log_ratios(np.array(slope), gap)
    if slope * (math.expm1(y) - y) <= gap:
        assert -down * (1 + 1e-9) - 1e-7 <= y <= up * (1 + 1e-9) + 1e-7
        assert slope * abs(math.expm1(y)) <= _slope_errors(np.array(slope), gap) * (1 + 1e-9) + 1e-7 * slope


def test_a_probability_of_zero_may_be_off_by_the_gap() -> None:
    assert _slope_errors(np.array([0.0, 1e-30]), 0.5).tolist() == pytest.approx([1.0, 1.0])
