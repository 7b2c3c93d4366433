"""The limit at ratios no dense float64 decomposition can follow: right to many digits, or one clear refusal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import oracles
from implicit_geometry._validate import InputError
from implicit_geometry.certificate import Status
from implicit_geometry.counts import ClassCounts
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem, Solution
from implicit_geometry.rules import cdt, ldt, vs
from implicit_geometry.theory.limit.plain import limit_solution
from strategies import problems


def solve(counts: object, class_scale: object, label_scale: object) -> Solution:
    parameters = Parameterization(class_scale=class_scale, label_scale=label_scale)
    return limit_solution(Problem(ClassCounts(counts), parameters))


def extremes() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Ratios no dense float64 decomposition can follow."""
    counts = np.array([1e9, 3e6, 3e6, 20.0, 1.0])
    ones, relative = np.ones(5), counts / counts.max()
    spread = np.array([1e-20, 1e20, 1.0, 1e-5, 1e10])
    return {
        "ce": (counts, ones, ones),
        **{f"cdt {gamma:g}": (counts, relative**gamma, ones) for gamma in (-5.0, -1.0, 0.5, 5.0)},
        **{f"ldt {gamma:g}": (counts, ones, relative**gamma) for gamma in (-5.0, -1.0, 0.5, 5.0)},
        "cdt 5, ldt -5": (counts, relative**5, relative**-5.0),
        "cdt -5, ldt 5": (counts, relative**-5.0, relative**5),
        "unrelated to the counts": (counts, spread, spread[::-1]),
        "one dominant class": (counts, np.array([1e-25, 1.0, 2.0, 3.0, 4.0]), ones),
        "nearly an ETF": (counts, ones, np.sqrt(counts) * (1 + 1e-9 * np.arange(5))),
        "two classes": (np.array([1e9, 1.0]), np.array([1e-22, 1e22]), np.array([1.0, 1e15])),
    }


@pytest.mark.parametrize("name", extremes())
def test_norms_keep_twelve_digits_at_any_range(name: str) -> None:
    solution, exact = solve(*extremes()[name]), oracles.precise_limit_geometry(*extremes()[name])
    geometry = solution.geometry
    for block in ("classifier", "embedding"):
        expected = np.diag(getattr(exact, block))
        np.testing.assert_allclose(getattr(geometry, block).squared_norms(), expected, rtol=1e-12)
    np.testing.assert_allclose(geometry.cross.diagonal[geometry.cross.group], np.diag(exact.cross), rtol=1e-12)
    np.testing.assert_allclose(solution.certificate.primal, np.trace(exact.classifier), rtol=1e-12)
    for block in ("classifier", "embedding", "cross"):
        matrix = getattr(exact, block)
        error = getattr(geometry, block).dense() - matrix
        assert np.linalg.norm(error / np.abs(matrix).max()) < 1e-12


@pytest.mark.parametrize("name", extremes())
def test_cosines_are_right_or_refused_at_any_range(name: str) -> None:
    geometry, exact = solve(*extremes()[name]).geometry, oracles.precise_limit_geometry(*extremes()[name])
    k = geometry.num_classes
    for block in ("classifier", "embedding"):
        matrix = getattr(exact, block)
        for i, j in ((i, j) for i in range(k) for j in range(k) if i != j):
            try:
                cosine = getattr(geometry, block).cosine(i, j)
            except InputError as error:
                assert "comparable size" in str(error)  # noqa: PT017
            else:
                norms = np.sqrt(matrix[i, i]) * np.sqrt(matrix[j, j])
                assert cosine == pytest.approx(matrix[i, j] / norms, abs=1e-5)


@settings(max_examples=40)
@given(problems(decades=12.0, max_classes=4, max_count=10**9))
def test_norms_and_alignment_keep_their_digits_whatever_the_scales(problem: Problem) -> None:
    geometry = limit_solution(problem).geometry
    exact = oracles.precise_limit_geometry(
        problem.counts.values, problem.parameterization.class_scale, problem.parameterization.label_scale, digits=200
    )
    np.testing.assert_allclose(geometry.classifier.squared_norms(), np.diag(exact.classifier), rtol=1e-12)
    np.testing.assert_allclose(geometry.embedding.squared_norms(), np.diag(exact.embedding), rtol=1e-12)
    root = np.sqrt(np.diag(exact.classifier)) * np.sqrt(np.diag(exact.embedding))
    np.testing.assert_allclose(geometry.alignment(), np.diag(exact.cross) / root, rtol=1e-12)


def assert_right_or_refused(counts: object, class_scale: object, label_scale: object) -> None:
    """Never a wrong number, never a zero norm for a class that is not zero, never another exception."""
    try:
        geometry = solve(counts, class_scale, label_scale).geometry
    except InputError as error:
        assert "float64" in str(error)  # noqa: PT017
    else:
        exact = oracles.precise_limit_geometry(counts, class_scale, label_scale, digits=800)
        np.testing.assert_allclose(geometry.classifier.squared_norms(), np.diag(exact.classifier), rtol=1e-12)
        np.testing.assert_allclose(geometry.embedding.squared_norms(), np.diag(exact.embedding), rtol=1e-12)
        assert np.isfinite(geometry.alignment()).all()


exponents = st.floats(-5, 5)
wide_counts = st.lists(st.integers(1, 10**9), min_size=2, max_size=6)


@given(wide_counts, exponents, exponents, st.sampled_from(["mean", "max", "none"]))
def test_any_counts_and_exponents_of_a_rule_give_finite_values(
    counts: list[int], gamma: float, tau: float, normalize: str
) -> None:
    for parameters in (
        cdt(counts, gamma, normalize=normalize),
        ldt(counts, gamma, normalize=normalize),
        vs(counts, gamma, tau, normalize=normalize),
    ):
        solution = limit_solution(Problem(counts, parameters))
        geometry = solution.geometry
        for values in (geometry.classifier.norms(), geometry.embedding.norms(), geometry.alignment()):
            assert np.isfinite(values).all()
            assert (values > 0).all()
        assert solution.certificate.status is Status.OPTIMAL


@settings(max_examples=25)
@given(wide_counts, exponents, exponents)
@example([10**9, 10**9, 1], 5.0, 5.0)
@example([10**9, 1, 1], -5.0, -5.0)
def test_both_scales_at_once_are_answered_rightly_or_refused(counts: list[int], gamma: float, other: float) -> None:
    class_scale, label_scale = cdt(counts, gamma).class_scale, ldt(counts, other).label_scale
    assert_right_or_refused(counts, class_scale, label_scale)


BEYOND_FLOAT64 = {
    "label scales 240 decades apart": ([5, 5], [1.0, 1.0], [1e120, 1e-120]),
    "label scales 600 decades apart": ([5, 5], [1.0, 1.0], [1e300, 1e-300]),
    "both scales tiny": ([5, 5], [1e-200, 1e-200], [1e-200, 1e-200]),
    "both scales huge": ([5, 5], [1e200, 1e200], [1e200, 1e200]),
    "class scales 240 decades apart": ([5, 5], [1e120, 1e-120], [1.0, 1.0]),
    "norms far below the largest": (
        [322529582, 43, 198, 37459],
        [33.3, 1.6e-34, 1.2e-39, 6.7e-83],
        [2.7, 1.3e66, 2.3e73, 8.7e-18],
    ),
    "a norm that vanishes beside another": ([1398, 10996977], [7.3e72, 1.5e-71], [1.0, 1.0]),
    "a norm that vanishes beside another, further": ([3, 95127], [6.9e204, 2e100], [1.0, 1.0]),
}


@pytest.mark.parametrize("name", BEYOND_FLOAT64)
def test_scales_beyond_float64_are_answered_rightly_or_refused(name: str) -> None:
    assert_right_or_refused(*BEYOND_FLOAT64[name])
