"""Two classes and a linear model: the cost-sensitive SVM, in whose direction gradient descent goes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import nnls

from implicit_geometry._validate import Floats, InputError, class_vector


def cost_sensitive_svm(inputs: ArrayLike, labels: ArrayLike, label_scale: ArrayLike = (1.0, 1.0)) -> Floats:
    """Solve the cost-sensitive SVM min |w| subject to Delta_y * sign_y * (w . x) >= 1 for every sample (x, y).

    Here sign_y is -1 for label 0 and +1 for label 1. On separable data gradient descent goes in the direction of w for
    the binary VS loss log(1 + exp(-Delta_y sign_y w . x)). So does w_1 - w_0 in a two-class linear model: its
    ``class_scale``, ``weight``, ``shift`` and ``margin`` drop out, LDT decides as binary VS does, CDT as plain
    cross-entropy. There is no intercept; a constant feature gives one that takes part in the norm.

    Args:
        inputs: x, one sample per row, shape (n, p).
        labels: 0 or 1, shape (n,).
        label_scale: Delta > 0 of the labels 0 and 1, shape (2,).

    Returns:
        w, scaled so that the smallest constraint is 1, shape (p,).

    Raises:
        InputError: an argument has the wrong form, or no hyperplane through the origin separates the classes.

    Source: Kini et al. (2021), Theorem 1; Behnia et al. (2023), Proposition 1 and Lemma 3.1.

    Example:
        >>> cost_sensitive_svm([[3.0], [-1.0]], [1, 0], label_scale=[0.5, 0.25])
        array([2.])
    """
    rows = _constraints(inputs, labels, label_scale)
    size = np.abs(rows).max()
    # least distance programming (Lawson and Hanson 1974, Chapter 23): multipliers by non-negative least squares
    system = np.vstack([rows.T / size, np.ones(len(rows))])
    multipliers, _ = nnls(system, np.append(np.zeros(len(system) - 1), 1.0))
    direction = system[:-1] @ multipliers
    smallest = float((rows @ direction).min())
    if smallest <= len(direction) * np.finfo(np.float64).eps * size * np.linalg.norm(direction):
        raise InputError(
            "inputs",
            "must be separated by a hyperplane through the origin",
            f"{len(rows)} samples that are not; a constant feature lets it miss the origin",
        )
    return np.asarray(direction / smallest)


def _constraints(inputs: Any, labels: Any, label_scale: Any) -> Floats:
    """The rows Delta_y sign_y x, shape (n, p): a sample's cost-sensitive margin is its row times w = w_1 - w_0."""
    samples = np.asarray(inputs, dtype=np.float64)
    if samples.ndim != 2 or samples.size == 0 or not np.isfinite(samples).all() or not samples.any():
        raise InputError(
            "inputs", "must be a finite matrix, one sample per row and not all zero", f"shape {samples.shape}"
        )
    classes = np.asarray(labels)
    if classes.shape != (len(samples),) or not np.isin(classes, (0, 1)).all():
        raise InputError("labels", f"must be {len(samples)} values 0 or 1, one per sample", f"shape {classes.shape}")
    scale = class_vector("label_scale", label_scale, positive=True)
    if scale.shape != (2,):
        raise InputError("label_scale", "must hold the scales of the 2 classes", scale.size)
    return np.asarray(samples * np.where(classes == 1, scale[1], -scale[0])[:, None])
