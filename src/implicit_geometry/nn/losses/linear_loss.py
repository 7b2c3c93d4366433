"""A linear head and its loss as one node of the autograd graph, where that saves time."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from implicit_geometry._validate import InputError
from implicit_geometry.nn.check import tensor
from implicit_geometry.nn.losses.chunked import Vectors, Wanted, loss_and_gradients
from implicit_geometry.nn.losses.criterion import VSLoss
from implicit_geometry.nn.losses.heads import check_head
from implicit_geometry.nn.losses.vs_loss import MEMORY_BOUND
from implicit_geometry.parameterization import NEUTRAL

_FEW_CLASSES = 16  # with fewer, a CPU is faster on logits whose samples, not classes, lie next to one another,
_WORTHWHILE = 512  # once there are so many logits
_MOST_HELD = 2**22  # logits; of more, only those of a few samples are held at a time
_PRECISIONS = (torch.float32, torch.float64)
_REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}
_Vectors = tuple[Tensor | None, ...]  # in the order of NEUTRAL
_nll_loss = torch.ops.aten.nll_loss_forward.default
_nll_loss_backward = torch.ops.aten.nll_loss_backward.default


def vs_linear_loss(
    criterion: VSLoss, embeddings: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Loss of a linear head, ``criterion(F.linear(embeddings, weight, bias), target)``, in less time on a CPU.

    Value and gradients are those of this expression up to rounding, and whatever it takes is taken. On a CPU, class
    indices of shape (N,) with few classes or very many logits, all in float32 or all in float64, become one node of
    the graph, which adjusts the logits in place. More than four million logits under the reductions ``"mean"`` and
    ``"sum"`` are never all held: the loss and its gradients come from a few samples at a time, in the memory of the
    gradients and 64 MB (or the logits of one sample). Everything else is the expression itself: another size or device,
    class probabilities, label smoothing, further dimensions, half precision, autocast, a compiled function, a
    transform of ``torch.func``, vectors that require a gradient, a subclass of ``VSLoss``; and so is a second
    derivative. Hooks of the head do not run.

    Args:
        criterion: the loss, with its vectors and options.
        embeddings: h, shape (N, d).
        weight: W of the head, shape (C, d).
        target: class indices, shape (N,), or what else ``criterion`` takes for the logits of these embeddings.
        bias: b of the head, shape (C,).

    Returns:
        The loss, shape () or, for the reduction ``"none"``, (N,).

    Raises:
        InputError: an argument has the wrong type, ``embeddings`` or ``bias`` do not fit ``weight``, or the logits or
            ``target`` do not fit ``criterion``.
        IndexError: a class index is neither ``ignore_index`` nor in 0..C-1.

    Source: Kini et al. (2021), Eq. (2), as in :func:`~implicit_geometry.nn.losses.vs_loss.vs_loss`.

    Example:
        >>> from implicit_geometry.rules import logit_adjusted
        >>> criterion, embeddings = VSLoss(logit_adjusted([75, 25]), reduction="none"), torch.ones(2, 3)
        >>> vs_linear_loss(criterion, embeddings, torch.zeros(2, 3), torch.tensor([0, 1]))
        tensor([0.2877, 1.3863])
    """
    if not (
        isinstance(criterion, VSLoss)
        and isinstance(embeddings, Tensor)
        and isinstance(weight, Tensor)
        and isinstance(target, Tensor)
        and (bias is None or isinstance(bias, Tensor))
    ):
        _refuse_types(criterion, embeddings, weight, target, bias)
    if type(criterion) is VSLoss and weight.shape[:1] == (criterion.num_classes,) and not criterion.label_smoothing:
        vectors = tuple(map(criterion.vectors(embeddings.dtype).get, NEUTRAL))
        dim = _class_dim_of_node(embeddings, weight, target, bias, vectors)
        if dim is not None:
            in_chunks = dim == 1 and criterion.reduction != "none" and len(weight) * len(embeddings) > _MOST_HELD
            node = _InChunks if in_chunks else _HeadAndLoss
            option = torch.is_grad_enabled() if in_chunks else dim
            try:
                return node.apply(embeddings, weight, target, bias, vectors, criterion, option)  # type: ignore[no-any-return]
            except (RuntimeError, ValueError):
                pass  # torch.func has no place for a node; bad input is named below
            except IndexError:  # in the other node also an ignored sample, which has no vector entry
                if in_chunks:
                    raise
    if embeddings.shape[-1:] != weight.shape[-1:]:
        raise InputError(
            "embeddings", f"must have the {weight.shape[-1]} dimensions of weight", f"shape {tuple(embeddings.shape)}"
        )
    try:
        return _expression(criterion, embeddings, weight, target, bias)
    except RuntimeError:
        check_head(embeddings, weight, bias)
        raise


def _refuse_types(criterion: Any, embeddings: Any, weight: Any, target: Any, bias: Any) -> None:
    if not isinstance(criterion, VSLoss):
        raise InputError("criterion", "must be a VSLoss", type(criterion).__name__)
    for name, value in (("embeddings", embeddings), ("weight", weight), ("target", target)):
        tensor(name, value)
    tensor("bias", bias, optional=True)


def _expression(criterion: VSLoss, embeddings: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None) -> Tensor:
    return criterion(F.linear(embeddings, weight, bias), target)  # type: ignore[no-any-return]


def _class_dim_of_node(
    embeddings: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None, vectors: _Vectors
) -> int | None:
    """Return where the node best has the classes of its logits, or None where it does not apply or not pay."""
    if not (embeddings.is_cpu and embeddings.ndim == weight.ndim == 2 and target.ndim == 1):
        return None
    num_classes, dtype = weight.shape[0], embeddings.dtype
    size = num_classes * embeddings.shape[0]
    few = num_classes < _FEW_CLASSES and size >= _WORTHWHILE
    if not (few or size > MEMORY_BOUND):
        return None
    for vector in vectors:
        if vector is not None and (vector.dtype != dtype or vector.requires_grad):
            return None
    if (
        dtype not in _PRECISIONS
        or weight.dtype != dtype
        or target.dtype != torch.int64
        or not (bias is None or (bias.dtype == dtype and bias.shape == weight.shape[:1]))
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
    ):
        return None
    return 0 if few else 1


class _HeadAndLoss(torch.autograd.Function):
    """Head, adjustment, log-softmax and negative log-likelihood; the logits have their classes in dimension ``dim``."""

    @staticmethod
    def forward(
        ctx: Any,
        embeddings: Tensor,
        weight: Tensor,
        target: Tensor,
        bias: Tensor | None,
        vectors: _Vectors,
        criterion: VSLoss,
        dim: int,
    ) -> Tensor:
        omega, shift, class_scale, label_scale, margin = vectors
        factors = [] if class_scale is None else [_by_class(class_scale, dim)]
        if label_scale is not None:
            factors.append(_by_sample(label_scale.index_select(0, target), dim))
        if margin is not None:
            labels = target.unsqueeze(dim)
            at_label = margin.take(labels).neg_()
        logits = embeddings.mm(weight.t()) if dim else weight.mm(embeddings.t())
        if bias is not None:
            logits.add_(_by_class(bias, dim))
        for factor in factors:
            logits.mul_(factor)
        if shift is not None:
            logits.add_(_by_class(shift, dim))
        if margin is not None:
            logits.scatter_add_(dim, labels, at_label)
        log_p = torch.log_softmax(logits, dim)
        del logits
        options = omega, _REDUCTIONS[criterion.reduction], criterion.ignore_index
        loss, total = _nll_loss(log_p if dim else log_p.t().contiguous(), target, *options)
        ctx.criterion, ctx.options, ctx.dim = criterion, options, dim
        ctx.save_for_backward(embeddings, weight, target, bias, log_p, total, *factors)
        return loss  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        embeddings, weight, target, _, log_p, total, *factors = ctx.saved_tensors
        dim, needed = ctx.dim, ctx.needs_input_grad
        if torch.is_grad_enabled():
            return _differentiable_gradients(ctx, gradient)
        gradient = _nll_loss_backward(gradient, log_p if dim else log_p.t(), target, *ctx.options, total)
        gradient = torch._log_softmax_backward_data(gradient if dim else gradient.t(), log_p, dim, log_p.dtype)
        for factor in factors:
            gradient.mul_(factor)
        by_sample, by_class = (gradient, gradient.t()) if dim else (gradient.t(), gradient)
        return (
            by_sample.mm(weight) if needed[0] else None,
            by_class.mm(embeddings) if needed[1] else None,
            None,
            gradient.sum(1 - dim) if needed[3] else None,
            *(None,) * 3,
        )


class _InChunks(torch.autograd.Function):
    """The same from a few samples at a time, with the gradients computed on the way where they may be asked for."""

    @staticmethod
    def forward(
        ctx: Any,
        embeddings: Tensor,
        weight: Tensor,
        target: Tensor,
        bias: Tensor | None,
        vectors: _Vectors,
        criterion: VSLoss,
        with_gradients: bool,
    ) -> Tensor:
        h, w, _, b, *_ = (with_gradients and need for need in ctx.needs_input_grad)
        loss, *gradients = loss_and_gradients(
            embeddings,
            weight,
            target,
            bias,
            Vectors(*vectors),
            reduction=criterion.reduction,
            ignore_index=criterion.ignore_index,
            wanted=Wanted(h, w, b),
        )
        ctx.criterion = criterion
        ctx.save_for_backward(embeddings, weight, target, bias, *gradients)
        return loss

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return _differentiable_gradients(ctx, gradient)
        h, w, b = (None if found is None else gradient * found for found in ctx.saved_tensors[4:])
        return h, w, None, b, *(None,) * 3


def _by_class(vector: Tensor, dim: int) -> Tensor:
    return vector if dim else vector.unsqueeze(1)


def _by_sample(vector: Tensor, dim: int) -> Tensor:
    return vector.unsqueeze(1) if dim else vector


def _differentiable_gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradients of the expression, with a graph of their own, even if one input depends on another."""
    inputs: list[Any] = [None if x is None else x.view_as(x) for x in ctx.saved_tensors[:4]]
    wanted = [x for x, need in zip(inputs, ctx.needs_input_grad, strict=False) if need]
    loss = _expression(ctx.criterion, *inputs)
    gradients = iter(torch.autograd.grad(loss, wanted, gradient, create_graph=True))
    return tuple(next(gradients) if need else None for need in ctx.needs_input_grad)
