"""Singular values of finite matrices: LAPACK may never return from others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import svd as scipy_svd
from scipy.sparse.linalg import LinearOperator, svds

from implicit_geometry._validate import Floats

_DENSE = 200  # rows up to which all singular values cost little


class Spectrum(NamedTuple):
    """A matrix as left vectors, singular values, the largest first, and right vectors (as rows)."""

    left: Floats
    sigma: Floats
    right: Floats


def svd(matrix: Floats) -> Spectrum:
    """The spectrum of a matrix.

    Raises:
        FloatingPointError: an entry is infinite or NaN.
    """
    try:
        return Spectrum(*np.linalg.svd(_finite(matrix)))
    except np.linalg.LinAlgError:  # LAPACK's divide and conquer gives up on a harmless matrix in a million
        return Spectrum(*scipy_svd(matrix, lapack_driver="gesvd"))


def nuclear_norm(matrix: Floats) -> float:
    """Sum of the singular values; errors as :func:`svd`."""
    return float(np.linalg.svd(_finite(matrix), compute_uv=False).sum())


def along_pairs(spectrum: Spectrum, matrix: Floats) -> Floats:
    """What a matrix has along every pair of singular vectors: left[:, i]^T matrix right[i].

    Example:
        >>> along_pairs(svd(np.diag([3.0, 2.0])), np.diag([0.5, 7.0]))
        array([0.5, 7. ])
    """
    return np.asarray(((spectrum.left.T @ matrix) * spectrum.right).sum(axis=1))


def operator_norm(matrix: Floats) -> float:
    """Largest singular value; errors as :func:`svd`."""
    return float(np.linalg.svd(_finite(matrix), compute_uv=False)[0])


def largest_singular_value(matrix: Floats | LinearOperator) -> float:
    """:func:`operator_norm` to about twelve digits, by Lanczos' method where the matrix is large: no upper bound.

    Args:
        matrix: square or not, or its products with vectors and matrices.

    Raises:
        FloatingPointError: an entry is infinite or NaN.
    """
    if min(matrix.shape) <= _DENSE:
        return operator_norm(matrix if isinstance(matrix, np.ndarray) else matrix @ np.eye(matrix.shape[1]))
    start = np.ones(min(matrix.shape))
    _finite(matrix if isinstance(matrix, np.ndarray) else matrix @ start)
    return float(svds(matrix, k=1, tol=1e-12, v0=start, return_singular_vectors=False)[0])


def _finite(matrix: Floats) -> Floats:
    if not np.isfinite(matrix).all():
        raise FloatingPointError("a matrix left float64's range")
    return matrix
