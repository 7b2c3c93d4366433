"""What weight decay makes the embeddings of a network cost, by the normalisation that its layers have.

Weight decay acts on weights. Behind a batch normalisation a unit of length costs the mean square of that unit over the
samples: the embeddings of a class cost as much as it has samples, and a mean loss with weight decay ``wd`` has the
ridge ``sqrt(N) wd``. Without one, or behind a layer normalisation, the decay acts on the map that makes the features:
where these have collapsed to one point per class, the price is that of the map, the same for every class, and the ridge
is ``N wd``. Decay that is no part of the loss's gradient (AdamW) has no such ridge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from implicit_geometry._validate import LARGEST_COUNT, choice, number, whole_number
from implicit_geometry.problem import Problem, require_problem

NORMALIZATIONS = ("batch", "layer", "none")
"""What a network can have between its layers."""

COUNT_EXPONENTS = {"batch": 1.0, "layer": 0.0, "none": 0.0}
"""Count exponent a of the price n^a of an embedding, as weight decay alone would have it."""


@dataclass(frozen=True)
class MeasuredExponent:
    """The count exponent that networks were found to have.

    Attributes:
        middle: the median over settings, each fitted on networks of plain cross-entropy.
        low: the smallest of them.
        high: the largest of them.
    """

    middle: float
    low: float
    high: float


MEASURED_EXPONENTS = {
    "batch": MeasuredExponent(0.8, 0.7, 0.9),
    "layer": MeasuredExponent(0.2, 0.0, 0.3),
    "none": MeasuredExponent(0.3, 0.2, 0.4),
}
"""Of the study ``igeom reproduce laws``: STEP profiles of ratio 2, 10 and 100, labels smoothed by 0.1."""


def ridge_of_normalization(normalization: str, weight_decay: float, num_samples: int) -> float:
    """Ridge that weight decay on all weights of a network amounts to.

    Args:
        normalization: ``"batch"``, ``"layer"`` or ``"none"``.
        weight_decay: ``wd`` of a mean loss plus ``wd / 2 * |weights|^2``, > 0.
        num_samples: N, of the training set.

    Returns:
        ``sqrt(N) wd`` behind a batch normalisation, else ``N wd``.

    Raises:
        InputError: there is no such normalisation, or a number is out of range.

    Example:
        >>> round(ridge_of_normalization("batch", 5e-4, 10_000), 3), ridge_of_normalization("none", 5e-4, 10_000)
        (0.05, 5.0)
    """
    choice("normalization", normalization, NORMALIZATIONS)
    decay = number("weight_decay", weight_decay, minimum=0.0, exclusive=True)
    samples = whole_number("num_samples", num_samples, minimum=1, maximum=LARGEST_COUNT)
    return decay * (math.sqrt(samples) if normalization == "batch" else samples)


def normalized_problem(
    problem: Problem, normalization: str, weight_decay: float, *, count_exponent: float | None = None
) -> Problem:
    """A problem as weight decay poses it to a network: its ridge and what its embeddings cost.

    Args:
        problem: counts, loss, labels and head; a bias keeps the quotient of its ridge by that of the rest.
        normalization: ``"batch"``, ``"layer"`` or ``"none"``.
        weight_decay: ``wd`` of a mean loss plus ``wd / 2 * |weights|^2``; 0 for the limit.
        count_exponent: a of the price n^a, such as one of :data:`MEASURED_EXPONENTS`; that of weight decay alone where
            left out.

    Raises:
        InputError: as :func:`ridge_of_normalization`.

    Example:
        >>> found = normalized_problem(Problem([90, 10]), "none", 1e-3)
        >>> found.ridge, found.embedding_cost.tolist()
        (0.1, [1.0, 1.0])
    """
    require_problem(problem)
    alone = COUNT_EXPONENTS[choice("normalization", normalization, NORMALIZATIONS)]
    exponent = alone if count_exponent is None else number("count_exponent", count_exponent)
    priced = replace(problem, embedding_cost=problem.counts.values.astype(np.float64) ** exponent)
    if number("weight_decay", weight_decay, minimum=0.0) == 0:
        return replace(priced, ridge=0.0, bias_ridge=priced.relative_bias_ridge)
    return priced.at_ridge(ridge_of_normalization(normalization, weight_decay, problem.counts.num_samples))
