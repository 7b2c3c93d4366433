"""Class priors: of training and test data, as users give them."""

from __future__ import annotations

from typing import Any

import numpy as np

from implicit_geometry._validate import Floats, InputError, choice, class_vector, frozen
from implicit_geometry.counts import ClassCounts

_ROUNDING = 1e-6  # by which the sum of a prior may miss 1, as float32 shares of a few thousand classes do


def target_prior(name: str, value: Any, training: Floats) -> Floats:
    """The shares of the classes in the data that are to be classified, shape (k,).

    Args:
        name: of the argument, for messages.
        value: ``"balanced"``, ``"train"`` (the prior of training), or one share per class; some may be 0.
        training: what ``"train"`` stands for, shape (k,).

    Raises:
        InputError: another name, another length, a negative share, or a sum other than 1.

    Example:
        >>> target_prior("prior", "balanced", np.array([0.75, 0.25])).tolist()
        [0.5, 0.5]
    """
    if isinstance(value, str):
        balanced = frozen(np.full(training.size, 1 / training.size))
        return {"balanced": balanced, "train": training}[choice(name, value, ("balanced", "train"))]
    shares = class_vector(name, value)
    if shares.size != training.size:
        raise InputError(name, f"must have one share for each of the {training.size} classes", shares.size)
    if (shares < 0).any():
        raise InputError(name, "must not be negative for any class", f"{shares.min():g} for class {shares.argmin()}")
    if abs(shares.sum() - 1) > _ROUNDING:
        raise InputError(name, "must sum to 1", f"a sum of {shares.sum():g}")
    return frozen(shares / shares.sum())


def training_prior(counts: ClassCounts, sampling: Any) -> Floats:
    """The shares of the classes among the samples that a network was trained on, all positive, shape (k,).

    Args:
        counts: class counts of the training set.
        sampling: of a sampler that changes them: ``"balanced"``, or the share of each class; None where samples are
            drawn as they come.

    Raises:
        InputError: as :func:`target_prior`, or a share is 0.
    """
    shares = frozen(counts.values / counts.values.sum())
    if sampling is None:
        return shares
    drawn = target_prior("sampling", sampling, shares)
    if (drawn <= 0).any():
        raise InputError("sampling", "must be positive for every class", f"0 for class {int(drawn.argmin())}")
    return drawn
