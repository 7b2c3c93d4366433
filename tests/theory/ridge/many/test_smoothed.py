"""Smoothed labels and many kinds of classes, against Newton's method without coarse problems and torch's own loss."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from implicit_geometry import ClassCounts, Problem, Status, ce, ldt, predict, vs
from implicit_geometry.groups import gather
from implicit_geometry.theory.ridge.smoothed import smoothed_optimum
from implicit_geometry.theory.ridge.smoothed_program import reduce_smoothed
from implicit_geometry.theory.ridge_path import ridge_path
from ridge_oracles import random_many_kinds
from smoothed_oracles import label_entropy, smoothed_loss

COUNTS = ClassCounts(np.unique(np.round(1280 * (5 / 1280) ** (np.arange(64) / 63)).astype(int))[::-1])
PAIRS = ClassCounts(np.repeat(COUNTS.values, np.where(np.arange(COUNTS.num_classes) % 5, 1, 2)))
LOSSES = {"ce": ce, "ldt": lambda n: ldt(n, 0.25), "vs": lambda n: vs(n, 0.25)}
HEADS = {"no bias": None, "free bias": 0.0, "bias with a ridge": 1.0}


def problem_of(rule, head, counts=COUNTS, ridge=0.05, smoothing=0.1):
    decay = HEADS[head]
    return Problem(
        counts,
        LOSSES[rule](counts),
        ridge=ridge,
        bias=decay is not None,
        bias_ridge=ridge * (decay or 0.0),
        label_smoothing=smoothing,
    )


def without_bins(problem):
    """Bounds by Newton's method from the limit's form."""
    decay = problem.bias_ridge / problem.ridge if problem.bias else None
    with np.errstate(all="ignore"):
        bounds = smoothed_optimum(reduce_smoothed(problem, gather(problem)), decay).bounds
    return problem.ridge * bounds.dual, problem.ridge * bounds.primal


def objective(solution):
    """On whole matrices, from the mean logits and the bias alone, by torch's loss."""
    problem, logits = solution.problem, solution.geometry.cross.dense()
    bias = np.zeros(problem.num_classes) if solution.bias is None else solution.bias
    loss = float(smoothed_loss(problem, torch.tensor((logits + bias[:, None]).T))) - label_entropy(problem)
    norm = np.linalg.norm(logits * np.sqrt(problem.counts.values), "nuc")
    return float(loss + problem.ridge * norm + 0.5 * problem.bias_ridge * bias @ bias)


def check(solution):
    certificate = solution.certificate
    dual, primal = without_bins(solution.problem)
    assert certificate.status is Status.OPTIMAL
    assert certificate.relative_gap < 1e-9
    assert certificate.dual <= primal
    assert dual <= certificate.primal
    assert certificate.primal == pytest.approx(primal, rel=1e-9)
    assert objective(solution) == pytest.approx(certificate.primal, rel=1e-8)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("rule", LOSSES)
def test_newtons_method_without_coarse_problems_and_torch_agree(rule, head):
    check(predict(problem_of(rule, head)))


@pytest.mark.parametrize("head", HEADS)
def test_so_they_do_where_kinds_have_several_classes(head):
    check(predict(problem_of("ldt", head, PAIRS, ridge=0.2)))


@pytest.mark.parametrize("head", ["no bias", "free bias"])
def test_so_they_do_where_most_classes_have_collapsed(head):
    solution = predict(problem_of("ce", head, PAIRS, ridge=12.0))
    logits = solution.geometry.cross.dense() * np.sqrt(PAIRS.values)
    assert 0 < np.linalg.matrix_rank(logits, tol=1e-6) < 0.8 * PAIRS.num_classes
    check(solution)


@pytest.mark.parametrize("seed", [0, 1, 9])
def test_so_they_do_where_kinds_have_nothing_in_common(seed):
    problem = random_many_kinds(seed, 53, head=("none", "free")[seed % 2])
    check(predict(replace(problem, label_smoothing=0.05)))


def test_steps_from_bins_are_all_it_takes(monkeypatch):
    """The slower method has nothing to do but for the fewest bins."""
    sizes = []

    def counted(reduced, *rest):
        sizes.append(reduced.size.size)
        return smoothed_optimum(reduced, *rest)

    monkeypatch.setattr("implicit_geometry.theory.ridge.many.smoothed.smoothed_optimum", counted)
    for head in HEADS:
        assert predict(problem_of("ce", head)).certificate.relative_gap < 1e-10
    assert max(sizes) <= 48


def test_a_path_solves_many_kinds_as_a_prediction_does():
    problem = problem_of("ldt", "no bias")
    (found,) = ridge_path(problem, None, [0.05])
    assert found.geometry == predict(problem).geometry
