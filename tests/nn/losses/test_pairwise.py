"""The loss in torch, alone and with its head as one node, is the loss that theory and solvers compute with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from implicit_geometry.nn.losses.criterion import VSLoss
from implicit_geometry.nn.losses.linear_loss import vs_linear_loss
from implicit_geometry.nn.losses.vs_loss import vs_loss
from implicit_geometry.parameterization import NEUTRAL, Pairwise, Parameterization
from strategies import Floats, parameterizations, seeds

ONE_NODE = 512  # logits from which on head and loss are one node of the graph

any_size = st.integers(2, 6).flatmap(parameterizations)


def draw(loss: Parameterization, seed: int) -> tuple[Floats, torch.Tensor, torch.Tensor]:
    """Logits with one column per label; what ``Pairwise`` says of their losses and of the gradient by them."""
    pairs, logits = Pairwise.of(loss), 3 * np.random.default_rng(seed).standard_normal((loss.num_classes,) * 2)
    exponents = pairs.exponents(logits)
    losses = np.logaddexp.reduce(exponents, axis=0)
    gradient = pairs.slopes * (np.exp(exponents - losses) - np.eye(loss.num_classes))
    return logits, torch.from_numpy(pairs.weight * losses), torch.from_numpy(pairs.weight * gradient)


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@given(any_size, seeds)
@settings(max_examples=50, deadline=None)
def test_vs_loss_is_the_pairwise_form(loss: Parameterization, seed: int) -> None:
    logits, losses, gradient = draw(loss, seed)
    z = torch.tensor(logits.T, requires_grad=True)
    vectors: dict[str, Any] = {name: torch.tensor(getattr(loss, name)) for name in NEUTRAL}
    found = vs_loss(z, torch.arange(loss.num_classes), **vectors, reduction="none")
    assert_close(found.detach(), losses)
    assert_close(torch.autograd.grad(found.sum(), z)[0].T, gradient)


@pytest.mark.parametrize("one_node", [False, True])
@given(any_size, seeds)
@settings(max_examples=30, deadline=None)
def test_the_loss_of_a_linear_head_is_the_pairwise_form(one_node: bool, loss: Parameterization, seed: int) -> None:
    logits, losses, gradient = draw(loss, seed)
    size, times = loss.num_classes, ONE_NODE if one_node else 1
    h = torch.tensor(np.tile(logits.T, (times, 1)), requires_grad=True)
    criterion = VSLoss(loss, reduction="none", dtype=torch.float64)
    found = vs_linear_loss(criterion, h, torch.eye(size, dtype=torch.float64), torch.arange(size).repeat(times))
    assert (type(found.grad_fn).__name__ == "_HeadAndLossBackward") == one_node
    assert_close(found.detach(), losses.repeat(times))
    assert_close(torch.autograd.grad(found.sum(), h)[0].T, gradient.repeat(1, times))
