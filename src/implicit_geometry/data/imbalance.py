"""Choosing samples of a data set so that its classes follow a given profile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from implicit_geometry._validate import InputError, Ints, whole_number
from implicit_geometry.counts import ClassCounts


@dataclass(frozen=True)
class Split:
    """Indices of an imbalanced training set and a balanced test set that share no sample.

    Attributes:
        train: shape (num_samples,), grouped by class.
        test: shape (num_classes * test_per_class,), grouped by class.
    """

    train: Ints
    test: Ints


def imbalanced_split(labels: ArrayLike, counts: ClassCounts, *, test_per_class: int, seed: int = 0) -> Split:
    """Draw a balanced test set, then an imbalanced training set from what is left.

    The test set depends on ``seed`` and ``test_per_class`` alone, so that it is the same under every profile; so are
    the
    first samples of each class in training.

    Args:
        labels: class indices 0..k-1 of the whole data set, shape (n,).
        counts: training samples wanted of each class.
        test_per_class: test samples of every class, >= 1.
        seed: of the draw.

    Raises:
        InputError: a class has fewer samples than asked for (the message names it), or labels do not fit counts.

    Example:
        >>> split = imbalanced_split([0] * 5 + [1] * 5, ClassCounts([3, 1]), test_per_class=2)
        >>> split.train.size, split.test.size, set(split.train) & set(split.test)
        (4, 4, set())
    """
    per_class = whole_number("test_per_class", test_per_class, minimum=1)
    array = np.asarray(labels)
    found = ClassCounts.from_labels(array)
    if found.num_classes != counts.num_classes:
        raise InputError(f"counts must cover the {found.num_classes} classes of labels, got {counts.num_classes}")
    short = np.flatnonzero(found.values < counts.values + per_class)
    if short.size:
        c = int(short[0])
        raise InputError(
            f"counts must leave {per_class} test samples a class: class {c} has {found.values[c]} samples, "
            f"got a training count of {counts.values[c]}"
        )
    generator = np.random.default_rng(whole_number("seed", seed))
    train, test = [], []
    for c, wanted in enumerate(counts.values):
        order = generator.permutation(np.flatnonzero(array == c))
        test.append(order[:per_class])
        train.append(order[per_class : per_class + wanted])
    return Split(np.concatenate(train), np.concatenate(test))
