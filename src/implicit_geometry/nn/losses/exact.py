"""Exact values beside buffers of less precision, so that a loss has the precision of its logits.

A module's buffers are float32 by default, and must stay so to move to devices without float64. What rounding took away
stands beside them, on their device where it has float64. It counts for the entries that still are the rounded exact
values: an entry that was loaded or set since then is taken as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from implicit_geometry._validate import Floats

_LOGITS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_NO_FLOAT64 = ("mps",)


class Correction(NamedTuple):
    """What a buffer lacks of the exact values at a wider dtype."""

    rounded: Tensor
    """The exact values in the buffer's dtype."""
    rest: Tensor
    """What rounding took away, in the wider dtype (0 where the rounded value overflows)."""

    def of(self, buffer: Tensor) -> Tensor:
        """The buffer at the wider dtype; gradients and tangents are those of the buffer."""
        return buffer + self.rest * (buffer == self.rounded)


def corrections(
    exact: Mapping[str, Floats], buffers: Mapping[str, Tensor | None]
) -> dict[torch.dtype, dict[str, Correction]]:
    """By dtype of the logits, the corrections of the buffers that have less precision than the loss of such logits.

    Args:
        exact: float64 values by name.
        buffers: the same rounded, by name; other entries do not matter.
    """
    found: dict[torch.dtype, dict[str, Correction]] = {}
    for logits in _LOGITS:
        precision = torch.promote_types(logits, torch.float32)
        for name, values in exact.items():
            buffer = buffers.get(name)
            if buffer is None or not buffer.is_floating_point() or _without(buffer.device, precision):
                continue
            if torch.finfo(buffer.dtype).eps > torch.finfo(precision).eps:
                found.setdefault(logits, {})[name] = _correction(torch.tensor(values), buffer, precision)
    return found


def restored(exact: Floats, buffer: Tensor) -> Tensor:
    """A buffer's values in float64 on the host: the exact ones where it holds them rounded."""
    values, host = torch.tensor(exact), buffer.detach().cpu()
    return torch.where(host == values.to(host.dtype), values, host.double())


def recast(exact: Floats, before: Tensor, after: Tensor) -> Tensor:
    """A buffer after a cast, rounded from the exact values where it held them before (or nothing, on ``meta``)."""
    if after.is_meta or not after.is_floating_point() or (after.dtype == before.dtype and not before.is_meta):
        return after
    values = torch.tensor(exact) if before.is_meta else restored(exact, before)
    return values.to(after.dtype).to(after.device)


def _correction(exact: Tensor, buffer: Tensor, precision: torch.dtype) -> Correction:
    rounded = exact.to(buffer.dtype)
    rest = torch.where(rounded.isfinite(), exact - rounded, 0).to(precision)
    return Correction(rounded.to(buffer.device), rest.to(buffer.device))


def _without(device: torch.device, precision: torch.dtype) -> bool:
    return precision == torch.float64 and device.type in _NO_FLOAT64
