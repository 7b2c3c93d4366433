"""From the optimum of a coarse problem to a start for the whole one, and to a dual point that encloses its optimum.

A bin's classes are treated alike: the coarse logits X and their loss gradient G, as operators on class space, are taken
over unchanged. G stays one that probabilities can have if it is turned to the new null vector (and, with a bias, so
that it does to sqrt(n) what it did before): rotations keep its norm. The probabilities follow from its entries, each
from the class's own count and scales, so that they are off by the square of the bins' widths. X becomes as good once
every class has a length of its own: the one that gives it the right probability.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import solve

from implicit_geometry._validate import Floats, Ints
from implicit_geometry.theory.numerics.rounding import EPS
from implicit_geometry.theory.ridge.bias.levels import Levels
from implicit_geometry.theory.ridge.many.polar import wrong_of_gradient
from implicit_geometry.theory.ridge.many.spread import Spread, turned
from implicit_geometry.theory.ridge.program import Logits, Reduced
from implicit_geometry.theory.ridge.reduce import Kinds

_SHORTEST = 0.1  # of a length, over that of the bin


@dataclass(frozen=True)
class Expansion:
    """What relates a coarse problem to the whole one.

    Attributes:
        kinds: the whole problem.
        coarse: the coarse one.
        place: bin of every kind, shape (G,).
        bias: whether the head has a bias.
    """

    kinds: Kinds
    coarse: Kinds
    place: Ints
    bias: bool = False

    @cached_property
    def share(self) -> Floats:
        """Entry of each kind in the unit vector along its bin's classes, shape (G,)."""
        return np.asarray(np.sqrt(self.kinds.size / self.coarse.size[self.place]))

    @cached_property
    def alike(self) -> Floats:
        """What acts on the differences within a bin counts only where there are several classes, shape (bins,)."""
        return np.asarray((self.coarse.size > 1).astype(np.float64))

    def spread(self, own: Floats, mean: Floats) -> Spread:
        """A coarse operator on class space, by what it does within bins and on their means, in terms of kinds."""
        return Spread.of(own * self.alike, mean, self.place, self.kinds.size)

    def logits_operator(self, coarse: Logits) -> Spread:
        """Coarse logits in terms of kinds, turned so that they have the new null vectors."""
        whole = self.spread(*coarse).turned(self.old_null, self.kinds.null).without(self.kinds.null)
        if self.bias:
            whole = whole.transposed.turned(_unit(self.old_root), _unit(self.kinds.root_group_count)).transposed
        return whole

    def gradient_operator(self, within: Floats, mean: Floats) -> Spread:
        """A coarse loss gradient in terms of kinds, turned so that it is one.

        It is nearly minus the projection that leaves out the null vectors, so that both sides are turned alike.
        """
        whole = self.spread(within, mean)
        null, new_null = self.old_null, self.kinds.null
        root, new_root = _unit(self.old_root), _unit(self.kinds.root_group_count)
        if self.bias:
            whole = whole.turned(root, new_root).transposed.turned(root, new_root).transposed
            null = turned(null, root, new_root)
        whole = whole.turned(null, new_null).transposed.turned(null, new_null).transposed
        if self.bias:
            whole = whole.transposed.turned(turned(new_root, null, new_null), new_root).transposed
        return whole.without(new_null)

    @cached_property
    def old_null(self) -> Floats:
        """The coarse null vector in terms of kinds, shape (G,)."""
        return np.asarray(self.coarse.null[self.place] * self.share)

    @cached_property
    def old_root(self) -> Floats:
        """The coarse sqrt(k n) in terms of kinds, shape (G,)."""
        return np.asarray(self.coarse.root_group_count[self.place] * self.share)

    def wrong(self, reduced: Reduced, gradient: tuple[Floats, Floats]) -> Floats:
        """Probabilities of wrong classes whose loss gradient is a coarse one, shape (G, G).

        Args:
            reduced: the whole problem.
            gradient: of the coarse one, within bins and on their means, of norm at most 1.
        """
        whole = self.gradient_operator(*gradient)
        wrong = wrong_of_gradient(reduced, whole.within, whole.whole)
        return wrong if self.bias else _best_columns(reduced, wrong)

    def logits(self, reduced: Reduced, coarse: Logits, wrong: Floats, levels: Floats | float = 0.0) -> Logits:
        """Coarse logits, each class with the length that gives wrong classes the right probability together.

        Args:
            reduced: the whole problem.
            coarse: logits of the coarse one.
            wrong: the probabilities, shape (G, G).
            levels: what a bias adds to the exponents.
        """
        operator = self.logits_operator(coarse)
        own, mean = operator.within, operator.whole
        alive = (own > 0) & np.asarray(wrong.any(axis=0))
        odds = np.logaddexp.reduce(reduced.exponents(Logits(own, mean)) + levels, axis=0)
        total = np.minimum(wrong.sum(axis=0), 1 - 1e-12)
        wanted = np.log(np.where(alive, total, 0.5)) - np.log1p(-np.where(alive, total, 0.5))
        slope = np.where(reduced.size > 1, reduced.own_slope.diagonal(), reduced.logit_slope.diagonal())
        longer = np.where(alive, np.maximum((odds - wanted) / slope, (_SHORTEST - 1) * own), 0.0)
        change = np.diag(longer) - np.outer(reduced.null, reduced.null * longer)
        if self.bias:
            root = _unit(self.kinds.root_group_count)
            change = change - np.outer(change @ root, root)
        return Logits(np.where(reduced.live, own + longer, 0.0), mean + change)

    def levels(self, level: Floats) -> Floats:
        """A coarse bias over the null vector, in terms of kinds, shape (G,)."""
        return self._without_constant(level[self.place] * (self.coarse.level_unit / self.kinds.level_unit))

    def logits_and_levels(
        self,
        reduced: Reduced,
        levels: Levels,
        coarse: tuple[Logits, Floats],
        wrong: Floats,
        objective: Callable[[Logits, Floats], float],
    ) -> tuple[Logits, Floats]:
        """Coarse logits and levels, with lengths and levels of each class's own where those lower the objective.

        Args:
            reduced: the whole problem.
            levels: what its bias does.
            coarse: logits and levels of the coarse one.
            wrong: the right probabilities, shape (G, G).
            objective: of the whole problem at logits and levels.
        """
        level = self.levels(coarse[1])
        first = self.logits(reduced, coarse[0], wrong, levels.change(level)), level
        nearer = self.nearer_levels(reduced, levels, *first, wrong)
        second = self.logits(reduced, coarse[0], wrong, levels.change(nearer)), nearer
        return second if objective(*second) < objective(*first) else first

    def nearer_levels(self, reduced: Reduced, levels: Levels, logits: Logits, level: Floats, wrong: Floats) -> Floats:
        """Levels of each class's own: those that put the wrong classes of every label into the right proportions.

        A step of Newton's method for the divergence of these proportions, which no length of a column changes: a bin's
        levels are off by its width.

        Args:
            reduced: the whole problem.
            levels: what its bias does.
            logits: near the optimum.
            level: of the bins, shape (G,).
            wrong: the right probabilities, shape (G, G).
        """
        exponent = reduced.exponents(logits) + levels.change(level)
        now = np.exp(exponent - np.logaddexp.reduce(exponent, axis=0))
        total = wrong.sum(axis=0)
        weight = reduced.group_weight * total * levels.label
        slope = (now * weight - wrong * (weight / np.where(total > 0, total, 1.0))).sum(axis=1)
        bent = now * (weight * levels.label)
        curvature = np.diag(bent.sum(axis=1)) - bent @ now.T
        number = level.size
        # all levels together change nothing
        held = curvature.trace() / number * (np.full((number, number), 1 / number) + EPS * number * np.eye(number))
        return self._without_constant(level - solve(curvature + held, slope, assume_a="pos"))

    def _without_constant(self, level: Floats) -> Floats:
        return np.asarray(level - self.kinds.null**2 @ level)


def gradient_of(reduced: Reduced, wrong: Floats) -> tuple[Floats, Floats]:
    """Loss gradient of probabilities of wrong classes, within groups and on group means."""
    return reduced.pull_back(reduced.group_weight * wrong)


def _best_columns(reduced: Reduced, wrong: Floats) -> Floats:
    """Columns multiplied by the number, at most 1, that is best for the dual: the gradient's norm cannot rise by it."""
    with np.errstate(all="ignore"):
        value = np.where(wrong > 0, wrong * (reduced.offset - np.log(wrong)), 0.0).sum(axis=0)
    best = best_factor(wrong.sum(axis=0), value)
    return np.asarray(wrong * np.where(best < 1, best, 1.0))


def best_factor(total: Floats, value: Floats) -> Floats:
    """The number that columns of probabilities p of wrong classes are multiplied by where the dual is largest.

    Args:
        total: sum of p of each column.
        value: sum of p (offset - log p).
    """
    with np.errstate(all="ignore"):
        odds = np.exp(value / total)
        return np.asarray(np.where(np.isinf(odds), 1 / total, odds / (1 + total * odds)))


def _unit(vector: Floats) -> Floats:
    return np.asarray(vector / np.linalg.norm(vector))
