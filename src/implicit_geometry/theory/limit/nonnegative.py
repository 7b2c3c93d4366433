"""The limit of vanishing ridge for nonnegative features: the mean logits of free ones, with orthogonal embeddings.

With v, s and P of :mod:`implicit_geometry.theory.limit.plain` the mean logits are P e_y / (class_scale label_scale),
times the log-odds of smoothed labels. Any two columns of P point away from each other, so that the embeddings are
orthogonal whatever the counts and scales, and

    W W^T = P diag(s_y / sqrt(1 - v_y^2)) P,   |h_y|^2 = sqrt(1 - v_y^2) / (class_scale label_scale sqrt(n)).

Soft labels with a shift, or with a distribution of their own for every class, have the mean logits of free features,
too, and orthogonal embeddings where no two columns of the logits point the same way.
"""

from __future__ import annotations

import numpy as np

from implicit_geometry._validate import Floats, InputError
from implicit_geometry.certificate import Certificate
from implicit_geometry.geometry import Geometry
from implicit_geometry.gram import Gram
from implicit_geometry.groups import ClassGroups, gather
from implicit_geometry.lowrank import LowRank
from implicit_geometry.parameterization import Pairwise
from implicit_geometry.problem import Problem, Solution, require_problem
from implicit_geometry.theory.limit.plain import sum_of_others
from implicit_geometry.theory.nonnegative.orthogonal import (
    Columns,
    orthogonal_geometry,
    require_no_bias,
    require_orthogonal,
)
from implicit_geometry.theory.numerics.rounding import EPS
from implicit_geometry.theory.smoothed_labels import SmoothedLabels, least_loss_logits


def nonnegative_limit_solution(problem: Problem) -> Solution:
    """The limit with embeddings that cannot be negative, O(k) in time and memory.

    Args:
        problem: its ridge is taken as 0.

    Returns:
        The geometry, scaled so that every cost-sensitive margin is 1 (with smoothed labels, in absolute scale), and a
        certificate that encloses (|W|^2 + sum_y n_y |h_y|^2) / 2.

    Raises:
        InputError: the head has a bias, soft labels lead to mean logits of which two point the same way, as a strong
            shift makes them, or scales leave float64.

    Example:
        >>> solution = nonnegative_limit_solution(Problem([50, 50, 5, 5], features="nonnegative"))
        >>> solution.geometry.embedding.cosine(0, 1), round(solution.geometry.classifier.cosine(0, 1), 3)
        (0.0, -0.505)
    """
    require_problem(problem)
    require_no_bias(problem)
    groups = gather(problem)
    size, pairs = groups.size, Pairwise.of(problem.parameterization, groups.first)
    root_cost, odds = np.sqrt(problem.embedding_cost[groups.first]), np.ones_like(size)
    if problem.label_distribution is not None:
        logits = Columns(size, least_loss_logits(problem, pairs) / root_cost, np.zeros_like(size))
        return _of_columns(problem, groups, logits)
    if problem.label_smoothing:
        labels = SmoothedLabels.of(problem.label_smoothing, pairs, size)
        odds = labels.log_odds
        if np.abs(labels.shift).max() > 8 * EPS * np.abs(pairs.shift - np.log(pairs.weight)).max():
            shift = -np.outer(labels.shift / pairs.class_scale, 1 / pairs.label_scale)
            return _of_columns(problem, groups, Columns(size, shift, odds / pairs.true_slope))
    with np.errstate(all="ignore"):
        length = odds / pairs.true_slope  # of the logits, before P
        null = pairs.null / np.sqrt(size @ pairs.null**2)
        extremes = np.array([length.max(), 1 / length.min(), root_cost.max() / root_cost.min(), 1 / null.min()])
        if not np.isfinite(extremes**4).all():
            raise InputError("parameterization", "must keep its scales within float64's range", "others")
    geometry, objective = _geometry(size, groups.group, root_cost, length, null)
    rounding = 8 * (size.size + 8) * EPS
    certificate = Certificate(
        objective * (1 + rounding),
        objective * (1 - rounding),
        smallest_margin=None if problem.label_smoothing else 1.0,
    )
    return Solution(problem, geometry, certificate)


def _of_columns(problem: Problem, groups: ClassGroups, logits: Columns) -> Solution:
    """The same from logits of smallest loss, whatever multiples of 1 / class_scale are in them."""
    size, null = groups.size, Pairwise.of(problem.parameterization, groups.first).null
    along = ((size * null) @ logits.base + null * logits.own) / (size @ null**2)
    logits = Columns(size, logits.base - np.outer(null, along), logits.own)
    norms, root_cost = logits.norms(), np.sqrt(problem.embedding_cost[groups.first])
    largest = require_orthogonal(logits.scaled(1 / np.where(norms > 0, norms, np.inf)))
    objective, rounding = float(size @ (root_cost * norms)), 16 * (size.size + 8) * EPS
    geometry = orthogonal_geometry(groups, logits, root_cost)
    dual = objective / np.sqrt(max(largest, 1.0)) * (1 - rounding)
    return Solution(problem, geometry, Certificate(objective * (1 + rounding), dual, smallest_margin=None))


def _geometry(
    size: Floats, group: np.ndarray[tuple[int, ...], np.dtype[np.int64]], root_cost: Floats, length: Floats, v: Floats
) -> tuple[Geometry, float]:
    """The three blocks, and (|W|^2 + |H|^2) / 2."""
    outside = sum_of_others(size, v**2)  # 1 - v^2 without cancellation
    norms = length * np.sqrt(outside)  # |z_y|
    weight = root_cost * length / np.sqrt(outside)
    # P diag(weight) P
    own = weight * outside**2 + v**2 * sum_of_others(size, weight * v**2)
    total = float(size @ (weight * v**2))
    left = np.column_stack([-v, -weight * v])
    right = np.column_stack([weight * v - total * v, v])
    nothing = np.zeros((size.size, 0))
    geometry = Geometry(
        Gram(own, left, right, group),
        Gram(norms / root_cost, nothing, nothing, group),
        LowRank(length * outside, -v[:, None], (v * length)[:, None], group),
    )
    return geometry, float(size @ (root_cost * norms))
