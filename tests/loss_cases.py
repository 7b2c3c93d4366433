"""What the tests of the loss share: a literal oracle, the inputs, and the axes they are parametrized over."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from implicit_geometry.parameterization import NEUTRAL, Parameterization
from implicit_geometry.rules import make_parameterization

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

every_rule = pytest.mark.parametrize("rule", RULES)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
every_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)

# The oracle


def rows(tensor: Tensor, class_dim: int) -> list[list[float]]:
    """One list of class entries per sample."""
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
        total_weight += 1.0 if probabilities else v["weight"][t]
        loss = 0.0
        for y, p_y in enumerate(t) if probabilities else [(t, 1.0)]:
            adjusted = [v["label_scale"][y] * v["class_scale"][c] * z[c] + v["shift"][c] for c in range(size)]
            adjusted[y] -= v["margin"][y]
            peak = max(adjusted)
            log_total = peak + math.log(sum(math.exp(u - peak) for u in adjusted))
            for c in range(size):
                share = (1 - label_smoothing) * float(c == y) + label_smoothing / size
                loss += p_y * share * v["weight"][c] * (log_total - adjusted[c])
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
