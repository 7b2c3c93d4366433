"""The limit of vanishing ridge for a head with a free bias.

With v the unit vector along 1/class_scale, r the one along sqrt(n), P and P_r the projections that remove them and S
the natural scales s = sqrt(n) / (class_scale * label_scale), the candidate is X_b = P S P_r: all its margins are 1, and
no other X of which this is true has a smaller nuclear norm. It is the optimum if and only if its polar factor has no
positive entry off the diagonal. With D = (S^2 + t^2)^-1, p = s v / r and q = s r / v that entry (i, j) is -2 / pi times
the integral over t > 0 of

    d_i v_i d_j r_j (t^2 rho (p_j - p_mean) + q_i (b p_j + a t^2)) / (a rho t^2 + b^2),
    a = v^T D v,  b = v^T D S r,  rho = r^T D r,  p_mean = b / rho.

Where class_scale^2 * label_scale is constant, so is p, and every term is positive: the candidate is the optimum of
plain, weighted and logit-adjusted cross-entropy whatever the counts. So it is with two kinds of classes. Other
temperatures often fail the condition; the optimum, some of whose margins exceed 1, is then found by an interior-point
method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from implicit_geometry._validate import Floats, InputError
from implicit_geometry.certificate import Certificate
from implicit_geometry.geometry import Geometry
from implicit_geometry.gram import Gram
from implicit_geometry.problem import ClassGroups, Problem, Solution, group_classes, varying_vectors
from implicit_geometry.solvers.nuclear import ExcessProgram, minimise_excess
from implicit_geometry.theory.grouped import grouped_geometry
from implicit_geometry.theory.limit import sum_of_others
from implicit_geometry.theory.quadrature import InverseSquareRoot, inverse_square_root

MAX_SOLVED = 500
"""Largest number of kinds of classes (counts and scales) for which the optimum is computed numerically."""

_TOLERANCE = 1e-11
_ROUNDING = 1e-13
_TILE = 1000


@dataclass(frozen=True)
class _Limit:
    """The vectors that define the limit, one entry a kind of class (G kinds)."""

    groups: ClassGroups
    root_count: Floats
    class_scale: Floats
    label_scale: Floats
    natural: Floats  # s
    left_null: Floats  # v, one entry of the unit vector over all classes
    right_null: Floats  # r, likewise

    @property
    def size(self) -> Floats:
        return self.groups.size

    @property
    def program(self) -> ExcessProgram:
        root_size = np.sqrt(self.size)
        return ExcessProgram(self.natural, self.left_null * root_size, self.right_null * root_size)


@dataclass(frozen=True)
class _Nodes:
    """Quadrature nodes of the polar factor and what depends on them."""

    rule: InverseSquareRoot
    squared: Floats  # t^2                                (q,)
    damped: Floats  # D                                   (G, q)
    left_pull: Floats  # a = v^T D v                      (q,)
    mixed_pull: Floats  # b = v^T D S r                   (q,)
    right_pull: Floats  # rho = r^T D r                   (q,)

    @property
    def whole(self) -> Floats:
        return self.squared * self.left_pull * self.right_pull + self.mixed_pull**2


def bias_limit_solution(problem: Problem) -> Solution:
    """Solve the cost-sensitive SVM of a head with a free bias.

    Args:
        problem: its ridge is taken as 0 and its head as one with a free bias.

    Returns:
        The geometry scaled so that the smallest margin is 1, the bias and a certificate. In closed form, O(k), where
        that is optimal, else numerically.

    Raises:
        InputError: the scales span more than float64 holds, or the closed form is not optimal and there are more than
            :data:`MAX_SOLVED` kinds of classes.

    Example:
        >>> solution = bias_limit_solution(Problem([50, 50, 5, 5], bias=True))
        >>> squared = solution.geometry.classifier.squared_norms()
        >>> round(float(squared[0] / squared[3]), 3), solution.certificate.relative_gap < 1e-12
        (2.292, True)
    """
    limit = _limit(problem)
    nodes = _nodes(limit)
    if _candidate_is_optimal(limit, nodes):
        geometry, nuclear_norm = _candidate(limit, nodes)
        bias, margin = _candidate_bias(limit)
        lowest, dual = nodes.rule.lowest, nuclear_norm / nodes.rule.highest
    elif limit.size.size <= MAX_SOLVED:
        geometry, nuclear_norm, bias, dual = _numeric(limit)
        margin, lowest = _smallest_margin(limit, geometry.cross, bias), 1.0
    else:
        raise InputError(
            f"problem must have at most {MAX_SOLVED} different kinds of classes (counts and scales) where the closed "
            f"form for a free bias is not optimal, got {limit.size.size}; use bias=False, or round the counts"
        )
    certificate = Certificate(primal=nuclear_norm / lowest / margin, dual=dual, smallest_margin=margin)
    return Solution(problem, geometry, certificate, bias[limit.groups.group])


def _limit(problem: Problem) -> _Limit:
    groups = group_classes(*varying_vectors(problem, ("class_scale", "label_scale")))
    root_count = np.sqrt(problem.counts.values[groups.first])
    class_scale = problem.parameterization.class_scale[groups.first]
    label_scale = problem.parameterization.label_scale[groups.first]
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        natural = root_count / class_scale / label_scale
        left_null = class_scale.min() / class_scale
        reach = (natural.max() / natural.min()) * (root_count.max() / root_count.min()) / left_null.min()
        extremes = np.array([reach, natural.max(), 1 / natural.min()])
        within = np.isfinite(extremes**4).all()
    if not within:
        raise InputError(
            f"parameterization must keep its scales within float64's reach, got class_scale from {class_scale.min():g} "
            f"to {class_scale.max():g} and label_scale from {label_scale.min():g} to {label_scale.max():g}"
        )
    return _Limit(
        groups,
        root_count,
        class_scale,
        label_scale,
        natural,
        left_null / np.sqrt(groups.size @ left_null**2),
        root_count / np.sqrt(groups.size @ root_count**2),
    )


def _nodes(limit: _Limit) -> _Nodes:
    s, v, r, size = limit.natural, limit.left_null, limit.right_null, limit.size
    cosine = float((size @ (v * r / s)) / np.sqrt(size @ (v / s) ** 2))
    rule = inverse_square_root(float(s.min()) * cosine, float(s.max()))  # encloses the singular values of X_b
    damped = 1 / ((s**2)[:, None] + rule.node**2)
    left_pull, mixed_pull, right_pull = (size * v**2) @ damped, (size * v * s * r) @ damped, (size * r**2) @ damped
    return _Nodes(rule, rule.node**2, damped, left_pull, mixed_pull, right_pull)


def _candidate_is_optimal(limit: _Limit, nodes: _Nodes) -> bool:
    """Whether no entry of the polar factor off the diagonal is positive."""
    p, q = limit.natural * limit.left_null / limit.right_null, limit.natural * limit.right_null / limit.left_null
    a, b, rho, squared = nodes.left_pull, nodes.mixed_pull, nodes.right_pull, nodes.squared
    if (squared * (rho * p.min() - b) + q.min() * (b * p.min() + a * squared)).min() >= 0:
        return True  # every term of the integral has the right sign
    left, right = nodes.damped * limit.left_null[:, None], nodes.damped * limit.right_null[:, None]
    weight = nodes.rule.weight / nodes.whole
    rows = np.hstack([left * weight * squared, left * q[:, None] * weight])
    columns = np.hstack([right * (np.outer(p, rho) - b), right * (np.outer(p, b) + a * squared)])
    return all(
        _least_off_diagonal(rows[start : start + _TILE] @ columns.T, start) >= -_ROUNDING
        for start in range(0, len(rows), _TILE)
    )


def _least_off_diagonal(tile: Floats, start: int) -> float:
    """Smallest entry of some rows of a square matrix that is not on its diagonal."""
    index = np.arange(len(tile))
    tile[index, start + index] = np.inf
    return float(tile.min())


def _candidate(limit: _Limit, nodes: _Nodes) -> tuple[Geometry, float]:
    """The three blocks of X_b = P S P_r, and its nuclear norm."""
    s, v, r, n = limit.natural, limit.left_null, limit.right_null, limit.root_count
    p, q, level = s * v / r, s * r / v, float(limit.size @ (v * s * r))
    classifier = _modulus(limit, nodes, v, q, nodes.left_pull)
    rows = _modulus(limit, nodes, r, p, nodes.right_pull)
    embedding = Gram(rows.diagonal / n**2, rows.left / n[:, None], rows.right / n[:, None], rows.group)
    diagonal = s * (1 - v**2 - r**2) + level * v * r
    left, right = np.column_stack([v, -v * q]), np.column_stack([r * (level - p), r])
    cross = Gram(diagonal / n, left, right / n[:, None], limit.groups.group)
    return Geometry(classifier, embedding, cross), float(limit.size @ rows.diagonal)


def _modulus(limit: _Limit, nodes: _Nodes, null: Floats, slant: Floats, pull: Floats) -> Gram:
    """(X_b X_b^T)^(1/2) for (v, q, a), (X_b^T X_b)^(1/2) for (r, p, rho): P S P with a low-rank correction."""
    s, size = limit.natural, limit.size
    outside = sum_of_others(size, null**2)  # 1 - null^2
    steady = null[:, None] * (pull - nodes.damped)
    tilted = null[:, None] * nodes.damped * (slant[:, None] - nodes.mixed_pull / pull)
    weight = nodes.rule.weight * nodes.squared
    scale = np.concatenate([weight / pull, -weight * pull / nodes.whole])
    factor = np.hstack([steady, tilted])
    diagonal = s * outside**2 + null**2 * sum_of_others(size, null**2 * s) + factor**2 @ scale
    level = float(size @ (null**2 * s))
    left = np.column_stack([null * (level - s), -null, factor * scale])
    return Gram(diagonal, left, np.column_stack([null, null * s, factor]), limit.groups.group)


def _candidate_bias(limit: _Limit) -> tuple[Floats, float]:
    """The bias P S r / sqrt(N), and the smallest margin as computed."""
    s, v, r, n, delta = limit.natural, limit.left_null, limit.right_null, limit.root_count, limit.class_scale
    unit = 1 / np.sqrt(limit.size @ n**2)
    level, q = float(limit.size @ (v * s * r)), s * r / v
    bias = v * (q - level) * unit
    push = delta * v  # constant in exact arithmetic
    stray = delta * bias + push * unit * (level - q)  # zero in exact arithmetic
    true = delta * ((s * (1 - v**2 - r**2) + level * v * r) / n + bias)
    return bias, float((limit.label_scale * (true + push.min() * s * v / n - stray.max())).min())


def _numeric(limit: _Limit) -> tuple[Geometry, float, Floats, float]:
    """Geometry, nuclear norm, bias and lower bound of the optimum."""
    program, size = limit.program, limit.size
    excess, polar = minimise_excess(program, _TOLERANCE)
    mean = program.logits(excess)
    within = float((size - 1) @ limit.natural)
    nuclear_norm = within + float(np.linalg.norm(mean, "nuc"))
    bias = program.shift(excess) / np.sqrt(size) / np.sqrt(size @ limit.root_count**2)
    geometry = grouped_geometry(limit.groups, limit.root_count, limit.natural, mean)
    return geometry, nuclear_norm, bias, within + program.dual_value(polar)


def _smallest_margin(limit: _Limit, cross: Gram, bias: Floats) -> float:
    """Least label_scale_y (class_scale_y z_yy - class_scale_c z_cy) over y and c != y, z the logits with bias."""
    wrong = limit.class_scale[:, None] * (cross.left @ cross.right.T + bias[:, None])
    wrong[np.diag_indices_from(wrong)] = np.where(limit.size > 1, np.diag(wrong), -np.inf)
    true = limit.class_scale * (cross.diagonal + bias)
    return float((limit.label_scale * (true - wrong.max(axis=0))).min())
