"""VSLoss keeps the contract of nn.CrossEntropyLoss; its values are those of literal loops in float64."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from implicit_geometry.nn.losses.criterion import VSLoss
from implicit_geometry.nn.losses.vs_loss import vs_loss
from implicit_geometry.parameterization import NEUTRAL, Parameterization
from implicit_geometry.rules import logit_adjusted
from loss_cases import (
    BY_LABEL,
    RULES,
    assert_identical,
    draw_labels,
    draw_logits,
    draw_probabilities,
    draw_vectors,
    every_reduction,
    every_rule,
    every_shape,
    loss_and_gradient,
    oracle,
    reductions,
    shapes,
    smoothings,
    subsets,
    vectors_of,
)
from strategies import seeds

# Values


@given(
    shape=shapes,
    names=subsets,
    reduction=reductions,
    label_smoothing=smoothings,
    ignore_index=st.sampled_from([-100, -1, 2, 255]),
    seed=seeds,
)
@settings(max_examples=150)
def test_class_indices_give_the_value_of_literal_loops(
    shape: tuple[int, ...], names: list[str], seed: int, **options: Any
) -> None:
    logits, labels, vectors = draw_logits(shape, seed), draw_labels(shape, seed), draw_vectors(4, names, seed)
    if labels.dim():
        labels[-1] = options["ignore_index"]
        labels[0] = 1
    else:
        labels = torch.tensor(1)
    loss = vs_loss(logits, labels, **vectors, **options)
    torch.testing.assert_close(loss, oracle(logits, labels, vectors, **options), rtol=1e-12, atol=1e-12)


@given(shape=shapes, names=subsets, reduction=reductions, label_smoothing=smoothings, seed=seeds)
@settings(max_examples=60)
def test_class_probabilities_give_the_value_of_literal_loops(
    shape: tuple[int, ...], names: list[str], seed: int, **options: Any
) -> None:
    logits, target, vectors = draw_logits(shape, seed), draw_probabilities(shape, seed), draw_vectors(4, names, seed)
    loss = vs_loss(logits, target, **vectors, **options)
    torch.testing.assert_close(loss, oracle(logits, target, vectors, **options), rtol=1e-12, atol=1e-12)


@every_rule
@every_reduction
def test_mixed_up_labels_have_the_mixture_of_their_losses(rule: str, reduction: str) -> None:
    logits, first, second = draw_logits((5, 4)), torch.tensor([0, 1, 2, 3, 1]), torch.tensor([1, 1, 3, 0, 2])
    criterion = VSLoss(RULES[rule], reduction="none")
    mixed = 0.3 * F.one_hot(first, 4).double() + 0.7 * F.one_hot(second, 4).double()
    each = 0.3 * criterion(logits, first) + 0.7 * criterion(logits, second)
    expected = {"none": each, "sum": each.sum(), "mean": each.mean()}[reduction]
    found = VSLoss(RULES[rule], reduction=reduction)(logits, mixed)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@every_rule
@every_shape
def test_a_rule_as_a_module_is_the_function_with_its_vectors(rule: str, shape: tuple[int, ...]) -> None:
    logits, labels = draw_logits(shape), draw_labels(shape)
    vectors = vectors_of(RULES[rule])
    loss = VSLoss(RULES[rule], dtype=torch.float64)(logits, labels)
    torch.testing.assert_close(loss, oracle(logits, labels, vectors), rtol=1e-12, atol=1e-12)


def test_the_weighted_mean_divides_by_the_weights_of_the_labels_that_count() -> None:
    logits, labels = draw_logits((5, 4)), torch.tensor([0, 3, -100, 3, 1])
    weight = torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64)
    each = F.cross_entropy(logits, labels, reduction="none")
    expected = (each[0] + 8 * each[1] + 8 * each[3] + 2 * each[4]) / (1 + 8 + 8 + 2)
    torch.testing.assert_close(vs_loss(logits, labels, weight=weight), expected)


@given(names=subsets, shape=shapes, a=st.floats(0.1, 10), b=st.floats(-5, 5), seed=seeds)
@settings(max_examples=40)
def test_the_gauge_leaves_the_loss_unchanged(
    names: list[str], shape: tuple[int, ...], a: float, b: float, seed: int
) -> None:
    logits, labels = draw_logits(shape, seed), draw_labels(shape, seed)
    vectors = draw_vectors(4, [*{*names, "shift", "class_scale", "label_scale"}], seed)
    moved = {
        **vectors,
        "shift": vectors["shift"] + b,
        "class_scale": vectors["class_scale"] * a,
        "label_scale": vectors["label_scale"] / a,
    }
    torch.testing.assert_close(vs_loss(logits, labels, **moved), vs_loss(logits, labels, **vectors))


def test_inputs_are_left_as_they_were() -> None:
    logits, labels, vectors = draw_logits((5, 4)), draw_labels((5, 4)), draw_vectors(4)
    labels[0] = -100
    before = copy.deepcopy((logits, labels, vectors))
    vs_loss(logits, labels, **vectors)
    torch.testing.assert_close((logits, labels, vectors), before, rtol=0, atol=0)


@every_rule
def test_strided_logits_give_the_same_value(rule: str) -> None:
    criterion = VSLoss(RULES[rule], dtype=torch.float64)
    channels_last, labels = draw_logits((2, 3, 5, 4)), draw_labels((2, 4, 3, 5))
    strided = channels_last.permute(0, 3, 1, 2)
    torch.testing.assert_close(criterion(strided, labels), criterion(strided.contiguous(), labels))


@every_rule
def test_bytes_are_labels_too(rule: str) -> None:
    logits, labels = draw_logits((5, 4)), draw_labels((5, 4))
    criterion = VSLoss(RULES[rule], dtype=torch.float64)
    assert_identical((criterion(logits, labels.byte()),), (criterion(logits, labels),))


# Plain cross-entropy


@st.composite
def cross_entropy_calls(draw: Any) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Logits, target and options that F.cross_entropy takes."""
    shape, seed = draw(shapes), draw(seeds)
    dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]))
    options = {"reduction": draw(reductions), "label_smoothing": draw(smoothings)}
    if draw(st.booleans()):
        return draw_logits(shape, seed, dtype), draw_probabilities(shape, seed, dtype), options
    return (
        draw_logits(shape, seed, dtype),
        draw_labels(shape, seed),
        {**options, "ignore_index": draw(st.integers(-1, 3))},
    )


@given(cross_entropy_calls())
@settings(max_examples=150)
def test_neutral_parameters_are_cross_entropy_bit_for_bit(call: tuple[Tensor, Tensor, dict[str, Any]]) -> None:
    logits, target, options = call
    expected = loss_and_gradient(F.cross_entropy, logits, target, **options)
    assert_identical(loss_and_gradient(vs_loss, logits, target, **options), expected)
    criterion = VSLoss(Parameterization.neutral(4), **options)
    assert_identical(loss_and_gradient(criterion, logits, target), expected)


@given(cross_entropy_calls(), subsets)
@settings(max_examples=80)
def test_explicit_ones_and_zeros_are_cross_entropy_bit_for_bit(
    call: tuple[Tensor, Tensor, dict[str, Any]], names: list[str]
) -> None:
    logits, target, options = call
    if target.is_floating_point():
        names = [name for name in names if name not in BY_LABEL]
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
        target = target.float() if target.is_floating_point() else target
    ones = {name: torch.full((4,), NEUTRAL[name], dtype=logits.dtype) for name in names}
    weight = {"weight": ones["weight"]} if "weight" in ones else {}
    assert_identical(
        loss_and_gradient(vs_loss, logits, target, **ones, **options),
        loss_and_gradient(F.cross_entropy, logits, target, **weight, **options),
    )


@every_shape
@every_reduction
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_weights_alone_are_those_of_cross_entropy_bit_for_bit(
    shape: tuple[int, ...], reduction: str, label_smoothing: float
) -> None:
    logits, labels, weight = draw_logits(shape), draw_labels(shape), draw_vectors(4)["weight"]
    options = {"reduction": reduction, "label_smoothing": label_smoothing}
    criterion = VSLoss(Parameterization(weight=weight.numpy()), dtype=torch.float64, **options)
    expected = loss_and_gradient(F.cross_entropy, logits, labels, weight=weight, **options)
    assert_identical(loss_and_gradient(criterion, logits, labels), expected)


# Samples that do not count


@every_rule
@every_shape
@every_reduction
def test_a_batch_that_is_ignored_whole_is_as_in_cross_entropy(
    rule: str, shape: tuple[int, ...], reduction: str
) -> None:
    logits, labels = draw_logits(shape), torch.full_like(draw_labels(shape), -100)
    criterion = VSLoss(RULES[rule], reduction=reduction, dtype=torch.float64)
    expected = loss_and_gradient(F.cross_entropy, logits, labels, reduction=reduction)
    assert_identical(loss_and_gradient(criterion, logits, labels), expected)


@every_rule
@every_reduction
@pytest.mark.parametrize("shape", [(0, 4), (0, 4, 3), (3, 4, 0)], ids=str)
def test_an_empty_batch_is_as_in_cross_entropy(rule: str, shape: tuple[int, ...], reduction: str) -> None:
    logits, labels = draw_logits(shape), torch.empty(shape[:1] + shape[2:], dtype=torch.long)
    criterion = VSLoss(RULES[rule], reduction=reduction, dtype=torch.float64)
    assert_identical((criterion(logits, labels),), (F.cross_entropy(logits, labels, reduction=reduction),))


@every_rule
@pytest.mark.parametrize("ignore_index", [-100, -1, 2, 4, 255])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_an_ignored_sample_counts_neither_in_the_loss_nor_in_the_gradient(
    rule: str, ignore_index: int, label_smoothing: float
) -> None:
    options = {"ignore_index": ignore_index, "label_smoothing": label_smoothing}
    criterion = VSLoss(RULES[rule], dtype=torch.float64, **options)
    logits, labels = draw_logits((4, 4)), torch.tensor([0, ignore_index, 3, ignore_index])
    loss, gradient = loss_and_gradient(criterion, logits, labels)
    kept_loss, kept_gradient = loss_and_gradient(criterion, logits[::2], labels[::2])
    torch.testing.assert_close(loss, kept_loss)
    torch.testing.assert_close(gradient[::2], kept_gradient)
    assert (gradient[1::2] == 0).all()


# Precision


@every_rule
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_large_logits_lose_nothing_in_float32(rule: str, size: float) -> None:
    logits = size * torch.tensor([[1.0, -1.0, 0.5, 0.0], [0.9, 1.0, -1.0, 1.0], [-1.0, -1.0, 1.0, 0.25]])
    labels = torch.tensor([0, 3, 1])
    vectors = vectors_of(RULES[rule])
    for label_smoothing in (0.0, 0.1):
        criterion = VSLoss(RULES[rule], reduction="none", label_smoothing=label_smoothing)
        loss, gradient = loss_and_gradient(criterion, logits, labels)
        expected = oracle(logits, labels, vectors, reduction="none", label_smoothing=label_smoothing)
        torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=4e-3)  # float32 steps by 2e-3 near 3e4
        assert gradient.isfinite().all()


@every_rule
@every_reduction
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True], ids=["plain", "autocast"])
def test_half_precision_logits(rule: str, reduction: str, dtype: torch.dtype, autocast: bool) -> None:
    logits, labels = draw_logits((16, 4), dtype=dtype), draw_labels((16, 4))
    criterion = VSLoss(RULES[rule], reduction=reduction)
    vectors = vectors_of(RULES[rule])
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss, gradient = loss_and_gradient(criterion, logits, labels)
        like, _ = loss_and_gradient(F.cross_entropy, logits, labels, reduction=reduction)
    assert loss.dtype == like.dtype
    assert gradient.dtype == dtype
    precision = 1e-5 if autocast else 2 * torch.finfo(dtype).eps
    expected = oracle(logits, labels, vectors, reduction=reduction)
    torch.testing.assert_close(loss.double(), expected, rtol=precision, atol=precision)


@pytest.mark.parametrize("rule", ["ce", "weighted", "logit_adjusted", "cdt", "vs"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("target_dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_probabilities_give_the_dtype_of_cross_entropy(
    rule: str, dtype: torch.dtype, target_dtype: torch.dtype
) -> None:
    logits, target = draw_logits((5, 4), dtype=dtype), draw_probabilities((5, 4), dtype=target_dtype)
    assert VSLoss(RULES[rule])(logits, target).dtype == F.cross_entropy(logits, target).dtype


@pytest.mark.parametrize("vector_dtype", [torch.float32, torch.bfloat16])
def test_a_large_shift_does_not_swallow_bfloat16_logits(vector_dtype: torch.dtype) -> None:
    logits = torch.tensor([[0.06, 0.0, -0.06]], dtype=torch.bfloat16)  # bfloat16 steps by 0.125 near -20
    labels = torch.tensor([0])
    criterion = VSLoss(Parameterization(shift=[-20.0, -20.0, -20.0])).to(vector_dtype)
    loss, gradient = loss_and_gradient(criterion, logits, labels)
    expected = math.log(1 + math.exp(-0.06) + math.exp(-0.12))
    assert loss.item() == pytest.approx(expected, rel=2**-8)
    assert gradient[0, 0].item() == pytest.approx(math.exp(-expected) - 1, rel=2**-7)


def test_the_log_prior_of_a_rare_class_survives_bfloat16() -> None:
    logits = torch.tensor([[0.5, 0.25]], dtype=torch.bfloat16)
    loss = VSLoss(Parameterization(shift=[0.0, -20.0]))(logits, torch.tensor([1]))
    assert loss.item() == pytest.approx(20.25, rel=2**-8)


def test_float64_vectors_keep_float64_accuracy() -> None:
    logits, labels = draw_logits((5, 4)), draw_labels((5, 4))
    vectors = vectors_of(RULES["vs"])
    loss = VSLoss(RULES["vs"]).double()(logits, labels)
    assert loss.dtype == torch.float64
    torch.testing.assert_close(loss, oracle(logits, labels, vectors), rtol=1e-6, atol=0)  # rounded to float32 first
    exact = VSLoss(RULES["vs"], dtype=torch.float64)(logits, labels)
    torch.testing.assert_close(exact, oracle(logits, labels, vectors), rtol=1e-13, atol=0)


# Buffers


@every_rule
def test_only_what_changes_the_loss_is_a_buffer_and_nothing_a_parameter(rule: str) -> None:
    criterion = VSLoss(RULES[rule])
    assert {name for name, _ in criterion.named_buffers()} == set(RULES[rule].effects())
    assert not list(criterion.parameters())
    for name, buffer in criterion.named_buffers():
        assert buffer.dtype == torch.float32
        np.testing.assert_array_equal(buffer.numpy(), getattr(RULES[rule], name).astype(np.float32))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_buffers_follow_their_module(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(3, 4), VSLoss(RULES["vs"])).to(dtype)
    assert {buffer.dtype for buffer in model.buffers()} == {dtype}
    assert {buffer.device.type for buffer in model.to("meta").buffers()} == {"meta"}


def test_buffers_are_made_where_and_as_asked() -> None:
    asked = VSLoss(RULES["vs"], dtype=torch.float64, device="cpu")
    assert {(buffer.dtype, buffer.device.type) for buffer in asked.buffers()} == {(torch.float64, "cpu")}


@pytest.fixture
def float64_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("float64_by_default")
def test_buffers_have_the_default_dtype() -> None:
    assert {buffer.dtype for buffer in VSLoss(RULES["vs"]).buffers()} == {torch.float64}


@every_rule
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_give_the_same_loss(rule: str, duplicate: Any) -> None:
    logits, labels = draw_logits((5, 4), dtype=torch.float32), draw_labels((5, 4))
    criterion = VSLoss(RULES[rule], label_smoothing=0.1, reduction="sum")
    assert_identical((duplicate(criterion)(logits, labels),), (criterion(logits, labels),))


def test_a_vector_may_become_a_parameter():
    criterion = VSLoss(logit_adjusted([75, 25]))
    criterion.shift = nn.Parameter(torch.tensor([0.5, -2.0]))
    logits, target = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0, 0, 1, 1])
    loss = criterion(logits, target)
    assert loss == F.cross_entropy(logits + torch.tensor([0.5, -2.0]), target)
    loss.backward()
    assert criterion.shift.grad is not None
