"""What came of a run: finished with a record, vectors and weights, or not finished with a reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from implicit_geometry._validate import LARGEST_COUNT
from implicit_geometry.experiments.spec import TrialSpec

Array = NDArray[Any]

_TEXTS = ("run", "rule", "data", "network")


@dataclass(frozen=True)
class Run:
    """A finished run: what was asked, what came out, and the measured vectors.

    Attributes:
        spec: the run.
        record: one flat row of results.
        arrays: such as ``classifier`` and ``embedding``, float64 of shape (k, d), and ``train_indices``.
        history: one row a recorded epoch. Not read back with the run: see
            :meth:`~implicit_geometry.experiments.store.RunStore.history`.
        weights: tensors of the network. Not read back with the run: see
            :meth:`~implicit_geometry.experiments.store.RunStore.weights`.
    """

    spec: TrialSpec
    record: dict[str, Any]
    arrays: dict[str, Array]
    history: list[dict[str, Any]] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """A run that did not finish.

    Attributes:
        spec: the run.
        reason: in one line.
        final: another attempt would fail in the same way.
    """

    spec: TrialSpec
    reason: str
    final: bool


def checked_record(record: Any) -> dict[str, Any]:
    """A record of which every column has the type that it has in all records.

    Raises:
        ValueError: a value has another type; the message names its column.

    Example:
        >>> try:
        ...     checked_record({"nc1": "0.1"})
        ... except ValueError as error:
        ...     print(error)
        nc1 must be a number or null, got '0.1'
    """
    if not isinstance(record, dict):
        raise ValueError(f"the record must have names and values, got {_short(record)}")
    for name, value in record.items():
        if name in _TEXTS:
            expected, good = "a text", isinstance(value, str)
        elif name == "terminal_phase":
            expected, good = "true or false", isinstance(value, bool)
        elif name == "versions":
            expected, good = "names with texts", _are_texts(value)
        else:
            expected, good = "a number or null", value is None or _is_number(value)
        if not good:
            raise ValueError(f"{name} must be {expected}, got {_short(value)}")
    return dict(record)


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_COUNT


def _are_texts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(text, str) for text in value.values())


def _short(value: Any) -> str:
    """A few words of a value, which may be a number of any length."""
    if isinstance(value, int) and abs(value) > LARGEST_COUNT:
        return "a whole number beyond 2^53"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
