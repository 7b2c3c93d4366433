"""The ridge from which on equal classes collapse onto one another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import bisect

from implicit_geometry._validate import Floats, frozen, number, whole_number
from implicit_geometry.counts import ClassCounts
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import ClassGroups, Problem, group_classes, varying_vectors
from implicit_geometry.theory.ridge import ridge_solution


@dataclass(frozen=True)
class CollapseThresholds:
    """When the classes of every group of equal classes become one.

    Attributes:
        counts: samples a class.
        ridge: threshold of each class, shape (k,): at this ridge and above, its classifier and its class mean equal
            those of all classes with the same count and parameters. NaN for a class without an equal.
        strength: weight * class_scale * label_scale of each class, shape (k,).

    Example:
        >>> collapse_thresholds([50, 50, 5, 5]).smallest_count(0.1, num_samples=100).round(6)
        array([100., 100., 100., 100.])
    """

    counts: ClassCounts
    ridge: Floats
    strength: Floats

    def weight_decay(self, num_samples: int | None = None) -> Floats:
        """The thresholds as weight decay of a mean loss over ``num_samples`` (default: of the counts), shape (k,)."""
        return np.asarray(self.ridge / self._samples(num_samples))

    def smallest_count(self, weight_decay: float, num_samples: int | None = None) -> Floats:
        """The class size above which classes survive a weight decay, for each class's parameters, shape (k,).

        A class of n samples survives where weight * class_scale * label_scale * sqrt(n) > num_samples * weight_decay
        (without a margin).

        Raises:
            InputError: the weight decay is not positive.
        """
        decay = number("weight_decay", weight_decay, minimum=0.0, exclusive=True)
        return np.asarray((self._samples(num_samples) * decay / self.strength) ** 2)

    def _samples(self, num_samples: int | None) -> int:
        return self.counts.num_samples if num_samples is None else whole_number("num_samples", num_samples, minimum=1)


def collapse_thresholds(
    counts: ClassCounts | ArrayLike, parameterization: Parameterization | None = None
) -> CollapseThresholds:
    """The exact ridge at which each group of equal classes collapses.

    On the mean-zero subspace of a group the gradient of the collapsed optimum is
    weight * class_scale * label_scale * sqrt(n), times 1 - p_yy + p_yc with a margin; the group is collapsed as soon as
    the ridge reaches that. The factor is 1 without a margin; with one the threshold is bracketed by solutions, to a
    relative 1e-9.

    Args:
        counts: samples n of each class.
        parameterization: the loss; plain cross-entropy by default.

    Raises:
        InputError: counts and parameters differ in length.

    Example:
        >>> thresholds = collapse_thresholds([50, 50, 5, 5])
        >>> (thresholds.ridge**2).round(6)
        array([50., 50.,  5.,  5.])
    """
    problem = Problem(counts, parameterization)
    loss, values = problem.parameterization, problem.counts.values
    strength = loss.weight * loss.class_scale * loss.label_scale
    groups = group_classes(*varying_vectors(problem))
    ridge = (strength * np.sqrt(values))[groups.first]
    for g in np.flatnonzero((loss.margin[groups.first] > 0) & (groups.size > 1)):
        ridge[g] = _with_margin(problem, groups, int(g), float(ridge[g]))
    ridge[groups.size == 1] = np.nan
    return CollapseThresholds(problem.counts, frozen(ridge[groups.group]), frozen(strength))


def _with_margin(problem: Problem, groups: ClassGroups, group: int, without: float) -> float:
    """Bracket the threshold between the one without a margin and twice it: 1 - p_yy + p_yc is between 1 and 2."""
    one, other = np.flatnonzero(groups.group == group)[:2]

    def spread(ridge: float) -> float:
        solution = ridge_solution(Problem(problem.counts, problem.parameterization, ridge=ridge))
        gram = solution.geometry.classifier
        apart = gram.entry(one, one) - gram.entry(one, other)
        return 1.0 if apart > 1e-12 * max(gram.squared_norms().max(), 1e-300) else -1.0

    low, high = without * (1 - 1e-9), 2 * without
    return without if spread(low) < 0 else float(bisect(spread, low, high, xtol=1e-9 * without))
