"""Singular values where LAPACK's quicker method gives up."""

from __future__ import annotations

import numpy as np
import pytest

from implicit_geometry.theory.numerics.singular_values import svd


def test_a_matrix_that_divide_and_conquer_gives_up_on_is_decomposed_by_qr_iteration(monkeypatch) -> None:
    matrix = np.random.default_rng(0).standard_normal((5, 5))
    usual = svd(matrix)

    def gives_up(*_: object) -> None:
        raise np.linalg.LinAlgError("SVD did not converge")

    monkeypatch.setattr(np.linalg, "svd", gives_up)
    left, sigma, right = svd(matrix)
    np.testing.assert_allclose(sigma, usual.sigma, rtol=1e-13)
    np.testing.assert_allclose((left * sigma) @ right, matrix, atol=1e-13)


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(FloatingPointError):
        svd(np.array([[1.0, np.nan], [0.0, 1.0]]))
