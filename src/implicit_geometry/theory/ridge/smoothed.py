"""The optimum at a positive ridge with soft labels, with or without a bias.

Labels of full support keep every probability away from zero: Newton's method of hard labels has an easier task here.
What differs is the proof. Let X_t be logits of which the probabilities are the labels, and G a matrix of operator norm
at most 1 whose negative is a loss gradient, -G = A^T c for derivatives c by the exponents. By Fenchel's inequality no
logits X (with a bias b on normalised group means, of ridge beta) have an objective below

    <G, X_t> - sum_h group_weight_h KL(q_h + c_h / group_weight_h | q_h) - |G root_group_count|^2 / (2 beta),

and a free bias (beta = 0) asks for G root_group_count = 0. The polar factor of X is such a G to rounding, and much
nearer to the optimal one than the gradient at X, from which the labels have been subtracted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from implicit_geometry._validate import Floats
from implicit_geometry.theory.numerics.rounding import EPS, ROUNDINGS
from implicit_geometry.theory.numerics.singular_values import Spectrum, along_pairs, operator_norm, svd
from implicit_geometry.theory.ridge.bias.program import Biased
from implicit_geometry.theory.ridge.many.enclosed import Dual
from implicit_geometry.theory.ridge.many.polar import slope_of_gradient
from implicit_geometry.theory.ridge.newton import Factored
from implicit_geometry.theory.ridge.optimum import GOAL, closest
from implicit_geometry.theory.ridge.program import Bounds, Logits, Point, Reduced, trimmed
from implicit_geometry.theory.ridge.smoothed_program import SmoothedReduced

_TAUT = 1 - 1e-3  # singular value of the gradient from which on the logits there count as alive
_INSIDE = 1 - 1e-12  # share of the way to a probability of zero that a dual point may go
_SHORTEST = 0.3  # log-odds of the start, at least


@dataclass(frozen=True)
class Found:
    """Logits, the bias on normalised group means (zeros without one), and what they prove."""

    logits: Logits
    bias: Floats
    bounds: Bounds


def smoothed_optimum(reduced: SmoothedReduced, bias_decay: float | None, warm: Logits | None = None) -> Found:
    """The certified optimum.

    Args:
        reduced: the problem.
        bias_decay: ridge of the bias over that of the logits; None for a head without bias.
        warm: logits to start from, those of the limit's form otherwise.
    """
    program = Smoothed.of(reduced, bias_decay)
    zero = program.settled(Logits(np.zeros_like(reduced.size), np.zeros_like(reduced.logit_slope)))
    at_zero = program.at(*zero)
    if reduced.gradient_norm(at_zero.slope) <= 1:
        return Found(*zero, program.bounds(*zero))
    best = program.newton(program.start() if warm is None else warm)
    if warm is not None and best.bounds.gap > GOAL:
        best = min(best, program.newton(program.start()), key=lambda found: found.bounds.gap)
    candidate = program.settled(trimmed(best.logits, program.at(best.logits, best.bias)), best.bias)
    renewed = program.bounds(*candidate)
    return Found(*candidate, renewed) if renewed.gap <= max(best.bounds.gap, GOAL) else best


def smoothed_point(reduced: SmoothedReduced, bias_decay: float | None) -> Point:
    """Divergence and gradient at the optimum; arguments as for :func:`smoothed_optimum`."""
    found = smoothed_optimum(reduced, bias_decay)
    return Smoothed.of(reduced, bias_decay).at(found.logits, found.bias)


@dataclass(frozen=True)
class Smoothed:
    """The problem in the unknowns of Newton's method, and its bounds."""

    reduced: SmoothedReduced
    biased: Biased | None

    @classmethod
    def of(cls, reduced: SmoothedReduced, bias_decay: float | None) -> Smoothed:
        """The problem of a head with a bias, or of one without; arguments as for :func:`smoothed_optimum`."""
        return cls(reduced, None if bias_decay is None else Biased.of(reduced, bias_decay))

    @property
    def no_bias(self) -> Floats:
        """Zeros, shape (G,)."""
        return np.zeros_like(self.reduced.size)

    def under(self, bias: Floats) -> Reduced:
        """The problem of the logits alone, under a bias."""
        return self.reduced if self.biased is None else self.biased.under(bias)

    def at(self, logits: Logits, bias: Floats) -> Point:
        """Divergence and gradient at X with a bias."""
        return self.reduced.evaluate(logits) if self.biased is None else self.biased.at(logits, bias)

    def settled(self, logits: Logits, bias: Floats | None = None) -> tuple[Logits, Floats]:
        """Logits with the bias that is best for them, which takes over what a free one can."""
        if self.biased is None:
            return logits, self.no_bias
        bias = self.no_bias if bias is None else bias
        if self.biased.bias_decay == 0:
            root = self.biased.root_group_count
            along = logits.mean @ root / (root @ root)
            logits, bias = Logits(logits.own, logits.mean - np.outer(along, root)), bias + along
        return self.biased.settled(logits, bias)

    def start(self) -> Logits:
        """Logits of the limit's form, each column as much shorter as the ridge asks for."""
        reduced = self.reduced
        labels = reduced.labels.sum(axis=0)
        share = np.minimum(labels + reduced.size * reduced.natural / reduced.group_weight, 0.999)
        shorter = np.log(share / (1 - share)) - np.log(labels / (1 - labels))
        whole = reduced.target_logits.own
        column = np.maximum(whole - shorter * reduced.natural, _SHORTEST * reduced.natural)
        mean = reduced.target_logits.mean + np.diag(column - whole)
        return Logits(column * reduced.live, mean - np.outer(reduced.null, reduced.null @ mean))

    def newton(self, start: Logits) -> Found:
        """Newton's method from given logits."""
        if self.biased is None:
            factored = Factored(self.reduced)
            x, bounds = closest(factored, factored.factors(start), lambda x, _: self.bounds(factored.logits(x)))
            return Found(factored.logits(x), self.no_bias, bounds)
        biased = self.biased
        logits, bias = self.settled(start)
        first = np.concatenate([biased.factored.factors(logits), bias])
        x, bounds = closest(biased, first, lambda x, _: self.bounds(*self.settled(*biased.expand(x))))
        return Found(*self.settled(*biased.expand(x)), bounds)

    def bounds(self, logits: Logits, bias: Floats | None = None) -> Bounds:
        """Values that enclose the optimum, rounding counted in."""
        bias = self.no_bias if bias is None else bias
        point = self.at(logits, bias)
        primal, rounding = self.upper(logits, bias, point)
        return Bounds(primal, max(self.dual(logits, bias, point).value, 0.0), rounding)

    def upper(self, logits: Logits, bias: Floats, point: Point) -> tuple[float, float]:
        """The objective with its rounding, and the rounding."""
        return self.reduced.upper(logits, point) if self.biased is None else self.biased.upper(logits, bias, point)

    def dual(self, logits: Logits, bias: Floats, point: Point, spectrum: Spectrum | None = None) -> Dual:
        """The dual point that the polar factor of logits near the optimum makes."""
        return self.dual_of(*self.polar(logits, point, svd(logits.mean) if spectrum is None else spectrum), bias)

    def dual_of(self, own: Floats, mean: Floats, bias: Floats) -> Dual:
        """A lower bound of the optimum, less rounding, from about minus its loss gradient, the bias known about.

        Args:
            own: on the classes of a group, of size at most 1, shape (G,).
            mean: on group means, shape (G, G).
            bias: shape (G,).
        """
        reduced, groups = self.reduced, self.reduced.size.size
        slope, own, mean = self.feasible(own, mean)
        change = slope / reduced.group_weight  # of the probabilities of wrong classes, from the labels
        right = -change.sum(axis=0)
        relative = change / np.where(reduced.labels > 0, reduced.labels, 1.0)
        room = min(float(relative.min()), float((right / reduced.hard_share).min()))
        scale = min(1.0, _INSIDE / max(-room, EPS))
        target = reduced.target_logits
        aligned = float((reduced.size - 1) @ (own * target.own) + (mean * target.mean).sum())
        size = float((reduced.size - 1) @ np.abs(own * target.own) + np.abs(mean * target.mean).sum())
        cost, cost_size = _divergence(reduced.labels, scale * change)
        own_cost, own_size = _divergence(reduced.hard_share, scale * right)
        spent = reduced.group_weight @ (cost.sum(axis=0) + own_cost)
        spent_size = reduced.group_weight @ (cost_size.sum(axis=0) + own_size)
        rounding = ROUNDINGS * EPS * groups * (scale * size + float(spent_size))
        value = scale * aligned - float(spent) - self.bias_cost(scale * mean, bias) - rounding
        return Dual(value, reduced.labels + scale * change)

    def polar(self, logits: Logits, point: Point, spectrum: Spectrum) -> tuple[Floats, Floats]:
        """The polar factor where logits are alive, minus the gradient within norm 1 where they are not."""
        left, sigma, right = spectrum
        tension = -along_pairs(spectrum, point.mean_gradient)
        alive = (sigma > EPS * sigma.max(initial=0.0) * sigma.size) & (tension > _TAUT)
        mean = left[:, alive] @ right[alive]
        rest = -left[:, ~alive].T @ point.mean_gradient @ right[~alive].T
        if rest.size:
            u, size, v = svd(rest)
            mean = mean + left[:, ~alive] @ (u * np.minimum(size, 1.0)) @ v @ right[~alive]
        return np.where(logits.own > 0, 1.0, np.clip(-point.own_gradient, -1.0, 1.0)), mean

    def feasible(self, own: Floats, mean: Floats) -> tuple[Floats, Floats, Floats]:
        """Derivatives by the exponents, and G on the classes of a group and on group means, of norm at most 1."""
        reduced = self.reduced
        mean = mean - np.outer(reduced.null, reduced.null @ mean)
        if self.biased is not None and self.biased.bias_decay == 0:
            root = self.biased.root_group_count
            mean = mean - np.outer(mean @ root, root) / (root @ root)
        # the diagonal is what null^T G = 0 makes of the rest
        off = mean - np.diag(mean.diagonal())
        mean = off - np.diag(reduced.null @ off / reduced.null)
        blur = 4 * own.size * EPS * float((reduced.null @ np.abs(off) / reduced.null).max())
        shrink = 1 / max(1.0, operator_norm(mean) * (1 + 4 * own.size * EPS) + blur)
        mean, own = mean * shrink, own * shrink
        return slope_of_gradient(reduced, -own, -mean), own, mean

    def bias_cost(self, mean: Floats, bias: Floats) -> float:
        """What the dual pays for a bias, at most."""
        if self.biased is None:
            return 0.0
        root = self.biased.root_group_count
        net = mean @ root
        if self.biased.bias_decay == 0:  # zero but for rounding
            return 2 * float(np.abs(net) @ (np.abs(bias) + np.abs(bias).max()))
        blur = 4 * root.size * EPS * (np.abs(mean) @ root)
        return float(((np.abs(net) + blur) ** 2).sum() / (2 * self.biased.bias_decay))


def _divergence(labels: Floats, change: Floats) -> tuple[Floats, Floats]:
    """(q + c) log((q + c) / q) - c, and the size of its terms; zero where there is no label."""
    safe = np.where(labels > 0, labels, 1.0)
    ratio = np.where(labels > 0, change / safe, 0.0)
    log = np.log1p(ratio)
    return labels * ((1 + ratio) * log - ratio), labels * (np.abs((1 + ratio) * log) + np.abs(ratio))
