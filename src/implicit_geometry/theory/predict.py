"""The one entry point of the theory: a problem in, its geometry and certificate out."""

from __future__ import annotations

from implicit_geometry.problem import Problem, Solution, require_problem
from implicit_geometry.theory.bias import bias_solution
from implicit_geometry.theory.limit import limit_solution
from implicit_geometry.theory.ridge import ridge_solution


def predict(problem: Problem) -> Solution:
    """Predict the geometry that training on a problem leads to.

    Args:
        problem: counts, loss, ridge and head.

    Returns:
        The geometry with its certificate.

    Raises:
        InputError: scales beyond float64, or a head with a bias and more kinds of classes than can be computed.

    Example:
        >>> from implicit_geometry.counts import ClassCounts
        >>> counts = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)
        >>> round(predict(Problem(counts)).geometry.classifier.cosine(0, 9), 3)
        -0.139
        >>> round(predict(Problem(counts, ridge=0.01)).geometry.classifier.cosine(0, 9), 3)
        -0.121
    """
    require_problem(problem)
    if problem.bias:
        return bias_solution(problem)
    return ridge_solution(problem) if problem.ridge > 0 else limit_solution(problem)
