"""The limit of vanishing ridge as what it is, a cost-sensitive SVM, solved numerically."""

from __future__ import annotations

import numpy as np

from implicit_geometry._validate import Floats, InputError, number
from implicit_geometry.certificate import Certificate
from implicit_geometry.geometry import Geometry
from implicit_geometry.parameterization import Pairwise
from implicit_geometry.problem import Problem, Solution, require_free_features, require_hard_labels, require_problem
from implicit_geometry.theory.limit.nuclear_norm import ExcessProgram, minimise_excess

MAX_CLASSES = 100
"""Largest number of classes :func:`solve_margin` takes: its unknowns are the k (k - 1) margins."""


def solve_margin(problem: Problem, *, tolerance: float = 1e-8) -> Solution:
    """Solve the cost-sensitive SVM over all its margins by an interior-point method, for any counts and temperatures.

    The optimum of min |W|_F^2 + |H|_F^2 under unit margins is that of min |X|_* in the logits X (columns scaled by
    sqrt(n)), with or without a free bias.

    Args:
        problem: its ridge is taken as 0.
        tolerance: wanted relative gap between the objective and its lower bound, in (0, 1).

    Returns:
        The geometry scaled so that the smallest margin is 1, the bias where the head has one, and a certificate.

    Raises:
        InputError: more than :data:`MAX_CLASSES` classes, or a tolerance outside (0, 1).

    Source: Behnia et al. (2023), (4a) and (4b).

    Example:
        >>> solution = solve_margin(Problem([50, 50, 5, 5]))
        >>> round(solution.geometry.classifier.cosine(0, 3), 4), solution.certificate.relative_gap < 1e-8
        (-0.3821, True)
    """
    require_problem(problem)
    require_free_features(problem, "this solver")
    require_hard_labels(problem, "a margin program")
    wanted = number("tolerance", tolerance, minimum=0, maximum=1, exclusive=True)
    if problem.num_classes > MAX_CLASSES:
        raise InputError(
            "problem",
            f"must have at most {MAX_CLASSES} classes for a solver over all pairs of classes",
            f"{problem.num_classes}; the closed form takes any number",
        )
    program = margin_program(problem)
    excess, polar = minimise_excess(program, wanted)
    logits, root_count = program.logits(excess), np.sqrt(problem.embedding_cost)
    bias = program.shift(excess) / np.linalg.norm(root_count)
    margin = smallest_margin(problem, logits / root_count + bias[:, None])
    left, sigma, right = np.linalg.svd(logits / margin)
    certificate = Certificate(primal=float(sigma.sum()), dual=program.dual_value(polar), smallest_margin=1.0)
    root = np.sqrt(sigma)
    geometry = Geometry.from_factors(left * root, right.T * root / root_count[:, None])
    return Solution(problem, geometry, certificate, bias / margin if problem.bias else None)


def margin_program(problem: Problem) -> ExcessProgram:
    """The program over excess margins, one class per row."""
    root_count, pairs = np.sqrt(problem.embedding_cost), Pairwise.of(problem.parameterization)
    return ExcessProgram(
        natural=pairs.natural(problem.embedding_cost),
        left_null=pairs.null / np.linalg.norm(pairs.null),
        right_null=root_count / np.linalg.norm(root_count) * problem.free_bias,
    )


def smallest_margin(problem: Problem, logits: Floats) -> float:
    """The least margin between two different classes, of logits with one column per class, (k, k)."""
    margins = Pairwise.of(problem.parameterization).margins(logits)
    np.fill_diagonal(margins, np.inf)
    return float(margins.min())
