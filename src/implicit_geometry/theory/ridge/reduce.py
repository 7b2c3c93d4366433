"""From a problem at a positive ridge to the reduced one on groups of equal classes."""

from __future__ import annotations

import numpy as np

from implicit_geometry._validate import Floats
from implicit_geometry.groups import ClassGroups, group_classes, varying_vectors
from implicit_geometry.parameterization import Pairwise
from implicit_geometry.problem import Problem
from implicit_geometry.theory.ridge.program import LARGEST, Reduced, out_of_range


def gather(problem: Problem) -> ClassGroups:
    """Group equal classes; neighbours that agree in everything count once, which makes sorted profiles cheap."""
    vectors = varying_vectors(problem)
    changes = np.zeros(problem.num_classes - 1, dtype=bool)
    for vector in vectors:
        changes |= vector[1:] != vector[:-1]
    start = np.concatenate([[0], np.flatnonzero(changes) + 1])
    runs = group_classes(*(vector[start] for vector in vectors))
    length = np.diff(np.append(start, problem.num_classes))
    size = np.bincount(runs.group, weights=length).astype(np.float64)
    group = np.repeat(runs.group, length)
    group.setflags(write=False)
    return ClassGroups(size, group, start[runs.first])


def reduce_problem(problem: Problem, groups: ClassGroups) -> Reduced:
    """Set up the reduced problem (the ridge must be positive) on the groups that :func:`gather` finds."""
    pairs = Pairwise.of(problem.parameterization, groups.first)
    size, count = groups.size, problem.counts.values[groups.first].astype(np.float64)
    root_count = np.sqrt(count)
    with np.errstate(divide="ignore"):
        offset = pairs.offsets + np.log(size[:, None] - np.eye(size.size))  # a class is not wrong for its own samples
    logit_slope = pairs.slopes / root_count / np.sqrt(np.outer(size, size))
    true_slope = pairs.true_slope / root_count
    own_slope = np.tile(true_slope * (1 - 1 / size), (size.size, 1))
    np.fill_diagonal(own_slope, true_slope * (size > 1))
    null = np.sqrt(size) * pairs.null
    highest = threshold_range(pairs.strength(count), size, pairs.margin * (size > 1))[1]
    reduced = Reduced(
        size=size,
        copies=np.maximum(size - 1, 1.0),
        live=(size > 1) & (highest > problem.ridge),
        root_count=root_count,
        natural=pairs.natural(count),
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


def threshold_range(strength: Floats, size: Floats, margin: Floats) -> tuple[Floats, Floats]:
    """Bounds of the ridge from which on a group collapses, from its strength as :class:`Pairwise` has it.

    The within-group gradient at collapse is strength * (1 - p_yy + p_yc), where p_yc = exp(margin) * p_yy and
    0 <= p_yy <= 1 / (1 + (k_g - 1) exp(margin)). Without a margin both bounds are the strength itself.
    """
    up, down = np.maximum(margin, 0.0), np.minimum(margin, 0.0)
    rise = -np.expm1(-up) / (np.exp(-up) + size - 1) + np.expm1(down) / (1 + (size - 1) * np.exp(down))
    return strength * (1 + np.minimum(rise, 0.0)), strength * (1 + np.maximum(rise, 0.0))
