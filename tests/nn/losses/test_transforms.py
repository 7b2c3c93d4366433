"""VSLoss under autograd, torch.func, torch.compile and on a CUDA device."""

from __future__ import annotations

import os
import shutil

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from implicit_geometry.nn.losses.criterion import VSLoss
from implicit_geometry.nn.losses.vs_loss import vs_loss
from implicit_geometry.parameterization import NEUTRAL
from loss_cases import (
    RULES,
    draw_labels,
    draw_logits,
    draw_vectors,
    every_reduction,
    every_rule,
    every_shape,
    loss_and_gradient,
    oracle,
    vectors_of,
)

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="inductor needs a C++ compiler"
)

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
