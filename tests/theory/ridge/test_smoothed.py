"""The optimum at a positive ridge with smoothed labels, against torch's loss minimised on heads and features."""

from dataclasses import replace

import numpy as np
import pytest

from implicit_geometry import (
    ClassCounts,
    InputError,
    Problem,
    collapse_thresholds,
    design,
    effective_ridge,
    ldam,
    ldt,
    logit_adjusted,
    make_parameterization,
    predict,
    ridge_path,
    vs,
    weighted,
)
from implicit_geometry.certificate import Status
from smoothed_oracles import minimise_smoothed
from theory.limit.test_smoothed import random_problem

STEP = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)
HEADS = {"no bias": {}, "free bias": {"bias": True}, "bias with a ridge": {"bias": True, "bias_ridge": 0.05}}


def largest_difference(solution, minimum):
    blocks = ("classifier", "embedding", "cross")
    return max(
        np.abs(getattr(solution.geometry, name).dense() - getattr(minimum, name)).max()
        / np.abs(getattr(minimum, name)).max()
        for name in blocks
    )


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("seed", range(6))
def test_no_head_and_features_have_a_smaller_objective(seed, head):
    problem = replace(
        random_problem(seed, ridge=float(10 ** np.random.default_rng(seed).uniform(-2, 0.5))), **HEADS[head]
    )
    solution, minimum = predict(problem), minimise_smoothed(problem)
    certificate = solution.certificate
    assert certificate.status in (Status.OPTIMAL, Status.COLLAPSED)
    assert certificate.dual <= minimum.objective * (1 + 1e-9)
    assert certificate.primal == pytest.approx(minimum.objective, rel=1e-7)
    if minimum.classifier.max() > 1e-6:
        assert largest_difference(solution, minimum) < 2e-3


@pytest.mark.parametrize("head", ["no bias", "free bias"])
@pytest.mark.parametrize("seed", range(4))
def test_the_limit_is_reached_linearly_in_the_ridge(seed, head):
    limit = predict(replace(random_problem(seed), **HEADS[head]))

    def distance(ridge):
        geometry = predict(replace(limit.problem, ridge=ridge)).geometry
        wanted = limit.geometry.classifier.dense()
        return np.abs(geometry.classifier.dense() - wanted).max() / np.abs(wanted).max()

    far, near = distance(1e-3), distance(1e-4)
    assert 5 < far / near < 20


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("seed", range(12))
def test_random_problems_end_certified(seed, head):
    ridge = float(10 ** np.random.default_rng(seed).uniform(-5, 2))
    problem = replace(random_problem(seed, ridge=ridge, twins=seed % 2 == 0, largest=4), **HEADS[head])
    assert predict(problem).certificate.status in (Status.OPTIMAL, Status.COLLAPSED)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("ridge", [1e-10, 0.1])
@pytest.mark.parametrize("smoothing", [1e-20, 1e-100])
def test_a_smoothing_that_no_optimum_notices_changes_nothing(smoothing, ridge, head):
    counts, heads = [500, 50, 5, 5], dict(HEADS[head])
    hard = predict(Problem(counts, weighted(counts, gamma=1.0), ridge=ridge, **heads))
    soft = predict(Problem(counts, weighted(counts, gamma=1.0), ridge=ridge, label_smoothing=smoothing, **heads))
    assert soft.certificate.status is Status.OPTIMAL
    assert soft.certificate.primal == pytest.approx(hard.certificate.primal, rel=1e-7)


def test_the_bounds_of_a_point_that_is_not_optimal_do_not_meet():
    from implicit_geometry.groups import gather
    from implicit_geometry.theory.ridge.program import Logits
    from implicit_geometry.theory.ridge.smoothed import Smoothed, smoothed_optimum
    from implicit_geometry.theory.ridge.smoothed_program import reduce_smoothed

    problem = Problem([50, 20, 5], ridge=0.1, label_smoothing=0.1)
    reduced = reduce_smoothed(problem, gather(problem))
    best = smoothed_optimum(reduced, None)
    program = Smoothed.of(reduced, None)
    for size in (1e-3, 1e-2, 0.1):
        moved = Logits(best.logits.own, best.logits.mean * (1 + size))
        bounds = program.bounds(moved)
        assert bounds.dual <= best.bounds.primal <= bounds.primal
        assert bounds.gap > 0.1 * size**2


# Collapse


@pytest.mark.parametrize("head", ["no bias", "free bias"])
@pytest.mark.parametrize(
    ("rule", "given"),
    [
        ("ce", {}),
        ("weighted", {"gamma": 0.25}),
        ("logit_adjusted", {}),
        ("cdt", {"gamma": 0.4}),
        ("ldt", {"gamma": 0.25}),
    ],
)
def test_groups_collapse_where_the_threshold_says(rule, given, head):
    loss, smoothing = make_parameterization(rule, STEP, **given), 0.2
    found = collapse_thresholds(Problem(STEP, loss, label_smoothing=smoothing, bias=head != "no bias"))
    strength = loss.weight * loss.class_scale * loss.label_scale * np.sqrt(STEP.values)
    np.testing.assert_allclose(found.ridge, (1 - smoothing) * strength, rtol=1e-14)

    def rank(ridge):
        problem = Problem(STEP, loss, ridge=ridge, bias=head != "no bias", label_smoothing=smoothing)
        logits = predict(problem).geometry.cross.dense() * np.sqrt(STEP.values)
        return int((np.linalg.svd(logits, compute_uv=False) > 1e-7 * np.sqrt(50)).sum())

    for threshold, lost in ((found.ridge[9], 4), (found.between_groups, 1), (found.ridge[0], 4)):
        assert rank(threshold * 0.999) - rank(threshold * 1.001) == lost
    assert rank(found.total * 1.001) == 0


def test_a_margin_raises_the_threshold_of_smoothed_labels_too():
    loss = ldam(STEP, max_margin=2.0)
    found = collapse_thresholds(Problem(STEP, loss, label_smoothing=0.2))
    assert found.ridge[9] > 0.8 * np.sqrt(5) * 1.01
    for factor, apart in ((0.999, True), (1.001, False)):
        gram = predict(Problem(STEP, loss, ridge=found.ridge[9] * factor, label_smoothing=0.2)).geometry.classifier
        assert (gram.entry(8, 8) - gram.entry(8, 9) > 1e-9) == apart


# What is built on it


def test_a_path_has_the_solutions_of_its_ridges():
    loss, ridges = vs(STEP, gamma=0.2), [3.0, 1e-3, 0.1]
    for solution, ridge in zip(ridge_path(Problem(STEP, loss, label_smoothing=0.1), None, ridges), ridges, strict=True):
        alone = predict(Problem(STEP, loss, ridge=ridge, label_smoothing=0.1))
        assert solution.problem == alone.problem
        assert solution.certificate.primal == pytest.approx(alone.certificate.primal, rel=1e-8)


@pytest.mark.parametrize("head", ["no bias", "free bias"])
def test_the_ridge_of_a_prediction_with_smoothed_labels_is_recovered(head):
    problem = Problem(STEP, ldt(STEP, gamma=0.25), ridge=0.3, label_smoothing=0.1, **HEADS[head])
    found = effective_ridge(predict(problem).geometry, problem)
    assert found.ridge == pytest.approx(0.3, rel=1e-3)
    assert found.solution.problem.label_smoothing == 0.1


def test_designs_for_smoothed_labels_are_those_of_hard_ones_but_for_a_shift():
    hard, soft = (design(STEP, target="norm_ratio", value=1.2, family="cdt", label_smoothing=eps) for eps in (0.0, 0.1))
    assert soft.exponent == pytest.approx(hard.exponent, abs=1e-9)
    shifted = design(STEP, target="norm_ratio", value=1.2, family="vs", label_smoothing=0.1)
    assert abs(shifted.exponent - hard.exponent) > 0.02
    squared = predict(Problem(STEP, shifted.parameterization, label_smoothing=0.1)).geometry.classifier.squared_norms()
    assert squared[0] / squared[9] == pytest.approx(1.2, rel=1e-9)
    with pytest.raises(InputError, match="family must have no shift"):
        design(STEP, target="alignment", family="vs", label_smoothing=0.1)


def test_torch_weights_are_a_shift_of_the_labels():
    """wCE with weights 1 / n on smoothed labels has the mean logits of LA with tau = -1: log(omega) = -log(n)."""
    weights, shifts = weighted(STEP, gamma=1.0), logit_adjusted(STEP, tau=1.0)
    by_weight = predict(Problem(STEP, weights, label_smoothing=0.1)).geometry.cross.dense()
    by_shift = predict(Problem(STEP, shifts, label_smoothing=0.1)).geometry.cross.dense()
    np.testing.assert_allclose(by_weight, by_shift, atol=1e-10)


def test_more_kinds_than_memory_holds_are_refused():
    with pytest.raises(InputError, match="at most 4000 kinds of classes with soft labels"):
        predict(Problem(np.arange(1, 4002), ridge=0.1, label_smoothing=0.1))
