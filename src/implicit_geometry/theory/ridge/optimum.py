"""The certified optimum of a reduced problem."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

import numpy as np

from implicit_geometry._validate import Floats
from implicit_geometry.theory.ridge.bias.levels import Levels
from implicit_geometry.theory.ridge.interior import DualProgram, interior_optimum
from implicit_geometry.theory.ridge.newton import Factored, Smooth, descend
from implicit_geometry.theory.ridge.program import Bounds, Logits, Point, Reduced, lifted, rough_start, trimmed

GOAL = 1e-9
"""Relative gap that ends the search."""

_STEEP, _FLAT = 1e-6, 1e-9  # steepness from which on the gap is looked at, and that counts as zero
_FALLING = 0.1  # of the steepness before, below which the next step says more
_PATIENCE = 30  # flat steps in a row that do not halve the gap
FEW = 12
"""Kinds of classes up to which dense Newton systems are cheap."""

STEPS = 2000
"""Steps after which the search is given up."""


class Optimum(NamedTuple):
    """Logits, and the bounds that say how near to the optimum they are."""

    logits: Logits
    bounds: Bounds


def optimum(reduced: Reduced, warm: Logits | None = None) -> Optimum:
    """Zero where it is the optimum, else Newton's method from what is given, and from the limit's form."""
    zero = Logits(np.zeros_like(reduced.size), np.zeros_like(reduced.logit_slope))
    at_zero = reduced.evaluate(zero)
    if reduced.gradient_norm(at_zero.slope) <= 1:
        return Optimum(zero, reduced.bounds(zero, at_zero))
    problem = Factored(reduced)

    def newton(start: Logits) -> Optimum:
        x, bounds = closest(problem, problem.factors(start), lambda x, point: reduced.bounds(problem.logits(x), point))
        return Optimum(problem.logits(x), bounds)

    best = newton(rough_start(reduced) if warm is None else lifted(reduced, warm))
    if warm is not None and best.bounds.gap > GOAL:
        best = min(best, newton(rough_start(reduced)), key=lambda found: found.bounds.gap)
    if best.bounds.gap > GOAL:
        few = reduced.size.size <= FEW
        again = interior_optimum(DualProgram(reduced, Levels.none(reduced)))[0] if few else best.logits
        best = min(best, newton(again), key=lambda found: found.bounds.gap)
    candidate = trimmed(best.logits, reduced.evaluate(best.logits))
    renewed = reduced.bounds(candidate, reduced.evaluate(candidate))
    return Optimum(candidate, renewed) if renewed.gap <= max(best.bounds.gap, GOAL) else best


def closest(
    problem: Smooth, start: Floats, prove: Callable[[Floats, Point], Bounds], steps: int = STEPS
) -> tuple[Floats, Bounds]:
    """Newton's method until the gap is closed and falls no more; the factors of the smallest gap, and its bounds."""
    best: tuple[Floats, Bounds] | None = None
    steepness, flattest, since = np.inf, np.inf, 0
    for iterate in islice(descend(problem, start), steps):
        last, before, steepness = iterate, steepness, iterate.steepness
        if steepness > _STEEP or _FLAT < steepness < _FALLING * before:
            continue
        bounds = prove(iterate.factors, iterate.point)
        if best and best[1].gap <= GOAL and bounds.gap > 0.5 * best[1].gap and steepness > 0.5 * flattest:
            break
        since = 0 if best is None or bounds.gap < 0.5 * best[1].gap or steepness > _FLAT else since + 1
        if best is None or bounds.gap < best[1].gap or bounds.closed:
            best = iterate.factors, bounds
        flattest = min(flattest, steepness)
        if (bounds.closed and steepness <= _FLAT) or since > _PATIENCE:
            break
    return best or (last.factors, prove(last.factors, last.point))
