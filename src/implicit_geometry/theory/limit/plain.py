"""The geometry in the limit of vanishing ridge: closed form for any class counts and temperatures.

With v the unit vector along 1/class_scale, P = I - v v^T and s_c = sqrt(n_c) / (class_scale_c * label_scale_c), the
cost-sensitive SVM in the logits X (columns scaled by sqrt(n)) is solved by X* = P S. Both polar factors are diagonal
plus low rank (a rational rule for the inverse square root), so everything costs O(k). Every quantity below is arranged
as a sum of terms of one sign wherever that is possible, which keeps all norms accurate for ratios of 1e50 between
classes.
``weight``, ``shift`` and ``margin`` drop out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from implicit_geometry._validate import Floats, InputError
from implicit_geometry.certificate import Certificate
from implicit_geometry.geometry import Geometry
from implicit_geometry.gram import Gram
from implicit_geometry.groups import group_classes, varying_vectors
from implicit_geometry.lowrank import LowRank
from implicit_geometry.parameterization import Pairwise
from implicit_geometry.problem import Problem, Solution, require_free_features, require_hard_labels, require_problem
from implicit_geometry.theory.limit.quadrature import InverseSquareRoot, inverse_square_root

_MAX_DECADES = 110


@dataclass(frozen=True)
class _Polar:
    """The polar factor T = (P S^2 P)^(+1/2) S, row g for the classes of group g.

    T = diagonal on the diagonal, -sum_q scale[q] * damped_null[g, q] * s[h] * damped_null[h, q] elsewhere.
    """

    rule: InverseSquareRoot
    damped_null: Floats  # D_q v                        (G, q)
    scale: Floats  # u_q / (v^T D_q v)           (q,)
    diagonal: Floats  # T_gg                     (G,)
    spill: Floats  # sum_{l != g} s_l |T_gl| v_l (G,)


def limit_solution(problem: Problem) -> Solution:
    """Solve the cost-sensitive SVM min |X|_* in closed form, O(k) in time and memory.

    Args:
        problem: its ridge is taken as 0 and its head as one without bias.

    Returns:
        The geometry scaled so that every cost-sensitive margin is 1, and a certificate that encloses the nuclear norm.

    Raises:
        InputError: the scales span more than 110 decades, beyond which float64 loses the smallest norms.

    Source: Behnia et al. (2023), Theorem 1, extended to any counts and temperatures.

    Example:
        >>> from implicit_geometry.counts import ClassCounts
        >>> counts = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)
        >>> solution = limit_solution(Problem(counts))
        >>> squared = solution.geometry.classifier.squared_norms()
        >>> round(float(squared[0] / squared[9]), 3), solution.certificate.relative_gap < 1e-12
        (2.672, True)
    """
    require_problem(problem)
    require_free_features(problem, "this method")
    require_hard_labels(problem, "the limit of hard labels")
    groups = group_classes(*varying_vectors(problem, ("class_scale", "label_scale")))
    size, cost = groups.size, problem.embedding_cost[groups.first]
    root_count, pairs = np.sqrt(cost), Pairwise.of(problem.parameterization, groups.first)
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        s = pairs.natural(cost)
        _check_range(s, pairs)
        v = pairs.null / np.sqrt(size @ pairs.null**2)
        geometry, nuclear_norm, rule = _assemble(size, groups.group, root_count, s, v)
        margin = _smallest_margin(size, pairs, root_count, s, v)
    rounding = (rule.node.size + 2 * size.size + 32) * float(np.finfo(np.float64).eps)  # of sums of positive terms
    certificate = Certificate(
        primal=nuclear_norm * (1 + rounding) / rule.lowest / margin,
        dual=nuclear_norm * (1 - rounding) / rule.highest,
        smallest_margin=margin,
    )
    return Solution(problem, geometry, certificate)


def _assemble(
    size: Floats, group: np.ndarray[tuple[int, ...], np.dtype[np.int64]], root_count: Floats, s: Floats, v: Floats
) -> tuple[Geometry, float, InverseSquareRoot]:
    """The three blocks, the nuclear norm of X* and the rule that was used."""
    unit = float(np.exp(np.mean(np.log(s))))  # centres the range of s; restored at the end
    s = s / unit
    polar = _polar_factor(size, s, v)
    outside = sum_of_others(size, v**2)  # 1 - v_c^2 without cancellation
    # (X^T X)^(1/2) = S T and (X X^T)^(1/2) = P S T^T
    damped_null, scale = polar.damped_null, polar.scale
    root_scale = np.sqrt(scale)

    embedding_row = s[:, None] * damped_null * root_scale / root_count[:, None] * np.sqrt(unit)
    right_modulus = s * polar.diagonal * unit  # diagonal of (X^T X)^(1/2)
    embedding = Gram(right_modulus / root_count**2, -embedding_row, embedding_row, group)

    image = s * polar.diagonal * v - polar.spill  # T S v
    left, right = read_dominant_row_from_column(
        size, v, np.column_stack([-(s**2)[:, None] * damped_null * scale, -v]), np.column_stack([damped_null, image])
    )
    own = s * polar.diagonal * outside + v * polar.spill
    classifier = Gram(own * unit, left * unit, right, group)
    logits = v * s / root_count * unit
    cross = LowRank(outside * s / root_count * unit, -v[:, None], logits[:, None], group)
    return Geometry(classifier, embedding, cross), float(size @ right_modulus), polar.rule


def _polar_factor(size: Floats, s: Floats, v: Floats) -> _Polar:
    # T = sum_q u_q (D_q - D_q v v^T D_q / (v^T D_q v)) S with D_q = (S^2 + t_q^2)^-1
    rule = inverse_square_root(float(s.min()), float(s.max()))
    damped = 1.0 / ((s**2)[:, None] + rule.node**2)  # D_q                  (G, q)
    damped_null = damped * v[:, None]
    share = damped_null * v[:, None]  # D_q v^2
    scale = rule.weight / (size @ share)
    diagonal = s * ((damped * sum_of_others(size, share)) @ scale)
    spill = (damped_null * sum_of_others(size, (s**2)[:, None] * share)) @ scale
    return _Polar(rule, damped_null, scale, diagonal, spill)


def sum_of_others(size: Floats, values: Floats) -> Floats:
    """For a class of each group, the sum of a quantity over all other classes, without any subtraction.

    Args:
        size: classes of each group, shape (G,).
        values: the quantity of one class of each group, shape (G,) or (G, q).

    Returns:
        Sums, of the shape of ``values``.
    """
    size = size.reshape(-1, *[1] * (values.ndim - 1))
    total = size * values
    before, after = np.zeros_like(total), np.zeros_like(total)
    np.cumsum(total[:-1], axis=0, out=before[1:])
    after[:-1] = np.cumsum(total[:0:-1], axis=0)[::-1]
    return np.asarray(before + after + (size - 1) * values)


def read_dominant_row_from_column(size: Floats, v: Floats, left: Floats, right: Floats) -> tuple[Floats, Floats]:
    """Factors of the same symmetric matrix in which the row of a class with v_c^2 > 1/2 is read from its column.

    That row is a difference of two nearly equal terms; its column is not.
    """
    dominant = int(np.argmax(v))
    if size[dominant] > 1 or v[dominant] ** 2 <= 0.5:
        return left, right
    column = left @ right[dominant]
    marker = np.zeros_like(v)
    marker[dominant] = 1.0
    left = np.where(marker[:, None] > 0, 0.0, left)
    return np.column_stack([left, marker]), np.column_stack([right, column])


def _smallest_margin(size: Floats, pairs: Pairwise, root_count: Floats, s: Floats, v: Floats) -> float:
    """The least of the margins of X* / sqrt(n), as computed."""
    outside = sum_of_others(size, v**2)
    push = pairs.class_scale * v  # constant in exact arithmetic
    margins = pairs.label_scale * (pairs.class_scale * s * outside + push.min() * v * s) / root_count
    return float(margins.min())


def _check_range(s: Floats, pairs: Pairwise) -> None:
    class_scale, label_scale = pairs.class_scale, pairs.label_scale
    decades = np.log10(s.max()) - np.log10(s.min()) + np.log10(class_scale.max()) - np.log10(class_scale.min())
    if not decades <= _MAX_DECADES or not 1e-200 < s.min() <= s.max() < 1e200:
        raise InputError(
            "parameterization",
            f"must keep its scales within {_MAX_DECADES} decades, for float64 to hold the norms",
            f"class_scale from {class_scale.min():g} to {class_scale.max():g} and label_scale from "
            f"{label_scale.min():g} to {label_scale.max():g}",
        )
