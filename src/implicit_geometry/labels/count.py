"""Labels counted class by class; what could be read in two ways is refused by the option that decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from implicit_geometry._validate import (
    LARGEST_COUNT,
    InputError,
    Ints,
    class_number,
    flag,
    names_of_classes,
    shown,
    whole_number,
)
from implicit_geometry.labels.arrays import one_hot_axes, whole_numbers
from implicit_geometry.labels.progress import ProgressLine
from implicit_geometry.labels.read import Part, is_loader, number_of_steps, parts
from implicit_geometry.labels.tables import Column, column_of, is_frame, known_classes

_MOST_LISTED = 10
_EITHER = "must read in one way, not as maps of labels and as one-hot labels (one_hot=True or False decides)"


@dataclass(frozen=True)
class CountedLabels:
    """What was found.

    Attributes:
        counts: samples of each class, some perhaps 0, shape (k,).
        class_names: names of the classes, empty where they have none.
        classes_are_known: whether k was stated; it is that of the largest label otherwise.
    """

    counts: Ints
    class_names: tuple[str, ...]
    classes_are_known: bool


def count_labels(
    labels: Any,
    *,
    num_classes: int | None,
    class_names: Sequence[str],
    column: Column,
    ignore_index: int | None,
    one_hot: bool | None,
    progress: Callable[[int], object] | bool | None,
) -> CountedLabels:
    """Count labels; the arguments are those of :meth:`implicit_geometry.ClassCounts.from_labels`.

    Raises:
        InputError: labels are no classes, lie outside of the classes asked for, or are of an unknown form.
    """
    k = None if num_classes is None else class_number("num_classes", num_classes)
    ignored = None if ignore_index is None else whole_number("ignore_index", ignore_index, minimum=-(2**63))
    in_order = None if isinstance(class_names, Set) else number_of_steps(class_names)
    given = names_of_classes(class_names, in_order or 0)
    decided = None if one_hot is None else flag("one_hot", one_hot)
    chosen = _column(column)
    if isinstance(labels, Mapping) and chosen is None:
        return _of_table(labels, k, given, ignored)
    if isinstance(labels, Mapping) or is_frame(labels):
        labels, chosen = _of_frame(labels, chosen), None
    _refuse_counts(labels)
    known = known_classes(labels, chosen)
    counter = _Counter(k, given, known.names, known.number, ignored, decided)
    with _progress(progress, labels) as tell:
        for part in parts(labels, chosen, maps=counter.takes_maps or decided is True, progress=tell):
            counter.add(part)
    return counter.counted()


class _Counter:
    """Counts of one array of labels after another."""

    def __init__(
        self,
        num_classes: int | None,
        given_names: tuple[str, ...],
        own_names: tuple[str, ...],
        own_number: int | None,
        ignored: int | None,
        one_hot: bool | None,
    ) -> None:
        self.num_classes, self.ignored, self.one_hot = num_classes, ignored, one_hot
        self.given_names, self.own_names, self.own_number = given_names, own_names, own_number
        self.takes_maps = one_hot is False or (one_hot is None and ignored is not None)
        self.of_text: dict[str, int] = {}
        self.counts = np.zeros(num_classes or 0, dtype=np.int64)
        self.axes: set[int] | None = None  # along which everything so far may be one-hot

    def add(self, part: Part) -> None:
        """Count the labels of an array; of several dimensions only where they are maps or one-hot."""
        array = part.labels
        if array.dtype.kind in "UT":
            if self.one_hot is True:
                raise InputError("labels", "must be one-hot, as one_hot=True says", "names")
            self._check_shape(array)
            for name, count in zip(*np.unique(array.astype(str), return_counts=True), strict=True):
                self.of_text[str(name)] = self.of_text.get(str(name), 0) + int(count)
            return
        index = whole_numbers(array)
        whole = index[None] if part.is_doubtful and index.ndim == 1 else index
        if self.one_hot is True:
            index = self._from_one_hot(whole)
        else:
            self._check_shape(index)
            self._note_axes(whole)
        self._add_indices(index.ravel())

    def _check_shape(self, array: NDArray[Any]) -> None:
        is_map = array.ndim > 1 and array.size != len(array)  # a column of labels, shape (n, 1), is none
        if array.ndim == 0 or (is_map and not self.takes_maps):
            expected = (
                "must be one-dimensional: one class per sample (give ignore_index or one_hot=False for maps of labels, "
                "one_hot=True for one-hot labels)"
            )
            raise InputError("labels", expected, f"shape {array.shape}")

    def _note_axes(self, index: Ints) -> None:
        if self.one_hot is None and self.axes != set() and index.size:
            axes = one_hot_axes(index)
            self.axes = axes if self.axes is None else self.axes & axes

    def _from_one_hot(self, array: Ints) -> Ints:
        if array.ndim < 2 or (array.size and 1 not in one_hot_axes(array)):
            expected = "must hold one 1 and else 0 along axis 1, the classes, as one_hot=True says"
            raise InputError("labels", expected, f"shape {array.shape}")
        number = array.shape[1]
        if self.num_classes not in (None, number):
            raise InputError("labels", f"must be one-hot of {self.num_classes} classes along axis 1", number)
        self.num_classes = number
        self._grow(number)
        found: Ints = array.argmax(axis=1)
        return found

    def _add_indices(self, index: Ints) -> None:
        index = index if self.ignored is None else index[index != self.ignored]
        if not index.size:
            return
        least, largest = int(index.min()), int(index.max())
        most = self.num_classes if self.num_classes is not None else self.own_number
        if least < 0 or (most is not None and largest >= most):
            bad = least if least < 0 else largest
            hint = f" (ignore_index={bad} leaves it out)" if bad in (-1, -100, 255) and self.ignored is None else ""
            beside = "" if self.ignored is None else f", or be ignore_index {self.ignored}"
            expected = "must be class indices, at least 0" if most is None else f"must lie in 0..{most - 1}"
            raise InputError("labels", expected + beside, f"{bad}{hint}")
        found = _bincount(index)
        self._grow(len(found))
        self.counts[: len(found)] += found

    def _grow(self, size: int) -> None:
        self.counts = np.pad(self.counts, (0, max(size - len(self.counts), 0)))

    def counted(self) -> CountedLabels:
        """The counts of all."""
        if self.axes:
            raise InputError("labels", _EITHER, f"one 1 and else 0 along axis {max(self.axes)} in all of them")
        if self.of_text and self.counts.any():
            raise InputError("labels", "must be class indices or names, not both", "some of either")
        if self.of_text:
            return _of_names(self.of_text, self.num_classes, self.given_names or self.own_names)
        if self.num_classes is None:
            self._grow(self.own_number or 0)
        k, names = len(self.counts), self.given_names
        if names and len(names) > k and self.num_classes is None:
            self._grow(len(names))
        elif names and len(names) != k:
            raise InputError("class_names", f"must be {k} different names, one per class", len(names))
        if not names and len(self.own_names) == len(self.counts):
            names = self.own_names
        known = self.num_classes is not None or self.own_number is not None or bool(names)
        return CountedLabels(self.counts, names, known)


def _column(column: Any) -> Column:
    if column is None or isinstance(column, str):
        return column
    if isinstance(column, (int, np.integer)) and not isinstance(column, bool):
        return int(column)
    raise InputError("column", "must be the name or the place of the labels", shown(column))


def _of_frame(table: Any, column: Column) -> Any:
    """The column of a table in memory."""
    if not isinstance(table, Mapping):
        return column_of(table, column)
    if column not in table:
        there = f"{shown(column)}; there are {', '.join(map(str, table))}"
        raise InputError("column", "must name the column of the labels", there)
    return table[column]


def _refuse_counts(labels: Any) -> None:
    """The counts that pandas makes of labels are no labels."""
    by_class = getattr(getattr(labels, "index", None), "is_unique", False)
    if by_class and isinstance(name := getattr(labels, "name", None), str) and name == "count":
        expected = "must be labels, not counts of them (give the counts by class as a dictionary: .to_dict())"
        raise InputError("labels", expected, "a series called 'count'")


@contextmanager
def _progress(progress: Callable[[int], object] | bool | None, labels: Any) -> Iterator[Callable[[int], object] | None]:
    if progress is None or callable(progress):
        yield progress
    elif not flag("progress", progress):
        yield None
    else:
        line = ProgressLine(number_of_steps(labels), "batches" if is_loader(labels) else "samples")
        try:
            yield line
        finally:
            line.close()


def _of_table(
    table: Mapping[Any, Any], num_classes: int | None, names: tuple[str, ...], ignored: int | None
) -> CountedLabels:
    """Counts that are given by class: index or name."""
    for key, value in table.items():
        if not isinstance(value, (int, float, np.integer)):
            expected = "must be counts by class (column= picks the labels of a dictionary of columns)"
            raise InputError("labels", expected, f"a {type(value).__name__} for {shown(key)}")
    counts = {key: whole_number("labels", value, maximum=LARGEST_COUNT) for key, value in table.items()}
    if counts and all(isinstance(key, str) for key in counts):
        return _of_names(counts, num_classes, names)
    if not counts or not all(isinstance(key, (int, np.integer, np.bool_)) for key in counts):
        raise InputError("labels", "must have class indices or names as keys", shown(list(counts)))
    of_index = {int(key): count for key, count in counts.items() if int(key) != ignored}
    if not of_index:
        return CountedLabels(np.zeros(0, dtype=np.int64), names, False)
    k = max(of_index) + 1 if num_classes is None else num_classes
    if min(of_index) < 0 or max(of_index) >= class_number("num_classes", max(k, 2)):
        raise InputError("labels", f"must lie in 0..{k - 1}", min(of_index) if min(of_index) < 0 else max(of_index))
    found = np.zeros(k, dtype=np.int64)
    found[list(of_index)] = list(of_index.values())
    if names and len(names) != k:
        raise InputError("class_names", f"must be {k} different names, one per class", len(names))
    return CountedLabels(found, names, num_classes is not None or bool(names))


def _of_names(counts: Mapping[str, int], num_classes: int | None, names: tuple[str, ...]) -> CountedLabels:
    """Counts by name: classes are in the order of the names given, or of the alphabet."""
    order = names or tuple(sorted(counts))
    if not names and all(name.isdecimal() for name in order) and list(order) != sorted(order, key=int):
        expected = "must have an order: as names these numbers have that of the alphabet (class_names= decides)"
        raise InputError("labels", expected, ", ".join(map(repr, order[:_MOST_LISTED])))
    if unknown := sorted(set(counts) - set(order))[:_MOST_LISTED]:
        raise InputError("labels", "must be among class_names", ", ".join(map(repr, unknown)))
    if num_classes is not None and len(order) != num_classes:
        raise InputError("num_classes", f"must be the number of class names, {len(order)}", num_classes)
    found = np.array([counts.get(name, 0) for name in order], dtype=np.int64)
    return CountedLabels(found, order, True)


def _bincount(index: Ints) -> Ints:
    """Counts of 0 to the largest index, which must not ask for more memory than classes can have."""
    top = class_number("labels", max(int(index.max()) + 1, 2)) if index.max() > index.size else 0
    return np.bincount(index, minlength=min(top, 1))
