"""The limit of a head with a free bias: closed form where it is optimal, certified numbers where it is not."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bias_oracles
import oracles
from implicit_geometry._validate import InputError
from implicit_geometry.certificate import Status
from implicit_geometry.comparison import compare
from implicit_geometry.counts import ClassCounts
from implicit_geometry.geometry import simplex_etf
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem, Solution
from implicit_geometry.rules import cdt, ldt, logit_adjusted, vs, weighted
from implicit_geometry.theory.limit import biased
from implicit_geometry.theory.limit.nuclear_norm import balanced
from implicit_geometry.theory.limit.plain import limit_solution
from implicit_geometry.theory.predict import predict
from law.cases import Ask
from law.precise import biased_candidate
from numerics import bias_limit as judge
from solutions import BLOCKS, assert_same_geometry, logits_of, vectors_of, with_bias
from strategies import class_counts, problems, scales

wide_counts = st.lists(st.floats(0, 6), min_size=3, max_size=13).map(
    lambda x: np.round(10.0 ** np.array(x)).astype(int)
)


def solve(counts: object, class_scale: object = None, label_scale: object = None) -> Solution:
    ones = np.ones(len(ClassCounts(counts)))
    parameters = Parameterization(
        class_scale=ones if class_scale is None else class_scale,
        label_scale=ones if label_scale is None else label_scale,
    )
    return predict(Problem(counts, parameters, bias=True))


def assert_proven_by_loops(solution: Solution, tolerance: float) -> None:
    """Margins at least 1, the primal value, and a dual point found by nothing but the polar factor of X."""
    vectors = vectors_of(solution.problem)
    logits = logits_of(solution)
    margins = bias_oracles.margins(logits, solution.bias, *vectors)
    assert margins.min() == pytest.approx(solution.certificate.smallest_margin, abs=1e-11)
    assert margins.min() == pytest.approx(1, abs=1e-9)
    assert solution.certificate.primal == pytest.approx(np.linalg.norm(logits, "nuc"), rel=1e-9)
    assert bias_oracles.largest_off_diagonal_of_polar_factor(logits) <= tolerance
    counts, class_scale, _ = vectors
    scale = np.abs(logits).max()
    assert np.abs((1 / class_scale) @ logits).max() <= 1e-9 * scale / class_scale.min()
    assert np.abs(logits @ np.sqrt(counts)).max() <= 1e-9 * scale * np.sqrt(counts).max()


# The closed form


@given(wide_counts)
def test_plain_cross_entropy_is_solved_in_closed_form_whatever_the_counts(counts: np.ndarray) -> None:
    ones = np.ones(counts.size)
    candidate = bias_oracles.candidate_logits(counts, ones, ones)
    assert bias_oracles.largest_off_diagonal_of_polar_factor(candidate) < 1e-10
    solution = solve(counts)
    assert_same_geometry(solution.geometry, oracles.factor_logits(candidate, counts), 1e-10)
    np.testing.assert_allclose(solution.bias, counts / counts.sum() - 1 / counts.size, rtol=1e-9, atol=1e-12)
    assert solution.certificate.relative_gap < 1e-12
    assert solution.certificate.primal == pytest.approx(np.linalg.norm(candidate, "nuc"), rel=1e-12)


@given(
    class_counts(max_count=10**6).flatmap(lambda n: st.tuples(st.just(n), scales(n.num_classes))), st.floats(0.1, 10)
)
def test_so_is_every_loss_with_constant_squared_class_scale_times_label_scale(
    drawn: tuple[ClassCounts, np.ndarray], level: float
) -> None:
    counts, class_scale = drawn
    vectors = counts.values, class_scale, level / class_scale**2
    candidate = bias_oracles.candidate_logits(*vectors)
    assert bias_oracles.largest_off_diagonal_of_polar_factor(candidate) < 1e-10
    assert_same_geometry(solve(*vectors).geometry, oracles.factor_logits(candidate, counts.values), 1e-10)


@given(
    st.lists(st.integers(1, 10**6), min_size=2, max_size=2),
    scales(2, 1.0),
    scales(2, 1.0),
    st.lists(st.integers(0, 1), min_size=1, max_size=7),
)
def test_so_are_two_kinds_of_classes_whatever_the_temperatures(
    counts: list[int], class_scale: np.ndarray, label_scale: np.ndarray, more: list[int]
) -> None:
    kind = np.array([0, 1, *more])
    vectors = np.array(counts)[kind], class_scale[kind], label_scale[kind]
    solution = solve(*vectors)
    candidate = bias_oracles.candidate_logits(*vectors)
    assert_same_geometry(solution.geometry, oracles.factor_logits(candidate, vectors[0]), 1e-10)
    assert solution.certificate.relative_gap < 1e-12
    np.testing.assert_allclose(bias_oracles.margins(candidate, solution.bias, *vectors), 1, rtol=1e-9)


@settings(max_examples=60)
@given(problems(min_classes=3, max_count=1000))
def test_the_closed_form_is_used_exactly_where_the_polar_factor_allows_it(problem: Problem) -> None:
    vectors = vectors_of(problem)
    candidate = bias_oracles.candidate_logits(*vectors)
    solution = predict(with_bias(problem))
    value = np.linalg.norm(candidate, "nuc")
    if bias_oracles.largest_off_diagonal_of_polar_factor(candidate) <= 1e-12:
        assert solution.certificate.primal == pytest.approx(value, rel=1e-12)
        assert_same_geometry(solution.geometry, oracles.factor_logits(candidate, vectors[0]), 1e-10)
    else:
        assert solution.certificate.dual < value
    assert solution.certificate.status is Status.OPTIMAL
    assert_proven_by_loops(solution, 1e-6)


# Where the closed form fails

FAILURES = {
    "cdt 0.25, three classes": ([100, 10, 1], "cdt", 0.25),
    "cdt -1, three classes": ([100, 10, 1], "cdt", -1.0),
    "ldt -1, three classes": ([100, 10, 1], "ldt", -1.0),
    "cdt 0.5, four classes": ([100, 50, 25, 1], "cdt", 0.5),
    "ldt -1, five classes, two alike": ([1000, 100, 100, 10, 1], "ldt", -1.0),
}


@pytest.mark.parametrize("name", FAILURES)
def test_with_strong_temperatures_something_better_than_the_closed_form_is_found_and_proven(name: str) -> None:
    counts, rule, gamma = FAILURES[name]
    parameters = {"cdt": cdt, "ldt": ldt}[rule](ClassCounts(counts), gamma)
    vectors = np.array(counts), parameters.class_scale, parameters.label_scale
    candidate = bias_oracles.candidate_logits(*vectors)
    assert bias_oracles.largest_off_diagonal_of_polar_factor(candidate) > 0.01
    solution = solve(*vectors)
    assert np.linalg.norm(candidate, "nuc") > (1 + 1e-5) * solution.certificate.primal
    assert solution.certificate.relative_gap < 1e-9
    assert_proven_by_loops(solution, 1e-8)
    margins = bias_oracles.margins(logits_of(solution), solution.bias, *vectors)
    assert margins.max() > 1.01, "some margins are slack"
    numerical = bias_oracles.solve_margin_program(*vectors)
    assert solution.certificate.primal == pytest.approx(numerical.value, rel=1e-7)
    np.testing.assert_allclose(logits_of(solution), numerical.logits, atol=1e-5 * np.abs(numerical.logits).max())
    np.testing.assert_allclose(solution.bias, numerical.bias, atol=1e-5 * np.abs(numerical.bias).max())


@pytest.mark.parametrize(
    ("counts", "class_scale", "label_scale"),
    [
        ([50, 5, 5], [1, 1, 1], [1, 1, 1]),
        ([200, 3, 17, 40], [1, 1, 1, 1], [1, 1, 1, 1]),
        ([100, 10, 1, 4], [1, 1, 1, 1], [3, 0.5, 0.3, 1]),
        ([120, 7, 31, 2], [0.3, 1.1, 2.9, 0.7], [1.7, 0.4, 1, 2.2]),
    ],
)
def test_an_interior_point_solver_finds_the_same_optimum(
    counts: list[int], class_scale: list[float], label_scale: list[float]
) -> None:
    numerical = bias_oracles.solve_margin_program(counts, class_scale, label_scale)
    solution = solve(counts, class_scale, label_scale)
    assert solution.certificate.primal == pytest.approx(numerical.value, rel=1e-7)
    np.testing.assert_allclose(logits_of(solution), numerical.logits, atol=1e-5 * np.abs(numerical.logits).max())
    np.testing.assert_allclose(solution.bias, numerical.bias, atol=1e-5)


def test_forty_different_classes_of_a_long_tail_are_solved_to_ten_digits() -> None:
    counts = ClassCounts.exponential(num_classes=40, imbalance_ratio=100, max_count=50_000)
    solution = predict(Problem(counts, cdt(counts, 0.5), bias=True))
    assert solution.certificate.relative_gap < 1e-10
    assert_proven_by_loops(solution, 1e-8)


def test_too_many_kinds_of_classes_without_a_closed_form_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(biased, "MAX_SOLVED", 9)
    counts = ClassCounts.exponential(num_classes=10, imbalance_ratio=100)
    with pytest.raises(InputError, match=r"at most 9 different kinds of classes .* got 10"):
        predict(Problem(counts, cdt(counts, 0.5), bias=True))
    assert predict(Problem(counts, bias=True)).certificate.status is Status.OPTIMAL


# Laws


@given(problems(max_count=1000))
def test_both_factors_have_the_null_vectors_of_the_theory(problem: Problem) -> None:
    """sum_c w_c / delta_c = 0, and sum_c n_c h_c = 0: the embeddings have mean zero over the samples."""
    counts, class_scale, _ = vectors_of(problem)
    geometry = predict(with_bias(problem)).geometry
    for matrix, null in (
        (geometry.classifier.dense(), 1 / class_scale),
        (geometry.embedding.dense(), counts),
        (geometry.cross.dense(), counts),
        (geometry.cross.dense().T, 1 / class_scale),
    ):
        assert np.abs(matrix @ null).max() <= 1e-8 * np.abs(matrix).max() * np.abs(null).max() * null.size


@given(st.integers(2, 40), st.integers(1, 10**9), st.floats(0.1, 10), st.floats(0.1, 10))
def test_balanced_counts_and_equal_scales_give_a_simplex_etf_and_no_bias(
    k: int, count: int, delta: float, label: float
) -> None:
    solution = solve([count] * k, [delta] * k, [label] * k)
    distance = compare(solution.geometry, simplex_etf(k))
    assert max(distance.classifier, distance.embedding, distance.cross) < 1e-12
    np.testing.assert_allclose(solution.bias, 0, atol=1e-12 / delta / label)


def test_two_classes_have_one_direction_and_sample_mean_zero() -> None:
    solution = solve([30, 10])
    assert solution.geometry.classifier.cosine(0, 1) == pytest.approx(-1)
    norms = solution.geometry.embedding.norms()
    assert norms[0] / norms[1] == pytest.approx(1 / 3)
    np.testing.assert_allclose(solution.bias, [0.25, -0.25])


@given(problems(max_count=1000), st.randoms(use_true_random=False))
def test_relabelling_the_classes_relabels_the_solution(problem: Problem, random: object) -> None:
    vectors = vectors_of(problem)
    order = list(range(problem.num_classes))
    random.shuffle(order)  # type: ignore[attr-defined]
    plain, relabelled = solve(*vectors), solve(*(vector[order] for vector in vectors))
    scale = np.abs(plain.geometry.cross.dense()).max()
    np.testing.assert_allclose(relabelled.bias, plain.bias[order], atol=1e-6 * scale)
    for name in BLOCKS:
        expected = getattr(plain.geometry, name).dense()[np.ix_(order, order)]
        found = getattr(relabelled.geometry, name).dense()
        np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


@given(class_counts(min_classes=3))
def test_weights_shifts_and_margins_drop_out(counts: ClassCounts) -> None:
    plain = predict(Problem(counts, bias=True))
    for parameters in (weighted(counts), logit_adjusted(counts)):
        other = predict(Problem(counts, parameters, bias=True))
        assert_same_geometry(other.geometry, plain.geometry, 1e-14)


def test_a_million_classes_take_the_place_of_four() -> None:
    """Every group of a STEP profile has the same block averages up to the known dependence on its size."""
    counts = ClassCounts.step(num_classes=1_000_000, imbalance_ratio=100)
    solution = predict(Problem(counts, ldt(counts, 0.3), bias=True))
    assert solution.certificate.relative_gap < 1e-12
    nuclear_norm = math.fsum(solution.geometry.classifier.squared_norms())
    assert nuclear_norm == pytest.approx(solution.certificate.primal, rel=1e-12)
    weighted_norms = math.fsum(counts.values * solution.geometry.embedding.squared_norms())
    assert weighted_norms == pytest.approx(nuclear_norm, rel=1e-12)
    assert float(solution.bias @ np.ones(1_000_000)) == pytest.approx(0, abs=1e-9)


def test_a_ridge_on_the_bias_leads_to_the_head_without_bias_in_the_limit() -> None:
    counts = ClassCounts([100, 10, 1])
    problem = Problem(counts, cdt(counts, 0.5), bias=True, bias_ridge=1e-3)
    solution = predict(problem)
    assert_same_geometry(solution.geometry, limit_solution(Problem(counts, cdt(counts, 0.5))).geometry, 1e-15)
    assert solution.bias.tolist() == [0, 0, 0]
    assert solution.problem == problem


def test_scales_beyond_float64_are_refused() -> None:
    with pytest.raises(InputError, match="float64"):
        solve([5, 5, 5], [1e120, 1, 1e-120])


def test_a_ridge_on_the_bias_needs_a_bias_and_a_sensible_number() -> None:
    with pytest.raises(InputError, match=r"bias_ridge must be 0 for a head without bias, got 1"):
        Problem([5, 5], bias_ridge=1.0)
    with pytest.raises(InputError, match="bias_ridge"):
        Problem([5, 5], bias=True, bias_ridge=-1.0)
    assert Problem([5, 5], bias=True).free_bias
    assert not Problem([5, 5], bias=True, bias_ridge=1.0).free_bias
    assert not Problem([5, 5]).free_bias


# Trust: judged in many digits

WRONG_BEFORE = {
    "cdt -3, two classes, R = 1e7": ([10**7, 1], "cdt", -3.0),
    "cdt -3, two classes, R = 1e4": ([10**4, 1], "cdt", -3.0),
    "cdt 1.5, two classes, R = 1e9": ([10**9, 1], "cdt", 1.5),
    "vs -2.68, two classes, R = 1e9": ([10**9, 1], "vs", -2.68),
}


@pytest.mark.parametrize("name", WRONG_BEFORE)
def test_norms_that_were_lost_to_cancellation_have_ten_digits(name: str) -> None:
    counts, rule, gamma = WRONG_BEFORE[name]
    parameters = {"cdt": cdt, "vs": lambda n, gamma: vs(n, gamma, tau=1.0)}[rule](ClassCounts(counts), gamma)
    verdict = judge.Verdict()
    solution = judge.judge(Problem(counts, parameters, bias=True), verdict)
    assert verdict.closed == 1
    assert not verdict.violations
    assert verdict.worst_norm_error < 1e-10
    assert solution.certificate.primal == pytest.approx(
        float(judge.exact_closed_form(solution.problem).nuclear_norm), rel=1e-10
    )
    assert solution.geometry.classifier.cosine(0, 1) == pytest.approx(-1, abs=1e-12)


@pytest.mark.parametrize(("largest_ratio", "largest_gamma"), [(1e4, 1.0), (1e9, 3.0)])
def test_no_certificate_claims_more_than_many_digits_confirm(largest_ratio: float, largest_gamma: float) -> None:
    random, verdict = np.random.default_rng(0), judge.Verdict()
    for _ in range(60):
        judge.judge(judge.draw(random, largest_ratio, largest_gamma), verdict)
    assert not verdict.violations
    assert verdict.closed >= 20
    assert verdict.problems - verdict.closed >= 10
    if largest_gamma == 1.0:
        assert verdict.optimal >= 0.95 * verdict.problems


def test_a_dual_bound_includes_the_rounding_of_its_balance() -> None:
    """A flow that no factors balance proves nothing."""
    flow, imbalance = balanced(np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]))
    assert not imbalance < 1
    flow, imbalance = balanced(np.array([[0.0, 1e-30, 5.0], [2.0, 0.0, 1e-9], [3e12, 1.0, 0.0]]))
    assert imbalance < 1e-14
    np.testing.assert_allclose(flow.sum(axis=0), flow.sum(axis=1), rtol=1e-14)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.floats(0, 30))
def test_an_exactly_balanced_flow_is_within_the_stated_share(seed: int, k: int, decades: float) -> None:
    """Factors 1 + h_y - h_c that balance what is found, in 200 digits."""
    random = np.random.default_rng(seed)
    flow = 10 ** random.uniform(-decades / 2, decades / 2, (k, k))
    np.fill_diagonal(flow, 0.0)
    found, imbalance = balanced(flow)
    assert imbalance < 1e-12
    with mpmath.workdps(200):
        exact = mpmath.matrix(found.tolist())
        laplacian, surplus = mpmath.zeros(k), mpmath.matrix(k, 1)
        for c in range(k):
            for y in range(k):
                laplacian[c, c] += exact[c, y] + exact[y, c]
                laplacian[c, y] -= exact[c, y] + exact[y, c]
                surplus[c] += exact[c, y] - exact[y, c]
        height = [mpmath.mpf(0), *mpmath.lu_solve(laplacian[1:, 1:], surplus[1:])]
        assert max(height) - min(height) <= imbalance


@pytest.mark.parametrize(
    ("counts", "class_scale", "label_scale"),
    [
        ([3, 253092034], [4e8, 2.6e-9], [1.0, 1.0]),
        ([8, 25193663, 8, 8], [6e4, 4.3e-15, 6e4, 6e4], [5.6, 0.0058, 5.6, 5.6]),
        ([72032927, 8319807, 2], [2e6, 7e4, 6.6e-12], [3e4, 900.0, 4e-8]),
    ],
)
def test_mean_logits_of_a_class_next_to_unseen_by_the_loss_are_right(
    counts: list[int], class_scale: list[float], label_scale: list[float]
) -> None:
    """Its row is what is left of sums that are nearly equal: once 5.0 instead of -6e-22."""
    ask = Ask(counts, {"class_scale": class_scale, "label_scale": label_scale}, bias=True)
    geometry, exact = ask.predict().geometry, biased_candidate(ask)
    assert exact.is_optimal
    np.testing.assert_allclose(geometry.cross.dense(), exact.mean_logits, rtol=1e-9)
