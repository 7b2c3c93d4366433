"""About the inverse of the objective's Hessian in the logits, where what is alive of them stays so.

Every pair of entries (g, h) and (h, g) is solved for by itself, the nuclear norm's curvature between them included, and
so is what makes a column longer: its diagonal entry with ``own``. That misses what moves all columns together. A bias
does, and so do two directions of the logits: that of the largest singular value, which a shift makes much larger than
the others, and that of the class counts' roots where X is dead, since the nuclear norm is stiffest there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from implicit_geometry._validate import Floats
from implicit_geometry.theory.numerics.rounding import EPS
from implicit_geometry.theory.ridge.many.alive import WEAKEST, Alive, AliveIterate, Unknowns
from implicit_geometry.theory.ridge.program import Point

_Solver = Callable[[Floats], Floats]


def preconditioner(problem: Alive, at: AliveIterate) -> Callable[[Unknowns], Unknowns]:
    """About the Hessian's inverse, as a symmetric operator on directions that keep the rank."""
    stiff, large = _dead_root(problem, at), at.spectrum.right[0]
    by_pairs, by_lengths = _pairs(problem, at, stiff), _lengths(problem, at)
    along_stiff, along_large = (_rows(problem, at, column) for column in (stiff, large))
    along_bias = None if problem.bias_decay is None else _bias(problem, at, problem.bias_decay)

    def solve(slope: Unknowns) -> Unknowns:
        rest = slope.mean - np.outer(slope.mean @ stiff, stiff)
        own, diagonal = by_lengths(slope.own, rest.diagonal())
        mean = by_pairs(rest)
        np.einsum("ii->i", mean)[:] = diagonal
        mean += np.outer(along_stiff(slope.mean @ stiff) - mean @ stiff, stiff)
        mean += np.outer(along_large(slope.mean @ large), large)
        return Unknowns(own, problem.tangent(at, mean), slope.bias if along_bias is None else along_bias(slope.bias))

    return solve


def _pairs(problem: Alive, at: AliveIterate, stiff: Floats) -> _Solver:
    """By every two entries (g, h) and (h, g)."""
    left, sigma, right = at.spectrum
    bend = problem.reduced.logit_slope**2 * problem.reduced.group_weight * at.point.wrong
    np.fill_diagonal(bend, 1.0)
    size = 0.5 * (left**2 @ sigma + sigma @ right**2)  # diagonals of (X X^T)^(1/2) and (X^T X)^(1/2)
    size = np.maximum(size, WEAKEST * size.mean())
    between, tie = 1 / (size[:, None] + size), _tension(problem, at, stiff)
    coupled = between * tie * tie[:, None]
    determinant = bend * bend.T + between * (bend + bend.T) + (between - coupled) * (between + coupled)
    across, along = coupled / determinant, (bend.T + between) / determinant
    return lambda slope: along * slope + across * slope.T


def _tension(problem: Alive, at: AliveIterate, stiff: Floats) -> Floats:
    """How near each class is to being alive, 0 to 1, shape (G,): X bends along (g, h) + (h, g) unless both are."""
    left, _, right = at.spectrum
    rows = (left[:, : at.rank] ** 2).sum(axis=1) + problem.reduced.null**2
    columns = (right[: at.rank] ** 2).sum(axis=0) + stiff**2
    pull = ((left[:, at.rank :] @ problem.dead_gradient(at)) * right[at.rank :].T).sum(axis=1)
    return np.asarray(np.clip(np.sqrt(rows * columns) - pull, 0.0, 1.0))


def _lengths(problem: Alive, at: AliveIterate) -> Callable[[Floats, Floats], tuple[Floats, Floats]]:
    """By ``own`` and the diagonal entry of each column together, of which the loss sees little but the sum."""
    weight, wrong = problem.reduced.group_weight, at.point.wrong
    by_own = problem.reduced.own_slope
    by_entry = np.tile(problem.reduced.logit_slope.diagonal(), (len(weight), 1))
    np.fill_diagonal(by_entry, 0.0)

    def curvature(first: Floats, second: Floats) -> Floats:
        means = (wrong * first).sum(axis=0) * (wrong * second).sum(axis=0)
        return np.asarray(weight * ((wrong * first * second).sum(axis=0) - means))

    own, entry, both = curvature(by_own, by_own), curvature(by_entry, by_entry), curvature(by_own, by_entry)
    several = at.live & (own * entry > both**2)
    determinant = np.where(several, own * entry - both**2, 1.0)

    def solve(slope_own: Floats, slope_entry: Floats) -> tuple[Floats, Floats]:
        change_own = np.where(several, (entry * slope_own - both * slope_entry) / determinant, 0.0)
        together = (own * slope_entry - both * slope_own) / determinant
        return change_own, np.where(several, together, slope_entry / entry)

    return solve


def _dead_root(problem: Alive, at: AliveIterate) -> Floats:
    """The unit vector among those that X takes to zero that is nearest to what a bias adds to the columns."""
    dead = at.spectrum.right[at.rank :]
    nearest = dead.T @ (dead @ problem.root)
    return np.asarray(nearest / np.linalg.norm(nearest))


def _rows(problem: Alive, at: AliveIterate, column: Floats) -> _Solver:
    """By b, where b column^T is added to the logits, for a unit vector ``column``."""
    return _inverse(problem, row_curvature(problem, at.point, column) + row_stiffness(at, column))


def _bias(problem: Alive, at: AliveIterate, decay: float) -> _Solver:
    return _inverse(problem, row_curvature(problem, at.point, problem.root) + decay * np.eye(problem.root.size))


def _inverse(problem: Alive, matrix: Floats) -> _Solver:
    """Of a matrix that takes the null vector to zero."""
    null, number = problem.reduced.null, len(matrix)
    part = np.outer(null, null) + EPS * number * np.eye(number)
    factor = cho_factor(matrix + matrix.trace() / number * part)
    return lambda slope: np.asarray(cho_solve(factor, slope))


def row_curvature(problem: Alive, point: Point, column: Floats) -> Floats:
    """The loss's Hessian by b, where b column^T is added to the logits, shape (G, G)."""
    # sum_h weight[h] (sum_g p[g, h] y[g, h]^2 - (sum_g p[g, h] y[g, h])^2) of changes y of the exponents,
    # y[g, h] = slope[g, h] b[g] - own[h] b[h]
    weight, slope = problem.reduced.group_weight, problem.reduced.logit_slope * column
    own, moved = slope.diagonal(), slope * point.wrong
    total = point.wrong.sum(axis=0)
    crossed = moved * weight * own
    squares = np.diag((moved * weight * slope).sum(axis=1) + weight * total * own**2)
    mean = moved - np.diag(total * own)
    return np.asarray(squares - crossed - crossed.T - (mean * weight) @ mean.T)


def row_stiffness(at: AliveIterate, column: Floats) -> Floats:
    """The nuclear norm's Hessian by b, where b column^T is added to the logits, shape (G, G)."""
    # half the sum of (B_ij - B_ji)^2 / (sigma_i + sigma_j), B = U^T b (V^T column)^T, where one of the two is alive
    left, sigma, right = at.spectrum
    part, alive = right @ column, np.arange(sigma.size) < at.rank
    some, both = alive[:, None] | alive, alive[:, None] & alive
    pairs = np.where(some, 1 / np.where(some, sigma[:, None] + sigma, 1.0), 0.0)
    inner = np.diag(pairs @ part**2) - np.where(both, pairs * part[:, None] * part, 0.0)
    return np.asarray(left @ inner @ left.T)
