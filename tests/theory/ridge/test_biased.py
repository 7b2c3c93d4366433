"""Heads with a bias at a positive ridge: optimality conditions by loops, interior points, laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import bias_oracles
from implicit_geometry._validate import InputError
from implicit_geometry.certificate import Status
from implicit_geometry.comparison import compare
from implicit_geometry.counts import ClassCounts
from implicit_geometry.geometry import simplex_etf
from implicit_geometry.groups import gather
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem
from implicit_geometry.rules import cdt, ldt, logit_adjusted
from implicit_geometry.solvers.factored import solve_factored
from implicit_geometry.theory.predict import predict
from implicit_geometry.theory.ridge.bias.program import Biased
from implicit_geometry.theory.ridge.bias.solution import bias_ridge_solution
from implicit_geometry.theory.ridge.plain import ridge_solution
from implicit_geometry.theory.ridge.program import Logits
from implicit_geometry.theory.ridge.reduce import reduce_problem
from solutions import FIVE_VECTORS, assert_same_geometry, logits_of
from strategies import class_counts, parameterizations, seeds

EXPONENTIAL = ClassCounts.exponential(num_classes=8, imbalance_ratio=100, max_count=500)


@st.composite
def biased_problems(draw: st.DrawFn) -> Problem:
    """Any loss, ridges from tiny to collapse, the bias free or not."""
    counts = draw(class_counts(max_classes=6, max_count=1000))
    ridge = 10.0 ** draw(st.floats(-3, 1.5))
    bias_ridge = draw(st.sampled_from([0.0, 0.1 * ridge, ridge, 10 * ridge]))
    return Problem(counts, draw(parameterizations(counts.num_classes, 0.3)), ridge, True, bias_ridge)


@settings(max_examples=60)
@given(biased_problems())
def test_the_optimality_conditions_hold(problem: Problem) -> None:
    """With G the gradient by X: |G| <= ridge, <G, X> = -ridge |X|_*; the gradient by b is -bias_ridge * b."""
    solution = predict(problem)
    assert solution.certificate.status is not Status.INACCURATE
    logits, ridge = logits_of(solution), problem.ridge
    by_logits, by_bias = bias_oracles.loss_gradient(
        logits, solution.bias, problem.counts.values, problem.parameterization
    )
    nuclear_norm = np.linalg.norm(logits, "nuc")
    assert np.linalg.norm(by_logits, 2) <= ridge * (1 + 1e-5)
    assert (by_logits * logits).sum() == pytest.approx(-ridge * nuclear_norm, rel=1e-5, abs=1e-5 * ridge)
    scale = np.abs(by_logits * np.sqrt(problem.counts.values)).sum()
    np.testing.assert_allclose(by_bias, -problem.bias_ridge * solution.bias, atol=1e-6 * scale)
    null = 1 / problem.parameterization.class_scale
    assert abs(null @ solution.bias) <= 1e-9 * np.linalg.norm(null) * (1 + np.linalg.norm(solution.bias))


@settings(max_examples=40)
@given(biased_problems(), seeds, st.floats(-3, 1))
def test_the_dual_value_is_a_lower_bound_wherever_one_stands(problem: Problem, seed: int, log_noise: float) -> None:
    reduced = reduce_problem(problem, gather(problem))
    biased = Biased.of(reduced, problem.bias_ridge / problem.ridge)
    own, mean = biased.start()[0]
    rng, size = np.random.default_rng(seed), 10.0**log_noise
    noise, bias = size * rng.standard_normal(mean.shape), size * rng.standard_normal(own.shape)
    bounds = biased.bounds(Logits(own, mean + noise), bias)
    certificate = predict(problem).certificate
    assert bounds.dual * problem.ridge <= certificate.primal * (1 + 1e-12)
    assert bounds.primal * problem.ridge >= certificate.dual * (1 - 1e-12)


@pytest.mark.parametrize("ridge", [0.05, 1.0])
@pytest.mark.parametrize("relative_bias_ridge", [0.0, 1.0])
def test_an_interior_point_solver_finds_the_same_optimum(ridge: float, relative_bias_ridge: float) -> None:
    bias_ridge = relative_bias_ridge * ridge
    numerical = bias_oracles.solve_ridge_program([40, 9, 4, 17], FIVE_VECTORS, ridge, bias_ridge)
    solution = predict(Problem([40, 9, 4, 17], FIVE_VECTORS, ridge, True, bias_ridge))
    certificate = solution.certificate
    assert certificate.primal == pytest.approx(numerical.value, rel=1e-7)
    assert certificate.dual <= numerical.value * (1 + 1e-7)
    np.testing.assert_allclose(logits_of(solution), numerical.logits, atol=3e-4 * np.abs(numerical.logits).max())
    np.testing.assert_allclose(solution.bias, numerical.bias, atol=3e-4 * np.abs(numerical.bias).max())


@pytest.mark.parametrize("bias_ridge", [0.0, 0.5])
@pytest.mark.parametrize("rule", [cdt, ldt])
def test_groups_of_equal_classes_give_what_single_classes_give(rule: object, bias_ridge: float) -> None:
    """Descent over all classifiers and embeddings knows nothing of groups."""
    counts = ClassCounts([60, 60, 60, 20, 20, 5])
    problem = Problem(counts, rule(counts, 0.5), 0.5, True, bias_ridge)  # type: ignore[operator]
    solution, descended = predict(problem), solve_factored(problem)
    assert solution.certificate.primal == pytest.approx(descended.certificate.primal, rel=1e-12)
    assert_same_geometry(solution.geometry, descended.geometry, 1e-6)
    np.testing.assert_allclose(solution.bias, descended.bias, atol=1e-6)


# Laws


@settings(max_examples=30)
@given(biased_problems())
def test_a_free_bias_centres_the_embeddings_at_any_ridge(problem: Problem) -> None:
    """sum_c n_c h_c = 0, and sum_c w_c / delta_c = 0 as without a bias."""
    problem = Problem(problem.counts, problem.parameterization, problem.ridge, True)
    geometry = predict(problem).geometry
    counts, embedding = problem.counts.values, geometry.embedding.dense()
    assert counts @ embedding @ counts <= 1e-8 * counts @ np.abs(embedding) @ counts + 1e-300
    null, classifier = 1 / problem.parameterization.class_scale, geometry.classifier.dense()
    assert null @ classifier @ null <= 1e-8 * null @ np.abs(classifier) @ null + 1e-300


@settings(max_examples=30)
@given(class_counts(max_classes=6, max_count=1000), st.floats(-3, 2), st.floats(0.1, 2))
def test_a_free_bias_absorbs_the_shift_of_logit_adjustment(counts: ClassCounts, log_ridge: float, tau: float) -> None:
    ridge = 10.0**log_ridge
    plain = predict(Problem(counts, None, ridge, True))
    adjusted = predict(Problem(counts, logit_adjusted(counts, tau), ridge, True))
    assume(plain.certificate.relative_gap < 1e-11)
    assert adjusted.certificate.primal == pytest.approx(plain.certificate.primal, rel=1e-9)
    assert_same_geometry(adjusted.geometry, plain.geometry, 1e-3)
    shift = logit_adjusted(counts, tau).shift
    difference = plain.bias - adjusted.bias
    np.testing.assert_allclose(difference, shift - shift.mean(), atol=1e-3 * (1 + np.abs(shift).max()))


@pytest.mark.parametrize("parameters", [None, cdt(EXPONENTIAL, 0.25), ldt(EXPONENTIAL, 0.5)])
def test_the_limit_is_approached_as_the_ridge_vanishes(parameters: Parameterization | None) -> None:
    limit = predict(Problem(EXPONENTIAL, parameters, bias=True)).geometry
    distances = []
    for ridge in (1.0, 1e-3, 1e-7):
        geometry = predict(Problem(EXPONENTIAL, parameters, ridge, True)).geometry
        distances.append(compare(geometry, limit))
    for block in ("classifier", "embedding"):
        values = [getattr(distance, block) for distance in distances]
        assert values == sorted(values, reverse=True)
        assert values[-1] < 0.1


def test_with_a_ridge_on_the_bias_too_the_head_without_bias_is_approached() -> None:
    """As soon as log(1 / ridge) is large beside the root of the counts."""
    counts = [6, 2, 1]
    without = predict(Problem(counts, bias=True, bias_ridge=1.0)).geometry
    shares, distances = [], []
    for ridge in (1e-4, 1e-12, 1e-40):
        solution = predict(Problem(counts, None, ridge, True, ridge))
        shares.append(np.linalg.norm(solution.bias) / solution.geometry.cross.frobenius_norm())
        distances.append(compare(solution.geometry, without).classifier)
    assert shares == sorted(shares, reverse=True)
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.02


@pytest.mark.parametrize("ridge", [1e-3, 0.3])
def test_an_enormous_ridge_on_the_bias_is_a_head_without(ridge: float) -> None:
    parameters = cdt(EXPONENTIAL, 0.25)
    without = ridge_solution(Problem(EXPONENTIAL, parameters, ridge))
    solution = predict(Problem(EXPONENTIAL, parameters, ridge, True, 1e9))
    assert solution.certificate.primal == pytest.approx(without.certificate.primal, rel=1e-7)
    assert_same_geometry(solution.geometry, without.geometry, 1e-4)
    np.testing.assert_allclose(solution.bias, 0, atol=1e-6)


def test_a_bias_never_costs_and_a_free_one_costs_least() -> None:
    values = [
        predict(Problem(EXPONENTIAL, None, 0.5, True, bias_ridge)).certificate.primal
        for bias_ridge in (0.0, 0.05, 0.5, 5.0)
    ]
    values.append(ridge_solution(Problem(EXPONENTIAL, None, 0.5)).certificate.primal)
    assert values == sorted(values)


def test_balanced_classes_have_a_simplex_etf_and_no_bias() -> None:
    solution = predict(Problem([20] * 7, None, 0.5, True))
    assert compare(solution.geometry, simplex_etf(7)).classifier < 1e-12
    np.testing.assert_allclose(solution.bias, 0, atol=1e-12)


def test_above_every_threshold_the_bias_alone_is_left_and_learns_the_frequencies() -> None:
    solution = predict(Problem([50, 20, 5], None, 100.0, True))
    assert solution.certificate.status is Status.COLLAPSED
    assert solution.geometry.classifier.norms().tolist() == [0, 0, 0]
    expected = np.log([50, 20, 5])
    np.testing.assert_allclose(solution.bias, expected - expected.mean(), rtol=1e-8)


def test_the_bias_brings_minority_collapse_forward_to_the_threshold_of_the_head_without() -> None:
    """Within a group nothing depends on the bias: it collapses at weight * class_scale * label_scale * sqrt(n)."""
    counts = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)
    for ridge, collapsed in ((0.999 * np.sqrt(5), False), (1.001 * np.sqrt(5), True)):
        geometry = predict(Problem(counts, None, ridge, True)).geometry
        apart = geometry.classifier.entry(9, 9) - geometry.classifier.entry(8, 9)
        assert (apart < 1e-12) == collapsed


def test_a_million_classes_are_a_problem_of_two_groups() -> None:
    counts = ClassCounts.step(num_classes=1_000_000, imbalance_ratio=100)
    for bias_ridge in (0.0, 25.0):
        solution = predict(Problem(counts, ldt(counts, 0.3), 25.0, True, bias_ridge))
        assert solution.certificate.relative_gap < 1e-10
        norms = solution.geometry.classifier.squared_norms()
        assert counts.values @ solution.geometry.embedding.squared_norms() == pytest.approx(norms.sum(), rel=1e-9)


def test_sixty_different_classes_are_solved_to_ten_digits() -> None:
    counts = ClassCounts.exponential(num_classes=60, imbalance_ratio=100, max_count=50_000)
    for bias_ridge in (0.0, 2.0):
        solution = predict(Problem(counts, cdt(counts, 0.5), 2.0, True, bias_ridge))
        assert solution.certificate.relative_gap < 1e-10


@pytest.mark.parametrize("problem", [Problem([5, 5], bias=True), Problem([5, 5], ridge=1.0)])
def test_a_question_of_another_kind_is_refused(problem: Problem) -> None:
    with pytest.raises(InputError, match="ridge > 0 and bias=True"):
        bias_ridge_solution(problem)
