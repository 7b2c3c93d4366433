"""Newton's method in the logits, against finite differences and whole matrices; starts where logits have vanished."""

import numpy as np
import pytest

from implicit_geometry import ClassCounts, Problem, Status, ce, logit_adjusted, predict, vs
from implicit_geometry.groups import gather
from implicit_geometry.theory.ridge.many.alive import Alive, Unknowns
from implicit_geometry.theory.ridge.many.alive_descent import descend_alive
from implicit_geometry.theory.ridge.optimum import optimum
from implicit_geometry.theory.ridge.program import Logits, lifted, rough_start
from implicit_geometry.theory.ridge.reduce import Kinds, reduce_kinds
from ridge_oracles import optimality, random_many_kinds

COUNTS = ClassCounts([300, 300, 120, 60, 60, 60, 25, 9, 9, 4])
LOSSES = {"ce": ce, "la": logit_adjusted, "vs": lambda n: vs(n, 0.25)}


def reduced_at(counts, rule, ridge):
    problem = Problem(counts, LOSSES[rule](counts), ridge=ridge)
    return reduce_kinds(Kinds.of(problem, gather(problem)), ridge)


@pytest.mark.parametrize("bias_decay", [None, 0.0, 0.3])
@pytest.mark.parametrize("rule", LOSSES)
def test_slopes_and_curvatures_are_those_of_the_objective(rule, bias_decay):
    reduced = reduced_at(COUNTS, rule, 0.05)
    problem = Alive(reduced, bias_decay)
    draw = np.random.default_rng(1)
    groups = reduced.size.size
    at = problem.start(rough_start(reduced), draw.normal(size=groups))
    free = bias_decay is not None
    bias = draw.normal(size=groups) if free else np.zeros(groups)
    step = Unknowns(
        np.where(at.live, draw.normal(size=groups), 0.0),
        problem.projected(draw.normal(size=(groups, groups))),
        bias,
    )
    gradient, curved = problem.gradient(at), problem.hessian(at)(step)
    ahead, behind = (problem.iterate(at.unknowns.moved(sign * 1e-5, step)) for sign in (1, -1))
    assert gradient.times(step) == pytest.approx((problem.value(ahead) - problem.value(behind)) / 2e-5, rel=1e-6)
    slopes = zip(problem.gradient(ahead), problem.gradient(behind), strict=True)
    for stated, (after, before) in zip(curved, slopes, strict=True):
        measured = (after - before) / 2e-5
        np.testing.assert_allclose(stated, measured, atol=1e-6 * max(np.abs(measured).max(), 1e-3))


@pytest.mark.parametrize("rule", LOSSES)
def test_the_descent_ends_at_the_optimum(rule):
    reduced = reduced_at(COUNTS, rule, 0.05)
    problem, best = Alive(reduced), optimum(reduced)
    first = problem.start(Logits(best.logits.own * 1.05, best.logits.mean * 0.97))
    *_, last = descend_alive(problem, first)
    assert problem.value(last) == pytest.approx(best.bounds.primal, rel=1e-11)


def test_a_start_with_vanished_logits_is_lifted_where_the_optimum_has_them():
    reduced = reduced_at(COUNTS, "ce", 4.0)
    nothing = Logits(np.zeros_like(reduced.size), np.zeros_like(reduced.logit_slope))
    start = lifted(reduced, nothing)
    assert reduced.objective(start, reduced.evaluate(start)) < reduced.objective(nothing, reduced.evaluate(nothing))
    assert optimum(reduced, nothing).bounds.gap <= 1e-9


def test_many_kinds_of_which_most_have_collapsed_are_solved():
    counts = ClassCounts(np.unique(np.round(np.geomspace(5, 1e6, 64)).astype(int))[::-1])
    solution = predict(Problem(counts, ridge=300.0))
    assert solution.certificate.status is Status.OPTIMAL
    assert optimality(solution).objective == pytest.approx(solution.certificate.primal, rel=1e-8)
    above = int((np.sqrt(counts.values) > 300).sum())
    rank = np.linalg.matrix_rank(solution.geometry.classifier.dense(), tol=1e-6)
    assert above < 20
    assert above - 1 <= rank <= above


@pytest.mark.parametrize(("seed", "kinds"), [(123, 110), (155, 108)])
def test_a_problem_whose_bins_all_collapse_is_certified(seed: int, kinds: int) -> None:
    """Nothing of the start is alive then, and no quadratic model has an unknown."""
    solution = predict(random_many_kinds(seed, kinds, head="ridge"))
    assert solution.certificate.relative_gap <= 1e-8
