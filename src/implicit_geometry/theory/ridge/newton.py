"""Trust-region Newton for the reduced problem on factors of the group-mean logits.

With mean = left right^T and own = root^2 / (2 (k_g - 1)) the nuclear norm becomes half a sum of squares: smooth also
where singular values vanish, and without spurious local minima at full width. Counts and scales that are far apart bend
the objective very unevenly: steps are measured in the curvature of every factor alone, and factors are kept balanced.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from implicit_geometry._validate import Floats
from implicit_geometry.theory.numerics.singular_values import svd
from implicit_geometry.theory.ridge.program import Logits, Point, Reduced

_MAX_PRODUCTS = 1000
_ROUNDING = 1e-14  # relative error of the objective
_SHORTEST = 1e-16  # length of a step, over that of the factors, that ends the descent
_NEAR = 1e-3  # steepness below which factors stay balanced by themselves


class Smooth(Protocol):
    """An objective of factors x; ``point`` is what :meth:`evaluate` says of them."""

    def evaluate(self, x: Floats) -> Point:
        """Loss and gradient by X."""

    def value(self, x: Floats, point: Point) -> float:
        """The objective."""

    def gradient(self, x: Floats, point: Point) -> Floats:
        """Gradient by the factors."""

    def hessian(self, x: Floats, point: Point) -> Callable[[Floats], Floats]:
        """Product of the Hessian with a direction."""

    def hessian_diagonal_estimate(self, x: Floats, point: Point) -> Floats:
        """About the Hessian's diagonal, positive."""

    def balanced(self, x: Floats) -> Floats:
        """The shortest factors of the same X."""


@dataclass(frozen=True)
class Iterate:
    """Where the descent stands.

    Attributes:
        factors: x.
        point: loss and gradient there.
        steepness: norm of the gradient by the factors over the norm of the factors.
    """

    factors: Floats
    point: Point
    steepness: float


def descend(problem: Smooth, start: Floats, first: float = 0.3) -> Iterator[Iterate]:
    """Iterates of falling objective, from the start on; ends where no step lowers it further.

    Args:
        problem: the objective.
        start: factors.
        first: length of the first step, at most, over that of the factors.
    """
    x, point = start, problem.evaluate(start)
    diagonal = problem.hessian_diagonal_estimate(x, point)
    radius = first * _norm(x * np.sqrt(diagonal))
    while True:
        gradient, value = problem.gradient(x, point), problem.value(x, point)
        steepness = _norm(gradient) / _norm(x) if x.any() else 0.0
        yield Iterate(x, point, steepness)
        hessian, unit = problem.hessian(x, point), 1 / np.sqrt(diagonal)
        step, promise = _truncated_cg(_scaled(hessian, unit), unit * gradient, radius, steepness)
        trial, length = x + unit * step, _norm(step)
        reached = problem.evaluate(trial)
        noise = _ROUNDING * abs(value)
        ratio = (value - problem.value(trial, reached) + noise) / (promise + noise) if noise else 0.0
        if not length > _SHORTEST * _norm(x / unit):
            return
        if not ratio >= 0.25:
            radius = 0.25 * length
        elif ratio > 0.75 and length > 0.8 * radius:
            radius *= 2
        if ratio > 1e-4:
            x, point = problem.balanced(trial) if steepness > _NEAR else trial, reached
            diagonal = problem.hessian_diagonal_estimate(x, point)


@dataclass(frozen=True)
class Factored:
    """The reduced problem in x = (root, left, right), flattened: loss + |x|^2 / 2."""

    reduced: Reduced

    @property
    def rank(self) -> int:
        """Columns of left and of right."""
        return self.reduced.size.size - 1

    def split(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """Root, left and right."""
        groups, rank = self.reduced.size.size, self.rank
        end = groups * (1 + rank)
        return x[:groups], x[groups:end].reshape(groups, rank), x[end:].reshape(groups, rank)

    def factors(self, logits: Logits) -> Floats:
        """The shortest factors of X."""
        u, sigma, vt = svd(logits.mean)
        root = np.sqrt(sigma[: self.rank])
        left, right = u[:, : self.rank] * root, vt[: self.rank].T * root
        left -= np.outer(self.reduced.null, self.reduced.null @ left)
        return _join(np.sqrt(2 * self.reduced.copies * logits.own), left, right)

    def logits(self, x: Floats) -> Logits:
        """X."""
        root, left, right = self.split(x)
        return Logits(root * root / (2 * self.reduced.copies), left @ right.T)

    def change(self, x: Floats, direction: Floats) -> Logits:
        """Change of X along a direction of the factors."""
        (root, left, right), (d_root, d_left, d_right) = self.split(x), self.split(direction)
        return Logits(root * d_root / self.reduced.copies, d_left @ right.T + left @ d_right.T)

    def pull_back(self, x: Floats, own: Floats, mean: Floats) -> Floats:
        """Derivatives by the factors from derivatives by (one copy of own, mean)."""
        root, left, right = self.split(x)
        return _join(own * root, mean @ right, mean.T @ left)

    def evaluate(self, x: Floats) -> Point:
        """Loss and gradient by X."""
        return self.reduced.evaluate(self.logits(x))

    def value(self, x: Floats, point: Point) -> float:
        """The objective."""
        return float(point.losses.sum() + 0.5 * x @ x)

    def gradient(self, x: Floats, point: Point) -> Floats:
        """Gradient by the factors."""
        return x + self.pull_back(x, point.own_gradient, point.mean_gradient)

    def hessian(self, x: Floats, point: Point) -> Callable[[Floats], Floats]:
        """Product of the Hessian with a direction."""
        (root, left, right), copies = self.split(x), self.reduced.copies
        slope_own, slope_mean = point.own_gradient, point.mean_gradient

        def product(direction: Floats) -> Floats:
            d_root, d_left, d_right = self.split(direction)
            own, mean = self.reduced.curvature(point, root * d_root / copies, d_left @ right.T + left @ d_right.T)
            by_root = own * root + slope_own * d_root
            by_left, by_right = mean @ right + slope_mean @ d_right, mean.T @ left + slope_mean.T @ d_left
            return direction + _join(by_root, by_left, by_right)

        return product

    def hessian_diagonal_estimate(self, x: Floats, point: Point) -> Floats:
        """About the Hessian's diagonal, positive."""
        root, left, right = self.split(x)
        own, mean = self.reduced.hessian_diagonal_estimate(point)
        return 1 + _join(own * (root / self.reduced.copies) ** 2, mean @ right**2, mean.T @ left**2)

    def balanced(self, x: Floats) -> Floats:
        """The shortest factors of the same X."""
        return self.factors(self.logits(x))


def _join(root: Floats, left: Floats, right: Floats) -> Floats:
    return np.concatenate([root, left.ravel(), right.ravel()])


def _norm(x: Floats) -> float:
    return math.sqrt(x @ x)


def _scaled(product: Callable[[Floats], Floats], unit: Floats) -> Callable[[Floats], Floats]:
    return lambda direction: unit * product(unit * direction)


def _truncated_cg(
    product: Callable[[Floats], Floats], gradient: Floats, radius: float, steepness: float
) -> tuple[Floats, float]:
    """Steihaug's step within the radius, and the decrease that the quadratic model promises."""
    squared = float(gradient @ gradient)
    goal = squared * min(0.01, steepness)
    step, residual, direction, image_of_step = np.zeros_like(gradient), gradient, -gradient, np.zeros_like(gradient)
    for _ in range(_MAX_PRODUCTS):
        if squared <= goal:
            break
        image = product(direction)
        curvature = float(direction @ image)
        length = squared / curvature if curvature > 0 else math.inf
        inside = curvature > 0 and _norm(step + length * direction) < radius
        length = length if inside else _to_border(step, direction, radius)
        step = step + length * direction
        image_of_step = image_of_step + length * image
        if not inside:
            break
        residual = residual + length * image
        fresh = float(residual @ residual)
        direction = fresh / squared * direction - residual
        squared = fresh
    return step, -float(gradient @ step + 0.5 * step @ image_of_step)


def _to_border(step: Floats, direction: Floats, radius: float) -> float:
    a, b, c = float(direction @ direction), float(step @ direction), float(step @ step) - radius * radius
    return (-b + math.sqrt(max(b * b - a * c, 0.0))) / a
