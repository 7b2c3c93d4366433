"""The cost-sensitive SVM by interior points, against the closed form, CVXPY and its own definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bias_oracles
from implicit_geometry._validate import InputError
from implicit_geometry.certificate import Status
from implicit_geometry.counts import ClassCounts
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem
from implicit_geometry.rules import cdt, ldt
from implicit_geometry.solvers.margin import margin_program, solve_margin
from implicit_geometry.theory.limit.plain import limit_solution
from implicit_geometry.theory.predict import predict
from solutions import assert_same_geometry, logits_of, vectors_of, with_bias
from strategies import problems, seeds


def random_problem(num_classes: int, seed: int, *, bias: bool = False, decades: float = 0.5) -> Problem:
    rng = np.random.default_rng(seed)
    counts = np.round(10 ** rng.uniform(0, 3, num_classes)).astype(int)
    class_scale, label_scale = 10 ** rng.uniform(-decades, decades, (2, num_classes))
    return Problem(counts, Parameterization(class_scale=class_scale, label_scale=label_scale), bias=bias)


@settings(max_examples=40)
@given(problems(max_count=1000))
def test_the_closed_form_is_found_without_knowing_it(problem: Problem) -> None:
    expected, solution = limit_solution(problem), solve_margin(problem)
    assert solution.certificate.status is Status.OPTIMAL
    assert solution.certificate.primal == pytest.approx(expected.certificate.primal, rel=1e-8)
    assert_same_geometry(solution.geometry, expected.geometry, 1e-5)
    assert solution.bias is None


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("num_classes", [2, 10, 30])
def test_thirty_classes_agree_with_the_theory(num_classes: int, bias: bool) -> None:
    problem = random_problem(num_classes, seed=num_classes, bias=bias)
    expected = predict(problem)
    solution = solve_margin(problem, tolerance=1e-10)
    assert solution.certificate.relative_gap <= 1e-10
    assert solution.certificate.primal == pytest.approx(expected.certificate.primal, rel=1e-9)
    assert_same_geometry(solution.geometry, expected.geometry, 1e-6)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_another_interior_point_solver_finds_the_same_optimum(seed: int, bias: bool) -> None:
    problem = random_problem(3 + seed, seed, bias=bias)
    numerical = bias_oracles.solve_margin_program(*vectors_of(problem), bias=bias)
    solution = solve_margin(problem)
    assert solution.certificate.primal == pytest.approx(numerical.value, rel=1e-7)
    np.testing.assert_allclose(logits_of(solution), numerical.logits, atol=1e-4 * np.abs(numerical.logits).max())
    if bias:
        np.testing.assert_allclose(solution.bias, numerical.bias, atol=1e-4 * np.abs(numerical.bias).max())


@settings(max_examples=25)
@given(problems(max_count=1000), st.booleans(), st.sampled_from([1e-2, 1e-5, 1e-9]))
def test_the_certificate_encloses_the_optimum_at_any_tolerance(problem: Problem, bias: bool, tolerance: float) -> None:
    problem = with_bias(problem) if bias else problem
    solution = solve_margin(problem, tolerance=tolerance)
    optimum = predict(problem).certificate
    certificate = solution.certificate
    assert certificate.relative_gap <= tolerance
    assert certificate.dual <= optimum.primal * (1 + 1e-12)
    assert certificate.primal >= optimum.dual * (1 - 1e-12)
    bias_vector = np.zeros(problem.num_classes) if solution.bias is None else solution.bias
    margins = bias_oracles.margins(logits_of(solution), bias_vector, *vectors_of(problem))
    assert margins.min() == pytest.approx(1, abs=1e-9)
    assert certificate.primal == pytest.approx(np.linalg.norm(logits_of(solution), "nuc"), rel=1e-9)


@settings(max_examples=60)
@given(problems(max_count=1000), st.booleans(), seeds, st.floats(-3, 1))
def test_whatever_matrix_one_starts_from_the_dual_value_is_a_lower_bound(
    problem: Problem, bias: bool, seed: int, log_noise: float
) -> None:
    problem = with_bias(problem) if bias else problem
    optimum = predict(problem)
    left, _, right = np.linalg.svd(logits_of(optimum))
    polar = left[:, :-1] @ right[:-1]
    noise = 10.0**log_noise * np.random.default_rng(seed).standard_normal(polar.shape)
    assert margin_program(problem).dual_value(polar + noise) <= optimum.certificate.primal * (1 + 1e-12)


@pytest.mark.parametrize("gamma", [-1.0, -0.25, 0.25, 1.0])
@pytest.mark.parametrize("rule", [cdt, ldt])
def test_temperatures_of_a_long_tail_are_solved_with_a_bias(rule: object, gamma: float) -> None:
    counts = ClassCounts.exponential(num_classes=12, imbalance_ratio=100, max_count=500)
    problem = Problem(counts, rule(counts, gamma), bias=True)  # type: ignore[operator]
    solution = solve_margin(problem)
    assert solution.certificate.status is Status.OPTIMAL
    assert_same_geometry(solution.geometry, predict(problem).geometry, 1e-4)


def test_a_ridge_on_the_bias_means_no_bias_in_the_limit() -> None:
    solution = solve_margin(Problem([20, 5, 1], bias=True, bias_ridge=1.0))
    assert_same_geometry(solution.geometry, limit_solution(Problem([20, 5, 1])).geometry, 1e-6)
    assert solution.bias is not None
    assert solution.bias.tolist() == [0, 0, 0]


def test_too_many_classes_and_senseless_tolerances_are_refused() -> None:
    with pytest.raises(InputError, match=r"at most 100 classes .* got 101"):
        solve_margin(Problem([2] * 101))
    for tolerance in (0.0, 1.0, -1e-8, float("nan")):
        with pytest.raises(InputError, match="tolerance"):
            solve_margin(Problem([5, 5]), tolerance=tolerance)
