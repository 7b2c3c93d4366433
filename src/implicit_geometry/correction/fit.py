"""A correction from held-out data: how much of the prior to take away, and at which temperature."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from implicit_geometry._validate import Floats, InputError, instance
from implicit_geometry.correction.logits import LogitCorrection, logit_correction
from implicit_geometry.correction.samples import finite_logits, whole_labels
from implicit_geometry.counts import ClassCounts
from implicit_geometry.parameterization import Parameterization

_LEAST, _MOST = 1e-3, 1e3  # of the factor of logits that were divided by their standard deviation
_ALL_RIGHT = 1e-6  # mean negative log-likelihood below which no held-out sample is wrong
_MOST_STEPS, _CLOSE = 10_000, 1e-6  # of the EM algorithm; how far its likelihood per sample may be from the best


class NoFiniteTemperature(InputError):
    """Raised where held-out samples are classified so well that their likelihood has no maximum."""


def fit_logit_correction(
    logits: Any,
    labels: Any,
    counts: ClassCounts | ArrayLike,
    prior: str | ArrayLike = "balanced",
    *,
    parameterization: Parameterization | None = None,
    sampling: str | ArrayLike | None = None,
) -> LogitCorrection:
    """The correction with the tau and the temperature that fit held-out data best.

    They minimise the mean negative log-likelihood of the held-out samples, weighted so that their classes have the
    shares of ``prior``. It is convex in tau and 1 / temperature. Where all classes have one count, tau is 1.

    Args:
        logits: of held-out samples, shape (n, k), an array or a torch tensor.
        labels: their classes, shape (n,).
        counts: samples per class of the training set.
        prior: of the data that are to be classified, as in :func:`logit_correction`.
        parameterization: the loss, whose link is fitted; by default the plain logits are.
        sampling: as in :func:`logit_correction`.

    Raises:
        InputError: an argument is out of range, held-out samples of fewer than two classes have a share in ``prior``,
            or all of them are classified so well that no finite temperature is best (:class:`NoFiniteTemperature`).

    Example:
        >>> logits = [[2.0, 0.0], [1.0, 0.5], [0.9, 1.0], [1.0, 0.8], [0.2, 0.9]]
        >>> fit_logit_correction(logits, [0, 0, 0, 1, 1], [90, 10])
        LogitCorrection(num_classes=2, tau=0.184853, temperature=0.350029, affine)
    """
    start = logit_correction(counts, parameterization, "train", sampling=sampling)
    target = start.with_prior(prior)
    wanted, scores = target.prior, start.apply(finite_logits(logits))
    held_out = whole_labels(labels, *scores.shape)
    found = np.bincount(held_out, minlength=start.num_classes)
    share = np.where(found > 0, wanted, 0.0)
    if np.count_nonzero(share) < 2:
        raise InputError("labels", "must hold at least two classes that have a share in prior", np.flatnonzero(share))
    weight = (share / np.maximum(found, 1))[held_out] / share.sum()
    taken = np.log(start.training_prior)
    fixed = replace(target, tau=0.0).prior_shift
    scale = float(scores.std()) or 1.0
    one_count = taken.min() == taken.max()

    def loss(parameters: Floats) -> tuple[float, Floats]:
        """Mean negative log-likelihood at (1 / temperature times scale, tau), and its gradient."""
        likelihood = log_softmax(scores * (parameters[0] / scale) - parameters[1] * taken + fixed, axis=1)
        rest = np.exp(likelihood)
        np.put_along_axis(rest, held_out[:, None], np.take_along_axis(rest, held_out[:, None], 1) - 1, 1)
        rest *= weight[:, None]
        value = -(weight @ np.take_along_axis(likelihood, held_out[:, None], 1)[:, 0])
        slopes = np.array([np.sum(rest * scores) / scale, -np.sum(rest @ taken)])
        return float(value), slopes

    limits = [(_LEAST, _MOST), (1.0, 1.0) if one_count else (None, None)]
    best = minimize(loss, [scale, 1.0], jac=True, method="L-BFGS-B", bounds=limits, options={"ftol": 0, "gtol": 1e-9})
    factor, tau = (float(value) for value in best.x)
    if factor >= _MOST or best.fun < _ALL_RIGHT:
        raise NoFiniteTemperature(
            "logits", "must get some held-out samples wrong, or no finite temperature is best", "none wrong"
        )
    return replace(target, tau=tau, temperature=scale / factor)


def estimate_prior(logits: Any, correction: LogitCorrection) -> Floats:
    """The class prior of unlabelled data, by maximum likelihood: the EM algorithm of Saerens et al. (2002).

    ``correction.with_prior(estimate_prior(logits, correction))`` then classifies them.

    Args:
        logits: of the data, shape (n, k), an array or a torch tensor.
        correction: of the network; its own prior has no say.

    Returns:
        Shares that sum to 1, shape (k,). Their mean log-likelihood is within 1e-6 of the best.

    Raises:
        InputError: logits are out of range, or the algorithm has not come so close after 10,000 steps.

    Source: Saerens, Latinne and Decaestecker (2002), Eq. (2.9).

    Example:
        >>> correction = logit_correction([50, 50])
        >>> estimate_prior([[9.0, -9.0], [9.0, -9.0], [9.0, -9.0], [-9.0, 9.0]], correction).round(2).tolist()
        [0.75, 0.25]
    """
    instance("correction", correction, LogitCorrection, "logit_correction makes one")
    likelihood = softmax(correction.with_prior("balanced").apply(finite_logits(logits)), axis=1)
    prior = np.full(correction.num_classes, 1 / correction.num_classes)
    for _ in range(_MOST_STEPS):
        gain = (likelihood / (likelihood @ prior)[:, None]).mean(axis=0)
        # the log-likelihood is concave, with slope gain: no prior is better by more than max(gain) - 1
        if gain.max() - 1 <= _CLOSE:
            return np.asarray(prior)
        prior = prior * gain
        prior = prior / prior.sum()
    raise InputError("logits", f"must determine a prior within {_MOST_STEPS:,} steps", f"{gain.max() - 1:.1e} left")
