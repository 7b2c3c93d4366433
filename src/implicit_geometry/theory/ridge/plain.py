"""The geometry at a positive ridge: certified global optimum of the regularised unconstrained-features model.

With X the class-mean logits times diag(sqrt(n)), the model min sum_i loss(W h_i, y_i) + ridge / 2 (|W|^2 + |H|^2) is
the convex program min_X losses(X) + ridge |X|_*; W W^T = (X X^T)^(1/2), and the class-mean embeddings' Gram matrix is
(X^T X)^(1/2) divided by sqrt(n) on both sides. ``weight``, ``shift`` and ``margin``, invisible in the limit, matter.
"""

from __future__ import annotations

import math

import numpy as np

from implicit_geometry._validate import LARGEST_COUNT, InputError, number, whole_number
from implicit_geometry.certificate import TOLERANCE
from implicit_geometry.groups import ClassGroups, gather
from implicit_geometry.problem import Problem, Solution, require_free_features, require_hard_labels, require_problem
from implicit_geometry.theory.ridge.binned.plain import DENSE_KINDS, binned_solution
from implicit_geometry.theory.ridge.many.plain import FEW_KINDS, Pair, optimal_pair
from implicit_geometry.theory.ridge.norm_error import Proof, certified_geometry
from implicit_geometry.theory.ridge.optimum import GOAL, Optimum, optimum
from implicit_geometry.theory.ridge.program import Bounds, Reduced, proven, within_float64
from implicit_geometry.theory.ridge.reduce import Kinds, reduce_kinds


def ridge_solution(problem: Problem, tolerance: float = TOLERANCE) -> Solution:
    """Solve the regularised problem, with any counts, scales, weights, shifts and margins.

    Args:
        problem: with ridge > 0 and bias=False.
        tolerance: relative gap at which many kinds of classes count as solved; few are solved to rounding.

    Returns:
        The geometry in absolute scale, and a certificate whose primal and dual values are those of the sum-form
        objective. Status COLLAPSED where the optimum is zero; INACCURATE where rounding stops before the tolerance.

    Raises:
        InputError: the ridge is not positive, the head has a bias, or scales leave float64.

    Source: Thrampoulidis et al. (2022), Section 5 (the convex program); Behnia et al. (2023), Section 2 (the losses).

    Example:
        >>> from implicit_geometry.counts import ClassCounts
        >>> counts = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)
        >>> solution = ridge_solution(Problem(counts, ridge=1e-3))
        >>> squared = solution.geometry.classifier.squared_norms()
        >>> round(float(squared[0] / squared[9]), 2), solution.certificate.relative_gap < 1e-8
        (3.14, True)
    """
    require_problem(problem)
    require_free_features(problem, "this method")
    require_hard_labels(problem, "the optimum of hard labels")
    if problem.ridge <= 0 or problem.bias:
        raise InputError(
            "problem", "must have ridge > 0 and bias=False", f"ridge={problem.ridge:g} and bias={problem.bias}"
        )
    groups = gather(problem)
    kinds = Kinds.of(problem, groups)
    with within_float64(problem):
        if kinds.number > DENSE_KINDS:
            return binned_solution(problem, groups, kinds, tolerance)
        reduced = reduce_kinds(kinds, problem.ridge)
        if kinds.number <= FEW_KINDS:
            return plain_solution(problem, reduced, groups, optimum(reduced))
        return pair_solution(problem, reduced, groups, optimal_pair(kinds, problem.ridge, tolerance))


def ridge_from_weight_decay(
    weight_decay: float, num_samples: int, *, embedding_weight_decay: float | None = None
) -> float:
    """Ridge of the sum-form problem that a mean loss with weight decay amounts to.

    The mean loss plus ``weight_decay / 2 * |W|^2 + embedding_weight_decay / 2 * |H|^2`` times N is the sum-form problem
    with ridges N a and N b; it has the logits of the one ridge N sqrt(a b), with classifiers (b / a)^(1/4) times and
    embeddings (a / b)^(1/4) times as long.

    Args:
        weight_decay: a, of the classifiers (coefficient of |W|^2 / 2, as in torch.optim.SGD), > 0.
        num_samples: N, over which the loss is averaged, >= 1.
        embedding_weight_decay: b, of the embeddings; the same by default.

    Raises:
        InputError: an argument is out of range.

    Example:
        >>> round(ridge_from_weight_decay(5e-4, 50_000), 9)
        25.0
    """
    decay = number("weight_decay", weight_decay, minimum=0, exclusive=True)
    other = decay
    if embedding_weight_decay is not None:
        other = number("embedding_weight_decay", embedding_weight_decay, minimum=0, exclusive=True)
    samples = whole_number("num_samples", num_samples, minimum=1, maximum=LARGEST_COUNT)
    return number("ridge = num_samples * weight_decay", samples * (math.sqrt(decay) * math.sqrt(other)))


def plain_solution(problem: Problem, reduced: Reduced, groups: ClassGroups, best: Optimum) -> Solution:
    """The geometry and the certificate of an optimum of the reduced problem."""
    x, bounds = best
    certificate = proven(problem, bounds, not (x.own.any() or x.mean.any()))
    point = reduced.evaluate(x)
    scale = np.full(x.own.shape, reduced.feasible_scale(point.wrong))
    geometry, norm_proof = certified_geometry(groups, reduced, Proof(x, point, scale, bounds.gap))
    return Solution(problem, geometry, certificate, norm_proof=norm_proof)


def pair_solution(problem: Problem, reduced: Reduced, groups: ClassGroups, best: Pair) -> Solution:
    """The geometry and the certificate of logits and a dual point of the reduced problem."""
    x, wrong, bounds = best
    certificate = proven(problem, bounds, not (x.own.any() or x.mean.any()))
    point = reduced.evaluate(x)
    own_gap = Bounds(bounds.primal, reduced.dual_value(point.wrong), bounds.rounding).gap
    scale = np.full(x.own.shape, reduced.feasible_scale(point.wrong))
    if own_gap > max(bounds.gap, GOAL):
        scale = np.where(point.wrong > 0, wrong / np.where(point.wrong > 0, point.wrong, 1.0), 1.0)
    geometry, norm_proof = certified_geometry(groups, reduced, Proof(x, point, scale, bounds.gap))
    return Solution(problem, geometry, certificate, norm_proof=norm_proof)
