"""Collapse of groups with margins among many kinds of classes.

A group's threshold is the ridge that equals the loss gradient within the group, at the optimum with that group held
collapsed: a fixed point. The gradient depends on the rest of the problem only through the probability that the group's
samples give to classes outside, and but little on that. A dozen bins of all other kinds, narrow near the group and wide
far from it, leave a millionth or so of the threshold open. Twice as many bins say how much it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import NamedTuple

import numpy as np

from implicit_geometry._validate import Floats
from implicit_geometry.theory.ridge.biased import Biased
from implicit_geometry.theory.ridge.many.coarser import around
from implicit_geometry.theory.ridge.many.plain import EXACT, collapsed
from implicit_geometry.theory.ridge.newton import Factored, Smooth, descend
from implicit_geometry.theory.ridge.optimum import GOAL
from implicit_geometry.theory.ridge.program import Logits, Point, Reduced, lifted, rough_start
from implicit_geometry.theory.ridge.reduce import Kinds, reduce_kinds

_BINS = (12, 24, 48, 96)
_WANTED = 1e-6  # relative change by more bins that ends the search
_SETTLED = 3e-6  # relative change of the ridge, with the same bins, that ends the search for it
_SECANTS = 12
_STEEPEST = 0.9  # rise of the gradient with the ridge that is believed

_STEPS = 60
_FLAT, _STEEP = 1e-10, 1e-6  # steepness that ends a descent, and above which it has failed
_LIFTS = 4  # descents that begin with directions added
_NOISE = 1e-7  # by which the loss gradient may exceed 1, and what a threshold is known to without bins


class MarginThreshold(NamedTuple):
    """A threshold.

    Attributes:
        ridge: from which on the group is collapsed.
        error: an estimate of its relative error.
    """

    ridge: float
    error: float


class _Unsettled(ArithmeticError):
    """No optimum, or no fixed point, was found."""


class _Unknowns(NamedTuple):
    """Logits, and the bias on normalised group means (zeros without one)."""

    logits: Logits
    bias: Floats


@dataclass
class MarginSearch:
    """A search for the thresholds of one problem: what is learnt of a group is a start for the next.

    Attributes:
        kinds: of classes.
        bias_decay: ridge of the bias over that of the logits, 0 for a free one; None for a head without.
        share: probability that samples of the last group gave to one of its classes.
        slope: derivative of the last group's gradient by the ridge.
        near: the last optimum, by the number of kinds.
    """

    kinds: Kinds
    bias_decay: float | None
    share: float
    slope: float = 0.0
    near: dict[int, _Unknowns] = field(default_factory=dict)

    @classmethod
    def of(cls, kinds: Kinds, bias_decay: float | None) -> MarginSearch:
        """One that knows nothing yet."""
        return cls(kinds, bias_decay, 1 / float(kinds.size.sum()))

    def threshold(self, group: int, low: float, high: float) -> MarginThreshold | None:
        """The threshold of a group between two bounds; None where none was found."""
        size = float(self.kinds.size[group])
        try:
            found = self._refined(group, low, high, low + min(self.share * size, 1.0) * (high - low))
        except ArithmeticError:
            self.near.clear()
            return None
        self.share = (found.ridge - low) / (high - low) / size
        return found

    def _refined(self, group: int, low: float, high: float, ridge: float) -> MarginThreshold:
        environments = self._environments(group)
        ridge = self._fixed_ridge(next(environments), low, high, ridge)
        for kinds in environments:
            before, ridge = ridge, self._fixed_ridge(kinds, low, high, ridge)
            error = _NOISE if kinds.number == self.kinds.number else abs(ridge / before - 1)
            if error <= _WANTED:
                break
        return MarginThreshold(ridge, error)

    def _environments(self, group: int) -> Iterator[Kinds]:
        """The group, the first, and more and more bins of the others, up to all of them where they are not too many."""
        others = self.kinds.number - 1
        yield from (around(self.kinds, group, bins) for bins in _BINS if bins < others)
        if self.kinds.number <= EXACT:
            yield around(self.kinds, group, others)

    def _fixed_ridge(self, kinds: Kinds, low: float, high: float, ridge: float) -> float:
        """Where the gradient of the first group is the ridge."""
        before: tuple[float, float] | None = None
        for _ in range(_SECANTS):
            gradient = ridge * self._gradient(kinds, ridge)
            if before is not None:
                self.slope = min((gradient - before[1]) / (ridge - before[0]), _STEEPEST)
            following = float(np.clip(ridge + (gradient - ridge) / (1 - self.slope), low, high))
            if abs(following - ridge) <= _SETTLED * ridge:
                return following
            before, ridge = (ridge, gradient), following
        raise _Unsettled

    def _gradient(self, kinds: Kinds, ridge: float) -> float:
        """The loss gradient within the first group at the optimum with it held collapsed, in units of the ridge."""
        reduced = reduce_kinds(kinds, ridge)
        held = replace(reduced, live=reduced.live & (np.arange(kinds.number) > 0))
        problem = _Held(held, None if self.bias_decay is None else Biased.of(held, self.bias_decay))
        point, self.near[kinds.number] = problem.optimum(self.near.get(kinds.number))
        return -float(point.own_gradient[0])


@dataclass(frozen=True)
class _Held:
    """A reduced problem, and the same with a bias if there is one."""

    reduced: Reduced
    biased: Biased | None

    @cached_property
    def smooth(self) -> Smooth:
        return Factored(self.reduced) if self.biased is None else self.biased

    def optimum(self, near: _Unknowns | None) -> tuple[Point, _Unknowns]:
        """The optimum, from what may be near it or else from the limit's form.

        Raises:
            _Unsettled: neither led there.
        """
        nothing = self.nothing()
        if nothing is not None:
            return self.at(nothing), nothing
        found = None if near is None else self.descended(near)
        found = found or self.descended(self.start())
        if found is None:
            raise _Unsettled
        return found

    def nothing(self) -> _Unknowns | None:
        """Zero logits where they are the optimum."""
        if self.biased is None:
            zero = Logits(np.zeros_like(self.reduced.size), np.zeros_like(self.reduced.logit_slope))
            return _Unknowns(zero, zero.own) if collapsed(self.reduced) else None
        nothing = self.biased.nothing()
        return _Unknowns(nothing.logits, nothing.bias) if nothing.bounds.gap <= GOAL else None

    def start(self) -> _Unknowns:
        if self.biased is None:
            return _Unknowns(rough_start(self.reduced), np.zeros_like(self.reduced.size))
        return _Unknowns(*self.biased.start())

    def at(self, x: _Unknowns) -> Point:
        return self.reduced.evaluate(x.logits) if self.biased is None else self.biased.at(*x)

    def descended(self, x: _Unknowns) -> tuple[Point, _Unknowns] | None:
        """Newton's method in factors; None where it ends at no optimum, or not at all."""
        for _ in range(_LIFTS):
            for at in islice(descend(self.smooth, self.factors(x)), _STEPS):
                if at.steepness <= _FLAT:
                    break
            if not at.steepness <= _STEEP:
                return None
            x = self.unknowns(at.factors)
            if self.reduced.gradient_norm(at.point.slope) <= 1 + _NOISE:
                return at.point, x
        return None

    def factors(self, x: _Unknowns) -> Floats:
        """Factors of logits, their dead directions with a length where the gradient says that they are alive."""
        own = np.where(self.reduced.live, x.logits.own, 0.0)
        if self.biased is None:
            return Factored(self.reduced).factors(lifted(self.reduced, Logits(own, x.logits.mean)))
        shift = self.biased.levels.change(x.bias / self.reduced.null)
        shifted = replace(self.reduced, offset=self.reduced.offset + shift)
        return np.append(self.biased.factored.factors(lifted(shifted, Logits(own, x.logits.mean))), x.bias)

    def unknowns(self, factors: Floats) -> _Unknowns:
        if self.biased is None:
            return _Unknowns(Factored(self.reduced).logits(factors), np.zeros_like(self.reduced.size))
        return _Unknowns(*self.biased.expand(factors))
