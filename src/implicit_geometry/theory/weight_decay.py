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

from implicit_geometry._validate import choice, number
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
    "batch": MeasuredExponent(0.8, 0.46, 0.88),
    "layer": MeasuredExponent(0.11, -0.27, 0.36),
    "none": MeasuredExponent(0.21, 0.05, 0.39),
}
"""Of the study ``igeom reproduce laws``: digits and MNIST-10k, STEP profiles of ratio 2, 10 and 100, hard labels and
labels smoothed by 0.1, twelve settings for each, and CIFAR-10 at ratio 10 for the first two."""


def with_weight_decay(
    problem: Problem, weight_decay: float, *, normalization: str, count_exponent: float | None = None
) -> Problem:
    """A problem as weight decay poses it to a network: its ridge, and what its embeddings cost.

    Args:
        problem: counts, loss, labels and head; a bias keeps the quotient of its ridge by that of the rest.
        weight_decay: ``wd`` of a mean loss plus ``wd / 2 * |weights|^2`` over all weights; 0 for the limit.
        normalization: of the network, ``"batch"``, ``"layer"`` or ``"none"``.
        count_exponent: a of the price n^a of an embedding, such as one of :data:`MEASURED_EXPONENTS`; 1 with a batch
            normalisation and 0 without where left out, as weight decay alone would have it.

    Returns:
        The problem at the ridge ``sqrt(N) wd`` with a batch normalisation, else ``N wd``.

    Raises:
        InputError: there is no such normalisation, or a number is out of range.

    Example:
        >>> found = with_weight_decay(Problem([90, 10]), 1e-3, normalization="none")
        >>> found.ridge, found.embedding_cost.tolist()
        (0.1, [1.0, 1.0])
        >>> with_weight_decay(Problem([90, 10]), 1e-3, normalization="batch").ridge
        0.01
    """
    require_problem(problem)
    alone = COUNT_EXPONENTS[choice("normalization", normalization, NORMALIZATIONS)]
    priced = problem.at_count_exponent(alone if count_exponent is None else count_exponent)
    decay = number("weight_decay", weight_decay, minimum=0.0)
    if decay == 0:
        return replace(priced, ridge=0.0, bias_ridge=priced.relative_bias_ridge)
    samples = float(problem.counts.num_samples)
    return priced.at_ridge(decay * (math.sqrt(samples) if normalization == "batch" else samples))
