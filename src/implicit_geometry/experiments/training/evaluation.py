"""Accuracies of a classifier, as work on label imbalance reports them.

Counts of hits by class are summed once and serve all eight accuracies, NaN where a group was not seen; torchmetrics
would need one metric for each, and gives 0 there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from implicit_geometry._validate import Ints
from implicit_geometry.counts import ClassCounts
from implicit_geometry.summary import accuracy_summary


def accuracies(predictions: Ints, labels: Ints, counts: ClassCounts) -> dict[str, float]:
    """The numbers of :func:`implicit_geometry.summary.accuracy_summary`.

    Args:
        predictions: class indices, shape (n,).
        labels: true classes, shape (n,).
        counts: training samples per class, which say what a majority is.

    Example:
        >>> accuracies(np.array([0, 0, 1]), np.array([0, 1, 1]), ClassCounts([9, 1]))["balanced"]
        0.75
    """
    seen = np.bincount(labels, minlength=counts.num_classes)
    return accuracy_summary(np.bincount(labels[predictions == labels], minlength=counts.num_classes), seen, counts)


def predictions(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Ints:
    """Predicted classes, in the order of the batches; the model is left in the mode it was in.

    Example:
        >>> predictions(nn.Identity(), [(torch.eye(3), torch.arange(3))]).tolist()
        [0, 1, 2]
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            found: list[Any] = [model(inputs.to(device)).argmax(dim=1).cpu().numpy() for inputs, _ in batches]
    finally:
        model.train(was_training)
    return np.concatenate(found)
