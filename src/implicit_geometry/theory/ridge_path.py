"""One problem at many ridges, each solved from its neighbour or, for many kinds of classes, from fewer of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from implicit_geometry._validate import class_vector
from implicit_geometry.counts import ClassCounts
from implicit_geometry.groups import gather
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem, Solution, as_problem, require_free_features
from implicit_geometry.theory.predict import predict
from implicit_geometry.theory.ridge.many.plain import FEW_KINDS
from implicit_geometry.theory.ridge.optimum import optimum
from implicit_geometry.theory.ridge.plain import plain_solution
from implicit_geometry.theory.ridge.program import Logits, within_float64
from implicit_geometry.theory.ridge.reduce import reduce_problem
from implicit_geometry.theory.ridge.smoothed import smoothed_optimum
from implicit_geometry.theory.ridge.smoothed_program import reduce_smoothed
from implicit_geometry.theory.ridge.smoothed_solution import smoothed_solution


def ridge_path(
    counts: ClassCounts | ArrayLike | Problem, parameterization: Parameterization | None, ridges: ArrayLike
) -> tuple[Solution, ...]:
    """Solve one problem at many ridges.

    Without a bias each starts from its neighbour; many kinds of classes are solved from fewer of them, which is nearer.

    Args:
        counts: samples per class, shape (k,); or a problem with its loss, whose ridge plays no part but for a bias with
            a ridge of its own: their quotient is kept, 1 where the problem's ridge is 0.
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
    groups = gather(base)
    if base.bias or (groups.size.size > FEW_KINDS and base.label_distribution is None):
        return tuple(predict(base.at_ridge(ridge)) for ridge in values.tolist())
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
