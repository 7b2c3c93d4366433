"""The runs of one or several results folders, each once, with what is wrong with the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from implicit_geometry._validate import InputError
from implicit_geometry.experiments.record_columns import missing_columns
from implicit_geometry.experiments.run import Array, Failure, MeasuredRun, Run
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.store import MARKER, RunStore, existing_store

_DEPTH = 2


@dataclass(frozen=True)
class Sweep:
    """The runs of one or several results folders, each once.

    Attributes:
        homes: store of every run, by key.
        runs: finished ones; their measured vectors may be left on disk.
        failures: runs that finished nowhere.
        damaged: what is wrong with each folder or file that cannot be read.
        unverified: keys of the runs that an earlier version wrote, without checksums.
    """

    homes: dict[str, RunStore]
    runs: tuple[Run, ...]
    failures: tuple[Failure, ...] = ()
    damaged: tuple[str, ...] = ()
    unverified: frozenset[str] = frozenset()

    def load(self, spec: RunSpec) -> MeasuredRun:
        """A run with its measured vectors.

        Raises:
            InputError: its folder is damaged.
        """
        run = self.homes[spec.key].load(spec)
        problem = _vectors_problem(run)
        if problem:
            raise damaged_run(self.homes[spec.key], run, problem)
        return run


def find_stores(folder: Path) -> list[RunStore]:
    """The results folder, or those that lie in it or in its sub-folders.

    Raises:
        InputError: there is none, or one of another version.
    """
    if not folder.is_dir():
        raise InputError("runs", "must be a results folder", f"{folder}, which is not there or no folder")
    patterns = ["*/" * depth + MARKER for depth in range(_DEPTH + 1)]
    found = next((markers for pattern in patterns if (markers := sorted(folder.glob(pattern)))), [])
    if not found:
        raise InputError("runs", "must be a folder made by igeom demo, train, sweep or reproduce", folder)
    return [existing_store(marker.parent) for marker in found]


def gather_runs(stores: Sequence[RunStore]) -> Sweep:
    """Read what is in results folders.

    Raises:
        InputError: there is no finished run; the message says what there is.
    """
    homes: dict[str, RunStore] = {}
    runs: dict[str, Run] = {}
    failures: dict[str, Failure] = {}
    damaged: dict[str, None] = {}
    unverified: set[str] = set()
    for store in stores:
        contents = store.contents()
        problems = {run.spec.key: _incomplete(store, run) for run in contents.runs}
        damaged |= dict.fromkeys([*contents.damaged, *filter(None, problems.values())])
        failures |= {failure.spec.key: failure for failure in contents.failures}
        found = {run.spec.key: run for run in contents.runs if not problems[run.spec.key]}
        unverified |= {key for key in contents.unverified if key not in homes}
        runs = found | runs
        homes = dict.fromkeys(found, store) | homes
    left = tuple(failure for key, failure in failures.items() if key not in homes)
    if not runs:
        reasons = [failure.reason for failure in left] + list(damaged)
        because = f": {'; '.join(reasons)}" if reasons else ""
        raise InputError(
            "runs", "must hold finished runs", f"{', '.join(str(s.folder) for s in stores)} without{because}"
        )
    return Sweep(homes, tuple(runs.values()), left, tuple(damaged), frozenset(unverified))


def _incomplete(store: RunStore, run: Run) -> str:
    """What a record lacks that every run has; empty where it is complete."""
    missing = missing_columns(run.record)
    return str(damaged_run(store, run, f"a record without {', '.join(missing)}")) if missing else ""


def _vectors_problem(run: MeasuredRun) -> str:
    """What is wrong with the measured vectors of a run; empty where each class has a classifier and an embedding."""
    k = len(run.spec.counts)
    bias = run.arrays.get("bias")
    if run.bias != (bias is not None):
        return "vectors without a bias of a head with one" if run.bias else "vectors with a bias of a head without"
    if bias is not None and (bias.shape != (k,) or not _are_finite(bias)):
        return f"a bias that is not one finite number for each of {k} classes"
    shapes = set()
    for name in ("classifier", "embedding", *(["class_means"] if "class_means" in run.arrays else [])):
        array = run.arrays.get(name)
        if array is None:
            return f"vectors without {name}"
        if array.ndim != 2 or array.shape[0] != k or not _are_finite(array):
            return f"{name} vectors that are not finite numbers, one vector for each of {k} classes"
        shapes.add(array.shape)
    return "" if len(shapes) == 1 else "classifier and embedding vectors of several lengths"


def _are_finite(array: Array) -> bool:
    return array.dtype.kind == "f" and bool(np.isfinite(array).all())


def damaged_run(store: RunStore, run: Run, found: str) -> InputError:
    """The error of a finished run that is damaged."""
    return InputError(f"run folder {store.place(run.spec)}", "must hold a finished run", found)
