"""VSLoss keeps the contract of nn.CrossEntropyLoss; its values are those of literal loops in float64."""

from __future__ import annotations

import copy
import math
import os
import pickle
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from implicit_geometry._validate import InputError
from implicit_geometry.nn.losses import VSLoss, vs_loss
from implicit_geometry.parameterization import NEUTRAL, Parameterization
from implicit_geometry.rules import make_parameterization
from strategies import seeds

COUNTS = [500, 120, 30, 2]
HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    "ce": {},
    "weighted": {"gamma": 0.5},
    "logit_adjusted": {},
    "cdt": {"gamma": 0.3},
    "ldt": {"gamma": 0.5},
    "vs": {"gamma": 0.3},
    "ldam": {"scale": 3.0},
}
RULES = {name: make_parameterization(name, COUNTS, **given) for name, given in HYPERPARAMETERS.items()}
BY_LABEL = ("label_scale", "margin")
SHAPES = [(4,), (5, 4), (3, 4, 2), (2, 4, 3, 2)]
REDUCTIONS = ["mean", "sum", "none"]

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="inductor needs a C++ compiler"
)
every_rule = pytest.mark.parametrize("rule", RULES)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
every_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)


# The oracle


def rows(tensor: Tensor, class_dim: int) -> list[list[float]]:
    """One list of class entries a sample."""
    table: list[list[float]] = tensor.double().movedim(class_dim, -1).reshape(-1, tensor.shape[class_dim]).tolist()
    return table


def oracle(
    logits: Tensor,
    target: Tensor,
    vectors: dict[str, Tensor],
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """The loss by loops over samples and classes; vectors left out are neutral."""
    dim = 0 if logits.dim() == 1 else 1
    size = logits.shape[dim]
    v = {name: vectors[name].tolist() if name in vectors else [neutral] * size for name, neutral in NEUTRAL.items()}
    probabilities = target.is_floating_point()
    targets = rows(target, dim) if probabilities else target.flatten().tolist()
    losses, total_weight = [], 0.0
    for z, t in zip(rows(logits, dim), targets, strict=True):
        if not probabilities and t == ignore_index:
            losses.append(0.0)
            continue
        if probabilities:
            adjusted = [v["class_scale"][c] * z[c] + v["shift"][c] for c in range(size)]
            total_weight += 1.0
        else:
            adjusted = [v["label_scale"][t] * v["class_scale"][c] * z[c] + v["shift"][c] for c in range(size)]
            adjusted[t] -= v["margin"][t]
            total_weight += v["weight"][t]
        peak = max(adjusted)
        log_total = peak + math.log(sum(math.exp(u - peak) for u in adjusted))
        loss = 0.0
        for c in range(size):
            share = t[c] if probabilities else float(c == t)
            share = (1 - label_smoothing) * share + label_smoothing / size
            loss += share * v["weight"][c] * (log_total - adjusted[c])
        losses.append(loss)
    if reduction == "none":
        shape = logits.shape[:dim] + logits.shape[dim + 1 :]
        return torch.tensor(losses, dtype=torch.float64).reshape(shape)
    total = math.fsum(losses)
    return torch.tensor(total / total_weight if reduction == "mean" else total, dtype=torch.float64)


def draw_logits(shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return (3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).to(dtype)


def draw_labels(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    dim = 0 if len(shape) == 1 else 1
    batch = shape[:dim] + shape[dim + 1 :]
    return torch.randint(shape[dim], batch, generator=torch.Generator().manual_seed(seed))


def draw_probabilities(shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return draw_logits(shape, seed + 1).softmax(0 if len(shape) == 1 else 1).to(dtype)


def draw_vectors(size: int, names: Any = tuple(NEUTRAL), seed: int = 0) -> dict[str, Tensor]:
    rng = np.random.default_rng(seed)
    values = {
        name: rng.uniform(0.3, 3, size) if neutral == 1 else rng.uniform(-2, 2, size)
        for name, neutral in NEUTRAL.items()
    }
    return {name: torch.tensor(values[name]) for name in names}


def vectors_of(parameterization: Parameterization) -> dict[str, Tensor]:
    return {name: torch.tensor(v, dtype=torch.float64) for name, v in parameterization.to_dict().items()}


def loss_and_gradient(loss: Any, logits: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
    leaf = logits.detach().clone().requires_grad_()
    value = loss(leaf, *args, **options)
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient


def assert_identical(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> None:
    """Equal dtypes, shapes and bits; nan equals nan."""
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


subsets = st.sets(st.sampled_from(list(NEUTRAL))).map(sorted)
smoothings = st.sampled_from([0.0, 0.1, 1.0])
shapes = st.sampled_from(SHAPES)
reductions = st.sampled_from(REDUCTIONS)


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


@given(
    shape=shapes,
    names=st.sets(st.sampled_from(["weight", "shift", "class_scale"])).map(sorted),
    reduction=reductions,
    label_smoothing=smoothings,
    seed=seeds,
)
@settings(max_examples=60)
def test_class_probabilities_give_the_value_of_literal_loops(
    shape: tuple[int, ...], names: list[str], seed: int, **options: Any
) -> None:
    logits, target, vectors = draw_logits(shape, seed), draw_probabilities(shape, seed), draw_vectors(4, names, seed)
    loss = vs_loss(logits, target, **vectors, **options)
    torch.testing.assert_close(loss, oracle(logits, target, vectors, **options), rtol=1e-12, atol=1e-12)


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


def test_a_large_shift_does_not_swallow_bfloat16_logits() -> None:
    logits = torch.tensor([[0.06, 0.0, -0.06]], dtype=torch.bfloat16)  # bfloat16 steps by 0.125 near -20
    labels = torch.tensor([0])
    criterion = VSLoss(Parameterization(shift=[-20.0, -20.0, -20.0]))
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
    assert set(criterion.state_dict()) == {name for name in NEUTRAL if not RULES[rule].is_neutral(name)}
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
def test_the_state_dict_makes_a_round_trip(rule: str) -> None:
    logits, labels = draw_logits((5, 4), dtype=torch.float32), draw_labels((5, 4))
    saved = VSLoss(RULES[rule])
    other = make_parameterization(rule, [9, 7, 5, 3], **HYPERPARAMETERS[rule])
    loaded = VSLoss(other)
    loaded.load_state_dict(saved.state_dict())
    assert_identical((loaded(logits, labels),), (saved(logits, labels),))


def test_a_state_dict_of_another_loss_is_refused() -> None:
    with pytest.raises(RuntimeError, match="class_scale"):
        VSLoss(RULES["ldt"]).load_state_dict(VSLoss(RULES["cdt"]).state_dict())


@every_rule
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_give_the_same_loss(rule: str, duplicate: Any) -> None:
    logits, labels = draw_logits((5, 4), dtype=torch.float32), draw_labels((5, 4))
    criterion = VSLoss(RULES[rule], label_smoothing=0.1, reduction="sum")
    assert_identical((duplicate(criterion)(logits, labels),), (criterion(logits, labels),))


# Derivatives


@every_shape
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_gradients_are_those_of_finite_differences(shape: tuple[int, ...], label_smoothing: float) -> None:
    labels, vectors = draw_labels(shape), draw_vectors(4)
    learned = [name for name in NEUTRAL if name != "weight"]  # torch has no gradient of the weight

    def loss(logits: Tensor, *values: Tensor) -> Tensor:
        given = dict(zip(learned, values, strict=True))
        return vs_loss(logits, labels, weight=vectors["weight"], **given, label_smoothing=label_smoothing)

    inputs = (draw_logits(shape), *(vectors[name] for name in learned))
    assert torch.autograd.gradcheck(loss, tuple(x.clone().requires_grad_() for x in inputs))


@every_rule
def test_second_derivatives_are_those_of_finite_differences(rule: str) -> None:
    criterion, labels = VSLoss(RULES[rule], dtype=torch.float64), draw_labels((3, 4))
    logits = draw_logits((3, 4)).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda z: criterion(z, labels), (logits,))


@every_rule
def test_gradients_of_samples_by_vmap_are_those_of_a_loop(rule: str) -> None:
    criterion = VSLoss(RULES[rule], dtype=torch.float64)
    logits, labels = draw_logits((5, 4)), draw_labels((5, 4))
    together = torch.func.vmap(torch.func.grad(criterion))(logits, labels)
    for i in range(5):
        torch.testing.assert_close(together[i], loss_and_gradient(criterion, logits[i], labels[i])[1])


@every_rule
def test_vmap_over_batches_is_a_loop_over_batches(rule: str) -> None:
    criterion = VSLoss(RULES[rule], dtype=torch.float64)
    logits, labels = draw_logits((3, 5, 4)), draw_labels((5, 4, 3)).T
    together = torch.func.vmap(criterion)(logits, labels)
    each = torch.stack([criterion(z, y) for z, y in zip(logits, labels, strict=True)])
    torch.testing.assert_close(together, each)


def test_vmap_over_vectors_evaluates_many_losses_at_once() -> None:
    logits, labels = draw_logits((5, 4)), draw_labels((5, 4))
    names = [name for name in NEUTRAL if name != "weight"]
    many = [draw_vectors(4, names, seed) for seed in range(3)]
    stacked = {name: torch.stack([one[name] for one in many]) for name in names}
    together = torch.func.vmap(lambda vectors: vs_loss(logits, labels, **vectors))(stacked)
    torch.testing.assert_close(together, torch.stack([vs_loss(logits, labels, **one) for one in many]))


@pytest.mark.filterwarnings("ignore:`torch.jit.script`")  # torch's own forward mode of nll_loss
@every_rule
def test_forward_mode_agrees_with_reverse_mode(rule: str) -> None:
    criterion = VSLoss(RULES[rule], dtype=torch.float64)
    logits, labels, direction = draw_logits((5, 4)), draw_labels((5, 4)), draw_logits((5, 4), seed=1)
    _, forward = torch.func.jvp(lambda z: criterion(z, labels), (logits,), (direction,))
    _, gradient = loss_and_gradient(criterion, logits, labels)
    torch.testing.assert_close(forward, (gradient * direction).sum())


# Compilation


@every_rule
@pytest.mark.parametrize("shape", [(5, 4), (3, 4, 2)], ids=str)
def test_compiles_without_a_graph_break(rule: str, shape: tuple[int, ...]) -> None:
    criterion = VSLoss(RULES[rule], label_smoothing=0.1)
    logits, labels = draw_logits(shape, dtype=torch.float32), draw_labels(shape)
    torch.compiler.reset()
    compiled = torch.compile(criterion, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(
        loss_and_gradient(compiled, logits, labels), loss_and_gradient(criterion, logits, labels)
    )


def test_compiles_with_all_vectors_and_under_autocast() -> None:
    vectors = {name: vector.float() for name, vector in draw_vectors(4).items()}
    logits, labels = draw_logits((5, 4), dtype=torch.bfloat16), draw_labels((5, 4))
    labels[0] = -100
    torch.compiler.reset()
    compiled = torch.compile(vs_loss, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        one, other = compiled(logits, labels, **vectors), vs_loss(logits, labels, **vectors)
    torch.testing.assert_close(one, other)


@needs_compiler
@pytest.mark.slow
def test_compiles_to_machine_code() -> None:
    vectors = {name: vector.float() for name, vector in draw_vectors(4).items()}
    logits, labels = draw_logits((64, 4), dtype=torch.float32), draw_labels((64, 4))
    torch.compiler.reset()
    compiled = torch.compile(vs_loss, fullgraph=True)
    torch.testing.assert_close(
        loss_and_gradient(compiled, logits, labels, **vectors), loss_and_gradient(vs_loss, logits, labels, **vectors)
    )


# Bad input


@every_rule
@pytest.mark.parametrize("shape", [(4,), (5, 4), (3, 4, 2)], ids=str)
@pytest.mark.parametrize("label", [4, 10**6, -1, -5, -99])
def test_a_label_out_of_range_is_an_index_error_that_names_the_range(
    rule: str, shape: tuple[int, ...], label: int
) -> None:
    labels = draw_labels(shape)
    labels.view(-1)[-1] = label
    with pytest.raises(IndexError, match=rf"^target must .*0\.\.3.*ignore_index ?= ?-100.*{label}"):
        VSLoss(RULES[rule], dtype=torch.float64)(draw_logits(shape), labels)


@every_rule
def test_the_default_ignore_index_is_out_of_range_once_another_is_chosen(rule: str) -> None:
    with pytest.raises(IndexError, match=r"target.*0\.\.3.*ignore_index ?= ?255.*-100"):
        VSLoss(RULES[rule], ignore_index=255)(torch.zeros(2, 4), torch.tensor([0, -100]))


@every_rule
@pytest.mark.parametrize("shape", [(), (3,), (4, 5), (2, 5, 4)], ids=str)
def test_another_number_of_classes_is_refused(rule: str, shape: tuple[int, ...]) -> None:
    batch = shape[:1] + shape[2:] if len(shape) > 1 else ()
    with pytest.raises(InputError, match=rf"^logits must have 4 classes.*\({', '.join(map(str, shape))}"):
        VSLoss(RULES[rule])(torch.zeros(shape), torch.zeros(batch, dtype=torch.long))


@pytest.mark.parametrize("name", NEUTRAL)
@pytest.mark.parametrize("shape", [(3,), (5,), (1,), (), (1, 4), (4, 1)], ids=str)
def test_a_vector_without_one_entry_a_class_is_refused_by_name(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=name):
        vs_loss(torch.zeros(5, 4), torch.zeros(5, dtype=torch.long), **{name: torch.ones(shape)})


@every_rule
@pytest.mark.parametrize(
    ("logits_shape", "target_shape"),
    [((1, 4), (5,)), ((5, 4), (3,)), ((5, 4), (1,)), ((5, 4), (5, 1)), ((5, 4), ()), ((4,), (4,)), ((1, 4, 2), (5, 2))],
    ids=str,
)
def test_labels_that_do_not_fit_the_logits_are_refused_not_broadcast(
    rule: str, logits_shape: tuple[int, ...], target_shape: tuple[int, ...]
) -> None:
    with pytest.raises(InputError, match=r"^target must hold class indices .*of shape .*got torch.int64 of shape "):
        VSLoss(RULES[rule])(torch.zeros(logits_shape), torch.zeros(target_shape, dtype=torch.long))


@every_rule
@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.bool])
def test_labels_of_another_kind_are_refused_as_in_cross_entropy(rule: str, dtype: torch.dtype) -> None:
    with pytest.raises(InputError, match=f"^target must hold class indices.*int64.*got {dtype}"):
        VSLoss(RULES[rule])(torch.zeros(2, 4), torch.zeros(2, dtype=dtype))


@every_rule
def test_logits_must_be_floating_point(rule: str) -> None:
    with pytest.raises(InputError, match=r"^logits must be floating-point.*got torch.int64"):
        VSLoss(RULES[rule])(torch.zeros(2, 4, dtype=torch.long), torch.zeros(2, dtype=torch.long))


@pytest.mark.parametrize("name", BY_LABEL)
@every_shape
def test_probabilities_are_refused_where_the_loss_depends_on_the_label(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"^target must hold class indices.*label_scale.*margin.*float64"):
        vs_loss(draw_logits(shape), draw_probabilities(shape), **draw_vectors(4, [name]))


@pytest.mark.parametrize("label_smoothing", [-0.1, 1.1, math.nan])
def test_a_share_outside_of_the_unit_interval_is_refused(label_smoothing: float) -> None:
    with pytest.raises(InputError, match=r"^label_smoothing must"):
        VSLoss(RULES["ce"], label_smoothing=label_smoothing)


def test_an_unknown_reduction_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"^reduction must be one of mean, sum, none.*did you mean 'mean'"):
        VSLoss(RULES["ce"], reduction="means")


@pytest.mark.parametrize(
    "vectors",
    [{"class_scale": [1.0, 1e-300]}, {"weight": [1.0, 1e300]}, {"shift": [0.0, -1e300]}, {"margin": [0.0, 1e300]}],
)
def test_vectors_that_the_dtype_cannot_hold_are_refused(vectors: dict[str, list[float]]) -> None:
    (name,) = vectors
    with pytest.raises(InputError, match=name):
        VSLoss(Parameterization(**vectors))
    assert VSLoss(Parameterization(**vectors), dtype=torch.float64).num_classes == 2


# A CUDA device


@needs_cuda
@every_rule
@every_shape
@every_reduction
def test_a_cuda_device_gives_the_value_of_the_cpu(rule: str, shape: tuple[int, ...], reduction: str) -> None:
    criterion = VSLoss(RULES[rule], reduction=reduction, dtype=torch.float64)
    logits, labels = draw_logits(shape), draw_labels(shape)
    if labels.dim():
        labels[-1] = -100
    expected = loss_and_gradient(criterion, logits, labels)
    there = loss_and_gradient(criterion.cuda(), logits.cuda(), labels.cuda())
    assert {tensor.device.type for tensor in there} == {"cuda"}
    torch.testing.assert_close(tuple(tensor.cpu() for tensor in there), expected)


@needs_cuda
@every_rule
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True], ids=["plain", "autocast"])
def test_half_precision_on_a_cuda_device(rule: str, dtype: torch.dtype, autocast: bool) -> None:
    logits, labels = draw_logits((16, 4), dtype=dtype), draw_labels((16, 4))
    criterion = VSLoss(RULES[rule], device="cuda")
    vectors = vectors_of(RULES[rule])
    with torch.autocast("cuda", dtype=dtype, enabled=autocast):
        loss, gradient = loss_and_gradient(criterion, logits.cuda(), labels.cuda())
        like = F.cross_entropy(logits.cuda(), labels.cuda())
    assert (loss.dtype, gradient.dtype) == (like.dtype, dtype)
    precision = 1e-5 if autocast else 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(loss.double().cpu(), oracle(logits, labels, vectors), rtol=precision, atol=precision)


@needs_cuda
def test_compiles_on_a_cuda_device() -> None:
    criterion = VSLoss(RULES["vs"], device="cuda")
    logits, labels = draw_logits((16, 4), dtype=torch.float32).cuda(), draw_labels((16, 4)).cuda()
    torch.compiler.reset()
    compiled = torch.compile(criterion, fullgraph=True)
    torch.testing.assert_close(
        loss_and_gradient(compiled, logits, labels), loss_and_gradient(criterion, logits, labels)
    )
