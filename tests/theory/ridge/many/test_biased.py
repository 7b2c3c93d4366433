"""Heads with a bias and many kinds of classes, against Newton's method without coarse problems and whole matrices."""

import numpy as np
import pytest

from implicit_geometry import ClassCounts, InputError, Problem, Status, ce, ldt, predict, vs
from implicit_geometry.groups import gather
from implicit_geometry.theory.ridge.bias.program import Biased
from implicit_geometry.theory.ridge.many.coarser import coarser
from implicit_geometry.theory.ridge.many.expansion import Expansion, gradient_of
from implicit_geometry.theory.ridge.reduce import Kinds, reduce_kinds
from ridge_oracles import objective_with_bias, random_many_kinds

COUNTS = ClassCounts(np.unique(np.round(1280 * (5 / 1280) ** (np.arange(64) / 63)).astype(int))[::-1])
LOSSES = {"ce": ce, "ldt": lambda n: ldt(n, 0.25), "vs": lambda n: vs(n, 0.25)}


@pytest.mark.parametrize("bias_ridge", [0.0, 0.05])
@pytest.mark.parametrize("rule", LOSSES)
def test_newtons_method_without_coarse_problems_agrees(rule, bias_ridge):
    problem = Problem(COUNTS, LOSSES[rule](COUNTS), ridge=0.05, bias=True, bias_ridge=bias_ridge)
    solution = predict(problem)
    with np.errstate(all="ignore"):
        alone = Biased.of(reduce_kinds(Kinds.of(problem, gather(problem)), 0.05), bias_ridge / 0.05).solve()
    assert solution.certificate.status is Status.OPTIMAL
    assert solution.certificate.primal == pytest.approx(0.05 * alone.bounds.primal, rel=2e-8)
    assert solution.certificate.dual <= 0.05 * alone.bounds.primal
    assert objective_with_bias(solution) == pytest.approx(solution.certificate.primal, rel=1e-10)
    assert (solution.norm_error.classifier >= 0).all()


@pytest.mark.parametrize("bias_decay", [0.0, 1.0])
def test_levels_come_nearer_by_the_square_of_their_error_whatever_the_lengths_of_columns(bias_decay):
    kinds = Kinds.of(Problem(COUNTS, ldt(COUNTS, 0.25)), gather(Problem(COUNTS, ldt(COUNTS, 0.25))))
    biased = Biased.of(reduce_kinds(kinds, 0.05), bias_decay)
    with np.errstate(all="ignore"):
        best = biased.solve()
    level, wrong = best.bias / biased.reduced.null, biased.at(best.logits, best.bias).wrong
    expansion = Expansion(kinds, *coarser(kinds, 16), bias=True)
    draw = np.random.default_rng(0)
    bounded = wrong * draw.uniform(0.5, 0.99, level.size)
    for size in (0.1, 0.01):
        error = size * draw.choice([-1.0, 1.0], level.size) / biased.levels.label.max()
        start = level + error - biased.reduced.null**2 @ error
        nearer = expansion.nearer_levels(biased.reduced, biased.levels, best.logits, start, bounded)
        assert np.abs(nearer - level).max() < 2 * size * np.abs(error).max()


@pytest.mark.parametrize("head", ["free", "ridge"])
@pytest.mark.parametrize("seed", [9, 97])
def test_levels_of_single_classes_are_taken_only_where_they_are_lower(seed, head):
    """Where kinds have little in common a full step for the levels raises the objective a hundredfold."""
    problem = random_many_kinds(seed, 120, head)
    kinds, decay = Kinds.of(problem, gather(problem)), problem.bias_ridge / problem.ridge
    coarse, place = coarser(kinds, 30)
    biased, below = (Biased.of(reduce_kinds(each, problem.ridge), decay) for each in (kinds, coarse))
    with np.errstate(all="ignore"):
        best, (_, wrong) = below.solve(), below.with_own_dual(below.solve())
        expansion = Expansion(kinds, coarse, place, bias=True)
        right = expansion.wrong(biased.reduced, gradient_of(below.reduced, wrong))
        known = best.logits, best.bias / below.reduced.null
        found = expansion.logits_and_levels(biased.reduced, biased.levels, known, right, biased.objective)
        level = expansion.levels(known[1])
        alike = expansion.logits(biased.reduced, best.logits, right, biased.levels.change(level)), level
        nearer = expansion.nearer_levels(biased.reduced, biased.levels, *alike, right)
        own = expansion.logits(biased.reduced, best.logits, right, biased.levels.change(nearer)), nearer
    assert biased.objective(*own) > 1.01 * biased.objective(*alike)
    assert biased.objective(*found) == biased.objective(*alike)


def test_what_is_zero_but_should_not_be_is_lifted_where_a_bias_is():
    biased = Biased.of(reduce_kinds(Kinds.of(problem := Problem(COUNTS, ridge=0.05), gather(problem)), 0.05), 0.0)
    zero, bias = biased.nothing().logits, biased.nothing().bias
    unlifted = np.concatenate([biased.factored.factors(zero), bias])
    lifted = biased.lifted(zero, bias)
    assert not biased.gradient(unlifted, biased.evaluate(unlifted))[: -bias.size].any()
    value = [biased.value(x, biased.evaluate(x)) for x in (lifted, unlifted)]
    assert value[0] < 0.9 * value[1]


def test_a_free_bias_leaves_embeddings_whose_mean_over_samples_is_zero():
    logits = predict(Problem(COUNTS, ldt(COUNTS, 0.25), ridge=0.05, bias=True)).geometry.cross.dense()
    np.testing.assert_allclose(logits @ COUNTS.values, 0, atol=1e-4 * COUNTS.num_samples)


def test_more_kinds_than_can_be_computed_are_refused_by_name():
    counts = ClassCounts(np.arange(50_001) + 1)
    with pytest.raises(InputError, match="at most 50000 kinds of classes"):
        predict(Problem(counts, ridge=0.05, bias=True))
