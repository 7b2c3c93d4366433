"""Newton's method in the logits themselves, near an optimum, among logits of one rank.

Conjugate gradients find its steps, after a few products of the Hessian each.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from implicit_geometry._validate import Floats
from implicit_geometry.theory.ridge.many.alive import Alive, AliveIterate, Unknowns
from implicit_geometry.theory.ridge.many.preconditioner import preconditioner

_STEPS = 20
_PRODUCTS = 80  # of the Hessian, for one step
_SHARE = 1e-3  # of the decrease so far that ends the conjugate gradients
_ROUNDING = 1e-14  # relative error of the objective
_SHORTEST = 1e-3  # step over Newton's
_BORDER = 0.9  # of the way to where a number vanishes


def descend_alive(problem: Alive, start: AliveIterate) -> Iterator[AliveIterate]:
    """Iterates of falling objective, of the rank of the start or less, then of falling gradient."""
    at, value = start, problem.value(start)
    yield at
    for _ in range(_STEPS):
        step, promise = _newton_step(problem, at, _ROUNDING * value)
        if promise <= _ROUNDING * value:
            yield from _flatter(problem, at)
            return
        length = _longest(at.unknowns.own, step.own)
        while True:
            trial = problem.iterate(at.unknowns.moved(length, step), at.rank)
            reached = problem.value(trial)
            if reached <= value - 0.1 * length * promise + _ROUNDING * value:
                break
            length *= 0.5
            if length < _SHORTEST:
                return
        if reached >= value:
            return
        at, value = trial, reached
        yield at


def _flatter(problem: Alive, at: AliveIterate) -> Iterator[AliveIterate]:
    """Newton's steps as long as they flatten the objective: it tells optima apart to half of its digits only."""
    slope = problem.gradient(at)
    steepness = slope.times(slope)
    while True:
        at = problem.iterate(at.unknowns.moved(1.0, _newton_step(problem, at, 0.0)[0]), at.rank)
        slope = problem.gradient(at)
        if not slope.times(slope) < 0.25 * steepness:
            return
        yield at
        steepness = slope.times(slope)


def _newton_step(problem: Alive, at: AliveIterate, least: float) -> tuple[Unknowns, float]:
    """Newton's step by conjugate gradients until they lower the model by less, and the decrease that it promises."""
    product, solve = problem.hessian(at), preconditioner(problem, at)
    gradient = problem.gradient(at)
    step = Unknowns(*(np.zeros_like(part) for part in gradient))
    residual = step.moved(-1.0, gradient)
    shifted = solve(residual)
    direction, squared, promise = shifted, residual.times(shifted), 0.0
    for _ in range(_PRODUCTS):
        image = product(direction)
        curvature = direction.times(image)
        if not curvature > 0:
            break
        length = squared / curvature
        step, residual = step.moved(length, direction), residual.moved(-length, image)
        promise += 0.5 * length * squared
        if 0.5 * length * squared <= max(_SHARE * promise, least):
            break
        shifted = solve(residual)
        fresh = residual.times(shifted)
        direction, squared = shifted.moved(fresh / squared, direction), fresh
    return step, promise


def _longest(own: Floats, change: Floats) -> float:
    """The longest multiple of a step, at most 1, that leaves what is alive so."""
    falling = change < 0
    return float(min(1.0, _BORDER * (own[falling] / -change[falling]).min(initial=np.inf)))
