"""Up to eight kinds of classes and a bias, counts to 1e9: solved, and certified by what many digits confirm."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from implicit_geometry import ClassCounts, Problem, ldt, predict
from implicit_geometry.groups import gather
from implicit_geometry.theory.numerics.balance import balancing_weights
from implicit_geometry.theory.ridge.bias.levels import best_levels, inverse_laplacian
from implicit_geometry.theory.ridge.bias.program import Biased
from implicit_geometry.theory.ridge.interior import DualProgram, interior_optimum
from implicit_geometry.theory.ridge.reduce import reduce_problem
from ridge_judge import dual_bound, few_kinds, judge


def biased(problem: Problem) -> Biased:
    return Biased.of(reduce_problem(problem, gather(problem)), problem.bias_ridge / problem.ridge)


@pytest.mark.parametrize(
    ("counts", "gamma", "ridge"),
    [([79, 55122, 999999, 2, 1421, 2936], -0.56, 1.0), ([19248566, 1], -0.594, 7.1e-6)],
)
def test_label_scales_far_apart_under_a_free_bias_are_solved(counts: list[int], gamma: float, ridge: float) -> None:
    """Descent on factors ended with gaps of 0.24 and 0.93."""
    solution = predict(Problem(counts, ldt(ClassCounts(counts), gamma), ridge, True))
    assert solution.certificate.relative_gap <= 1e-9
    judged = judge(solution)
    assert judged.true_gap <= 1e-9
    assert not judged.violated


@pytest.mark.parametrize("seed", range(16))
def test_random_problems_are_solved_and_their_certificates_hold_in_many_digits(seed: int) -> None:
    solution = predict(few_kinds(seed))
    judged = judge(solution)
    assert solution.certificate.relative_gap <= 1e-8
    assert judged.true_gap <= 1e-8
    assert not judged.violated


@pytest.mark.parametrize("seed", [10093, 10172, 10173])
def test_a_bias_far_from_zero_is_found_where_the_logits_collapse(seed: int) -> None:
    assert predict(few_kinds(seed)).certificate.relative_gap <= 1e-8


@pytest.mark.parametrize("seed", range(100, 106))
def test_without_a_bias_the_certificates_hold_too(seed: int) -> None:
    judged = judge(predict(few_kinds(seed, bias=False)))
    assert judged.stated_gap <= 1e-8
    assert not judged.violated


@pytest.mark.parametrize("log_noise", [-12, -6, -1])
@pytest.mark.parametrize("seed", range(6))
def test_the_stated_dual_value_is_never_above_that_of_its_point_in_many_digits(seed: int, log_noise: int) -> None:
    """At the optimum's probabilities and beside them."""
    problem = few_kinds(seed)
    solver = biased(problem)
    logits, bias, _ = solver.solve()
    wrong = solver.at(logits, bias).wrong
    wrong = wrong * np.exp(10.0**log_noise * np.random.default_rng(seed).standard_normal(wrong.shape))
    wrong /= max(1.0, wrong.sum(axis=0).max())
    stated, exact = solver.dual_point(wrong, bias).value * problem.ridge, dual_bound(problem, wrong)
    assert stated <= exact
    assert stated >= float(exact) - 1e-11 * abs(float(exact)) or problem.bias_ridge > 0


@pytest.mark.parametrize("seed", range(8))
def test_the_interior_point_method_comes_near_the_optimum_by_itself(seed: int) -> None:
    problem = few_kinds(seed)
    solver = biased(problem)
    logits, level = interior_optimum(DualProgram(solver.reduced, solver.levels))
    logits, bias = solver.settled(logits, level * solver.reduced.null)
    primal = solver.bounds(logits, bias).primal * problem.ridge
    assert primal == pytest.approx(predict(problem).certificate.primal, rel=1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_the_best_bias_balances_the_flows_to_rounding(seed: int) -> None:
    """What a group receives less what it sends is what the bias's own ridge pulls."""
    solver = biased(few_kinds(seed))
    logits, bias, _ = solver.solve()
    levels, exponent, level = solver.levels, solver.reduced.exponents(logits), bias / solver.reduced.null
    for start in (level, level + np.random.default_rng(seed).uniform(-5, 5, level.size) / levels.label.max()):
        found = best_levels(solver.reduced, levels, exponent, start)
        flow = levels.flow(solver.reduced.point(exponent + levels.change(found)).slope)
        received, sent = flow.sum(axis=1), flow.sum(axis=0)
        np.testing.assert_allclose(received + levels.decay * found, sent, rtol=1e-7, atol=1e-12 * sent.max())


@pytest.mark.parametrize("seed", range(5))
def test_balancing_weights_balance_flows_of_any_size(seed: int) -> None:
    flow = 10.0 ** np.random.default_rng(seed).uniform(-200, 20, (6, 6))
    np.fill_diagonal(flow, 0.0)
    balanced = flow * balancing_weights(flow)
    moved = balanced[:, balanced.sum(axis=0) > 1e-290]
    received, sent = balanced.sum(axis=1), balanced.sum(axis=0)
    assert moved.size > 0
    np.testing.assert_allclose(received[sent > 1e-290], sent[sent > 1e-290], rtol=1e-13)


def test_so_do_those_of_more_groups_than_are_eliminated_at_once() -> None:
    flow = 10.0 ** np.random.default_rng(0).uniform(-20, 20, (75, 75))
    np.fill_diagonal(flow, 0.0)
    balanced = flow * balancing_weights(flow)
    np.testing.assert_allclose(balanced.sum(axis=1), balanced.sum(axis=0), rtol=1e-13)


def test_a_group_that_sends_nothing_leaves_nothing_to_be_sent_to_it() -> None:
    assert balancing_weights(np.array([[0.0, 1.0], [0.0, 0.0]])).tolist() == [1, 0]
    assert balancing_weights(np.array([[0.0, 0.0], [1.0, 0.0]])).tolist() == [0, 0]


@pytest.mark.parametrize("groups", [5, 75])
def test_the_inverse_of_a_laplacian_is_that_of_dense_algebra(groups: int) -> None:
    draw = np.random.default_rng(0)
    edges = np.triu(draw.uniform(0, 1, (groups, groups)), 1)
    edges, ground = edges + edges.T, draw.uniform(0, 1, groups)
    matrix = np.diag(edges.sum(axis=1)) - edges
    np.testing.assert_allclose(inverse_laplacian(edges, ground), np.linalg.inv(matrix + np.diag(ground)), rtol=1e-12)
    grounded = inverse_laplacian(edges, np.zeros(groups))
    np.testing.assert_allclose(grounded[:-1, :-1], np.linalg.inv(matrix[:-1, :-1]), rtol=1e-12)
    assert not grounded[-1].any()


@pytest.mark.parametrize("rows", [9, 40])
def test_the_inverse_of_a_laplacian_is_accurate_entry_by_entry(rows: int) -> None:
    """Row by row and, where there are many, by halves; edges of any size, against many digits."""
    draw = np.random.default_rng(1)
    edges = np.triu(10 ** draw.uniform(-20, 20, (rows, rows)), 1)
    edges, ground = edges + edges.T, 10 ** draw.uniform(-20, 20, rows)
    with mpmath.workdps(120):
        matrix = -mpmath.matrix(edges.tolist())
        for row in range(rows):
            matrix[row, row] = mpmath.fsum([*edges[row].tolist(), float(ground[row])])
        exact = np.array(mpmath.inverse(matrix).tolist(), dtype=float)
    np.testing.assert_allclose(inverse_laplacian(edges, ground), exact, rtol=1e-13)
    grounded = inverse_laplacian(edges, np.zeros(rows))
    assert (grounded[:-1, :-1] > 0).all()
    assert not grounded[-1].any()
