"""Checks of what torch is given, before it fails in words of its own, and of sizes, before memory is asked for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from implicit_geometry._validate import InputError, shown, whole_number

LARGEST_DIMENSION = 10**8
"""Of a vector of a network: features, embeddings or units."""

LARGEST_NUM_ENTRIES = 2**33
"""Of the matrices of a network or of a metric together: 32 GiB in float32, 64 GiB in float64."""


def dimension(name: str, value: Any, *, minimum: int = 1) -> int:
    """A size of a vector, or an error with its limits."""
    return whole_number(name, value, minimum=minimum, maximum=LARGEST_DIMENSION)


def refuse_too_many_entries(what: str, count: int) -> None:
    """Refuse matrices that take too much memory, before they do."""
    if count > LARGEST_NUM_ENTRIES:
        raise InputError(what, f"must have at most {LARGEST_NUM_ENTRIES:,} entries", f"{count:,}")


def tensor(name: str, value: Any, *, optional: bool = False) -> None:
    """Refuse what is no tensor."""
    if not (isinstance(value, Tensor) or (optional and value is None)):
        raise InputError(name, "must be a torch.Tensor", type(value).__name__)


def module(name: str, value: Any) -> None:
    """Refuse what is no module."""
    if not isinstance(value, nn.Module):
        raise InputError(name, "must be a torch.nn.Module", type(value).__name__)


def device(name: str, value: Any) -> torch.device:
    """A device that torch can allocate on."""
    try:
        place = torch.device(value)
        torch.empty(0, device=place)
    except (TypeError, ValueError, RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0][:80]
        raise InputError(name, "must be a device that torch can use", f"{shown(value)} ({reason})") from error
    return place


def same_place(name: str, value: Tensor | None, other: str, reference: Tensor) -> None:
    """Refuse a tensor on another device than a reference."""
    if value is not None and value.device != reference.device:
        raise InputError(name, f"must be on the device of {other}, {reference.device}", value.device)
