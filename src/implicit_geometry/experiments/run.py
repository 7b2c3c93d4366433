"""What came of a run: finished with a record, vectors and weights, or not finished with a reason."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from implicit_geometry._validate import InputError
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.frames import Frame, centre_shares
from implicit_geometry.problem import Problem

Array = NDArray[Any]


@dataclass(frozen=True)
class Run:
    """A finished run: what was asked, and what came out.

    Attributes:
        spec: the run.
        record: one flat row of results.
    """

    spec: RunSpec
    record: dict[str, Any]

    @property
    def bias(self) -> bool:
        """Whether the head has a bias; the records of earlier versions, which do not say, are of heads without."""
        return bool(self.record.get("bias", False))

    @property
    def not_compared(self) -> dict[str, str]:
        """With what it was not compared, and why."""
        return dict(self.record.get("not_compared", {}))

    @property
    def problem(self) -> Problem:
        """What was trained, in the limit of vanishing weight decay."""
        return self.spec.problem(bias=self.bias)


@dataclass(frozen=True)
class MeasuredRun(Run):
    """A finished run with its measured vectors.

    Attributes:
        arrays: such as ``classifier`` and ``embedding`` (projected), float64 of shape (k, d), ``class_means`` of the
            same shape (which those of earlier versions lack), ``bias`` of shape (k,) where the head has one, and
            ``train_indices``.
    """

    arrays: dict[str, Array]

    def embedding(self, frame: Frame) -> Array:
        """The class-mean embeddings in a frame, shape (k, d).

        Raises:
            InputError: an earlier version trained the run, which keeps them projected only.
        """
        if frame == "projected":
            return self.arrays["embedding"]
        require_frame(frame, self.arrays, "class_means", self.spec.key)
        problem, means = self.problem, self.arrays["class_means"]
        shares = centre_shares(problem.parameterization.label_scale, problem.counts.values, bias=problem.bias)
        return np.asarray(means - shares @ means)


@dataclass(frozen=True)
class TrainedRun(MeasuredRun):
    """A run as training leaves it; a store keeps it, and gives its history and weights back one by one.

    Attributes:
        history: one row per recorded epoch.
        weights: tensors of the network, as ``state_dict`` names them.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)


def require_frame(frame: Frame, holds: Container[str], name: str, run: str) -> None:
    """Refuse to show the embeddings of a run in a frame in which an earlier version has not measured them.

    Args:
        frame: that is wanted.
        holds: a record, a history or arrays of the run.
        name: of what stands in it where the run was measured in both frames.
        run: its key.
    """
    if frame == "centred" and name not in holds:
        expected = "must be 'projected' for runs of earlier versions, which are measured in that frame only"
        raise InputError("frame", expected, f"'centred' for run {run}")


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
