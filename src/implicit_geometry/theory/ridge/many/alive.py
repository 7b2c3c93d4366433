"""Newton's method in the logits themselves, near an optimum, among logits of one rank.

The nuclear norm is smooth where the rank stays. Factors of X have directions that bend next to nothing (what is
symmetric beside the polar factor, and what turns the factors), along which their steps are soon too long. In X itself
these are the entries of wrong classes, whose curvature is known: conjugate gradients take a few products once every
pair of entries (g, h) and (h, g) is solved for by itself, the nuclear norm's curvature between them included. Whether
the rank is the right one is for the certificate to say.

Source: Vandereycken (2013), Section 2.3, for the second-order terms of matrices of one rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from implicit_geometry._validate import Floats
from implicit_geometry.theory.numerics.rounding import EPS
from implicit_geometry.theory.numerics.singular_values import Spectrum, operator_norm, svd
from implicit_geometry.theory.ridge.program import Logits, Point, Reduced

_STEPS = 20
_PRODUCTS = 80  # of the Hessian, for one step
_SHARE = 1e-3  # of the decrease so far that ends the conjugate gradients
_ROUNDING = 1e-14  # relative error of the objective
_SHORTEST = 1e-3  # step over Newton's
_BORDER = 0.9  # of the way to where a number vanishes
_WEAKEST = 1e-9  # number over the average singular value that counts as alive
_CLEAR = 1e-3  # over the average one, below which the nuclear norm is not smooth enough
_FAINT = 1e-4  # below which even what should be alive is not
_NOISE = 1e-6  # by which the gradient may exceed 1 in directions that are dead


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
        spectrum: singular values of ``mean``, zero where they are dead.
        rank: how many are alive.
        live: groups whose ``own`` is, shape (G,).
    """

    unknowns: Unknowns
    point: Point
    spectrum: Spectrum
    rank: int
    live: NDArray[np.bool_]

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

    def tangent(self, at: AliveIterate, matrix: Floats) -> Floats:
        """The part of a change of ``mean`` that keeps the rank in the first order."""
        matrix = self.projected(matrix)
        if at.rank == self.root.size - 1:
            return matrix
        left, right = at.spectrum.left[:, at.rank :], at.spectrum.right[at.rank :]
        return np.asarray(matrix - left @ (left.T @ matrix @ right.T) @ right)

    def start(self, logits: Logits, bias: Floats | None = None) -> AliveIterate:
        """Logits and bias, without what the optimum is known not to have."""
        bias = np.zeros_like(logits.own) if bias is None else bias - self.reduced.null * (self.reduced.null @ bias)
        return self.iterate(Unknowns(np.where(self.reduced.live, logits.own, 0.0), self.projected(logits.mean), bias))

    def regular_start(self, first: AliveIterate) -> AliveIterate | None:
        """The same, without what is hardly alive where that stays dead; None where something dead has a slope."""
        if self.is_regular(first):
            return first
        least = _CLEAR * first.spectrum.sigma.mean()
        own = np.where(first.unknowns.own > least, first.unknowns.own, 0.0)
        clear = self.iterate(first.unknowns._replace(own=own), int((first.spectrum.sigma > least).sum()))
        if self.is_regular(clear):
            return clear
        return first if self.is_regular(first, _FAINT) else None

    def iterate(self, x: Unknowns, rank: int | None = None) -> AliveIterate:
        """What is alive of the unknowns, cut to a rank if there is one, with loss, gradient and spectrum."""
        left, sigma, right = svd(x.mean)
        least = _WEAKEST * float(sigma.mean())
        rank = min(int((sigma > least).sum()), sigma.size - 1 if rank is None else rank)
        sigma = np.where(np.arange(sigma.size) < rank, sigma, 0.0)
        own = np.where(x.own > least, x.own, 0.0)
        cut = Unknowns(own, (left[:, :rank] * sigma[:rank]) @ right[:rank], x.bias)
        point = self.reduced.evaluate(self.with_bias(cut))
        return AliveIterate(cut, point, Spectrum(left, sigma, right), rank, own > 0)

    def is_regular(self, at: AliveIterate, clear: float = _CLEAR) -> bool:
        """Whether what is alive is clearly so, and what is dead has no slope to come alive."""
        alive = np.append(at.unknowns.own[at.live], at.spectrum.sigma[: at.rank])
        left, right = at.spectrum.left[:, at.rank :], at.spectrum.right[at.rank :]
        tension = operator_norm(left.T @ self.projected(at.point.mean_gradient) @ right.T)
        pull = -at.point.own_gradient[self.reduced.live & ~at.live].min(initial=0.0)
        return bool(alive.min() > clear * at.spectrum.sigma.mean() and max(tension, pull) <= 1 + _NOISE)

    def with_bias(self, x: Unknowns) -> Logits:
        """X and what the bias adds."""
        return Logits(x.own, x.mean if self.bias_decay is None else x.mean + np.outer(x.bias, self.root))

    def pulled(self, at: AliveIterate, own: Floats, mean: Floats, by_all: Floats) -> Unknowns:
        """Derivatives by the unknowns from those by (one copy of own, mean, all that is added to the logits)."""
        bias = np.zeros_like(own) if self.bias_decay is None else by_all @ self.root
        return Unknowns(np.where(at.live, own * self.reduced.copies, 0.0), self.tangent(at, mean), bias)

    def penalty(self, bias: Floats) -> Floats:
        """Gradient of the bias's penalty, and of its part that changes no loss."""
        return np.asarray((self.bias_decay or 0.0) * bias + self.reduced.null * (self.reduced.null @ bias))

    def value(self, at: AliveIterate) -> float:
        """The objective."""
        x = at.unknowns
        norm = float((self.reduced.size - 1) @ x.own + at.spectrum.sigma.sum())
        return float(at.point.losses.sum() + norm + 0.5 * x.bias @ self.penalty(x.bias))

    def gradient(self, at: AliveIterate) -> Unknowns:
        """Of the objective."""
        left, _, right = at.spectrum
        by_all = at.point.mean_gradient
        slope = self.pulled(at, at.point.own_gradient + 1.0, by_all + left[:, : at.rank] @ right[: at.rank], by_all)
        return slope._replace(bias=slope.bias + self.penalty(at.unknowns.bias))

    def hessian(self, at: AliveIterate) -> Callable[[Unknowns], Unknowns]:
        """Product of the objective's Hessian with a direction that keeps the rank."""
        rank, full = at.rank, at.rank == self.root.size - 1
        left, sigma, right = at.spectrum.left, at.spectrum.sigma[:rank], at.spectrum.right
        dead = left[:, rank:].T @ self.projected(at.point.mean_gradient) @ right[rank:].T
        if full:
            left = left[:, :rank]  # the rest is the null vector
        pairs = 1 / (sigma[:, None] + sigma)

        def product(step: Unknowns) -> Unknowns:
            own, by_all = self.reduced.curvature(at.point, *self.with_bias(step))
            inner = left.T @ step.mean @ right.T
            bent = np.zeros_like(inner)
            bent[:rank, :rank] = (inner[:rank, :rank] - inner[:rank, :rank].T) * pairs
            bent[:rank, rank:] = inner[:rank, rank:] / sigma[:, None]
            # X + D is of the rank with C sigma^-1 B added, where D has the blocks B and C beside the dead one
            if not full:
                bent[:rank, rank:] += inner[rank:, :rank].T @ dead / sigma[:, None]
                bent[rank:, :rank] = (inner[rank:, :rank] + dead @ inner[:rank, rank:].T) / sigma
            curved = self.pulled(at, own, by_all + left @ bent @ right, by_all)
            return curved._replace(bias=curved.bias + self.penalty(step.bias))

        return product

    def preconditioner(self, at: AliveIterate) -> Callable[[Unknowns], Unknowns]:
        """About the Hessian's inverse: pairs of entries, the columns' lengths and what moves all columns by itself."""
        reduced, point = self.reduced, at.point
        left, sigma, right = at.spectrum
        spread = reduced.group_weight * point.wrong
        bend = reduced.logit_slope**2 * spread
        rest = 1 - point.wrong.sum(axis=0)
        lengths = reduced.logit_slope.diagonal() ** 2 * (spread.sum(axis=0) - spread.diagonal()) * rest
        own = np.where(at.live, (reduced.own_slope**2 * spread).sum(axis=0) * rest, 1.0)
        np.fill_diagonal(bend, 1.0)  # lengths are solved for instead
        size = 0.5 * (left**2 @ sigma + sigma @ right**2)  # diagonals of (X X^T)^(1/2) and (X^T X)^(1/2)
        size = np.maximum(size, _WEAKEST * size.mean())
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
            return Unknowns(slope.own / own, self.tangent(at, mean), bias)

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
            others = left[:, 1 : at.rank]
            stiffness = (others / (sigma[1 : at.rank] + sigma[0])) @ others.T
            matrix = self.row_curvature(at.point, right[0]) + stiffness
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


def descend_alive(problem: Alive, start: AliveIterate) -> Iterator[AliveIterate]:
    """Iterates of falling objective, of the rank of the start or less, then of falling gradient."""
    at, value = start, problem.value(start)
    yield at
    for _ in range(_STEPS):
        step, promise = _newton_step(problem, at, _ROUNDING * value)
        if promise <= _ROUNDING * value:
            yield from flatter(problem, at)
            return
        length = _longest(at.unknowns.own, step.own)
        while True:
            trial = problem.iterate(at.unknowns.moved(length, step), at.rank)
            reached = problem.value(trial)
            if reached <= value - 0.1 * length * promise + _ROUNDING * value:
                break
            length *= 0.5
            if length < _SHORTEST:
                return
        if reached >= value:
            return
        at, value = trial, reached
        yield at


def flatter(problem: Alive, at: AliveIterate) -> Iterator[AliveIterate]:
    """Newton's steps as long as they flatten the objective: it tells optima apart to half of its digits only."""
    slope = problem.gradient(at)
    steepness = slope.times(slope)
    while True:
        at = problem.iterate(at.unknowns.moved(1.0, _newton_step(problem, at, 0.0)[0]), at.rank)
        slope = problem.gradient(at)
        if not slope.times(slope) < 0.25 * steepness:
            return
        yield at
        steepness = slope.times(slope)


def _newton_step(problem: Alive, at: AliveIterate, least: float) -> tuple[Unknowns, float]:
    """Newton's step by conjugate gradients until they lower the model by less, and the decrease that it promises."""
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
        if 0.5 * length * squared <= max(_SHARE * promise, least):
            break
        shifted = solve(residual)
        fresh = residual.times(shifted)
        direction, squared = shifted.moved(fresh / squared, direction), fresh
    return step, promise


def _longest(own: Floats, change: Floats) -> float:
    """The longest multiple of a step, at most 1, that leaves what is alive so."""
    falling = change < 0
    return float(min(1.0, _BORDER * (own[falling] / -change[falling]).min(initial=np.inf)))
