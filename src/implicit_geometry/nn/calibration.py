"""How right and how honest a classifier is: accuracy, log-likelihood, calibration, before and after a correction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from implicit_geometry._validate import Floats, instance, whole_number
from implicit_geometry.correction.logits import LogitCorrection
from implicit_geometry.correction.samples import finite_logits, whole_labels


@dataclass(frozen=True)
class Calibration:
    """Accuracy and calibration of class probabilities on samples that have the prior they are meant for.

    Attributes:
        accuracy: share of samples whose most probable class is right.
        balanced_accuracy: mean over the classes that occur of their accuracies.
        nll: mean negative log-likelihood, in nats; infinite where a class that occurred had probability 0.
        ece: expected calibration error, the mean distance of confidence and accuracy over bins of the confidence.
        brier: mean squared distance of the probabilities from the one-hot labels, in [0, 2].
    """

    accuracy: float
    balanced_accuracy: float
    nll: float
    ece: float
    brier: float


@dataclass(frozen=True)
class ReliabilityCurve:
    """Confidence and accuracy of samples, by bins of the confidence; bins without a sample are left out.

    Attributes:
        confidence: mean largest probability in each bin, shape (m,).
        accuracy: share of samples there whose most probable class is right, shape (m,).
        share: of all samples that are in the bin, shape (m,).
    """

    confidence: Floats
    accuracy: Floats
    share: Floats


def calibration(logits: Any, labels: Any, correction: LogitCorrection | None = None, *, bins: int = 15) -> Calibration:
    """Accuracy, log-likelihood, calibration error and Brier score of logits, plain or corrected.

    Args:
        logits: shape (n, k), an array or a tensor.
        labels: classes, shape (n,).
        correction: applied to the logits first.
        bins: of the confidence, of equal width.

    Raises:
        InputError: shapes do not fit, logits are not finite, or labels are out of range.

    Source: Guo et al. (2017), Eq. (3), for the calibration error, as torchmetrics computes it.

    Example:
        >>> found = calibration([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]], [0, 1, 1])
        >>> round(found.accuracy, 3), found.balanced_accuracy, round(found.nll, 3)
        (0.667, 0.75, 0.584)
    """
    probabilities, log_probabilities, truth = _predicted(logits, labels, correction)
    number_of_bins = whole_number("bins", bins, minimum=1, maximum=10_000)
    hit = probabilities.argmax(1) == truth
    seen = torch.bincount(truth, minlength=probabilities.shape[1])
    hits = torch.bincount(truth[hit], minlength=probabilities.shape[1])
    one_hot = F.one_hot(truth, probabilities.shape[1])
    error = multiclass_calibration_error(probabilities, truth, probabilities.shape[1], n_bins=number_of_bins)
    return Calibration(
        accuracy=float(hit.double().mean()),
        balanced_accuracy=float((hits / seen)[seen > 0].mean()),
        nll=float(F.nll_loss(log_probabilities, truth)),
        ece=float(error),
        brier=float((probabilities - one_hot).square().sum(1).mean()),
    )


def reliability(
    logits: Any, labels: Any, correction: LogitCorrection | None = None, *, bins: int = 15
) -> ReliabilityCurve:
    """The curve of a reliability diagram, with arguments and errors as in :func:`calibration`.

    Source: Guo et al. (2017), Fig. 1.

    Example:
        >>> reliability([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]], [0, 1, 1], bins=5).accuracy.tolist()
        [0.5, 1.0]
    """
    probabilities, _, truth = _predicted(logits, labels, correction)
    number_of_bins = whole_number("bins", bins, minimum=1, maximum=10_000)
    best = probabilities.max(1)
    confidence, hit = best.values.numpy(), (best.indices == truth).numpy()
    place = np.clip(np.ceil(confidence * number_of_bins).astype(np.int64) - 1, 0, number_of_bins - 1)
    samples = np.bincount(place, minlength=number_of_bins)
    some = samples > 0
    means = [np.bincount(place, values, number_of_bins)[some] / samples[some] for values in (confidence, hit)]
    return ReliabilityCurve(means[0], means[1], samples[some] / len(truth))


def _predicted(logits: Any, labels: Any, correction: LogitCorrection | None) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities, their logarithms, and labels, in float64 on the host."""
    values = finite_logits(logits)
    if correction is not None:
        instance("correction", correction, LogitCorrection, "logit_correction makes one")
    truth = torch.from_numpy(whole_labels(labels, *values.shape))
    scores = torch.from_numpy(values if correction is None else correction.apply(values))
    return scores.softmax(1), scores.log_softmax(1), truth
