"""The five vectors of a loss: what they accept, that they stay as they are, and that they survive a file."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from implicit_geometry._validate import InputError
from implicit_geometry.parameterization import NEUTRAL, Pairwise, Parameterization
from oracles import sample_loss
from strategies import parameterizations, scales, seeds

VECTORS = {
    "weight": [1.0, 2.0],
    "shift": [0.0, -2.0],
    "class_scale": [1.0, 0.5],
    "label_scale": [3.0, 1.0],
    "margin": [0.25, -0.5],
}

any_size = st.integers(2, 6).flatmap(parameterizations)
any_float = st.floats(allow_nan=False, allow_infinity=False)
positive_float = st.floats(min_value=0, exclude_min=True, allow_infinity=False)


# Vectors


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_left_out_are_neutral(name: str) -> None:
    parameterization = Parameterization(**{name: VECTORS[name]})
    assert parameterization.num_classes == 2
    for other in VECTORS:
        expected = VECTORS[name] if other == name else [NEUTRAL[other]] * 2
        assert getattr(parameterization, other).tolist() == expected
        assert parameterization.is_neutral(other) == (other != name)


def test_neutral_is_one_for_factors_and_zero_for_summands() -> None:
    assert NEUTRAL == {"weight": 1.0, "shift": 0.0, "class_scale": 1.0, "label_scale": 1.0, "margin": 0.0}
    neutral = Parameterization.neutral(3)
    assert neutral.num_classes == 3
    assert all(neutral.is_neutral(name) for name in NEUTRAL)
    assert neutral == Parameterization(shift=[0, 0, 0])


@pytest.mark.parametrize("values", [(1, 2), np.array([1, 2], dtype=np.float32), np.array([1, 2], dtype=np.uint8)])
def test_any_sequence_of_numbers_becomes_float64(values: Any) -> None:
    shift = Parameterization(shift=values).shift
    assert shift.dtype == np.float64
    assert shift.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([1.0, math.nan], "finite.* got nan for class 1"),
        ([math.inf, 1.0], "finite.* got inf for class 0"),
        ([[1.0, 1.0]], r"one-dimensional, got shape \(1, 2\)"),
        (1.0, r"one-dimensional, got shape \(\)"),
        (["a", "b"], "a sequence of numbers"),
        ([True, False], "a sequence of numbers.*bool"),
        ([1j, 1.0], "a sequence of numbers.*complex"),
        ([1.0, None], "a sequence of numbers"),
    ],
)
def test_what_is_not_one_finite_number_a_class_is_refused_by_name(name: str, values: Any, problem: str) -> None:
    with pytest.raises(InputError, match=f"^{name} must be {problem}"):
        Parameterization(**{name: values})


@pytest.mark.parametrize("name", ["weight", "class_scale", "label_scale"])
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_weights_and_scales_must_be_positive(name: str, value: float) -> None:
    with pytest.raises(
        InputError, match=f"^{name} must be finite and positive for every class, got {value} for class 1"
    ):
        Parameterization(**{name: [1.0, value]})


@pytest.mark.parametrize("name", ["shift", "margin"])
def test_shifts_and_margins_may_have_any_sign(name: str) -> None:
    assert getattr(Parameterization(**{name: [0.0, -1.0]}), name).tolist() == [0.0, -1.0]


def test_vectors_of_different_lengths_are_refused_with_their_lengths() -> None:
    with pytest.raises(InputError, match=r"common length.*\{'shift': 2, 'margin': 3\}"):
        Parameterization(shift=[0, 0], margin=[0, 0, 0])


def test_at_least_one_vector_of_two_classes_is_needed() -> None:
    with pytest.raises(InputError, match="num_classes"):
        Parameterization()
    with pytest.raises(InputError, match="at least 2 classes, got 1"):
        Parameterization(shift=[0.0])
    with pytest.raises(InputError, match="at least 2 classes, got 0"):
        Parameterization(shift=[])


@pytest.mark.parametrize("num_classes", [1, 0, -1, 2.5, "ten", None])
def test_neutral_needs_a_whole_number_of_at_least_two_classes(num_classes: Any) -> None:
    with pytest.raises(InputError, match=r"^num_classes must be a .*number between 2 and 20000000, got"):
        Parameterization.neutral(num_classes)


# A value


def test_a_parameterization_cannot_be_changed() -> None:
    source = np.array([1.0, 2.0])
    parameterization = Parameterization(weight=source)
    source[0] = 9.0
    assert parameterization.weight.tolist() == [1.0, 2.0]
    for name in NEUTRAL:
        with pytest.raises(ValueError, match="read-only"):
            getattr(parameterization, name)[0] = 9.0
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(parameterization, name, source)


def test_a_change_returns_a_new_value() -> None:
    before = Parameterization(**VECTORS)
    after = dataclasses.replace(before, shift=[1.0, 1.0])
    assert after == Parameterization(**{**VECTORS, "shift": [1.0, 1.0]})
    assert before == Parameterization(**VECTORS)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_copies_are_equal_and_cannot_be_changed_either(duplicate: Callable[[Parameterization], Any]) -> None:
    again = duplicate(Parameterization(**VECTORS))
    assert again == Parameterization(**VECTORS)
    with pytest.raises(ValueError, match="read-only"):
        again.weight[0] = 9.0


def test_equality_is_that_of_the_content() -> None:
    parameterization = Parameterization(**VECTORS)
    assert parameterization == Parameterization(**{name: np.array(vector) for name, vector in VECTORS.items()})
    assert parameterization != VECTORS
    assert Parameterization.neutral(2) != Parameterization.neutral(3)
    for name, (first, second) in VECTORS.items():
        assert parameterization != Parameterization(**{**VECTORS, name: [first, second + 0.125]})


@pytest.mark.parametrize("name", ["shift", "margin"])
def test_equal_values_have_equal_hashes_whatever_the_sign_of_zero(name: str) -> None:
    positive, negative = Parameterization(**{name: [0.0, 1.0]}), Parameterization(**{name: [-0.0, 1.0]})
    assert positive == negative
    assert hash(positive) == hash(negative)


@given(any_size)
@settings(max_examples=30)
def test_equal_values_are_one_key(parameterization: Parameterization) -> None:
    twin = Parameterization(**parameterization.to_dict())
    assert {parameterization: "found"}[twin] == "found"


# Representation


@pytest.mark.parametrize(
    ("parameterization", "text"),
    [
        (Parameterization.neutral(3), "Parameterization.neutral(3)"),
        (Parameterization(shift=[0.0, -2.0]), "Parameterization(shift=[ 0., -2.])"),
        (
            Parameterization(weight=[1, 9], class_scale=[1, 0.123456]),
            "Parameterization(weight=[1., 9.], class_scale=[1.    , 0.1235])",
        ),
    ],
)
def test_the_representation_shows_what_is_not_neutral(parameterization: Parameterization, text: str) -> None:
    assert repr(parameterization) == text


def test_the_representation_of_many_classes_is_short() -> None:
    assert len(repr(Parameterization(shift=np.arange(100_000)))) < 200


# JSON


@st.composite
def extreme_parameterizations(draw: Any) -> Parameterization:
    size = draw(st.integers(2, 5))
    factor = st.lists(positive_float, min_size=size, max_size=size)
    summand = st.lists(any_float, min_size=size, max_size=size)
    return Parameterization(**{name: draw(factor if neutral == 1 else summand) for name, neutral in NEUTRAL.items()})


@given(extreme_parameterizations())
@settings(max_examples=100)
def test_json_brings_back_every_bit(parameterization: Parameterization) -> None:
    again = Parameterization.from_json(parameterization.to_json())
    for name in NEUTRAL:
        assert getattr(again, name).tobytes() == getattr(parameterization, name).tobytes()


def test_json_is_a_plain_document_that_names_its_format() -> None:
    document = json.loads(Parameterization(**VECTORS).to_json())
    assert document == {"format": "implicit_geometry.parameterization", "version": 1, **VECTORS}


@given(st.data())
@settings(max_examples=50)
def test_a_document_cut_short_is_refused(data: st.DataObject) -> None:
    text = Parameterization(**VECTORS).to_json()
    with pytest.raises(InputError, match=r"^text must be a JSON document"):
        Parameterization.from_json(text[: data.draw(st.integers(0, len(text) - 1))])


def document(**changes: Any) -> str:
    whole = {"format": "implicit_geometry.parameterization", "version": 1, **VECTORS}
    return json.dumps({key: value for key, value in {**whole, **changes}.items() if value is not ...})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weight: [1, 2]", "^text must be a JSON document.*invalid JSON"),
        ("[1, 2]", "^text must be a JSON object with format"),
        ("null", "^text must be a JSON object with format"),
        (document(format="something.else"), "^text must be a JSON object with format"),
        (document(format=...), "^text must be a JSON object with format"),
        (document(version=2), "^text must be a JSON object.*version 1"),
        (
            document(shift=...),
            r"^text must hold exactly the keys .*shift.*got \['class_scale', 'label_scale', 'margin'",
        ),
        (document(colour=[1, 2]), "^text must hold exactly the keys .*colour"),
        (document(weight=[1.0, -1.0]), "^weight must be finite and positive for every class, got -1.0 for class 1"),
        (document(shift=[1.0, math.nan]), "^shift must be finite for every class, got nan for class 1"),
        (document(shift=[1.0, "2"]), "^shift must be a sequence of numbers"),
        (document(shift=[[1.0], [2.0]]), "^shift must be one-dimensional"),
        (document(shift={"0": 1.0}), "^shift must be a sequence of numbers"),
        (document(shift=[1.0]), "common length"),
        (document(shift=None), "shift"),
    ],
)
def test_a_damaged_document_is_refused_with_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Parameterization.from_json(text)


# Pairs


def logits_of(parameterization: Parameterization, seed: int) -> Any:
    """One column per label."""
    return 3 * np.random.default_rng(seed).standard_normal((parameterization.num_classes,) * 2)


@given(any_size, seeds)
@settings(max_examples=50)
def test_the_pairwise_form_is_the_same_loss(parameterization: Parameterization, seed: int) -> None:
    pairs, logits = Pairwise.of(parameterization), logits_of(parameterization, seed)
    found = pairs.weight * np.logaddexp.reduce(pairs.exponents(logits), axis=0)
    expected = [sample_loss(z, y, parameterization) for y, z in enumerate(logits.T)]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@given(any_size, seeds)
@settings(max_examples=30)
def test_exponents_are_offsets_plus_what_the_slopes_make_of_logits(
    parameterization: Parameterization, seed: int
) -> None:
    pairs, logits = Pairwise.of(parameterization), logits_of(parameterization, seed)
    seen = pairs.slopes * logits
    off = ~np.eye(parameterization.num_classes, dtype=bool)
    np.testing.assert_allclose(
        pairs.exponents(logits)[off], (pairs.offsets + seen - seen.diagonal())[off], rtol=1e-12, atol=1e-12
    )
    assert pairs.true_slope.tolist() == pairs.slopes.diagonal().tolist()
    assert pairs.offsets.diagonal().tolist() == parameterization.margin.tolist()


@given(any_size, seeds)
@settings(max_examples=30)
def test_natural_scales_make_every_margin_one_and_the_null_direction_changes_none(
    parameterization: Parameterization, seed: int
) -> None:
    pairs, draw = Pairwise.of(parameterization), np.random.default_rng(seed)
    size, counts = parameterization.num_classes, draw.integers(1, 1000, parameterization.num_classes)
    logits = np.diag(pairs.natural(counts)) / np.sqrt(counts)
    moved = logits + np.outer(pairs.null, draw.standard_normal(size))
    for margins in (pairs.margins(logits), pairs.margins(moved)):
        np.testing.assert_allclose(margins, 1 - np.eye(size), atol=1e-10)
    assert pairs.null.max() == 1


def test_pairs_of_chosen_classes_are_those_among_all() -> None:
    parameterization = Parameterization(shift=[0, 1, 2], class_scale=[1, 2, 3], margin=[1, 1, 4], weight=[5, 6, 7])
    some, every = Pairwise.of(parameterization, np.array([2, 0])), Pairwise.of(parameterization)
    for name in ("slopes", "offsets"):
        np.testing.assert_array_equal(getattr(some, name), getattr(every, name)[np.ix_([2, 0], [2, 0])])
    assert some.natural(np.array([4, 9])).tolist() == every.natural(np.array([9, 1, 4]))[[2, 0]].tolist()


# Gauge


def losses(parameterization: Parameterization, seed: int) -> list[float]:
    size = parameterization.num_classes
    logits = 3 * np.random.default_rng(seed).standard_normal((size, size))
    return [sample_loss(z, y, parameterization) for y, z in enumerate(logits)]


@given(any_size, seeds)
@settings(max_examples=50)
def test_the_canonical_form_is_the_same_loss(parameterization: Parameterization, seed: int) -> None:
    assert losses(parameterization.canonical(), seed) == pytest.approx(losses(parameterization, seed), rel=1e-9)


@given(any_size)
@settings(max_examples=50)
def test_the_canonical_form_has_no_freedom_left(parameterization: Parameterization) -> None:
    canonical = parameterization.canonical()
    assert math.prod(canonical.class_scale) == pytest.approx(1, rel=1e-9)
    assert sum(canonical.shift) == pytest.approx(0, abs=1e-9)
    assert_close(canonical.canonical(), canonical)


@given(any_size, st.floats(0.01, 100), st.floats(-10, 10))
@settings(max_examples=50)
def test_losses_that_differ_by_gauge_have_one_canonical_form(
    parameterization: Parameterization, scale: float, shift: float
) -> None:
    moved = dataclasses.replace(
        parameterization,
        class_scale=parameterization.class_scale * scale,
        label_scale=parameterization.label_scale / scale,
        shift=parameterization.shift + shift,
    )
    assert_close(moved.canonical(), parameterization.canonical())


@given(st.integers(2, 6).flatmap(lambda size: st.tuples(scales(size), scales(size))))
@settings(max_examples=30)
def test_what_has_no_freedom_keeps_its_canonical_form(vectors: tuple[Any, Any]) -> None:
    weight, margin = vectors
    parameterization = Parameterization(weight=weight, margin=margin)
    assert parameterization.canonical() == parameterization


def assert_close(one: Parameterization, other: Parameterization) -> None:
    for name, values in one.to_dict().items():
        np.testing.assert_allclose(values, other.to_dict()[name], rtol=1e-9, atol=1e-9, err_msg=name)
