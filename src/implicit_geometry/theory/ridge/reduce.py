"""From a problem at a positive ridge to the reduced one on groups of equal classes."""

from __future__ import annotations

import numpy as np

from implicit_geometry._validate import Floats
from implicit_geometry.groups import ClassGroups
from implicit_geometry.parameterization import Pairwise
from implicit_geometry.problem import Problem
from implicit_geometry.theory.ridge.program import LARGEST, Reduced, out_of_range


def reduce_problem(problem: Problem, groups: ClassGroups) -> Reduced:
    """Set up the reduced problem (the ridge must be positive) on the groups that :func:`gather` finds."""
    pairs = Pairwise.of(problem.parameterization, groups.first)
    size, count = groups.size, problem.counts.values[groups.first].astype(np.float64)
    cost = problem.embedding_cost[groups.first]
    root_count = np.sqrt(cost)
    with np.errstate(divide="ignore"):
        offset = pairs.offsets + np.log(size[:, None] - np.eye(size.size))  # a class is not wrong for its own samples
    logit_slope = pairs.slopes / root_count / np.sqrt(np.outer(size, size))
    true_slope = pairs.true_slope / root_count
    own_slope = np.tile(true_slope * (1 - 1 / size), (size.size, 1))
    np.fill_diagonal(own_slope, true_slope * (size > 1))
    null = np.sqrt(size) * pairs.null
    reduced = Reduced(
        size=size,
        copies=np.maximum(size - 1, 1.0),
        live=(size > 1) & (collapse_range(problem, groups)[1] > problem.ridge),
        root_count=root_count,
        natural=pairs.natural(cost),
        null=null / np.linalg.norm(null),
        group_weight=size * count * pairs.weight / problem.ridge,
        offset=offset,
        logit_slope=logit_slope,
        own_slope=own_slope,
    )
    _check_range(problem, reduced)
    return reduced


def _check_range(problem: Problem, reduced: Reduced) -> None:
    """Refuse quotients of weights, scales and ridge that float64 holds only with a loss of digits, or not at all."""
    kinds = reduced.group_weight, reduced.logit_slope, reduced.natural, reduced.own_slope[reduced.own_slope > 0]
    inside = all(1 / LARGEST < values.min(initial=1.0) <= values.max(initial=1.0) < LARGEST for values in kinds)
    if not (inside and not np.isnan(reduced.offset).any() and (reduced.offset < LARGEST).all()):
        raise out_of_range(problem)


def collapse_range(problem: Problem, groups: ClassGroups) -> tuple[Floats, Floats]:
    """Bounds of the ridge from which on each group collapses, shapes (G,).

    With m the price of embeddings, q the shares of the label and p the probabilities of the label's class y and of
    another one c of its group, the within-group gradient at collapse is class_scale label_scale n / sqrt(m) times
    weight (q_yy - q_yc - p_yy + p_yc), where p_yc = exp(margin) p_yy and 0 <= p_yy <= 1 / (1 + (k_g - 1) exp(margin)).
    Without a margin both bounds are the same.
    """
    pairs, size, eps = Pairwise.of(problem.parameterization, groups.first), groups.size, problem.label_smoothing
    label = pairs.weight * (1 - eps)  # weight (q_yy - q_yc)
    weight = label + eps * float(size @ pairs.weight) / problem.num_classes
    per_sample = pairs.true_slope * (problem.counts.values / np.sqrt(problem.embedding_cost))[groups.first]
    low, high = rise_range(size, np.where(size > 1, pairs.margin, 0.0))
    return np.asarray(per_sample * (label + weight * low)), np.asarray(per_sample * (label + weight * high))


def rise_range(size: Floats, margin: Floats) -> tuple[Floats, Floats]:
    """Bounds of p_yc - p_yy at the collapse of a group with margins, shapes (G,)."""
    up, down = np.maximum(margin, 0.0), np.minimum(margin, 0.0)
    rise = -np.expm1(-up) / (np.exp(-up) + size - 1) + np.expm1(down) / (1 + (size - 1) * np.exp(down))
    return np.minimum(rise, 0.0), np.maximum(rise, 0.0)
