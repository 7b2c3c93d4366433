"""What a certificate proves, on k x k matrices: bounds hold at any logits and close at the optimum only."""

from dataclasses import replace

import numpy as np
import pytest

import oracles
from implicit_geometry import (
    ClassCounts,
    Geometry,
    Parameterization,
    Problem,
    ldt,
    logit_adjusted,
    predict,
    vs,
)
from ridge_oracles import optimality
from solutions import logits_of, vectors_of

COUNTS = ClassCounts([40, 40, 12, 12, 5, 3])
EVERY_VECTOR = Parameterization(
    weight=[1, 1, 2, 2, 0.7, 3],
    shift=[0.3, 0.3, -1, -1, 0, 0.5],
    class_scale=[1, 1, 0.6, 0.6, 1.4, 0.8],
    label_scale=[0.8, 0.8, 1.5, 1.5, 1, 1.1],
    margin=[0.1, 0.1, 0, 0, 0.5, -0.2],
)
LOSSES = {"ce": None, "la": logit_adjusted(COUNTS), "ldt": ldt(COUNTS, 0.5), "vs": vs(COUNTS, 0.3), "all": EVERY_VECTOR}
NOISE = (1e-1, 1e-2, 1e-3)


def moved(logits, noise):
    """Logits some way off, their nuclear norm as it was on average."""
    step = np.random.default_rng(0).standard_normal(logits.shape)
    return logits + noise * np.linalg.norm(logits) / np.linalg.norm(step) * step


@pytest.mark.parametrize("loss", LOSSES)
def test_svm_bounds_enclose_the_optimum_at_any_logits_and_close_only_there(loss):
    """Margins scaled to 1 above; beta = max(0, -T) sqrt(n) / (delta Delta) scaled into the unit ball below."""
    solution = predict(Problem(COUNTS, LOSSES[loss]))
    optimum, vectors = solution.certificate.primal, vectors_of(solution.problem)
    gaps = []
    for noise in NOISE:
        bounds = oracles.margin_certificate(moved(logits_of(solution), noise), *vectors)
        assert bounds.dual < optimum < bounds.primal
        gaps.append(bounds.primal - bounds.dual)
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] > 1e-4 * optimum
    closed = oracles.margin_certificate(logits_of(solution), *vectors)
    assert (closed.primal, closed.dual) == pytest.approx((optimum, optimum), rel=1e-12)


@pytest.mark.parametrize("ridge", [1e-3, 0.3])
@pytest.mark.parametrize("loss", LOSSES)
def test_fenchel_bounds_enclose_the_optimum_at_any_logits_and_close_only_there(loss, ridge):
    """Objective above; the conjugate at the gradient, scaled into the ball of the ridge, below."""
    solution = predict(Problem(COUNTS, LOSSES[loss], ridge=ridge))
    problem, optimum = solution.problem, solution.certificate.primal
    arguments = problem.counts.values, problem.parameterization, ridge
    gaps = []
    for noise in NOISE:
        bounds = oracles.fenchel_certificate(moved(logits_of(solution), noise), *arguments)
        assert bounds.dual < optimum < bounds.primal
        gaps.append(bounds.primal - bounds.dual)
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] > 1e-6 * optimum
    closed = oracles.fenchel_certificate(logits_of(solution), *arguments)
    assert (closed.primal, closed.dual) == pytest.approx((optimum, optimum), rel=1e-7)


@pytest.mark.parametrize("ridge", [1e-3, 0.3])
@pytest.mark.parametrize("loss", LOSSES)
def test_logits_are_optimal_where_both_conditions_hold_and_nowhere_else(loss, ridge):
    """|G| <= ridge and <G, X> = -ridge |X|_*."""
    solution = predict(Problem(COUNTS, LOSSES[loss], ridge=ridge))
    at_optimum = optimality(solution)
    assert at_optimum.excess < 1e-6
    assert at_optimum.slack < 1e-6
    for noise in NOISE:
        mean_logits = moved(logits_of(solution), noise) / np.sqrt(COUNTS.values)
        elsewhere = optimality(replace(solution, geometry=Geometry.from_factors(mean_logits, np.eye(6))))
        assert max(elsewhere.excess, elsewhere.slack) > 1e-3 * noise
        assert elsewhere.objective > at_optimum.objective


@pytest.mark.parametrize("loss", LOSSES)
def test_zero_is_a_saddle_that_the_norm_of_its_gradient_gives_away(loss):
    """<G, 0> = 0 holds at any ridge; |G| <= ridge only from total collapse on."""
    for factor, optimal in ((0.5, False), (0.99, False), (1.01, True)):
        ridge = factor * largest_slope_at_zero(LOSSES[loss])
        solution = predict(Problem(COUNTS, LOSSES[loss], ridge=ridge))
        at_zero = optimality(replace(solution, geometry=Geometry.from_factors(np.zeros((6, 1)), np.zeros((6, 1)))))
        assert at_zero.slack == 0
        assert (at_zero.excess <= 0) == optimal
        assert (at_zero.objective <= solution.certificate.primal * (1 + 1e-12)) == optimal
        assert solution.geometry.classifier.norms().any() != optimal


def largest_slope_at_zero(loss):
    """Operator norm of the gradient of the losses by X at X = 0, by differences of the loop over classes."""
    loss, step, root = loss or Parameterization.neutral(6), 1e-6, np.sqrt(COUNTS.values)
    gradient = np.zeros((6, 6))
    for y in range(6):
        for c in range(6):
            ahead, behind = (oracles.sample_loss(sign * step * np.eye(6)[c], y, loss) for sign in (1, -1))
            gradient[c, y] = root[y] * (ahead - behind) / (2 * step)
    return np.linalg.norm(gradient, 2)
