"""The geometry at a positive ridge of a head with a bias: few kinds of classes at once, many from bins of them."""

from __future__ import annotations

import numpy as np

from implicit_geometry._validate import Floats, InputError
from implicit_geometry.certificate import TOLERANCE
from implicit_geometry.groups import gather
from implicit_geometry.problem import Problem, Solution, require_free_features, require_hard_labels, require_problem
from implicit_geometry.theory.ridge.bias.program import Biased, OptimumWithBias
from implicit_geometry.theory.ridge.many.alive import Alive
from implicit_geometry.theory.ridge.many.binned import DENSE_KINDS, MOST_KINDS
from implicit_geometry.theory.ridge.many.coarser import coarser
from implicit_geometry.theory.ridge.many.enclosed import FAR, Dual, approach, enclose_alive, enclose_by_factors
from implicit_geometry.theory.ridge.many.expansion import Expansion, gradient_of
from implicit_geometry.theory.ridge.many.plain import COARSER, EXACT, EXACT_GAP, FEW_KINDS
from implicit_geometry.theory.ridge.norm_error import Proof, certified_geometry
from implicit_geometry.theory.ridge.optimum import GOAL
from implicit_geometry.theory.ridge.program import LARGEST, Logits, proven, trimmed, within_float64
from implicit_geometry.theory.ridge.reduce import Kinds, reduce_kinds


def bias_ridge_solution(problem: Problem, tolerance: float = TOLERANCE) -> Solution:
    """Solve the regularised problem of a head with a bias.

    Args:
        problem: with ridge > 0 and bias=True.
        tolerance: relative gap at which many kinds of classes count as solved; few are solved to rounding.

    Returns:
        The geometry in absolute scale, the bias, and a certificate whose primal and dual values are those of the
        sum-form objective.

    Raises:
        InputError: the ridge is not positive, the head has no bias, or more than 1,500 kinds of classes.

    Example:
        >>> solution = bias_ridge_solution(Problem([50, 50, 5, 5], ridge=0.1, bias=True))
        >>> solution.bias.round(3), solution.certificate.relative_gap < 1e-9
        (array([ 1.694,  1.694, -1.694, -1.694]), True)
    """
    require_problem(problem)
    require_free_features(problem, "this method")
    require_hard_labels(problem, "the optimum of hard labels")
    if problem.ridge <= 0 or not problem.bias:
        raise InputError("problem", "must have ridge > 0 and bias=True", f"{problem.ridge:g} and {problem.bias}")
    groups = gather(problem)
    kinds = Kinds.of(problem, groups)
    if kinds.number > DENSE_KINDS:
        expected = f"must have at most {DENSE_KINDS} kinds of classes for a head with a bias at a ridge"
        raise InputError("problem", f"{expected} ({MOST_KINDS} without a bias)", f"{kinds.number}")
    with within_float64(problem):
        biased = Biased.of(reduce_kinds(kinds, problem.ridge), problem.bias_ridge / problem.ridge)
        if not (biased.bias_decay == 0 or 1 / LARGEST < biased.bias_decay < LARGEST):
            raise InputError("bias_ridge", "must keep its quotient by ridge within float64", problem.bias_ridge)
        (logits, bias, bounds), wrong = optimal_pair_with_bias(kinds, problem.ridge, biased, tolerance)
        certificate = proven(problem, bounds, not (logits.own.any() or logits.mean.any()))
        reduced, point = biased.reduced, biased.at(logits, bias)
        scale, level = biased.dual_scale(point.wrong), bias / reduced.null
        scaled = point.wrong * scale
        own_dual = reduced.feasible_value(scaled) - biased.penalty(scaled)
        if bounds._replace(dual=own_dual).gap > max(bounds.gap, GOAL):
            scale = np.where(point.wrong > 0, wrong / np.where(point.wrong > 0, point.wrong, 1.0), 1.0)
        proof = Proof(logits, point, scale, bounds.gap, biased.levels, level)
        geometry, norm_proof = certified_geometry(groups, reduced, proof)
    return Solution(problem, geometry, certificate, (bias / np.sqrt(reduced.size))[groups.group], norm_proof)


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
    level = expansion.levels(known.bias / below.reduced.null)
    logits = expansion.logits(reduced, known.logits, wrong, biased.levels.change(level))
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
    first = np.concatenate([biased.factored.factors(logits), bias])
    logits, bias = biased.parted(*biased.expand(approach(biased, first, afar).factors))
    near, dual = _from_alive(biased, biased.beside(logits, bias, dual), dual, goal)
    if near.bounds.gap <= goal:
        return near, dual
    found = enclose_by_factors(
        biased,
        np.concatenate([biased.factored.factors(near.logits), near.bias]),
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
