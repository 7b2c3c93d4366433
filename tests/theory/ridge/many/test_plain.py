"""Hundreds of kinds of classes, against oracles of whole matrices and Newton's method without coarse problems."""

import numpy as np
import pytest

from implicit_geometry import (
    ClassCounts,
    InputError,
    Problem,
    Status,
    cdt,
    ce,
    ldam,
    ldt,
    logit_adjusted,
    predict,
    vs,
)
from implicit_geometry.groups import gather
from implicit_geometry.theory.ridge.many.coarser import coarser
from implicit_geometry.theory.ridge.many.expansion import Expansion, gradient_of
from implicit_geometry.theory.ridge.many.plain import expanded, optimal_pair
from implicit_geometry.theory.ridge.many.polar import polar_wrong
from implicit_geometry.theory.ridge.optimum import optimum
from implicit_geometry.theory.ridge.program import Logits
from implicit_geometry.theory.ridge.reduce import Kinds, reduce_kinds
from ridge_oracles import optimality, random_many_kinds

LONG_TAIL = ClassCounts(np.round(1280 * (5 / 1280) ** (np.arange(200) / 199)).astype(int))
SHORTER = ClassCounts(np.unique(np.round(1280 * (5 / 1280) ** (np.arange(70) / 69)).astype(int))[::-1])
LOSSES = {"ce": ce, "ldt": lambda n: ldt(n, 0.25), "cdt": lambda n: cdt(n, 0.25), "vs": lambda n: vs(n, 0.25)}
LOSSES |= {"la": logit_adjusted, "ldam": ldam}


def kinds_of(counts, loss):
    problem = Problem(counts, loss, ridge=1.0)
    return Kinds.of(problem, gather(problem))


@pytest.mark.parametrize("rule", LOSSES)
def test_the_certificate_holds_on_whole_matrices(rule):
    problem = Problem(LONG_TAIL, LOSSES[rule](LONG_TAIL), ridge=0.05)
    solution = predict(problem)
    certificate = solution.certificate
    assert certificate.status is Status.OPTIMAL
    conditions = optimality(solution)
    assert conditions.objective <= certificate.primal * (1 + 1e-12)
    assert conditions.objective >= certificate.dual * (1 - 1e-12)


@pytest.mark.parametrize("rule", LOSSES)
@pytest.mark.parametrize("ridge", [0.05, 3.0])
def test_newtons_method_without_coarse_problems_agrees(rule, ridge):
    problem = Problem(SHORTER, LOSSES[rule](SHORTER), ridge=ridge)
    reduced = reduce_kinds(Kinds.of(problem, gather(problem)), ridge)
    with np.errstate(all="ignore"):
        alone = optimum(reduced)
    solution = predict(problem)
    assert solution.certificate.relative_gap <= 1e-9
    assert solution.certificate.primal == pytest.approx(ridge * alone.bounds.primal, rel=2e-9)
    mean = solution.geometry.cross.dense() * np.sqrt(SHORTER.values)
    np.testing.assert_allclose(mean, alone.logits.mean, atol=1e-4 * np.abs(mean).max())


def test_a_smaller_tolerance_moves_the_objective_by_no_more_than_the_gap():
    problem = Problem(LONG_TAIL, ldt(LONG_TAIL, 0.25), ridge=0.05)
    rough, fine = predict(problem, tolerance=1e-4), predict(problem, tolerance=1e-11)
    assert rough.certificate.status is fine.certificate.status is Status.OPTIMAL
    assert fine.certificate.relative_gap <= 1e-11
    assert rough.certificate.dual <= fine.certificate.primal
    assert fine.certificate.dual <= rough.certificate.primal
    for block in ("classifier", "embedding"):
        norms = getattr(fine.geometry, block).squared_norms()
        stated = getattr(rough.geometry, block).squared_norms()
        assert (np.abs(stated - norms) <= getattr(rough.norm_error, block) * stated).all()


def test_what_is_not_reached_is_said():
    certificate = predict(Problem([50, 5], ridge=0.1), tolerance=1e-30).certificate
    assert certificate.status is Status.INACCURATE


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("nan"), float("inf"), "1e-8", None, True])
def test_a_tolerance_that_is_not_positive_is_named(tolerance):
    with pytest.raises(InputError, match="tolerance"):
        predict(Problem([50, 5], ridge=0.1), tolerance=tolerance)


@pytest.mark.parametrize("rule", LOSSES)
def test_a_coarse_gradient_keeps_its_norm_and_its_null_vector(rule):
    kinds = kinds_of(LONG_TAIL, LOSSES[rule](LONG_TAIL))
    coarse, place = coarser(kinds, 20)
    reduced, small = reduce_kinds(kinds, 0.05), reduce_kinds(coarse, 0.05)
    best = optimum(small)
    wrong = small.evaluate(best.logits).wrong * small.feasible_scale(small.evaluate(best.logits).wrong)
    for bias in (False, True):
        operator = Expansion(kinds, coarse, place, bias).gradient_operator(*gradient_of(small, wrong))
        within, mean = operator.within, operator.whole
        assert np.linalg.norm(mean, 2) <= 1 + 1e-12
        assert np.abs(within).max() <= 1 + 1e-12
        np.testing.assert_allclose(reduced.null @ mean, 0, atol=1e-13)


def test_bins_hold_every_class_once():
    kinds = kinds_of(LONG_TAIL, vs(LONG_TAIL, 0.25))
    coarse, place = coarser(kinds, 30)
    assert coarse.number == 30
    assert coarse.size.sum() == kinds.size.sum()
    assert sorted(set(place.tolist())) == list(range(30))


def test_classes_that_are_alike_are_never_apart():
    kinds = kinds_of([50] * 5 + [20] * 5 + [5], None)
    assert coarser(kinds, 100)[0].number == 3


def test_the_polar_factor_encloses_long_before_the_gradient_does():
    kinds = kinds_of(LONG_TAIL, logit_adjusted(LONG_TAIL))
    reduced = reduce_kinds(kinds, 0.05)
    best = optimal_pair(kinds, 0.05, 1e-11)
    point = reduced.evaluate(best.logits)
    moved = Logits(best.logits.own, best.logits.mean * (1 + 1e-4))
    point = reduced.evaluate(moved)
    exact = best.bounds.dual
    assert exact - reduced.dual_value(polar_wrong(reduced, moved, point)) < 0.1 * (
        exact - reduced.dual_value(point.wrong)
    )


def test_an_expansion_is_nearly_the_optimum():
    kinds = kinds_of(LONG_TAIL, ldt(LONG_TAIL, 0.25))
    with np.errstate(all="ignore"):
        assert expanded(kinds, reduce_kinds(kinds, 0.05), 0.05).bounds.gap < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_kinds_with_nothing_in_common_are_enclosed_too(seed):
    solution = predict(random_many_kinds(seed, 60))
    assert solution.certificate.relative_gap <= 1e-8


def test_bins_that_say_nothing_are_no_loss():
    assert predict(random_many_kinds(10, 150)).certificate.relative_gap <= 1e-8


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rule", ["ldt", "la"])
def test_whatever_the_tolerance_the_gap_is_at_most_that_and_the_bounds_enclose_the_optimum(rule, bias):
    problem = Problem(SHORTER, LOSSES[rule](SHORTER), ridge=0.3, bias=bias)
    known = predict(problem, tolerance=1e-11).certificate
    for tolerance in (1e-2, 1e-4, 1e-6, 1e-8):
        certificate = predict(problem, tolerance=tolerance).certificate
        assert certificate.status is Status.OPTIMAL
        assert certificate.relative_gap <= tolerance
        assert certificate.primal >= known.dual
        assert certificate.dual <= known.primal
