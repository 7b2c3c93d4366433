"""The reduced problem of hard labels without a bias where the means of all groups are zero, without a G x G matrix.

There the odds of a wrong class are a factor of its own times one of the label's group, whose logits move all of them
alike. The loss gradient on group means is a number for each group and, off the diagonal, an outer product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator

from implicit_geometry._validate import Floats
from implicit_geometry.theory.numerics.singular_values import largest_singular_value
from implicit_geometry.theory.ridge.reduce import Kinds, check_range

_HALVINGS = 60


class _Odds(NamedTuple):
    """Probabilities at logits without means.

    Attributes:
        outside: of all classes of other groups together, shape (G,).
        inside: of the other classes of the label's group, shape (G,).
        log_sum: minus the logarithm of the label's own probability, shape (G,).
    """

    outside: Floats
    inside: Floats
    log_sum: Floats


@dataclass(frozen=True)
class OwnLogits:
    """The loss as a function of ``own`` alone (:class:`Logits`), where nothing else of the logits moves.

    A sample of a class in group h puts onto all classes of other groups together the odds
    exp(outside[h] - flat[h] own[h]), and onto the others of its own exp(inside[h] - steep[h] own[h]).

    Attributes:
        outside: see above, shape (G,).
        inside: see above, -inf for a group of one class, shape (G,).
        steep: see above, shape (G,).
        flat: see above, shape (G,).
        pull: ``group_weight`` of :class:`Reduced` for a single copy of ``own``, shape (G,).
    """

    outside: Floats
    inside: Floats
    steep: Floats
    flat: Floats
    pull: Floats

    def odds(self, own: Floats) -> _Odds:
        """Probabilities there."""
        far, near = self.outside - self.flat * own, self.inside - self.steep * own
        log_sum = np.logaddexp(np.logaddexp(far, near), 0.0)
        return _Odds(np.exp(far - log_sum), np.exp(near - log_sum), log_sum)

    def within(self, own: Floats) -> Floats:
        """Minus the loss's derivative by a single copy of ``own``, shape (G,)."""
        odds = self.odds(own)
        return np.asarray(self.pull * (self.flat * odds.outside + self.steep * odds.inside))


def best_own(within: Callable[[Floats], Floats], natural: Floats, live: NDArray[np.bool_]) -> Floats:
    """The optimal ``own`` where nothing else moves: one equation per group, by bisection, shape (G,).

    SciPy's elementwise root finder hands over subsets of the equations, which not every ``within`` can evaluate.

    Args:
        within: as :meth:`OwnLogits.within`, falling.
        natural: about the size of ``own``, shape (G,).
        live: groups whose ``own`` may not be zero, shape (G,).
    """
    low, high = np.zeros_like(natural), natural * live
    while (within(high)[live] > 1).any():
        high = 2 * high
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        short = (within(middle) > 1) & live
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return low


@dataclass(frozen=True)
class ZeroMeans:
    """The loss where logits have no means, as a function of ``own`` (:class:`Logits`), in units of the ridge.

    A sample of a class in group h puts onto all classes of another group g together the odds
    exp(row[g] + column[h] - flat[h] own[h]).

    Attributes:
        row: see above, shape (G,).
        column: see above, shape (G,).
        own_logits: the loss by ``own``, ``flat`` included.
        group_weight: as in :class:`Reduced`, shape (G,).
        row_slope: the factor of a wrong class in ``logit_slope`` of :class:`Reduced`, shape (G,).
        column_slope: that of the label, shape (G,).
        natural: as in :class:`Reduced`, shape (G,).
        live: groups whose ``own`` may not be zero, shape (G,).
    """

    row: Floats
    column: Floats
    own_logits: OwnLogits
    group_weight: Floats
    row_slope: Floats
    column_slope: Floats
    natural: Floats
    live: NDArray[np.bool_]

    @classmethod
    def of(cls, kinds: Kinds, ridge: float, live: NDArray[np.bool_]) -> ZeroMeans:
        """Those of kinds of classes at a positive ridge.

        Raises:
            InputError: quotients of weights, scales and the ridge leave float64.
        """
        pairs, size, root = kinds.pairs, kinds.size, np.sqrt(kinds.cost)
        steep = pairs.true_slope / root * (size > 1)
        row, column = pairs.shift + np.log(size), pairs.margin - pairs.shift
        row_slope, column_slope = pairs.class_scale / np.sqrt(size), pairs.label_scale / root / np.sqrt(size)
        group_weight, natural = size * kinds.count * pairs.weight / ridge, pairs.natural(kinds.cost)
        slopes = np.multiply.outer([row_slope.min(), row_slope.max()], [column_slope.min(), column_slope.max()])
        check_range(ridge, (group_weight, slopes, natural, steep[steep > 0]), row.max() + column)
        with np.errstate(divide="ignore"):
            inside = pairs.margin + np.log(size - 1)
        return cls(
            row=row,
            column=column,
            own_logits=OwnLogits(
                outside=_all_but_one(np.logaddexp, row, -np.inf) + column,
                inside=inside,
                steep=steep,
                flat=steep * (1 - 1 / size),
                pull=group_weight / np.maximum(size - 1, 1.0),
            ),
            group_weight=group_weight,
            row_slope=row_slope,
            column_slope=column_slope,
            natural=natural,
            live=live,
        )

    def gradient_norm(self, own: Floats) -> float:
        """Operator norm of the loss gradient on group means."""
        odds, top = self.own_logits.odds(own), self.row.max()
        left = self.row_slope * np.exp(self.row - top)
        exponent = self.column + top - self.own_logits.flat * own - odds.log_sum
        right = self.column_slope * self.group_weight * np.exp(exponent)
        diagonal = -self.row_slope * self.column_slope * self.group_weight * odds.outside

        def forward(x: Floats) -> Floats:
            return np.asarray(diagonal * x.ravel() + left * _all_but_one(np.add, right * x.ravel(), 0.0))

        def backward(x: Floats) -> Floats:
            return np.asarray(diagonal * x.ravel() + right * _all_but_one(np.add, left * x.ravel(), 0.0))

        shape = (self.row.size, self.row.size)
        return largest_singular_value(LinearOperator(shape, dtype=np.float64, matvec=forward, rmatvec=backward))

    def best_own(self) -> Floats:
        """The optimal ``own``, shape (G,)."""
        return best_own(self.own_logits.within, self.natural, self.live)


def _all_but_one(combine: np.ufunc, values: Floats, nothing: float) -> Floats:
    """All but one of the values combined, for each of them: nothing is subtracted, so that no digits are lost."""
    before = np.append(nothing, combine.accumulate(values[:-1]))
    after = np.append(nothing, combine.accumulate(values[:0:-1]))[::-1]
    return np.asarray(combine(before, after))
