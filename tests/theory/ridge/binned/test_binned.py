"""Bins as an answer to the whole problem, against whole matrices."""

import numpy as np
import pytest

from implicit_geometry import ClassCounts, InputError, Parameterization, Problem, Status, cdt, ce, ldt, logit_adjusted
from implicit_geometry.groups import gather
from implicit_geometry.theory.ridge.binned import bounds as bounds_module
from implicit_geometry.theory.ridge.binned import plain as binned
from implicit_geometry.theory.ridge.binned.plain import binned_solution
from implicit_geometry.theory.ridge.many.plain import optimal_pair
from implicit_geometry.theory.ridge.reduce import Kinds
from ridge_oracles import optimality

COUNTS = ClassCounts(np.repeat(np.round(1280 * (5 / 1280) ** (np.arange(90) / 89)).astype(int), 2))
RULES = {"ce": ce, "ldt": lambda n: ldt(n, 0.25), "cdt": lambda n: cdt(n, 0.5), "la": logit_adjusted}


def solved(problem, bins, monkeypatch):
    monkeypatch.setattr(binned, "_FEWEST_BINS", bins)
    monkeypatch.setattr(binned, "_MOST_BINS", bins)
    monkeypatch.setattr(bounds_module, "_ENTRIES", 1000)
    groups = gather(problem)
    kinds = Kinds.of(problem, groups)
    with np.errstate(all="ignore"):
        return binned_solution(problem, groups, kinds, 1e-8), optimal_pair(kinds, problem.ridge, 1e-9)


@pytest.mark.parametrize("ridge", [0.05, 10.0])
@pytest.mark.parametrize("rule", RULES)
def test_the_bounds_enclose_the_optimum_and_the_upper_one_is_the_objective(rule, ridge, monkeypatch):
    problem = Problem(COUNTS, RULES[rule](COUNTS), ridge=ridge)
    solution, best = solved(problem, 30, monkeypatch)
    certificate = solution.certificate
    assert certificate.dual <= ridge * best.bounds.primal
    assert certificate.primal >= ridge * best.bounds.dual
    assert certificate.relative_gap < 0.02
    assert certificate.status is Status.INACCURATE
    assert optimality(solution).objective == pytest.approx(certificate.primal, rel=1e-11)


def test_the_gap_falls_by_the_square_of_the_bins(monkeypatch):
    problem = Problem(COUNTS, ldt(COUNTS, 0.25), ridge=0.05)
    gaps = [solved(problem, bins, monkeypatch)[0].certificate.relative_gap for bins in (10, 40)]
    assert gaps[1] < gaps[0] / 8


def test_as_many_bins_as_kinds_are_the_problem_itself(monkeypatch):
    problem = Problem(COUNTS, cdt(COUNTS, 0.5), ridge=0.05)
    solution, best = solved(problem, 1000, monkeypatch)
    assert solution.certificate.relative_gap <= 1e-8
    assert solution.certificate.primal == pytest.approx(0.05 * best.bounds.primal, rel=1e-9)


@pytest.mark.parametrize("bins", [5, 30])
def test_a_class_that_nothing_is_taken_for_leaves_numbers(bins, monkeypatch):
    counts = ClassCounts([round(1000 * 0.8**i) for i in range(20)])
    shift = np.zeros(20)
    shift[3], shift[5] = 1000, -1000
    problem = Problem(counts, Parameterization(shift=shift), ridge=0.5)
    solution, best = solved(problem, bins, monkeypatch)
    assert 0 <= solution.certificate.dual <= 0.5 * best.bounds.primal
    assert solution.certificate.primal >= 0.5 * best.bounds.dual


def test_vectors_drawn_at_random_are_enclosed(monkeypatch):
    draw = np.random.default_rng(3)
    weight, class_scale, label_scale = np.exp(draw.uniform(-0.3, 0.3, (3, COUNTS.num_classes)))
    loss = Parameterization(weight=weight, class_scale=class_scale, label_scale=label_scale)
    problem = Problem(COUNTS, loss, ridge=0.3)
    solution, best = solved(problem, 60, monkeypatch)
    assert solution.certificate.dual <= 0.3 * best.bounds.primal
    assert solution.certificate.primal >= 0.3 * best.bounds.dual
    assert optimality(solution).objective == pytest.approx(solution.certificate.primal, rel=1e-11)


def test_too_many_kinds_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(binned, "MOST_KINDS", 50)
    with pytest.raises(InputError, match="at most 50 kinds of classes"):
        solved(Problem(COUNTS, ridge=0.05), 30, monkeypatch)
