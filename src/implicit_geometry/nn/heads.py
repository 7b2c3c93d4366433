"""Scales and shifts folded into the linear head, where they cost less than on the logits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from implicit_geometry._validate import InputError


def vs_linear(
    embeddings: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    class_scale: Tensor | None = None,
    shift: Tensor | None = None,
) -> Tensor:
    """Logits of a linear head, already scaled and shifted as :func:`~implicit_geometry.nn.losses.vs_loss` would.

    With h = ``embeddings``, W = ``weight``, b = ``bias``, delta = ``class_scale`` and iota = ``shift``,

        delta * (W h + b) + iota = (delta * W) h + (delta * b + iota)

    A shift costs nothing here; a scale costs C * d instead of N * C operations, less where a batch has more samples
    than an embedding has dimensions. The parameters are those of the ``nn.Linear`` they come from, unchanged: use its
    own logits at test time. Give the loss only the vectors that are not folded. A shift cannot be folded beside a
    ``label_scale``, which must not scale it; and in half precision it belongs in the loss, for the logits that come
    out here are rounded after the shift.

    Args:
        embeddings: h, shape (..., d).
        weight: W, shape (C, d).
        bias: b, shape (C,).
        class_scale: delta, shape (C,).
        shift: iota, shape (C,).

    Returns:
        The adjusted logits, shape (..., C).

    Raises:
        InputError: a vector does not have one entry a class.

    Source: Kini et al. (2021), Eq. (2).

    Example:
        >>> import torch
        >>> h, W = torch.tensor([[1.0, 2.0]]), torch.eye(2)
        >>> vs_linear(h, W, class_scale=torch.tensor([1.0, 0.5]), shift=torch.tensor([0.0, 3.0]))
        tensor([[1., 4.]])
    """
    for name, vector in (("class_scale", class_scale), ("shift", shift)):
        if vector is not None and vector.shape != weight.shape[:1]:
            raise InputError(
                name,
                f"must have one entry for each of the {weight.shape[0]} classes of weight",
                f"shape {tuple(vector.shape)}",
            )
    if class_scale is not None:
        weight = weight * class_scale.unsqueeze(1)
        bias = None if bias is None else bias * class_scale
    if shift is not None:
        bias = shift if bias is None else bias + shift
    return F.linear(embeddings, weight, bias)
