"""The limit of vanishing ridge with soft labels: in closed form for every loss, with and without a bias.

The loss has minimisers at finite logits: those whose cost-sensitive margins are the log-odds of the labels. With S =
diag(s) of :mod:`implicit_geometry.theory.limit.plain`, M the log-odds and iota the shift, they are the logits

    X0 + v a^T,   X0 = M S - (iota / class_scale) (sqrt(n) / label_scale)^T,   a any vector,

of which P X0 has the least nuclear norm: |P X|_* <= |X|_*. A free bias moves X along sqrt(n) too: P X0 P_r. So it is
for any distributions of labels with a share on every class, of which a dense decomposition is taken. Of smoothed ones,
what is left is a diagonal matrix less one of low rank, whose polar factors follow from a singular value decomposition
on the groups of equal classes, or, where these are many, from the rational rule for the inverse square root.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from implicit_geometry._validate import Floats, InputError
from implicit_geometry.certificate import Certificate
from implicit_geometry.geometry import Geometry
from implicit_geometry.gram import Gram
from implicit_geometry.groups import ClassGroups, gather
from implicit_geometry.lowrank import LowRank
from implicit_geometry.parameterization import Pairwise
from implicit_geometry.problem import Problem, Solution, require_free_features, require_problem
from implicit_geometry.theory.expand import grouped_geometry
from implicit_geometry.theory.limit.diagonal_less_low_rank import DiagonalLessLowRank
from implicit_geometry.theory.limit.quadrature import inverse_square_root
from implicit_geometry.theory.numerics.rounding import EPS
from implicit_geometry.theory.numerics.singular_values import nuclear_norm
from implicit_geometry.theory.smoothed_labels import SmoothedLabels, least_loss_logits

FEW = 300
"""Groups of equal classes up to which a dense decomposition is faster."""


@dataclass(frozen=True)
class SmoothedLimit:
    """X = P X0 P_r on the groups of equal classes, G groups.

    Attributes:
        groups: which classes are equal.
        root_count: sqrt(n), shape (G,).
        own: the diagonal M S, shape (G,).
        shift: iota / class_scale, shape (G,).
        reach: sqrt(n) / label_scale, shape (G,).
        left_null: v, one entry of the unit vector over all classes per group, shape (G,).
        right_null: r of a free bias likewise, zeros without one, shape (G,).
    """

    groups: ClassGroups
    root_count: Floats
    own: Floats
    shift: Floats
    reach: Floats
    left_null: Floats
    right_null: Floats

    @classmethod
    def of(cls, problem: Problem) -> SmoothedLimit:
        """Gather the groups.

        Raises:
            InputError: the numbers leave float64, or a margin takes away what the smoothing leaves of the log-odds.
        """
        groups = gather(problem)
        pairs, size = Pairwise.of(problem.parameterization, groups.first), groups.size
        labels = SmoothedLabels.of(problem.label_smoothing, pairs, size)
        root_count = np.sqrt(problem.embedding_cost[groups.first])
        with np.errstate(all="ignore"):
            own, shift = labels.log_odds * pairs.natural(root_count**2), labels.shift / pairs.class_scale
            reach, right_null = root_count / pairs.label_scale, np.zeros_like(size)
            if problem.free_bias:
                right_null = root_count / np.sqrt(size @ root_count**2)
            extremes = np.array([own.max(), 1 / own.min(), np.abs(shift).max() * reach.max(), 1 / pairs.null.min()])
            if not np.isfinite(extremes**4).all():
                raise InputError("parameterization", "must keep its scales and shifts within float64's range", "more")
        left_null = pairs.null / np.sqrt(size @ pairs.null**2)
        return cls(groups, root_count, own, shift, reach, left_null, right_null)

    def means(self) -> Floats:
        """X on the normalised group means, shape (G, G)."""
        root = np.sqrt(self.groups.size)
        total = np.diag(self.own) - np.outer(root * self.shift, root * self.reach)
        left, right = root * self.left_null, root * self.right_null
        total = total - np.outer(left, left @ total)
        return np.asarray(total - np.outer(total @ right, right))

    def bias(self) -> Floats:
        """The free bias, one entry per group: what P X0 has along sqrt(n)."""
        along = self.own * self.right_null - self.shift * (self.groups.size * self.reach @ self.right_null)
        along = along - self.left_null * (self.groups.size * self.left_null @ along)
        return np.asarray(along / np.sqrt(self.groups.size @ self.root_count**2))


def smoothed_limit_solution(problem: Problem) -> Solution:
    """The least nuclear norm among the logits of smallest loss, with smoothed labels.

    Args:
        problem: with soft labels; its ridge is taken as 0. A bias with a ridge of its own stays at zero,
            since logits of smallest loss need none.

    Returns:
        The geometry in absolute scale, the bias and a certificate that encloses the nuclear norm.

    Raises:
        InputError: the numbers leave float64, or a margin takes away what the smoothing leaves of the log-odds.

    Example:
        >>> solution = smoothed_limit_solution(Problem([50, 50, 5, 5], label_smoothing=0.1))
        >>> squared = solution.geometry.classifier.squared_norms()
        >>> round(float(squared[0] / squared[3]), 3), round(solution.geometry.cross.entry(0, 0), 3)
        (1.995, 2.708)
    """
    require_problem(problem)
    require_free_features(problem, "this method")
    if not problem.soft_labels:
        raise InputError("label_smoothing", "must be positive here", 0)
    if problem.label_distribution is not None:
        return _of_distributions(problem)
    limit = SmoothedLimit.of(problem)
    few = limit.groups.size.size <= FEW
    geometry, norm, rounding = _by_singular_values(limit) if few else _by_quadrature(limit)
    # the polar factor T has v^T T = 0 (and T r = 0) and norm 1, so that no X0 + v a^T is shorter than <T, X0> = |X|_*
    certificate = Certificate(norm * (1 + rounding), norm * (1 - rounding), smallest_margin=None)
    bias = limit.bias()[limit.groups.group] if problem.bias else None
    return Solution(problem, geometry, certificate, bias)


def _of_distributions(problem: Problem) -> Solution:
    """The same for any distributions of labels, k x k."""
    groups, root_cost = gather(problem), np.sqrt(problem.embedding_cost)
    pairs = Pairwise.of(problem.parameterization)
    with np.errstate(all="ignore"):
        total = least_loss_logits(problem, pairs)
        null = pairs.null / np.linalg.norm(pairs.null)
        if not np.isfinite(np.array([np.abs(total).max(), 1 / pairs.null.min(), root_cost.max()]) ** 4).all():
            raise InputError("parameterization", "must keep its scales and shifts within float64's range", "more")
    mean, bias = total - np.outer(null, null @ total), None
    if problem.bias:
        right = root_cost / np.linalg.norm(root_cost) if problem.free_bias else np.zeros_like(root_cost)
        along = mean @ right
        mean, bias = mean - np.outer(along, right), along / np.linalg.norm(root_cost)
    norm = nuclear_norm(mean)
    geometry = grouped_geometry(groups, root_cost, np.zeros_like(root_cost), mean)
    rounding = 16 * (root_cost.size + 8) * EPS * float(np.linalg.norm(total)) * np.sqrt(root_cost.size)
    return Solution(problem, geometry, Certificate(norm + rounding, norm - rounding, smallest_margin=None), bias)


def _by_singular_values(limit: SmoothedLimit) -> tuple[Geometry, float, float]:
    """The geometry, the nuclear norm and its relative error, from X on the group means."""
    mean, size = limit.means(), limit.groups.size
    geometry = grouped_geometry(limit.groups, limit.root_count, limit.own, mean)
    norm = nuclear_norm(mean) + float((size - 1) @ limit.own)
    root = np.sqrt(size)
    parts = norm + float(limit.own.max() + np.linalg.norm(root * limit.shift) * np.linalg.norm(root * limit.reach))
    return geometry, norm, 8 * (size.size + 8) * EPS * parts / norm


def _by_quadrature(limit: SmoothedLimit) -> tuple[Geometry, float, float]:
    """The same by low-rank factors, with X made invertible by a singular value of its own on its null vectors."""
    size, d, v, r = limit.groups.size, limit.own, limit.left_null, limit.right_null
    free, (right_null, smallest) = bool(r.any()), _right_null(limit)
    shift = limit.shift - v * (size * v @ limit.shift)
    extra = np.sqrt(d.max() * smallest)
    left, right = [shift, v], [limit.reach, d * v - extra * right_null]
    if free:
        left.append(d * r - shift * (size * limit.reach @ r) - v * (size * d * v @ r))
        right.append(r)
    whole = DiagonalLessLowRank(size, d, np.column_stack(left), np.column_stack(right))
    largest = d.max() + extra + sum(np.sqrt((size @ a**2) * (size @ b**2)) for a, b in zip(left, right, strict=True))
    rule = inverse_square_root(smallest, float(largest))
    n, group, grams = limit.root_count, limit.groups.group, []
    for matrix, null, scale in ((whole, v, np.ones_like(n)), (whole.transposed, right_null, n)):
        diagonal, rows, columns = matrix.modulus(rule)
        rows, columns = np.column_stack([rows, -extra * null]), np.column_stack([columns, null])
        diagonal = (diagonal - extra * null**2) / scale**2
        grams.append(Gram(diagonal, rows / scale[:, None], columns / scale[:, None], group))
    plain = np.column_stack([shift, v, *left[2:]]), np.column_stack([limit.reach, d * v, *right[2:]]) / n[:, None]
    cross = LowRank(d / n - np.einsum("gi,gi->g", *plain), -plain[0], plain[1], group)
    norm = float(size @ grams[0].diagonal)
    ripple = max(1 - rule.lowest, rule.highest - 1)
    return Geometry(grams[0], grams[1], cross), norm, ripple + 64 * (rule.node.size + 8) * EPS * float(size @ d) / norm


def _right_null(limit: SmoothedLimit) -> tuple[Floats, float]:
    """The unit vector x with X x = 0, and a lower bound of the other singular values of X.

    With the shift centred so that reach^T D^-1 a = 0 the inverse of X0 = D - a reach^T is D^-1 + D^-1 a reach^T D^-1.
    """
    size, d, v, r = limit.groups.size, limit.own, limit.left_null, limit.right_null
    a = limit.shift - v * (size * limit.reach / d @ limit.shift) / (size * limit.reach / d @ v)

    def length(x: Floats) -> float:
        return float(np.sqrt(size @ x**2))

    solved = v / d + a / d * (size * limit.reach / d @ v)  # X0^-1 v
    inverse = float((1 / d).max()) + length(a / d) * length(limit.reach / d)  # at least its operator norm
    if r.any():
        back = r / d + limit.reach / d * (size * a / d @ r)  # X0^-T r
        return r, 1 / (inverse * (1 + length(back) / abs(float(size * r @ solved))))
    return solved / length(solved), 1 / inverse
