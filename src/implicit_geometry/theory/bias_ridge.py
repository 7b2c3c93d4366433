"""The regularised problem of a head with a bias, free or with a ridge of its own.

A bias b adds the rank-one matrix b sqrt(n)^T to the logits X (columns scaled by sqrt(n)), outside the nuclear norm:

    min over X, b of losses(X + b sqrt(n)^T) + ridge |X|_* + bias_ridge / 2 |b|^2.

A free bias takes over whatever X has along sqrt(n), so that sum_c n_c h_c = 0 at any ridge; and any ``shift`` with
constant ``label_scale`` is absorbed by it. All quantities live on groups of equal classes, divided by the ridge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator, cg

from implicit_geometry._validate import Floats, InputError
from implicit_geometry.certificate import Certificate
from implicit_geometry.problem import Problem, Solution
from implicit_geometry.solvers.nuclear import balancing_factors
from implicit_geometry.theory.grouped import grouped_geometry
from implicit_geometry.theory.reduced import Bounds, Logits, Point, Reduced, gather, reduce_problem, rough_start

_GOAL = 1e-9  # relative gap that ends the search
_CLOSED = 1e-12  # relative gap at which Newton's method stops
_STARTS = 3
_MAX_STEPS = 3000
_ROUGH = 1e-7  # steepness at which the trust region is left
_POLISH_STEPS = 8
_STRICT = 1e-6  # distance to 1 of a singular value of the gradient that proves the logits zero there


class _Optimum(NamedTuple):
    """X, the bias on normalised group means, and what they prove."""

    logits: Logits
    bias: Floats
    bounds: Bounds


def bias_ridge_solution(problem: Problem) -> Solution:
    """Solve the regularised problem of a head with a bias.

    Args:
        problem: with ridge > 0 and bias=True.

    Returns:
        The geometry in absolute scale, the bias, and a certificate whose primal and dual values are those of the
        sum-form objective.

    Raises:
        InputError: the ridge is not positive, or the head has no bias.

    Example:
        >>> solution = bias_ridge_solution(Problem([50, 50, 5, 5], ridge=0.1, bias=True))
        >>> solution.bias.round(3), solution.certificate.relative_gap < 1e-9
        (array([ 1.694,  1.694, -1.694, -1.694]), True)
    """
    if problem.ridge <= 0 or not problem.bias:
        raise InputError(f"problem must have ridge > 0 and bias=True, got {problem.ridge:g} and {problem.bias}")
    groups = gather(problem)
    biased = _Biased.of(reduce_problem(problem, groups), problem.bias_ridge / problem.ridge)
    own_mean, bias, bounds = biased.solve()
    reduced = biased.reduced
    certificate = Certificate(
        primal=bounds.primal * problem.ridge,
        dual=bounds.dual * problem.ridge,
        smallest_margin=None,
        collapsed=not (own_mean.own.any() or own_mean.mean.any()),
    )
    geometry = grouped_geometry(groups, reduced.root_count, *own_mean)
    return Solution(problem, geometry, certificate, (bias / np.sqrt(reduced.size))[groups.group])


@dataclass(frozen=True)
class _Biased:
    """The reduced problem with a bias, in x = (root, left, right, bias / unit).

    With mean = left right^T and own = root^2 / (2 (k_g - 1)) the nuclear norm is half a sum of squares.
    """

    reduced: Reduced
    price: float  # bias_ridge / ridge
    spread: Floats  # sqrt(k_g n_g)     (G,)
    unit: Floats  # sizes of a step of the bias that bend the objective alike     (G,)

    @classmethod
    def of(cls, reduced: Reduced, price: float) -> _Biased:
        spread = np.sqrt(reduced.size) * reduced.root_count
        unit = 1 / (np.sqrt(reduced.natural) * reduced.reach.diagonal() * spread)
        return cls(reduced, price, spread, unit)

    @property
    def rank(self) -> int:
        return self.spread.size - 1

    def split(self, x: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        groups, end = self.spread.size, self.spread.size * (1 + self.rank)
        left, right = x[groups:end], x[end:-groups]
        return x[:groups], left.reshape(groups, self.rank), right.reshape(groups, self.rank), x[-groups:]

    def expand(self, x: Floats) -> tuple[Logits, Floats]:
        """X and the bias."""
        root, left, right, bias = self.split(x)
        return Logits(root * root / (2 * self.reduced.copies), left @ right.T), bias * self.unit

    def factors(self, logits: Logits, bias: Floats) -> Floats:
        """Balanced factors: the inverse of :meth:`expand`."""
        left, sigma, right = np.linalg.svd(logits.mean)
        root = np.sqrt(sigma[: self.rank])
        halves = left[:, : self.rank] * root, right[: self.rank].T * root
        return _join(np.sqrt(2 * self.reduced.copies * logits.own), *halves, bias / self.unit)

    def evaluate(self, logits: Logits, bias: Floats) -> Point:
        """Loss and gradient at X with a bias."""
        return self.reduced.evaluate(Logits(logits.own, logits.mean + np.outer(bias, self.spread)))

    def value_and_gradient(self, x: Floats) -> tuple[float, Floats]:
        root, left, right, _ = self.split(x)
        logits, bias = self.expand(x)
        point = self.evaluate(logits, bias)
        by_mean = point.mean_gradient
        penalty = x.copy()
        penalty[-bias.size :] = self.price * bias * self.unit
        by_loss = _join(point.own_gradient * root, by_mean @ right, by_mean.T @ left, by_mean @ self.spread * self.unit)
        squares = float(x[: -bias.size] @ x[: -bias.size] + self.price * bias @ bias)
        return float(point.losses.sum()) + 0.5 * squares, by_loss + penalty

    def curvature(self, x: Floats, direction: Floats) -> Floats:
        """Hessian at x times a direction."""
        root, left, right, _ = self.split(x)
        d_root, d_left, d_right, d_bias = self.split(direction)
        point = self.evaluate(*self.expand(x))
        change = d_left @ right.T + left @ d_right.T + np.outer(d_bias * self.unit, self.spread)
        own, mean = self.reduced.curvature(point, root * d_root / self.reduced.copies, change)
        by_mean = point.mean_gradient
        penalty = direction.copy()
        penalty[-d_bias.size :] = self.price * d_bias * self.unit**2
        return penalty + _join(
            own * root + point.own_gradient * d_root,
            mean @ right + by_mean @ d_right,
            mean.T @ left + by_mean.T @ d_left,
            mean @ self.spread * self.unit,
        )

    def bounds(self, logits: Logits, bias: Floats) -> Bounds:
        """Values that enclose the optimum."""
        point = self.evaluate(logits, bias)
        primal = self.reduced.objective(logits, point) + 0.5 * self.price * float(bias @ bias)
        return Bounds(primal, self.dual_value(point.wrong))

    def dual_value(self, wrong: Floats) -> float:
        """Lower bound by probabilities of wrong classes: balanced if the bias is free, scaled into the unit ball."""
        reduced = self.reduced
        if self.price == 0:
            flow = reduced.null[:, None] * reduced.reach * self.spread * reduced.price * wrong
            wrong = wrong * balancing_factors(flow)
            if wrong.min() < 0:
                return -np.inf
        own, mean = reduced.pull_back(reduced.price * wrong)
        total = float(wrong.sum(axis=0).max()) * (1 + self.spread.size * np.finfo(np.float64).eps)
        excess = max(1.0, total, float(np.linalg.norm(mean, 2)), -np.where(reduced.size > 1, own, 0.0).min())
        pull = mean @ self.spread / excess
        penalty = float(pull @ pull) / (2 * self.price) if self.price > 0 else 0.0
        return reduced.dual_value(wrong / excess) - penalty

    def start(self) -> tuple[Logits, Floats]:
        """The start of the problem without bias, parted into what is orthogonal to sqrt(n) and what a bias can do."""
        own, total = rough_start(self.reduced)
        bias = total @ self.spread / (self.spread @ self.spread)
        return Logits(own, total - np.outer(bias, self.spread)), bias

    def solve(self) -> _Optimum:
        """Trust-region Newton from the limit's form and, where that does not close the gap, from points beside it."""
        x = self.factors(*self.start())
        noise = np.random.default_rng(0).standard_normal((_STARTS, x.size)) * np.abs(x).max()
        optima = []
        for attempt in range(_STARTS):
            optima.append(self._newton(x + 0.01 * attempt * noise[attempt]))
            if optima[-1].bounds.gap <= _GOAL:
                break
        return self._trimmed(min(optima, key=lambda optimum: optimum.bounds.gap))

    def _newton(self, x: Floats) -> _Optimum:
        scale = float(np.linalg.norm(x)) or 1.0
        radii = {"initial_trust_radius": 0.3 * scale, "max_trust_radius": 1e3 * scale}
        x = minimize(
            self.value_and_gradient,
            x,
            jac=True,
            hessp=self.curvature,
            method="trust-ncg",
            options={"gtol": _ROUGH * scale, "maxiter": _MAX_STEPS, **radii},
        ).x
        best = self._optimum(x)
        for _ in range(_POLISH_STEPS):
            if best.bounds.gap <= _CLOSED:
                break
            hessian = LinearOperator((x.size, x.size), matvec=lambda d, x=x: self.curvature(x, d), dtype=np.float64)
            x = x + cg(hessian, -self.value_and_gradient(x)[1], rtol=1e-4, maxiter=1000)[0]
            now = self._optimum(x)
            if not now.bounds.gap < best.bounds.gap:
                break
            best = now
        return best

    def _optimum(self, x: Floats) -> _Optimum:
        logits, bias = self.expand(x)
        bias = bias - self.reduced.null * (self.reduced.null @ bias)  # changes no loss
        return _Optimum(logits, bias, self.bounds(logits, bias))

    def _trimmed(self, optimum: _Optimum) -> _Optimum:
        """Set to exactly zero what the gradient proves to be zero."""
        logits, bias, bounds = optimum
        point = self.evaluate(logits, bias)
        left, sigma, right = np.linalg.svd(logits.mean)
        tension = -np.einsum("gi,gh,ih->i", left, point.mean_gradient, right)
        mean = (left * np.where(tension < 1 - _STRICT, 0.0, sigma)) @ right
        trimmed = Logits(np.where(-point.own_gradient < 1 - _STRICT, 0.0, logits.own), mean)
        renewed = self.bounds(trimmed, bias)
        return _Optimum(trimmed, bias, renewed) if renewed.gap <= max(bounds.gap, _GOAL) else optimum


def _join(root: Floats, left: Floats, right: Floats, bias: Floats) -> Floats:
    return np.concatenate([root, left.ravel(), right.ravel(), bias])
