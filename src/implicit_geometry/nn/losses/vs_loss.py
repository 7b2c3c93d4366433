"""Cross-entropy with per-class vectors, to the contract of ``torch.nn.CrossEntropyLoss``.

The sign and scale conventions are those of :mod:`implicit_geometry.parameterization`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from implicit_geometry._validate import Floats, InputError, choice, number, shown, whole_number
from implicit_geometry.nn import check
from implicit_geometry.nn.losses.exact import corrections, recast, restored
from implicit_geometry.parameterization import NEUTRAL, Parameterization

_HALF = (torch.float16, torch.bfloat16)
_REDUCTIONS = ("mean", "sum", "none")
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
) -> Tensor:
    """Cross-entropy of adjusted logits: CE, wCE, LA, CDT, LDT, VS, LDAM and their mixtures.

    With logits z, label y, omega = ``weight``, iota = ``shift``, delta = ``class_scale``, Delta = ``label_scale`` and
    m = ``margin``, the loss of a sample is

        l(z, y) = -omega_y * log softmax(Delta_y * (delta * z) + iota - m_y e_y)_y

    A vector left out is neutral and costs nothing; without any, the result is ``F.cross_entropy``, bit for bit.
    Half-precision logits are adjusted in float32. Gradients flow to the logits and to every vector but ``weight``.

    Args:
        logits: unnormalised scores, shape (C,), (N, C) or (N, C, d1, ...).
        target: class indices, the shape of ``logits`` without C, or class probabilities, the shape of ``logits``.
        weight: factor of the loss of each label, shape (C,).
        shift: added to the logits, shape (C,).
        class_scale: factor of the logit of each class, shape (C,).
        label_scale: factor of all logits of a sample by its label, shape (C,).
        margin: subtracted from the logit of the label, shape (C,).
        ignore_index: class index of samples that count neither in the loss nor in its gradient.
        label_smoothing: share in [0, 1] of the target spread evenly over the classes; it acts on the adjusted logits.
        reduction: ``"mean"`` (divides by the sum of the samples' weights, as ``F.cross_entropy`` does), ``"sum"`` or
            ``"none"``.

    Returns:
        The loss, in the dtype ``F.cross_entropy`` gives for these logits. Shape (), or for ``"none"`` that of
        ``logits`` without C.

    Raises:
        InputError: an argument is no tensor or on another device, ``logits`` lack a class, ``target`` has a wrong shape
            or dtype, class probabilities meet ``label_scale`` or ``margin``, which need a label, or an option is out of
            range.
        IndexError: on a CPU, as in ``F.cross_entropy``: a class index is neither ``ignore_index`` nor in 0..C-1.

    Source: Kini et al. (2021), Eq. (2), with the label-dependent temperatures of Behnia et al. (2023), Eq. (3).

    Example:
        >>> logits, target = torch.tensor([[2.0, 0.0]]), torch.tensor([1])
        >>> vs_loss(logits, target, class_scale=torch.tensor([0.5, 1.0]), shift=torch.tensor([-1.0, 0.0]))
        tensor(0.6931)
    """
    if not (isinstance(label_smoothing, float) and 0 <= label_smoothing <= 1):
        number("label_smoothing", label_smoothing, minimum=0, maximum=1)  # torch takes NaN for none
    vectors = (shift, class_scale, label_scale, margin)
    try:
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
            raise IndexError(_out_of_range(logits, target, ignore_index)) from error
        raise
    return loss if adjusted.dtype == logits.dtype else _as_cross_entropy(loss, logits, target)


class VSLoss(nn.Module):
    """The loss of a :class:`~implicit_geometry.parameterization.Parameterization`: :func:`vs_loss` with its vectors.

    Vectors that are not neutral are buffers, which follow ``.to()`` and stand in ``state_dict``; the others are None.
    The exact float64 values stay beside them, so that the loss has the precision of the logits: float64 logits give a
    float64 loss also where the buffers are float32. Entries that are loaded, set or trained count as they are.

    Args:
        parameterization: the per-class vectors, as a rule of :mod:`implicit_geometry.rules` returns them.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``, as in :func:`vs_loss`.
        ignore_index: class index of samples that do not count.
        label_smoothing: share in [0, 1] of the target spread evenly over the classes.
        device: where the buffers live.
        dtype: of the buffers. By default the default dtype, but at least float32.

    Raises:
        InputError: ``parameterization`` is none or does not fit ``dtype``, or an option is out of range.

    Example:
        >>> from implicit_geometry.rules import logit_adjusted
        >>> VSLoss(logit_adjusted([75, 25]), reduction="none")(torch.zeros(2, 2), torch.tensor([0, 1]))
        tensor([0.2877, 1.3863])
    """

    weight: Tensor | None
    shift: Tensor | None
    class_scale: Tensor | None
    label_scale: Tensor | None
    margin: Tensor | None

    def __init__(
        self,
        parameterization: Parameterization,
        *,
        reduction: str = "mean",
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(parameterization, Parameterization):
            kind = type(parameterization).__name__
            raise InputError("parameterization", "must be a Parameterization (a rule of the counts returns one)", kind)
        self.num_classes = parameterization.num_classes
        self.reduction = choice("reduction", reduction, _REDUCTIONS)
        self.ignore_index = _index("ignore_index", ignore_index)
        self.label_smoothing = number("label_smoothing", label_smoothing, minimum=0, maximum=1)
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise InputError("dtype", "must be a floating torch.dtype", shown(dtype)[:60])
        precision = dtype or torch.promote_types(torch.get_default_dtype(), torch.float32)
        place = None if device is None else check.device("device", device)
        for name in NEUTRAL:
            values = None if parameterization.is_neutral(name) else _tensor(parameterization, name, precision, place)
            self.register_buffer(name, values)
        kept = [name for name, values in self._buffers.items() if values is not None]
        self._exact: dict[str, Floats] = {name: getattr(parameterization, name) for name in kept}
        self._corrections = corrections(self._exact, self._buffers)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of a batch; shapes and errors as in :func:`vs_loss`."""
        if not isinstance(logits, Tensor):
            check.tensor("logits", logits)
        if logits.ndim == 0 or logits.shape[_class_dim(logits)] != self.num_classes:
            raise _wrong_classes(logits, self.num_classes, "parameterization")
        return vs_loss(
            logits,
            target,
            **self.vectors(logits.dtype),
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            reduction=self.reduction,
        )

    def vectors(self, dtype: torch.dtype) -> dict[str, Tensor | None]:
        """The five vectors for logits of a dtype, by name: the buffers, or what took their places; None where neutral.

        Buffers of less precision than the loss of such logits come with the digits that they lack.
        """
        wanted = self._corrections.get(dtype)
        if wanted is None and self._buffers.keys() == NEUTRAL.keys():
            return self._buffers
        vectors: dict[str, Tensor | None] = {name: getattr(self, name) for name in NEUTRAL}
        for name, correction in (wanted or {}).items():
            buffer = self._buffers.get(name)
            if buffer is not None:
                vectors[name] = correction.of(buffer)
        return vectors

    @property
    def parameterization(self) -> Parameterization:
        """The loss as it is now, with what was loaded, set or learnt: for theory and measurements.

        Raises:
            InputError: a weight or scale that was loaded, set or learnt is not positive.

        Example:
            >>> loss = Parameterization(shift=[0.1, 0.2])
            >>> VSLoss(loss).parameterization == loss
            True
        """
        vectors = {}
        for name in NEUTRAL:
            vector = getattr(self, name)
            if vector is not None:
                is_exact = name in self._exact and name in self._buffers
                values = restored(self._exact[name], vector) if is_exact else vector.detach().cpu().double()
                vectors[name] = values.numpy()
        return Parameterization(**vectors) if vectors else Parameterization.neutral(self.num_classes)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> VSLoss:
        """Follow a move or a cast, after which the buffers are the exact values rounded once."""
        before = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, values in self._exact.items():
            old, new = before.get(name), self._buffers.get(name)
            if old is not None and new is not None:
                self._buffers[name] = recast(values, old, new)
        self._corrections = corrections(self._exact, self._buffers)
        return self

    def extra_repr(self) -> str:
        """Return the number of classes, the vectors that are not neutral, and the options."""
        vectors = ", ".join(name for name in NEUTRAL if getattr(self, name) is not None) or "none"
        return (
            f"num_classes={self.num_classes}, vectors: {vectors}, reduction={self.reduction!r}, "
            f"ignore_index={self.ignore_index}, label_smoothing={self.label_smoothing:g}"
        )


def _class_dim(logits: Tensor) -> int:
    return 0 if logits.ndim == 1 else 1


def _adjust(
    logits: Tensor,
    target: Tensor,
    shift: Tensor | None,
    class_scale: Tensor | None,
    label_scale: Tensor | None,
    margin: Tensor | None,
) -> Tensor:
    """Return Delta_y * (delta * z) + iota - m_y e_y at float32 or better; an ignored sample gets an arbitrary label."""
    num_classes = logits.shape[_class_dim(logits)]
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
        dim = _class_dim(logits)
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
    dim = _class_dim(logits)
    for name, vector in vectors.items():
        if vector is not None and vector.ndim != 1:
            raise InputError(name, "must have shape (C,)", _describe(vector))
        if vector is not None and vector.shape[0] != logits.shape[dim]:
            raise _wrong_classes(logits, vector.shape[0], name)
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
    if is_probability and not (vectors["label_scale"] is vectors["margin"] is None):
        raise InputError(
            "target", "must hold class indices, since label_scale and margin depend on the label", _describe(target)
        )
    for name, given in {"target": target, **vectors}.items():
        check.same_place(name, given, "logits", logits)


def _check_options(ignore_index: int, label_smoothing: float, reduction: str) -> None:
    _index("ignore_index", ignore_index)
    number("label_smoothing", label_smoothing, minimum=0, maximum=1)
    choice("reduction", reduction, _REDUCTIONS)


def _index(name: str, value: int) -> int:
    return whole_number(name, value, minimum=-(2**63), maximum=2**63 - 1)


def _out_of_range(logits: Tensor, target: Tensor, ignore_index: int) -> str:
    labels = target[target != ignore_index]
    return (
        f"target must hold class indices in 0..{logits.shape[_class_dim(logits)] - 1} "
        f"(or ignore_index = {ignore_index}), got indices from {int(labels.min())} to {int(labels.max())}"
    )


def _wrong_classes(logits: Tensor, num_classes: int, source: str) -> InputError:
    dim = _class_dim(logits)
    return InputError(
        "logits", f"must have {num_classes} classes in dimension {dim}, as {source} has", _describe(logits)
    )


def _describe(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)}"


def _tensor(
    parameterization: Parameterization, name: str, dtype: torch.dtype, device: torch.device | str | int | None
) -> Tensor:
    values: Floats = getattr(parameterization, name)
    limits = torch.finfo(dtype)
    smallest = limits.smallest_normal if NEUTRAL[name] == 1 else 0.0
    if np.abs(values).max() > limits.max or np.abs(values).min() < smallest:
        raise InputError(
            "parameterization",
            f"must fit {dtype}",
            f"a {name} from {values.min():g} to {values.max():g}; use a wider dtype or milder exponents",
        )
    return torch.tensor(values, dtype=dtype, device=device)
