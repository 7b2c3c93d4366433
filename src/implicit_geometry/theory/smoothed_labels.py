"""What soft labels ask of the logits: a distribution of labels for the samples of each class, and its weight.

With targets q and torch's weights the loss of a sample of class y is sum_c omega_c q_c (-log p_c): that of the
distribution of labels proportional to omega_c q_c, times the sum of these. It is least where the odds of a wrong class
c are omega_c / (omega_y exp(m)) with m = log((1 - eps + eps / k) / (eps / k)), that is where the cost-sensitive margins
are m + margin_y + iota_c - iota_y with iota = shift - log(omega). Any distributions q_y with a share on every class ask
for log(q_yy / q_yc) in place of m.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from implicit_geometry._validate import Floats, InputError
from implicit_geometry.parameterization import Pairwise
from implicit_geometry.problem import Problem


@dataclass(frozen=True)
class SmoothedLabels:
    """The labels of the samples of each group of equal classes, G groups.

    Attributes:
        weight: of the loss of a sample in all, shape (G,).
        each: weight of the label on one class that is not the hard label, shape (G,).
        hard_share: of the label on its hard label, shape (G,).
        log_odds: those of the hard label against any class but for weights, plus the margin, shape (G,).
        shift: iota less log(omega), of mean 0 over the classes, shape (G,).
    """

    weight: Floats
    each: Floats
    hard_share: Floats
    log_odds: Floats
    shift: Floats

    @classmethod
    def of(cls, smoothing: float, pairs: Pairwise, size: Floats) -> SmoothedLabels:
        """Those of a ``label_smoothing`` > 0, on groups of the given sizes.

        Raises:
            InputError: a margin takes away all that the smoothing leaves of the log-odds.
        """
        eps, k = smoothing, float(size.sum())
        each, rest = pairs.weight * (eps / k), pairs.weight * (1 - eps)
        weight = rest + float(size @ each)
        plain = np.logaddexp(0.0, np.log(k * (1 - eps)) - np.log(eps))
        log_odds = plain + pairs.margin
        if not log_odds.min() > 0:
            raise InputError("margin", f"must be above {-plain:.4g} with these labels", pairs.margin.min())
        shift = pairs.shift - np.log(pairs.weight)
        return cls(weight, each, (rest + each) / weight, log_odds, shift - size @ shift / k)


def weighted_labels(problem: Problem) -> tuple[Floats, Floats]:
    """Soft labels with torch's weights in them: the weight of a sample's loss, (k,), and the shares, row by label."""
    k, eps = problem.num_classes, problem.label_smoothing
    shares = problem.label_distribution
    if shares is None:
        shares = eps / k + (1 - eps) * np.eye(k)
    terms = shares * problem.parameterization.weight
    weight = terms.sum(axis=1)
    return weight, np.asarray(terms / weight[:, None])


def least_loss_logits(problem: Problem, pairs: Pairwise) -> Floats:
    """Logits of the smallest loss where every class has a label distribution, columns scaled by sqrt(m), shape (k, k).

    Any multiples of 1 / class_scale may be added to the columns; here the logit of the label's own class is zero.
    """
    log = np.log(weighted_labels(problem)[1]).T
    margins = log.diagonal() - log + pairs.offsets
    np.fill_diagonal(margins, 0.0)
    return np.asarray(-margins * np.sqrt(problem.embedding_cost) / pairs.slopes)
