"""Newton's method from a start that is nearly the optimum, with any dual point that encloses it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from implicit_geometry._validate import Floats
from implicit_geometry.theory.ridge.newton import Smooth, descend
from implicit_geometry.theory.ridge.program import Bounds, Point

_STEPS = 1000
_PATIENCE = 12, 100  # steps within which the gap must halve, from near and from afar
_LENGTH = 0.02, 0.3  # of the first step, at most, over that of the factors, likewise


class Dual(NamedTuple):
    """A feasible dual point.

    Attributes:
        value: lower bound of the optimum, in units of the ridge.
        wrong: its probabilities of wrong classes, shape (G, G).
    """

    value: float
    wrong: Floats


class Enclosed(NamedTuple):
    """Factors of logits, and the dual point that is best beside them.

    Attributes:
        factors: x.
        primal: objective there, rounding counted in.
        rounding: what it allows for rounding.
        dual: the dual point.
    """

    factors: Floats
    primal: float
    rounding: float
    dual: Dual

    @property
    def bounds(self) -> Bounds:
        """Values that enclose the optimum."""
        return Bounds(self.primal, self.dual.value, self.rounding)


def enclose(
    problem: Smooth,
    start: Floats,
    upper: Callable[[Floats, Point], tuple[float, float]],
    lower: Callable[[Floats, Point], Dual],
    dual: Dual,
    goal: float,
    afar: bool = False,
) -> Enclosed:
    """Lower the objective until the gap to the best dual point known is at the goal, or falls no more.

    Args:
        problem: the objective of factors.
        start: factors near the optimum.
        upper: objective with its rounding, and the rounding, at factors.
        lower: the dual point that they give.
        dual: the one to begin with.
        goal: relative gap that ends the search.
        afar: whether the start is not near the optimum after all.
    """
    best: Enclosed | None = None
    since, halved = 0, float("inf")
    for iterate in islice(descend(problem, start, first=_LENGTH[afar]), _STEPS):
        primal, rounding = upper(iterate.factors, iterate.point)
        if best is not None:  # not at the start, which the dual point comes with
            dual = max(dual, lower(iterate.factors, iterate.point), key=lambda each: each.value)
        if best is None or primal < best.primal:
            best = Enclosed(iterate.factors, primal, rounding, dual)
        best = best._replace(dual=dual)
        gap = best.bounds.gap
        if gap <= goal:
            break
        since = since + 1 if gap > 0.5 * halved else 0
        halved = gap if since == 0 else halved
        if since > _PATIENCE[afar]:
            break
    assert best is not None
    return best
