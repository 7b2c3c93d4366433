"""What the Trainer's losses, metrics and callback share: which labels do not count, and those of a language model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100
"""The label of items that do not count, in the loss and in what the Trainer counts."""


def next_labels(labels: Tensor) -> Tensor:
    """The label of the next position at each; the last one has none."""
    shifted = labels.roll(-1, -1)
    shifted[..., -1] = IGNORED
    return shifted
