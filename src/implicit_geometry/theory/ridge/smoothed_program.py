"""The reduced problem with soft labels: the divergence of probabilities from labels, and its lower bound.

The objective is that of hard labels less the entropy of the labels, sum_h group_weight[h] KL(labels_h | p_h) + |X|_*.
With d the exponents less those at which the probabilities are the labels q, the probabilities are p = q e^x with x =
d - log(1 + sum_g q_g (e^d_g - 1)), and

    KL = sum_g q_g (e^x_g - 1 - x_g),

the label's own class included, is small where the nuclear norm is what is left: no digits are lost to the size of the
losses, nor, as p - q is all that x is multiplied with, to that of d.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from implicit_geometry._validate import Floats
from implicit_geometry.groups import ClassGroups
from implicit_geometry.parameterization import Pairwise
from implicit_geometry.problem import Problem
from implicit_geometry.theory.numerics.rounding import EPS, ROUNDINGS
from implicit_geometry.theory.ridge.program import Logits, Point, Reduced
from implicit_geometry.theory.ridge.reduce import Kinds, reduce_kinds, reduce_problem
from implicit_geometry.theory.smoothed_labels import SmoothedLabels, least_loss_logits, weighted_labels

_NEAR, _TERMS = 0.1, 12  # size of x up to which e^x is summed, and the terms that takes
_FAR = 600.0  # exponents beyond the labels' up to which float64 holds their exponential


@dataclass(frozen=True)
class SmoothedReduced(Reduced):
    """The reduced problem with soft labels.

    Attributes:
        labels: share of the label on all wrong classes of group g, for hard labels in group h, shape (G, G).
        hard_share: share on the hard label, shape (G,).
        target: exponents at which the probabilities are the labels, shape (G, G), zero where ``labels`` is.
        target_logits: logits X with these exponents.
    """

    labels: Floats
    hard_share: Floats
    target: Floats
    target_logits: Logits

    def point(self, exponent: Floats) -> Point:
        """Divergence and gradient from the exponents."""
        off = np.where(self.labels > 0, exponent - self.target, 0.0)
        top = np.maximum(off.max(axis=0), 0.0)
        far = top + np.log((self.labels * np.exp(off - top)).sum(axis=0) + self.hard_share * np.exp(-top))
        rise = (self.labels * np.expm1(np.minimum(off, _FAR))).sum(axis=0)
        # where little is left of 1 + rise, as for labels that hardly stand on their own class, digits would be lost
        log_sum = np.where((top < _FAR) & (rise > -0.5), np.log1p(np.maximum(rise, -0.5)), far)
        log_ratio = off - log_sum  # of p to q
        excess = self.labels * np.expm1(log_ratio)
        losses = (self.labels * _convex(log_ratio)).sum(axis=0) + self.hard_share * _convex(-log_sum)
        losses = self.group_weight * losses
        slope = self.group_weight * excess
        right = self.hard_share * np.exp(-log_sum)
        return Point(losses, self.labels + excess, right, excess, slope, *self.pull_back(slope))

    def rounding(self, x: Logits, point: Point, value: float, terms: Floats | float = 0.0) -> float:
        """By how much rounding may have lowered the objective's ``value``."""
        blur = self.exponent_rounding(x, terms)
        ratio = point.excess / np.where(self.labels > 0, self.labels, 1.0)
        off = np.log1p(np.maximum(ratio, EPS - 1))  # where it is below, the loss itself is as large
        first = (np.abs(point.slope) * (blur + ROUNDINGS * EPS * np.abs(self.target))).sum()
        second = (self.group_weight * point.wrong * blur * np.minimum(blur, 1.0)).sum()
        sums = self.group_weight @ (self.labels * np.minimum(np.abs(off), off**2 + EPS)).sum(axis=0)
        return float(first + second + EPS * self.size.size * ROUNDINGS * (sums + value))


def _convex(x: Floats) -> Floats:
    """e^x - 1 - x, to full relative accuracy."""
    series = np.zeros_like(x)
    for term in range(_TERMS, 1, -1):
        series = (1 + series) * x / term
    return np.where(np.abs(x) < _NEAR, series * x, np.expm1(x) - x)


def reduce_smoothed(problem: Problem, groups: ClassGroups) -> SmoothedReduced:
    """Set up the reduced problem of soft labels (the ridge must be positive).

    Raises:
        InputError: what float64 does not hold, or a margin that takes away what the smoothing leaves of the log-odds.
    """
    if problem.label_distribution is not None:
        return _reduce_distributions(problem, groups)
    return reduce_smoothed_kinds(Kinds.of(problem, groups), problem.ridge, problem.label_smoothing)


def reduce_smoothed_kinds(kinds: Kinds, ridge: float, smoothing: float) -> SmoothedReduced:
    """The reduced problem of smoothed labels at a positive ridge; errors as :func:`reduce_smoothed`."""
    hard, pairs, size = reduce_kinds(kinds, ridge), kinds.pairs, kinds.size
    hard = replace(hard, live=(size > 1) & (kinds.collapse_range(smoothing)[1] > ridge))
    labels = SmoothedLabels.of(smoothing, pairs, size)
    wrong = size[:, None] - np.eye(size.size)
    share = wrong * labels.each[:, None] / labels.weight
    odds = labels.log_odds + labels.shift[:, None] - labels.shift  # of the label against one wrong class, before iota
    with np.errstate(divide="ignore"):
        target = np.where(wrong > 0, hard.offset - odds, 0.0)
    root = np.sqrt(size)
    own = labels.log_odds * hard.natural
    shift = np.outer(root * labels.shift / pairs.class_scale, root * hard.root_count / pairs.label_scale)
    given = {field.name: getattr(hard, field.name) for field in fields(Reduced)}
    return SmoothedReduced(
        **given | {"group_weight": size * kinds.count * labels.weight / ridge},
        labels=share,
        hard_share=labels.hard_share,
        target=target,
        target_logits=Logits(own, np.diag(own) - shift),
    )


def _reduce_distributions(problem: Problem, groups: ClassGroups) -> SmoothedReduced:
    """The same where every class has a label distribution, and is a group by itself."""
    hard, pairs = reduce_problem(problem, groups), Pairwise.of(problem.parameterization)
    weight, label = weighted_labels(problem)
    share = label.T
    logits, k = least_loss_logits(problem, pairs), problem.num_classes
    target = np.log(share) - np.log(share.diagonal())
    others = (logits * pairs.class_scale[:, None]).sum(axis=0) / (k - 1)  # their mean becomes zero
    logits = logits - np.outer(1 / pairs.class_scale, others)
    given = {field.name: getattr(hard, field.name) for field in fields(Reduced)}
    return SmoothedReduced(
        **given | {"group_weight": problem.counts.values * weight / problem.ridge},
        labels=share - np.diag(share.diagonal()),
        hard_share=share.diagonal().copy(),
        target=target,
        target_logits=Logits(logits.diagonal().copy(), logits),
    )
