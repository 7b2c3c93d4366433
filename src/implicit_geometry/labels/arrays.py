"""Labels as arrays of whole numbers or of texts; anything else is refused by what is wrong with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from implicit_geometry._validate import InputError, Ints, shown

_MISSING = ("NAType", "NaTType")  # of pandas
_LARGEST = 2**63 - 1


def as_array(labels: Any) -> NDArray[Any]:
    """Labels of a list, an array, a tensor or a series as an array of numbers or of texts, of any shape.

    Raises:
        InputError: an entry is missing or no label, or labels have no common shape.

    Example:
        >>> as_array([True, False]).tolist(), as_array([b"cat", b"owl"]).tolist()
        ([1, 0], ['cat', 'owl'])
    """
    if isinstance(labels, np.ma.MaskedArray) and np.ma.is_masked(labels):
        raise InputError("labels", "must have no missing entries", "masked entries")
    try:
        array = np.asarray(labels.detach().cpu().numpy() if hasattr(labels, "detach") else labels)
        if array.dtype.kind == "S":
            return np.char.decode(array, "utf-8") if array.ndim else _refuse(labels, array)
        if array.dtype.kind == "b":
            return array.astype(np.int64)
        if array.dtype.kind in "iuf":
            return array
        items = array if isinstance(labels, np.ndarray) else np.asarray(labels, dtype=object)
        return _of_objects(labels, items)
    except InputError:
        raise
    except (IndexError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise InputError("labels", "must be one class per sample", f"{shown(labels)} ({error})") from error


def whole_numbers(array: NDArray[Any]) -> Ints:
    """An array of numbers as int64.

    Raises:
        InputError: a number is a fraction, NaN, infinite or beyond int64.
    """
    with np.errstate(invalid="ignore"):
        bad = array > _LARGEST if array.dtype.kind == "u" else np.zeros(array.shape, dtype=bool)
        if array.dtype.kind == "f":
            bad = ~((np.abs(array) < 2**63) & (array == np.floor(array)))
    if bad.any():
        first = array[bad].ravel()[0]
        if array.dtype.kind == "u":
            raise InputError("labels", "must be class indices below 2**63", first)
        given = f"{first:g}"
        if bool(np.all((array >= 0) & (array <= 1))):
            given += " (probabilities, as mixup makes them, have no counts: count the labels before they are mixed)"
        raise InputError("labels", "must be whole numbers", given)
    return array.astype(np.int64)


def one_hot_axes(array: NDArray[Any]) -> set[int]:
    """The axes, of 1 and -1, along which an array of whole numbers holds one 1 and else 0."""
    if array.ndim < 2 or not array.size or array.min() < 0 or array.max() > 1:
        return set()
    return {axis for axis in (1, -1) if array.shape[axis] > 1 and bool(np.all(array.sum(axis) == 1))}


def _of_objects(labels: Any, items: NDArray[Any]) -> NDArray[Any]:
    if not items.ndim:
        return _refuse(labels, items)
    flat = items.ravel()
    for row, item in enumerate(flat):
        if item is None or type(item).__name__ in _MISSING or (isinstance(item, float) and item != item):
            raise InputError("labels", "must have no missing entries", f"{item} at position {row}")
    if all(isinstance(item, str) for item in flat):
        return np.array(flat.tolist(), dtype=str).reshape(items.shape)
    if all(isinstance(item, (int, np.integer, np.bool_)) for item in flat):
        return items.astype(np.int64)
    return _refuse(labels, items)


def _refuse(labels: Any, array: NDArray[Any]) -> NDArray[Any]:
    expected = "must be class indices, class names or a data set with labels"
    raise InputError("labels", expected, f"{type(labels).__name__} of dtype {array.dtype}")
