"""The oracles agree with one another, so that a test which trusts one of them may."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oracles
from implicit_geometry.problem import Problem
from strategies import problems, seeds


@given(problems(decades=1.0))
def test_many_digits_and_the_dense_decomposition_agree(problem: Problem) -> None:
    vectors = problem.counts.values, problem.parameterization.class_scale, problem.parameterization.label_scale
    for dense, precise in zip(
        oracles.limit_geometry(*vectors), oracles.precise_limit_geometry(*vectors, digits=60), strict=True
    ):
        np.testing.assert_allclose(dense, precise, atol=1e-11 * np.abs(precise).max())


@settings(max_examples=40)
@given(problems(), st.floats(-3, 1), seeds)
def test_the_fenchel_dual_is_below_the_objective_at_any_point(problem: Problem, log_ridge: float, seed: int) -> None:
    ridge, loss = 10.0**log_ridge, problem.parameterization
    rng = np.random.default_rng(seed)
    points = [rng.standard_normal((problem.num_classes, problem.num_classes)) * scale for scale in (0.0, 1.0, 10.0)]
    bounds = [oracles.fenchel_certificate(point, problem.counts.values, loss, ridge) for point in points]
    lowest = min(bound.primal for bound in bounds)
    assert all(bound.dual <= lowest + 1e-9 * abs(lowest) for bound in bounds)


@pytest.mark.parametrize("ridge", [0.3, 3.0])
def test_the_fenchel_bounds_meet_at_the_optimum_of_an_interior_point_solver(ridge: float) -> None:
    loss = oracles.LossVectors(
        weight=np.array([1.0, 0.7, 2.0]),
        shift=np.array([0.3, -1.0, 0.0]),
        class_scale=np.array([1.0, 0.6, 1.4]),
        label_scale=np.array([0.8, 1.5, 1.0]),
        margin=np.array([0.1, 0.0, 0.5]),
    )
    logits = oracles.solve_ridge_program([40, 9, 4], loss, ridge)
    bounds = oracles.fenchel_certificate(logits, [40, 9, 4], loss, ridge)
    assert 0 <= bounds.primal - bounds.dual < 1e-4 * bounds.primal
    worse = oracles.fenchel_certificate(logits + 0.1, [40, 9, 4], loss, ridge)
    assert worse.primal > bounds.primal


def test_above_every_collapse_threshold_zero_is_optimal_for_balanced_plain_cross_entropy() -> None:
    """The gradient at zero is sqrt(n) times a centred identity: operator norm sqrt(n)."""
    ones, zeros = np.ones(3), np.zeros(3)
    loss = oracles.LossVectors(ones, zeros, ones, ones, zeros)
    for ridge, gap in ((2.0001, 0.0), (2.0, 0.0), (1.0, 1.0)):
        bounds = oracles.fenchel_certificate(np.zeros((3, 3)), [4, 4, 4], loss, ridge)
        assert bounds.primal == pytest.approx(12 * np.log(3))
        assert (bounds.primal - bounds.dual > 1e-6) == bool(gap)
