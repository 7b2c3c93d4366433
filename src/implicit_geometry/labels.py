"""Class labels in whatever form a training set has them, counted class by class, without importing torch.

Data sets are known by what they offer (``targets``, ``tensors``, ``datasets``, ``features``, batches), so that those of
torch, torchvision and Hugging Face serve as well as anything made like them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from implicit_geometry._validate import InputError, Ints, class_number, names_of_classes, shown, whole_number

_KEYS = ("labels", "label", "targets", "target", "y")  # of a batch that is a dictionary, and of a column
_MOST_LISTED = 10


@dataclass(frozen=True)
class CountedLabels:
    """What was found.

    Attributes:
        counts: samples of each class, some perhaps 0, shape (k,).
        class_names: names of the classes, empty where they have none.
    """

    counts: Ints
    class_names: tuple[str, ...]


def count_labels(
    labels: Any,
    *,
    num_classes: int | None,
    class_names: Sequence[str],
    column: str | None,
    ignore_index: int | None,
    progress: Callable[[int], object] | None,
) -> CountedLabels:
    """Count labels; the arguments are those of :meth:`implicit_geometry.ClassCounts.from_labels`.

    Raises:
        InputError: labels are no classes, lie outside of the classes asked for, or are of an unknown form.
    """
    k = None if num_classes is None else class_number("num_classes", num_classes)
    ignored = None if ignore_index is None else whole_number("ignore_index", ignore_index, minimum=-(2**63))
    given = names_of_classes(class_names, len(class_names) if isinstance(class_names, Sequence) else 0)
    if isinstance(labels, Mapping):
        return _of_table(labels, k, given)
    if column is None:
        given = given or _own_names(labels)
    counter = _Counter(k, given, ignored)
    batches = _is_loader(labels)
    for done, part in enumerate(_parts(labels, column), start=1):
        counter.add(part)
        if batches and progress is not None:
            progress(done)
    return counter.counted()


class _Counter:
    """Counts of one array of labels after another."""

    def __init__(self, num_classes: int | None, class_names: tuple[str, ...], ignored: int | None) -> None:
        self.num_classes, self.ignored = num_classes, ignored
        self.names = class_names
        self.of_text: dict[str, int] = {}
        self.counts = np.zeros(num_classes or 0, dtype=np.int64)

    def add(self, array: NDArray[Any]) -> None:
        """Count the labels of an array of any shape; of several dimensions only where a label may be ignored."""
        if array.ndim != 1 and self.ignored is None:
            expected = "must be one-dimensional: one class per sample (give ignore_index for maps of labels)"
            raise InputError("labels", expected, f"shape {array.shape}")
        flat = array.ravel()
        if flat.dtype.kind in "UT" or (flat.dtype.kind == "O" and all(isinstance(item, str) for item in flat)):
            for name, count in zip(*np.unique(flat.astype(str), return_counts=True), strict=True):
                self.of_text[str(name)] = self.of_text.get(str(name), 0) + int(count)
            return
        index = _whole(flat)
        index = index if self.ignored is None else index[index != self.ignored]
        if not index.size:
            return
        most = self.num_classes
        if index.min() < 0 or (most is not None and index.max() >= most):
            bad = int(index.min()) if index.min() < 0 else int(index.max())
            raise InputError("labels", f"must lie in 0..{int(index.max()) if most is None else most - 1}", bad)
        found = _bincount(index)
        size = max(len(found), len(self.counts))
        self.counts = np.pad(self.counts, (0, size - len(self.counts))) + np.pad(found, (0, size - len(found)))

    def counted(self) -> CountedLabels:
        """The counts of all."""
        if self.of_text and self.counts.any():
            raise InputError("labels", "must be class indices or names, not both", "some of either")
        if self.of_text:
            return _of_names(self.of_text, self.num_classes, self.names)
        k = len(self.counts)
        names = self.names
        if names and len(names) > k and self.num_classes is None:
            self.counts = np.pad(self.counts, (0, len(names) - k))
        elif names and len(names) != k:
            raise InputError("class_names", f"must be {k} different names, one per class", len(names))
        return CountedLabels(self.counts, names)


def _parts(labels: Any, column: str | None) -> Iterator[NDArray[Any]]:
    """The labels of a training set as arrays: one, or one for each part or batch that it has."""
    is_table = hasattr(labels, "column_names") and hasattr(labels, "features")
    if column is not None and not is_table:
        raise InputError("column", "must be left out where labels are no table", shown(column))
    if is_table:
        yield _array(labels[_column(labels, column)])
    elif hasattr(labels, "targets"):
        yield _array(labels.targets)
    elif hasattr(labels, "dataset") and hasattr(labels, "indices"):  # a Subset
        whole = np.concatenate([part.ravel() for part in _parts(labels.dataset, None)])
        try:
            yield whole[np.asarray(labels.indices, dtype=np.int64)]
        except (IndexError, OverflowError, TypeError, ValueError) as error:
            raise InputError("labels", "must be a subset of its data set", f"{shown(labels)} ({error})") from error
    elif hasattr(labels, "datasets"):  # a ConcatDataset
        for dataset in labels.datasets:
            yield from _parts(dataset, None)
    elif isinstance(tensors := getattr(labels, "tensors", None), Sequence) and len(tensors) > 1:  # a TensorDataset
        yield _array(tensors[-1])
    elif _is_loader(labels):
        for batch in labels:
            yield _array(_of_batch(batch))
    else:
        yield _array(labels)


def _is_loader(labels: Any) -> bool:
    return hasattr(labels, "batch_sampler") and hasattr(labels, "__iter__")


def _of_batch(batch: Any) -> Any:
    if isinstance(batch, Mapping):
        key = next((key for key in _KEYS if key in batch), None)
        if key is not None:
            return batch[key]
    elif isinstance(batch, (tuple, list)) and len(batch) > 1:
        return batch[1]
    expected = f"must give batches (inputs, labels, ...) or dictionaries with {_KEYS[0]!r}"
    raise InputError("labels", expected, type(batch).__name__)


def _column(table: Any, column: str | None) -> str:
    names = [str(name) for name in getattr(table, "column_names", ())]
    chosen = column if column is not None else next((key for key in _KEYS if key in names), None)
    if chosen is None or (names and chosen not in names):
        there = f"{shown(column)}; there are {', '.join(names)}"
        raise InputError("column", "must name the column of the labels", there)
    return chosen


def _own_names(labels: Any) -> tuple[str, ...]:
    """Names that a data set has for its classes; none where it has none."""
    classes = getattr(labels, "classes", None)
    if isinstance(classes, (list, tuple)) and classes and all(isinstance(name, str) for name in classes):
        return tuple(classes)
    features = getattr(labels, "features", None)
    if isinstance(features, Mapping):
        key = next((key for key in _KEYS if key in features), None)
        names = getattr(features[key], "names", None) if key else None
        if isinstance(names, (list, tuple)):
            return tuple(names)
    return _own_names(labels.dataset) if hasattr(labels, "dataset") else ()


def _of_table(table: Mapping[Any, Any], num_classes: int | None, names: tuple[str, ...]) -> CountedLabels:
    """Counts that are given by class: index or name."""
    counts = {key: whole_number("labels", value) for key, value in table.items()}
    if counts and all(isinstance(key, str) for key in counts):
        return _of_names(counts, num_classes, names)
    if not counts or not all(isinstance(key, (int, np.integer)) and not isinstance(key, bool) for key in counts):
        raise InputError("labels", "must have class indices or names as keys", shown(list(counts)))
    k = max(counts) + 1 if num_classes is None else num_classes
    if min(counts) < 0 or max(counts) >= class_number("num_classes", max(k, 2)):
        raise InputError("labels", f"must lie in 0..{k - 1}", min(counts) if min(counts) < 0 else max(counts))
    found = np.zeros(k, dtype=np.int64)
    found[[int(key) for key in counts]] = list(counts.values())
    if names and len(names) != k:
        raise InputError("class_names", f"must be {k} different names, one per class", len(names))
    return CountedLabels(found, names)


def _of_names(counts: Mapping[str, int], num_classes: int | None, names: tuple[str, ...]) -> CountedLabels:
    """Counts by name: classes are in the order of the names given, or of the alphabet."""
    order = names or tuple(sorted(counts))
    if unknown := sorted(set(counts) - set(order))[:_MOST_LISTED]:
        raise InputError("labels", "must be among class_names", ", ".join(map(repr, unknown)))
    if num_classes is not None and len(order) != num_classes:
        raise InputError("num_classes", f"must be the number of class names, {len(order)}", num_classes)
    return CountedLabels(np.array([counts.get(name, 0) for name in order], dtype=np.int64), order)


def _array(labels: Any) -> NDArray[Any]:
    """Labels of a list, an array or a tensor as an array of whole numbers, floats or texts."""
    try:
        array = np.asarray(labels.detach().cpu().numpy() if hasattr(labels, "detach") else labels)
        if array.dtype.kind == "O" and array.ndim == 0 and hasattr(labels, "__iter__"):
            array = np.asarray(list(labels))
    except (IndexError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise InputError("labels", "must be one class per sample", f"{shown(labels)} ({error})") from error
    given = array if isinstance(labels, np.ndarray) or array.dtype.kind in "iuf" else np.asarray(labels, dtype=object)
    texts = array.dtype.kind in "UTO" and array.ndim > 0 and array.size > 0
    if texts and all(isinstance(item, str) for item in given.ravel()):
        return array
    if array.dtype.kind not in "iuf":
        raise InputError(
            "labels",
            "must be class indices, class names or a data set with labels",
            f"{type(labels).__name__} of dtype {array.dtype}",
        )
    return array


def _whole(array: NDArray[Any]) -> Ints:
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    if not bool(np.all((np.abs(array) < 2**63) & (array == np.floor(array)))):
        raise InputError("labels", "must be whole numbers", f"dtype {array.dtype}")
    return array.astype(np.int64)


def _bincount(index: Ints) -> Ints:
    """Counts of 0 to the largest index, which must not ask for more memory than classes can have."""
    top = class_number("labels", max(int(index.max()) + 1, 2)) if index.max() > index.size else 0
    return np.bincount(index, minlength=min(top, 1))
