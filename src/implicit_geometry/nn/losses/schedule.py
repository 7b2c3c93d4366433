"""A loss that changes while a network trains: deferred re-weighting, or a ramp from one loss to another."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from implicit_geometry._validate import InputError, instance, whole_number
from implicit_geometry.nn.losses.criterion import VSLoss
from implicit_geometry.parameterization import NEUTRAL, Parameterization

_MOST_EPOCHS = 10**9


class DeferredLoss(nn.Module):
    """One loss until an epoch, another one from then on; with a ramp in between where one is asked for.

    Call :meth:`set_epoch` at the start of every epoch. The epoch stands in the state, so that a training that is taken
    up again goes on with the loss it had. Along a ramp weights and scales are interpolated in their logarithms, shifts
    and margins linearly.

    Args:
        parameterization: the loss in the end.
        start: number of epochs, counted from 0, of the first with it (or with the ramp to it).
        early: the loss before; plain cross-entropy by default. LDAM-DRW has ``ldam`` here, and its vectors with a
            weight in ``parameterization``.
        ramp: epochs that the change takes; 0 for at once.
        **options: those of :class:`~implicit_geometry.nn.VSLoss`.

    Raises:
        InputError: a loss is none, they have different numbers of classes, or a number of epochs is negative.

    Source: Cao et al. (2019), Section 3.3, for deferred re-weighting.

    Example:
        >>> from implicit_geometry.rules import weighted
        >>> criterion = DeferredLoss(weighted([90, 10]), start=80)
        >>> logits, target = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1])
        >>> criterion(logits, target)
        tensor(0.8133)
        >>> criterion.set_epoch(80)
        >>> criterion(logits, target)
        tensor(1.2133)
    """

    epoch: Tensor
    progress: float
    """How much of the change is done in this epoch, from 0 to 1."""

    def __init__(
        self,
        parameterization: Parameterization,
        *,
        start: int,
        early: Parameterization | None = None,
        ramp: int = 0,
        **options: Any,
    ) -> None:
        super().__init__()
        late = instance("parameterization", parameterization, Parameterization, "a rule of the counts returns one")
        first = Parameterization.neutral(late.num_classes) if early is None else early
        instance("early", first, Parameterization, "a rule of the counts returns one")
        if first.num_classes != late.num_classes:
            raise InputError("early", f"must cover the {late.num_classes} classes of the loss", first.num_classes)
        self.start = whole_number("start", start, maximum=_MOST_EPOCHS)
        self.ramp = whole_number("ramp", ramp, maximum=_MOST_EPOCHS)
        self.early, self.late = VSLoss(first, **options), VSLoss(late, **options)
        self._options = options
        self.register_buffer("epoch", torch.tensor(0))
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch starts, counted from 0."""
        number = whole_number("epoch", epoch, maximum=_MOST_EPOCHS)
        self.epoch.fill_(number)
        done = number - self.start
        self.progress = float(done >= 0) if self.ramp == 0 else min(max(done / self.ramp, 0.0), 1.0)
        self._on_the_ramp: dict[torch.device, VSLoss] = {}

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch in this epoch; shapes and errors as in :func:`~implicit_geometry.nn.vs_loss`."""
        return self.criterion(logits.device)(logits, target)  # type: ignore[no-any-return]

    def criterion(self, device: torch.device | str = "cpu") -> VSLoss:
        """The loss of this epoch, for logits on a device."""
        if self.progress in (0.0, 1.0):
            return self.late if self.progress else self.early
        place = torch.device(device)
        if place not in self._on_the_ramp:
            between = _between(self.early.parameterization, self.late.parameterization, self.progress)
            self._on_the_ramp[place] = VSLoss(between, **{**self._options, "device": place})
        return self._on_the_ramp[place]

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self.set_epoch(int(self.epoch))

    def extra_repr(self) -> str:
        """Return when the change starts and how long it takes."""
        return f"start={self.start}, ramp={self.ramp}, progress={self.progress:g}"


def _between(early: Parameterization, late: Parameterization, progress: float) -> Parameterization:
    """The loss at a share of the way: geometric for weights and scales, arithmetic for shifts and margins."""
    vectors = {}
    for name, neutral in NEUTRAL.items():
        first, last = getattr(early, name), getattr(late, name)
        geometric = neutral == 1
        if geometric:
            first, last = np.log(first), np.log(last)
        mean = (1 - progress) * first + progress * last
        vectors[name] = np.exp(mean) if geometric else mean
    return Parameterization(**vectors)
