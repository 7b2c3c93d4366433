"""Collapse: the ridges from which on classes, or groups of classes, are no longer kept apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from implicit_geometry._validate import Floats, frozen, number, whole_number
from implicit_geometry.counts import ClassCounts
from implicit_geometry.groups import ClassGroups
from implicit_geometry.parameterization import Pairwise, Parameterization
from implicit_geometry.problem import Problem
from implicit_geometry.theory.ridge.biased import free_bias_gradient
from implicit_geometry.theory.ridge.optimum import optimum
from implicit_geometry.theory.ridge.program import Logits, Reduced, gather, reduce_problem, threshold_range


@dataclass(frozen=True, eq=False, repr=False)
class CollapseThresholds:
    """The ridges at which the optimum loses directions.

    Classes that agree in counts and parameters form a group. The differences within a group of k_g >= 2 classes vanish
    together, exactly from the ``ridge`` of its classes on: weight * class_scale * label_scale * sqrt(n) without a
    margin, whatever the other classes are. A class that is alone in its group has no such differences; its ``ridge`` is
    the value that a group of its kind has without margin (``exact`` is False). It marks a scale, not an event: with
    plain cross-entropy the rank of the logits is the number of classes above the ridge, or one less, in every one of
    a thousand random problems tried; with strong shifts or class scales it can differ.

    Attributes:
        counts: samples per class.
        ridge: collapse threshold of every class, shape (k,).
        exact: whether the class is one of a group and ``ridge`` the exact threshold of that group, shape (k,).
        between_groups: ridge from which on the means of different groups coincide as well; NaN for a single group.
        total: ridge from which on everything is zero, exactly the operator norm of the loss gradient at zero.

    Example:
        >>> thresholds = collapse_thresholds([50, 50, 5])
        >>> (thresholds.ridge**2).round(6), thresholds.exact
        (array([50., 50.,  5.]), array([ True,  True, False]))
    """

    counts: ClassCounts
    ridge: Floats
    exact: NDArray[np.bool_]
    between_groups: float
    total: float

    def __repr__(self) -> str:
        return (
            f"CollapseThresholds(num_classes={self.counts.num_classes}, between_groups={self.between_groups:.4g}, "
            f"total={self.total:.4g})"
        )

    def weight_decay(self, num_samples: int | None = None) -> Floats:
        """The thresholds as weight decay of a mean loss over ``num_samples`` (the counts' own by default), shape (k,).

        Raises:
            InputError: ``num_samples`` is not a whole number >= 1.

        Example:
            >>> collapse_thresholds([50, 50, 5, 5]).weight_decay().round(4)
            array([0.0643, 0.0643, 0.0203, 0.0203])
        """
        samples = self.counts.num_samples if num_samples is None else num_samples
        return np.asarray(self.ridge / number("num_samples", whole_number("num_samples", samples, minimum=1)))

    def smallest_surviving_count(self, weight_decay: float) -> Floats:
        """How many samples per class needs to survive a weight decay, its parameters and the other samples held fixed.

        Exact without margins.

        Args:
            weight_decay: coefficient of a mean loss over all samples of the counts, >= 0.

        Returns:
            Whole numbers, shape (k,).

        Raises:
            InputError: ``weight_decay`` is negative or not finite.

        Example:
            >>> collapse_thresholds([50, 50, 5, 5]).smallest_surviving_count(0.03)
            array([11., 11., 11., 11.])
        """
        ridge = number("weight_decay", weight_decay, minimum=0) * self.counts.num_samples
        return np.asarray(np.floor(self.counts.values * (ridge / self.ridge) ** 2) + 1)


def collapse_thresholds(
    counts: ClassCounts | ArrayLike, parameterization: Parameterization | None = None
) -> CollapseThresholds:
    """Find the ridges, and with them the weight decays, at which classes collapse.

    Args:
        counts: samples per class, shape (k,).
        parameterization: the loss; plain cross-entropy by default.

    Raises:
        InputError: as :class:`Problem`.

    Source: the stationarity conditions of the convex program of
        :func:`implicit_geometry.theory.ridge.plain.ridge_solution`; minority collapse is Fang et al. (2021), Theorem 5.

    Example:
        >>> thresholds = collapse_thresholds([50, 50, 5, 5])
        >>> thresholds.ridge.round(3), round(thresholds.total, 3)
        (array([7.071, 7.071, 2.236, 2.236]), 7.071)
    """
    problem = Problem(counts, parameterization)
    groups, total = gather(problem), total_threshold(problem)
    return CollapseThresholds(
        counts=problem.counts,
        ridge=frozen(class_thresholds(problem)),
        exact=frozen((groups.size > 1)[groups.group]),
        between_groups=_between(problem, groups, total),
        total=total,
    )


def class_thresholds(problem: Problem) -> Floats:
    """The ``ridge`` of :func:`collapse_thresholds` alone, shape (k,); the problem's own ridge plays no part."""
    groups = gather(problem)
    return np.asarray(_within(problem, groups)[groups.group])


def total_threshold(problem: Problem) -> float:
    """The ``total`` of :func:`collapse_thresholds` alone; the problem's own ridge plays no part."""
    groups = gather(problem)
    low = float(_range(problem, groups)[0].min()) / 2  # every group is alive there
    reduced = _at(problem, groups, low)
    zero = Logits(np.zeros_like(reduced.size), np.zeros_like(reduced.logit_slope))
    return low * reduced.gradient_norm(reduced.evaluate(zero).wrong)


def highest_threshold(problem: Problem) -> float:
    """The ridge from which on everything is zero but the bias that a head may have.

    Without a bias it is the ``total`` of :func:`collapse_thresholds`. For a bias with a ridge of its own it is the
    larger of that and the threshold of a free bias, about which it lies.
    """
    if not problem.bias:
        return total_threshold(problem)
    groups = gather(problem)
    low = float(_range(problem, groups)[0].min()) / 2  # every group is alive there
    free = low * free_bias_gradient(_at(problem, groups, low))
    return free if problem.free_bias else max(free, total_threshold(problem))


def _range(problem: Problem, groups: ClassGroups) -> tuple[Floats, Floats]:
    """Bounds of the thresholds of the differences within each group, shapes (G,)."""
    pairs = Pairwise.of(problem.parameterization, groups.first)
    strength = pairs.strength(problem.counts.values[groups.first])
    return threshold_range(strength, groups.size, np.where(groups.size > 1, pairs.margin, 0.0))


def _within(problem: Problem, groups: ClassGroups) -> Floats:
    """Thresholds of the differences within each group, shape (G,)."""
    low, high = _range(problem, groups)
    thresholds = low.copy()
    for group in np.flatnonzero(low < high).tolist():
        thresholds[group] = _zero(_excess_gradient(problem, groups, group), float(low[group]), float(high[group]))
    return thresholds


def _excess_gradient(problem: Problem, groups: ClassGroups, group: int) -> Callable[[float], float]:
    """Within-group gradient over the ridge, minus 1, at the optimum among logits with that group collapsed."""

    def height(ridge: float) -> float:
        reduced = _at(problem, groups, ridge)
        held = replace(reduced, live=reduced.live & (np.arange(reduced.size.size) != group))
        return -float(held.evaluate(optimum(held).logits).own_gradient[group]) - 1

    return height


def _between(problem: Problem, groups: ClassGroups, total: float) -> float:
    """Where the means of all groups coincide: their gradient at the optimum among such logits has norm 1."""
    if groups.size.size == 1:
        return float("nan")

    def height(ridge: float) -> float:
        reduced = _at(problem, groups, ridge)
        x = Logits(_own_alone(reduced), np.zeros_like(reduced.logit_slope))
        return float(np.linalg.norm(reduced.evaluate(x).mean_gradient, 2)) - 1

    low = total / 2
    while height(low) <= 0:
        low /= 2
    return _zero(height, low, 2 * low)


def _own_alone(reduced: Reduced) -> Floats:
    """The optimal ``own`` where all group means coincide: one increasing equation per group, by bisection.

    SciPy's elementwise root finder hands over subsets of the equations, which the reduced problem cannot evaluate.
    """
    zero = np.zeros_like(reduced.logit_slope)
    low, high = np.zeros_like(reduced.natural), reduced.natural * reduced.live
    while (-reduced.evaluate(Logits(high, zero)).own_gradient[reduced.live] > 1).any():
        high = 2 * high
    for _ in range(60):
        middle = 0.5 * (low + high)
        short = -reduced.evaluate(Logits(middle, zero)).own_gradient > 1
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return low


def _at(problem: Problem, groups: ClassGroups, ridge: float) -> Reduced:
    return reduce_problem(Problem(problem.counts, problem.parameterization, ridge=ridge), groups)


def _zero(height: Callable[[float], float], low: float, high: float) -> float:
    if height(low) <= 0:
        return low
    if height(high) >= 0:
        return high
    return float(brentq(height, low, high, rtol=1e-10))
