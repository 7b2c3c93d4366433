"""Singular values of finite matrices: LAPACK may never return from others."""

from __future__ import annotations

import numpy as np

from implicit_geometry._validate import Floats


def svd(matrix: Floats) -> tuple[Floats, Floats, Floats]:
    """Left vectors, singular values and right vectors (as rows).

    Raises:
        FloatingPointError: an entry is infinite or NaN.
    """
    left, sigma, right = np.linalg.svd(_finite(matrix))
    return left, sigma, right


def nuclear_norm(matrix: Floats) -> float:
    """Sum of the singular values; errors as :func:`svd`."""
    return float(np.linalg.svd(_finite(matrix), compute_uv=False).sum())


def operator_norm(matrix: Floats) -> float:
    """Largest singular value; errors as :func:`svd`."""
    return float(np.linalg.norm(_finite(matrix), 2))


def _finite(matrix: Floats) -> Floats:
    if not np.isfinite(matrix).all():
        raise FloatingPointError("a matrix left float64's range")
    return matrix
