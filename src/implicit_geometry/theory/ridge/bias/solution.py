"""The geometry at a positive ridge of a head with a bias: few kinds of classes at once, many from bins of them."""

from __future__ import annotations

import numpy as np

from implicit_geometry._validate import InputError
from implicit_geometry.certificate import TOLERANCE
from implicit_geometry.groups import gather
from implicit_geometry.problem import Problem, Solution, require_free_features, require_hard_labels, require_problem
from implicit_geometry.theory.ridge.bias.many import optimal_pair_with_bias
from implicit_geometry.theory.ridge.bias.program import Biased
from implicit_geometry.theory.ridge.binned.biased import binned_bias_solution
from implicit_geometry.theory.ridge.binned.plain import DENSE_KINDS
from implicit_geometry.theory.ridge.norm_error import Proof, certified_geometry
from implicit_geometry.theory.ridge.optimum import GOAL
from implicit_geometry.theory.ridge.program import LARGEST, proven, within_float64
from implicit_geometry.theory.ridge.reduce import Kinds, reduce_kinds


def bias_ridge_solution(problem: Problem, tolerance: float = TOLERANCE) -> Solution:
    """Solve the regularised problem of a head with a bias.

    Args:
        problem: with ridge > 0 and bias=True.
        tolerance: relative gap at which many kinds of classes count as solved; few are solved to rounding.

    Returns:
        The geometry in absolute scale, the bias, and a certificate whose primal and dual values are those of the
        sum-form objective.

    Raises:
        InputError: the ridge is not positive, the head has no bias, or more than 50,000 kinds of classes.

    Example:
        >>> solution = bias_ridge_solution(Problem([50, 50, 5, 5], ridge=0.1, bias=True))
        >>> solution.bias.round(3), solution.certificate.relative_gap < 1e-9
        (array([ 1.694,  1.694, -1.694, -1.694]), True)
    """
    require_problem(problem)
    require_free_features(problem, "this method")
    require_hard_labels(problem, "the optimum of hard labels")
    if problem.ridge <= 0 or not problem.bias:
        raise InputError("problem", "must have ridge > 0 and bias=True", f"{problem.ridge:g} and {problem.bias}")
    groups = gather(problem)
    kinds = Kinds.of(problem, groups)
    with within_float64(problem):
        bias_decay = problem.bias_ridge / problem.ridge
        if not (bias_decay == 0 or 1 / LARGEST < bias_decay < LARGEST):
            raise InputError("bias_ridge", "must keep its quotient by ridge within float64", problem.bias_ridge)
        if kinds.number > DENSE_KINDS:
            return binned_bias_solution(problem, groups, kinds, bias_decay, tolerance)
        biased = Biased.of(reduce_kinds(kinds, problem.ridge), bias_decay)
        (logits, bias, bounds), wrong = optimal_pair_with_bias(kinds, problem.ridge, biased, tolerance)
        certificate = proven(problem, bounds, not (logits.own.any() or logits.mean.any()))
        reduced, point = biased.reduced, biased.at(logits, bias)
        scale, level = biased.dual_scale(point.wrong), bias / reduced.null
        scaled = point.wrong * scale
        own_dual = reduced.feasible_value(scaled) - biased.penalty(scaled)
        if bounds._replace(dual=own_dual).gap > max(bounds.gap, GOAL):
            scale = np.where(point.wrong > 0, wrong / np.where(point.wrong > 0, point.wrong, 1.0), 1.0)
        proof = Proof(logits, point, scale, bounds.gap, biased.levels, level)
        geometry, norm_proof = certified_geometry(groups, reduced, proof)
    return Solution(problem, geometry, certificate, (bias / np.sqrt(reduced.size))[groups.group], norm_proof)
