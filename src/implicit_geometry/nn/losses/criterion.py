"""The loss of a parameterization as a module: ``torch.nn.CrossEntropyLoss`` with per-class vectors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from implicit_geometry._validate import Floats, InputError, choice, number, shown
from implicit_geometry.counts import ClassCounts
from implicit_geometry.nn import check
from implicit_geometry.nn.losses.exact import corrections, recast, restored
from implicit_geometry.nn.losses.state import Identity, readable_state
from implicit_geometry.nn.losses.vs_loss import REDUCTIONS, class_dim, index_label, vs_loss, wrong_classes
from implicit_geometry.parameterization import NEUTRAL, Parameterization
from implicit_geometry.rules import make_parameterization


class VSLoss(nn.CrossEntropyLoss):
    """The loss of a :class:`~implicit_geometry.parameterization.Parameterization`: :func:`vs_loss` with its vectors.

    Vectors that are not neutral are buffers, which follow ``.to()``; the others are None. The exact float64 values stay
    beside them, so that the loss has the precision of the logits: float64 logits give a float64 loss also where the
    buffers are float32. Entries that are loaded, set or trained count as they are.

    Its state has the same keys whatever the values: the five vectors, ``counts`` and ``identity``, which says what the
    loss was made of. Loading the state of a loss of another rule, other counts or another class order warns and
    says so, and is an error where ``load_state_dict`` is strict.

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
        if not isinstance(parameterization, Parameterization):
            kind = type(parameterization).__name__
            raise InputError("parameterization", "must be a Parameterization (a rule of the counts returns one)", kind)
        super().__init__(
            ignore_index=index_label("ignore_index", ignore_index),
            reduction=choice("reduction", reduction, REDUCTIONS),
            label_smoothing=number("label_smoothing", label_smoothing, minimum=0, maximum=1),
        )
        self.num_classes = parameterization.num_classes
        self.identity = Identity.of(parameterization)
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

    @classmethod
    def from_rule(
        cls,
        rule: str,
        counts: ClassCounts | ArrayLike,
        *,
        reduction: str = "mean",
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        **hyperparameters: Any,
    ) -> Self:
        """The loss of a rule by name.

        Args:
            rule: one that :func:`implicit_geometry.rules.find_rule` takes.
            counts: samples per class of the training set.
            reduction: as for the class, and so are the next four.
            ignore_index: class index of samples that do not count.
            label_smoothing: share of the target spread evenly over the classes.
            device: where the buffers live.
            dtype: of the buffers.
            **hyperparameters: of the rule, such as ``gamma``.

        Raises:
            InputError: an unknown rule, hyperparameters that it does not take, or what the class refuses.

        Example:
            >>> VSLoss.from_rule("cdt", [90, 10], gamma=0.5).parameterization == VSLoss.from_rule(
            ...     "vs", [90, 10], gamma=0.5, tau=0.0
            ... ).parameterization
            True
        """
        values = ClassCounts(counts)
        loss = cls(
            make_parameterization(rule, values, **hyperparameters),
            reduction=reduction,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            device=device,
            dtype=dtype,
        )
        loss.identity = replace(loss.identity, rule=rule, hyperparameters=hyperparameters, counts=values)
        return loss

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of a batch; shapes and errors as in :func:`vs_loss`."""
        if not isinstance(logits, Tensor):
            check.tensor("logits", logits)
        if logits.ndim == 0 or logits.shape[class_dim(logits)] != self.num_classes:
            raise wrong_classes(logits, self.num_classes, "parameterization")
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

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Save all five vectors, neutral ones too, and what the loss was made of."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, neutral in NEUTRAL.items():
            saved = destination.pop(prefix + name, None)
            destination[prefix + name] = torch.full((self.num_classes,), neutral) if saved is None else saved
        destination.update({prefix + name: tensor for name, tensor in self.identity.to_tensors().items()})

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Load what :meth:`_save_to_state_dict` saved, or, with a warning, the vectors that earlier versions did."""
        state = readable_state(self, state_dict, prefix)
        for difference in state.differences:
            warnings.warn(difference, stacklevel=2)
            if state.tells_its_loss:  # torch raises for unexpected keys where loading is strict
                unexpected_keys.append(f"{prefix}identity ({difference})")
        for name in state.vectors:
            if getattr(self, name) is None and state.tells_its_loss:
                place = self._place()
                self._buffers[name] = torch.full((self.num_classes,), NEUTRAL[name], device=place)
        super()._load_from_state_dict(
            {prefix + name: vector for name, vector in state.vectors.items()},
            prefix,
            local_metadata,
            strict,
            missing_keys,
            unexpected_keys,
            error_msgs,
        )

    def _place(self) -> torch.device | None:
        """Where the vectors are; None where all of them are neutral."""
        return next((buffer.device for buffer in self.buffers()), None)

    def extra_repr(self) -> str:
        """Return the number of classes, the vectors that are not neutral, and the options."""
        vectors = ", ".join(name for name in NEUTRAL if getattr(self, name) is not None) or "none"
        return (
            f"num_classes={self.num_classes}, vectors: {vectors}, reduction={self.reduction!r}, "
            f"ignore_index={self.ignore_index}, label_smoothing={self.label_smoothing:g}"
        )


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
