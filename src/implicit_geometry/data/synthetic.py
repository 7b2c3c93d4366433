"""A data set of exchangeable classes, which nothing but chance tells apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from implicit_geometry._validate import InputError, Ints
from implicit_geometry.data.source import Source

MOST_CLASSES = 100
"""Classes of the largest such data set, 40 MB."""

_PER_CLASS, _TEST_PER_CLASS = 1000, 200
_LEAST_DIM = 64
_NORM = 8.0  # of a class mean, in standard deviations of the noise: all samples can be told apart


def load_gaussian(num_classes: str) -> Source:
    """Gaussian classes of equal, isotropic spread about orthogonal means of equal norm, all distances alike.

    1,000 samples of each class to train on and 200 to test on, in 64 dimensions or as many as there are classes; always
    the same ones.

    Args:
        num_classes: how many, as a text.

    Raises:
        InputError: it is no whole number from 2 to :data:`MOST_CLASSES`.

    Example:
        >>> source = load_gaussian("3")
        >>> source.name, source.train.shape, len(source.test_labels)
        ('gaussian:3', (3000, 64), 600)
    """
    if not (num_classes.isascii() and num_classes.isdigit() and 2 <= int(num_classes[:9]) <= MOST_CLASSES):
        raise InputError("name", f"must be gaussian:K with 2 to {MOST_CLASSES} classes K", f"gaussian:{num_classes}")
    k = int(num_classes)
    noise = np.random.default_rng(0)
    train, train_labels = _samples(k, _PER_CLASS, noise)
    test, test_labels = _samples(k, _TEST_PER_CLASS, noise)
    return Source(f"gaussian:{k}", train, train_labels, test, test_labels, tuple(map(str, range(k))))


def _samples(k: int, per_class: int, noise: np.random.Generator) -> tuple[NDArray[np.float32], Ints]:
    labels = np.repeat(np.arange(k, dtype=np.int64), per_class)
    samples = noise.standard_normal((labels.size, max(k, _LEAST_DIM)), dtype=np.float32)
    samples[np.arange(labels.size), labels] += np.float32(_NORM)
    return samples, labels
