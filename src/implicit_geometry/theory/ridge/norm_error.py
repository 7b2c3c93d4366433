"""How far the squared norms of a solution can be from those of the optimum: bounds proven from its duality gap.

Let p be the feasible dual point of a solution, p* that of the optimum, and gap the objective at the solution less the
dual value at p. The dual objective is minus a sum of entropies over a convex set, so that (divergences over the wrong
classes and the right one, in units of the ridge)

    sum_h group_weight_h KL(p_h | p*_h) <= dual(p*) - dual(p) <= gap.

Every probability r = p* / p then has group_weight p (r - 1 - log r) <= gap. Logarithms of odds are the exponents, from
which the logits follow by a linear map, and products of them with the loss gradient G are the Gram matrices:
(X X^T)^(1/2) = -X G^T = G (X^T X)^(1/2) G^T and (X^T X)^(1/2) = -G^T X = G^T (X X^T)^(1/2) G at the optimum.

The gap is summed from terms none of which is negative, free of the cancellation in primal minus dual.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.special import xlogy

from implicit_geometry._validate import Floats, Ints
from implicit_geometry.certificate import TOLERANCE, NormError
from implicit_geometry.geometry import Geometry
from implicit_geometry.groups import ClassGroups
from implicit_geometry.theory.expand import grouped_geometry
from implicit_geometry.theory.numerics.rounding import EPS, ROUNDINGS
from implicit_geometry.theory.numerics.singular_values import operator_norm, svd
from implicit_geometry.theory.ridge.bias.levels import Levels
from implicit_geometry.theory.ridge.program import Logits, Point, Reduced


class Proof(NamedTuple):
    """A solution of a reduced problem, and the dual point that goes with it.

    Attributes:
        logits: X.
        point: loss and gradient there, that of the bias included.
        scale: what ``point.wrong`` is multiplied by, columns or entries, to be the feasible dual point, shape (G,) or
            (G, G).
        gap: relative gap of the certificate.
        levels: what the bias does, if there is one.
        level: of the solution's bias, shape (G,).
    """

    logits: Logits
    point: Point
    scale: Floats
    gap: float
    levels: Levels | None = None
    level: Floats = np.zeros(0)


def certified_geometry(groups: ClassGroups, reduced: Reduced, proof: Proof) -> tuple[Geometry, Callable[[], NormError]]:
    """The geometry of a solution, and what computes bounds of the errors of its squared norms."""
    optimal = proof.gap <= TOLERANCE and proof.scale.ndim == 1
    geometry = grouped_geometry(
        groups, reduced.root_count, *proof.logits, proof.point.mean_gradient if optimal else None
    )
    stated = geometry.classifier.diagonal, geometry.embedding.diagonal
    return geometry, partial(_norm_error, reduced, proof, stated, groups.group)


def _norm_error(reduced: Reduced, proof: Proof, stated: tuple[Floats, Floats], group: Ints) -> NormError:
    unknown = np.full_like(reduced.size, np.inf)
    with np.errstate(all="ignore"):
        try:
            return NormError(*norm_errors(reduced, proof, stated), group)
        except FloatingPointError:
            return NormError(unknown, unknown, group)


def norm_errors(reduced: Reduced, proof: Proof, stated: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Bounds of the errors of the stated squared norms of classifiers and embeddings, over these, shapes (G,)."""
    x, point, scale, _, levels, level = proof
    terms = 0.0 if levels is None else levels.change_size(level)
    blur = reduced.exponent_rounding(x, terms) + ROUNDINGS * reduced.size.size * EPS
    slope, rest = point.slope * scale, 1 - (point.wrong * scale).sum(axis=0)
    right = point.right
    gap = _gap(reduced, x, point.slope, right, scale, blur)
    if levels is not None and levels.decay.any():
        gap += _bias_gap(levels, level, slope)
    up, down = _log_ratios(slope, gap)
    exponent = np.maximum(up, down) + np.maximum(*_log_ratios(reduced.group_weight * rest, gap)) + blur
    exponent = exponent + np.abs(np.log(scale)) + np.abs(np.log(rest / right))
    own_gradient, gradient = reduced.pull_back(slope)
    own_error, gradient_error = (np.abs(part) for part in reduced.pull_back(_slope_errors(slope, gap)))
    logits, own = _logit_errors(reduced, x.mean, exponent, levels, gap)
    own = np.where((x.own == 0) & (own_error - own_gradient < 1), 0.0, own)
    if not x.mean.any() and operator_norm(gradient) + np.linalg.norm(gradient_error) < 1:
        logits = np.zeros_like(logits)
    known = _Known(x.mean, logits), _Known(gradient, gradient_error)
    return _combine(reduced, *known, _Known(x.own, own), stated)


class _Known(NamedTuple):
    """A value and a bound of its error, entry by entry."""

    value: Floats
    error: Floats


def _gap(reduced: Reduced, x: Logits, slope: Floats, right: Floats, scale: Floats, blur: Floats) -> float:
    """Objective less dual value, from the entropies of the columns and the alignment of gradient and logits."""
    moved = slope * scale
    lost = (slope * (1 - scale)).sum(axis=0) / (reduced.group_weight * right)
    entropy = xlogy(moved, scale).sum(axis=0) + (reduced.group_weight - moved.sum(axis=0)) * np.log1p(lost)
    tilt = 8 * reduced.size.size * EPS + np.abs(1 - scale)
    rounding = EPS * ROUNDINGS * slope * tilt + slope * blur * (tilt + blur)
    entropy = np.maximum(entropy, 0.0) + rounding.sum(axis=0)
    own, mean = reduced.pull_back(slope * scale)
    left, sigma, turned = svd(x.mean)
    tension = np.maximum(1 + ((left.T @ mean) * turned).sum(axis=1), 0.0)
    within = reduced.copies * x.own
    size = sigma.sum() + within.sum() + (np.abs(mean) * np.abs(x.mean)).sum()
    rounding = ROUNDINGS * reduced.size.size * EPS * size
    return float(entropy.sum() + sigma @ tension + within @ np.maximum(1 + own, 0.0) + rounding)


def _bias_gap(levels: Levels, level: Floats, slope: Floats) -> float:
    """What a bias with a ridge adds: zero where it is the one that its flows ask for."""
    flow = levels.flow(slope)
    received, sent = flow.sum(axis=1), flow.sum(axis=0)
    net = np.abs(levels.decay * level + received - sent) + ROUNDINGS * level.size * EPS * (received + sent)
    return float((net**2 / (2 * levels.decay)).sum())


def _log_ratios(slope: Floats, gap: float) -> tuple[Floats, Floats]:
    """How far log(p* / p) can be above and below 0 where slope (p* / p - 1 - log(p* / p)) <= gap."""
    ratio = gap / slope
    up = np.minimum(np.sqrt(2 * ratio), np.log(2 * ratio + 1.3863))  # e^y - 1 - y >= y^2 / 2 and >= e^y / 2 - 0.69315
    return up, 0.5 * (ratio + np.sqrt(ratio * ratio + 8 * ratio))  # e^-u - 1 + u >= u^2 / (2 + u)


def _slope_errors(slope: Floats, gap: float) -> Floats:
    """How far group_weight p* can be from group_weight p."""
    small = slope < 0.1 * gap
    up = np.sqrt(2 * gap / np.where(small, gap, slope))
    return np.where(small, 2 * gap + 0.3863 * slope, np.minimum(slope * np.expm1(up), 2 * gap + 0.3863 * slope))


def _logit_errors(
    reduced: Reduced, mean: Floats, exponent: Floats, levels: Levels | None, gap: float
) -> tuple[Floats, Floats]:
    """Errors of the mean logits and of own, from those of the exponents.

    The optimum has null^T X = 0 and, under a free bias, X sqrt(n) = 0; whatever the solution has of these is error.
    """
    own_slope = np.where(reduced.size > 1, reduced.own_slope.diagonal(), np.inf)
    own = np.where(reduced.live, exponent.diagonal() / own_slope, 0.0)
    change = exponent + reduced.own_slope * own
    if levels is not None and levels.decay.any():
        level = np.sqrt(2 * gap / levels.decay)  # the objective's strong convexity in the levels
        change = change + levels.label * (level[:, None] + level)
    np.fill_diagonal(change, 0.0)
    weight = reduced.null[:, None] / reduced.logit_slope
    off_null = np.abs(reduced.null @ mean) + ROUNDINGS * EPS * (reduced.null @ np.abs(mean))
    logits = (change + ((weight * change).sum(axis=0) + off_null) / weight.sum(axis=0)) / reduced.logit_slope
    if levels is not None and not levels.decay.any():
        root_group_count = np.sqrt(reduced.size) * reduced.root_count
        off_centre = np.abs(mean @ root_group_count) + ROUNDINGS * EPS * (np.abs(mean) @ root_group_count)
        moved = np.outer(logits @ root_group_count + off_centre, root_group_count)
        logits = logits + moved / (root_group_count @ root_group_count)
    return logits, own


def _combine(
    reduced: Reduced, x: _Known, gradient: _Known, own: _Known, stated: tuple[Floats, Floats]
) -> tuple[Floats, Floats]:
    """Both forms of each Gram matrix's diagonal; the nearer bound counts."""
    errors, rounding = [], ROUNDINGS * reduced.size.size * EPS
    scales = np.ones_like(reduced.size), reduced.root_count**2
    for rows, slopes, value, scale in zip((x, _turned(x)), (gradient, _turned(gradient)), stated, scales, strict=True):
        whole = np.abs(slopes.value) + slopes.error
        # the diagonals of -X G^T and of G (-G^T X) G^T
        direct = -(rows.value * slopes.value).sum(axis=1)
        size, blurred = np.abs(rows.value), rows.error + 2 * rounding * np.abs(rows.value)
        direct_error = (whole * blurred + size * slopes.error).sum(axis=1)
        other = -slopes.value.T @ rows.value
        other_error = whole.T @ blurred + slopes.error.T @ size
        bent = _forms(slopes.value, other)
        bent_error = _forms(whole, np.abs(other) + other_error) - _forms(np.abs(slopes.value), np.abs(other))
        wanted = value * scale * reduced.size
        within = (reduced.size - 1) * own.value
        off = np.minimum(np.abs(wanted - within - direct) + direct_error, np.abs(wanted - within - bent) + bent_error)
        off = off + (reduced.size - 1) * own.error
        errors.append(np.where(off == 0, 0.0, np.where(np.isfinite(off) & (wanted > 0), off / wanted, np.inf)))
    return errors[0], errors[1]


def _forms(rows: Floats, matrix: Floats) -> Floats:
    """The quadratic form row matrix row^T of every row."""
    return np.asarray(((rows @ matrix) * rows).sum(axis=1))


def _turned(known: _Known) -> _Known:
    return _Known(known.value.T, known.error.T)
