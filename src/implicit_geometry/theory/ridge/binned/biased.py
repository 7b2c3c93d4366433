"""Thousands of kinds of classes under a head with a bias: the optimum of bins as an answer to the whole problem."""

from __future__ import annotations

import numpy as np

from implicit_geometry._validate import Floats, Ints
from implicit_geometry.groups import ClassGroups
from implicit_geometry.problem import Problem, Solution
from implicit_geometry.theory.expand import grouped_geometry
from implicit_geometry.theory.ridge.bias.levels import Levels
from implicit_geometry.theory.ridge.bias.many import optimal_pair_with_bias
from implicit_geometry.theory.ridge.bias.program import Biased, OptimumWithBias
from implicit_geometry.theory.ridge.binned.bounds import BinnedBounds
from implicit_geometry.theory.ridge.binned.flows import Bias
from implicit_geometry.theory.ridge.binned.plain import FEWEST_BINS, check_number, coarse_goal, finer
from implicit_geometry.theory.ridge.many.coarser import coarser
from implicit_geometry.theory.ridge.many.expansion import Expansion
from implicit_geometry.theory.ridge.program import proven
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
    check_number(kinds)
    bins: int | None = FEWEST_BINS
    while bins is not None:
        coarse, place = coarser(kinds, bins)
        below = Biased.of(reduce_kinds(coarse, problem.ridge), bias_decay)
        best, wrong = optimal_pair_with_bias(coarse, problem.ridge, below, coarse_goal(tolerance))
        bias = _bias(kinds, coarse, place, below, best, wrong)
        bounds = BinnedBounds(Expansion(kinds, coarse, place, bias=True), below.reduced, problem.ridge).bounds(
            best.logits, wrong, bias
        )
        bins = finer(coarse, bins, bounds.gap, tolerance)
    x = best.logits
    geometry = grouped_geometry(groups, np.sqrt(kinds.cost), *x, bins=(coarse.size, place))
    by_class = bias.level * kinds.null / np.sqrt(kinds.size)
    certificate = proven(problem, bounds, not (x.own.any() or x.mean.any()))
    return Solution(problem, geometry, certificate, by_class[groups.group])


def _bias(kinds: Kinds, coarse: Kinds, place: Ints, below: Biased, best: OptimumWithBias, wrong: Floats) -> Bias:
    """The bias of the bins, and the one that holds the flows of their dual point, for the classes in them."""
    unit, coarse_unit = (each.pairs.class_scale[0] * each.null[0] / np.sqrt(each.size[0]) for each in (kinds, coarse))
    levels = Levels(kinds.pairs.label_scale * unit, below.bias_decay * kinds.null**2)

    def spread(level: Floats) -> Floats:
        level = level[place] * coarse_unit / unit
        return np.asarray(level - kinds.null**2 @ level)

    flow = below.levels.flow(below.reduced.group_weight * wrong)
    net = flow.sum(axis=1) - flow.sum(axis=0)
    held = -net / below.levels.decay if below.bias_decay > 0 else np.zeros_like(net)
    return Bias(levels, spread(best.bias / below.reduced.null), spread(held))
