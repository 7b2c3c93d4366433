"""What came of a run: finished with a record, vectors and weights, or not finished with a reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from implicit_geometry.experiments.spec import RunSpec

Array = NDArray[Any]


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

    spec: RunSpec
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

    spec: RunSpec
    reason: str
    final: bool
