"""A descent with the best dual point known beside it, until the two enclose the optimum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from implicit_geometry._validate import Floats
from implicit_geometry.theory.ridge.many.alive import Alive, AliveIterate
from implicit_geometry.theory.ridge.many.alive_descent import descend_alive
from implicit_geometry.theory.ridge.newton import Iterate, Smooth, descend
from implicit_geometry.theory.ridge.program import Bounds, Point

PATIENCE = 12
"""Steps within which the gap must halve."""

FAR = 1e-3
"""Relative gap beyond which no quadratic model holds."""

_STEPS, _FAR_STEPS = 150, 600
_LENGTH, _FAR_LENGTH = 0.02, 0.3  # of the first step, at most, over that of the factors
_STEEP = 1e-3  # steepness above which no dual point is near

At = TypeVar("At")


class Dual(NamedTuple):
    """A feasible dual point.

    Attributes:
        value: lower bound of the optimum, in units of the ridge.
        wrong: its probabilities of wrong classes, shape (G, G).
    """

    value: float
    wrong: Floats


@dataclass(frozen=True)
class Enclosed(Generic[At]):
    """Where a descent was lowest, and the dual point that is best beside it.

    Attributes:
        at: the iterate.
        primal: objective there, rounding counted in.
        rounding: what it allows for rounding.
        dual: the dual point.
    """

    at: At
    primal: float
    rounding: float
    dual: Dual

    @property
    def bounds(self) -> Bounds:
        """Values that enclose the optimum."""
        return Bounds(self.primal, self.dual.value, self.rounding)


def enclose(
    iterates: Iterable[At],
    upper: Callable[[At], tuple[float, float]],
    lower: Callable[[At], Dual],
    dual: Dual,
    goal: float,
    patience: int,
) -> Enclosed[At]:
    """Follow a descent until the gap to the best dual point known is at the goal, or falls no more.

    Args:
        iterates: at least one; the dual point of the first is looked at only where there is no other.
        upper: objective with its rounding, and the rounding, at an iterate.
        lower: the dual point that it gives.
        dual: the one to begin with.
        goal: relative gap that ends the search.
        patience: steps within which the gap must halve.
    """
    remaining = iter(iterates)
    first = next(remaining)
    best = Enclosed(first, *upper(first), dual)
    if best.bounds.gap <= goal:
        return best
    since, halved = 0, best.bounds.gap
    for at in remaining:
        best = _with_better_dual(best, lower(at))
        primal, rounding = upper(at)
        if primal < best.primal:
            best = replace(best, at=at, primal=primal, rounding=rounding)
        gap = best.bounds.gap
        if gap <= goal:
            break
        since = since + 1 if gap > 0.5 * halved else 0
        halved = gap if since == 0 else halved
        if since > patience:
            break
    return _with_better_dual(best, lower(first)) if best.at is first else best


def _with_better_dual(best: Enclosed[At], dual: Dual) -> Enclosed[At]:
    return replace(best, dual=dual) if dual.value > best.dual.value else best


def enclose_alive(
    problem: Alive,
    start: AliveIterate,
    upper: Callable[[AliveIterate], tuple[float, float]],
    lower: Callable[[AliveIterate], Dual],
    dual: Dual,
    goal: float,
) -> Enclosed[AliveIterate] | None:
    """Newton's method in the logits, again without what it has brought near to zero; None where it cannot start."""
    found: Enclosed[AliveIterate] | None = None
    first = problem.regular_start(start)
    while first is not None:
        found = enclose(descend_alive(problem, first), upper, lower, dual, goal, PATIENCE)
        if found.bounds.gap <= goal:
            break
        first, dual = problem.regular_start(found.at), found.dual
        if first is not None and first.rank == found.at.rank and (first.live == found.at.live).all():
            break
    return found


def enclose_by_factors(
    problem: Smooth,
    start: Floats,
    upper: Callable[[Floats, Point], tuple[float, float]],
    lower: Callable[[Floats, Point], Dual],
    dual: Dual,
    goal: float,
    afar: bool,
) -> Enclosed[Iterate]:
    """Newton's method in factors, from near the optimum or from afar, as :func:`enclose` follows its flat iterates."""
    steps = _FAR_STEPS if afar else _STEPS
    return enclose(
        _flat(islice(descend(problem, start, first=_FAR_LENGTH if afar else _LENGTH), steps)),
        lambda at: upper(at.factors, at.point),
        lambda at: lower(at.factors, at.point),
        dual,
        goal,
        PATIENCE,
    )


def approach(problem: Smooth, start: Floats, afar: bool) -> Iterate:
    """Newton's method in factors as far as :func:`enclose_by_factors` finds no dual point near."""
    steps = _FAR_STEPS if afar else _STEPS
    iterates = islice(descend(problem, start, first=_FAR_LENGTH if afar else _LENGTH), steps)
    return next(_flat(iterates))


def _flat(iterates: Iterable[Iterate]) -> Iterator[Iterate]:
    """Iterates that a dual point may be near, or the last of those that are not."""
    last: Iterate | None = None
    for at in iterates:
        last = None if at.steepness <= _STEEP else at
        if last is None:
            yield at
    if last is not None:
        yield last
