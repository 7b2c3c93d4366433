"""From a whole data set to what one run trains on and is tested on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from implicit_geometry._validate import InputError, Ints, flag, instance, whole_number
from implicit_geometry.counts import ClassCounts
from implicit_geometry.data.augment import standard_augmentation
from implicit_geometry.data.draw import class_title, draw, imbalanced_split
from implicit_geometry.data.folder import ImageFiles, LabelledImages
from implicit_geometry.data.source import Samples, Source

_CHUNK = 64  # samples scaled at a time, in float64: they fit the cache


@dataclass(frozen=True, eq=False, repr=False)
class LabelledData:
    """The samples of one run.

    The data sets are map-style, of pairs (input, label); indexed with a list they give a batch (inputs, labels).

    Attributes:
        train: training samples, never augmented, so that they can be measured.
        validation: balanced and disjoint from train and test, or None.
        test: the test samples.
        train_labels: shape (num_samples,).
        validation_labels: shape (num_validation,), empty without validation samples.
        test_labels: shape (num_test,).
        train_indices: which samples of the source's training pool, shape (num_samples,).
        input_shape: shape of one input.
        num_classes: k.
        augmentation: what the training loop applies to a batch of inputs, or None.
    """

    train: Dataset[Any]
    validation: Dataset[Any] | None
    test: Dataset[Any]
    train_labels: Ints
    validation_labels: Ints
    test_labels: Ints
    train_indices: Ints
    input_shape: tuple[int, ...]
    num_classes: int
    augmentation: Callable[[Tensor], Tensor] | None = None

    def __repr__(self) -> str:
        sizes = f"{len(self.train_labels)} training, {len(self.test_labels)} test samples"
        return f"LabelledData({sizes}, num_classes={self.num_classes}, input_shape={self.input_shape})"


def make_split(
    source: Source,
    counts: ClassCounts,
    *,
    test_per_class: int | None,
    validation_per_class: int = 0,
    seed: int = 0,
    augment: bool = False,
) -> LabelledData:
    """Draw test and validation samples, then a training set with ``counts`` samples per class from what is left.

    Test and validation samples depend on the source, on their numbers and on the seed, never on the counts. Images in
    memory are standardised with mean and standard deviation of all pixels of the training pool, one pair a channel;
    image files with those of ImageNet; embeddings stay as they are.

    Args:
        source: the whole data set.
        counts: training samples wanted of each class.
        test_per_class: test samples of every class, from the official test part, or from the training pool where there
            is none; None for the whole official test part.
        validation_per_class: samples of every class of the training pool, held out before the profile is applied.
        seed: of the draw.
        augment: give the augmentation that fits the images.

    Raises:
        InputError: a class has too few samples (the message names it), counts do not fit the source, there is no
            official test part to take whole, or embeddings are to be augmented.

    Example:
        >>> from implicit_geometry.data.load import load_source
        >>> data = make_split(load_source("digits"), ClassCounts([100] * 5 + [10] * 5), test_per_class=50)
        >>> len(data.train_labels), len(data.test_labels), data.input_shape
        (550, 500, (1, 8, 8))
    """
    counts = ClassCounts(counts)
    flag("augment", augment)
    if counts.num_classes != instance("source", source, Source).num_classes:
        raise InputError("counts", f"must cover the {source.num_classes} classes of {source.name}", counts.num_classes)
    if augment and len(source.input_shape) != 3:
        raise InputError("augment", f"must be off for {source.name}, whose samples are not images")
    official = _official_test(source, test_per_class, seed)
    split = imbalanced_split(
        source.train_labels,
        counts,
        test_per_class=0 if official is not None else whole_number("test_per_class", test_per_class, minimum=1),
        validation_per_class=validation_per_class,
        seed=seed,
        class_names=source.class_names,
    )
    train, validation = (
        _part(source, source.train, source.train_labels, part) for part in (split.train, split.validation)
    )
    test = official or _part(source, source.train, source.train_labels, split.test)
    return LabelledData(
        train=train[0],
        validation=validation[0] if validation_per_class else None,
        test=test[0],
        train_labels=train[1],
        validation_labels=validation[1],
        test_labels=test[1],
        train_indices=split.train,
        input_shape=source.input_shape,
        num_classes=source.num_classes,
        augmentation=standard_augmentation(source.input_shape, mirror=source.mirrors) if augment else None,
    )


_Part = tuple[Dataset[Any], Ints]


def _official_test(source: Source, per_class: int | None, seed: int) -> _Part | None:
    """Samples of the official test part; None where there is none."""
    if source.test is None or source.test_labels is None:
        if per_class is None:
            raise InputError("test_per_class", f"must be a number for {source.name}, which has no test part", "None")
        return None
    wanted = 1 if per_class is None else whole_number("test_per_class", per_class, minimum=1)
    there = np.bincount(source.test_labels, minlength=source.num_classes)
    if (there < wanted).any():
        c = int(np.argmax(there < wanted))
        raise InputError(
            "test_per_class",
            f"must fit the test part of {source.name}: {class_title(c, source.class_names)} has {there[c]} samples",
            wanted,
        )
    if per_class is None:
        indices = np.arange(source.test_labels.size)
    else:
        (indices,) = draw(source.test_labels, np.full((1, source.num_classes), wanted), seed)
    return _part(source, source.test, source.test_labels, indices)


def _part(source: Source, samples: Samples, labels: Ints, indices: Ints) -> _Part:
    """A data set of the chosen samples, and their labels."""
    chosen = labels[indices]
    tensor = torch.from_numpy(chosen.copy())
    if isinstance(samples, ImageFiles):
        return LabelledImages(samples.take(indices), tensor), chosen
    return TensorDataset(torch.from_numpy(_as_inputs(source, samples[indices])), tensor), chosen


def _as_inputs(source: Source, samples: NDArray[Any]) -> NDArray[np.float32]:
    if samples.dtype == np.float32:
        return samples
    mean, std = source.pixel_statistics
    inputs = np.empty(samples.shape, np.float32)
    for start in range(0, len(samples), _CHUNK):
        rows = slice(start, start + _CHUNK)
        inputs[rows] = (samples[rows] - mean) / std
    return inputs
