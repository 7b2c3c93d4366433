"""The checks at the border: what they take, what they refuse, and what the error says."""

from __future__ import annotations

import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from implicit_geometry._validate import (
    InputError,
    choice,
    file_path,
    flag,
    instance,
    number,
    numeric_vector,
    whole_number,
)
from implicit_geometry.comparison import compare
from implicit_geometry.counts import ClassCounts
from implicit_geometry.experiments.training.fit import Diverged
from implicit_geometry.geometry import simplex_etf
from implicit_geometry.gram import Gram
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem
from implicit_geometry.profiles import parse_counts
from implicit_geometry.theory.design import design
from implicit_geometry.theory.effective_ridge import effective_ridge
from implicit_geometry.theory.predict import predict
from implicit_geometry.theory.ridge.plain import ridge_from_weight_decay

COUNTS = ClassCounts([50, 5])
GRAM = Gram.from_factors(np.eye(2))


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("error", [InputError, Diverged])
def test_an_error_keeps_its_three_parts_between_processes(error: type[InputError]) -> None:
    copy = pickle.loads(pickle.dumps(error("gamma", "must be finite", float("nan"))))
    assert type(copy) is error
    assert (copy.argument, copy.expectation, copy.given) == ("gamma", "must be finite", "nan")


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int8(2), Fraction(2), torch.tensor(2.0), np.array(2)])
def test_every_kind_of_real_number_is_a_number(value: Any) -> None:
    assert number("x", value) == 2.0


@pytest.mark.parametrize(
    "value",
    [True, np.True_, np.array(True), "2", None, 1j, np.complex128(1), 10**5000, [2.0], np.ones(1), Unprintable()],
    ids=lambda value: type(value).__name__,
)
def test_nothing_else_is(value: Any) -> None:
    with pytest.raises(InputError, match=r"^x must be a number, got"):
        number("x", value)


def test_a_whole_number_is_kept_to_the_last_digit() -> None:
    assert whole_number("n", 2**60 + 1) == 2**60 + 1
    with pytest.raises(InputError, match=r"between 0 and 9007199254740992, got 9007199254740993$"):
        whole_number("n", 2**53 + 1, maximum=2**53)


@pytest.mark.parametrize(
    "value",
    [True, np.True_, 1.5, "1", None, float("nan"), float("inf"), -1, 10**5000],
    ids=lambda value: type(value).__name__,
)
def test_no_whole_number(value: Any) -> None:
    with pytest.raises(InputError, match=r"^n must be a whole number between 0 and 9, got"):
        whole_number("n", value, maximum=9)


@pytest.mark.parametrize("value", ["False", 0, 1.0, None, float("nan"), np.array([True])])
def test_only_a_boolean_is_one(value: Any) -> None:
    with pytest.raises(InputError, match=r"^bias must be True or False, got"):
        flag("bias", value)
    assert flag("bias", np.True_) is True


@pytest.mark.parametrize("value", ["x" * 10**6, Unprintable(), 3, None, ["mean"]])
def test_no_option(value: Any) -> None:
    with pytest.raises(InputError, match=r"^normalize must be one of mean, max, got") as raised:
        choice("normalize", value, ("mean", "max"))
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize(
    "values",
    [None, "12", [1, [2]], [10**400], {1: 2}, torch.ones(2, requires_grad=True), [True, False], Unprintable()],
)
def test_no_vector_of_numbers(values: Any) -> None:
    with pytest.raises(InputError, match=r"^counts must be"):
        numeric_vector("counts", values)


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("problem", lambda: predict(None)),  # type: ignore[arg-type]
        ("problem", lambda: predict(COUNTS)),  # type: ignore[arg-type]
        ("geometry_a", lambda: compare(1, 2)),  # type: ignore[arg-type]
        ("factor", lambda: GRAM.scaled("a")),  # type: ignore[arg-type]
        ("bias", lambda: Problem(COUNTS, bias="False")),  # type: ignore[arg-type]
        ("bias", lambda: Problem(COUNTS, bias=float("nan"))),  # type: ignore[arg-type]
        ("parameterization", lambda: Problem(COUNTS, COUNTS)),  # type: ignore[arg-type]
        ("num_samples", lambda: ClassCounts.zipf(num_classes=2, num_samples=2**53 + 1)),
        ("measured", lambda: effective_ridge("x", Problem(COUNTS))),  # type: ignore[arg-type]
        ("problem", lambda: effective_ridge(simplex_etf(2), COUNTS)),  # type: ignore[arg-type]
        ("target", lambda: design(COUNTS, target=3)),  # type: ignore[arg-type]
        ("free", lambda: design(COUNTS, target="etf", free="no")),  # type: ignore[arg-type]
        ("text", lambda: Parameterization.from_json(None)),  # type: ignore[arg-type]
        ("text", lambda: Parameterization.from_json("[" * 10**6)),
        ("text", lambda: Parameterization.from_json("1" * 10**4)),
        ("name", lambda: Parameterization.neutral(2).is_neutral("omega")),
        ("counts", lambda: parse_counts(None)),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_type_is_named(argument: str, call: Any) -> None:
    with pytest.raises(InputError) as raised:
        call()
    assert raised.value.argument == argument


def test_counts_for_a_problem_are_told_how_to_become_one() -> None:
    with pytest.raises(
        InputError, match=r"must be a Problem \(Problem\(counts\) makes one of class counts\), got Class"
    ):
        predict(COUNTS)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"must be a str, got 3$"):
        instance("text", 3, str)


@pytest.mark.parametrize("num_classes", [20_000_001, 10**9, 2**63, 10**12, 1e15, 2**64])
@pytest.mark.parametrize(
    "make",
    [
        lambda k: ClassCounts.step(num_classes=k, imbalance_ratio=10),
        lambda k: ClassCounts.exponential(num_classes=k, imbalance_ratio=10),
        lambda k: ClassCounts.zipf(num_classes=k, num_samples=2**53),
        lambda k: ClassCounts.from_labels([0, 1], num_classes=k),
        lambda k: parse_counts(f"zipf:{k:.0f},{2**53}"),
        simplex_etf,
        Parameterization.neutral,
    ],
)
def test_more_classes_than_memory_holds_are_refused_with_the_limit(make: Any, num_classes: Any) -> None:
    with pytest.raises(InputError, match=r"^num_classes must be a whole number between 2 and 20000000, got"):
        make(num_classes)


def test_the_largest_counts_can_be_made() -> None:
    largest = 2**53
    assert ClassCounts.exponential(num_classes=3, imbalance_ratio=1, max_count=largest).values.tolist() == [largest] * 3
    assert ClassCounts.step(num_classes=3, imbalance_ratio=1, max_count=largest).values.tolist() == [largest] * 3


def test_a_ridge_beyond_float64_is_refused() -> None:
    with pytest.raises(InputError, match=r"^ridge = num_samples \* weight_decay must be a finite number"):
        ridge_from_weight_decay(1e308, 10**10)


def test_the_limit_takes_any_shift_and_weight() -> None:
    extreme = Parameterization(weight=[1e-300, 1e300], shift=[-1e300, 1e300], margin=[1e300, 0.0])
    found, plain = predict(Problem(COUNTS, extreme)), predict(Problem(COUNTS))
    assert found.geometry == plain.geometry


@pytest.mark.parametrize("value", [None, 3, b"results", "a\0b", "\ud800", ["results"]])
def test_no_path(value: Any) -> None:
    with pytest.raises(InputError, match=r"^folder must be a path, got"):
        file_path("folder", value)


def test_a_representative_beyond_float64_is_refused() -> None:
    with pytest.raises(InputError, match=r"^label_scale must be finite and positive"):
        Parameterization(class_scale=[1e300, 1e300], label_scale=[1e300, 1.0]).canonical()
