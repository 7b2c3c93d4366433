"""Slow, independent answers about heads with a bias: interior points, dense decompositions and loops over classes.

Vectors are plain arrays as in ``oracles``: ``counts`` n, ``class_scale`` delta, ``label_scale`` Delta.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class BiasedLogits(NamedTuple):
    """X (columns scaled by sqrt(n)), the bias, and the optimal value."""

    logits: Floats
    bias: Floats
    value: float


def _arrays(*vectors: ArrayLike) -> list[Floats]:
    return [np.asarray(vector, dtype=np.float64) for vector in vectors]


def candidate_logits(counts: ArrayLike, class_scale: ArrayLike, label_scale: ArrayLike) -> Floats:
    """P S P_r, entry by entry."""
    n, delta, label = _arrays(counts, class_scale, label_scale)
    v, r = (vector / np.linalg.norm(vector) for vector in (1 / delta, np.sqrt(n)))
    unit = np.eye(n.size)
    return np.asarray((unit - np.outer(v, v)) @ np.diag(np.sqrt(n) / delta / label) @ (unit - np.outer(r, r)))


def largest_off_diagonal_of_polar_factor(logits: Floats) -> float:
    """By a singular value decomposition of a matrix of rank k - 1."""
    left, _, right = np.linalg.svd(logits)
    polar = left[:, :-1] @ right[:-1]
    np.fill_diagonal(polar, -np.inf)
    return float(polar.max())


def margins(logits: Floats, bias: Floats, counts: ArrayLike, class_scale: ArrayLike, label_scale: ArrayLike) -> Floats:
    """All Delta_y (delta_y z_yy - delta_c z_cy), c != y, with z = X_y / sqrt(n_y) + b, pair by pair."""
    n, delta, label = _arrays(counts, class_scale, label_scale)
    z = logits / np.sqrt(n) + bias[:, None]
    return np.array(
        [label[y] * (delta[y] * z[y, y] - delta[c] * z[c, y]) for y in range(n.size) for c in range(n.size) if c != y]
    )


def solve_margin_program(
    counts: ArrayLike, class_scale: ArrayLike, label_scale: ArrayLike, *, bias: bool = True
) -> BiasedLogits:
    """min |X|_* under unit cost-sensitive margins by a general interior-point solver."""
    import cvxpy

    n, delta, label = _arrays(counts, class_scale, label_scale)
    k = n.size
    x, b = cvxpy.Variable((k, k)), cvxpy.Variable(k)
    z = x @ np.diag(1 / np.sqrt(n)) + cvxpy.reshape(b, (k, 1), order="C") @ np.ones((1, k))
    constraints = [
        label[y] * (delta[y] * z[y, y] - delta[c] * z[c, y]) >= 1 for y in range(k) for c in range(k) if c != y
    ]
    constraints.append((1 / delta) @ b == 0 if bias else b == 0)
    program = cvxpy.Problem(cvxpy.Minimize(cvxpy.normNuc(x)), constraints)
    program.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    assert program.status == cvxpy.OPTIMAL
    return BiasedLogits(np.asarray(x.value), np.asarray(b.value), float(program.value))


def solve_ridge_program(counts: ArrayLike, loss: Any, ridge: float, bias_ridge: float) -> BiasedLogits:
    """Minimise the regularised objective over logits and bias by a general interior-point solver."""
    import cvxpy

    n = np.asarray(counts, dtype=np.float64)
    k = n.size
    x, b = cvxpy.Variable((k, k)), cvxpy.Variable(k)
    terms = []
    for y in range(k):
        slope = loss.label_scale[y] * loss.class_scale
        adjusted = (
            cvxpy.multiply(slope, x[:, y] / np.sqrt(n[y]) + b) + loss.shift - loss.margin[y] * (np.arange(k) == y)
        )
        terms.append(n[y] * loss.weight[y] * (cvxpy.log_sum_exp(adjusted) - adjusted[y]))
    objective = sum(terms) + ridge * cvxpy.normNuc(x) + bias_ridge / 2 * cvxpy.sum_squares(b)
    program = cvxpy.Problem(cvxpy.Minimize(objective), [(1 / loss.class_scale) @ b == 0])
    program.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
    assert program.status in (cvxpy.OPTIMAL, cvxpy.OPTIMAL_INACCURATE)
    return BiasedLogits(np.asarray(x.value), np.asarray(b.value), float(program.value))


def loss_gradient(logits: Floats, bias: Floats, counts: ArrayLike, loss: Any) -> tuple[Floats, Floats]:
    """Gradient of sum_c n_c l(X_c / sqrt(n_c) + b, c) by X and by b, class by class."""
    n = np.asarray(counts, dtype=np.float64)
    by_logits, by_bias = np.zeros_like(logits), np.zeros_like(bias)
    for y in range(n.size):
        slope = loss.label_scale[y] * loss.class_scale
        adjusted = slope * (logits[:, y] / np.sqrt(n[y]) + bias) + loss.shift
        adjusted[y] -= loss.margin[y]
        probability = np.exp(adjusted - adjusted.max())
        probability /= probability.sum()
        probability[y] -= 1
        column = n[y] * loss.weight[y] * slope * probability
        by_logits[:, y] = column / np.sqrt(n[y])
        by_bias += column
    return by_logits, by_bias
