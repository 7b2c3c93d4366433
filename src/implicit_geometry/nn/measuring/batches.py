"""What a batch holds, whatever its form: labels, inputs, and one row per sample that counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from implicit_geometry._validate import InputError

LABEL_KEYS = ("labels", "label", "targets", "target", "y")
"""Under which of them a dictionary holds its labels; the first that is there counts."""


def labels_of(batch: Any, source: str = "batch") -> Tensor:
    """The labels of a batch: the second of a tuple, or those of a dictionary.

    Args:
        batch: of any form.
        source: what gave it, for messages.

    Raises:
        InputError: the batch is of another form.

    Example:
        >>> import torch
        >>> labels_of({"pixel_values": torch.zeros(2, 3), "labels": torch.tensor([0, 1])})
        tensor([0, 1])
    """
    labels = None
    if isinstance(batch, Mapping):
        labels = next((batch[key] for key in LABEL_KEYS if key in batch), None)
    elif isinstance(batch, (tuple, list)) and len(batch) > 1:
        labels = batch[1]
    if isinstance(labels, Tensor):
        return labels
    forms = f"(inputs, labels, ...) or dictionaries with {LABEL_KEYS[0]!r}, which is a tensor"
    raise InputError(source, f"must give {forms}", describe_batch(batch))


def run_on(model: nn.Module, batch: Any, device: Any) -> None:
    """Run a model on the inputs of a batch: the first of a tuple, or by name all but the labels of a dictionary."""
    if isinstance(batch, Mapping):
        model(**{key: _moved(value, device) for key, value in batch.items() if key not in LABEL_KEYS})
    else:
        model(_moved(batch[0], device))


def samples(embeddings: Tensor, labels: Tensor, *, channels_first: bool) -> tuple[Tensor, Tensor]:
    """One row per sample, token or pixel: embeddings (n, d) and labels (n,).

    Labels that are class probabilities, as mixup makes them, become their most probable class. Maps of labels of
    another resolution than the embeddings are read at the nearest pixel.

    Args:
        embeddings: what enters the head, shape (N, ..., d), or (N, d, ...) with ``channels_first``.
        labels: class indices, the shape of ``embeddings`` without d; or class probabilities, with k in its place.
        channels_first: whether the head is a convolution.

    Raises:
        InputError: labels of another shape.

    Example:
        >>> import torch
        >>> rows = samples(torch.zeros(2, 3, 4, 4), torch.zeros(2, 8, 8, dtype=int), channels_first=True)
        >>> [tuple(part.shape) for part in rows]
        [(32, 3), (32,)]
    """
    if labels.is_floating_point() and labels.ndim == embeddings.ndim:
        labels = labels.argmax(1 if channels_first else -1)
    if channels_first and labels.ndim == embeddings.ndim - 1 > 1 and labels.shape[1:] != embeddings.shape[2:]:
        maps = F.interpolate(labels[:, None].double(), embeddings.shape[2:], mode="nearest")
        labels = maps[:, 0].to(labels.dtype)
    shape = embeddings.shape[:1] + embeddings.shape[2:] if channels_first else embeddings.shape[:-1]
    if labels.shape != shape:
        raise InputError("labels", f"must have one entry per embedding, shape {tuple(shape)}", tuple(labels.shape))
    return rows_of(embeddings, channels_first=channels_first), labels.reshape(-1)


def rows_of(values: Tensor, *, channels_first: bool) -> Tensor:
    """Vectors along the last dimension, or along dimension 1 with ``channels_first``, as the rows of a matrix."""
    values = values.movedim(1, -1) if channels_first else values
    return values.reshape(-1, values.shape[-1])


def describe_batch(batch: Any) -> str:
    """The types of a batch, for error messages."""
    if isinstance(batch, (tuple, list)):
        return f"{type(batch).__name__} of {', '.join(type(part).__name__ for part in batch)}"
    if isinstance(batch, Mapping):
        return f"{type(batch).__name__} with {', '.join(map(repr, batch)) or 'nothing'}"
    return type(batch).__name__


def _moved(value: Any, device: Any) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value
