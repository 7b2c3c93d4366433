"""The optimum for hundreds of kinds of classes: that of a third as many bins, and a step or two from there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from implicit_geometry._validate import Floats
from implicit_geometry.certificate import TOLERANCE
from implicit_geometry.theory.ridge.many.alive import Alive
from implicit_geometry.theory.ridge.many.coarser import coarser
from implicit_geometry.theory.ridge.many.enclosed import FAR, Dual, approach, enclose_alive, enclose_by_factors
from implicit_geometry.theory.ridge.many.expansion import Expansion, gradient_of
from implicit_geometry.theory.ridge.many.polar import polar_wrong
from implicit_geometry.theory.ridge.newton import Factored
from implicit_geometry.theory.ridge.optimum import GOAL, optimum
from implicit_geometry.theory.ridge.program import Bounds, Logits, Reduced, lifted, rough_start, trimmed
from implicit_geometry.theory.ridge.reduce import Kinds, reduce_kinds

FEW_KINDS = 48
"""Kinds up to which Newton's method from the limit's form is as quick."""

EXACT = 128
"""Kinds up to which the search goes on until the gap falls no more, unless a larger one will do."""

EXACT_GAP = 1e-11
"""Relative gap that is wanted of them."""

COARSER = 3
"""Kinds taken for one, on the average."""


class Pair(NamedTuple):
    """Logits near the optimum, and a feasible dual point near it.

    Attributes:
        logits: X.
        wrong: probabilities of wrong classes of the dual point, shape (G, G).
        bounds: what the two prove.
    """

    logits: Logits
    wrong: Floats
    bounds: Bounds


def optimal_pair(kinds: Kinds, ridge: float, goal: float) -> Pair:
    """Solve the reduced problem until the relative gap is at the goal, or falls no more."""
    reduced = reduce_kinds(kinds, ridge)
    if kinds.number <= FEW_KINDS or collapsed(reduced):
        return _own_pair(reduced, *optimum(reduced))
    start = expanded(kinds, reduced, ridge)
    few = kinds.number <= EXACT and goal <= TOLERANCE
    if few:
        goal = min(goal, EXACT_GAP)
    if start.bounds.gap <= goal:
        return start
    near = start if start.bounds.gap > FAR else _from_alive(reduced, start, goal)
    if near.bounds.gap > goal:
        near = _polished(reduced, near, goal)
    if few and near.bounds.gap > goal:
        near = min(near, _own_pair(reduced, *optimum(reduced, near.logits)), key=lambda each: each.bounds.gap)
    if near.bounds.gap <= max(goal, TOLERANCE):
        return near
    afar = Pair(rough_start(reduced), near.wrong, near.bounds)  # kinds with so little in common that bins say little
    return min(near, _polished(reduced, afar, goal, afar=True), key=lambda each: each.bounds.gap)


def expanded(kinds: Kinds, reduced: Reduced, ridge: float) -> Pair:
    """What the optimum of a third as many kinds says of the whole problem."""
    coarse, place = coarser(kinds, max(kinds.number // COARSER, FEW_KINDS // 2))
    known = optimal_pair(coarse, ridge, GOAL)
    expansion = Expansion(kinds, coarse, place)
    wrong = expansion.wrong(reduced, gradient_of(reduce_kinds(coarse, ridge), known.wrong))
    return pair(reduced, expansion.logits(reduced, known.logits, wrong), dual_point(reduced, wrong))


def collapsed(reduced: Reduced) -> bool:
    """Whether the optimum is zero."""
    zero = Logits(np.zeros_like(reduced.size), np.zeros_like(reduced.logit_slope))
    return reduced.gradient_norm(reduced.evaluate(zero).slope) <= 1


def pair(reduced: Reduced, logits: Logits, dual: Dual) -> Pair:
    """Logits with a dual point, and what they prove."""
    point = reduced.evaluate(logits)
    primal, rounding = reduced.upper(logits, point)
    return Pair(logits, dual.wrong, Bounds(primal, dual.value, rounding))


def dual_point(reduced: Reduced, wrong: Floats) -> Dual:
    """Probabilities scaled until they are a feasible dual point."""
    feasible = wrong * reduced.feasible_scale(wrong)
    return Dual(reduced.feasible_value(feasible), feasible)


def _own_pair(reduced: Reduced, logits: Logits, bounds: Bounds) -> Pair:
    wrong = reduced.evaluate(logits).wrong
    return Pair(logits, wrong * reduced.feasible_scale(wrong), bounds)


def _polished(reduced: Reduced, start: Pair, goal: float, afar: bool = False) -> Pair:
    factored = Factored(reduced)
    nearer = factored.logits(approach(factored, factored.factors(lifted(reduced, start.logits)), afar).factors)
    start = _from_alive(reduced, pair(reduced, nearer, Dual(start.bounds.dual, start.wrong)), goal)
    if start.bounds.gap <= goal:
        return start
    found = enclose_by_factors(
        factored,
        factored.factors(lifted(reduced, start.logits)),
        lambda x, point: reduced.upper(factored.logits(x), point),
        lambda x, point: dual_point(reduced, polar_wrong(reduced, factored.logits(x), point)),
        Dual(start.bounds.dual, start.wrong),
        goal,
        afar,
    )
    logits = factored.logits(found.at.factors)
    best = Pair(logits, found.dual.wrong, found.bounds)
    renewed = pair(reduced, trimmed(logits, reduced.evaluate(logits)), found.dual)
    return renewed if renewed.bounds.gap <= max(best.bounds.gap, goal) else best


def _from_alive(reduced: Reduced, start: Pair, goal: float) -> Pair:
    """Newton's method in the logits, among those of the start's rank."""
    problem = Alive(reduced)
    found = enclose_alive(
        problem,
        problem.start(start.logits),
        lambda at: reduced.upper(at.logits, at.point),
        lambda at: dual_point(reduced, polar_wrong(reduced, at.logits, at.point, spectrum=at.spectrum)),
        Dual(start.bounds.dual, start.wrong),
        goal,
    )
    return start if found is None else Pair(found.at.logits, found.dual.wrong, found.bounds)
