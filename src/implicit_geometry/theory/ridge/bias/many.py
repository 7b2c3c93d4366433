"""The optimum of a head with a bias for hundreds of kinds of classes: that of bins, and a step or two from there."""

from __future__ import annotations

from implicit_geometry._validate import Floats
from implicit_geometry.certificate import TOLERANCE
from implicit_geometry.theory.ridge.bias.program import Biased, OptimumWithBias
from implicit_geometry.theory.ridge.many.alive import Alive
from implicit_geometry.theory.ridge.many.coarser import coarser
from implicit_geometry.theory.ridge.many.enclosed import FAR, Dual, approach, enclose_alive, enclose_by_factors
from implicit_geometry.theory.ridge.many.expansion import Expansion, gradient_of
from implicit_geometry.theory.ridge.many.plain import COARSER, EXACT, EXACT_GAP, FEW_KINDS
from implicit_geometry.theory.ridge.optimum import GOAL
from implicit_geometry.theory.ridge.program import Logits, trimmed
from implicit_geometry.theory.ridge.reduce import Kinds, reduce_kinds


def optimal_pair_with_bias(kinds: Kinds, ridge: float, biased: Biased, goal: float) -> tuple[OptimumWithBias, Floats]:
    """Solve the problem of many kinds of classes by bins of them until the relative gap is at the goal.

    Returns:
        The optimum, and the probabilities of wrong classes of a feasible dual point near it, shape (G, G).
    """
    reduced = biased.reduced
    if kinds.number <= EXACT and goal <= TOLERANCE:
        goal = min(goal, EXACT_GAP)
    if kinds.number <= FEW_KINDS:
        return biased.with_own_dual(biased.solve())
    coarse, place = coarser(kinds, max(kinds.number // COARSER, FEW_KINDS // 2))
    below = Biased.of(reduce_kinds(coarse, ridge), biased.bias_decay)
    known, known_wrong = optimal_pair_with_bias(coarse, ridge, below, GOAL)
    if not (known.logits.own.any() or known.logits.mean.any()):
        nothing = biased.nothing()
        if nothing.bounds.gap <= GOAL:
            return biased.with_own_dual(nothing)
    expansion = Expansion(kinds, coarse, place, bias=True)
    wrong = expansion.wrong(reduced, gradient_of(below.reduced, known_wrong))
    logits, level = expansion.logits_and_levels(
        reduced, biased.levels, (known.logits, known.bias / below.reduced.null), wrong, biased.objective
    )
    first = biased.dual_point(wrong, level * reduced.null)
    start = biased.beside(*biased.parted(logits, level * reduced.null), first)
    if start.bounds.gap <= goal:
        return start, first.wrong
    if start.bounds.gap > FAR:
        best, dual = _polished(biased, *biased.settled(start.logits, start.bias), first, goal)
    else:
        best, dual = _from_alive(biased, start, first, goal)
        if best.bounds.gap > goal:
            best, dual = _polished(biased, best.logits, best.bias, dual, goal)
    if best.bounds.gap > max(goal, TOLERANCE):  # kinds with so little in common that bins say little
        again, other = _polished(biased, *biased.start(), dual, goal, afar=True)
        best, dual = min((best, dual), (again, other), key=lambda each: each[0].bounds.gap)
    return best, dual.wrong


def _from_alive(biased: Biased, start: OptimumWithBias, dual: Dual, goal: float) -> tuple[OptimumWithBias, Dual]:
    """Newton's method in the logits and the bias, among those of the start's rank."""
    problem = Alive(biased.reduced, biased.bias_decay)
    found = enclose_alive(
        problem,
        problem.start(start.logits, start.bias),
        lambda at: biased.upper(at.logits, at.bias, at.point),
        lambda at: biased.polar_dual(at.logits, at.bias, at.point, at.spectrum),
        dual,
        goal,
    )
    if found is None:
        return start, dual
    return OptimumWithBias(found.at.logits, found.at.bias, found.bounds), found.dual


def _polished(
    biased: Biased, logits: Logits, bias: Floats, dual: Dual, goal: float, afar: bool = False
) -> tuple[OptimumWithBias, Dual]:
    logits, bias = biased.parted(*biased.expand(approach(biased, biased.lifted(logits, bias), afar).factors))
    near, dual = _from_alive(biased, biased.beside(logits, bias, dual), dual, goal)
    if near.bounds.gap <= goal:
        return near, dual
    found = enclose_by_factors(
        biased,
        biased.lifted(near.logits, near.bias),
        lambda x, point: biased.upper(*biased.parted(*biased.expand(x)), point),
        lambda x, point: biased.polar_dual(*biased.parted(*biased.expand(x)), point),
        dual,
        goal,
        afar,
    )
    best = OptimumWithBias(*biased.parted(*biased.expand(found.at.factors)), found.bounds)
    candidate, settled = biased.settled(trimmed(best.logits, biased.at(best.logits, best.bias)), best.bias)
    renewed = biased.beside(candidate, settled, found.dual)
    return renewed if renewed.bounds.gap <= max(best.bounds.gap, goal) else best, found.dual
