"""What a bias does to the exponents of the reduced problem, and the flow between groups that it balances.

A bias b (on normalised group means) adds ``label[h] * (level[g] - level[h])`` to the exponents, with level = b / null.
The loss's derivative by the level of group g is what g receives from the samples of other groups, less what its own
samples give away: at a free bias's best every group receives what it sends. The best bias for given logits is a convex
problem of one number per group, solved to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from implicit_geometry._validate import Floats
from implicit_geometry.theory.ridge.program import Reduced

_STEPS = 100
_CLOSE = 0.1  # change of the exponents below which a full step converges quadratically
_DONE = 1e-9  # after which the next one is below rounding
_FEW_ROWS = 32  # whose elimination one by one costs little
_TINY = 1e-290  # below it numbers lose digits


@dataclass(frozen=True)
class Levels:
    """The levels of a bias.

    Attributes:
        label: change of the exponents of group h by a unit of level (its label scale), shape (G,).
        decay: coefficient of half the squared levels, zero for a free bias, shape (G,).
    """

    label: Floats
    decay: Floats

    @classmethod
    def of(cls, reduced: Reduced, bias_decay: float) -> Levels:
        """Levels of a bias with a ridge, ``bias_decay`` times that of the logits."""
        root_group_count = np.sqrt(reduced.size) * reduced.root_count
        return cls(reduced.logit_slope[0] * root_group_count * reduced.null[0], bias_decay * reduced.null**2)

    @classmethod
    def none(cls, reduced: Reduced) -> Levels:
        """Those of a head without a bias: they change nothing."""
        return cls(np.zeros_like(reduced.size), np.ones_like(reduced.size))

    def change(self, level: Floats) -> Floats:
        """What levels add to the exponents, shape (G, G)."""
        return np.asarray(self.label * (level[:, None] - level))

    def change_size(self, level: Floats) -> Floats:
        """The size of the terms of :meth:`change`, for their rounding, shape (G, G)."""
        return np.asarray(self.label * (np.abs(level)[:, None] + np.abs(level)))

    def flow(self, slope: Floats) -> Floats:
        """What group g receives from the samples of group h, zero on the diagonal, shape (G, G)."""
        flow = self.label * slope
        np.fill_diagonal(flow, 0.0)
        return np.asarray(flow)


def best_levels(reduced: Reduced, levels: Levels, exponent: Floats, start: Floats) -> Floats:
    """Newton's method with steps short enough to be sure.

    The third derivative of the loss along a direction that changes exponents by at most d is at most d times the
    second (generalised self-concordance): a step of log(1 + d) / d always lowers it.

    Args:
        reduced: the problem.
        levels: what its bias does.
        exponent: exponents at the logits without the bias, shape (G, G).
        start: levels to start from, shape (G,).

    Source: Bach (2010), Proposition 2.
    """
    unit = 1 / reduced.group_weight.max()
    group_weight, decay = unit * reduced.group_weight, unit * levels.decay
    level, smallest = start, np.inf
    for _ in range(_STEPS):
        point = reduced.point(exponent + levels.change(level))
        flow = levels.flow(group_weight * point.excess)
        slope = flow.sum(axis=1) - flow.sum(axis=0) + decay * level
        share = point.wrong + np.diag(point.right)
        # the Hessian by the levels: the Laplacian of the graph with these edges, plus decay
        edges = (levels.label**2 * group_weight * share) @ share.T
        np.fill_diagonal(edges, 0.0)
        step = -inverse_laplacian(edges, decay) @ slope
        length = float(levels.label.max() * (step.max() - step.min()))
        if length > _CLOSE:
            level = level + np.log1p(length) / length * step
            continue
        if length < 0.5 * smallest:
            level = level + step
        if length <= _DONE or length >= 0.5 * smallest:
            break
        smallest = length
    return np.asarray(level - reduced.null**2 @ level) if not levels.decay.any() else level


def inverse_laplacian(edges: Floats, ground: Floats) -> Floats:
    """Inverse of diag(edges @ 1 + ground) - edges, accurate entry by entry; without ground, of all rows but the last.

    Nothing is ever subtracted, neither row by row nor by halves of many rows, which come to products of matrices.

    Args:
        edges: symmetric, >= 0, zero on the diagonal, shape (G, G).
        ground: >= 0, shape (G,).
    """
    size = len(edges)
    return _by_rows(edges, ground) if size <= _FEW_ROWS else _by_halves(edges, ground, size // 2)


def _by_halves(edges: Floats, ground: Floats, half: int) -> Floats:
    across = edges[half:, :half]
    first = inverse_laplacian(edges[:half, :half], ground[:half] + across.sum(axis=0))
    through = across @ first
    onward = edges[half:, half:] + through @ across.T
    np.fill_diagonal(onward, 0.0)
    second = inverse_laplacian(onward, ground[half:] + through @ ground[:half])
    mixed = second @ through
    return np.block([[first + through.T @ mixed, mixed.T], [mixed, second]])


def _by_rows(edges: Floats, ground: Floats) -> Floats:
    size = len(edges)
    lower, strength = np.eye(size), np.zeros(size)
    edges, ground = edges.copy(), ground.copy()
    for index in range(size):
        rest = edges[index + 1 :, index].copy()
        pivot = rest.sum() + ground[index]
        if pivot > _TINY:
            strength[index] = 1 / pivot
            share = rest / pivot
            lower[index + 1 :, index] = -share
            edges[index + 1 :, index + 1 :] += np.outer(share, rest)
            ground[index + 1 :] += share * ground[index]
    left = solve_triangular(lower, np.eye(size), lower=True, unit_diagonal=True)
    return np.asarray((left.T * strength) @ left)
