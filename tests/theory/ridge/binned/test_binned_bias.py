"""Bins as an answer to the whole problem of a head with a bias, against whole matrices and the dense solution."""

import numpy as np
import pytest

from implicit_geometry import (
    ClassCounts,
    Parameterization,
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
from implicit_geometry.theory.ridge.bias import solution as bias_solution
from implicit_geometry.theory.ridge.binned import bounds as bounds_module
from implicit_geometry.theory.ridge.binned import plain as binned
from implicit_geometry.theory.ridge.binned.flows import Flows
from ridge_oracles import objective_with_bias, random_many_kinds

COUNTS = ClassCounts(np.repeat(np.round(1280 * (5 / 1280) ** (np.arange(90) / 89)).astype(int), 2))
RULES = {
    "ce": ce,
    "ldt": lambda n: ldt(n, 0.25),
    "cdt": lambda n: cdt(n, 0.5),
    "la": logit_adjusted,
    "vs": lambda n: vs(n, 0.25),
    "ldam": ldam,
}
LARGEST_GAP = {"ce": 0.01, "ldt": 0.02, "la": 0.01, "vs": 0.03, "ldam": 0.01, "cdt": 0.1}  # 30 bins for 82 kinds


def solved(problem, bins, monkeypatch, entries=1000):
    monkeypatch.setattr(binned, "_FEWEST_BINS", bins)
    monkeypatch.setattr(binned, "_MOST_BINS", bins)
    monkeypatch.setattr(bounds_module, "_ENTRIES", entries)
    best = predict(problem)
    monkeypatch.setattr(bias_solution, "DENSE_KINDS", 1)
    return predict(problem), best


def assert_encloses(solution, best):
    certificate = solution.certificate
    assert certificate.dual <= best.certificate.primal
    assert certificate.primal >= best.certificate.dual
    assert objective_with_bias(solution) == pytest.approx(certificate.primal, rel=1e-11)


@pytest.mark.parametrize("bias_ridge", [0.0, 1e-7, 0.05, 5.0])
@pytest.mark.parametrize("ridge", [0.05, 10.0])
@pytest.mark.parametrize("rule", RULES)
def test_the_bounds_enclose_the_optimum_and_the_upper_one_is_the_objective(rule, ridge, bias_ridge, monkeypatch):
    problem = Problem(COUNTS, RULES[rule](COUNTS), ridge=ridge, bias=True, bias_ridge=bias_ridge)
    solution, best = solved(problem, 30, monkeypatch)
    assert_encloses(solution, best)
    assert solution.certificate.status is Status.INACCURATE
    assert solution.certificate.relative_gap < LARGEST_GAP[rule]


@pytest.mark.parametrize("bias_ridge", [0.0, 0.05])
@pytest.mark.parametrize("rule", ["cdt", "vs"])
def test_as_many_bins_as_kinds_are_the_problem_itself(rule, bias_ridge, monkeypatch):
    problem = Problem(COUNTS, RULES[rule](COUNTS), ridge=0.05, bias=True, bias_ridge=bias_ridge)
    solution, best = solved(problem, 1000, monkeypatch)
    assert solution.certificate.status is Status.OPTIMAL
    np.testing.assert_allclose(solution.bias, best.bias, atol=1e-5)
    assert_encloses(solution, best)


def test_a_bias_that_costs_much_is_none(monkeypatch):
    problem = Problem(COUNTS, ldt(COUNTS, 0.25), ridge=0.05, bias=True, bias_ridge=1e9)
    solution, _ = solved(problem, 40, monkeypatch)
    alone = predict(Problem(COUNTS, ldt(COUNTS, 0.25), ridge=0.05)).certificate
    assert solution.certificate.dual <= alone.primal
    assert solution.certificate.dual == pytest.approx(alone.dual, rel=2e-3)


@pytest.mark.parametrize("seed", range(6))
def test_vectors_drawn_at_random_are_enclosed(seed, monkeypatch):
    draw = np.random.default_rng(seed)
    weight, class_scale, label_scale = np.exp(draw.uniform(-0.3, 0.3, (3, COUNTS.num_classes)))
    shift, margin = draw.uniform(-1, 1, (2, COUNTS.num_classes))
    loss = Parameterization(weight=weight, class_scale=class_scale, label_scale=label_scale, shift=shift, margin=margin)
    bias_ridge = float(draw.choice([0.0, 0.01, 3.0]))
    problem = Problem(COUNTS, loss, ridge=float(10 ** draw.uniform(-3, 1)), bias=True, bias_ridge=bias_ridge)
    assert_encloses(*solved(problem, 60, monkeypatch))


@pytest.mark.parametrize(("seed", "kinds", "head"), [(1106, 34, "free"), (1159, 39, "ridge"), (1166, 22, "free")])
def test_probabilities_that_hardly_exist_keep_their_digits_in_the_lower_bound(seed, kinds, head, monkeypatch):
    solution, best = solved(random_many_kinds(seed, kinds, head), 1000, monkeypatch)
    assert_encloses(solution, best)
    assert solution.certificate.relative_gap < 1e-9


@pytest.mark.parametrize("size", [1e5, 1e8])
def test_the_gradient_on_a_label_counts_also_where_class_scales_are_far_apart(size, monkeypatch):
    """The null vector is orthogonal to rounding only, which its small entries multiply."""
    counts = ClassCounts([round(1000 * 0.8**i) for i in range(16)])
    class_scale = np.exp(np.random.default_rng(0).uniform(-0.3, 0.3, 16))
    class_scale[2] *= size
    norms = []
    dual_value = bounds_module.BinnedBounds.dual_value

    def watched(self, gradient, largest, bias):
        (columns,) = self.blocks()
        wrong = self.wanted(columns, gradient, bias).wrong
        slope = columns.slope * self.weight
        matrix = wrong * slope
        np.fill_diagonal(matrix, -wrong.sum(axis=0) * slope.diagonal())
        _, on_label, _ = self.dual_columns(columns, gradient, bias, None)
        norms.append((np.linalg.norm(matrix, 2), largest + on_label))
        return dual_value(self, gradient, largest, bias)

    monkeypatch.setattr(bounds_module.BinnedBounds, "dual_value", watched)
    problem = Problem(counts, Parameterization(class_scale=class_scale), ridge=0.5, bias=True)
    solved(problem, 1000, monkeypatch, entries=1_000_000)
    ((norm, bound),) = norms
    assert norm <= bound * (1 + 1e-13)


def test_a_collapsed_problem_is_recognised(monkeypatch):
    problem = Problem(COUNTS, ridge=1e4, bias=True)
    solution, best = solved(problem, 30, monkeypatch)
    assert best.certificate.collapsed
    assert solution.certificate.collapsed
    assert_encloses(solution, best)


def test_flows_between_bins_are_balanced_by_one_change_where_they_are_products():
    draw = np.random.default_rng(0)
    place = np.array([0, 0, 1, 2, 2, 2])
    share_received, share_sent = draw.uniform(0.5, 2, (2, place.size))
    flow = np.outer(share_received, share_sent) * draw.uniform(0.1, 1, (3, 3))[place][:, place]
    between = np.zeros((3, 3))
    np.add.at(between, (place[:, None], place), flow)
    factor = 1 + Flows(flow.sum(axis=1), flow.sum(axis=0), between).change(np.zeros(place.size), place)
    balanced = factor[:, None] * flow
    np.testing.assert_allclose(balanced.sum(axis=1), balanced.sum(axis=0), rtol=1e-12)
    assert balanced.sum() == pytest.approx(flow.sum(), rel=1e-12)
