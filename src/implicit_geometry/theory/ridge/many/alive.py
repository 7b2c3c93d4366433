"""The objective as a function of the logits themselves, near an optimum, among logits of one rank.

The nuclear norm is smooth where the rank stays. Factors of X have directions that bend next to nothing (what is
symmetric beside the polar factor, and what turns the factors), along which their steps are soon too long. In X itself
these are the entries of wrong classes, whose curvature is known. Whether the rank is the right one is for the
certificate to say.

Source: Vandereycken (2013), Section 2.3, for the second-order terms of matrices of one rank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from implicit_geometry._validate import Floats
from implicit_geometry.theory.numerics.singular_values import Spectrum, along_pairs, operator_norm, svd
from implicit_geometry.theory.ridge.program import Logits, Point, Reduced

WEAKEST = 1e-9
"""Number over the average singular value that counts as alive."""

_CLEAR = 1e-3  # over the average one, below which the nuclear norm is not smooth enough
_FAINT = 1e-4  # which what should be alive has at least
_SLACK = 1e-2  # by which the gradient may exceed 1 there, not far from an optimum
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

    def dead_gradient(self, at: AliveIterate) -> Floats:
        """The loss gradient between the singular vectors that are dead."""
        left, right = at.spectrum.left[:, at.rank :], at.spectrum.right[at.rank :]
        return np.asarray(left.T @ self.projected(at.point.mean_gradient) @ right.T)

    def start(self, logits: Logits, bias: Floats | None = None) -> AliveIterate:
        """Logits and bias, without what the optimum is known not to have."""
        bias = np.zeros_like(logits.own) if bias is None else bias - self.reduced.null * (self.reduced.null @ bias)
        return self.iterate(Unknowns(np.where(self.reduced.live, logits.own, 0.0), self.projected(logits.mean), bias))

    def regular_start(self, first: AliveIterate) -> AliveIterate | None:
        """The same, with what is hardly alive either dead or clearly so; None where something dead has a slope."""
        if self.is_regular(first):
            return first
        left, sigma, right = first.spectrum
        pull = -first.point.own_gradient
        tension = -along_pairs(first.spectrum, first.point.mean_gradient)
        own, sigma = (
            _decided(values, slope, sigma.mean()) for values, slope in ((first.unknowns.own, pull), (sigma, tension))
        )
        clear = self.iterate(first.unknowns._replace(own=own, mean=(left * sigma) @ right))
        return next((at for at in (clear, first) if self.is_regular(at, _FAINT / 2, _SLACK)), None)

    def iterate(self, x: Unknowns, rank: int | None = None) -> AliveIterate:
        """What is alive of the unknowns, cut to a rank if there is one, with loss, gradient and spectrum."""
        left, sigma, right = svd(x.mean)
        least = WEAKEST * float(sigma.mean())
        rank = min(int((sigma > least).sum()), sigma.size - 1 if rank is None else rank)
        sigma = np.where(np.arange(sigma.size) < rank, sigma, 0.0)
        own = np.where(x.own > least, x.own, 0.0)
        cut = Unknowns(own, (left[:, :rank] * sigma[:rank]) @ right[:rank], x.bias)
        point = self.reduced.evaluate(self.with_bias(cut))
        return AliveIterate(cut, point, Spectrum(left, sigma, right), rank, own > 0)

    def is_regular(self, at: AliveIterate, clear: float = _CLEAR, slack: float = _NOISE) -> bool:
        """Whether what is alive is clearly so, and what is dead has no slope to come alive."""
        alive = np.append(at.unknowns.own[at.live], at.spectrum.sigma[: at.rank])
        if not alive.size:
            return False
        tension = operator_norm(self.dead_gradient(at))
        pull = -at.point.own_gradient[self.reduced.live & ~at.live].min(initial=0.0)
        return bool(alive.min() > clear * at.spectrum.sigma.mean() and max(tension, pull) <= 1 + slack)

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
        dead = self.dead_gradient(at)
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


def _decided(values: Floats, slope: Floats, usual: float) -> Floats:
    """Values that are hardly alive, made zero or a little larger as the loss's slope says."""
    alive = np.where(slope > 1, np.maximum(values, _FAINT * usual), 0.0)
    return np.where((values > _CLEAR * usual) | (values == 0), values, alive)
