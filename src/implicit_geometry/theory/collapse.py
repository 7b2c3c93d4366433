"""Collapse: the ridges from which on classes, or groups of classes, are no longer kept apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from implicit_geometry._validate import Floats, InputError, frozen, number, whole_number
from implicit_geometry.counts import ClassCounts
from implicit_geometry.groups import ClassGroups, gather
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem, as_problem, require_free_features, require_no_distribution
from implicit_geometry.theory.numerics.singular_values import largest_singular_value
from implicit_geometry.theory.ridge.bias.program import best_bias, optimum_with_bias
from implicit_geometry.theory.ridge.many.plain import FEW_KINDS
from implicit_geometry.theory.ridge.nonnegative import nonnegative_thresholds
from implicit_geometry.theory.ridge.optimum import optimum
from implicit_geometry.theory.ridge.program import Logits, Point, Reduced
from implicit_geometry.theory.ridge.reduce import Kinds, collapse_range, reduce_problem
from implicit_geometry.theory.ridge.smoothed import smoothed_point
from implicit_geometry.theory.ridge.smoothed_program import SmoothedReduced, reduce_smoothed
from implicit_geometry.theory.ridge.thresholds.margins import margin_thresholds
from implicit_geometry.theory.ridge.thresholds.zero_means import OwnLogits, ZeroMeans, best_own

_ROUNDS = 200  # of finding the bias and the logits within groups for each other
_SETTLED = 1e-11
_SECANTS = 12
_SAME = 1e-9  # relative difference of ridges that does not count


@dataclass(frozen=True, eq=False, repr=False)
class CollapseThresholds:
    """The ridges at which the optimum loses directions.

    Classes that agree in counts and parameters form a group. The differences within a group of k_g >= 2 classes vanish
    together, exactly from the ``ridge`` of its classes on: weight * class_scale * label_scale * sqrt(n) without a
    margin, whatever the other classes are (times 1 - eps with smoothed labels; n / sqrt(m) in place of sqrt(n) where
    embeddings cost m). A class that is alone in its group has no such differences; its ``ridge`` is
    the value that a group of its kind has without margin (``exact`` is False). It marks a scale, not an event: with
    plain cross-entropy the rank of the logits is the number of classes above the ridge, or one less, in every one of
    a thousand random problems tried; with strong shifts or class scales, or with a bias, it can differ.

    With a margin, a group's threshold depends on the optimum of the rest, and on that but little. Up to 48 kinds of
    classes it is found to 1e-9 or so, and up to 128 kinds nearly as well: 12 random problems of 53 to 73 kinds, with
    and without a bias, were within 1e-8 of the slower method for few kinds. Beyond, all other classes are put into up
    to 48 bins: ``error`` says how far twice as many of them have moved the threshold, or would by further doublings
    where that hardly falls, and is an estimate, no bound. With LDAM on 1,000 classes of 529 kinds it is 1.4e-7, and
    2.2e-6 with a bias; 11 thresholds were within 8e-8 and 7e-7 of those of 96 bins. Kinds that do not follow one
    another smoothly are known less well: with all parameters random on 150 kinds it was 2e-4 to 3e-3, and of 24
    thresholds compared with those of the whole problem two were off by more, 2 and 2.8 times as much.

    With nonnegative features every class has a direction of its own, which it loses alone: ``ridge`` is that from which
    on its embedding is zero, exact where the embeddings are known to be orthogonal there (always so for plain
    cross-entropy), and there is no ``between_groups``. ``total`` is the largest, NaN where that is not exact.

    A bias is the same for all classes of a group, so that without a margin it moves no class's threshold. It does move
    ``between_groups`` and ``total``: a free bias tells groups apart by itself and leaves the logits less to do.

    Attributes:
        problem: what was asked; its ridge played no part.
        ridge: collapse threshold of every class, shape (k,).
        error: estimate of its relative error, 0 where only rounding is left, shape (k,).
        exact: whether the class is one of a group and ``ridge`` the exact threshold of that group, shape (k,).
        between_groups: ridge from which on the means of different groups coincide as well; NaN for a single group.
        total: ridge from which on everything (but a bias) is zero; without a bias, exactly the operator norm of the
            loss gradient at zero.

    Example:
        >>> thresholds = collapse_thresholds([50, 50, 5])
        >>> (thresholds.ridge**2).round(6), thresholds.exact
        (array([50., 50.,  5.]), array([ True,  True, False]))
    """

    problem: Problem
    ridge: Floats
    error: Floats
    exact: NDArray[np.bool_]
    between_groups: float
    total: float

    @property
    def counts(self) -> ClassCounts:
        """Samples per class."""
        return self.problem.counts

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

        Exact without margins, for embeddings that cost one price per sample.

        Args:
            weight_decay: coefficient of a mean loss over all samples of the counts, >= 0.

        Returns:
            Whole numbers, shape (k,).

        Raises:
            InputError: ``weight_decay`` is negative or not finite, or embeddings cost something else.

        Example:
            >>> collapse_thresholds([50, 50, 5, 5]).smallest_surviving_count(0.03)
            array([11., 11., 11., 11.])
        """
        if not self.problem.pays_per_sample:
            raise InputError("embedding_cost", "must be the counts for a smallest count", "other prices")
        ridge = number("weight_decay", weight_decay, minimum=0) * self.counts.num_samples
        return np.asarray(np.floor(self.counts.values * (ridge / self.ridge) ** 2) + 1)


def collapse_thresholds(
    counts: ClassCounts | ArrayLike | Problem, parameterization: Parameterization | None = None
) -> CollapseThresholds:
    """Find the ridges, and with them the weight decays, at which classes collapse.

    Args:
        counts: samples per class, shape (k,); or a problem with its loss, whose ridge plays no part but for a bias with
            a ridge of its own: their quotient is kept, 1 where the problem's ridge is 0.
        parameterization: the loss; plain cross-entropy by default.

    Raises:
        InputError: as :class:`Problem`, a loss beside a problem, nonnegative features and a bias, or label
            distributions.

    Source: the stationarity conditions of the convex program of
        :func:`implicit_geometry.theory.ridge.plain.ridge_solution`; minority collapse is Fang et al. (2021), Theorem 5.

    Example:
        >>> thresholds = collapse_thresholds([50, 50, 5, 5])
        >>> thresholds.ridge.round(3), round(thresholds.total, 3)
        (array([7.071, 7.071, 2.236, 2.236]), 7.071)
        >>> round(collapse_thresholds(Problem([500, 5], bias=True)).total, 3)  # 15.89 without a bias
        3.147
    """
    problem = as_problem(counts, parameterization)
    require_no_distribution(problem, "collapse thresholds")
    if problem.features != "free":
        alone, known = nonnegative_thresholds(problem)
        total = float(alone.max()) if known[alone.argmax()] else math.nan
        return CollapseThresholds(problem, frozen(alone), frozen(np.zeros_like(alone)), frozen(known), math.nan, total)
    groups = gather(problem)
    total, by_means = _total(problem, groups)
    ridge, error = _within(problem, groups)
    return CollapseThresholds(
        problem=problem,
        ridge=frozen(ridge[groups.group]),
        error=frozen(error[groups.group]),
        exact=frozen((groups.size > 1)[groups.group]),
        between_groups=_between(problem, groups, total, by_means),
        total=total,
    )


def class_thresholds(problem: Problem) -> Floats:
    """The ``ridge`` of :func:`collapse_thresholds` alone, shape (k,); the problem's own ridge plays no part."""
    groups = gather(problem)
    return np.asarray(_within(problem, groups)[0][groups.group])


def total_threshold(problem: Problem) -> float:
    """The ``total`` of :func:`collapse_thresholds` alone; the problem's own ridge plays no part but for a bias's."""
    require_free_features(problem, "a search of ridges")
    return _total(problem, gather(problem))[0]


def _total(problem: Problem, groups: ClassGroups) -> tuple[float, bool]:
    """The ridge from which on everything is zero, and whether the means of groups are the last to vanish."""
    low = float(collapse_range(problem, groups)[0].min()) / 2  # every group is alive there
    if not (problem.bias or problem.soft_labels):
        zero = ZeroMeans.of(Kinds.of(problem, groups), low, groups.size > 1)
        no_own = np.zeros_like(groups.size)
        means, within = zero.gradient_norm(no_own), float(zero.own_logits.within(no_own).max())
        return low * max(means, within), means >= within

    nothing = _WithoutMeans(np.zeros_like(groups.size), np.zeros_like(groups.size))

    def gradients(ridge: float) -> tuple[float, float]:
        nonlocal nothing
        reduced = replace(_at(problem, groups, ridge), live=groups.size > 1)
        nothing = nothing.with_best_bias(problem, reduced)
        point = nothing.point(reduced)
        within = -np.where(reduced.live, point.own_gradient, 0.0).min()
        return largest_singular_value(point.mean_gradient), float(within)

    means, within = gradients(low)
    total = low * max(means, within)
    if problem.bias and not problem.free_bias:  # otherwise nothing at zero logits depends on the ridge but its scale
        total = _crossing(lambda ridge: max(gradients(ridge)) - 1, total)
        means, within = gradients(total)
    return total, means >= within


def _within(problem: Problem, groups: ClassGroups) -> tuple[Floats, Floats]:
    """Thresholds of the differences within each group and estimates of their relative errors, shapes (G,)."""
    low, high = collapse_range(problem, groups)
    thresholds, errors = low.copy(), np.zeros_like(low)
    open_ = low < high
    if groups.size.size > FEW_KINDS and not problem.soft_labels and open_.any():
        bias_decay = problem.relative_bias_ridge if problem.bias else None
        ridge, error = margin_thresholds(Kinds.of(problem, groups), bias_decay)
        known = np.isfinite(ridge)
        thresholds[known], errors[known], open_ = ridge[known], error[known], open_ & ~known
    order = np.argsort(-high, kind="stable")
    for group in order[open_[order]].tolist():
        height = _excess_gradient(problem, groups, group)
        thresholds[group] = _fixed_ridge(height, float(low[group]), float(high[group]))
        errors[group] = _SAME
    return thresholds, errors


def _excess_gradient(problem: Problem, groups: ClassGroups, group: int) -> Callable[[float], float]:
    """Within-group gradient over the ridge, minus 1, at the optimum among logits with that group collapsed."""

    def height(ridge: float) -> float:
        reduced = _at(problem, groups, ridge)
        held = replace(reduced, live=reduced.live & (np.arange(reduced.size.size) != group))
        return -float(_at_optimum(problem, held).own_gradient[group]) - 1

    return height


def _fixed_ridge(height: Callable[[float], float], low: float, high: float) -> float:
    """Where a height is zero: ridge (1 + height) is the ridge again, and hardly depends on it.

    Secants of that difference, which take a third of the evaluations of a bracketing search, and that where they fail.
    """
    before, excess_before = low, low * height(low)
    if excess_before <= 0:
        return low
    ridge = min(low + excess_before, high)
    for _ in range(_SECANTS):
        excess = ridge * height(ridge)
        if excess >= 0 and ridge == high:
            return high
        following = ridge - excess * (ridge - before) / (excess - excess_before) if excess != excess_before else ridge
        if not low <= following <= high:
            break
        if abs(following - ridge) <= _SAME * ridge:
            return following
        before, excess_before, ridge = ridge, excess, following
    return _zero(height, low, high)


def _between(problem: Problem, groups: ClassGroups, total: float, by_means: bool) -> float:
    """Where the means of all groups coincide: their gradient at the optimum among such logits has norm 1.

    That is where everything vanishes if the means are the last to do so.
    """
    if groups.size.size == 1:
        return math.nan
    if by_means:
        return total
    several, collapsed = groups.size > 1, collapse_range(problem, groups)[1]
    if not (problem.bias or problem.soft_labels):
        kinds = Kinds.of(problem, groups)

        def without_matrices(ridge: float) -> float:
            zero = ZeroMeans.of(kinds, ridge, several & (collapsed > ridge))
            return zero.gradient_norm(zero.best_own()) - 1

        return _crossing(without_matrices, total)
    first = _at(problem, groups, total)
    near = _WithoutMeans(np.zeros_like(first.size), np.zeros_like(first.size))

    def height(ridge: float) -> float:
        nonlocal near
        weight = first.group_weight * (total / ridge)
        reduced = replace(first, group_weight=weight, live=several & (collapsed > ridge))
        near = _best_without_means(problem, reduced, near)
        return largest_singular_value(near.point(reduced).mean_gradient) - 1

    return _crossing(height, total)


def _crossing(height: Callable[[float], float], about: float) -> float:
    """Where a falling height is zero, found by doubling and halving."""
    height = cache(height)
    low = high = about
    while height(high) > 0:
        low, high = high, 2 * high
    if low == high:
        low = high / 2
        while height(low) <= 0:
            low, high = low / 2, low
    return _zero(height, low, high)


class _WithoutMeans(NamedTuple):
    """Logits within groups, and a bias on normalised group means, where the means of all groups are zero."""

    own: Floats
    bias: Floats

    def added(self, reduced: Reduced) -> Floats:
        """What the bias adds to group means, shape (G, G)."""
        return np.outer(self.bias, np.sqrt(reduced.size) * reduced.root_count)

    def with_best_bias(self, problem: Problem, reduced: Reduced) -> _WithoutMeans:
        """The same logits with the best bias, if there is one."""
        if not problem.bias:
            return self
        return self._replace(bias=best_bias(reduced, problem.relative_bias_ridge, self.own, self.bias))

    def point(self, reduced: Reduced) -> Point:
        """Loss and gradient there."""
        return reduced.evaluate(Logits(self.own, self.added(reduced)))


def _best_without_means(problem: Problem, reduced: Reduced, near: _WithoutMeans) -> _WithoutMeans:
    """The optimum among such logits, from what may be near it."""
    at = near
    for _ in range(_ROUNDS if problem.bias else 1):
        at = at.with_best_bias(problem, reduced)
        own = _own_alone(reduced, at.added(reduced))
        change, at = np.abs(own - at.own).max(), at._replace(own=own)
        if change <= _SETTLED * np.abs(own).max():
            break
    return at.with_best_bias(problem, reduced)


def _at_optimum(problem: Problem, reduced: Reduced) -> Point:
    if isinstance(reduced, SmoothedReduced):
        return smoothed_point(reduced, problem.relative_bias_ridge if problem.bias else None)
    if problem.bias:
        return optimum_with_bias(reduced, problem.relative_bias_ridge)
    return reduced.evaluate(optimum(reduced).logits)


def _own_alone(reduced: Reduced, mean: Floats) -> Floats:
    """The optimal ``own`` where all group means coincide."""
    return best_own(_own_gradient(reduced, mean), reduced.natural, reduced.live)


def _own_gradient(reduced: Reduced, mean: Floats) -> Callable[[Floats], Floats]:
    """Minus the derivative by ``own``; of hard labels from the odds of their group and of all others together."""
    if isinstance(reduced, SmoothedReduced):
        return lambda own: -reduced.evaluate(Logits(own, mean)).own_gradient
    exponent = reduced.exponents(Logits(np.zeros_like(reduced.natural), mean))
    inside = exponent.diagonal().copy()
    np.fill_diagonal(exponent, -np.inf)
    outside = np.logaddexp.reduce(exponent, axis=0) if reduced.size.size > 1 else np.full(1, -np.inf)
    steep = reduced.own_slope.diagonal()
    return OwnLogits(
        outside, inside, steep, steep * (1 - 1 / reduced.size), reduced.group_weight / reduced.copies
    ).within


def _at(problem: Problem, groups: ClassGroups, ridge: float) -> Reduced:
    plain = replace(problem, ridge=ridge, bias=False, bias_ridge=0.0)
    return reduce_smoothed(plain, groups) if problem.soft_labels else reduce_problem(plain, groups)


def _zero(height: Callable[[float], float], low: float, high: float) -> float:
    if height(low) <= 0:
        return low
    if height(high) >= 0:
        return high
    return float(brentq(height, low, high, rtol=_SAME))
