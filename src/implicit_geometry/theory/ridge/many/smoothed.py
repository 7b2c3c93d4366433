"""Smoothed labels and hundreds of kinds of classes: the optimum of a third as many bins, and a step or two on.

The loss bends as that of hard labels, whose expansion and Newton's method in the logits serve here too. What a coarse
gradient says is by how much the probabilities differ from the labels, which every class knows by itself.
"""

from __future__ import annotations

import numpy as np

from implicit_geometry.certificate import TOLERANCE
from implicit_geometry.theory.ridge.many.alive import Alive
from implicit_geometry.theory.ridge.many.coarser import coarser
from implicit_geometry.theory.ridge.many.enclosed import FAR, Dual, enclose_alive
from implicit_geometry.theory.ridge.many.expansion import Expansion
from implicit_geometry.theory.ridge.many.plain import COARSER, EXACT, EXACT_GAP, FEW_KINDS
from implicit_geometry.theory.ridge.many.polar import slope_of_gradient
from implicit_geometry.theory.ridge.optimum import GOAL
from implicit_geometry.theory.ridge.program import Bounds, lifted
from implicit_geometry.theory.ridge.reduce import Kinds
from implicit_geometry.theory.ridge.smoothed import Found, Smoothed, smoothed_optimum
from implicit_geometry.theory.ridge.smoothed_program import reduce_smoothed_kinds

_LEAST = 1e-3  # of a label, that a probability keeps


def smoothed_optimum_of_kinds(kinds: Kinds, ridge: float, smoothing: float, bias_decay: float | None) -> Found:
    """The certified optimum for any number of kinds of classes.

    Args:
        kinds: of classes.
        ridge: > 0.
        smoothing: of the labels, > 0.
        bias_decay: ridge of the bias over that of the logits; None for a head without bias.
    """
    program = Smoothed.of(reduce_smoothed_kinds(kinds, ridge, smoothing), bias_decay)
    if kinds.number <= FEW_KINDS:
        return smoothed_optimum(program.reduced, bias_decay)
    goal = EXACT_GAP if kinds.number <= EXACT else GOAL
    best, dual = _expanded(program, kinds, ridge, smoothing, bias_decay)
    if best.bounds.gap > FAR:  # kinds with so little in common that bins say little
        alone = smoothed_optimum(program.reduced, bias_decay)
        if alone.bounds.gap <= TOLERANCE:
            return alone
    best = _from_alive(program, best, dual, bias_decay, goal)
    if best.bounds.gap <= goal or best.bounds.closed:
        return best
    again = smoothed_optimum(program.reduced, bias_decay, lifted(program.under(best.bias), best.logits))
    return min(best, again, key=lambda found: found.bounds.gap)


def _expanded(
    program: Smoothed, kinds: Kinds, ridge: float, smoothing: float, bias_decay: float | None
) -> tuple[Found, Dual]:
    """What the optimum of a third as many kinds says of that of all, and the dual point that its gradient makes."""
    coarse, place = coarser(kinds, max(kinds.number // COARSER, FEW_KINDS // 2))
    below, reduced = Smoothed.of(reduce_smoothed_kinds(coarse, ridge, smoothing), bias_decay), program.reduced
    known = smoothed_optimum_of_kinds(coarse, ridge, smoothing, bias_decay)
    known_dual = below.dual(known.logits, known.bias, below.at(known.logits, known.bias))
    change = known_dual.wrong - below.reduced.labels
    expansion = Expansion(kinds, coarse, place, bias=bias_decay is not None)
    gradient = expansion.gradient_operator(*below.reduced.pull_back(below.reduced.group_weight * change))
    own, mean = gradient.within, gradient.whole
    share = slope_of_gradient(reduced, own, mean) / reduced.group_weight
    wrong = np.maximum(reduced.labels + share, _LEAST * reduced.labels)
    if program.biased is None:
        logits, bias = expansion.logits(reduced, known.logits, wrong), program.no_bias
    else:
        biased, coarse_level = program.biased, known.bias / below.reduced.null
        logits, level = expansion.logits_and_levels(
            reduced, biased.levels, (known.logits, coarse_level), wrong, biased.objective
        )
        logits, bias = biased.parted(logits, level * reduced.null)
    dual = program.dual_of(-own, -mean, bias)
    primal, rounding = program.upper(logits, bias, program.at(logits, bias))
    return Found(logits, bias, Bounds(primal, dual.value, rounding)), dual


def _from_alive(program: Smoothed, start: Found, dual: Dual, bias_decay: float | None, goal: float) -> Found:
    """Newton's method in the logits and the bias, among those of the start's rank."""
    problem = Alive(program.reduced, bias_decay)
    found = enclose_alive(
        problem,
        problem.start(start.logits, start.bias),
        lambda at: program.upper(at.logits, at.bias, at.point),
        lambda at: program.dual(at.logits, at.bias, at.point, at.spectrum),
        dual,
        goal,
    )
    return start if found is None else Found(found.at.logits, found.at.bias, found.bounds)
