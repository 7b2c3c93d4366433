"""Choosing samples of a data set so that its classes follow a given profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from implicit_geometry._validate import LARGEST_COUNT, InputError, Ints, whole_number
from implicit_geometry.counts import ClassCounts
from implicit_geometry.labels.arrays import as_array


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Indices of an imbalanced training set and of balanced test and validation sets, no sample in two of them.

    Attributes:
        train: shape (num_samples,), grouped by class.
        test: shape (num_classes * test_per_class,), grouped by class.
        validation: shape (num_classes * validation_per_class,), grouped by class.
    """

    train: Ints
    test: Ints
    validation: Ints

    def __repr__(self) -> str:
        return f"Split({self.train.size} training, {self.test.size} test, {self.validation.size} validation samples)"


def imbalanced_split(
    labels: ArrayLike,
    counts: ClassCounts | ArrayLike,
    *,
    test_per_class: int,
    validation_per_class: int = 0,
    seed: int = 0,
    class_names: Sequence[str] = (),
) -> Split:
    """Draw balanced test and validation sets, then an imbalanced training set from what is left.

    The test set depends on ``seed`` and ``test_per_class`` alone, the validation set on its own size too, so that both
    are the same under every profile; so are the first samples of each class in training.

    Args:
        labels: class indices 0..k-1 of the whole data set, or names, whose classes are in the order of the alphabet;
            shape (n,).
        counts: training samples wanted of each class.
        test_per_class: test samples of every class, 0 where the data set has a test part of its own.
        validation_per_class: validation samples of every class.
        seed: of the draw.
        class_names: for messages, one per class.

    Raises:
        InputError: a class has fewer samples than asked for (the message names it), or labels do not fit counts.

    Example:
        >>> split = imbalanced_split([0] * 5 + [1] * 5, ClassCounts([3, 1]), test_per_class=2)
        >>> split.train.size, split.test.size, set(split.train) & set(split.test)
        (4, 4, set())
    """
    test = whole_number("test_per_class", test_per_class, maximum=LARGEST_COUNT)
    validation = whole_number("validation_per_class", validation_per_class, maximum=LARGEST_COUNT)
    whole_number("seed", seed)
    array = as_array(labels)
    found, counts = ClassCounts.from_labels(array), ClassCounts(counts)
    if found.num_classes != counts.num_classes:
        raise InputError("counts", f"must cover the {found.num_classes} classes of labels", counts.num_classes)
    short = np.flatnonzero(found.values < counts.values + test + validation)
    if short.size:
        c = int(short[0])
        raise InputError(
            "counts",
            f"must fit the data: {class_title(c, class_names)} has {found.values[c]} samples",
            f"a training count of {counts.values[c]} besides {test} test and {validation} validation samples "
            "(max_count is the largest class of step: and exp: profiles)",
        )
    sizes = np.stack([np.full_like(counts.values, test), np.full_like(counts.values, validation), counts.values])
    parts = draw(np.unique(array, return_inverse=True)[1], sizes, seed)  # every class is there, in this order
    return Split(train=parts[2], test=parts[0], validation=parts[1])


def draw(labels: Ints, sizes: Ints, seed: int) -> list[Ints]:
    """Disjoint random parts of a data set, each grouped by class.

    Args:
        labels: class indices, shape (n,).
        sizes: samples wanted of each class in each part, shape (parts, k); no more in all than there are.
        seed: of the draw; a part depends on the sizes of those before it, and on no later one.

    Returns:
        Indices into ``labels``, one array a part.

    Example:
        >>> first, second = draw(np.array([0, 1, 0, 1]), np.array([[1, 1], [1, 0]]), seed=0)
        >>> first.size, second.size, set(first) & set(second)
        (2, 1, set())
    """
    generator = np.random.default_rng(whole_number("seed", seed))
    ends = np.cumsum(sizes, axis=0)  # (parts, k)
    pieces = [
        np.split(generator.permutation(np.flatnonzero(labels == c)), ends[:, c])[:-1] for c in range(sizes.shape[1])
    ]
    return [np.concatenate(part) for part in zip(*pieces, strict=True)]


def class_title(label: int, class_names: Sequence[str]) -> str:
    """How a message names a class: by index, and by name where it says more.

    Example:
        >>> class_title(3, ("airplane", "automobile", "bird", "cat")), class_title(1, ("0", "1"))
        ("class 3 ('cat')", 'class 1')
    """
    name = class_names[label] if class_names else str(label)
    return f"class {label}" if name == str(label) else f"class {label} ({name!r})"
