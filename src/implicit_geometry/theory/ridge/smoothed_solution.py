"""The geometry at a positive ridge with soft labels, with or without a bias."""

from __future__ import annotations

import numpy as np

from implicit_geometry._validate import InputError
from implicit_geometry.groups import ClassGroups, gather
from implicit_geometry.problem import Problem, Solution, require_free_features, require_problem
from implicit_geometry.theory.expand import grouped_geometry
from implicit_geometry.theory.ridge.many.smoothed import smoothed_optimum_of_kinds
from implicit_geometry.theory.ridge.program import proven, within_float64
from implicit_geometry.theory.ridge.reduce import Kinds
from implicit_geometry.theory.ridge.smoothed import Found, smoothed_optimum
from implicit_geometry.theory.ridge.smoothed_program import SmoothedReduced, reduce_smoothed

MOST_SOFT_KINDS = 4000
"""Kinds of classes with soft labels up to which the whole problem is solved: no bins of them answer."""


def smoothed_ridge_solution(problem: Problem) -> Solution:
    """Solve the regularised problem with soft labels.

    Args:
        problem: with ridge > 0 and soft labels.

    Returns:
        The geometry in absolute scale, the bias of a head with one, and a certificate whose primal and dual values are
        those of the sum-form objective less the entropy of the labels.

    Raises:
        InputError: a ridge or a smoothing that is not positive, what float64 does not hold, a margin that takes away
            what the smoothing leaves of the log-odds, or more than 4,000 kinds of classes.

    Example:
        >>> solution = smoothed_ridge_solution(Problem([50, 50, 5, 5], ridge=0.1, label_smoothing=0.1))
        >>> round(solution.geometry.cross.entry(0, 0), 3), solution.certificate.relative_gap < 1e-8
        (2.59, True)
    """
    require_problem(problem)
    require_free_features(problem, "this method")
    if problem.ridge <= 0 or not problem.soft_labels:
        given = f"ridge={problem.ridge:g} and {'soft' if problem.soft_labels else 'hard'} labels"
        raise InputError("problem", "must have ridge > 0 and soft labels", given)
    groups = gather(problem)
    if groups.size.size > MOST_SOFT_KINDS:
        expected = f"must have at most {MOST_SOFT_KINDS} kinds of classes with soft labels at a ridge"
        raise InputError("problem", expected, f"{groups.size.size}")
    with within_float64(problem):
        reduced = reduce_smoothed(problem, groups)
        decay = problem.bias_ridge / problem.ridge if problem.bias else None
        if problem.label_distribution is None:
            best = smoothed_optimum_of_kinds(Kinds.of(problem, groups), problem.ridge, problem.label_smoothing, decay)
        else:  # no two classes are alike, however near their counts are
            best = smoothed_optimum(reduced, decay)
        return smoothed_solution(problem, reduced, groups, best)


def smoothed_solution(problem: Problem, reduced: SmoothedReduced, groups: ClassGroups, best: Found) -> Solution:
    """The geometry and the certificate of an optimum of the reduced problem."""
    certificate = proven(problem, best.bounds, not (best.logits.own.any() or best.logits.mean.any()))
    geometry = grouped_geometry(groups, reduced.root_count, *best.logits)
    bias = (best.bias / np.sqrt(reduced.size))[groups.group] if problem.bias else None
    return Solution(problem, geometry, certificate, bias)
