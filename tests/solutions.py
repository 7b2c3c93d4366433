"""How tests look at problems and solutions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem, Solution

Floats = NDArray[np.float64]
BLOCKS = ("classifier", "embedding", "cross")

FIVE_VECTORS = Parameterization(
    weight=[1.0, 0.7, 2.0, 1.0],
    shift=[0.3, -1.0, 0.0, 0.5],
    class_scale=[1.0, 0.6, 1.4, 0.8],
    label_scale=[0.8, 1.5, 1.0, 1.1],
    margin=[0.1, 0.0, 0.5, -0.2],
)
"""A loss of four classes in which nothing is neutral."""


def with_bias(problem: Problem) -> Problem:
    """The limit of the same counts and loss for a head with a free bias."""
    return Problem(problem.counts, problem.parameterization, bias=True)


def vectors_of(problem: Problem) -> tuple[Floats, Floats, Floats]:
    """Counts, class_scale and label_scale: all that the limit depends on."""
    return problem.counts.values, problem.parameterization.class_scale, problem.parameterization.label_scale


def logits_of(solution: Solution) -> Floats:
    """X: the mean logits without bias, one column per class, scaled by the root of its count."""
    return solution.geometry.cross.dense() * np.sqrt(solution.problem.counts.values)


def assert_same_geometry(found: Any, expected: Any, tolerance: float) -> None:
    """Relative Frobenius errors of the three blocks; both sides have them as Grams or as arrays."""
    for name in BLOCKS:
        block, matrix = _dense(getattr(found, name)), _dense(getattr(expected, name))
        assert np.linalg.norm(block - matrix) <= tolerance * max(np.linalg.norm(matrix), 1e-9), name


def _dense(block: Any) -> Floats:
    return block if isinstance(block, np.ndarray) else np.asarray(block.dense())
