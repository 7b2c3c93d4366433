"""Gradient descent on classifiers and embeddings, against the theory, CVXPY and its own definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad

import bias_oracles
import oracles
from implicit_geometry._validate import InputError
from implicit_geometry.certificate import Status
from implicit_geometry.counts import ClassCounts
from implicit_geometry.problem import Problem
from implicit_geometry.rules import cdt
from implicit_geometry.solvers import factored
from implicit_geometry.solvers.factored import solve_factored
from implicit_geometry.theory.predict import predict
from solutions import FIVE_VECTORS, assert_same_geometry, logits_of
from strategies import class_counts, parameterizations, seeds

HEADS = {"no bias": (False, 0.0), "free bias": (True, 0.0), "bias with ridge": (True, 0.3)}


@st.composite
def regularised_problems(draw: st.DrawFn) -> Problem:
    counts = draw(class_counts(max_classes=5, max_count=1000))
    bias, bias_ridge = draw(st.sampled_from(list(HEADS.values())))
    ridge = 10.0 ** draw(st.floats(-3, 1.5))
    return Problem(counts, draw(parameterizations(counts.num_classes, 0.3)), ridge, bias, bias_ridge)


@settings(max_examples=30)
@given(regularised_problems())
def test_any_problem_is_solved_and_the_theory_agrees(problem: Problem) -> None:
    solution = solve_factored(problem)
    assert solution.certificate.relative_gap < 1e-8
    expected = predict(problem).certificate
    assert solution.certificate.primal == pytest.approx(expected.primal, rel=1e-8)
    assert solution.certificate.dual <= expected.primal * (1 + 1e-12)
    assert (solution.certificate.status is Status.COLLAPSED) == (not solution.geometry.classifier.norms().any())


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("ridge", [1e-3, 0.3])
def test_ten_classes_agree_with_the_theory_in_every_entry(ridge: float, head: str) -> None:
    counts = ClassCounts.exponential(num_classes=10, imbalance_ratio=100, max_count=500)
    problem = Problem(counts, cdt(counts, 0.25), ridge, *HEADS[head])
    solution = solve_factored(problem)
    expected = predict(problem)
    assert solution.certificate.primal == pytest.approx(expected.certificate.primal, rel=1e-12)
    assert_same_geometry(solution.geometry, expected.geometry, 1e-7)
    if expected.bias is not None:
        np.testing.assert_allclose(solution.bias, expected.bias, atol=1e-6)


def test_an_interior_point_solver_finds_the_same_optimum_without_bias() -> None:
    numerical = oracles.solve_ridge_program([40, 9, 4, 17], FIVE_VECTORS, 0.3)
    solution = solve_factored(Problem([40, 9, 4, 17], FIVE_VECTORS, 0.3))
    np.testing.assert_allclose(logits_of(solution), numerical, atol=1e-3 * np.abs(numerical).max())
    bounds = oracles.fenchel_certificate(logits_of(solution), [40, 9, 4, 17], FIVE_VECTORS, 0.3)
    assert solution.certificate.primal == pytest.approx(bounds.primal, rel=1e-12)
    assert solution.certificate.dual == pytest.approx(bounds.dual, rel=1e-9)


@pytest.mark.parametrize("bias_ridge", [0.0, 0.3])
def test_an_interior_point_solver_finds_the_same_optimum_with_bias(bias_ridge: float) -> None:
    numerical = bias_oracles.solve_ridge_program([40, 9, 4, 17], FIVE_VECTORS, 0.3, bias_ridge)
    solution = solve_factored(Problem([40, 9, 4, 17], FIVE_VECTORS, 0.3, True, bias_ridge))
    assert solution.certificate.primal == pytest.approx(numerical.value, rel=1e-7)
    np.testing.assert_allclose(logits_of(solution), numerical.logits, atol=1e-3 * np.abs(numerical.logits).max())
    np.testing.assert_allclose(solution.bias, numerical.bias, atol=1e-3)


@settings(max_examples=20)
@given(regularised_problems(), seeds)
def test_the_objective_is_the_loss_of_every_sample_and_the_gradient_is_its_own(problem: Problem, seed: int) -> None:
    model = factored._Model(problem, problem.num_classes + 1)
    x = model.start(np.random.default_rng(seed))
    classifier, scaled, bias = model.split(x)
    embedding = scaled / np.sqrt(problem.counts.values)[:, None]
    samples = sum(
        count * oracles.sample_loss(classifier @ h + bias, label, problem.parameterization)
        for label, (count, h) in enumerate(zip(problem.counts.values, embedding, strict=True))
    )
    squares = (classifier**2).sum() + problem.counts.values @ (embedding**2).sum(axis=1)
    penalty = problem.ridge / 2 * squares + problem.bias_ridge / 2 * bias @ bias
    value, gradient = model.value_and_gradient(x)
    assert value * problem.ridge == pytest.approx(samples + penalty, rel=1e-10)
    error = check_grad(lambda y: model.value_and_gradient(y)[0], lambda y: model.value_and_gradient(y)[1], x)
    assert error <= 1e-4 * (1 + np.linalg.norm(gradient))


@settings(max_examples=30)
@given(regularised_problems(), seeds)
def test_the_dual_value_is_a_lower_bound_wherever_one_stands(problem: Problem, seed: int) -> None:
    model = factored._Model(problem, problem.num_classes)
    point = model.optimum(model.start(np.random.default_rng(seed))).certificate
    optimum = predict(problem).certificate
    assert point.dual <= optimum.primal * (1 + 1e-12)
    assert point.primal >= optimum.dual * (1 - 1e-12)


@pytest.mark.parametrize("feature_dim", [3, 4, 9])
def test_more_features_than_classes_less_one_change_nothing(feature_dim: int) -> None:
    problem = Problem([40, 9, 4, 17], FIVE_VECTORS, 0.3)
    solution = solve_factored(problem, feature_dim)
    assert solution.certificate.relative_gap < 1e-9
    assert_same_geometry(solution.geometry, solve_factored(problem).geometry, 1e-6)


def test_a_saddle_point_is_recognised_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem([40, 9, 4, 17], FIVE_VECTORS, 0.3)
    expected = solve_factored(problem)
    monkeypatch.setattr(factored._Model, "start", lambda model, rng: np.zeros(model.num_factors))
    assert_same_geometry(solve_factored(problem).geometry, expected.geometry, 1e-6)
    monkeypatch.setattr(factored, "_ROUNDS", 1)
    assert solve_factored(problem).certificate.status is Status.INACCURATE


def test_a_large_ridge_collapses_everything() -> None:
    solution = solve_factored(Problem([9, 4, 1], ridge=10.0))
    assert solution.certificate.status is Status.COLLAPSED
    assert solution.certificate.primal == pytest.approx(14 * np.log(3))


def test_too_few_features_and_the_limit_are_refused() -> None:
    problem = Problem([40, 9, 4, 17], ridge=0.3)
    with pytest.raises(InputError, match="feature_dim must be at least num_classes - 1 = 3, got 2"):
        solve_factored(problem, 2)
    with pytest.raises(InputError, match="feature_dim"):
        solve_factored(problem, 0)
    with pytest.raises(InputError, match="ridge > 0"):
        solve_factored(Problem([5, 5]))
