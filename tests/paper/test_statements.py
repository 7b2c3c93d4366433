"""What the paper states besides its lemmas' formulas: Remark 1, Lemma B.2, Eq. (1) and Eq. (7), by decompositions."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracles
from implicit_geometry.paper import step_formulas as step
from implicit_geometry.paper.step_formulas import StepProfile
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem
from implicit_geometry.theory.limit.plain import limit_solution

halves = st.tuples(st.integers(2, 10).map(lambda half: 2 * half), st.integers(1, 1000), st.floats(0.05, 50))


def limit(k: int, ratio: float, scale: float, loss: str) -> oracles.DenseGeometry:
    counts, scales = (np.array([value] * (k // 2) + [1.0] * (k // 2)) for value in (ratio, scale))
    ones = np.ones(k)
    return oracles.limit_geometry(counts, *((scales, ones) if loss == "cdt" else (ones, scales)))


@given(st.integers(3, 9), st.integers(0, 2**32 - 1))
def test_remark_1_neither_weights_nor_shifts_nor_the_level_of_the_scales_change_the_limit(k: int, seed: int) -> None:
    """The limit knows ratios of the scales only: against the decomposition without weights, shifts and levels."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 200, k)
    class_scale, label_scale = rng.uniform(0.3, 3, (2, k))
    loss = Parameterization(
        weight=rng.uniform(0.1, 10, k),
        shift=rng.normal(size=k),
        class_scale=class_scale * rng.uniform(0.1, 10),
        label_scale=label_scale * rng.uniform(0.1, 10),
    )
    found = limit_solution(Problem(counts, loss)).geometry
    exact = oracles.limit_geometry(counts, class_scale, label_scale)
    for block in ("classifier", "embedding", "cross"):
        gram, expected = getattr(found, block).dense(), getattr(exact, block)
        np.testing.assert_allclose(gram / np.linalg.norm(gram), expected / np.linalg.norm(expected), rtol=0, atol=1e-9)


@given(st.integers(3, 9), st.integers(1, 15), st.floats(0.1, 10), st.floats(0.15, 0.85))
def test_lemma_b2_the_dual_matrix_has_the_signs_of_the_logits_strictly(
    k: int, ratio: int, scale: float, minority: float
) -> None:
    """U V^T with a row per sample against Z^T: positive for the label, negative for every other class."""
    num_minority = min(max(round(minority * k), 1), k - 1)
    profile = StepProfile(k, ratio, scale, num_minority / k)
    repeats = [ratio] * (k - num_minority) + [1] * num_minority
    logits = np.repeat(step.sel_matrix(profile), repeats, axis=1)  # Z, classes x samples
    left, _, right = np.linalg.svd(logits, full_matrices=False)
    dual = right[:-1].T @ left[:, :-1].T  # the last singular value is zero
    assert np.abs(logits).min() > 0
    np.testing.assert_array_equal(np.sign(dual), np.sign(logits.T))
    assert np.abs(dual).min() > 1e-9


@given(halves)
def test_equation_1_norm_ratios(profile: tuple[int, int, float]) -> None:
    k, ratio, d = profile
    root, power, r = sqrt(ratio), (1 + d**2) ** 1.5, sqrt((ratio + d**2) / 2)
    printed = {
        "cdt": (root / d * (k - 2) * power + 2 * d**2 * sqrt(ratio + 1)) / ((k - 2) * power + 2 * sqrt(ratio + 1)),
        "ldt": ((k - 2) * root + r) / ((k - 2) * d + r),
    }
    for loss, value in printed.items():
        exact = limit(k, ratio, d, loss).classifier
        assert value == pytest.approx(exact[0, 0] / exact[-1, -1], rel=1e-9)


@given(halves)
def test_equation_7_cosines_of_minority_classifiers(profile: tuple[int, int, float]) -> None:
    k, ratio, d = profile
    bridge, r = 2 * sqrt(ratio + 1) * (1 + d**2) ** -1.5, sqrt((ratio + d**2) / 2)
    printed = {"cdt": (-2 + bridge) / (k - 2 + bridge), "ldt": (-2 * d + r) / ((k - 2) * d + r)}
    for loss, value in printed.items():
        exact = limit(k, ratio, d, loss).classifier
        assert value == pytest.approx(exact[k // 2, k // 2 + 1] / exact[-1, -1], rel=1e-9, abs=1e-10)


@given(halves)
def test_the_cosines_of_ldts_embeddings_that_the_paper_leaves_out(profile: tuple[int, int, float]) -> None:
    k, ratio, d = profile
    root, r = sqrt(ratio), sqrt((ratio + d**2) / 2)
    exact = limit(k, ratio, d, "ldt").embedding
    majority = (-2 / root + 1 / r) / ((k - 2) / root + 1 / r)
    minority = (-2 * d + d**2 / r) / ((k - 2) * d + d**2 / r)
    assert majority == pytest.approx(exact[0, 1] / exact[0, 0], rel=1e-9, abs=1e-10)
    assert minority == pytest.approx(exact[k // 2, k // 2 + 1] / exact[-1, -1], rel=1e-9, abs=1e-10)
