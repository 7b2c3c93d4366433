"""The full measurement of a network on a data set: two passes that must agree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from implicit_geometry._validate import InputError, choice, instance, whole_number
from implicit_geometry.frames import FRAMES, Frame, leading_rows
from implicit_geometry.measurement import Measurement, OnePass, refuses_replaced_arguments
from implicit_geometry.nn import check
from implicit_geometry.nn.measuring.head_hook import find_head, head_outputs, watched
from implicit_geometry.nn.measuring.metric import GeometryMetric
from implicit_geometry.parameterization import Parameterization

__all__ = ["Measurement", "measure"]


@refuses_replaced_arguments
def measure(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    head: str | None = None,
    ignore_index: int = -100,
    device: torch.device | str | None = None,
    parameterization: Parameterization | None = None,
    frame: Frame = "projected",
) -> Measurement:
    """Measure the geometry, collapse and accuracy of a network in two passes over a data set.

    The model runs in eval mode without gradients, and is left as it was found. The class means come from the first
    pass; scatter about them, NC1, accuracy and agreement with the nearest class mean from the second, which must
    reproduce the first: equal counts, and class means equal up to the rounding of the embeddings' dtype.

    Args:
        model: maps a batch of inputs to logits and runs its head once on the way.
        loader: batches ``(inputs, labels, ...)``, or dictionaries with ``"labels"``, iterated twice. In any order, but
            the same samples both times. Labels per token or per pixel are taken as samples of their own.
        head: dotted name of the last linear layer or 1 x 1 convolution, whose input is the embedding; its weight (k, d)
            is the classifier. Where left out it is found by itself, if there is one with as many outputs as
            ``parameterization`` has classes.
        ignore_index: label of samples that do not count.
        device: where batches go; that of the head's weight where left out.
        parameterization: the training loss, whose scales say what of the embeddings it sees; plain cross-entropy where
            left out.
        frame: of the class means (:mod:`implicit_geometry.frames`): ``"projected"``, what the logits see of them, or
            ``"centred"``, as the paper compares them.

    Raises:
        InputError: an argument has the wrong type, no such frame or head, batches of another form, a class without
            samples, embeddings that are not finite, or passes that differ.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
        >>> model[1].weight = nn.Parameter(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        >>> batches = [(torch.tensor([[2.0, 5.0], [-2.0, 5.0]]), torch.tensor([0, 1]))]
        >>> measure(model, batches, head="1")
        Measurement(num_classes=2, feature_dim=2)
    """
    check.module("model", model)
    if not isinstance(loader, Iterable) and not hasattr(loader, "__getitem__"):
        raise InputError("loader", "must be an iterable of batches (inputs, labels)", type(loader).__name__)
    if parameterization is not None:
        instance("parameterization", parameterization, Parameterization)
    choice("frame", frame, FRAMES)
    found = find_head(model, head, None if parameterization is None else parameterization.num_classes)
    layer, weight = found.layer, found.weight
    ignored = whole_number("ignore_index", ignore_index, minimum=-(2**63), maximum=2**63 - 1)
    place = weight.device if device is None else check.device("device", device)
    home = torch.device("cpu") if place.type == "mps" else place  # mps has no float64
    first, second = (GeometryMetric(weight.shape[0], weight.shape[1], sync_on_compute=False).to(home) for _ in range(2))
    with watched(model, layer) as calls:
        for embeddings, labels, _ in head_outputs(model, found, loader, calls, place, home, ignored):
            first.update(embeddings, labels)
        measurement = first.compute(weight, bias=found.bias, parameterization=parameterization, frame=frame)
        scatter = Scatter(measurement, home)
        for embeddings, labels, logits in head_outputs(model, found, loader, calls, place, home, ignored):
            second.update(embeddings, labels)
            scatter.update(embeddings, labels, logits)
    _check_repeated(first, second, torch.finfo(embeddings.dtype).eps)
    return scatter.added_to(measurement)


class Scatter:
    """Sums over a second pass, about the class means of the first: one row per class, one column per quantity."""

    def __init__(self, measurement: OnePass, device: torch.device) -> None:
        means = measurement.class_means
        middle = means.mean(axis=0)
        singular, basis = leading_rows(means - middle, measurement.num_classes - 1)
        self.means, self.middle, self.singular, self.basis, self.mean_coordinates = (
            torch.tensor(array, device=device) for array in (means, middle, singular, basis, (means - middle) @ basis.T)
        )
        self.totals = torch.zeros(measurement.num_classes, 4, dtype=torch.float64, device=device)

    def update(self, embeddings: Tensor, labels: Tensor, logits: Tensor) -> None:
        """Add squared distance to the class mean, the same whitened by S_B, agreement with nearest mean, accuracy."""
        rows, labels = embeddings.to(torch.float64), labels.to(torch.int64)
        # between the class means only: the distance orthogonal to their span is the same for all
        coordinates = (rows - self.middle) @ self.basis.T  # (batch, r)
        deviation = (coordinates - self.mean_coordinates[labels]) / self.singular
        closeness = coordinates @ self.mean_coordinates.T - self.mean_coordinates.square().sum(1) / 2  # (batch, k)
        predicted = logits.argmax(1)
        columns = (
            (rows - self.means[labels]).square().sum(1),
            deviation.square().sum(1),
            predicted == closeness.argmax(1),
            predicted == labels,
        )
        self.totals.index_add_(0, labels, torch.stack([column.double() for column in columns], 1))

    def added_to(self, measurement: OnePass) -> Measurement:
        """The measurement with what the second pass found."""
        totals = self.totals.cpu().numpy()
        variance, nc1, _, accuracy = (totals / measurement.counts.values[:, None]).T
        return Measurement.of(
            measurement,
            variance,
            class_nc1=nc1 if self.singular.numel() else np.full_like(nc1, np.nan),
            class_accuracy=accuracy,
            centre_agreement=float(totals[:, 2].sum() / measurement.counts.num_samples),
        )


def _check_repeated(first: GeometryMetric, second: GeometryMetric, rounding: float) -> None:
    """Refuse passes that differ by more than rounding^(2/3) of the embeddings' root mean square (2e-5 in float32).

    That is far above what summation order and batch composition change, and below what sampling noise does.
    """
    before, after = first.counts.tolist(), second.counts.tolist()
    for label, (count, again) in enumerate(zip(before, after, strict=True)):
        if count != again:
            raise InputError(
                "loader",
                "must give the same samples in both passes",
                f"{count} and then {again} of class {label}; use one that can be read twice, without random "
                "sampling and without drop_last",
            )
    size = (first.class_squares * first.counts).sqrt()
    change = torch.linalg.vector_norm(second.class_sums - first.class_sums, dim=1)
    ratio = torch.where(size > 0, change / size, change)[: first.num_classes]
    worst = int(ratio.argmax())
    limit = rounding ** (2 / 3)
    if not float(ratio[worst]) <= limit:
        raise InputError(
            "model and loader",
            "must give the same embeddings in both passes",
            f"a mean of class {worst} that moved by {float(ratio[worst]):.1e} of its embeddings' size, where "
            f"rounding moves it by less than {limit:.1e}; switch off random augmentation, and dropout that "
            "ignores eval()",
        )
