"""Accuracies of a classifier, as work on label imbalance reports them.

Counts of hits by class are summed once and serve all eight accuracies, NaN where a group was not seen; torchmetrics
would need one metric for each, and gives 0 there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from implicit_geometry._validate import Floats, Ints
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
    return np.concatenate([logits.argmax(dim=1).cpu().numpy() for logits in _outputs(model, batches)])


def all_logits(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Floats:
    """The logits of all samples, shape (n, k), likewise."""
    return np.concatenate([logits.double().cpu().numpy() for logits in _outputs(model, batches)])


def _outputs(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for inputs, _ in batches:
                yield model(inputs.to(device))
    finally:
        model.train(was_training)
