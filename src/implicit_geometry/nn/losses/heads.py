"""Scales and shifts folded into the linear head, where they cost less than on the logits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from implicit_geometry._validate import InputError
from implicit_geometry.nn.check import same_place, tensor


def vs_linear(
    embeddings: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    class_scale: Tensor | None = None,
    shift: Tensor | None = None,
) -> Tensor:
    """Logits of a linear head, scaled and shifted as :func:`~implicit_geometry.nn.losses.vs_loss.vs_loss` would.

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
        InputError: an argument is no tensor, a vector does not have one entry for each class, or the parts of the head
            do not fit one another.

    Source: Kini et al. (2021), Eq. (2).

    Example:
        >>> import torch
        >>> h, W = torch.tensor([[1.0, 2.0]]), torch.eye(2)
        >>> vs_linear(h, W, class_scale=torch.tensor([1.0, 0.5]), shift=torch.tensor([0.0, 3.0]))
        tensor([[1., 4.]])
    """
    for name, value in (("embeddings", embeddings), ("weight", weight)):
        tensor(name, value)
    for name, vector in (("bias", bias), ("class_scale", class_scale), ("shift", shift)):
        tensor(name, vector, optional=True)
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
    try:
        return F.linear(embeddings, weight, bias)
    except RuntimeError:
        check_head(embeddings, weight, bias)
        raise


def check_head(embeddings: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Refuse parts of a linear head that do not fit one another, in words; called once they have failed.

    Raises:
        InputError: a part has another shape, dtype or device than the weight asks for.
    """
    if weight.ndim != 2:
        raise InputError("weight", "must have shape (C, d)", f"shape {tuple(weight.shape)}")
    if embeddings.ndim == 0 or embeddings.shape[-1] != weight.shape[1]:
        raise InputError("embeddings", f"must have {weight.shape[1]} dimensions", f"shape {tuple(embeddings.shape)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise InputError("bias", f"must have shape ({weight.shape[0]},)", f"shape {tuple(bias.shape)}")
    for name, value in (("weight", weight), ("bias", bias)):
        same_place(name, value, "embeddings", embeddings)
        if value is not None and value.dtype != embeddings.dtype:
            raise InputError(name, f"must have the dtype of embeddings, {embeddings.dtype}", value.dtype)
