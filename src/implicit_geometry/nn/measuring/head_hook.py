"""The head of a network: finding it, its classifier, and seeing what goes through it in eval mode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from implicit_geometry._validate import InputError, instance
from implicit_geometry.nn.measuring.batches import labels_of, rows_of, run_on, samples

Calls = list[tuple[tuple[Any, ...], Any]]
"""Inputs and output of each call of a layer."""


class Head(NamedTuple):
    """The last linear layer of a network."""

    name: str
    """Its dotted name."""
    layer: nn.Module
    """The layer, a linear one or a 1 x 1 convolution."""

    @property
    def weight(self) -> Tensor:
        """W as it is now, shape (k, d)."""
        weight: Tensor = self.layer.weight  # type: ignore[assignment]
        return weight.flatten(1)

    @property
    def bias(self) -> Tensor | None:
        """B as it is now, shape (k,); None where there is none."""
        return getattr(self.layer, "bias", None)

    @property
    def channels_first(self) -> bool:
        """Whether classes and features lie along dimension 1."""
        weight: Tensor = self.layer.weight  # type: ignore[assignment]
        return weight.ndim > 2


def find_head(model: nn.Module, head: str | None = None, num_classes: int | None = None) -> Head:
    """The head of a network: by its dotted name, or the end of it where that is unique, or found by itself.

    Args:
        model: the network.
        head: its name; where left out, the one linear layer or 1 x 1 convolution with ``num_classes`` outputs, or, of
            several, the one that is called ``fc``, ``head`` or ``classifier``.
        num_classes: k; any where left out.

    Raises:
        InputError: no such layer, one without a weight matrix, or several that could be meant (the message lists them).

    Example:
        >>> find_head(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), num_classes=3).name
        '2'
    """
    modules = dict(model.named_modules())
    if head is None:
        return Head(*_only_head(modules, num_classes))
    name = _full_name(modules, instance("head", head, str, "the dotted name of a module"))
    layer = modules[name]
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, Tensor) or not _is_matrix(weight):
        raise InputError("head", "must have a weight matrix", f"{head!r}, a {type(layer).__name__} without")
    return Head(name, layer)


def _is_matrix(weight: Tensor) -> bool:
    return weight.ndim >= 2 and weight.shape[2:].numel() == 1


def _linear_layers(modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    """The weights of linear layers and 1 x 1 convolutions, by name."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    found = {name: module.weight for name, module in modules.items() if isinstance(module, kinds)}
    return {name: weight for name, weight in found.items() if _is_matrix(weight)}


def _only_head(modules: dict[str, nn.Module], num_classes: int | None) -> tuple[str, nn.Module]:
    layers = _linear_layers(modules)
    fit = [name for name, weight in layers.items() if num_classes in (None, len(weight))]
    named = [name for name in fit if name.rpartition(".")[2] in ("fc", "head", "classifier")]
    chosen = fit if len(fit) == 1 else named
    if len(chosen) == 1:
        return chosen[0], modules[chosen[0]]
    kind = "a linear layer or 1 x 1 convolution" + ("" if num_classes is None else f" with {num_classes} outputs")
    if not fit:
        there = ", ".join(f"{name!r} with {len(weight)}" for name, weight in layers.items()) or "none"
        raise InputError("head", f"must be {kind}", f"only {there}" if layers else there)
    listed = ", ".join(f"{name!r} ({len(layers[name])} outputs)" for name in fit)
    raise InputError("head", f"must be named where several layers are {kind}", listed)


def _full_name(modules: dict[str, nn.Module], head: str) -> str:
    ending = [name for name in modules if name.endswith(f".{head}")]
    if head in modules or len(ending) == 1:
        return head if head in modules else ending[0]
    if ending:
        raise InputError("head", "must name one module", f"{head!r}, which could be {' or '.join(ending)}")
    linear = ", ".join(map(repr, _linear_layers(modules))) or "none"
    raise InputError("head", "must name a module of the model", f"{head!r}; its linear layers are {linear}")


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
    model: nn.Module,
    head: Head,
    loader: Iterable[Any],
    calls: Calls,
    place: torch.device,
    home: torch.device,
    ignore_index: int,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Embeddings, labels and logits of every batch, one row per sample that counts; the model runs on ``place``.

    Raises:
        InputError: a batch of another form, or a head that does not run once for it.
    """
    for batch in loader:
        labels = labels_of(batch, "loader")
        calls.clear()
        run_on(model, batch, place)
        if len(calls) != 1:
            raise InputError("head", "must run once for a batch", f"{len(calls)} runs")
        (embeddings,), logits = calls[0]
        rows, index = samples(embeddings, labels.to(place), channels_first=head.channels_first)
        keep = index != ignore_index
        parts = rows, index, rows_of(logits, channels_first=head.channels_first)
        yield tuple((part if keep.all() else part[keep]).to(home) for part in parts)  # type: ignore[misc]
