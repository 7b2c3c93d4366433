"""The loss of a huge linear head and its gradients, from the logits of a few samples at a time."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from implicit_geometry.nn.losses.vs_loss import labels_out_of_range

_LOGITS_AT_ONCE = 2**24  # that are multiplied: 64 MB in float32
_IN_CACHE = 2**20  # that are adjusted: 4 MB


class Vectors(NamedTuple):
    """The vectors of a loss, each of shape (C,); None where neutral."""

    weight: Tensor | None
    shift: Tensor | None
    class_scale: Tensor | None
    label_scale: Tensor | None
    margin: Tensor | None


class Wanted(NamedTuple):
    """Which gradients are wanted."""

    embeddings: bool
    weight: bool
    bias: bool


class LossAndGradients(NamedTuple):
    """What one sweep over the samples gives."""

    loss: Tensor
    embeddings: Tensor | None
    weight: Tensor | None
    bias: Tensor | None


def loss_and_gradients(
    embeddings: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None,
    vectors: Vectors,
    *,
    reduction: str,
    ignore_index: int,
    wanted: Wanted,
) -> LossAndGradients:
    """Loss of ``F.linear(embeddings, weight, bias)`` and its gradients, all logits computed once.

    Args:
        embeddings: shape (N, d).
        weight: of the head, shape (C, d).
        target: class indices, shape (N,).
        bias: of the head, shape (C,).
        vectors: of the loss.
        reduction: ``"mean"`` or ``"sum"``.
        ignore_index: class index of samples that do not count.
        wanted: the gradients that are computed; others are None.

    Raises:
        IndexError: a class index is neither ``ignore_index`` nor in 0..C-1.
    """
    samples, classes = len(embeddings), len(weight)
    counted = target != ignore_index
    if ((target[counted] < 0) | (target[counted] >= classes)).any():
        raise IndexError(labels_out_of_range(classes, target, ignore_index))
    labels = torch.where(counted, target, 0)
    share = torch.ones_like(embeddings[:, 0]) if vectors.weight is None else vectors.weight[labels]
    share = torch.where(counted, share / share[counted].sum() if reduction == "mean" else share, 0)
    losses = embeddings.new_empty(samples)
    found = [
        embeddings.new_empty(samples, weight.shape[1]) if wanted.embeddings else None,
        torch.zeros_like(weight, memory_format=torch.contiguous_format) if wanted.weight else None,
        None if bias is None or not wanted.bias else torch.zeros_like(bias),
    ]
    rows = min(max(_LOGITS_AT_ONCE // classes, 1), samples)
    buffer = embeddings.new_empty(rows, classes)
    for start in range(0, samples, rows):
        part = slice(start, min(start + rows, samples))
        logits = torch.mm(embeddings[part], weight.t(), out=buffer[: part.stop - start])
        if bias is not None:
            logits += bias
        few = max(_IN_CACHE // classes, 1)
        for first in range(0, len(logits), few):
            piece = slice(start + first, min(start + first + few, part.stop))
            _to_gradient(logits[first : first + few], labels[piece], share[piece], losses[piece], vectors)
        if found[0] is not None:
            torch.mm(logits, weight, out=found[0][part])
        if found[1] is not None:
            found[1].addmm_(logits.t(), embeddings[part])
        if found[2] is not None:
            found[2] += logits.sum(0)
    total = torch.where(counted, losses * share, 0).sum()
    if reduction == "mean":
        total = total / counted.any()  # NaN of no sample, as in F.cross_entropy
    return LossAndGradients(total, *found)


def _to_gradient(logits: Tensor, labels: Tensor, share: Tensor, losses: Tensor, vectors: Vectors) -> None:
    """Turn logits into the gradient of the sum of losses times shares, and write the losses."""
    index = labels.unsqueeze(1)
    of_label = None if vectors.label_scale is None else vectors.label_scale[index]
    for factor in (vectors.class_scale, of_label):
        if factor is not None:
            logits *= factor
    if vectors.shift is not None:
        logits += vectors.shift
    if vectors.margin is not None:
        logits.scatter_add_(1, index, -vectors.margin[index])
    logits -= logits.amax(1, keepdim=True)
    at_label = logits.gather(1, index).squeeze(1)
    total = logits.exp_().sum(1)
    torch.sub(total.log(), at_label, out=losses)
    logits *= (share / total).unsqueeze(1)
    logits.scatter_add_(1, index, -share.unsqueeze(1))
    for factor in (vectors.class_scale, of_label):
        if factor is not None:
            logits *= factor
