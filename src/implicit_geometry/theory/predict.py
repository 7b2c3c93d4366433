"""The one entry point of the theory: a problem in, its geometry and certificate out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from implicit_geometry._validate import number
from implicit_geometry.certificate import TOLERANCE
from implicit_geometry.problem import Problem, Solution, require_problem
from implicit_geometry.theory.limit.biased import bias_limit_solution, penalised_bias_limit_solution
from implicit_geometry.theory.limit.nonnegative import nonnegative_limit_solution
from implicit_geometry.theory.limit.plain import limit_solution
from implicit_geometry.theory.limit.smoothed import smoothed_limit_solution
from implicit_geometry.theory.nonnegative.descent import MOST_CLASSES, descended_solution
from implicit_geometry.theory.nonnegative.limit_descent import descended_limit_solution
from implicit_geometry.theory.nonnegative.orthogonal import NotOrthogonal
from implicit_geometry.theory.ridge.bias.solution import bias_ridge_solution
from implicit_geometry.theory.ridge.nonnegative import nonnegative_ridge_solution
from implicit_geometry.theory.ridge.plain import ridge_solution
from implicit_geometry.theory.ridge.smoothed_solution import smoothed_ridge_solution

_METHODS: dict[tuple[str, str, str], Callable[[Problem], Solution]] = {
    ("limit", "no bias", "hard labels"): limit_solution,
    ("limit", "free bias", "hard labels"): bias_limit_solution,
    ("limit", "bias with a ridge", "hard labels"): penalised_bias_limit_solution,
    ("limit", "no bias", "soft labels"): smoothed_limit_solution,
    ("limit", "free bias", "soft labels"): smoothed_limit_solution,
    ("limit", "bias with a ridge", "soft labels"): smoothed_limit_solution,
    ("ridge", "no bias", "soft labels"): smoothed_ridge_solution,
    ("ridge", "free bias", "soft labels"): smoothed_ridge_solution,
    ("ridge", "bias with a ridge", "soft labels"): smoothed_ridge_solution,
}
_TO_A_TOLERANCE: dict[tuple[str, str, str], Callable[[Problem, float], Solution]] = {
    ("ridge", "no bias", "hard labels"): ridge_solution,
    ("ridge", "free bias", "hard labels"): bias_ridge_solution,
    ("ridge", "bias with a ridge", "hard labels"): bias_ridge_solution,
}
_NONNEGATIVE: dict[str, Callable[[Problem], Solution]] = {
    "limit": nonnegative_limit_solution,
    "ridge": nonnegative_ridge_solution,
}
_DESCENDED: dict[str, Callable[[Problem], Solution]] = {
    "limit": descended_limit_solution,
    "ridge": descended_solution,
}


def predict(problem: Problem, tolerance: float = TOLERANCE) -> Solution:
    """Predict the geometry that training on a problem leads to.

    Args:
        problem: counts, loss, ridge and head.
        tolerance: relative gap of the objective, > 0, at or below which the certificate says ``OPTIMAL``. Hundreds of
            kinds of classes at a ridge are solved until it is reached, which takes less time where it is larger.
            Whatever the tolerance, the certificate's gap is proven, its own rounding counted in.

    Returns:
        The geometry with its certificate, and the bias of a head with one.

    Raises:
        InputError: a tolerance that is not positive, scales beyond float64, a head with a bias and more kinds of
            classes than can be computed, or more than 30 classes with nonnegative features that are not known to be
            orthogonal, as with a bias or with a shift at a larger ridge.

    Example:
        >>> from implicit_geometry.counts import ClassCounts
        >>> counts = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)
        >>> round(predict(Problem(counts)).geometry.classifier.cosine(0, 9), 3)
        -0.139
        >>> round(predict(Problem(counts, ridge=0.01)).geometry.classifier.cosine(0, 9), 3)
        -0.121
        >>> predict(Problem([50, 50, 5, 5], bias=True)).bias.round(3)  # n_c / N - 1 / k
        array([ 0.205,  0.205, -0.205, -0.205])
        >>> smoothed = predict(Problem([50, 50, 5, 5], label_smoothing=0.1))  # the limit has an absolute scale then
        >>> smoothed.geometry.cross.dense()[0].round(3)
        array([ 2.708, -0.903, -0.903, -0.903])
    """
    require_problem(problem)
    goal = number("tolerance", tolerance, minimum=0, exclusive=True)
    solution = _solved(problem, goal)
    if goal == TOLERANCE:
        return solution
    return replace(solution, certificate=replace(solution.certificate, tolerance=goal))


def _solved(problem: Problem, tolerance: float) -> Solution:
    if problem.features == "nonnegative":
        return _nonnegative(problem)
    kind = _regime(problem), _head(problem), _labels(problem)
    if kind in _TO_A_TOLERANCE:
        return _TO_A_TOLERANCE[kind](problem, tolerance)
    return _METHODS[kind](problem)


def _nonnegative(problem: Problem) -> Solution:
    """In closed form where the embeddings are orthogonal, else by descent for few classes."""
    if problem.ridge == 0 and problem.bias and not problem.free_bias:  # it stays behind, as with free features
        alone = _nonnegative(replace(problem, bias=False, bias_ridge=0.0))
        return replace(alone, problem=problem, bias=np.zeros(problem.num_classes))
    regime = _regime(problem)
    try:
        return _NONNEGATIVE[regime](problem)
    except NotOrthogonal:
        if problem.num_classes > MOST_CLASSES:
            raise
    return _DESCENDED[regime](problem)


def _regime(problem: Problem) -> str:
    return "ridge" if problem.ridge > 0 else "limit"


def _labels(problem: Problem) -> str:
    return "soft labels" if problem.soft_labels else "hard labels"


def _head(problem: Problem) -> str:
    if not problem.bias:
        return "no bias"
    return "free bias" if problem.free_bias else "bias with a ridge"
