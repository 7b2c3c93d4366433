"""Thousands of kinds of classes: the optimum of bins, and what it proves of the whole problem, block by block.

The whole problem's matrices are never held. Logits that treat the classes of a bin alike have the nuclear norm of the
coarse ones; the dual point has the coarse loss gradient, but for entries that no probability could have: their
Frobenius norm is added to the norm of the rest, which bounds that of the whole from above.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.special import xlogy

from implicit_geometry._validate import Floats, InputError, Ints
from implicit_geometry.groups import ClassGroups
from implicit_geometry.problem import Problem, Solution
from implicit_geometry.theory.expand import grouped_geometry
from implicit_geometry.theory.numerics.rounding import EPS, ROUNDINGS
from implicit_geometry.theory.ridge.many.coarser import coarser
from implicit_geometry.theory.ridge.many.expansion import gradient_of
from implicit_geometry.theory.ridge.many.plain import Pair, optimal_pair
from implicit_geometry.theory.ridge.optimum import GOAL
from implicit_geometry.theory.ridge.program import Bounds, Reduced, proven
from implicit_geometry.theory.ridge.reduce import Kinds, reduce_kinds

DENSE_KINDS = 1500
"""Kinds up to which the whole problem is solved."""

MOST_KINDS = 50_000
"""Kinds up to which bins of them answer, without a bias."""

_FEWEST_BINS, _MOST_BINS = 256, 1024
_WORTH = 1.5  # as many bins, at least, for another attempt
_ENTRIES = 4_000_000  # of a block


def binned_solution(problem: Problem, groups: ClassGroups, kinds: Kinds, tolerance: float) -> Solution:
    """The optimum of bins of kinds as an answer to the whole problem, with the gap that it proves there.

    Args:
        problem: with hard labels, a ridge and no bias.
        groups: its kinds of classes.
        kinds: their vectors.
        tolerance: relative gap from which on more bins are taken, up to 1024.

    Raises:
        InputError: more than 50,000 kinds.
    """
    if kinds.number > MOST_KINDS:
        expected = f"must have at most {MOST_KINDS} kinds of classes at a ridge"
        raise InputError("problem", expected, f"{kinds.number}")
    number = _FEWEST_BINS
    while True:
        coarse, place = coarser(kinds, number)
        best = optimal_pair(coarse, problem.ridge, GOAL)
        bounds = _Binned(kinds, coarse, place, problem.ridge).bounds(best)
        wanted = min(int(1.2 * coarse.number * np.sqrt(bounds.gap / tolerance)), _MOST_BINS)  # gaps fall by the square
        if bounds.gap <= tolerance or wanted < _WORTH * number:
            break
        number = wanted
    x = best.logits
    geometry = grouped_geometry(groups, np.sqrt(kinds.cost), *x, bins=(coarse.size, place))
    return Solution(problem, geometry, proven(problem, bounds, not (x.own.any() or x.mean.any())))


class _Columns(NamedTuple):
    """The problem's columns of some labels: rows are kinds of wrong classes."""

    labels: Ints
    others: Floats  # wrong classes, 0 for a label that is alone in its kind
    offset: Floats
    slope: Floats  # of the exponents by the logits X of a wrong class


@dataclass(frozen=True)
class _Binned:
    kinds: Kinds
    coarse: Kinds
    place: Ints
    ridge: float

    @cached_property
    def weight(self) -> Floats:
        """Of the samples of one class of every kind, over the ridge."""
        return np.asarray(self.kinds.count * self.kinds.pairs.weight / self.ridge)

    def blocks(self) -> Iterator[_Columns]:
        """All columns, a few labels at a time."""
        kinds, pairs = self.kinds, self.kinds.pairs
        step = max(1, _ENTRIES // kinds.number)
        for first in range(0, kinds.number, step):
            labels = np.arange(first, min(first + step, kinds.number))
            others = np.repeat(kinds.size[:, None], labels.size, axis=1)
            others[labels, labels - first] -= 1
            offset = pairs.shift[:, None] - (pairs.shift - pairs.margin)[labels]
            slope = pairs.class_scale[:, None] * (pairs.label_scale / np.sqrt(kinds.cost))[labels]
            yield _Columns(labels, others, offset, slope)

    def by_class(self, within: Floats, mean: Floats, old: bool) -> tuple[Floats, Floats, Floats]:
        """A coarse operator by what it does to classes, turned to the new null vector unless the ``old`` one will do.

        Returns:
            Entries between bins, what single classes have beyond, and a row for each label: the operator is
            entries[bin, bin'] + diag(beyond) - turn row, shapes (B, B), (G,) and (G,).
        """
        within = np.where(self.coarse.size > 1, within, 0.0)
        root = np.sqrt(self.coarse.size)
        entries = (mean - np.diag(within)) / root / root[:, None]
        beyond = within[self.place]
        if old:
            return entries, beyond, np.zeros_like(beyond)
        per_bin = np.bincount(self.place, weights=self.kinds.size * self.null, minlength=root.size)
        return entries, beyond, (per_bin @ entries)[self.place] + beyond * self.null

    @cached_property
    def null(self) -> Floats:
        """The unit null vector by class, shape (G,)."""
        return np.asarray(self.kinds.null / np.sqrt(self.kinds.size))

    @cached_property
    def turn(self) -> Floats:
        """What turns the coarse null vector into the new one, by class, shape (G,)."""
        old = (self.coarse.null / np.sqrt(self.coarse.size))[self.place]
        return np.asarray((self.null + old) / (1 + float(self.kinds.size @ (self.null * old))))

    def bounds(self, best: Pair) -> Bounds:
        """Values that enclose the whole problem's optimum, rounding counted in."""
        reduced = reduce_kinds(self.coarse, self.ridge)
        norm = (
            reduced.objective(best.logits, reduced.evaluate(best.logits)) - reduced.evaluate(best.logits).losses.sum()
        )
        x = self.by_class(*best.logits, old=True)
        gradient = self.by_class(*gradient_of(reduced, best.wrong), old=False)
        primal, rounding, dual = float(norm), 0.0, _Dual(0.0, [])
        for columns in self.blocks():
            losses, blur = self.losses(columns, x)
            primal, rounding = primal + losses, rounding + blur
            dual = dual.extended(*self.dual_columns(columns, gradient))
        rounding += ROUNDINGS * EPS * self.kinds.number * primal
        return Bounds(primal + rounding, self.dual_value(dual, reduced, best.wrong), rounding)

    def losses(self, columns: _Columns, x: tuple[Floats, Floats, Floats]) -> tuple[float, float]:
        """Loss of all samples of some labels, and how far rounding may have lowered it."""
        entries, beyond, _ = x
        labels = columns.labels
        push = entries[np.ix_(self.place, self.place[labels])]
        own = push[labels, np.arange(labels.size)] + beyond[labels]
        push *= columns.slope
        true = columns.slope[labels, np.arange(labels.size)] * own
        exponent = columns.offset + push - true
        size = np.abs(columns.offset).max(axis=0) + np.abs(push).max(axis=0) + np.abs(true)
        top = np.maximum(exponent.max(axis=0), 0.0)
        odds = (columns.others * np.exp(exponent - top)).sum(axis=0)
        weight = (self.kinds.size * self.weight)[labels]
        losses = weight * (top + np.log1p(odds + np.expm1(-top)))
        share = odds / (odds + np.exp(-top))
        return float(losses.sum()), float(ROUNDINGS * EPS * (weight * share) @ (size + 1))

    def dual_columns(self, columns: _Columns, gradient: tuple[Floats, Floats, Floats]) -> tuple[float, _ColumnSums]:
        """Squared norm of what probabilities cannot have of the gradient, and sums of the probabilities."""
        entries, _, row = gradient
        labels = columns.labels
        wanted = entries[np.ix_(self.place, self.place[labels])] - self.turn[:, None] * row[labels]
        wrong = wanted / columns.slope / self.weight[labels]
        short = np.where(columns.others > 0, np.minimum(wanted, 0.0), 0.0)
        wrong = np.where(columns.others > 0, np.maximum(wrong, 0.0), 0.0)
        lost = (columns.others * short**2).sum(axis=0)
        on_label = (columns.others * short / columns.slope).sum(axis=0)
        on_label *= columns.slope[labels, np.arange(labels.size)]
        missed = float(self.kinds.size[labels] @ (lost + on_label**2))
        surprise = wrong * columns.offset - xlogy(wrong, wrong)
        total = (columns.others * wrong).sum(axis=0)
        value = (columns.others * surprise).sum(axis=0)
        size = (columns.others * (np.abs(surprise) + wrong)).sum(axis=0)
        return missed, _ColumnSums(total, value, size)

    def dual_value(self, dual: _Dual, reduced: Reduced, coarse_wrong: Floats) -> float:
        """The Fenchel dual of columns scaled until feasible, each then by what is best, less rounding."""
        total, value, size = (np.concatenate(parts) for parts in zip(*dual.sums, strict=True))
        norm = max(1.0, reduced.gradient_norm(reduced.group_weight * coarse_wrong)) + np.sqrt(dual.missed)
        scale = 1 / (norm * (1 + 2 * ROUNDINGS * self.kinds.number * EPS))
        with np.errstate(all="ignore"):
            odds = np.exp(value / total)
            best = np.where(np.isinf(odds), 1 / total, odds / (1 + total * odds))
        factor = np.minimum(scale, np.where(best < scale, best, scale))
        share = np.minimum(factor * total, 1.0)
        columns = factor * value - share * np.log(factor) - xlogy(1 - share, 1 - share)
        sizes = factor * size + share * np.abs(np.log(factor)) + share
        return float((self.kinds.size * self.weight) @ (columns - ROUNDINGS * EPS * self.kinds.number * sizes))


class _ColumnSums(NamedTuple):
    """Of the probabilities p of wrong classes of each label."""

    total: Floats
    value: Floats  # p (offset - log p)
    size: Floats


class _Dual(NamedTuple):
    missed: float
    sums: list[_ColumnSums]

    def extended(self, missed: float, sums: _ColumnSums) -> _Dual:
        return _Dual(self.missed + missed, [*self.sums, sums])
