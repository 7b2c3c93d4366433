"""The closed form of the limit for a head with a free bias, arranged so that no norm is a difference.

With v the unit vector along 1/class_scale, r the one along sqrt(n), P and P_r the projections that remove them and S
the natural scales s = sqrt(n) / (class_scale * label_scale), the candidate is X_b = P S P_r: all its margins are 1, and
no other X of which this is true has a smaller nuclear norm. It is the optimum if and only if its polar factor T has no
positive entry off the diagonal.

With D = (S^2 + t^2)^-1, p = s v / r and q = s r / v those entries are, for i != j, -2 / pi times the integral over
t > 0 of d_i v_i d_j r_j N_ij / (a rho t^2 + b^2), where a = v^T D v, b = v^T D S r, rho = r^T D r and

    N_ij = sum_l d_l (t^2 r_l^2 (p_j - p_l) + q_i v_l^2 (q_l p_j + t^2))
         = p_j r_i^2 + q_i v_j^2 + the same sum over l other than i and j.

p is proportional to 1 / (class_scale^2 * label_scale). Where that is constant every term is positive, and with two
kinds of classes the second form has positive terms only. T r = 0 and v^T T = 0 give the diagonal, and
(X_b X_b^T)^(1/2) = P S T^T, (X_b^T X_b)^(1/2) = P_r S T the norms, each as a sum of positive terms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from implicit_geometry._validate import Floats, InputError, Ints
from implicit_geometry.certificate import Certificate
from implicit_geometry.geometry import Geometry
from implicit_geometry.gram import Gram
from implicit_geometry.groups import ClassGroups, group_classes, varying_vectors
from implicit_geometry.lowrank import LowRank
from implicit_geometry.parameterization import Pairwise
from implicit_geometry.problem import Problem
from implicit_geometry.theory.limit.plain import read_dominant_row_from_column, sum_of_others
from implicit_geometry.theory.limit.quadrature import InverseSquareRoot, inverse_square_root
from implicit_geometry.theory.numerics.rounding import EPS

_FEW = 48  # kinds of classes up to which the entries are summed one by one
_TILE = 1000


@dataclass(frozen=True)
class BiasedLimit:
    """The vectors that define the limit, one entry per kind of class (G kinds).

    Attributes:
        groups: which classes are of a kind.
        root_count: sqrt(n).
        pairs: scales of the loss; its other vectors, which the limit forgets, are those of one class of the kind.
        natural: s.
        left_null: v, one entry of the unit vector over all classes.
        right_null: r, likewise.
    """

    groups: ClassGroups
    root_count: Floats
    pairs: Pairwise
    natural: Floats
    left_null: Floats
    right_null: Floats

    @property
    def size(self) -> Floats:
        """Classes of each kind."""
        return self.groups.size


@dataclass(frozen=True)
class ClosedForm:
    """The optimum where the closed form is one; ``bias`` has one entry per kind of class."""

    geometry: Geometry
    bias: Floats
    certificate: Certificate


@dataclass(frozen=True)
class _Overlaps:
    """-T off the diagonal: ``rows @ columns.T``; its diagonal stands for two different classes of one kind.

    Each entry is right to within ``rounding`` times that of ``bound_rows @ bound_columns.T``.
    """

    rows: Floats  # (G, m)
    columns: Floats  # (G, m)
    bound_rows: Floats
    bound_columns: Floats
    rounding: float

    def sums(self, size: Floats, weight: Floats) -> tuple[Floats, Floats]:
        """sum_{l != i} |T_il| weight_l for every i, weight > 0, and how far rounding may have moved it."""
        bound = _sums(size, weight, self.bound_rows, self.bound_columns)
        return _sums(size, weight, self.rows, self.columns), self.rounding * bound

    @property
    def transposed(self) -> _Overlaps:
        return _Overlaps(self.columns, self.rows, self.bound_columns, self.bound_rows, self.rounding)


def biased_limit(problem: Problem) -> BiasedLimit:
    """Gather the kinds of classes.

    Raises:
        InputError: the scales span more than float64 holds.
    """
    groups = group_classes(*varying_vectors(problem, ("class_scale", "label_scale")))
    cost, pairs = problem.embedding_cost[groups.first], Pairwise.of(problem.parameterization, groups.first)
    root_count = np.sqrt(cost)
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        natural, left_null = pairs.natural(cost), pairs.null
        span = (natural.max() / natural.min()) * (root_count.max() / root_count.min()) / left_null.min()
        extremes = np.array([span, natural.max(), 1 / natural.min()])
        within = np.isfinite(extremes**4).all()
    if not within:
        raise InputError(
            "parameterization",
            "must keep its scales within float64's range",
            f"class_scale from {pairs.class_scale.min():g} to {pairs.class_scale.max():g} and label_scale from "
            f"{pairs.label_scale.min():g} to {pairs.label_scale.max():g}",
        )
    return BiasedLimit(
        groups,
        root_count,
        pairs,
        natural,
        left_null / np.sqrt(groups.size @ left_null**2),
        root_count / np.sqrt(groups.size @ root_count**2),
    )


def closed_form(limit: BiasedLimit) -> ClosedForm | None:
    """The candidate with its certificate, None where it is not optimal or rounding hides whether it is."""
    s, v, r = limit.natural, limit.left_null, limit.right_null
    cosine = float((limit.size @ (v * r / s)) / np.sqrt(limit.size @ (v / s) ** 2))
    rule = inverse_square_root(float(s.min()) * cosine, float(s.max()))  # encloses the singular values of X_b
    overlaps = _entry_by_entry(limit, rule) if s.size <= _FEW else _as_products(limit, rule)
    if not _all_positive(limit, overlaps):
        return None
    return _assemble(limit, rule, overlaps)


def _slopes(limit: BiasedLimit) -> tuple[Floats, Floats]:
    """The vectors p and q."""
    s, v, r = limit.natural, limit.left_null, limit.right_null
    return s * v / r, s * r / v


def _rises(limit: BiasedLimit) -> tuple[Ints, Floats]:
    """The order in which p rises, and its rises from one kind to the next."""
    x, rest = _inverse_of_p(limit)
    order = np.lexsort((-rest, -x))
    x, rest, p = x[order], rest[order], _slopes(limit)[0][order]
    fall = (x[:-1] - x[1:]) + (rest[:-1] - rest[1:])
    return order, np.maximum(p[1:] * (fall / x[:-1]), 0.0)


def _differences(limit: BiasedLimit) -> tuple[Floats, Floats]:
    """p_j - p_l and q_j - q_l, each exact to rounding of the difference itself, shape (G, G)."""
    p, q = _slopes(limit)
    x, rest = _inverse_of_p(limit)
    by_p = p[:, None] * (((x - x[:, None]) + (rest - rest[:, None])) / x)
    label, count = limit.pairs.label_scale / limit.pairs.label_scale.max(), limit.root_count**2
    grown, grown_rest = _product(*np.broadcast_arrays(count[:, None], label))  # n_j Delta_l; q = c n / Delta
    by_q = q[:, None] * (((grown - grown.T) + (grown_rest - grown_rest.T)) / grown)
    return np.asarray(by_p), np.asarray(by_q)


def _inverse_of_p(limit: BiasedLimit) -> tuple[Floats, Floats]:
    """class_scale^2 * label_scale, of which p is a constant times the inverse, in twice the working precision.

    Where it is constant up to rounding of the scales, so are the differences of p.
    """
    class_scale, label_scale = limit.pairs.class_scale, limit.pairs.label_scale
    unit, label = class_scale / class_scale.max(), label_scale / label_scale.max()
    squared, squared_rest = _product(unit, unit)
    x, rest = _product(squared, label)
    return x, rest + squared_rest * label


def _product(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """The product a * b and its rounding error (Dekker)."""
    product = a * b

    def parts(x: Floats) -> tuple[Floats, Floats]:
        high = x * 134217729.0
        high = high - (high - x)
        return high, x - high

    (a_high, a_low), (b_high, b_low) = parts(a), parts(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _entry_by_entry(limit: BiasedLimit, rule: InverseSquareRoot) -> _Overlaps:
    """Few kinds: the second form of N, whose terms are positive but for kinds l of larger p and q.

    As r_l^2 p_l = v_l^2 q_l, the terms with t^2 are also r_l^2 p_j + v_l^2 (q_i - q_l): that of fewer cancellations is
    taken.
    """
    size, v, r = limit.size, limit.left_null, limit.right_null
    p, q = _slopes(limit)
    by_p, by_q = _differences(limit)
    squared = rule.node**2
    damped = 1 / ((limit.natural**2)[:, None] + squared)
    whole = _denominator(limit, rule, damped)
    count = size.size
    found, bound = np.zeros((count, count)), np.zeros((count, count))
    for i in range(count):
        base = p * r[i] ** 2 + q[i] * v**2
        others = size - np.eye(count)[i] - np.eye(count)  # [j, l]: classes of kind l other than i and j
        fixed = others * q[i] * v**2 * q * p[:, None]
        first, first_size = r**2 * by_p + q[i] * v**2, r**2 * np.abs(by_p) + q[i] * v**2
        second, second_size = r**2 * p[:, None] + v**2 * by_q[i], r**2 * p[:, None] + v**2 * np.abs(by_q[i])
        moving = others * np.where(first_size <= second_size, first, second)
        moving_size = others * np.minimum(first_size, second_size)
        weight = rule.weight * damped[i] * v[i] / whole
        steady = base[:, None] + fixed @ damped
        found[i] = r * np.einsum("jq,jq,q->j", steady + moving @ (damped * squared), damped, weight)
        bound[i] = r * np.einsum("jq,jq,q->j", steady + moving_size @ (damped * squared), damped, weight)
    unit = np.eye(count)
    return _Overlaps(found, unit, bound, unit, _rounding(limit, rule))


def _as_products(limit: BiasedLimit, rule: InverseSquareRoot) -> _Overlaps:
    """Many kinds: the first form of N, which parts into products of a row and a column."""
    v, r, size = limit.left_null, limit.right_null, limit.size
    p, q = _slopes(limit)
    squared = rule.node**2
    damped = 1 / ((limit.natural**2)[:, None] + squared)
    above, below = _excesses(limit, size[:, None] * damped * (r**2)[:, None])
    a, b = (size * v**2) @ damped, (size * v * limit.natural * r) @ damped
    weight = rule.weight / _denominator(limit, rule, damped)
    left, right = damped * v[:, None] * weight, damped * r[:, None]
    rows = np.hstack([left * squared, left * q[:, None]])
    steady = right * (np.outer(p, b) + a * squared)
    columns, bounds = np.hstack([right * (above - below), steady]), np.hstack([right * (above + below), steady])
    return _Overlaps(rows, columns, rows, bounds, _rounding(limit, rule))


def _excesses(limit: BiasedLimit, weight: Floats) -> tuple[Floats, Floats]:
    """sum_l weight_l (p_j - p_l) over the kinds of smaller p, and minus it over those of larger p, shape (G, q)."""
    order, rises = _rises(limit)
    sorted_weight, step = weight[order], rises[:, None]
    above, below = np.zeros_like(weight), np.zeros_like(weight)
    above[order[1:]] = np.cumsum(np.cumsum(sorted_weight[:-1], axis=0) * step, axis=0)
    falling = np.cumsum(np.cumsum(sorted_weight[:0:-1], axis=0) * step[::-1], axis=0)
    below[order[:-1]] = falling[::-1]
    return above, below


def _denominator(limit: BiasedLimit, rule: InverseSquareRoot, damped: Floats) -> Floats:
    """The denominator a rho t^2 + b^2 at every node."""
    size, v, r = limit.size, limit.left_null, limit.right_null
    a, b, rho = (size * v**2) @ damped, (size * v * limit.natural * r) @ damped, (size * r**2) @ damped
    return np.asarray(a * rho * rule.node**2 + b**2)


def _rounding(limit: BiasedLimit, rule: InverseSquareRoot) -> float:
    """Relative error of a sum over nodes of sums over kinds of positive terms, and of the rule itself."""
    return (rule.node.size + 2 * limit.size.size + 32) * EPS + rule.highest - rule.lowest


def _all_positive(limit: BiasedLimit, overlaps: _Overlaps) -> bool:
    """Whether every overlap is positive beyond rounding."""
    several = limit.size > 1
    for start in range(0, limit.size.size, _TILE):
        rows = slice(start, start + _TILE)
        least = overlaps.rows[rows] @ overlaps.columns.T
        least -= overlaps.rounding * (overlaps.bound_rows[rows] @ overlaps.bound_columns.T)
        index = np.arange(len(least))
        own = least[index, start + index]
        least[index, start + index] = np.where(several[rows], own, np.inf)
        if not least.min() >= 0:
            return False
    return True


def _sums(size: Floats, weight: Floats, rows: Floats, columns: Floats) -> Floats:
    return np.asarray(np.einsum("im,im->i", rows, sum_of_others(size, weight[:, None] * columns)))


def _assemble(limit: BiasedLimit, rule: InverseSquareRoot, overlaps: _Overlaps) -> ClosedForm:
    s, v, r, n, size = limit.natural, limit.left_null, limit.right_null, limit.root_count, limit.size
    group = limit.groups.group
    across, across_error = overlaps.sums(size, r)
    own = across / r  # T_ii, as T r = 0
    row_spill, _ = overlaps.sums(size, s * v)
    column_spill, _ = overlaps.transposed.sums(size, r * s)
    outside_left, outside_right = sum_of_others(size, v**2), sum_of_others(size, r**2)

    # (X_b^T X_b)^(1/2) = P_r S T, then (X_b X_b^T)^(1/2) = P S T^T
    modulus = s * own * outside_right + r * column_spill
    left, right = read_dominant_row_from_column(
        size,
        r,
        np.column_stack([-s[:, None] * overlaps.rows, -r]),
        np.column_stack([overlaps.columns, r * s * own - column_spill]),
    )
    embedding = Gram(modulus / n**2, left / n[:, None], right / n[:, None], group)

    left, right = read_dominant_row_from_column(
        size,
        v,
        np.column_stack([-s[:, None] * overlaps.columns, -v]),
        np.column_stack([overlaps.rows, v * s * own - row_spill]),
    )
    classifier = Gram(s * own * outside_left + v * row_spill, left, right, group)

    cross, bias, margin = _logits(limit, outside_left, outside_right)
    nuclear_norm = float(size @ (s * own))
    error = float(size @ (s * across_error / r)) + _rounding(limit, rule) * nuclear_norm
    certificate = Certificate(
        primal=(nuclear_norm + error) / rule.lowest / margin if margin > 0 else np.inf,
        dual=(nuclear_norm - error) / rule.highest,
        smallest_margin=margin,
    )
    return ClosedForm(Geometry(classifier, embedding, cross), bias, certificate)


def _logits(limit: BiasedLimit, outside_left: Floats, outside_right: Floats) -> tuple[LowRank, Floats, float]:
    """X_b / sqrt(n), the bias P S r / sqrt(N), and what the margins are at least when both are added up."""
    s, v, r, n, size = limit.natural, limit.left_null, limit.right_null, limit.root_count, limit.size
    # X_b = S - v (s v)^T - (s r) r^T + level v r^T; p r = s v and q v = s r
    p, q = _slopes(limit)
    level = float(size @ (v * s * r))
    root_samples = float(np.sqrt(size @ n**2))
    diagonal = s * outside_left * outside_right + v * r * sum_of_others(size, v * s * r)
    if size.size <= _FEW:
        unit = np.eye(size.size)
        rest = (size - unit[:, None, :] - unit) @ (v * s * r)  # [i, j]: over the classes other than i and j
        left, right = v[:, None] * r * (rest - p * outside_right - (q * outside_left)[:, None]), unit
    else:
        left, right = np.column_stack([v, -v * q]), np.column_stack([r * (level - p), r])
    cross = LowRank(diagonal / n, left, right / n[:, None], limit.groups.group)
    push = float((limit.pairs.class_scale * v).max()) / root_samples  # class_scale * v is constant
    loss = 16 * EPS * push * limit.pairs.label_scale * (level + p + q.max())
    return cross, v * (q - level) / root_samples, float(1 - loss.max())
