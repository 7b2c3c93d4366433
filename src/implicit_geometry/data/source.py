"""A data set before any profile: its samples, labels and class names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from implicit_geometry._validate import Floats, InputError, Ints
from implicit_geometry.counts import ClassCounts
from implicit_geometry.data.folder import ImageFiles

Samples = NDArray[np.uint8] | NDArray[np.float32] | ImageFiles
"""uint8 images (n, channels, height, width), float32 inputs taken as they are (n, ...), or files of images."""


@dataclass(frozen=True, eq=False, repr=False)
class Source:
    """A whole data set.

    Args:
        name: for messages and records.
        train: the pool that training and validation samples are drawn from, and test samples where ``test`` is None.
        train_labels: class indices 0..k-1, every class at least once, shape (n,).
        test: the official test part, or None.
        test_labels: its class indices, shape (m,), or None.
        class_names: one per class, k >= 2.
        mirrors: whether a mirrored image keeps its class.

    Raises:
        InputError: samples and labels differ in number, a label is out of range, or a class has no training sample.

    Example:
        >>> pixels = np.arange(8, dtype=np.uint8).reshape(2, 1, 2, 2)
        >>> source = Source("two", pixels, np.array([0, 1]), None, None, ("dark", "light"))
        >>> source.input_shape, source.num_classes, source.pixel_statistics[0].item()
        ((1, 2, 2), 2, 3.5)
    """

    name: str
    train: Samples
    train_labels: Ints
    test: Samples | None
    test_labels: Ints | None
    class_names: tuple[str, ...]
    mirrors: bool = False

    def __post_init__(self) -> None:
        if (self.test is None) != (self.test_labels is None):
            raise InputError(f"test and test_labels of {self.name}", "must both be given or both be None")
        self._check_part("train", self.train, self.train_labels)
        if self.test is not None and self.test_labels is not None:
            self._check_part("test", self.test, self.test_labels)
        ClassCounts.from_labels(self.train_labels, num_classes=self.num_classes)

    def __repr__(self) -> str:
        test = 0 if self.test is None else len(self.test)
        return f"Source({self.name!r}, {len(self.train)} + {test} samples, num_classes={len(self.class_names)})"

    def _check_part(self, part: str, samples: Samples, labels: Ints) -> None:
        if isinstance(samples, np.ndarray) and not (
            (samples.dtype == np.uint8 and samples.ndim == 4) or (samples.dtype == np.float32 and samples.ndim >= 2)
        ):
            raise InputError(
                f"{part} samples of {self.name}",
                "must be uint8 images (n, channels, height, width) or float32 inputs (n, ...)",
                f"shape {samples.shape} and dtype {samples.dtype}",
            )
        if samples.shape[1:] != self.train.shape[1:]:
            raise InputError(f"{part} samples of {self.name}", f"must have shape {self.input_shape}", samples.shape[1:])
        if labels.ndim != 1 or labels.dtype != np.int64 or len(samples) != len(labels):
            raise InputError(
                f"{part}_labels of {self.name}",
                "must hold one int64 class index per sample",
                f"{len(samples)} samples and labels of shape {labels.shape} and dtype {labels.dtype}",
            )
        if labels.size == 0 or labels.min() < 0 or labels.max() >= self.num_classes:
            span = f"{labels.min()}..{labels.max()}" if labels.size else "none"
            raise InputError(f"{part}_labels of {self.name}", f"must lie in 0..{self.num_classes - 1}", span)

    def in_class_order(self, order: Ints) -> Source:
        """The same samples with the classes in another order: class c is what was class ``order[c]``.

        Args:
            order: every class once, shape (k,).

        Raises:
            InputError: it is no order of the classes.

        Example:
            >>> pixels = np.arange(8, dtype=np.uint8).reshape(2, 1, 2, 2)
            >>> source = Source("two", pixels, np.array([0, 1]), None, None, ("dark", "light"))
            >>> turned = source.in_class_order(np.array([1, 0]))
            >>> turned.class_names, turned.train_labels.tolist()
            (('light', 'dark'), [1, 0])
        """
        if sorted(order.tolist()) != list(range(self.num_classes)):
            raise InputError("order", f"must hold each of {self.num_classes} classes once", order[:10])
        place = np.argsort(order)
        names = tuple(self.class_names[c] for c in order)
        test_labels = None if self.test_labels is None else place[self.test_labels]
        return replace(self, train_labels=place[self.train_labels], test_labels=test_labels, class_names=names)

    @property
    def num_classes(self) -> int:
        """Number of classes k."""
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(int(size) for size in self.train.shape[1:])

    @cached_property
    def pixel_statistics(self) -> tuple[Floats, Floats]:
        """Mean and standard deviation of all pixels of the training pool, from exact sums; (channels, 1, 1) each.

        Raises:
            InputError: a channel holds one value only.
        """
        pool: Any = self.train
        number = pool.size // pool.shape[1]
        totals = pool.sum(axis=(0, 2, 3), dtype=np.int64).tolist()
        squares = np.einsum("nchw,nchw->c", pool, pool, dtype=np.int64).tolist()
        variance = [(number * two - one * one) / number**2 for one, two in zip(totals, squares, strict=True)]
        if min(variance) == 0:
            raise InputError(self.name, "must have pixels that differ", "a channel of one value")
        mean = np.array(totals) / number
        return mean.reshape(-1, 1, 1), np.sqrt(variance).reshape(-1, 1, 1)
