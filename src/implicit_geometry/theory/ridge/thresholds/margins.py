"""Collapse of groups with margins among many kinds of classes.

A group's threshold is the ridge that equals the loss gradient within the group, at the optimum with that group held
collapsed: a fixed point. The gradient depends on the rest of the problem only through the probability that the group's
samples give to classes outside, and but little on that. A few bins of all other kinds, narrow near the group and wide
far from it, give the threshold to a millionth or so where kinds follow one another smoothly. More bins say to how much.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import NamedTuple

import numpy as np

from implicit_geometry._validate import Floats, Ints
from implicit_geometry.theory.ridge.bias.program import Biased
from implicit_geometry.theory.ridge.many.coarser import around
from implicit_geometry.theory.ridge.many.plain import EXACT, collapsed
from implicit_geometry.theory.ridge.newton import Factored, Smooth, descend
from implicit_geometry.theory.ridge.optimum import GOAL
from implicit_geometry.theory.ridge.program import Logits, Point, Reduced, lifted, rough_start
from implicit_geometry.theory.ridge.reduce import Kinds, reduce_kinds
from implicit_geometry.theory.ridge.thresholds.dense import DenseBiased, DenseFactored

_BINS = (3, 6, 12, 24, 48)
_FIRST_BINS = 24  # where all kinds come next
_WANTED = 2e-6  # relative change by twice as many bins that is small enough
_SLOWEST = 0.75  # change by twice as many bins over the one before, at most, where more would go on so
_SETTLED = 1e-6  # relative change of the ridge, with the same bins, that ends the search for it
_LEFT = 0.25  # of a change that ended the search: what another slope could make of it
_EXACT = 1e-8  # relative error without bins
_ASIDE = 1e-4  # relative distance of a second ridge that tells the slope
_SECANTS = 12
_STEEPEST = 0.9  # rise of the gradient with the ridge that is believed

_DENSE = 13  # kinds up to which a matrix for the Hessian is quicker than its products
_STEPS = 60
_FLAT, _STEEP = 1e-9, 1e-6  # steepness that ends a descent, and above which it has failed
_LIFTS = 4  # descents that begin with directions added
_NOISE = 1e-7  # by which the loss gradient may exceed 1


class _Unknowns(NamedTuple):
    """Logits, and the bias on normalised group means (zeros without one)."""

    logits: Logits
    bias: Floats


def margin_thresholds(kinds: Kinds, bias_decay: float | None) -> tuple[Floats, Floats]:
    """Thresholds of the groups of several classes with a margin, and estimates of their relative errors.

    Up to 128 kinds, bins are a start only, and from 1e-8 to 2.5e-7 is said to be left. Beyond, they are doubled until
    thresholds change by no more than two millionths, and at most to 48; a group's error is taken for its last change,
    or for the root mean square of those of all groups where that is more: half as many bins may agree by chance. Where
    changes hardly fall from one doubling to the next, it is what all further ones would come to.

    Args:
        kinds: of classes.
        bias_decay: ridge of the bias over that of the logits, 0 for a free one; None for a head without.

    Returns:
        Both of shape (G,), NaN for all other groups, and where no optimum was found.
    """
    search = _Search(kinds, bias_decay, *kinds.collapse_range(), {})
    whole = kinds.number <= EXACT
    fewest, *more = (_FIRST_BINS, kinds.number - 1) if whole else _BINS
    ridge, slope = search.first_crossings(fewest, own_slopes=whole)
    error = np.full_like(ridge, np.nan)
    groups = search.groups[np.isfinite(ridge[search.groups])]
    last = np.inf
    for bins in more:
        change, step = search.refine(groups, bins, ridge, slope)
        groups = groups[np.isfinite(ridge[groups])]
        change = change[groups]
        typical = float(np.sqrt((change**2).mean())) if groups.size else 0.0
        share = min(typical / last, _SLOWEST)
        rest = max(1.0, share / (1 - share))
        left = np.maximum(_EXACT, _LEFT * np.minimum(step[groups], _SETTLED))
        error[groups] = left if whole else rest * np.maximum(change, typical)
        if typical <= _WANTED:
            groups, last = groups[change > _WANTED], np.inf
        else:
            last = typical
    return ridge, error


@dataclass(frozen=True)
class _Search:
    """What is asked for, and what was found on the way.

    Attributes:
        kinds: of classes.
        bias_decay: as for :func:`margin_thresholds`.
        low: smallest possible thresholds, shape (G,).
        high: largest ones, shape (G,).
        near: the last optimum, by the number of kinds.
    """

    kinds: Kinds
    bias_decay: float | None
    low: Floats
    high: Floats
    near: dict[int, _Unknowns]

    @cached_property
    def groups(self) -> Ints:
        """Places of the groups with a margin, those of small thresholds first: optima lose directions on the way."""
        order = np.argsort(self.high, kind="stable")
        return np.asarray(order[(self.low < self.high)[order]])

    def first_crossings(self, bins: int, own_slopes: bool) -> tuple[Floats, Floats]:
        """As :meth:`crossing`, of all groups, each from what the last one has taught, shapes (G,)."""
        size, width = self.kinds.size, self.high - self.low
        ridge, slope = np.full_like(width, np.nan), np.zeros_like(width)
        share, last = 1 / float(size.sum()), 0.0  # probability of a class of the group, and the derivative
        for group in self.groups.tolist():
            start = self.low[group] + min(share * size[group], 1.0) * width[group]
            ridge[group], slope[group] = self.crossing(group, bins, float(start), last, not own_slopes)
            if np.isfinite(ridge[group]):
                share, last = float((ridge[group] - self.low[group]) / width[group] / size[group]), slope[group]
        return ridge, slope

    def refine(self, groups: Ints, bins: int, ridge: Floats, slope: Floats) -> tuple[Floats, Floats]:
        """:meth:`crossing` of groups from fewer bins, each moved as the last one has, in place.

        Args:
            groups: their places.
            bins: of all others.
            ridge: known from fewer bins, shape (G,); those of the groups are replaced.
            slope: derivatives, shape (G,); those of the groups are replaced.

        Returns:
            Relative changes, of what is known and of the start, shapes (G,).
        """
        change, moved = np.full_like(ridge, np.nan), 0.0
        step = change.copy()
        for group in groups.tolist():
            before = float(ridge[group])
            start = before * (1 + moved)
            ridge[group], slope[group] = self.crossing(group, bins, start, float(slope[group]))
            if np.isfinite(ridge[group]):
                moved = float(ridge[group]) / before - 1
                change[group], step[group] = abs(moved), abs(float(ridge[group]) / start - 1)
        return change, step

    def crossing(self, group: int, bins: int, ridge: float, slope: float, believed: bool = True) -> tuple[float, float]:
        """Where the gradient within a group is the ridge, and its derivative by the ridge; NaN if not found.

        Args:
            group: its place among the kinds.
            bins: of all others.
            ridge: the start.
            slope: the derivative, about.
            believed: whether that will do, or the group's own derivative is wanted.
        """
        kinds = around(self.kinds, group, bins)
        before: tuple[float, float] | None = None
        for _ in range(_SECANTS):
            point = self.optimum(kinds, ridge)
            if point is None:
                break
            gradient = -ridge * float(point.own_gradient[0])
            if before is not None:
                slope = min((gradient - before[1]) / (ridge - before[0]), _STEEPEST)
            following = float(np.clip(ridge + (gradient - ridge) / (1 - slope), self.low[group], self.high[group]))
            if abs(following - ridge) <= _SETTLED * ridge:
                if believed or before is not None:
                    return following, slope
                following = ridge * (1 - _ASIDE)
            before, ridge = (ridge, gradient), following
        return float("nan"), 0.0

    def optimum(self, kinds: Kinds, ridge: float) -> Point | None:
        """Loss and gradient at the optimum with the first kind held collapsed; None if not found."""
        reduced = reduce_kinds(kinds, ridge)
        held = replace(reduced, live=reduced.live & (np.arange(kinds.number) > 0))
        few = kinds.number <= _DENSE
        problem = _Held(
            held,
            (DenseFactored if few else Factored)(held),
            None if self.bias_decay is None else (DenseBiased if few else Biased).of(held, self.bias_decay),
        )
        try:
            found = problem.optimum(self.near.get(kinds.number))
        except (ArithmeticError, ValueError):  # LinAlgError is a ValueError
            found = None
        if found is None:
            return None
        self.near[kinds.number] = found[1]
        return found[0]


@dataclass(frozen=True)
class _Held:
    """A reduced problem, and the same with a bias if there is one."""

    reduced: Reduced
    factored: Factored
    biased: Biased | None

    @property
    def smooth(self) -> Smooth:
        return self.factored if self.biased is None else self.biased

    def optimum(self, near: _Unknowns | None) -> tuple[Point, _Unknowns] | None:
        """The optimum, from what may be near it or else from the limit's form; None where neither leads there."""
        found = None if near is None or not near.logits.mean.any() else self.descended(near)
        if found is not None:
            return found
        nothing = self.nothing()
        return self.descended(self.start()) if nothing is None else (self.at(nothing), nothing)

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
