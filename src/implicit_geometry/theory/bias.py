"""Heads with a bias: the one entry point for the limit and for a positive ridge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from implicit_geometry._validate import InputError
from implicit_geometry.problem import Problem, Solution, require_problem
from implicit_geometry.theory.bias_limit import bias_limit_solution
from implicit_geometry.theory.bias_ridge import bias_ridge_solution
from implicit_geometry.theory.limit import limit_solution


def bias_solution(problem: Problem) -> Solution:
    """Solve a problem whose head has a bias.

    In the limit of vanishing ridge a bias with a ridge of its own, however small, leads to the geometry of a head
    without: the logits grow without bound, and the bias, whose penalty grows with its square, stays behind. It does so
    only where log(1 / ridge) is large beside the root of the counts; at any ridge of practice the geometry is nearer to
    that of a free bias, so ask for the ridge itself.

    Args:
        problem: with bias=True; any ridge and any ridge on the bias.

    Returns:
        The geometry, the bias and a certificate.

    Raises:
        InputError: the head has no bias, the scales span more than float64 holds, or the closed form of the limit is
            not optimal and there are too many kinds of classes to compute what is.

    Example:
        >>> solution = bias_solution(Problem([50, 50, 5, 5], bias=True))
        >>> solution.bias.round(3)  # n_c / N - 1 / k
        array([ 0.205,  0.205, -0.205, -0.205])
        >>> bias_solution(Problem([50, 50, 5, 5], bias=True, bias_ridge=1.0)).bias
        array([0., 0., 0., 0.])
    """
    require_problem(problem)
    if not problem.bias:
        raise InputError("problem", "must have bias=True", "bias=False")
    if problem.ridge > 0:
        return bias_ridge_solution(problem)
    if problem.free_bias:
        return bias_limit_solution(problem)
    return replace(limit_solution(problem), bias=np.zeros(problem.num_classes))
