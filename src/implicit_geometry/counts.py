"""Training samples per class: the value everything else starts from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from implicit_geometry._validate import (
    LARGEST_COUNT,
    InputError,
    Ints,
    choice,
    class_number,
    names_of_classes,
    number,
    sample_counts,
    whole_number,
)
from implicit_geometry.labels.count import count_labels

_MOST_SHOWN, _LONGEST_SHOWN = 10, 60  # counts and characters in a repr


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """The number of training samples of every class, n_1 .. n_k.

    Args:
        values: at least two whole numbers >= 1, one per class. Shape (num_classes,).
        class_names: names of the classes, where they have any. They take no part in comparisons: a profile is its
            counts.

    Raises:
        InputError: a count is zero, negative, NaN or fractional, there are fewer than two classes, or names are not one
            per class.

    Example:
        >>> counts = ClassCounts([5000, 50])
        >>> counts.num_classes, counts.num_samples, counts.imbalance_ratio
        (2, 5050, 100.0)
    """

    values: Ints
    class_names: tuple[str, ...]

    def __init__(self, values: ArrayLike | ClassCounts, *, class_names: Sequence[str] = ()) -> None:
        checked = values.values if isinstance(values, ClassCounts) else sample_counts("counts", values)
        own = values.class_names if isinstance(values, ClassCounts) else ()
        object.__setattr__(self, "values", checked)
        object.__setattr__(self, "class_names", names_of_classes(class_names, checked.size) or own)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClassCounts) and np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        return hash(self.values.tobytes())

    def __reduce__(self) -> tuple[Any, ...]:
        return _with_names, (self.values, self.class_names)

    def __len__(self) -> int:
        return self.num_classes

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype=dtype)

    def __repr__(self) -> str:
        texts = [str(n) for n in self.values[:_MOST_SHOWN].tolist()]
        while len(shown := ", ".join(texts)) > _LONGEST_SHOWN:
            texts.pop()
        more = f", ... ({self.num_classes} classes)" if self.num_classes > len(texts) else ""
        return f"ClassCounts([{shown}{more}])"

    @property
    def num_classes(self) -> int:
        """Number of classes k."""
        return int(self.values.size)

    @cached_property
    def num_samples(self) -> int:
        """Number of samples N, the sum of the counts."""
        return sum(self.values.tolist())

    @cached_property
    def imbalance_ratio(self) -> float:
        """R, the largest count over the smallest."""
        return float(self.values.max() / self.values.min())

    @cached_property
    def majority(self) -> NDArray[np.bool_]:
        """Mask of the classes at or above the geometric mean of the smallest and largest count, shape (num_classes,).

        On a STEP profile these are exactly the majority classes; on balanced counts, all classes.
        """
        smallest, largest = float(self.values.min()), float(self.values.max())
        mask: NDArray[np.bool_] = self.values >= np.sqrt(smallest * largest) * (1 - 1e-12)
        mask.setflags(write=False)
        return mask

    @classmethod
    def step(
        cls, *, num_classes: int, imbalance_ratio: float, minority_fraction: float = 0.5, max_count: int = 5000
    ) -> ClassCounts:
        """Make a STEP profile: majority classes first, all minority classes ``imbalance_ratio`` times smaller.

        Args:
            num_classes: k >= 2.
            imbalance_ratio: R >= 1; the minority count is ``max_count / R``, rounded to a whole number.
            minority_fraction: rho in (0, 1); ``rho * k``, rounded, classes are minorities (at least one of each kind).
            max_count: samples of a majority class.

        Raises:
            InputError: an argument is out of range, or the minority count rounds to zero.

        Source: Behnia et al. (2023), Definition 1.

        Example:
            >>> ClassCounts.step(num_classes=4, imbalance_ratio=10, minority_fraction=0.5, max_count=50)
            ClassCounts([50, 50, 5, 5])
        """
        k = class_number("num_classes", num_classes)
        ratio = number("imbalance_ratio", imbalance_ratio, minimum=1)
        fraction = number("minority_fraction", minority_fraction, minimum=0, maximum=1, exclusive=True)
        largest = whole_number("max_count", max_count, minimum=1, maximum=LARGEST_COUNT)
        minorities = round(fraction * k)
        if not 1 <= minorities <= k - 1:
            raise InputError(
                "minority_fraction", f"must leave at least one minority and one majority class of {k}", f"{fraction:g}"
            )
        smallest = _at_least_one("imbalance_ratio", ratio, round(largest / ratio), largest)
        return cls(np.repeat([largest, smallest], [k - minorities, minorities]))

    @classmethod
    def exponential(cls, *, num_classes: int, imbalance_ratio: float, max_count: int = 5000) -> ClassCounts:
        """Make an exponential long tail, n_c = floor(max_count * R^(-c / (k - 1))).

        Args:
            num_classes: k >= 2.
            imbalance_ratio: R >= 1, first count over last.
            max_count: samples of the first class.

        Raises:
            InputError: an argument is out of range, or the last count falls below one.

        Source: Cui et al. (2019); the counts are those of the published CIFAR-LT splits.

        Example:
            >>> ClassCounts.exponential(num_classes=10, imbalance_ratio=100, max_count=5000)
            ClassCounts([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])
        """
        k = class_number("num_classes", num_classes)
        ratio = number("imbalance_ratio", imbalance_ratio, minimum=1)
        largest = whole_number("max_count", max_count, minimum=1, maximum=LARGEST_COUNT)
        exact = largest * ratio ** (-np.arange(k) / (k - 1))
        counts = np.minimum(np.floor(exact * (1 + 1e-12)), largest).astype(np.int64)
        _at_least_one("imbalance_ratio", ratio, int(counts[-1]), largest)
        return cls(counts)

    @classmethod
    def zipf(cls, *, num_classes: int, num_samples: int, exponent: float = 1.0) -> ClassCounts:
        """Make a Zipf profile, n_c proportional to (c + 1)^-exponent, that sums to ``num_samples`` exactly.

        Rounding is by largest remainder; classes whose share is below one sample get one.

        Args:
            num_classes: k >= 2.
            num_samples: N >= k.
            exponent: decay, >= 0.

        Raises:
            InputError: an argument is out of range, or there are fewer samples than classes.

        Example:
            >>> ClassCounts.zipf(num_classes=4, num_samples=25)
            ClassCounts([12, 6, 4, 3])
        """
        k = class_number("num_classes", num_classes)
        n = whole_number("num_samples", num_samples, minimum=1, maximum=LARGEST_COUNT)
        decay = number("exponent", exponent, minimum=0)
        if n < k:
            raise InputError("num_samples", f"must be at least num_classes = {k}", n)
        share = np.arange(1, k + 1, dtype=np.float64) ** -decay
        head = k  # classes whose share is at least one sample; the rest hold one each
        while head > 1:
            spread = share[:head] * ((n - (k - head)) / share[:head].sum())
            above = int(np.count_nonzero(spread >= 1))
            if above == head:
                break
            head = max(above, 1)
        spread = share[:head] * ((n - (k - head)) / share[:head].sum())
        counts = np.ones(k, dtype=np.int64)
        counts[:head] = np.floor(spread)
        left = n - int(counts.sum())
        counts[np.argsort(-(spread - np.floor(spread)), kind="stable")[: max(left, 0)]] += 1
        counts[: max(-left, 0)] -= 1  # shares above 1e15 are rounded, upwards too
        return cls(counts)

    @classmethod
    def from_labels(
        cls,
        labels: Any,
        *,
        num_classes: int | None = None,
        class_names: Sequence[str] = (),
        column: str | int | None = None,
        ignore_index: int | None = None,
        one_hot: bool | None = None,
        zeros: str = "error",
        progress: Callable[[int], object] | bool | None = None,
    ) -> ClassCounts:
        """Count the labels of a training set.

        What can be read in two ways is an error that names the option which decides.

        Args:
            labels: class indices 0..k-1, booleans or class names, as a list, an array, a tensor, a series or an
                iterator; a dictionary of counts by class; a table; a data set of torch, torchvision or Hugging Face;
                or a ``DataLoader``, which is read once.
            num_classes: k; by default the number of classes that the data set states, or the largest label + 1.
            class_names: names of the classes in their order; by default those of the data set or of its categories,
                or of labels that are names in the order of the alphabet.
            column: name or place of the labels in a table, a sample or a batch; by default the one called ``labels``,
                ``label`` and the like, or the second of two.
            ignore_index: label that does not count. Labels may then be maps of any shape, as in segmentation.
            one_hot: True for labels with the classes along axis 1, one 1 and else 0; False for maps of labels.
            zeros: what to do with a class without a sample: ``"error"``, or ``"smooth"`` to count it as one sample.
            progress: True for a line on standard error; or what to call with the number of batches or samples read.

        Raises:
            InputError: labels are no classes, a class has no sample (the message names it), or an option is wrong.

        Example:
            >>> ClassCounts.from_labels([0, 0, 1, 2, 2, 2])
            ClassCounts([2, 1, 3])
            >>> ClassCounts.from_labels(["dog", "cat", "dog"]).class_names
            ('cat', 'dog')
        """
        choice("zeros", zeros, ("error", "smooth"))
        found = count_labels(
            labels,
            num_classes=num_classes,
            class_names=class_names,
            column=column,
            ignore_index=ignore_index,
            one_hot=one_hot,
            progress=progress,
        )
        k = found.counts.size
        if not found.counts.any():
            raise InputError("labels", "must be a non-empty sequence of classes", "no label that counts")
        if k < 2:
            raise InputError("labels", "must hold at least 2 classes", "only class 0")
        missing = np.flatnonzero(found.counts == 0)
        if missing.size and zeros == "error":
            named = [found.class_names[c] if found.class_names else int(c) for c in missing[:10]]
            raise InputError("labels", f"must hold every class 0..{k - 1}", f"no sample of classes {named}")
        if missing.size and not found.classes_are_known:
            expected = "must be given for zeros='smooth': labels do not tell which classes there are"
            raise InputError("num_classes", expected, num_classes)
        return cls(np.maximum(found.counts, 1), class_names=found.class_names)


def _with_names(values: Ints, class_names: tuple[str, ...]) -> ClassCounts:
    return ClassCounts(values, class_names=class_names)


def _at_least_one(name: str, ratio: float, smallest: int, largest: int) -> int:
    if smallest < 1:
        raise InputError(name, f"must leave at least one sample in every class of max_count {largest}", f"{ratio:g}")
    return smallest
