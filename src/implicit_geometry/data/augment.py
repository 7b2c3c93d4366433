"""Random shifts and mirror images of training batches.

torchvision's transforms draw one offset for a whole batch, or work image by image; here every image of a batch has its
own in one gather, and the base of training needs no torchvision.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Augmentation:
    """Shift every image of a batch by its own random offset, and mirror it with probability 1/2.

    The shift is a crop of the image padded with zeros (the mean, for standardised images) on every side. Offsets come
    from torch's global generator on the CPU, so that a seed gives the same ones on every device.

    Args:
        padding: largest shift in pixels, both ways.
        mirror: whether to mirror left and right.

    Example:
        >>> batch = torch.arange(18.0).reshape(2, 1, 3, 3)
        >>> torch.equal(Augmentation(padding=0, mirror=False)(batch), batch)
        True
    """

    padding: int
    mirror: bool

    def __call__(self, inputs: Tensor) -> Tensor:
        """Augmented copies of images (n, channels, height, width)."""
        n, _, height, width = inputs.shape
        top, left = torch.randint(2 * self.padding + 1, (2, n, 1))
        rows = top + torch.arange(height)  # (n, height)
        columns = left + torch.arange(width)  # (n, width)
        if self.mirror:
            columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
        padded = pad(inputs, (self.padding,) * 4).permute(0, 2, 3, 1)
        sample = torch.arange(n)[:, None, None]
        chosen = padded[tuple(index.to(inputs.device) for index in (sample, rows[:, :, None], columns[:, None, :]))]
        return chosen.permute(0, 3, 1, 2).contiguous()


def standard_augmentation(input_shape: tuple[int, ...], *, mirror: bool) -> Augmentation:
    """The usual augmentation of small images: shifts up to 1/8 of the side (4 pixels of 32), and mirror images.

    Args:
        input_shape: (channels, height, width).
        mirror: whether a mirrored image keeps its class (not so for digits).

    Example:
        >>> standard_augmentation((3, 32, 32), mirror=True)
        Augmentation(padding=4, mirror=True)
    """
    return Augmentation(padding=round(min(input_shape[1:]) / 8), mirror=mirror)
