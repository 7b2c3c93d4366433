"""The regularised problem of a head with a bias, free or with a ridge of its own.

A bias b adds the rank-one matrix b sqrt(n)^T to the logits X (columns scaled by sqrt(n)), outside the nuclear norm:

    min over X, b of losses(X + b sqrt(n)^T) + ridge |X|_* + bias_ridge / 2 |b|^2.

A free bias takes over whatever X has along sqrt(n), so that sum_c n_c h_c = 0 at any ridge; and any ``shift`` with
constant ``label_scale`` is absorbed by it. All quantities live on groups of equal classes, divided by the ridge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from implicit_geometry._validate import Floats
from implicit_geometry.theory.numerics.balance import balancing_weights
from implicit_geometry.theory.numerics.rounding import EPS
from implicit_geometry.theory.numerics.singular_values import Spectrum, operator_norm
from implicit_geometry.theory.ridge.bias.levels import Levels, best_levels
from implicit_geometry.theory.ridge.interior import DualProgram, interior_optimum
from implicit_geometry.theory.ridge.many.enclosed import Dual
from implicit_geometry.theory.ridge.many.polar import polar_wrong
from implicit_geometry.theory.ridge.newton import Factored
from implicit_geometry.theory.ridge.optimum import FEW, GOAL, STEPS, closest
from implicit_geometry.theory.ridge.program import (
    Bounds,
    Logits,
    Point,
    Reduced,
    lifted,
    rough_start,
    trimmed,
)

_NEGLIGIBLE = 1e-9  # ridge on the bias over that of the logits, for a start
_SHORT = 60  # steps after which the interior-point method is cheaper


class OptimumWithBias(NamedTuple):
    """X, the bias on normalised group means, and what they prove."""

    logits: Logits
    bias: Floats
    bounds: Bounds


def optimum_with_bias(reduced: Reduced, bias_decay: float) -> Point:
    """Loss and gradient at the optimum of a head with a bias whose ridge is ``bias_decay`` times that of the rest."""
    biased = Biased.of(reduced, bias_decay)
    best = biased.solve()
    return biased.at(best.logits, best.bias)


def best_bias(reduced: Reduced, bias_decay: float, own: Floats, start: Floats) -> Floats:
    """The bias, on normalised group means, that is best where the means of all groups are zero, shape (G,)."""
    biased = Biased.of(reduced, bias_decay)
    return biased.settled(Logits(own, np.zeros_like(reduced.logit_slope)), start)[1]


@dataclass(frozen=True)
class Biased:
    """The reduced problem with a bias, in x = (factors of the logits, bias): loss + half a sum of squares.

    Attributes:
        reduced: the problem without.
        bias_decay: ridge of the bias over that of the logits.
        root_group_count: sqrt(k_g n_g), shape (G,).
    """

    reduced: Reduced
    bias_decay: float
    root_group_count: Floats

    @classmethod
    def of(cls, reduced: Reduced, bias_decay: float) -> Biased:
        """The problem of a bias whose ridge is ``bias_decay`` times that of the logits."""
        return cls(reduced, bias_decay, np.sqrt(reduced.size) * reduced.root_count)

    @cached_property
    def factored(self) -> Factored:
        """The problem of the logits alone."""
        return Factored(self.reduced)

    @cached_property
    def levels(self) -> Levels:
        """What the bias does to the exponents."""
        return Levels.of(self.reduced, self.bias_decay)

    @cached_property
    def free(self) -> Biased:
        """The problem whose bias costs nothing: no optimum is above that of the problem itself."""
        return replace(self, bias_decay=0.0)

    def split(self, x: Floats) -> tuple[Floats, Floats]:
        """The factors and the bias."""
        return x[: -self.root_group_count.size], x[-self.root_group_count.size :]

    def expand(self, x: Floats) -> tuple[Logits, Floats]:
        """X and the bias, without the part of it that changes no loss."""
        factors, bias = self.split(x)
        return self.factored.logits(factors), bias - self.reduced.null * (self.reduced.null @ bias)

    def at(self, logits: Logits, bias: Floats) -> Point:
        """Loss and gradient at X with a bias."""
        return self.reduced.evaluate(self.shifted(logits, bias))

    def shifted(self, logits: Logits, bias: Floats) -> Logits:
        """X with what the bias adds."""
        return Logits(logits.own, logits.mean + np.outer(bias, self.root_group_count))

    def penalty_gradient(self, bias: Floats) -> Floats:
        """Gradient of the bias's penalty, that of the part which changes no loss included: it would be arbitrary."""
        return self.bias_decay * bias + self.reduced.null * (self.reduced.null @ bias)

    def evaluate(self, x: Floats) -> Point:
        """Loss and gradient by X."""
        factors, bias = self.split(x)
        return self.at(self.factored.logits(factors), bias)

    def value(self, x: Floats, point: Point) -> float:
        """The objective."""
        factors, bias = self.split(x)
        return self.factored.value(factors, point) + 0.5 * float(bias @ self.penalty_gradient(bias))

    def gradient(self, x: Floats, point: Point) -> Floats:
        """Gradient by the unknowns."""
        factors, bias = self.split(x)
        by_bias = point.mean_gradient @ self.root_group_count + self.penalty_gradient(bias)
        return np.concatenate([self.factored.gradient(factors, point), by_bias])

    def hessian(self, x: Floats, point: Point) -> Callable[[Floats], Floats]:
        """Product of the Hessian with a direction."""
        factors, _ = self.split(x)

        def extended(direction: Floats) -> Floats:
            # by the factors: (curvature at X of the change of X) + (gradient at X) times the second-order change of X
            d_factors, d_bias = self.split(direction)
            change = self.shifted(self.factored.change(factors, d_factors), d_bias)
            own, mean = self.reduced.curvature(point, *change)
            straight = self.factored.pull_back(d_factors, point.own_gradient, point.mean_gradient)
            by_factors = d_factors + self.factored.pull_back(factors, own, mean) + straight
            return np.concatenate([by_factors, mean @ self.root_group_count + self.penalty_gradient(d_bias)])

        return extended

    def hessian_diagonal_estimate(self, x: Floats, point: Point) -> Floats:
        """About the Hessian's diagonal, positive."""
        by_mean = self.reduced.hessian_diagonal_estimate(point)[1]
        by_bias = by_mean @ self.root_group_count**2 + self.bias_decay + self.reduced.null**2
        return np.concatenate([self.factored.hessian_diagonal_estimate(self.split(x)[0], point), by_bias])

    def balanced(self, x: Floats) -> Floats:
        """The shortest factors of the same X, and the bias."""
        factors, bias = self.split(x)
        return np.concatenate([self.factored.balanced(factors), bias])

    def settled(self, logits: Logits, bias: Floats) -> tuple[Logits, Floats]:
        """X and the bias that is best for it: balanced flows make the dual bound tight."""
        start = bias / self.reduced.null
        level = best_levels(self.reduced, self.levels, self.reduced.exponents(logits), start)
        return logits, level * self.reduced.null

    def prove(self, x: Floats, _: Point) -> Bounds:
        """Values that enclose the optimum."""
        return self.bounds(*self.settled(*self.expand(x)))

    def bounds(self, logits: Logits, bias: Floats) -> Bounds:
        """Values that enclose the optimum, rounding counted in."""
        point = self.at(logits, bias)
        primal, rounding = self.upper(logits, bias, point)
        return Bounds(primal, self.dual_point(point.wrong, bias).value, rounding)

    def upper(self, logits: Logits, bias: Floats, point: Point) -> tuple[float, float]:
        """The objective with its rounding, and the rounding."""
        added = self.levels.change_size(bias / self.reduced.null)
        primal, rounding = self.reduced.upper(logits, point, added)
        return primal + 0.5 * self.bias_decay * float(bias @ bias), rounding

    def objective(self, logits: Logits, level: Floats) -> float:
        """At X and a level of the bias."""
        bias = level * self.reduced.null
        return self.upper(logits, bias, self.at(logits, bias))[0]

    def beside(self, logits: Logits, bias: Floats, dual: Dual) -> OptimumWithBias:
        """X and bias, with what they prove beside a dual point."""
        primal, rounding = self.upper(logits, bias, self.at(logits, bias))
        return OptimumWithBias(logits, bias, Bounds(primal, dual.value, rounding))

    def parted(self, logits: Logits, bias: Floats) -> tuple[Logits, Floats]:
        """The same exponents, with all that a free bias can take over in the bias."""
        if self.bias_decay > 0:
            return logits, bias
        root = self.root_group_count
        along = logits.mean @ root / (root @ root)
        return Logits(logits.own, logits.mean - np.outer(along, root)), bias + along

    def lifted(self, logits: Logits, bias: Floats) -> Floats:
        """Unknowns near X and the bias: what is zero in X but should not be is lifted off the factors' saddle."""
        return np.concatenate([self.factored.factors(lifted(self.under(bias), logits)), bias])

    def under(self, bias: Floats) -> Reduced:
        """The problem of the logits alone, under a bias."""
        change = self.levels.change(bias / self.reduced.null)
        return replace(self.reduced, offset=self.reduced.offset + change)

    def polar_dual(self, logits: Logits, bias: Floats, point: Point, spectrum: Spectrum | None = None) -> Dual:
        """The dual point whose loss gradient is minus the polar factor of X."""
        root = self.root_group_count / np.linalg.norm(self.root_group_count)
        wrong = polar_wrong(self.reduced, logits, point, None if self.bias_decay > 0 else root, spectrum)
        return self.dual_point(wrong, bias)

    def dual_point(self, wrong: Floats, bias: Floats) -> Dual:
        """Probabilities of wrong classes, near those of an optimum with that bias, as a feasible dual point."""
        scaled = wrong * self.dual_scale(wrong)
        penalty = self.penalty(scaled)
        value = self.reduced.feasible_value(scaled) - penalty
        if penalty > self.bias_decay * float(bias @ bias):  # twice what the bias pays
            other = wrong * self.free.dual_scale(wrong)
            other_value = self.reduced.feasible_value(other)
            scaled, value = (other, other_value) if other_value > value else (scaled, value)
        return Dual(value, scaled)

    def dual_scale(self, wrong: Floats) -> Floats:
        """Factors of the columns of probabilities of wrong classes that make them a feasible dual point, shape (G,).

        A free bias balances the flows between the groups; the loss gradient is scaled into the unit ball.
        """
        reduced, groups = self.reduced, self.root_group_count.size
        weights = np.ones(groups)
        if self.bias_decay == 0:
            weights = balancing_weights(self.levels.flow(reduced.group_weight * wrong))
        wrong = wrong * weights
        own, mean = reduced.pull_back(reduced.group_weight * wrong)
        within = -np.where(reduced.live, own, 0.0).min()
        largest = max(float(wrong.sum(axis=0).max()), operator_norm(mean), within)
        return np.asarray(weights / max(1.0, largest * (1 + 4 * groups * EPS)))

    def penalty(self, wrong: Floats) -> float:
        """What the dual pays for flows out of balance, at most, where the bias has a ridge."""
        if self.bias_decay == 0:
            return 0.0
        flow = self.levels.flow(self.reduced.group_weight * wrong)
        received, sent = flow.sum(axis=1), flow.sum(axis=0)
        net = np.abs(received - sent) + 4 * self.root_group_count.size * EPS * (received + sent)
        return float((net * net / (2 * self.levels.decay)).sum())

    def start(self) -> tuple[Logits, Floats]:
        """The start of the problem without bias, parted into what is orthogonal to sqrt(n) and what a bias can do."""
        own, total = rough_start(self.reduced)
        bias = total @ self.root_group_count / (self.root_group_count @ self.root_group_count)
        return Logits(own, total - np.outer(bias, self.root_group_count)), bias

    def interior_start(self) -> Floats:
        """Near the optimum, by a dense method."""
        easiest = self if self.bias_decay > _NEGLIGIBLE else self.free
        logits, level = interior_optimum(DualProgram(self.reduced, easiest.levels))
        return np.concatenate([self.factored.factors(logits), level * self.reduced.null])

    def nothing(self) -> OptimumWithBias:
        """Zero logits with the best bias."""
        zero = Logits(np.zeros_like(self.root_group_count), np.zeros_like(self.reduced.logit_slope))
        zero, bias = self.settled(zero, np.zeros_like(self.root_group_count))
        return OptimumWithBias(zero, bias, self.bounds(zero, bias))

    def with_own_dual(self, best: OptimumWithBias) -> tuple[OptimumWithBias, Floats]:
        """An optimum beside the feasible dual point of its own gradient."""
        wrong = self.at(best.logits, best.bias).wrong
        return best, wrong * self.dual_scale(wrong)

    def solve(self) -> OptimumWithBias:
        """Zero with the best bias where it is the optimum, else Newton's method from the limit's form."""
        nothing = self.nothing()
        if nothing.bounds.gap <= GOAL:
            return nothing
        logits, bias = self.start()
        start = np.concatenate([self.factored.factors(logits), bias])
        few = self.root_group_count.size <= FEW
        x, bounds = closest(self, start, self.prove, _SHORT if few else STEPS)
        if bounds.gap > GOAL:
            second, renewed = closest(self, self.interior_start() if few else self.balanced(x), self.prove)
            if renewed.gap < bounds.gap:
                x, bounds = second, renewed
        optimum = OptimumWithBias(*self.settled(*self.expand(x)), bounds)
        point = self.at(optimum.logits, optimum.bias)
        candidate, bias = self.settled(trimmed(optimum.logits, point), optimum.bias)
        renewed = self.bounds(candidate, bias)
        return OptimumWithBias(candidate, bias, renewed) if renewed.gap <= max(bounds.gap, GOAL) else optimum
