"""Slow, independent answers the tests compare the library with: dense SVDs, loops, interior points, many digits.

Nothing here uses the library's formulas. Vectors are plain arrays: ``counts`` n, ``class_scale`` delta,
``label_scale`` Delta.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import mpmath
import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class DenseGeometry(NamedTuple):
    """W W^T, H H^T and W H^T as k x k arrays."""

    classifier: Floats
    embedding: Floats
    cross: Floats


# The limit: the cost-sensitive SVM in the logits


def limit_logits(counts: ArrayLike, class_scale: ArrayLike, label_scale: ArrayLike) -> Floats:
    """X* = P S, formed entry by entry."""
    n, delta, label = (np.asarray(x, dtype=np.float64) for x in (counts, class_scale, label_scale))
    v = (1 / delta) / np.linalg.norm(1 / delta)
    return np.asarray((np.eye(n.size) - np.outer(v, v)) @ np.diag(np.sqrt(n) / (delta * label)))


def factor_logits(logits: Floats, counts: ArrayLike) -> DenseGeometry:
    """The geometry of the balanced factors W = U sqrt(s), H = V sqrt(s) / sqrt(n) of X = U s V^T."""
    left, singular, right = np.linalg.svd(logits)
    root = np.sqrt(np.asarray(counts, dtype=np.float64))
    classifier, embedding = left * np.sqrt(singular), (right.T * np.sqrt(singular)) / root[:, None]
    return DenseGeometry(classifier @ classifier.T, embedding @ embedding.T, classifier @ embedding.T)


def limit_geometry(counts: ArrayLike, class_scale: ArrayLike, label_scale: ArrayLike) -> DenseGeometry:
    """The limit's geometry by a dense singular value decomposition."""
    return factor_logits(limit_logits(counts, class_scale, label_scale), counts)


def precise_limit_geometry(
    counts: ArrayLike, class_scale: ArrayLike, label_scale: ArrayLike, digits: int = 400
) -> DenseGeometry:
    """The same with ``digits`` decimal digits (eigenvalues of X^T X and X X^T), rounded to float64 at the end."""
    with mpmath.workdps(digits):
        n, delta, label = ([mpmath.mpf(float(x)) for x in np.asarray(v)] for v in (counts, class_scale, label_scale))
        k = len(n)
        length = mpmath.sqrt(sum(1 / d**2 for d in delta))
        v = [1 / d / length for d in delta]
        x = mpmath.matrix(k, k)
        for row in range(k):
            for column in range(k):
                s = mpmath.sqrt(n[column]) / (delta[column] * label[column])
                x[row, column] = ((row == column) - v[row] * v[column]) * s
        right, left = _matrix_root(x.T * x), _matrix_root(x * x.T)
        root = [mpmath.sqrt(count) for count in n]
        return DenseGeometry(
            _rounded(left),
            _rounded(mpmath.matrix([[right[i, j] / root[i] / root[j] for j in range(k)] for i in range(k)])),
            _rounded(mpmath.matrix([[x[i, j] / root[j] for j in range(k)] for i in range(k)])),
        )


def _matrix_root(matrix: Any) -> Any:
    values, vectors = mpmath.eigsy(matrix)
    return vectors * mpmath.diag([mpmath.sqrt(max(value, 0)) for value in values]) * vectors.T


def _rounded(matrix: Any) -> Floats:
    return np.array([[float(matrix[i, j]) for j in range(matrix.cols)] for i in range(matrix.rows)])


def smallest_margin(logits: Floats, counts: ArrayLike, class_scale: ArrayLike, label_scale: ArrayLike) -> float:
    """min over y and c != y of Delta_y (delta_y X_yy - delta_c X_cy) / sqrt(n_y), pair by pair."""
    n, delta, label = (np.asarray(x, dtype=np.float64) for x in (counts, class_scale, label_scale))
    return float(
        min(
            label[y] * (delta[y] * logits[y, y] - delta[c] * logits[c, y]) / np.sqrt(n[y])
            for y in range(n.size)
            for c in range(n.size)
            if c != y
        )
    )


class Bounds(NamedTuple):
    """An upper and a lower bound of an optimal value."""

    primal: float
    dual: float


def margin_certificate(logits: Floats, counts: ArrayLike, class_scale: ArrayLike, label_scale: ArrayLike) -> Bounds:
    """Bounds of min |X|_* under unit margins from any feasible direction ``logits``."""
    n, delta, label = (np.asarray(x, dtype=np.float64) for x in (counts, class_scale, label_scale))
    left, singular, right = np.linalg.svd(logits)
    kept = singular > 1e-9 * singular[0]
    polar = left[:, kept] @ right[kept]
    operator, total = np.zeros_like(polar), 0.0
    for y in range(n.size):
        for c in range(n.size):
            if c == y:
                continue
            beta = max(0.0, -polar[c, y]) * np.sqrt(n[y]) / (delta[c] * label[y])
            total += beta
            operator[y, y] += beta * label[y] * delta[y] / np.sqrt(n[y])
            operator[c, y] -= beta * label[y] * delta[c] / np.sqrt(n[y])
    margin = smallest_margin(logits, counts, class_scale, label_scale)
    return Bounds(float(singular.sum()) / margin, total / float(np.linalg.norm(operator, 2)))


def solve_margin_program(counts: ArrayLike, class_scale: ArrayLike, label_scale: ArrayLike) -> Floats:
    """min |X|_* under unit cost-sensitive margins by a general interior-point solver."""
    import cvxpy

    n, delta, label = (np.asarray(x, dtype=np.float64) for x in (counts, class_scale, label_scale))
    k = n.size
    logits = cvxpy.Variable((k, k))
    margins = [
        label[y] * (delta[y] * logits[y, y] - delta[c] * logits[c, y]) / np.sqrt(n[y]) >= 1
        for y in range(k)
        for c in range(k)
        if c != y
    ]
    program = cvxpy.Problem(cvxpy.Minimize(cvxpy.normNuc(logits)), margins)
    program.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    assert program.status == cvxpy.OPTIMAL
    return np.asarray(logits.value)


# A positive ridge


class LossVectors(NamedTuple):
    """The five per-class vectors of the loss; any object with these attributes will do instead."""

    weight: Floats
    shift: Floats
    class_scale: Floats
    label_scale: Floats
    margin: Floats


def sample_loss(logits: Floats, label: int, loss: Any) -> float:
    """-weight_y log softmax(label_scale_y (class_scale * z) + shift - margin_y e_y)_y by a loop over classes."""
    adjusted = [
        loss.label_scale[label] * loss.class_scale[c] * logits[c] + loss.shift[c] - (c == label) * loss.margin[label]
        for c in range(len(logits))
    ]
    peak = max(adjusted)
    return float(loss.weight[label] * (peak + np.log(sum(np.exp(u - peak) for u in adjusted)) - adjusted[label]))


def ridge_objective(logits: Floats, counts: ArrayLike, loss: Any, ridge: float) -> float:
    """sum_c n_c l(X_c / sqrt(n_c), c) + ridge |X|_*."""
    n = np.asarray(counts, dtype=np.float64)
    data = sum(n[y] * sample_loss(logits[:, y] / np.sqrt(n[y]), y, loss) for y in range(n.size))
    return float(data + ridge * np.linalg.norm(logits, "nuc"))


def fenchel_certificate(logits: Floats, counts: ArrayLike, loss: Any, ridge: float) -> Bounds:
    """Objective at ``logits`` X (head without bias) and the Fenchel dual at its gradient, scaled into the ball.

    With p the softmax of class y's adjusted logits and t <= 1, the dual point of class y is weight_y q - weight_y e_y,
    q = t p + (1 - t) e_y, and the conjugate of the loss is the negative entropy of q plus linear terms.
    """
    n = np.asarray(counts, dtype=np.float64)
    k = n.size
    offset = np.tile(loss.shift[:, None], (1, k)) - np.diag(loss.margin)
    slope = np.outer(loss.class_scale, loss.label_scale)
    adjusted = slope * logits / np.sqrt(n) + offset
    odds = np.exp(adjusted - adjusted.max(axis=0))
    probability = odds / odds.sum(axis=0)
    gradient = np.sqrt(n) * loss.weight * slope * (probability - np.eye(k))
    t = min(1.0, ridge / float(np.linalg.norm(gradient, 2)))
    mixed = t * probability + (1 - t) * np.eye(k)
    entropy = np.where(mixed > 0, mixed * np.log(np.where(mixed > 0, mixed, 1.0)), 0.0)
    conjugate = n * loss.weight * (entropy - (mixed - np.eye(k)) * offset).sum(axis=0)
    return Bounds(ridge_objective(logits, counts, loss, ridge), float(-conjugate.sum()))


def solve_ridge_program(counts: ArrayLike, loss: Any, ridge: float) -> Floats:
    """Minimise :func:`ridge_objective` over the logits by a general interior-point solver."""
    import cvxpy

    n = np.asarray(counts, dtype=np.float64)
    logits = cvxpy.Variable((n.size, n.size))
    terms = []
    for y in range(n.size):
        offset = loss.shift - loss.margin[y] * (np.arange(n.size) == y)
        slope = loss.label_scale[y] * loss.class_scale / np.sqrt(n[y])
        adjusted = cvxpy.multiply(slope, logits[:, y]) + offset
        terms.append(n[y] * loss.weight[y] * (cvxpy.log_sum_exp(adjusted) - adjusted[y]))
    program = cvxpy.Problem(cvxpy.Minimize(sum(terms) + ridge * cvxpy.normNuc(logits)))
    program.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
    assert program.status in (cvxpy.OPTIMAL, cvxpy.OPTIMAL_INACCURATE)
    return np.asarray(logits.value)
