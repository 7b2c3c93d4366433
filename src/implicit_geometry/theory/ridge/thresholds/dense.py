"""The Hessian by factors as one matrix: with a handful of groups its products cost a call each, not a dozen.

The exponents of a group's samples depend on the logits of its own column alone, so that the loss's Hessian by the
logits has a block for each column, and none beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from implicit_geometry._validate import Floats
from implicit_geometry.theory.ridge.bias.program import Biased
from implicit_geometry.theory.ridge.newton import Factored
from implicit_geometry.theory.ridge.program import Point, Reduced


@dataclass(frozen=True)
class DenseFactored(Factored):
    """The problem without a bias."""

    def hessian(self, x: Floats, point: Point) -> Callable[[Floats], Floats]:
        """Product of the Hessian with a direction."""
        return hessian_matrix(self, x, point, np.zeros((self.reduced.size.size, 0))).__matmul__


@dataclass(frozen=True)
class DenseBiased(Biased):
    """The problem with a bias."""

    def hessian(self, x: Floats, point: Point) -> Callable[[Floats], Floats]:
        """Product of the Hessian with a direction."""
        factors, bias = self.split(x)
        matrix = hessian_matrix(self.factored, factors, point, self.root_group_count[:, None])
        matrix[-bias.size :, -bias.size :] += self.bias_decay * np.eye(bias.size)
        matrix[-bias.size :, -bias.size :] += np.outer(self.reduced.null, self.reduced.null)
        return matrix.__matmul__


def hessian_matrix(factored: Factored, x: Floats, point: Point, added: Floats) -> Floats:
    """The Hessian by the factors, and by numbers whose product with ``added``, transposed, is added to the logits.

    Args:
        factored: the problem.
        x: factors.
        point: loss and gradient there.
        added: shape (G, m); the added numbers, of shape (G, m), come last.
    """
    root, left, right = factored.split(x)
    groups, rank = left.shape
    rows = np.hstack([right, added])  # what a unit of each left factor, or added number, adds to the columns
    width = rows.shape[1]
    by_column = column_curvature(factored.reduced, point)
    own, mixed, mean = by_column[:, 0, 0], by_column[:, 0, 1:], by_column[:, 1:, 1:]
    length = root / factored.reduced.copies
    turned = mean @ left  # shape (G, G, rank)
    each = np.arange(groups)

    straight = np.zeros((groups, width, groups, rank))
    straight[:, np.arange(rank), :, np.arange(rank)] = point.mean_gradient
    by_root = np.zeros((groups, groups, rank))
    by_root[each, each] = length[:, None] * (mixed @ left)
    by_right = np.zeros((groups, rank, groups, rank))
    by_right[each, :, each, :] = left.T @ turned
    pairs = (rows[:, :, None] * rows[:, None, :]).reshape(groups, -1)
    by_left = (mean.reshape(groups, -1).T @ pairs).reshape(groups, groups, width, width).transpose(0, 2, 1, 3)
    left_right = rows.T[None, :, :, None] * turned.transpose(1, 0, 2)[:, None] + straight
    root_left = (length[:, None] * mixed)[:, :, None] * rows[:, None, :]

    end, sizes = groups * rank, (groups, groups * rank, groups * rank, groups * (width - rank))
    edge = np.cumsum([0, *sizes])
    matrix = np.zeros((edge[-1], edge[-1]))
    parts = {
        (0, 0): np.diag(own * length**2 + point.own_gradient),
        (0, 1): root_left[:, :, :rank],
        (0, 2): by_root,
        (0, 3): root_left[:, :, rank:],
        (1, 1): by_left[:, :rank, :, :rank],
        (1, 2): left_right[:, :rank],
        (1, 3): by_left[:, :rank, :, rank:],
        (2, 2): by_right,
        (2, 3): left_right[:, rank:].transpose(2, 3, 0, 1),
        (3, 3): by_left[:, rank:, :, rank:],
    }
    for (one, other), part in parts.items():
        block = part.reshape(sizes[one], sizes[other])
        matrix[edge[one] : edge[one + 1], edge[other] : edge[other + 1]] = block
        matrix[edge[other] : edge[other + 1], edge[one] : edge[one + 1]] = block.T
    matrix[np.arange(groups + 2 * end), np.arange(groups + 2 * end)] += 1.0
    return matrix


def column_curvature(reduced: Reduced, point: Point) -> Floats:
    """The loss's Hessian by all copies of ``own`` and the means of each column, shape (G, 1 + G, 1 + G)."""
    groups = reduced.size.size
    slope, each = reduced.logit_slope.T, np.arange(groups)
    change = np.zeros((groups, groups, 1 + groups))  # of the exponents: label, wrong class, unknown
    change[:, :, 0] = -reduced.own_slope.T
    change[:, each, 1 + each] = slope
    change[each, :, 1 + each] -= slope.diagonal()[:, None]
    wrong = point.wrong.T
    average = np.einsum("hg,hgu->hu", wrong, change)
    spread = (change * point.slope.T[:, :, None]).transpose(0, 2, 1) @ change
    return np.asarray(spread - reduced.group_weight[:, None, None] * average[:, :, None] * average[:, None, :])
