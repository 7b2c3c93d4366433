"""Trust-region Newton for the reduced problem on factors of the group-mean logits.

With mean = left right^T and own = root^2 / (2 (k_g - 1)) the nuclear norm becomes half a sum of squares: smooth also
where singular values vanish, and without spurious local minima at full width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from implicit_geometry._validate import Floats
from implicit_geometry.theory.reduced import Logits, Point, Reduced

_MAX_PRODUCTS = 1000
_NOISE = 1e-14  # relative rounding error of the objective


@dataclass(frozen=True)
class Iterate:
    """Where the descent stands.

    Attributes:
        logits: X.
        point: loss and gradient there.
        steepness: norm of the gradient by the factors over the norm of the factors.
    """

    logits: Logits
    point: Point
    steepness: float


def descend(reduced: Reduced, start: Logits) -> Iterator[Iterate]:
    """Iterates of falling objective, from the start on, without end."""
    problem = _Factored(reduced, reduced.size.size - 1)
    x = problem.factors(start)
    point = reduced.evaluate(problem.logits(x))
    value = float(point.losses.sum() + 0.5 * x @ x)
    radius = 0.3 * float(np.linalg.norm(x))
    while True:
        gradient, scale = problem.gradient(x, point), float(np.linalg.norm(x))
        steepness = float(np.linalg.norm(gradient)) / scale if scale else 0.0
        yield Iterate(problem.logits(x), point, steepness)
        step, promise = _truncated_cg(problem.hessian(x, point), gradient, radius, steepness)
        trial = x + step
        reached = reduced.evaluate(problem.logits(trial))
        now = float(reached.losses.sum() + 0.5 * trial @ trial)
        noise = _NOISE * abs(value)
        ratio = (value - now + noise) / (promise + noise) if noise else 0.0
        length = float(np.linalg.norm(step))
        if not ratio >= 0.25:
            radius = 0.25 * length
        elif ratio > 0.75 and length > 0.8 * radius:
            radius *= 2
        if ratio > 1e-4:
            x, point, value = trial, reached, now


@dataclass(frozen=True)
class _Factored:
    """The reduced problem in x = (root, left, right), flattened: loss + |x|^2 / 2."""

    reduced: Reduced
    rank: int

    def split(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        groups = self.reduced.size.size
        end = groups * (1 + self.rank)
        return x[:groups], x[groups:end].reshape(groups, self.rank), x[end:].reshape(groups, self.rank)

    def factors(self, logits: Logits) -> Floats:
        u, sigma, vt = np.linalg.svd(logits.mean)
        root = np.sqrt(sigma[: self.rank])
        left, right = u[:, : self.rank] * root, vt[: self.rank].T * root
        left -= np.outer(self.reduced.null, self.reduced.null @ left)
        return _join(np.sqrt(2 * self.reduced.copies * logits.own), left, right)

    def logits(self, x: Floats) -> Logits:
        root, left, right = self.split(x)
        return Logits(root * root / (2 * self.reduced.copies), left @ right.T)

    def gradient(self, x: Floats, point: Point) -> Floats:
        root, left, right = self.split(x)
        return x + _join(point.own_gradient * root, point.mean_gradient @ right, point.mean_gradient.T @ left)

    def hessian(self, x: Floats, point: Point) -> Callable[[Floats], Floats]:
        root, left, right = self.split(x)
        by_own, by_mean = point.own_gradient, point.mean_gradient

        def product(direction: Floats) -> Floats:
            d_root, d_left, d_right = self.split(direction)
            change = d_left @ right.T + left @ d_right.T
            own, mean = self.reduced.curvature(point, root * d_root / self.reduced.copies, change)
            return direction + _join(
                own * root + by_own * d_root, mean @ right + by_mean @ d_right, mean.T @ left + by_mean.T @ d_left
            )

        return product


def _join(root: Floats, left: Floats, right: Floats) -> Floats:
    return np.concatenate([root, left.ravel(), right.ravel()])


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
        bend = float(direction @ image)
        border = _to_border(step, direction, radius)
        length = min(squared / bend, border) if bend > 0 else border
        step = step + length * direction
        image_of_step = image_of_step + length * image
        if length == border:
            break
        residual = residual + length * image
        fresh = float(residual @ residual)
        direction = fresh / squared * direction - residual
        squared = fresh
    return step, -float(gradient @ step + 0.5 * step @ image_of_step)


def _to_border(step: Floats, direction: Floats, radius: float) -> float:
    a, b, c = float(direction @ direction), float(step @ direction), float(step @ step) - radius * radius
    return (-b + float(np.sqrt(max(b * b - a * c, 0.0)))) / a
