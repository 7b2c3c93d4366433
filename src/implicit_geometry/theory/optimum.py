"""The certified optimum of a reduced problem: Newton's method, helped by interior points where it needs help."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from implicit_geometry.theory.interior import central_path
from implicit_geometry.theory.newton import descend
from implicit_geometry.theory.reduced import Bounds, Logits, Reduced, rough_start

_GOAL = 1e-9  # relative gap that ends the search
_CLOSED = 1e-12  # relative gap that rounding may leave
_STEEP, _FLAT = 1e-6, 1e-9  # steepness from which on the gap is looked at, and that counts as zero
_STALLS = 5
_QUICK_STEPS = 20
_STEPS = 60
_PATH_STEPS = 80
_HAND_OVER = (1e-3, 1e-5, 1e-7, 1e-9)  # relative gaps at which the interior point hands over to Newton's method
_STRICT = 1e-6  # distance to 1 of a singular value of the gradient that proves the logits zero there


class Optimum(NamedTuple):
    """Logits, and the bounds that say how near to the optimum they are."""

    logits: Logits
    bounds: Bounds


def optimum(reduced: Reduced, warm: Logits | None = None) -> Optimum:
    """The best of: zero, Newton from a quick start, Newton from points nearer and nearer to the optimum."""
    zero = Logits(np.zeros_like(reduced.size), np.zeros_like(reduced.reach))
    at_zero = reduced.evaluate(zero)
    if reduced.gradient_norm(at_zero.wrong) <= 1:
        return Optimum(zero, reduced.bounds(zero, at_zero))
    best: Optimum | None = None
    for candidate in _candidates(reduced, warm):
        if best is None or candidate.bounds.gap < best.bounds.gap:
            best = candidate
        if best.bounds.gap <= _GOAL:
            break
    assert best is not None
    return _trimmed(reduced, best)


def _candidates(reduced: Reduced, warm: Logits | None) -> Iterator[Optimum]:
    yield _newton(reduced, rough_start(reduced) if warm is None else warm, _QUICK_STEPS)
    path = islice(central_path(reduced), _PATH_STEPS)
    for gap in _HAND_OVER:
        nearest: Optimum | None = None
        for x, bounds in path:
            if nearest is None or bounds.gap < nearest.bounds.gap:
                nearest = Optimum(x, bounds)
            if bounds.gap <= gap:
                break
        if nearest is None:
            return
        yield nearest
        yield _newton(reduced, nearest.logits, _STEPS)


def _newton(reduced: Reduced, start: Logits, budget: int) -> Optimum:
    """Newton's method until the gap is closed and the gradient zero, or the gap has stopped falling."""
    best: Optimum | None = None
    stalls = 0
    for iterate in islice(descend(reduced, start), budget):
        last = iterate
        if iterate.steepness > _STEEP:
            continue
        bounds = reduced.bounds(iterate.logits, iterate.point)
        stalls = stalls + 1 if best and bounds.gap > 0.9 * best.bounds.gap else 0
        if best is None or bounds.gap < max(best.bounds.gap, _CLOSED):
            best = Optimum(iterate.logits, bounds)
        if stalls == _STALLS or (bounds.gap <= _CLOSED and iterate.steepness <= _FLAT):
            break
    return best or Optimum(last.logits, reduced.bounds(last.logits, last.point))


def _trimmed(reduced: Reduced, best: Optimum) -> Optimum:
    """Set to exactly zero what the gradient proves to be zero."""
    x, bounds = best
    point = reduced.evaluate(x)
    u, sigma, vt = np.linalg.svd(x.mean)
    tension = -np.einsum("gi,gh,ih->i", u, point.mean_gradient, vt)
    mean = (u * np.where(tension < 1 - _STRICT, 0.0, sigma)) @ vt
    trimmed = Logits(np.where(-point.own_gradient < 1 - _STRICT, 0.0, x.own), mean)
    renewed = reduced.bounds(trimmed, reduced.evaluate(trimmed))
    return Optimum(trimmed, renewed) if renewed.gap <= max(bounds.gap, _GOAL) else best
