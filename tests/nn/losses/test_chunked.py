"""The loss of a huge head in chunks is the criterion of all its logits, and holds only a few of them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from implicit_geometry.nn.losses import chunked, linear_loss
from implicit_geometry.nn.losses.criterion import VSLoss
from implicit_geometry.nn.losses.linear_loss import vs_linear_loss
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.rules import logit_adjusted, make_parameterization
from loss_cases import HYPERPARAMETERS, draw_labels, draw_logits, draw_vectors, every_rule

N, C, D = 23, 300, 5
PART = {"one sample at a time": (C, C), "chunks of pieces": (7 * C, 2 * C), "all at once": (N * C, N * C)}
every_part = pytest.mark.parametrize("part", PART)
every_reduction = pytest.mark.parametrize("reduction", ["mean", "sum"])
with_and_without_bias = pytest.mark.parametrize("biased", [False, True], ids=["without bias", "with bias"])


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> list[int]:
    """Logits are many from a hundred on; the rows of each matrix of logits that is made."""
    monkeypatch.setattr(linear_loss, "_MOST_HELD", 100)
    monkeypatch.setattr(linear_loss, "MEMORY_BOUND", 100)
    parameters = getattr(request.node, "callspec", None)
    at_once, in_cache = PART[parameters.params.get("part", "chunks of pieces") if parameters else "chunks of pieces"]
    monkeypatch.setattr(chunked, "_LOGITS_AT_ONCE", at_once)
    monkeypatch.setattr(chunked, "_IN_CACHE", in_cache)
    calls: list[int] = []
    multiply = torch.mm
    monkeypatch.setattr(torch, "mm", lambda a, b, **given: calls.append(len(a)) or multiply(a, b, **given))
    return calls


def leaves(*, biased: bool, dtype: torch.dtype = torch.float64) -> list[Tensor | None]:
    head = [draw_logits(shape, seed, dtype).requires_grad_() for seed, shape in enumerate([(N, D), (C, D), (C,)])]
    return [head[0], head[1], head[2] if biased else None]


def gradients(loss: Tensor, given: list[Tensor | None]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, [leaf for leaf in given if leaf is not None])


LABELS = draw_labels((N, C), 0)


def assert_close(found: object, expected: object, dtype: torch.dtype = torch.float64) -> None:
    tolerance = {"rtol": 1e-12, "atol": 1e-13} if dtype == torch.float64 else {"rtol": 1e-3, "atol": 1e-3}
    torch.testing.assert_close(found, expected, equal_nan=True, **tolerance)


@every_part
@every_reduction
@with_and_without_bias
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_all_vectors_together(part: str, reduction: str, biased: bool, dtype: torch.dtype) -> None:
    vectors = {name: vector.numpy() for name, vector in draw_vectors(C, seed=3).items()}
    criterion = VSLoss(Parameterization(**vectors), reduction=reduction, dtype=dtype)
    embeddings, weight, bias = given = leaves(biased=biased, dtype=dtype)
    found = vs_linear_loss(criterion, embeddings, weight, LABELS, bias)
    expected = criterion(F.linear(embeddings, weight, bias), LABELS)
    assert type(found.grad_fn).__name__ == "_InChunksBackward"
    assert_close(found, expected, dtype)
    assert_close(gradients(3 * found, given), gradients(3 * expected, given), dtype)


@every_rule
@every_reduction
def test_every_rule_with_ignored_samples(rule: str, reduction: str) -> None:
    counts = torch.arange(1, C + 1).tolist()
    criterion = VSLoss(
        make_parameterization(rule, counts, **HYPERPARAMETERS[rule]), reduction=reduction, dtype=torch.float64
    )
    labels = torch.where(torch.arange(N) % 4 == 0, -100, LABELS)
    embeddings, weight, bias = given = leaves(biased=True)
    found = vs_linear_loss(criterion, embeddings, weight, labels, bias)
    expected = criterion(F.linear(embeddings, weight, bias), labels)
    assert_close(found, expected)
    assert_close(gradients(found, given), gradients(expected, given))


@every_reduction
def test_a_batch_of_ignored_samples_is_as_in_cross_entropy(reduction: str) -> None:
    embeddings, weight, bias = given = leaves(biased=True)
    labels = torch.full((N,), -100)
    found = vs_linear_loss(VSLoss(Parameterization.neutral(C), reduction=reduction), embeddings, weight, labels, bias)
    expected = F.cross_entropy(F.linear(embeddings, weight, bias), labels, reduction=reduction)
    assert_close(found, expected)
    assert_close(gradients(found, given), gradients(expected, given))


def criterion_of_many() -> VSLoss:
    return VSLoss(logit_adjusted(list(range(1, C + 1))), dtype=torch.float64)


def test_no_more_than_a_chunk_of_logits_is_ever_made(small: list[int]) -> None:
    embeddings, weight, _ = leaves(biased=False)
    vs_linear_loss(criterion_of_many(), embeddings, weight, LABELS).backward()
    assert small == [7, 7, 7, 7, 7, 7, 2, 2]  # logits of each chunk, and the gradient of its embeddings


def test_what_needs_no_gradient_costs_none(small: list[int]) -> None:
    embeddings, weight, _ = leaves(biased=False)
    with torch.no_grad():
        vs_linear_loss(criterion_of_many(), embeddings, weight, LABELS)
    assert len(small) == 4
    vs_linear_loss(criterion_of_many(), embeddings.detach(), weight, LABELS).backward()
    assert len(small) == 8
    assert embeddings.grad is None


def test_backward_can_be_repeated() -> None:
    embeddings, weight, _ = leaves(biased=False)
    loss = vs_linear_loss(criterion_of_many(), embeddings, weight, LABELS)
    first = torch.autograd.grad(loss, weight, retain_graph=True)
    assert_close(torch.autograd.grad(loss, weight), first)


def test_second_derivatives_are_those_of_the_expression() -> None:
    embeddings, weight, _ = leaves(biased=False)
    second = []
    for loss in (
        vs_linear_loss(criterion_of_many(), embeddings, weight, LABELS),
        criterion_of_many()(embeddings @ weight.T, LABELS),
    ):
        (first,) = torch.autograd.grad(loss, weight, create_graph=True)
        second.append(torch.autograd.grad(first.square().sum(), embeddings))
    assert_close(second[0], second[1])


@pytest.mark.parametrize("label", [-1, C, 10**6])
def test_a_label_out_of_range_is_named(label: int) -> None:
    embeddings, weight, _ = leaves(biased=False)
    labels = LABELS.clone()
    labels[3] = label
    with pytest.raises(IndexError, match=rf"^target must hold class indices in 0\.\.{C - 1} .*{label}"):
        vs_linear_loss(criterion_of_many(), embeddings, weight, labels)


def test_logits_that_overflow_are_as_in_cross_entropy() -> None:
    embeddings, weight, _ = leaves(biased=False)
    with torch.no_grad():
        weight *= 1e3
        expected = criterion_of_many()(embeddings @ weight.T, LABELS)
        assert_close(vs_linear_loss(criterion_of_many(), embeddings, weight, LABELS), expected)
