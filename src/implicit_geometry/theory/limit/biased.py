"""The limit of vanishing ridge for a head with a bias: for a free one in closed form, else by an interior point.

Two kinds of classes always have the closed form, and so have plain, weighted and logit-adjusted cross-entropy whatever
the counts (``biased_closed_form``). Other temperatures often fail its condition; the optimum, some of whose margins
exceed 1, is then found numerically (``nuclear_norm``).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from implicit_geometry._validate import Floats, InputError
from implicit_geometry.certificate import Certificate
from implicit_geometry.lowrank import LowRank
from implicit_geometry.problem import Problem, Solution, require_free_features, require_hard_labels, require_problem
from implicit_geometry.theory.expand import grouped_geometry
from implicit_geometry.theory.limit.biased_closed_form import BiasedLimit, biased_limit, closed_form
from implicit_geometry.theory.limit.nuclear_norm import ExcessProgram, minimise_excess
from implicit_geometry.theory.limit.plain import limit_solution
from implicit_geometry.theory.numerics.rounding import EPS

MAX_SOLVED = 500
"""Largest number of kinds of classes (counts and scales) for which the optimum is computed numerically."""

_TOLERANCE = 1e-11


def bias_limit_solution(problem: Problem) -> Solution:
    """Solve the cost-sensitive SVM of a head with a free bias.

    Args:
        problem: its ridge is taken as 0 and its head as one with a free bias.

    Returns:
        The geometry scaled so that the smallest margin is 1, the bias and a certificate whose bounds include the
        rounding of all that was computed. In closed form, O(k), where that is optimal, else numerically.

    Raises:
        InputError: the scales span more than float64 holds, or the closed form is not optimal and there are more than
            :data:`MAX_SOLVED` kinds of classes.

    Example:
        >>> solution = bias_limit_solution(Problem([50, 50, 5, 5], bias=True))
        >>> squared = solution.geometry.classifier.squared_norms()
        >>> round(float(squared[0] / squared[3]), 3), solution.certificate.relative_gap < 1e-12
        (2.292, True)
    """
    require_problem(problem)
    require_free_features(problem, "this method")
    require_hard_labels(problem, "the limit of hard labels")
    limit = biased_limit(problem)
    closed = closed_form(limit)
    if closed is not None:
        return Solution(problem, closed.geometry, closed.certificate, closed.bias[limit.groups.group])
    if limit.size.size > MAX_SOLVED:
        raise InputError(
            "problem",
            f"must have at most {MAX_SOLVED} different kinds of classes (counts and scales) where the closed form for "
            "a free bias is not optimal",
            f"{limit.size.size}; use bias=False, or round the counts",
        )
    return _numeric(problem, limit)


def penalised_bias_limit_solution(problem: Problem) -> Solution:
    """The limit for a bias with a ridge of its own: the geometry of a head without.

    The logits grow without bound, and the bias, whose penalty grows with its square, stays behind. It does so only
    where log(1 / ridge) is large beside the root of the counts; at any ridge of practice the geometry is nearer to that
    of a free bias, so ask for the ridge itself.

    Example:
        >>> penalised_bias_limit_solution(Problem([50, 50, 5, 5], bias=True, bias_ridge=1.0)).bias
        array([0., 0., 0., 0.])
    """
    return replace(limit_solution(problem), bias=np.zeros(problem.num_classes))


def _numeric(problem: Problem, limit: BiasedLimit) -> Solution:
    """The optimum over all excess margins, with bounds recomputed from the factors that are returned."""
    size, n = limit.size, limit.root_count
    root_size = np.sqrt(size)
    program = ExcessProgram(limit.natural, limit.left_null * root_size, limit.right_null * root_size)
    excess, polar = minimise_excess(program, _TOLERANCE)
    bias = program.shift(excess) / root_size / np.sqrt(size @ n**2)
    geometry = grouped_geometry(limit.groups, n, limit.natural, program.logits(excess))
    squares = size @ geometry.classifier.diagonal + (size * n**2) @ geometry.embedding.diagonal
    margin = _smallest_margin(limit, geometry.cross, bias)
    rounding = 4 * (size.size + 8) * EPS
    primal = 0.5 * float(squares) * (1 + rounding) / margin if margin > 0 else np.inf
    dual = program.dual_value(polar) + float((size - 1) @ limit.natural) * (1 - rounding)
    return Solution(problem, geometry, Certificate(primal, dual, margin), bias[limit.groups.group])


def _smallest_margin(limit: BiasedLimit, cross: LowRank, bias: Floats) -> float:
    """What the margins of the logits with bias are at least, whatever rounding.

    Those of :meth:`Pairwise.margins`, each score moved by its rounding towards a smaller margin.
    """
    pairs = limit.pairs
    rounding = 4 * (cross.left.shape[1] + 8) * EPS
    size = np.abs(cross.left) @ np.abs(cross.right.T) + np.abs(bias)[:, None]
    wrong = pairs.class_scale[:, None] * (cross.left @ cross.right.T + bias[:, None] + rounding * size)
    wrong[np.diag_indices_from(wrong)] = np.where(limit.size > 1, np.diag(wrong), -np.inf)
    true = pairs.class_scale * (cross.diagonal + bias - rounding * (np.abs(cross.diagonal) + np.abs(bias)))
    return float((pairs.label_scale * (true - wrong.max(axis=0))).min())
