"""Networks of ``features`` and a linear head called ``fc``, without a bias unless one is asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from implicit_geometry._validate import choice, flag, whole_number
from implicit_geometry.nn.check import dimension, module, refuse_too_many_entries

LARGEST_DEPTH = 10_000
"""Hidden layers of an :func:`mlp`."""

NORMALIZATIONS: dict[str, tuple[Callable[[int], nn.Module], ...]] = {
    "batch": (nn.BatchNorm1d,),
    "layer": (nn.LayerNorm,),
    "none": (),
}
"""What an :func:`mlp` can have before a ReLU."""


def with_head(features: nn.Module, feature_dim: int, num_classes: int, *, head_bias: bool = False) -> nn.Sequential:
    """Put a linear head on features.

    Args:
        features: maps inputs to embeddings of shape (N, feature_dim).
        feature_dim: embedding dimension d.
        num_classes: k >= 2.
        head_bias: whether the head has a bias.

    Returns:
        ``nn.Sequential`` of ``features`` and ``fc``.

    Raises:
        InputError: ``features`` is no module, a size is not a positive whole number, there are fewer than two classes,
            the head has more than 2^33 entries, or ``head_bias`` is neither True nor False.

    Example:
        >>> with_head(nn.Identity(), 5, 3).fc
        Linear(in_features=5, out_features=3, bias=False)
    """
    module("features", features)
    d, k = dimension("feature_dim", feature_dim), dimension("num_classes", num_classes, minimum=2)
    refuse_too_many_entries("head (num_classes x feature_dim)", d * k)
    head = nn.Linear(d, k, bias=flag("head_bias", head_bias))
    return nn.Sequential(OrderedDict(features=features, fc=head))


def linear(in_features: int, num_classes: int, *, head_bias: bool = False) -> nn.Sequential:
    """A head alone, for inputs that are embeddings already.

    Args:
        in_features: size of a flattened input, the embedding dimension d.
        num_classes: k >= 2.
        head_bias: whether the head has a bias.

    Returns:
        ``nn.Sequential`` of ``features`` (inputs flattened) and ``fc``.

    Raises:
        InputError: a size is not a positive whole number, or the matrices have more than 2^33 entries.

    Example:
        >>> import torch
        >>> linear(64, 10)(torch.zeros(4, 64)).shape
        torch.Size([4, 10])
    """
    return with_head(nn.Flatten(), dimension("in_features", in_features), num_classes, head_bias=head_bias)


def mlp(
    in_features: int,
    num_classes: int,
    *,
    depth: int = 3,
    width: int = 256,
    normalization: str = "batch",
    head_bias: bool = False,
) -> nn.Sequential:
    """Multilayer perceptron with a normalisation before every ReLU, and a linear head.

    Args:
        in_features: size of a flattened input.
        num_classes: k >= 2.
        depth: hidden layers, >= 1.
        width: units of a hidden layer, the embedding dimension d.
        normalization: ``"batch"``, ``"layer"`` or ``"none"``.
        head_bias: whether the head has a bias.

    Returns:
        ``nn.Sequential`` of ``features`` (inputs flattened, embeddings of shape (N, width)) and ``fc``.

    Raises:
        InputError: a size is not a positive whole number, the matrices have more than 2^33 entries, or there is no such
            normalisation.

    Source: Behnia et al. (2023), Section 5 use ``depth=6, width=2048``.

    Example:
        >>> import torch
        >>> mlp(64, 10, depth=2, width=32)(torch.zeros(4, 8, 8)).shape
        torch.Size([4, 10])
    """
    size, hidden = dimension("in_features", in_features), dimension("width", width)
    number = whole_number("depth", depth, minimum=1, maximum=LARGEST_DEPTH)
    refuse_too_many_entries("mlp (in_features x width, then width x width)", hidden * (size + (number - 1) * hidden))
    norm = NORMALIZATIONS[choice("normalization", normalization, NORMALIZATIONS)]
    layers: list[nn.Module] = [nn.Flatten()]
    for _ in range(number):
        layers += [nn.Linear(size, hidden), *(layer(hidden) for layer in norm), nn.ReLU()]
        size = hidden
    return with_head(nn.Sequential(*layers), hidden, num_classes, head_bias=head_bias)


def resnet18(in_channels: int, num_classes: int, *, width: int = 64, head_bias: bool = False) -> nn.Sequential:
    """ResNet18 for small images: a 3x3 stem of stride 1 and no max-pool, so that 32x32 pixels end as 4x4.

    Args:
        in_channels: channels of an image.
        num_classes: k >= 2.
        width: channels of the first stage; the last has 8 times as many, the embedding dimension d.
        head_bias: whether the head has a bias.

    Returns:
        ``nn.Sequential`` of ``features`` (embeddings of shape (N, 8 * width)) and ``fc``.

    Raises:
        InputError: a size is not a positive whole number, or the matrices have more than 2^33 entries.

    Source: He et al. (2016), with the stem of their CIFAR networks; Behnia et al. (2023), Section 5.

    Example:
        >>> import torch
        >>> resnet18(1, 10, width=4)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """
    channels, colours = dimension("width", width), dimension("in_channels", in_channels)
    refuse_too_many_entries("resnet18 (2,727 x width^2 and its stem)", 2727 * channels**2 + 9 * colours * channels)
    stem = _convolution(colours, channels, 1)
    layers: list[nn.Module] = [stem, nn.BatchNorm2d(channels), nn.ReLU()]
    for stage in range(4):
        wider = channels if stage == 0 else 2 * channels
        layers += [_Block(channels, wider, wider // channels), _Block(wider, wider, 1)]
        channels = wider
    features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return with_head(features, channels, num_classes, head_bias=head_bias)


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(before, after, stride), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = _convolution(after, after, 1), nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if (before, stride) != (after, 1):
            self.shortcut = nn.Sequential(_convolution(before, after, stride, size=1), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(residual + self.shortcut(x))


def _convolution(before: int, after: int, stride: int, *, size: int = 3) -> nn.Conv2d:
    layer = nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
