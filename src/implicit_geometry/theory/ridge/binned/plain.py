"""Thousands of kinds of classes: the optimum of bins of them as an answer to the whole problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from implicit_geometry._validate import InputError, Ints
from implicit_geometry.groups import ClassGroups
from implicit_geometry.problem import Problem, Solution
from implicit_geometry.theory.expand import grouped_geometry
from implicit_geometry.theory.ridge.binned.bounds import BinnedBounds
from implicit_geometry.theory.ridge.binned.flows import Bias
from implicit_geometry.theory.ridge.many.coarser import coarser
from implicit_geometry.theory.ridge.many.expansion import Expansion
from implicit_geometry.theory.ridge.many.plain import optimal_pair
from implicit_geometry.theory.ridge.optimum import GOAL
from implicit_geometry.theory.ridge.program import Bounds, Logits, proven
from implicit_geometry.theory.ridge.reduce import Kinds, reduce_kinds

DENSE_KINDS = 1500
"""Kinds up to which the whole problem is solved."""

MOST_KINDS = 50_000
"""Kinds up to which bins of them answer."""

_FEWEST_BINS, _MOST_BINS = 256, 1024
_SMALL = 0.01  # of the tolerance, a gap of the bins' own problem
_WORTH = 1.5  # as many bins, at least, for another attempt


class Answer(NamedTuple):
    """An optimum of bins.

    Attributes:
        logits: of the bins.
        bounds: what they prove of the whole problem.
        bias: of the whole problem; None for a head without one.
    """

    logits: Logits
    bounds: Bounds
    bias: Bias | None = None


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

    def attempt(coarse: Kinds, place: Ints, goal: float) -> Answer:
        best = optimal_pair(coarse, problem.ridge, goal)
        proof = BinnedBounds(Expansion(kinds, coarse, place), reduce_kinds(coarse, problem.ridge), problem.ridge)
        return Answer(best.logits, proof.bounds(best.logits, best.wrong))

    return answered(problem, groups, kinds, tolerance, attempt)


def answered(
    problem: Problem,
    groups: ClassGroups,
    kinds: Kinds,
    tolerance: float,
    attempt: Callable[[Kinds, Ints, float], Answer],
) -> Solution:
    """The answer of as many bins as the tolerance needs and are worth it.

    Args:
        problem: with hard labels and a ridge.
        groups: its kinds of classes.
        kinds: their vectors.
        tolerance: relative gap from which on more bins are taken, up to 1024.
        attempt: the answer of bins, of the bin of every kind and the relative gap at which the bins count as solved.

    Raises:
        InputError: more than 50,000 kinds.
    """
    if kinds.number > MOST_KINDS:
        expected = f"must have at most {MOST_KINDS} kinds of classes at a ridge"
        raise InputError("problem", expected, f"{kinds.number}")
    bins: int | None = _FEWEST_BINS
    while bins is not None:
        coarse, place = coarser(kinds, bins)
        answer = attempt(coarse, place, max(GOAL, _SMALL * tolerance))
        bins = _finer(coarse, bins, answer.bounds.gap, tolerance)
    x, bias = answer.logits, answer.bias
    geometry = grouped_geometry(groups, np.sqrt(kinds.cost), *x, bins=(coarse.size, place))
    certificate = proven(problem, answer.bounds, not (x.own.any() or x.mean.any()))
    if bias is None:
        return Solution(problem, geometry, certificate)
    return Solution(problem, geometry, certificate, (bias.level * kinds.null / np.sqrt(kinds.size))[groups.group])


def _finer(coarse: Kinds, bins: int, gap: float, tolerance: float) -> int | None:
    """How many bins promise the tolerance, if that is worth another attempt: gaps fall by the square."""
    wanted = int(min(1.2 * coarse.number * np.sqrt(gap / tolerance), _MOST_BINS))
    return None if gap <= tolerance or wanted < _WORTH * bins else wanted
