"""Running a network in eval mode and seeing what goes through its head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from implicit_geometry._validate import InputError

Calls = list[tuple[tuple[Any, ...], Any]]
"""Inputs and output of each call of a layer."""


def find_head(model: nn.Module, head: str) -> tuple[nn.Module, Tensor]:
    """The layer of a dotted name, and its weight, shape (k, d).

    Raises:
        InputError: no such layer, or one without a weight matrix.
    """
    modules = dict(model.named_modules())
    if not isinstance(head, str) or head not in modules:
        linear = [repr(name) for name, module in modules.items() if isinstance(module, nn.Linear)]
        raise InputError(
            "head", "must name a module of the model", f"{head!r}; its linear layers are {', '.join(linear) or 'none'}"
        )
    weight = getattr(modules[head], "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        raise InputError("head", "must have a weight matrix", f"{head!r}, a {type(modules[head]).__name__} without")
    return modules[head], weight


@contextmanager
def watched(model: nn.Module, layer: nn.Module) -> Iterator[Calls]:
    """Eval mode without gradients, and the calls of a layer, as long as the context lasts."""
    modes = [(module, module.training) for module in model.modules()]
    calls: Calls = []
    handle = layer.register_forward_hook(lambda _, inputs, output: calls.append((inputs, output)))
    model.eval()
    try:
        with torch.no_grad():
            yield calls
    finally:
        handle.remove()
        for module, training in modes:
            module.training = training


def head_outputs(
    model: nn.Module, loader: Iterable[Any], calls: Calls, place: torch.device, home: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Embeddings, labels and logits of every batch, on ``home``; the model runs on ``place``.

    Raises:
        InputError: a batch of another form, or a head that does not run once for it.
    """
    for batch in loader:
        if not (
            isinstance(batch, (tuple, list)) and len(batch) == 2 and all(isinstance(part, Tensor) for part in batch)
        ):
            raise InputError("loader", "must yield pairs (inputs, labels) of tensors", describe_batch(batch))
        inputs, labels = batch
        calls.clear()
        model(inputs.to(place))
        if len(calls) != 1:
            raise InputError("head", "must run once for a batch", f"{len(calls)} runs")
        (embeddings,), logits = calls[0]
        yield embeddings.to(home), labels.to(home), logits.to(home)


def describe_batch(batch: Any) -> str:
    """The types of a batch, for error messages."""
    if isinstance(batch, (tuple, list)):
        return f"{type(batch).__name__} of {', '.join(type(part).__name__ for part in batch)}"
    return type(batch).__name__
