"""Ridges, weights and scales at the ends of float64: right, refused or a status; never NaN, never a warning."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from implicit_geometry import InputError, Parameterization, Problem, collapse_thresholds, predict
from implicit_geometry.certificate import Status

COUNTS = [50, 50, 20, 5, 5]
SIZES = (1e-300, 1e-100, 1e-30, 1e30, 1e100, 1e300)
HEADS = [(False, 0.0), (True, 0.0), (True, 1e-300), (True, 1.0), (True, 1e300)]
SPANS = [(1e-300, 1e-300, 1.0, 1e300, 1e300), (1.0, 1.0, 1.0, 1.0, 1e300), (1e-300, 1.0, 1.0, 1.0, 1.0)]


def holds(problem: Problem) -> Status | None:
    """The status of a finite answer; ``None`` where the problem is refused."""
    try:
        solution = predict(problem)
    except InputError:
        return None
    geometry, certificate = solution.geometry, solution.certificate
    blocks = geometry.classifier.squared_norms(), geometry.embedding.squared_norms(), geometry.cross.dense()
    values = np.concatenate([np.ravel(block) for block in blocks])
    assert np.isfinite(values).all()
    assert solution.bias is None or np.isfinite(solution.bias).all()
    assert np.isfinite(certificate.primal)
    assert not np.isnan(certificate.dual)
    assert not np.isnan([solution.norm_error.classifier, solution.norm_error.embedding]).any()
    return certificate.status


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("bias", "bias_ridge"), HEADS)
@pytest.mark.parametrize("ridge", SIZES)
def test_ridges_at_the_ends_of_float64(ridge: float, bias: bool, bias_ridge: float) -> None:
    status = holds(Problem(COUNTS, None, ridge, bias, bias_ridge))
    if not bias and 1e-100 <= ridge <= 1e100:
        assert status is (Status.OPTIMAL if ridge < 1 else Status.COLLAPSED)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["weight", "class_scale", "label_scale"])
@pytest.mark.parametrize("vector", [*[(size,) * 5 for size in SIZES], *SPANS])
def test_weights_and_scales_at_the_ends_of_float64(name: str, vector: tuple[float, ...]) -> None:
    loss = Parameterization(**{name: vector})  # type: ignore[arg-type]
    for ridge, (bias, bias_ridge) in itertools.product((1e-300, 1.0), HEADS[:2]):
        holds(Problem(COUNTS, loss, ridge, bias, bias_ridge))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["shift", "margin"])
@pytest.mark.parametrize(
    "vector",
    [
        (1e300, 0, 0, 0, 0),
        (1e300, -1e300, 0, 0, 0),
        pytest.param((1e16, 0, 0, 0, 0), marks=pytest.mark.exhaustive),  # half a minute of steps that end nowhere
    ],
)
def test_shifts_and_margins_at_the_ends_of_float64(name: str, vector: tuple[float, ...]) -> None:
    loss = Parameterization(**{name: vector})  # type: ignore[arg-type]
    for bias in (False, True):
        holds(Problem(COUNTS, loss, 1.0, bias))


def test_weights_cancel_against_the_ridge() -> None:
    """Only their quotient counts."""
    plain = predict(Problem(COUNTS, None, 1.0))
    for size in (1e-100, 1e100):
        scaled = predict(Problem(COUNTS, Parameterization(weight=[size] * 5), size))
        np.testing.assert_allclose(
            scaled.geometry.classifier.squared_norms(), plain.geometry.classifier.squared_norms(), rtol=1e-9
        )
        assert scaled.certificate.primal == pytest.approx(size * plain.certificate.primal, rel=1e-12)


def test_a_ridge_on_the_bias_that_is_next_to_nothing_is_none() -> None:
    free = predict(Problem(COUNTS, None, 1e-3, True))
    bound = predict(Problem(COUNTS, None, 1e-3, True, 1e-280))
    assert bound.certificate.relative_gap <= 1e-8
    np.testing.assert_allclose(bound.bias, free.bias, rtol=1e-6)


def test_what_float64_cannot_hold_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="ridge must leave counts, weights, scales and shifts") as caught:
        predict(Problem(COUNTS, Parameterization(weight=[1e300] * 5), 1e-300))
    assert caught.value.argument == "ridge"
    with pytest.raises(InputError, match="bias_ridge must keep its quotient by ridge within float64"):
        predict(Problem(COUNTS, None, 1e-10, True, 1e300))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", SIZES)
def test_collapse_thresholds_of_weights_at_the_ends_of_float64(size: float) -> None:
    try:
        total = collapse_thresholds(COUNTS, Parameterization(weight=[size] * 5)).total
    except InputError:
        return
    assert total == pytest.approx(size * collapse_thresholds(COUNTS).total, rel=1e-9)


def test_logits_that_leave_float64_are_refused_and_not_decomposed_for_ever() -> None:
    """LAPACK never returned from a matrix with a column of infinities."""
    counts = [5180, 6962016, 6962016, 5180]
    loss = Parameterization(
        label_scale=[3.827048054598808e-233, 2.186482723629122e23, 6.453257642259093e77, 2.120598214068264e151],
        margin=[1.0, 1.0, 0.0, 1.0],
    )
    with pytest.raises(InputError, match="float64"):
        predict(Problem(counts, loss, ridge=1.0))
