"""The regularised problem on groups of equal classes: G x G + G unknowns instead of k x k.

By convexity and symmetry the optimal logits X (columns scaled by sqrt(n)) act as a number ``own[g]`` >= 0 on the
mean-zero subspace of group g (dimension k_g - 1) and as a G x G matrix ``mean`` on the normalised group means. All
probabilities of wrong classes are kept themselves (never as one minus something), so that they hold relative accuracy
at any ridge. Everything here is divided by the ridge: the objective is ``losses.sum() + nuclear norm``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlog1py

from implicit_geometry._validate import Floats, InputError
from implicit_geometry.certificate import Certificate
from implicit_geometry.problem import Problem
from implicit_geometry.theory.numerics.rounding import EPS, ROUNDINGS
from implicit_geometry.theory.numerics.singular_values import along_pairs, nuclear_norm, operator_norm, svd

LARGEST = 1e290
"""Products of numbers beyond it, or below its inverse, lose digits."""

_FAR = 40.0  # change of exponents from which on the loss's steepest slope bounds its change better
_LONGEST = 40.0  # -log(1 - t) of the largest t < 1
_CLOSED = 1e-12  # relative gap that rounding may leave besides
_STRICT = 1e-6  # distance to 1 of a singular value of the gradient that proves the logits zero there


class Logits(NamedTuple):
    """X in reduced form: ``own`` of shape (G,), ``mean`` of shape (G, G)."""

    own: Floats
    mean: Floats


@dataclass(frozen=True)
class Point:
    """Loss and its derivatives at one X.

    Attributes:
        losses: loss of all samples of each group, shape (G,).
        wrong: probability that a sample of a class in group h gives to all wrong classes of group g, shape (G, G).
        right: probability that it gives to its own class, shape (G,).
        excess: ``wrong`` less the share of the label that is on these classes, shape (G, G).
        slope: derivative by the exponents, group_weight[h] * excess[g, h], shape (G, G).
        own_gradient: derivative by ``own`` of a single copy, shape (G,).
        mean_gradient: derivative by ``mean``, shape (G, G).
    """

    losses: Floats
    wrong: Floats
    right: Floats
    excess: Floats
    slope: Floats
    own_gradient: Floats
    mean_gradient: Floats


class Bounds(NamedTuple):
    """Values, in units of the ridge, that enclose the optimum.

    Attributes:
        primal: upper bound.
        dual: lower bound.
        rounding: what the upper bound allows for rounding; the lower bound allows for about as much.
    """

    primal: float
    dual: float
    rounding: float = 0.0

    @property
    def gap(self) -> float:
        """Relative gap, at least 0 (infinite where a value is not finite)."""
        gap = max(self.primal - self.dual, 0.0) / abs(self.primal) if self.primal else 0.0
        return gap if np.isfinite(gap) else np.inf

    @property
    def closed(self) -> bool:
        """Whether little more than the allowance for rounding is left of the gap."""
        return self.gap <= _CLOSED + (4 * self.rounding / abs(self.primal) if self.primal else 0.0)


@dataclass(frozen=True)
class Reduced:
    """The loss as a function of (own, mean).

    A sample of a class in group h puts onto all wrong classes of group g together the odds exp(exponent[g, h]),
    exponent = offset + logit_slope * mean - diag(logit_slope * mean) - own_slope * own, linear in X.

    Attributes:
        size: classes of each group k_g, shape (G,).
        copies: k_g - 1 where it is positive, else 1: how often ``own`` counts, shape (G,).
        live: groups whose ``own`` is not known to be zero beforehand, shape (G,).
        root_count: sqrt(n_g), shape (G,).
        natural: s_g of :class:`Pairwise`, shape (G,).
        null: unit vector with null^T mean = 0 at the optimum, shape (G,).
        group_weight: k_g n_g weight_g / ridge, shape (G,).
        offset: exponents at X = 0, shape (G, G), -inf on the diagonal for a group of one class.
        logit_slope: derivative of the exponents by ``mean`` of the wrong group, shape (G, G).
        own_slope: minus their derivative by ``own`` of the label's group, shape (G, G).
    """

    size: Floats
    copies: Floats
    live: NDArray[np.bool_]
    root_count: Floats
    natural: Floats
    null: Floats
    group_weight: Floats
    offset: Floats
    logit_slope: Floats
    own_slope: Floats

    def exponents(self, x: Logits) -> Floats:
        """Logarithm of the odds of the wrong classes, by group, shape (G, G)."""
        return np.asarray(self.offset + self.exponent_change(x.own, x.mean))

    def exponent_change(self, own: Floats, mean: Floats) -> Floats:
        """The linear part of :meth:`exponents`."""
        push = self.logit_slope * mean
        return np.asarray(push - push.diagonal() - self.own_slope * own)

    def pull_back(self, slope: Floats) -> tuple[Floats, Floats]:
        """Derivatives by (one copy of own, mean) from those by the exponents: :meth:`exponent_change` transposed."""
        own = -(self.own_slope * slope).sum(axis=0) / self.copies
        mean = self.logit_slope * slope
        diagonal = mean.reshape(-1)[:: len(mean) + 1]
        diagonal -= self.logit_slope.diagonal() * slope.sum(axis=0)
        return own, mean

    def evaluate(self, x: Logits) -> Point:
        """Loss and gradient."""
        return self.point(self.exponents(x))

    def point(self, exponent: Floats) -> Point:
        """Loss and gradient from the exponents."""
        # log(1 + sum e^x) = top + log(1 + sum e^(x - top) + (e^-top - 1))
        top = np.maximum(exponent.max(axis=0), 0.0)
        odds = np.exp(exponent - top)
        total = odds.sum(axis=0)
        losses = self.group_weight * (top + np.log1p(total + np.expm1(-top)))
        one = np.exp(-top)
        wrong, right = odds / (one + total), one / (one + total)
        slope = self.group_weight * wrong
        return Point(losses, wrong, right, wrong, slope, *self.pull_back(slope))

    def curvature(self, point: Point, own: Floats, mean: Floats) -> tuple[Floats, Floats]:
        """The loss's Hessian at a point applied to a direction."""
        change = self.exponent_change(own, mean)
        return self.pull_back(self.group_weight * point.wrong * (change - (point.wrong * change).sum(axis=0)))

    def hessian_diagonal_estimate(self, point: Point) -> tuple[Floats, Floats]:
        """Diagonal of the loss's Hessian by (all copies of own, mean) at a point whose wrong classes are rare."""
        spread = self.group_weight * point.wrong
        mean = self.logit_slope**2 * spread
        np.fill_diagonal(mean, self.logit_slope.diagonal() ** 2 * (spread.sum(axis=0) - spread.diagonal()))
        return np.asarray((self.own_slope**2 * spread).sum(axis=0)), np.asarray(mean)

    def gradient_norm(self, slope: Floats) -> float:
        """Operator norm of the loss gradient that derivatives by the exponents make, on group means and live groups."""
        own, mean = self.pull_back(slope)
        return float(max(operator_norm(mean), -np.where(self.live, own, 0.0).min()))

    def feasible_scale(self, wrong: Floats) -> float:
        """Factor, at most 1, that makes probabilities a feasible dual point."""
        largest = max(self.gradient_norm(self.group_weight * wrong), float(wrong.sum(axis=0).max()))
        return 1 / max(1.0, largest * (1 + 4 * self.size.size * EPS))

    def dual_value(self, wrong: Floats) -> float:
        """A lower bound of the optimum: that of the probabilities, scaled until feasible."""
        return self.feasible_value(wrong * self.feasible_scale(wrong))

    def feasible_value(self, wrong: Floats) -> float:
        """A lower bound of the optimum: the Fenchel dual of feasible probabilities, less rounding."""
        # sum_h group_weight[h] (sum_g p[g, h] (offset[g, h] - log p[g, h]) - (1 - t[h]) log(1 - t[h])), t = sum_g p
        total = np.minimum(wrong.sum(axis=0), 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(wrong > 0, wrong * (self.offset - np.log(wrong)), 0.0)
            sizes = np.where(wrong > 0, wrong * (1 + np.abs(self.offset) + np.abs(np.log(wrong))), 0.0)
            sizes = sizes.sum(axis=0) - total * np.where(total < 1, np.log1p(-total), -_LONGEST)
        rest = xlog1py(1 - total, -total)
        rounding = ROUNDINGS * EPS * self.size.size * sizes
        return float(self.group_weight @ (terms.sum(axis=0) - rest - rounding))

    def objective(self, x: Logits, point: Point) -> float:
        """Loss plus nuclear norm."""
        return float(point.losses.sum() + (self.size - 1) @ x.own) + nuclear_norm(x.mean)

    def upper(self, x: Logits, point: Point, terms: Floats | float = 0.0) -> tuple[float, float]:
        """The objective with its rounding, and the rounding; ``terms`` as in :meth:`exponent_rounding`."""
        value = self.objective(x, point)
        rounding = self.rounding(x, point, value, terms)
        return value + rounding, rounding

    def exponent_rounding(self, x: Logits, terms: Floats | float = 0.0) -> Floats:
        """How far rounding may put the exponents off, sums of terms that cancel; ``terms`` is the size of others."""
        push = self.logit_slope * np.abs(x.mean)
        size = np.where(np.isfinite(self.offset), np.abs(self.offset), 0.0)
        size += push + push.diagonal() + self.own_slope * x.own + terms + self.logit_slope * np.linalg.norm(x.mean)
        return np.asarray(ROUNDINGS * EPS * size)

    def rounding(self, x: Logits, point: Point, value: float, terms: Floats | float = 0.0) -> float:
        """By how much rounding may have lowered the ``value`` that :meth:`objective` says."""
        blur = self.exponent_rounding(x, terms)
        convex = (point.slope * np.expm1(np.minimum(blur, _FAR))).sum(axis=0)
        by_exponents = np.minimum(convex, self.group_weight * blur.max(axis=0)).sum()
        by_sums = EPS * self.size.size * ROUNDINGS * value
        return float(by_exponents + by_sums)

    def bounds(self, x: Logits, point: Point) -> Bounds:
        """What X and its gradient prove about the optimum."""
        primal, rounding = self.upper(x, point)
        return Bounds(primal, self.dual_value(point.wrong), rounding)


def out_of_range(ridge: float) -> InputError:
    """What is said of a ridge whose quotients float64 does not hold."""
    return InputError("ridge", "must leave counts, weights, scales and shifts over it within float64", ridge)


@contextmanager
def within_float64(problem: Problem) -> Iterator[None]:
    """Overflow on the way is no matter (such steps are not taken); where nothing finite is left, refuse the problem.

    Raises:
        InputError: the computation broke down.
    """
    with np.errstate(all="ignore"):
        try:
            yield
        except InputError:
            raise
        except (ArithmeticError, ValueError) as error:  # LinAlgError is a ValueError
            raise out_of_range(problem.ridge) from error


def proven(problem: Problem, bounds: Bounds, collapsed: bool) -> Certificate:
    """The certificate of bounds in units of the ridge.

    Raises:
        InputError: the primal value is not finite.
    """
    with np.errstate(all="ignore"):
        primal, dual = bounds.primal * problem.ridge, bounds.dual * problem.ridge
    if not np.isfinite(primal):
        raise out_of_range(problem.ridge)
    return Certificate(primal, dual if np.isfinite(dual) else -np.inf, smallest_margin=None, collapsed=collapsed)


def rough_start(reduced: Reduced) -> Logits:
    """Logits of the limit's form, each column as long as its own optimality asks for."""
    # wrong classes get the share ridge / strength: sum_g exp(offset - length) = share / (1 - share)
    share = np.minimum(reduced.size * reduced.natural / reduced.group_weight, 0.999)
    length = np.logaddexp.reduce(reduced.offset, axis=0) + np.log1p(-share) - np.log(share)
    column = np.maximum(length, 0.3) * reduced.natural
    return Logits(column * reduced.live, np.diag(column) - np.outer(reduced.null, reduced.null * column))


def lifted(reduced: Reduced, x: Logits) -> Logits:
    """X with a Newton step's length where it is zero and the gradient says that it should not be.

    Factors that are zero have no slope, whatever the gradient by X: a descent in factors would stay there.
    """
    point = reduced.evaluate(x)
    left, sigma, right = svd(x.mean)
    dead = sigma <= EPS * sigma.size * sigma.max(initial=0.0)
    by_own, by_mean = reduced.hessian_diagonal_estimate(point)
    gradient = point.mean_gradient - np.outer(reduced.null, reduced.null @ point.mean_gradient)
    outer, tension, inner = svd(left[:, dead].T @ gradient @ right[dead].T)
    rows, columns = left[:, dead] @ outer, right[dead].T @ inner.T
    bend = ((rows**2).T @ by_mean * (columns**2).T).sum(axis=1)
    mean = x.mean - (rows * np.where(tension > 1, (tension - 1) / bend, 0.0)) @ columns.T
    pull = np.where(reduced.live & (x.own == 0), np.maximum(-point.own_gradient - 1, 0.0), 0.0)
    own = x.own + np.where(pull > 0, reduced.copies * pull / np.where(pull > 0, by_own, 1.0), 0.0)
    return Logits(own, mean)


def trimmed(x: Logits, point: Point) -> Logits:
    """X with exactly zero where the gradient proves it to be zero at the optimum."""
    left, sigma, right = spectrum = svd(x.mean)
    tension = -along_pairs(spectrum, point.mean_gradient)
    mean = (left * np.where(tension < 1 - _STRICT, 0.0, sigma)) @ right
    return Logits(np.where(-point.own_gradient < 1 - _STRICT, 0.0, x.own), mean)
