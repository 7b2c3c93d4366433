"""From a problem at a positive ridge to the reduced one on groups of equal classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from implicit_geometry._validate import Floats
from implicit_geometry.groups import ClassGroups
from implicit_geometry.parameterization import Pairwise
from implicit_geometry.problem import Problem
from implicit_geometry.theory.ridge.program import LARGEST, Reduced, out_of_range


@dataclass(frozen=True)
class Kinds:
    """What tells kinds of classes apart: one number of each for all classes of a group.

    Attributes:
        size: classes of each group k_g, shape (G,).
        count: samples n of each of them, a whole number or not, shape (G,).
        cost: price m of their embeddings, shape (G,).
        pairs: the loss by pairs of groups.
    """

    size: Floats
    count: Floats
    cost: Floats
    pairs: Pairwise

    @classmethod
    def of(cls, problem: Problem, groups: ClassGroups) -> Kinds:
        """Those of a problem, on the groups that :func:`gather` finds."""
        count = problem.counts.values[groups.first].astype(np.float64)
        pairs = Pairwise.of(problem.parameterization, groups.first)
        return cls(groups.size, count, problem.embedding_cost[groups.first], pairs)

    @property
    def number(self) -> int:
        """How many there are, G."""
        return int(self.size.size)

    @property
    def strength(self) -> Floats:
        """Loss gradient by the logits (columns scaled by sqrt(m)) for a unit of class scale and probability, (G,)."""
        return np.asarray(self.pairs.label_scale * self.pairs.weight * self.count / np.sqrt(self.cost))

    @property
    def null(self) -> Floats:
        """Unit vector on normalised group means that changes no loss, shape (G,)."""
        null = np.sqrt(self.size) * self.pairs.null
        return np.asarray(null / np.linalg.norm(null))

    @property
    def level_unit(self) -> float:
        """What a unit of level, a bias on normalised group means over ``null``, adds at a label scale of 1."""
        return float(self.pairs.class_scale[0] * self.null[0] / np.sqrt(self.size[0]))

    @property
    def root_group_count(self) -> Floats:
        """What a bias on normalised group means adds to the columns of the logits, shape (G,)."""
        return np.asarray(np.sqrt(self.size) * np.sqrt(self.cost))

    def collapse_range(self, smoothing: float = 0.0) -> tuple[Floats, Floats]:
        """Bounds of the ridge from which on each group collapses, shapes (G,).

        With m the price of embeddings, q the shares of the label and p the probabilities of the label's class y and of
        another one c of its group, the within-group gradient at collapse is class_scale label_scale n / sqrt(m) times
        weight (q_yy - q_yc - p_yy + p_yc), where p_yc = exp(margin) p_yy and
        0 <= p_yy <= 1 / (1 + (k_g - 1) exp(margin)). Without a margin both bounds are the same.
        """
        pairs, size = self.pairs, self.size
        label = pairs.weight * (1 - smoothing)  # weight (q_yy - q_yc)
        weight = label + smoothing * float(size @ pairs.weight) / float(size.sum())
        per_sample = pairs.true_slope * (self.count / np.sqrt(self.cost))
        low, high = rise_range(size, np.where(size > 1, pairs.margin, 0.0))
        return np.asarray(per_sample * (label + weight * low)), np.asarray(per_sample * (label + weight * high))


def reduce_problem(problem: Problem, groups: ClassGroups) -> Reduced:
    """Set up the reduced problem (the ridge must be positive) on the groups that :func:`gather` finds."""
    reduced = reduce_kinds(Kinds.of(problem, groups), problem.ridge)
    if not problem.label_smoothing:
        return reduced
    return replace(reduced, live=(groups.size > 1) & (collapse_range(problem, groups)[1] > problem.ridge))


def reduce_kinds(kinds: Kinds, ridge: float) -> Reduced:
    """The reduced problem of hard labels at a positive ridge.

    Raises:
        InputError: quotients of weights, scales and the ridge leave float64.
    """
    pairs, size, root_count = kinds.pairs, kinds.size, np.sqrt(kinds.cost)
    with np.errstate(divide="ignore"):
        offset = pairs.offsets + np.log(size[:, None] - np.eye(size.size))  # a class is not wrong for its own samples
    true_slope = pairs.true_slope / root_count
    own_slope = np.tile(true_slope * (1 - 1 / size), (size.size, 1))
    np.fill_diagonal(own_slope, true_slope * (size > 1))
    reduced = Reduced(
        size=size,
        copies=np.maximum(size - 1, 1.0),
        live=(size > 1) & (kinds.collapse_range()[1] > ridge),
        root_count=root_count,
        natural=pairs.natural(kinds.cost),
        null=kinds.null,
        group_weight=size * kinds.count * pairs.weight / ridge,
        offset=offset,
        logit_slope=pairs.slopes / root_count / np.sqrt(np.outer(size, size)),
        own_slope=own_slope,
    )
    positive = reduced.group_weight, reduced.logit_slope, reduced.natural, reduced.own_slope[reduced.own_slope > 0]
    check_range(ridge, positive, reduced.offset)
    return reduced


def check_range(ridge: float, positive: Iterable[Floats], offset: Floats) -> None:
    """Refuse quotients of weights, scales and ridge that float64 holds only with a loss of digits, or not at all.

    Args:
        ridge: for the error.
        positive: the quotients.
        offset: exponents at zero logits.

    Raises:
        InputError: any of them does so.
    """
    inside = all(1 / LARGEST < values.min(initial=1.0) <= values.max(initial=1.0) < LARGEST for values in positive)
    if not (inside and not np.isnan(offset).any() and (offset < LARGEST).all()):
        raise out_of_range(ridge)


def collapse_range(problem: Problem, groups: ClassGroups) -> tuple[Floats, Floats]:
    """Bounds of the ridge from which on each group of a problem collapses, shapes (G,)."""
    return Kinds.of(problem, groups).collapse_range(problem.label_smoothing)


def rise_range(size: Floats, margin: Floats) -> tuple[Floats, Floats]:
    """Bounds of p_yc - p_yy at the collapse of a group with margins, shapes (G,)."""
    up, down = np.maximum(margin, 0.0), np.minimum(margin, 0.0)
    rise = -np.expm1(-up) / (np.exp(-up) + size - 1) + np.expm1(down) / (1 + (size - 1) * np.exp(down))
    return np.minimum(rise, 0.0), np.maximum(rise, 0.0)
