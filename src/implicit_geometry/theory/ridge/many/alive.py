"""Newton's method in the logits themselves, near an optimum at which all of them are alive.

The nuclear norm is smooth where no singular value vanishes. Factors of X have directions that bend next to nothing
(what is symmetric beside the polar factor, and what turns the factors), along which their steps are soon too long. In X
itself these are the entries of wrong classes, whose curvature is known: conjugate gradients take a few products once
every pair of entries (g, h) and (h, g) is solved for by itself, the nuclear norm's curvature between them included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from implicit_geometry._validate import Floats
from implicit_geometry.theory.numerics.rounding import EPS
from implicit_geometry.theory.numerics.singular_values import Spectrum, svd
from implicit_geometry.theory.ridge.program import Logits, Point, Reduced

_STEPS = 20
_PRODUCTS = 80  # of the Hessian, for one step
_SHARE = 1e-3  # of the decrease so far that ends the conjugate gradients
_ROUNDING = 1e-14  # relative error of the objective
_SHORTEST = 1e-3  # step over Newton's
_BORDER = 0.9  # of the way to where a number vanishes
_WEAKEST = 1e-3  # singular value over the average one that counts as alive


class Unknowns(NamedTuple):
    """Logits, and the bias on normalised group means (zeros without one)."""

    own: Floats
    mean: Floats
    bias: Floats

    def moved(self, length: float, step: Unknowns) -> Unknowns:
        """These and a multiple of a step."""
        return Unknowns(*(part + length * change for part, change in zip(self, step, strict=True)))

    def times(self, other: Unknowns) -> float:
        """Inner product."""
        return float(sum((part * another).sum() for part, another in zip(self, other, strict=True)))


@dataclass(frozen=True)
class AliveIterate:
    """Where the descent stands.

    Attributes:
        unknowns: logits and bias.
        point: loss and gradient there.
        spectrum: singular values of ``mean``.
    """

    unknowns: Unknowns
    point: Point
    spectrum: Spectrum

    @property
    def logits(self) -> Logits:
        """X."""
        return Logits(self.unknowns.own, self.unknowns.mean)

    @property
    def bias(self) -> Floats:
        """On normalised group means."""
        return self.unknowns.bias


@dataclass(frozen=True)
class Alive:
    """The reduced problem in X, and in a bias if there is one.

    Attributes:
        reduced: the problem without a bias.
        bias_decay: ridge of the bias over that of the logits, 0 for a free one; None for a head without.
    """

    reduced: Reduced
    bias_decay: float | None = None

    @cached_property
    def root(self) -> Floats:
        """What a bias adds to the columns, shape (G,)."""
        return np.asarray(np.sqrt(self.reduced.size) * self.reduced.root_count)

    @cached_property
    def free_direction(self) -> Floats | None:
        """The unit vector that X takes to zero under a free bias."""
        return self.root / np.linalg.norm(self.root) if self.bias_decay == 0 else None

    def projected(self, matrix: Floats) -> Floats:
        """Without what the optimum is known not to have."""
        matrix = matrix - np.outer(self.reduced.null, self.reduced.null @ matrix)
        if self.free_direction is not None:
            matrix = matrix - np.outer(matrix @ self.free_direction, self.free_direction)
        return np.asarray(matrix)

    def unknowns(self, logits: Logits, bias: Floats | None = None) -> Unknowns:
        """Logits and bias without what the optimum is known not to have."""
        bias = np.zeros_like(logits.own) if bias is None else bias - self.reduced.null * (self.reduced.null @ bias)
        return Unknowns(np.where(self.reduced.live, logits.own, 0.0), self.projected(logits.mean), bias)

    def with_bias(self, x: Unknowns) -> Logits:
        """X and what the bias adds."""
        return Logits(x.own, x.mean if self.bias_decay is None else x.mean + np.outer(x.bias, self.root))

    def pulled(self, own: Floats, mean: Floats) -> Unknowns:
        """Derivatives by the unknowns from those by (one copy of own, all that is added to the logits)."""
        bias = np.zeros_like(own) if self.bias_decay is None else mean @ self.root
        return Unknowns(np.where(self.reduced.live, own * self.reduced.copies, 0.0), self.projected(mean), bias)

    def penalty(self, bias: Floats) -> Floats:
        """Gradient of the bias's penalty, and of its part that changes no loss."""
        return np.asarray((self.bias_decay or 0.0) * bias + self.reduced.null * (self.reduced.null @ bias))

    def value(self, at: AliveIterate) -> float:
        """The objective."""
        x = at.unknowns
        norm = float((self.reduced.size - 1) @ x.own + at.spectrum.sigma.sum())
        return float(at.point.losses.sum() + norm + 0.5 * x.bias @ self.penalty(x.bias))

    def iterate(self, x: Unknowns) -> AliveIterate:
        """Loss, gradient and spectrum at the unknowns."""
        return AliveIterate(x, self.reduced.evaluate(self.with_bias(x)), svd(x.mean))

    def is_alive(self, at: AliveIterate) -> bool:
        """Whether no number vanishes that is not known to be zero."""
        own = at.unknowns.own[self.reduced.live]
        sigma = at.spectrum.sigma[:-1]
        usual = float(sigma.mean())
        return bool(sigma.min() > _WEAKEST * usual and own.min(initial=usual) > _WEAKEST * usual)

    def gradient(self, at: AliveIterate) -> Unknowns:
        """Of the objective."""
        left, _, right = at.spectrum
        polar = left[:, :-1] @ right[:-1]
        slope = self.pulled(at.point.own_gradient + 1.0, at.point.mean_gradient)
        return Unknowns(slope.own, slope.mean + self.projected(polar), slope.bias + self.penalty(at.unknowns.bias))

    def hessian(self, at: AliveIterate) -> Callable[[Unknowns], Unknowns]:
        """Product of the objective's Hessian with a direction."""
        left, sigma, right = at.spectrum.left[:, :-1], at.spectrum.sigma[:-1], at.spectrum.right
        pairs = 1 / (sigma[:, None] + sigma)

        def product(step: Unknowns) -> Unknowns:
            curved = self.pulled(*self.reduced.curvature(at.point, *self.with_bias(step)))
            inner = left.T @ step.mean @ right.T
            inner[:, :-1] = (inner[:, :-1] - inner[:, :-1].T) * pairs
            inner[:, -1] /= sigma
            bent = self.projected(left @ inner @ right)
            return Unknowns(curved.own, curved.mean + bent, curved.bias + self.penalty(step.bias))

        return product

    def preconditioner(self, at: AliveIterate) -> Callable[[Unknowns], Unknowns]:
        """About the Hessian's inverse: pairs of entries, the columns' lengths and the bias each by themselves."""
        reduced, point = self.reduced, at.point
        spread = reduced.group_weight * point.wrong
        bend = reduced.logit_slope**2 * spread
        rest = 1 - point.wrong.sum(axis=0)
        lengths = reduced.logit_slope.diagonal() ** 2 * (spread.sum(axis=0) - spread.diagonal()) * rest
        own = np.where(reduced.live, (reduced.own_slope**2 * spread).sum(axis=0) * rest, 1.0)
        np.fill_diagonal(bend, 1.0)  # lengths are solved for instead
        left, sigma, right = at.spectrum
        size = 0.5 * (left**2 @ sigma + sigma @ right**2)  # diagonals of (X X^T)^(1/2) and (X^T X)^(1/2)
        between = 1 / (size[:, None] + size)
        determinant = bend * bend.T + between * (bend + bend.T)
        across, along = between / determinant, (bend.T + between) / determinant
        np.fill_diagonal(across, 0.0)
        np.fill_diagonal(along, 1 / lengths)
        by_rows = self.row_solver(at)

        def solve(slope: Unknowns) -> Unknowns:
            mean = along * slope.mean + across * slope.mean.T
            if self.bias_decay is None:
                mean += np.outer(by_rows(slope.mean @ right[0]), right[0])
            bias = slope.bias if self.bias_decay is None else by_rows(slope.bias)
            return Unknowns(slope.own / own, self.projected(mean), bias)

        return solve

    def row_solver(self, at: AliveIterate) -> Callable[[Floats], Floats]:
        """Inverse of the Hessian by what moves all columns together: the bias, else the largest singular value's rows.

        A shift makes the latter large: pairs of entries then overestimate how stiff its rows are.
        """
        left, sigma, right = at.spectrum
        null = np.outer(self.reduced.null, self.reduced.null)
        if self.bias_decay is not None:
            matrix = self.row_curvature(at.point, self.root) + np.diag(np.full(sigma.size, self.bias_decay))
        else:
            # (B_i0 - B_0i)^2 / (sigma_i + sigma_0) of the singular vectors i that have none of their own direction
            stiffness = 1 / (sigma[1:-1] + sigma[0])
            matrix = self.row_curvature(at.point, right[0]) + (left[:, 1:-1] * stiffness) @ left[:, 1:-1].T
        factor = cho_factor(matrix + matrix.trace() / sigma.size * (null + EPS * sigma.size * np.eye(sigma.size)))
        return lambda slope: np.asarray(cho_solve(factor, slope))

    def row_curvature(self, point: Point, column: Floats) -> Floats:
        """The loss's Hessian by b, where b column^T is added to the logits, shape (G, G)."""
        # sum_h weight[h] (sum_g p[g, h] y[g, h]^2 - (sum_g p[g, h] y[g, h])^2) of changes y of the exponents,
        # y[g, h] = slope[g, h] b[g] - own[h] b[h]
        weight, slope = self.reduced.group_weight, self.reduced.logit_slope * column
        own, moved = slope.diagonal(), slope * point.wrong
        total = point.wrong.sum(axis=0)
        crossed = moved * weight * own
        squares = np.diag((moved * weight * slope).sum(axis=1) + weight * total * own**2)
        mean = moved - np.diag(total * own)
        return np.asarray(squares - crossed - crossed.T - (mean * weight) @ mean.T)

    def longest(self, x: Unknowns, step: Unknowns) -> float:
        """The longest multiple of a step, at most 1, that leaves what is alive so."""
        falling = self.reduced.live & (step.own < 0)
        return float(min(1.0, _BORDER * (x.own[falling] / -step.own[falling]).min(initial=np.inf)))


def descend_alive(problem: Alive, start: AliveIterate) -> Iterator[AliveIterate]:
    """Iterates of falling objective, from a start on that is alive, until no step lowers it further."""
    at, value = start, problem.value(start)
    for _ in range(_STEPS):
        yield at
        step, promise = _newton_step(problem, at, value)
        length = problem.longest(at.unknowns, step)
        while True:
            trial = problem.iterate(at.unknowns.moved(length, step))
            reached = problem.value(trial)
            if reached <= value - 0.1 * length * promise + _ROUNDING * value:
                break
            length *= 0.5
            if length < _SHORTEST:
                return
        if reached >= value or not problem.is_alive(trial):
            return
        at, value = trial, reached


def _newton_step(problem: Alive, at: AliveIterate, value: float) -> tuple[Unknowns, float]:
    """Newton's step by conjugate gradients, and the decrease that it promises."""
    product, solve = problem.hessian(at), problem.preconditioner(at)
    gradient = problem.gradient(at)
    step = Unknowns(*(np.zeros_like(part) for part in gradient))
    residual = step.moved(-1.0, gradient)
    shifted = solve(residual)
    direction, squared, promise = shifted, residual.times(shifted), 0.0
    for _ in range(_PRODUCTS):
        image = product(direction)
        curvature = direction.times(image)
        if not curvature > 0:
            break
        length = squared / curvature
        step, residual = step.moved(length, direction), residual.moved(-length, image)
        promise += 0.5 * length * squared
        if 0.5 * length * squared <= max(_SHARE * promise, _ROUNDING * value):
            break
        shifted = solve(residual)
        fresh = residual.times(shifted)
        direction, squared = shifted.moved(fresh / squared, direction), fresh
    return step, promise
