"""The labels of a training set, array by array, wherever it keeps them.

Data sets are known by what they offer (``targets``, ``tensors``, ``cumulative_sizes``, ``column_names``, samples,
batches), so that those of torch, torchvision, pandas and Hugging Face serve as well as anything made like them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from implicit_geometry._validate import InputError, shown
from implicit_geometry.labels.arrays import as_array
from implicit_geometry.labels.tables import KEYS, column_of, is_table

_CHUNK = 8192
_NOTHING = object()
_SAMPLES = (tuple, Mapping)
_BATCHES = (tuple, list, Mapping)

Column = str | int | None
Progress = Callable[[int], object]


class Part(NamedTuple):
    """Some of the labels.

    Attributes:
        labels: samples along the first axis.
        is_doubtful: whether a single axis might also be the classes of one sample, as of what an iterator gives.
    """

    labels: NDArray[Any]
    is_doubtful: bool = False


def parts(labels: Any, column: Column, *, maps: bool, progress: Progress | None) -> Iterator[Part]:
    """All labels, in one part, or in one for each batch, data set or map.

    Args:
        labels: anything but a table.
        column: which item of a sample or batch is its label; None for the usual one.
        maps: whether a sample may have a map of labels, so that maps may have different shapes.
        progress: called with the number of batches or samples read, where they are read one by one.

    Raises:
        InputError: there are no labels where they should be.
    """
    if isinstance(labels, Set):
        raise InputError("labels", "must be one class per sample: a set holds each class once", shown(labels))
    if is_table(labels) and number_of_steps(labels) is not None:
        yield from _of_array_like(column_of(labels, column), maps)
    elif is_loader(labels):
        _check_reads_all(labels)
        doubtful = labels.batch_sampler is None
        for batch in _told(labels, progress):
            yield from _of_values([_label(batch, column, _BATCHES, "batches")], is_doubtful=doubtful, are_batches=True)
    elif (kept := _stored(labels, column)) is not None:
        yield Part(kept)
    elif hasattr(labels, "cumulative_sizes"):  # a ConcatDataset
        read = 0
        for dataset in labels.datasets:
            tell = None if progress is None else partial(_tell_after, progress, read)
            yield from parts(dataset, column, maps=maps, progress=tell)
            read += len(dataset)
    elif column is None and _is_array_like(labels):
        yield from _of_array_like(labels, maps)
    elif _is_sequence(labels):
        known = _SAMPLES if column is None else _BATCHES
        told = _told(_items(labels), progress)
        values = (
            item if column is None and _is_label(item) else _label(item, column, known, "samples") for item in told
        )
        yield from _of_values(values, is_doubtful=False, are_batches=False)
    elif isinstance(labels, Iterable) and not isinstance(labels, (str, bytes, type)):
        yield from _of_iterable(labels, column, progress)
    else:
        yield Part(as_array(labels))


def is_loader(labels: Any) -> bool:
    """Whether labels are a ``DataLoader``."""
    return hasattr(labels, "batch_sampler") and hasattr(labels, "__iter__")


def number_of_steps(labels: Any) -> int | None:
    """How many batches or samples there are, where it is known."""
    try:
        return len(labels)
    except (TypeError, NotImplementedError):
        return None


def _stored(labels: Any, column: Column) -> NDArray[Any] | None:
    """The labels that a data set holds as one array; None where only its samples have them."""
    if is_table(labels):
        kept = column_of(labels, column) if number_of_steps(labels) else None
        return as_array(kept) if kept is not None and _is_scalar(kept[0]) else None
    if column is None and hasattr(labels, "targets"):
        targets, transform = as_array(labels.targets), getattr(labels, "target_transform", None)
        return targets if transform is None else _transformed(targets, transform)
    if hasattr(labels, "dataset") and hasattr(labels, "indices"):  # a Subset
        whole = _stored(labels.dataset, column)
        return None if whole is None else _chosen(whole, labels)
    if hasattr(labels, "cumulative_sizes"):
        return _joined([_stored(dataset, column) for dataset in labels.datasets])
    tensors = getattr(labels, "tensors", None)  # of a TensorDataset
    if isinstance(tensors, Sequence) and len(tensors) > 1:
        return as_array(_label(tuple(tensors), column, _SAMPLES, "tensors"))
    return None


def _transformed(array: NDArray[Any], transform: Callable[[Any], Any]) -> NDArray[Any] | None:
    """Labels as a data set hands them out, which transforms them one by one; None where one is more than a number."""
    if array.ndim != 1 or not array.size:
        return None
    distinct, which = np.unique(array, return_inverse=True)
    found: NDArray[Any] = np.stack([as_array(transform(label)) for label in distinct.tolist()])[which]
    return found


def _chosen(whole: NDArray[Any], subset: Any) -> NDArray[Any]:
    try:
        chosen: NDArray[Any] = whole[np.asarray(subset.indices, dtype=np.int64)]
        return chosen
    except (IndexError, OverflowError, TypeError, ValueError) as error:
        raise InputError("labels", "must be a subset of its data set", f"{shown(subset)} ({error})") from error


def _joined(arrays: list[NDArray[Any] | None]) -> NDArray[Any] | None:
    """The labels of several data sets one after another; None where they cannot be one array."""
    kept = [array for array in arrays if array is not None]
    if len(kept) < len(arrays) or len({(array.shape[1:], array.dtype.kind in "UT") for array in kept}) != 1:
        return None
    return np.concatenate(kept)


def _is_array_like(labels: Any) -> bool:
    return isinstance(labels, Sequence) or hasattr(labels, "__array__") or hasattr(labels, "detach")


def _is_sequence(labels: Any) -> bool:
    is_class = isinstance(labels, type)
    return not is_class and hasattr(labels, "__getitem__") and number_of_steps(labels) is not None


def _items(dataset: Any) -> Iterator[Any]:
    return (dataset[row] for row in range(len(dataset)))


def _told(steps: Iterable[Any], progress: Progress | None) -> Iterator[Any]:
    for done, step in enumerate(steps, start=1):
        yield step
        if progress is not None:
            progress(done)


def _tell_after(progress: Progress, read: int, done: int) -> None:
    progress(read + done)


def _of_array_like(labels: Any, maps: bool) -> Iterator[Part]:
    """One array; where samples may have maps, a sequence of these, whose shapes may differ."""
    is_sequence = isinstance(labels, Sequence) and not isinstance(labels, (str, bytes))
    if maps and is_sequence and len(labels) and not _is_scalar(labels[0]):
        yield from _of_values(labels, is_doubtful=False, are_batches=False)
    else:
        yield Part(as_array(labels))


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, (list, tuple)) and not getattr(value, "ndim", 0)


def _is_label(item: Any) -> bool:
    return isinstance(item, (str, int, np.generic)) or getattr(item, "ndim", None) == 0


def _of_iterable(labels: Iterable[Any], column: Column, progress: Progress | None) -> Iterator[Part]:
    """Labels, samples or batches one by one: what they are is seen from the first."""
    iterator = iter(labels)
    first = next(iterator, _NOTHING)
    if first is _NOTHING:
        return
    if column is None and isinstance(first, _BATCHES) and iterator is labels:
        expected = "must say which item of each sample is its label (column=1, or its name)"
        raise InputError("column", expected, f"None and an iterator of {type(first).__name__}")
    is_label = column is None and not isinstance(first, _BATCHES)
    told = _told(chain([first], iterator), progress)
    values = told if is_label else (_label(item, column, _BATCHES, "samples") for item in told)
    yield from _of_values(values, is_doubtful=True, are_batches=True)


def _of_values(values: Iterable[Any], *, is_doubtful: bool, are_batches: bool) -> Iterator[Part]:
    """Labels one by one: numbers and names are gathered; arrays are batches, or the map of one sample each."""
    gathered: list[Any] = []
    for value in values:
        if _is_scalar(value):
            gathered.append(value)
            if len(gathered) == _CHUNK:
                yield Part(as_array(gathered))
                gathered = []
        else:
            array = as_array(value)
            yield Part(array if are_batches else array[None], is_doubtful)
    if gathered:
        yield Part(as_array(gathered))


def _label(item: Any, column: Column, kinds: tuple[type, ...], what: str) -> Any:
    """The label of a sample, or the labels of a batch."""
    if column is not None:
        return _named_item(item, column)
    if isinstance(item, Mapping) and Mapping in kinds:
        keys = [key for key in KEYS if key in item]
        if len(keys) > 1:
            raise InputError("column", "must say which of them holds the labels", f"None; there are {', '.join(keys)}")
        if keys:
            return item[keys[0]]
    elif isinstance(item, kinds):
        items: Any = item
        if len(items) == 2:
            return items[1]
        if len(items) > 2:
            expected = f"must say which of the {len(items)} items of {what} holds the labels (column=1, ...)"
            raise InputError("column", expected, "None")
    expected = f"must give {what} (inputs, labels) or dictionaries with {KEYS[0]!r} (column= names another item)"
    given = f"{type(item).__name__}" + (f" of {', '.join(map(str, item))}" if isinstance(item, Mapping) else "")
    raise InputError("labels", expected, given)


def _named_item(item: Any, column: str | int) -> Any:
    if not isinstance(item, _BATCHES):
        expected = "must be left out where labels are no table and no samples or batches"
        raise InputError("column", expected, shown(column))
    try:
        return item[column]  # type: ignore[index]
    except (IndexError, KeyError, TypeError) as error:
        there = ", ".join(map(repr, item)) if isinstance(item, Mapping) else f"{len(item)} items"
        raise InputError("column", "must name the item of the labels", f"{shown(column)}; there are {there}") from error


def _check_reads_all(loader: Any) -> None:
    """Refuse a loader of which one pass is not the training set once."""
    batches = getattr(loader, "batch_sampler", None)
    sampler = getattr(batches, "sampler", getattr(loader, "sampler", None))
    shares = [getattr(sampler, "num_replicas", 1), getattr(batches, "num_processes", 1)]
    size = getattr(batches, "batch_size", None) or 1
    length = number_of_steps(sampler)
    trouble = ""
    if getattr(sampler, "replacement", False):
        trouble = "one that draws with replacement"
    elif any(isinstance(share, int) and share > 1 for share in shares):
        trouble = "one that reads the share of one process"
    elif (getattr(loader, "drop_last", False) or getattr(batches, "drop_last", False)) and (
        length is None or length % size
    ):
        trouble = "one with drop_last=True"
    if trouble:
        expected = "must be a loader that gives every sample once (or give its data set, loader.dataset)"
        raise InputError("labels", expected, trouble)
