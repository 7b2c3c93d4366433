"""Cross-entropy with per-class vectors, to the contract of ``torch.nn.CrossEntropyLoss``.

The sign and scale conventions are those of :mod:`implicit_geometry.parameterization`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from implicit_geometry._validate import InputError, choice, number, whole_number
from implicit_geometry.nn import check
from implicit_geometry.nn.losses.subset import IGNORED, Subset, subset_of
from implicit_geometry.parameterization import NEUTRAL

_HALF = (torch.float16, torch.bfloat16)
REDUCTIONS = ("mean", "sum", "none")
MEMORY_BOUND = 2**16  # logits beyond which one pass over memory costs more than the dispatch of an operation


def vs_loss(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    shift: Tensor | None = None,
    class_scale: Tensor | None = None,
    label_scale: Tensor | None = None,
    margin: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    classes: Tensor | None = None,
    sampling_probability: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of adjusted logits: CE, wCE, LA, CDT, LDT, VS, LDAM and their mixtures.

    With logits z, label y, omega = ``weight``, iota = ``shift``, delta = ``class_scale``, Delta = ``label_scale`` and
    m = ``margin``, the loss of a sample is

        l(z, y) = -omega_y * log softmax(Delta_y * (delta * z) + iota - m_y e_y)_y

    A vector left out is neutral and costs nothing; without any, the result is ``F.cross_entropy``, bit for bit.
    Half-precision logits are adjusted in float32. Gradients flow to the logits and to every vector but ``weight``.

    Args:
        logits: unnormalised scores, shape (C,), (N, C) or (N, C, d1, ...).
        target: class indices, the shape of ``logits`` without C, or class probabilities p, the shape of ``logits``, as
            mixup and cutmix make them: the loss then is the mixture ``sum over y of p_y l(z, y)``. With label scales or
            margins it takes the time of as many losses as the samples have labels.
        weight: factor of the loss of each label, shape (C,).
        shift: added to the logits, shape (C,).
        class_scale: factor of the logit of each class, shape (C,).
        label_scale: factor of all logits of a sample by its label, shape (C,).
        margin: subtracted from the logit of the label, shape (C,).
        ignore_index: class index of samples that count neither in the loss nor in its gradient.
        label_smoothing: share in [0, 1] of the target spread evenly over the classes; it acts on the adjusted logits.
        reduction: ``"mean"`` (divides by the sum of the samples' weights, as ``F.cross_entropy`` does), ``"sum"`` or
            ``"none"``.
        classes: the class of each column of ``logits``, shape (m,), where these are of m of the classes only: a sampled
            softmax. All labels must be among them; ``target`` and the vectors stay those of all classes.
        sampling_probability: that of each of ``classes`` to be drawn at least once, shape (m,): 1 - (1 - p)^n in n
            draws with replacement. Its logarithm is subtracted from the adjusted logits, so that the sum of their
            exponentials has the mean of that over all classes. Labels of the batch count as certain, for they are there
            in any case. Where left out, all of ``classes`` are certain and the other classes do not count.

    Returns:
        The loss, in the dtype ``F.cross_entropy`` gives for these logits. Shape (), or for ``"none"`` that of
        ``logits`` without C.

    Raises:
        InputError: an argument is no tensor or on another device, ``logits`` lack a class, ``target`` has a wrong shape
            or dtype, or an option is out of range; ``classes`` with smoothed labels or class probabilities; on a CPU
            also ``classes`` that lack a label or hold one twice, and probabilities outside (0, 1].
        IndexError: on a CPU, as in ``F.cross_entropy``: a class index is neither ``ignore_index`` nor in 0..C-1.

    Source: Kini et al. (2021), Eq. (2), with the label-dependent temperatures of Behnia et al. (2023), Eq. (3); sampled
    classes as in Bengio and Senecal (2008).

    Example:
        >>> logits, target = torch.tensor([[2.0, 0.0]]), torch.tensor([1])
        >>> vs_loss(logits, target, class_scale=torch.tensor([0.5, 1.0]), shift=torch.tensor([-1.0, 0.0]))
        tensor(0.6931)
    """
    if not (isinstance(label_smoothing, float) and 0 <= label_smoothing <= 1):
        number("label_smoothing", label_smoothing, minimum=0, maximum=1)  # torch takes NaN for none
    vectors = (shift, class_scale, label_scale, margin)
    if classes is not None or sampling_probability is not None:
        of_all = dict(zip(NEUTRAL, (weight, *vectors), strict=True))
        _check_options(ignore_index, label_smoothing, reduction)
        columns = _subset(logits, target, classes, sampling_probability, of_all, ignore_index, label_smoothing)
        return vs_loss(logits, columns.target, **columns.vectors, ignore_index=IGNORED, reduction=reduction)  # type: ignore[arg-type]
    try:
        if not (label_scale is margin is None) and target.shape == logits.shape and target.is_floating_point():
            of_labels = partial(
                vs_loss,
                weight=weight,
                shift=shift,
                class_scale=class_scale,
                label_scale=label_scale,
                margin=margin,
                label_smoothing=label_smoothing,
                reduction="none",
            )
            return _mixture(of_labels, logits, target, reduction)
        adjusted = logits
        if not (shift is class_scale is label_scale is margin is None):
            adjusted = _adjust(logits, target, shift, class_scale, label_scale, margin)
            if adjusted.shape != logits.shape:
                raise ValueError("the labels do not fit the logits")
        if weight is not None and weight.dtype != adjusted.dtype:
            precision = torch.promote_types(weight.dtype, adjusted.dtype)
            weight, adjusted = weight.to(precision), adjusted.to(precision)
        loss = F.cross_entropy(
            adjusted,
            target,
            weight=weight,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            reduction=reduction,
        )
    except (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        _check_fit(logits, target, dict(zip(NEUTRAL, (weight, *vectors), strict=True)))
        _check_options(ignore_index, label_smoothing, reduction)
        if isinstance(error, IndexError):
            raise IndexError(labels_out_of_range(logits.shape[class_dim(logits)], target, ignore_index)) from error
        raise
    return loss if adjusted.dtype == logits.dtype else _as_cross_entropy(loss, logits, target)


def _subset(
    logits: Tensor,
    target: Tensor,
    classes: Tensor | None,
    sampling_probability: Tensor | None,
    vectors: dict[str, Tensor | None],
    ignore_index: int,
    label_smoothing: float,
) -> Subset:
    """Return what the loss is on the columns of some classes."""
    if classes is None:
        raise InputError("sampling_probability", "must come with the classes it belongs to", "classes=None")
    if label_smoothing:
        raise InputError("label_smoothing", "must be 0 where classes are given: it is spread over all", label_smoothing)
    check.tensor("logits", logits)
    if logits.ndim == 0:
        raise InputError("logits", "must be floating-point scores with a class dimension", _describe(logits))
    m = logits.shape[class_dim(logits)]
    return subset_of(target, classes, sampling_probability, vectors, num_columns=m, ignore_index=ignore_index)


def class_dim(logits: Tensor) -> int:
    """The dimension of the classes."""
    return 0 if logits.ndim == 1 else 1


def _mixture(of_labels: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor, reduction: str) -> Tensor:
    """Losses of the labels that have a probability, weighted with it; a mean is over all samples, as in torch."""
    dim = class_dim(logits)
    most = max(int((target != 0).sum(dim).max()), 1) if target.numel() else 1
    shares, labels = target.topk(most, dim)
    losses = torch.stack([of_labels(logits, label) for label in labels.unbind(dim)], dim)
    loss = (shares * losses).sum(dim)
    return {"mean": loss.mean, "sum": loss.sum}[reduction]() if reduction != "none" else loss


def _adjust(
    logits: Tensor,
    target: Tensor,
    shift: Tensor | None,
    class_scale: Tensor | None,
    label_scale: Tensor | None,
    margin: Tensor | None,
) -> Tensor:
    """Return Delta_y * (delta * z) + iota - m_y e_y at float32 or better; an ignored sample gets an arbitrary label."""
    num_classes = logits.shape[class_dim(logits)]
    for vector in (shift, class_scale, label_scale, margin):
        if vector is not None and (vector.ndim != 1 or vector.numel() != num_classes):
            raise ValueError("a vector does not fit the logits")
    if logits.dtype in _HALF:
        logits = logits.float()
    if logits.ndim > 2:
        columns = (-1, *[1] * (logits.ndim - 2))
        shift, class_scale = (None if vector is None else vector.view(columns) for vector in (shift, class_scale))
    if label_scale is not None or margin is not None:
        labels = target.long().clamp(0, num_classes - 1)
    factor = class_scale
    if label_scale is not None:
        of_label = _at_labels(label_scale, labels)
        factor = of_label if class_scale is None else of_label * class_scale
    if factor is not None and shift is not None and logits.numel() > MEMORY_BOUND:
        logits = torch.addcmul(shift, logits, factor)
    else:
        logits = logits if factor is None else logits * factor
        logits = logits if shift is None else logits + shift
    if margin is not None:
        dim = class_dim(logits)
        at_label = _at_labels(margin.to(logits.dtype), labels)
        logits = logits.scatter_add(dim, labels.unsqueeze(dim), -at_label)
    return logits


def _at_labels(vector: Tensor, labels: Tensor) -> Tensor:
    """Return the entry of every sample's label, broadcasting along the classes."""
    if labels.ndim == 1:
        return vector.index_select(0, labels).unsqueeze(1)
    return vector[labels.unsqueeze(min(labels.ndim, 1))]


def _as_cross_entropy(loss: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    """Return a loss computed at a higher precision than that of the logits in the dtype of ``F.cross_entropy``."""
    if not logits.is_floating_point():
        raise InputError("logits", "must be floating-point scores", _describe(logits))
    device = logits.device.type
    if logits.dtype in _HALF and torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return loss.float()
    return loss.to(torch.promote_types(logits.dtype, target.dtype))


def _check_fit(logits: Tensor, target: Tensor, vectors: dict[str, Tensor | None]) -> None:
    """Refuse inputs that do not fit one another, in words; called once they have failed, for it takes its time."""
    check.tensor("logits", logits)
    check.tensor("target", target)
    for name, vector in vectors.items():
        check.tensor(name, vector, optional=True)
        if vector is not None and vector.is_complex():
            raise InputError(name, "must hold real numbers", _describe(vector))
    if logits.ndim == 0 or not logits.is_floating_point():
        raise InputError("logits", "must be floating-point scores with a class dimension", _describe(logits))
    dim = class_dim(logits)
    for name, vector in vectors.items():
        if vector is not None and vector.ndim != 1:
            raise InputError(name, "must have shape (C,)", _describe(vector))
        if vector is not None and vector.shape[0] != logits.shape[dim]:
            raise wrong_classes(logits, vector.shape[0], name)
    if logits.shape[dim] == 0:
        raise InputError("logits", f"must have at least one class in dimension {dim}", _describe(logits))
    index_shape = logits.shape[:dim] + logits.shape[dim + 1 :]
    is_index = target.shape == index_shape and target.dtype in (torch.int64, torch.uint8)
    is_probability = target.shape == logits.shape and target.is_floating_point()
    if not (is_index or is_probability):
        raise InputError(
            "target",
            f"must hold class indices (int64 or uint8) of shape {tuple(index_shape)} or class probabilities "
            f"(floating-point) of shape {tuple(logits.shape)}",
            _describe(target),
        )
    for name, given in {"target": target, **vectors}.items():
        check.same_place(name, given, "logits", logits)


def _check_options(ignore_index: int, label_smoothing: float, reduction: str) -> None:
    index_label("ignore_index", ignore_index)
    number("label_smoothing", label_smoothing, minimum=0, maximum=1)
    choice("reduction", reduction, REDUCTIONS)


def index_label(name: str, value: int) -> int:
    """A class index, or any other whole number that torch takes for one."""
    return whole_number(name, value, minimum=-(2**63), maximum=2**63 - 1)


def labels_out_of_range(num_classes: int, target: Tensor, ignore_index: int) -> str:
    """What to say of class indices of which one is out of range."""
    labels = target[target != ignore_index]
    return (
        f"target must hold class indices in 0..{num_classes - 1} "
        f"(or ignore_index = {ignore_index}), got indices from {int(labels.min())} to {int(labels.max())}"
    )


def wrong_classes(logits: Tensor, num_classes: int, source: str) -> InputError:
    """The error of logits that have other classes than what they meet."""
    dim = class_dim(logits)
    return InputError(
        "logits", f"must have {num_classes} classes in dimension {dim}, as {source} has", _describe(logits)
    )


def _describe(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)}"
