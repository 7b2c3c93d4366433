"""The 8 x 8 handwritten digits that scikit-learn ships: real data that needs no download."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from implicit_geometry._validate import Ints
from implicit_geometry.counts import ClassCounts
from implicit_geometry.data.imbalance import imbalanced_split


@dataclass(frozen=True)
class LabelledData:
    """Training and test samples as arrays.

    Attributes:
        train_inputs: float32, shape (num_samples, num_features).
        train_labels: int64, shape (num_samples,).
        test_inputs: float32, shape (num_test, num_features).
        test_labels: int64, shape (num_test,).
    """

    train_inputs: NDArray[np.float32]
    train_labels: Ints
    test_inputs: NDArray[np.float32]
    test_labels: Ints


def load_digits(counts: ClassCounts, *, test_per_class: int = 50, seed: int = 0) -> LabelledData:
    """Load digits with ``counts`` training samples a class and a balanced test set of other samples.

    Args:
        counts: ten classes; scikit-learn's digits hold 174 to 183 samples of each.
        test_per_class: test samples of every class.
        seed: of the draw.

    Returns:
        Inputs scaled to mean 0 and standard deviation 1 over all pixels of the whole data set.

    Raises:
        InputError: a class has too few samples (the message names it), or counts are not ten.

    Example:
        >>> data = load_digits(ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=100))
        >>> data.train_inputs.shape, data.test_inputs.shape
        ((550, 64), (500, 64))
    """
    from sklearn.datasets import load_digits as read_digits

    inputs, labels = read_digits(return_X_y=True)
    split = imbalanced_split(labels, counts, test_per_class=test_per_class, seed=seed)
    scaled = ((inputs - inputs.mean()) / inputs.std()).astype(np.float32)
    return LabelledData(
        scaled[split.train],
        labels[split.train].astype(np.int64),
        scaled[split.test],
        labels[split.test].astype(np.int64),
    )
