"""One problem at many ridges, each solved from its neighbour."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from implicit_geometry._validate import InputError, class_vector
from implicit_geometry.counts import ClassCounts
from implicit_geometry.groups import gather
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem, Solution, as_problem, require_free_features
from implicit_geometry.theory.ridge.optimum import optimum
from implicit_geometry.theory.ridge.plain import plain_solution
from implicit_geometry.theory.ridge.program import Logits, within_float64
from implicit_geometry.theory.ridge.reduce import reduce_problem
from implicit_geometry.theory.ridge.smoothed import smoothed_optimum, smoothed_solution
from implicit_geometry.theory.ridge.smoothed_program import reduce_smoothed


def ridge_path(
    counts: ClassCounts | ArrayLike | Problem, parameterization: Parameterization | None, ridges: ArrayLike
) -> tuple[Solution, ...]:
    """Solve one problem at many ridges, each started from its neighbour.

    Args:
        counts: samples per class, shape (k,); or a problem of a head without bias, with its loss, whose ridge plays no
            part.
        parameterization: the loss; None for plain cross-entropy.
        ridges: positive, in any order, shape (r,).

    Returns:
        One solution per ridge, in the order given.

    Raises:
        InputError: a ridge is not positive and finite, or as :class:`Problem`.

    Example:
        >>> path = ridge_path([50, 50, 5, 5], None, [1e-3, 10.0])
        >>> [solution.certificate.status.value for solution in path]
        ['optimal', 'collapsed']
    """
    values = class_vector("ridges", ridges, positive=True)
    base = as_problem(counts, parameterization)
    require_free_features(base, "a path")
    if base.bias:
        raise InputError("counts", "must be a problem without bias", "one with")
    groups = gather(base)
    solutions: dict[int, Solution] = {}
    warm: Logits | None = None
    for index in np.argsort(values, kind="stable").tolist():
        problem = replace(base, ridge=float(values[index]))
        with within_float64(problem):
            if problem.soft_labels:
                smoothed = reduce_smoothed(problem, groups)
                found = smoothed_optimum(smoothed, None, warm)
                warm, solutions[index] = found.logits, smoothed_solution(problem, smoothed, groups, found)
            else:
                reduced = reduce_problem(problem, groups)
                best = optimum(reduced, warm)
                warm, solutions[index] = best.logits, plain_solution(problem, reduced, groups, best)
    return tuple(solutions[index] for index in range(values.size))
