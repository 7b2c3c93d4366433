"""Networks with a linear head called ``fc``."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from implicit_geometry._validate import whole_number


def mlp(in_features: int, num_classes: int, *, depth: int = 3, width: int = 256) -> nn.Sequential:
    """Multilayer perceptron with batch-norm, ReLU and a linear head without bias.

    Args:
        in_features: size of a flattened input.
        num_classes: k >= 2.
        depth: hidden layers, >= 1.
        width: units of a hidden layer, the embedding dimension d.

    Returns:
        ``nn.Sequential`` of ``features`` (inputs flattened, embeddings of shape (N, width)) and ``fc``.

    Raises:
        InputError: a size is not a positive whole number.

    Source: Behnia et al. (2023), Section 5 use ``depth=6, width=2048``.

    Example:
        >>> import torch
        >>> mlp(64, 10, depth=2, width=32)(torch.zeros(4, 8, 8)).shape
        torch.Size([4, 10])
    """
    size = whole_number("in_features", in_features, minimum=1)
    hidden = whole_number("width", width, minimum=1)
    layers: list[nn.Module] = [nn.Flatten()]
    for _ in range(whole_number("depth", depth, minimum=1)):
        layers += [nn.Linear(size, hidden), nn.BatchNorm1d(hidden), nn.ReLU()]
        size = hidden
    head = nn.Linear(hidden, whole_number("num_classes", num_classes, minimum=2), bias=False)
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers), fc=head))
