"""One number for how far training has gone: the ridge whose predicted geometry is nearest to a measured one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from implicit_geometry._validate import InputError, choice, instance
from implicit_geometry.comparison import Comparison, compare, gram_distance
from implicit_geometry.geometry import Geometry
from implicit_geometry.problem import Problem, Solution, require_problem
from implicit_geometry.theory.collapse import total_threshold
from implicit_geometry.theory.ridge.plain import ridge_path, ridge_solution

_BLOCKS = ("classifier", "embedding", "cross")
_DECADES = np.concatenate([np.linspace(-12.0, -1.0, 32), np.linspace(-1.0, np.log10(0.99), 17)[1:]])
_AS_NEAR = 1e-6  # difference of distances that does not count


@dataclass(frozen=True, repr=False)
class EffectiveRidge:
    """The ridge that explains a measured geometry best.

    Attributes:
        ridge: lambda; over num_samples, it is the weight decay of a mean loss.
        distance: of the block that was fitted, at this ridge.
        comparison: distances of all three blocks, at this ridge.
        solution: the predicted geometry at this ridge.
        at_edge: whether a ridge at the edge of the searched range is as near (to 1e-6); ``ridge`` is then one of many
            that explain the geometry alike. At the lower edge the limit is reached; at the upper one whole groups of
            classes have collapsed, and what is left changes no more but for its scale.

    Example:
        >>> from implicit_geometry.counts import ClassCounts
        >>> problem = Problem(ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50), ridge=0.5)
        >>> found = effective_ridge(ridge_solution(problem).geometry, problem)
        >>> round(found.ridge, 3), found.at_edge
        (0.5, False)
    """

    ridge: float
    distance: float
    comparison: Comparison
    solution: Solution
    at_edge: bool

    def __repr__(self) -> str:
        return f"EffectiveRidge(ridge={self.ridge:.4g}, distance={self.distance:.4g}, at_edge={self.at_edge})"


def effective_ridge(measured: Geometry, problem: Problem, *, block: str = "classifier") -> EffectiveRidge:
    """Find the ridge at which the predicted geometry is nearest to a measured one.

    Searched from 1e-12 to 0.99 times the ridge from which on everything collapses to zero.

    Args:
        measured: geometry of a network, over the problem's classes in their order.
        problem: counts and loss that it was trained with, without bias; its ridge plays no part.
        block: ``"classifier"``, ``"embedding"`` or ``"cross"``, the one to fit.

    Returns:
        The ridge, the distances there, and the predicted solution.

    Raises:
        InputError: the numbers of classes differ, the measured block is zero, the problem has a bias, or an unknown
            block.

    Example:
        >>> from implicit_geometry.geometry import simplex_etf
        >>> found = effective_ridge(simplex_etf(4), Problem([50, 50, 5, 5]))
        >>> found.distance == found.comparison.classifier
        True
    """
    instance("measured", measured, Geometry)
    require_problem(problem)
    choice("block", block, _BLOCKS)
    if problem.bias:
        raise InputError("problem", "must have bias=False", "bias=True")
    if measured.num_classes != problem.num_classes:
        raise InputError("measured", f"must have the {problem.num_classes} classes of problem", measured.num_classes)
    wanted = getattr(measured, block)
    if wanted.frobenius_norm() == 0:
        raise InputError("measured", f"must have a {block} block that is not zero", "only zeros")

    def distance(solution: Solution) -> float:
        return gram_distance(wanted, getattr(solution.geometry, block))

    ridges = total_threshold(problem) * 10**_DECADES
    path = ridge_path(problem.counts, problem.parameterization, ridges)
    distances = [distance(solution) for solution in path]
    best = int(np.argmin(distances))
    near = np.log(ridges[max(best - 1, 0) : best + 2])

    def solve(log_ridge: float) -> Solution:
        return ridge_solution(Problem(problem.counts, problem.parameterization, ridge=float(np.exp(log_ridge))))

    refined = minimize_scalar(
        lambda log_ridge: distance(solve(log_ridge)) ** 2,
        bounds=(near[0], near[-1]),
        method="bounded",
        options={"xatol": 1e-6},
    )
    solution = min((path[best], solve(refined.x)), key=distance)
    return EffectiveRidge(
        ridge=solution.problem.ridge,
        distance=distance(solution),
        comparison=compare(measured, solution.geometry),
        solution=solution,
        at_edge=min(distances[0], distances[-1]) <= distance(solution) + _AS_NEAR,
    )
