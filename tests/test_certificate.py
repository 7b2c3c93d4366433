"""Bounds, their gap and what they prove."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from implicit_geometry.certificate import ROUNDING, TOLERANCE, Certificate, Status

values = st.floats(-1e6, 1e6)


def test_the_gap_is_relative_to_the_primal_value() -> None:
    assert Certificate(primal=4.0, dual=3.0, smallest_margin=1.0).relative_gap == 0.25
    assert Certificate(primal=-4.0, dual=-5.0, smallest_margin=None).relative_gap == 0.25
    assert Certificate(primal=0.0, dual=-0.5, smallest_margin=None).relative_gap == 0.5


def test_rounding_never_makes_a_gap_negative() -> None:
    assert Certificate(primal=1.0, dual=1.0 + 1e-15, smallest_margin=1.0).relative_gap == 0


@given(values, values)
def test_a_solution_is_optimal_exactly_where_the_gap_is_within_the_tolerance(primal: float, dual: float) -> None:
    certificate = Certificate(primal=primal, dual=dual, smallest_margin=1.0)
    gap = (primal - dual) / (abs(primal) or 1)
    expected = Status.INACCURATE if gap > TOLERANCE else Status.OPTIMAL if gap >= -ROUNDING else Status.INCONSISTENT
    assert certificate.status is expected


def test_a_lower_bound_above_the_upper_one_is_a_status_of_its_own() -> None:
    certificate = Certificate(1.0, 2.0, None)
    assert certificate.status is Status.INCONSISTENT
    assert certificate.relative_gap == -1.0
    assert Certificate(1.0, 2.0, None, collapsed=True).status is Status.INCONSISTENT


@pytest.mark.parametrize(
    ("primal", "dual"), [(float("nan"), 1.0), (1.0, float("nan")), (float("inf"), 1.0), (1.0, -float("inf"))]
)
def test_bounds_that_are_not_numbers_prove_nothing(primal: float, dual: float) -> None:
    certificate = Certificate(primal=primal, dual=dual, smallest_margin=1.0)
    assert certificate.status is Status.INACCURATE
    assert certificate.relative_gap == float("inf")


def test_a_collapse_must_be_proven_too() -> None:
    assert Certificate(1.0, 1.0, None, collapsed=True).status is Status.COLLAPSED
    assert Certificate(1.0, 0.5, None, collapsed=True).status is Status.INACCURATE


def test_every_status_says_what_to_do_in_a_sentence() -> None:
    remedies = [status.remedy for status in Status]
    assert len(set(remedies)) == len(remedies)
    assert all(remedy[0].isupper() and remedy.endswith(".") for remedy in remedies)


def test_a_certificate_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Certificate(1.0, 1.0, None).primal = 2.0  # type: ignore[misc]
