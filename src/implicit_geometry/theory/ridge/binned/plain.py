"""Thousands of kinds of classes: the optimum of bins of them as an answer to the whole problem."""

from __future__ import annotations

import numpy as np

from implicit_geometry._validate import InputError
from implicit_geometry.groups import ClassGroups
from implicit_geometry.problem import Problem, Solution
from implicit_geometry.theory.expand import grouped_geometry
from implicit_geometry.theory.ridge.binned.bounds import BinnedBounds
from implicit_geometry.theory.ridge.many.coarser import coarser
from implicit_geometry.theory.ridge.many.expansion import Expansion
from implicit_geometry.theory.ridge.many.plain import optimal_pair
from implicit_geometry.theory.ridge.optimum import GOAL
from implicit_geometry.theory.ridge.program import proven
from implicit_geometry.theory.ridge.reduce import Kinds, reduce_kinds

DENSE_KINDS = 1500
"""Kinds up to which the whole problem is solved."""

MOST_KINDS = 50_000
"""Kinds up to which bins of them answer."""

FEWEST_BINS = 256
"""Bins of the first attempt."""

_MOST_BINS = 1024
_WORTH = 1.5  # as many bins, at least, for another attempt


def binned_solution(problem: Problem, groups: ClassGroups, kinds: Kinds, tolerance: float) -> Solution:
    """The optimum of bins of kinds as an answer to the whole problem, with the gap that it proves there.

    Args:
        problem: with hard labels, a ridge and no bias.
        groups: its kinds of classes.
        kinds: their vectors.
        tolerance: relative gap from which on more bins are taken, up to 1024.

    Raises:
        InputError: more than 50,000 kinds.
    """
    check_number(kinds)
    bins: int | None = FEWEST_BINS
    while bins is not None:
        coarse, place = coarser(kinds, bins)
        best = optimal_pair(coarse, problem.ridge, coarse_goal(tolerance))
        proof = BinnedBounds(Expansion(kinds, coarse, place), reduce_kinds(coarse, problem.ridge), problem.ridge)
        bounds = proof.bounds(best.logits, best.wrong)
        bins = finer(coarse, bins, bounds.gap, tolerance)
    x = best.logits
    geometry = grouped_geometry(groups, np.sqrt(kinds.cost), *x, bins=(coarse.size, place))
    return Solution(problem, geometry, proven(problem, bounds, not (x.own.any() or x.mean.any())))


def check_number(kinds: Kinds) -> None:
    """Refuse more kinds than blocks of columns are worth.

    Raises:
        InputError: more than 50,000 kinds.
    """
    if kinds.number > MOST_KINDS:
        expected = f"must have at most {MOST_KINDS} kinds of classes at a ridge"
        raise InputError("problem", expected, f"{kinds.number}")


def coarse_goal(tolerance: float) -> float:
    """Relative gap of the optimum of bins that is small beside the tolerance."""
    return max(GOAL, 0.01 * tolerance)


def finer(coarse: Kinds, bins: int, gap: float, tolerance: float) -> int | None:
    """How many bins promise the tolerance, if that is worth another attempt: gaps fall by the square."""
    wanted = int(min(1.2 * coarse.number * np.sqrt(gap / tolerance), _MOST_BINS))
    return None if gap <= tolerance or wanted < _WORTH * bins else wanted
