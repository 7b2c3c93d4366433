"""Tables with a column of labels, and the classes that a data set knows by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from implicit_geometry._validate import InputError, shown

KEYS = ("labels", "label", "targets", "target", "y")
"""How labels are usually called, in a batch that is a dictionary and in a table."""

Column = str | int | None


class Known(NamedTuple):
    """The classes that a data set states.

    Attributes:
        names: in the order of the classes; empty where they have none.
        number: None where it is not stated.
    """

    names: tuple[str, ...] = ()
    number: int | None = None


def is_frame(labels: Any) -> bool:
    """Whether labels are a table in memory whose columns stand by themselves: a DataFrame or an Arrow table."""
    is_pandas = hasattr(labels, "columns") and hasattr(labels, "iloc")
    return is_pandas or (hasattr(labels, "column_names") and hasattr(labels, "schema"))


def is_table(labels: Any) -> bool:
    """Whether labels are a data set of Hugging Face."""
    return hasattr(labels, "column_names") and hasattr(labels, "features")


def column_of(table: Any, column: Column) -> Any:
    """The column of the labels: the one that is asked for, by name or by place, or the only one with a usual name.

    Raises:
        InputError: there is none, or more than one.
    """
    return table[column_name(table, column)]


def column_name(table: Any, column: Column) -> Any:
    """The name of that column."""
    names = _names_of_columns(table)
    there = f"; there are {', '.join(map(str, names))}"
    if column is None:
        usual = [name for name in KEYS if name in names] or (names if len(names) == 1 else [])
        if len(usual) == 1:
            return usual[0]
        raise InputError("column", "must name the column of the labels", f"None{there}")
    if column in names:
        return column
    if isinstance(column, int) and -len(names) <= column < len(names):
        return names[column]
    raise InputError("column", "must name the column of the labels", f"{shown(column)}{there}")


def _names_of_columns(table: Any) -> list[Any]:
    if hasattr(table, "iloc"):
        return list(table.columns)
    names = getattr(table, "column_names", None)
    return list(table.features if names is None else names)


def known_classes(labels: Any, column: Column) -> Known:
    """The classes that a data set states.

    Raises:
        InputError: parts of it state different classes, or categories are neither names nor 0, 1, ...
    """
    categories = getattr(getattr(labels, "cat", labels), "categories", None)
    if categories is not None and (hasattr(labels, "cat") or hasattr(labels, "codes")):
        return _of_categories(list(categories))
    if is_table(labels):
        return _of_features(labels, column)
    classes = getattr(labels, "classes", None)
    if column is None and _are_names(classes) and getattr(labels, "target_transform", None) is None:
        return Known(tuple(classes), len(classes))
    if hasattr(labels, "cumulative_sizes"):
        return _common([known_classes(dataset, column) for dataset in labels.datasets])
    hands_on = hasattr(labels, "indices") or hasattr(labels, "batch_sampler")  # a Subset or a loader, not any wrapper
    return known_classes(labels.dataset, column) if hands_on and hasattr(labels, "dataset") else Known()


def _are_names(classes: Any) -> TypeGuard[Sequence[str]]:
    is_list = isinstance(classes, (list, tuple)) and len(classes) > 1
    return is_list and all(isinstance(name, str) for name in classes) and len(set(classes)) == len(classes)


def _of_features(table: Any, column: Column) -> Known:
    features = getattr(table, "features", None)
    if not isinstance(features, Mapping):
        return Known()
    feature = features.get(column_name(table, column))
    feature = getattr(feature, "feature", feature)  # of a sequence of labels
    names = getattr(feature, "names", None)
    return Known(tuple(names), len(names)) if _are_names(names) else Known()


def _of_categories(categories: Sequence[Any]) -> Known:
    if all(isinstance(category, str) for category in categories):
        return Known(tuple(categories), len(categories))
    if all(isinstance(category, (int, np.integer, np.bool_)) for category in categories) and sorted(
        int(category) for category in categories
    ) == list(range(len(categories))):
        return Known(number=len(categories))
    expected = "must have categories that are names, or all of 0..k-1 (give .cat.codes, or .astype(str))"
    raise InputError("labels", expected, shown(list(categories)))


def _common(stated: list[Known]) -> Known:
    """What several data sets state together."""
    if not stated or all(known == stated[0] for known in stated):
        return stated[0] if stated else Known()
    if len({known.names for known in stated if known.names}) > 1:
        first, other = [known.names for known in stated if known.names][:2]
        expected = "must be data sets of the same classes in the same order"
        raise InputError("labels", expected, f"{shown(list(first))} beside {shown(list(other))}")
    return Known()
