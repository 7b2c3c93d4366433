"""Thousands of kinds of classes under a head with a bias: the optimum of bins as an answer to the whole problem."""

from __future__ import annotations

import numpy as np

from implicit_geometry._validate import Floats, Ints
from implicit_geometry.groups import ClassGroups
from implicit_geometry.problem import Problem, Solution
from implicit_geometry.theory.ridge.bias.levels import Levels
from implicit_geometry.theory.ridge.bias.many import optimal_pair_with_bias
from implicit_geometry.theory.ridge.bias.program import Biased, OptimumWithBias
from implicit_geometry.theory.ridge.binned.bounds import BinnedBounds
from implicit_geometry.theory.ridge.binned.flows import Bias
from implicit_geometry.theory.ridge.binned.plain import Answer, answered
from implicit_geometry.theory.ridge.many.expansion import Expansion
from implicit_geometry.theory.ridge.reduce import Kinds, reduce_kinds


def binned_bias_solution(
    problem: Problem, groups: ClassGroups, kinds: Kinds, bias_decay: float, tolerance: float
) -> Solution:
    """The optimum of bins of kinds as an answer to the whole problem, with the gap that it proves there.

    Args:
        problem: with hard labels, a ridge and a bias.
        groups: its kinds of classes.
        kinds: their vectors.
        bias_decay: ridge of the bias over that of the logits.
        tolerance: relative gap from which on more bins are taken, up to 1024.

    Raises:
        InputError: more than 50,000 kinds.
    """

    def attempt(coarse: Kinds, place: Ints, goal: float) -> Answer:
        below = Biased.of(reduce_kinds(coarse, problem.ridge), bias_decay)
        best, wrong = optimal_pair_with_bias(coarse, problem.ridge, below, goal)
        expansion = Expansion(kinds, coarse, place, bias=True)
        bias = _bias(expansion, below, best, wrong)
        bounds = BinnedBounds(expansion, below.reduced, problem.ridge).bounds(best.logits, wrong, bias)
        return Answer(best.logits, bounds, bias)

    return answered(problem, groups, kinds, tolerance, attempt)


def _bias(expansion: Expansion, below: Biased, best: OptimumWithBias, wrong: Floats) -> Bias:
    """The bias of the bins, and the one that holds the flows of their dual point, for the classes in them."""
    kinds = expansion.kinds
    levels = Levels(kinds.pairs.label_scale * kinds.level_unit, below.bias_decay * kinds.null**2)
    flow = below.levels.flow(below.reduced.group_weight * wrong)
    net = flow.sum(axis=1) - flow.sum(axis=0)
    held = -net / below.levels.decay if below.bias_decay > 0 else np.zeros_like(net)
    return Bias(levels, expansion.levels(best.bias / below.reduced.null), expansion.levels(held))
