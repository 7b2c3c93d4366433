"""What the optimum of bins of kinds of classes proves of the whole problem, a block of columns at a time.

The whole problem's matrices are never held. Logits that treat the classes of a bin alike have the nuclear norm of the
coarse ones. The dual point has the loss gradient of the coarse one, turned to the whole problem's null vectors, but for
entries that no probability could have and, under a bias, for what balances the flows between the kinds: the Frobenius
norm of the difference beside its diagonal, and the largest number on it, are added to the norm of the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.special import xlog1py, xlogy

from implicit_geometry._validate import Floats, Ints
from implicit_geometry.theory.numerics.rounding import EPS, ROUNDINGS
from implicit_geometry.theory.numerics.singular_values import nuclear_norm, operator_norm
from implicit_geometry.theory.ridge.binned.flows import TINY, Bias, Flows
from implicit_geometry.theory.ridge.many.expansion import Expansion, best_factor, gradient_of
from implicit_geometry.theory.ridge.many.spread import Spread
from implicit_geometry.theory.ridge.program import Bounds, Logits, Reduced
from implicit_geometry.theory.ridge.reduce import Kinds

_ENTRIES = 1_000_000  # of a block
_REBALANCED = 3  # times
_BALANCED = 1e-6  # norm of what is added to the gradient
_LEAST = -0.9  # change of a factor
_LONGEST = 750.0  # minus the logarithm of the smallest positive number


class _Columns(NamedTuple):
    """The problem's columns of some labels: rows are kinds of wrong classes, entries are for one class of each."""

    labels: Ints
    size: Floats  # classes of each kind
    offset: Floats
    slope: Floats  # of the exponents by the logits X of a wrong class

    def own(self, matrix: Floats) -> Floats:
        """Entries of the labels' own kinds."""
        return np.asarray(matrix[self.labels, np.arange(self.labels.size)])

    def without_alone(self, matrix: Floats, empty: float = 0.0) -> Floats:
        """The matrix, in place, without what labels that are alone in their kind have there."""
        alone = np.flatnonzero(self.size[self.labels] == 1)
        matrix[self.labels[alone], alone] = empty
        return matrix

    def total(self, matrix: Floats) -> Floats:
        """Sums over all wrong classes."""
        return np.asarray(self.size @ matrix - self.own(matrix))


class _Wanted(NamedTuple):
    """Some columns of a gradient, by class.

    Attributes:
        wrong: probabilities of wrong classes, shape (G, labels).
        others: the gradient by a wrong class of every kind, shape (G, labels).
        own: the gradient by the label's own class.
    """

    wrong: Floats
    others: Floats
    own: Floats


class _ColumnSums(NamedTuple):
    """Of the probabilities p of wrong classes of each label."""

    total: Floats
    value: Floats  # p (offset - log p)
    size: Floats


class _Balance(NamedTuple):
    """What balances the flows between kinds: rows of probabilities times a factor, and outer(received, sent) added.

    Attributes:
        factor: shape (G,).
        received: shape (G,).
        sent: shape (G,).
        norm: Frobenius norm, at most, of the gradient of what would repair the balance that rounding leaves.
        loss: what that and the penalty take from the dual value, at most.
    """

    factor: Floats
    received: Floats
    sent: Floats
    norm: float
    loss: float


@dataclass(frozen=True)
class BinnedBounds:
    """Bounds of the whole problem's optimum.

    Attributes:
        expansion: from bins to kinds.
        reduced: the problem of bins.
        ridge: of the logits.
    """

    expansion: Expansion
    reduced: Reduced
    ridge: float

    @property
    def kinds(self) -> Kinds:
        """Of the whole problem."""
        return self.expansion.kinds

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
            offset = pairs.shift[:, None] - (pairs.shift - pairs.margin)[labels]
            slope = pairs.class_scale[:, None] * (pairs.label_scale / np.sqrt(kinds.cost))[labels]
            yield _Columns(labels, kinds.size, offset, slope)

    def bounds(self, logits: Logits, wrong: Floats, bias: Bias | None = None) -> Bounds:
        """Values that enclose the whole problem's optimum, rounding counted in.

        Args:
            logits: of the bins.
            wrong: probabilities of wrong classes of a feasible dual point of theirs, shape (B, B).
            bias: of a head with one.
        """
        reduced = self.reduced
        norm = float((reduced.size - 1) @ logits.own) + nuclear_norm(logits.mean)
        x = self.expansion.spread(*logits)
        primal, rounding = norm + (0.0 if bias is None else bias.penalty), 0.0
        for columns in self.blocks():
            losses, blur = self.losses(columns, x, bias)
            primal, rounding = primal + losses, rounding + blur
        rounding += ROUNDINGS * EPS * self.kinds.number * primal
        within, mean = gradient_of(reduced, wrong)
        gradient = self.expansion.gradient_operator(within, mean)
        # within acts on the differences of a bin's classes, which may be of different kinds
        largest = max(1.0, operator_norm(mean), -float(within[reduced.size > 1].min(initial=0.0)))
        return Bounds(primal + rounding, self.dual_value(gradient, largest, bias), rounding)

    def losses(self, columns: _Columns, x: Spread, bias: Bias | None) -> tuple[float, float]:
        """Loss of all samples of some labels, and how far rounding may have lowered it."""
        labels = columns.labels
        push = x.by_class(labels)
        true = columns.own(columns.slope) * (columns.own(push) + x.within[labels])
        push *= columns.slope
        size = np.abs(columns.offset).max(axis=0) + np.abs(push).max(axis=0) + np.abs(true)
        exponent = push + columns.offset - true
        if bias is not None:
            label = bias.levels.label[labels]
            exponent += label * (bias.level[:, None] - bias.level[labels])
            size += label * (np.abs(bias.level).max() + np.abs(bias.level[labels]))
        columns.without_alone(exponent, -np.inf)
        top = np.maximum(exponent.max(axis=0), 0.0)
        odds = columns.total(np.exp(exponent - top))
        weight = (self.kinds.size * self.weight)[labels]
        losses = weight * (top + np.log1p(odds + np.expm1(-top)))
        share = odds / (odds + np.exp(-top))
        return float(losses.sum()), float(ROUNDINGS * EPS * (weight * share) @ (size + 1))

    def wanted(self, columns: _Columns, gradient: Spread, bias: Bias | None) -> _Wanted:
        """The gradient, and probabilities of wrong classes that nearly have it.

        Under a bias, columns of more than probability 1 are shortened: the gradient's norm cannot rise by it.
        """
        wanted = gradient.by_class(columns.labels)
        own = columns.own(wanted) + gradient.within[columns.labels]
        columns.without_alone(wanted)
        wrong = np.maximum(wanted / (columns.slope * self.weight[columns.labels]), 0.0)
        if bias is None:
            return _Wanted(wrong, wanted, own)
        shorter = 1 / np.maximum(1.0, columns.total(wrong))
        return _Wanted(wrong * shorter, wanted * shorter, own * shorter)

    def flows(self, gradient: Spread, bias: Bias, factor: Floats) -> Flows:
        """Those of the probabilities, rows multiplied by a factor each."""
        number, place = self.kinds.number, self.expansion.place
        row, per_class = self.kinds.size * factor, self.kinds.size * bias.levels.label * self.weight
        rows, columns_of = (csr_array((by, (place, np.arange(number)))) for by in (row, per_class))
        received, sent, between = np.zeros(number), np.zeros(number), 0.0
        for columns in self.blocks():
            labels = columns.labels
            wrong = self.wanted(columns, gradient, bias).wrong
            wrong[labels, np.arange(labels.size)] = 0.0
            received += row * (wrong @ per_class[labels])
            sent[labels] = per_class[labels] * (row @ wrong)
            between = between + (rows @ wrong) @ columns_of[:, labels].T
        return Flows(received, sent, np.asarray(between))

    def balance(self, gradient: Spread, bias: Bias) -> _Balance:
        """What makes the flows between kinds those of the bias."""
        kinds, levels = self.kinds, bias.levels
        factor = np.ones(kinds.number)
        flows = self.flows(gradient, bias, factor)
        target = flows.target(bias)
        per_class = kinds.size * levels.label * self.weight
        for repeats in range(_REBALANCED + 1):
            passing = flows.received + flows.sent
            excess = flows.received - flows.sent - target
            excess -= passing * (excess.sum() / max(passing.sum(), TINY))
            amount = np.abs(excess).sum() / 2
            received = np.maximum(-excess, 0.0) / kinds.size / (amount if amount > 0 else 1.0)
            sent = np.maximum(excess, 0.0) / per_class
            if repeats == _REBALANCED or self.outer_norm(received, sent) <= _BALANCED:
                break
            factor = factor * (1 + np.maximum(flows.change(target, self.expansion.place), _LEAST))
            flows = self.flows(gradient, bias, factor)
        blur = ROUNDINGS * EPS * kinds.number * (flows.received + flows.sent + np.abs(target))
        norm = self.outer_norm(blur / kinds.size, blur / per_class) / max(blur.sum(), TINY)
        offset = np.ptp(kinds.pairs.shift) + np.abs(kinds.pairs.margin).max() + _LONGEST + 1
        penalty = float((target**2)[target != 0] @ (0.5 / levels.decay[target != 0]))
        loss = penalty + float(blur @ (offset / levels.label))
        return _Balance(factor, received, sent, norm, loss)

    def outer_norm(self, received: Floats, sent: Floats) -> float:
        """Frobenius norm of the gradient of probabilities outer(received, sent) between different kinds, at most."""
        kinds = self.kinds
        class_scale = kinds.pairs.class_scale
        column = self.weight * sent * kinds.pairs.label_scale / np.sqrt(kinds.cost)
        wrong = float(kinds.size @ (class_scale * received) ** 2)
        own = (class_scale * float(kinds.size @ received)) ** 2
        return float(np.sqrt((kinds.size * column**2) @ (wrong + own)))

    def dual_columns(
        self, columns: _Columns, gradient: Spread, bias: Bias | None, balance: _Balance | None
    ) -> tuple[float, float, _ColumnSums]:
        """What the probabilities' gradient has beside the wanted one, and sums of the probabilities.

        Returns:
            The squared norm of what it has of wrong classes, the largest of what it has of the labels' own, and sums.
        """
        labels = columns.labels
        wrong, wanted, own = self.wanted(columns, gradient, bias)
        if balance is not None:
            wrong = wrong * balance.factor[:, None] + np.outer(balance.received, balance.sent[labels])
        beside = columns.without_alone(wrong * (columns.slope * self.weight[labels]) - wanted)
        on_label = -columns.total(wrong) * columns.own(columns.slope) * self.weight[labels] - own
        missed = float(self.kinds.size[labels] @ columns.total(beside**2))
        logarithm = xlogy(wrong, wrong)
        value = columns.total(wrong * columns.offset - logarithm)
        size = columns.total(wrong * (1 + np.abs(columns.offset)) + np.abs(logarithm))
        return missed, float(np.abs(on_label).max()), _ColumnSums(columns.total(wrong), value, size)

    def dual_value(self, gradient: Spread, largest: float, bias: Bias | None) -> float:
        """The Fenchel dual of columns scaled until feasible (without a bias each by what is best), less rounding."""
        balance = None if bias is None else self.balance(gradient, bias)
        missed, on_labels, sums = zip(
            *(self.dual_columns(columns, gradient, bias, balance) for columns in self.blocks()), strict=True
        )
        total, value, size = (np.concatenate(parts) for parts in zip(*sums, strict=True))
        norm = largest + np.sqrt(sum(missed)) + max(on_labels) + (0.0 if balance is None else balance.norm)
        scale = 1 / (norm * (1 + 2 * ROUNDINGS * self.kinds.number * EPS))
        if bias is None:
            best = best_factor(total, value)
            factor = np.minimum(scale, np.where(best < scale, best, scale))
        else:
            factor = np.full_like(total, min(scale, 1 / (total.max() * (1 + 4 * ROUNDINGS * self.kinds.number * EPS))))
        share = np.minimum(factor * total, 1.0)
        columns = factor * value - xlogy(share, factor) - xlog1py(1 - share, -share)
        sizes = factor * size + np.abs(xlogy(share, factor)) + share
        dual = float((self.kinds.size * self.weight) @ (columns - ROUNDINGS * EPS * self.kinds.number * sizes))
        # zero probabilities are feasible
        return max(0.0, dual if balance is None else dual - balance.loss)
