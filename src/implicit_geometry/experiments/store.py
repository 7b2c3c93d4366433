"""Results on disk: one folder per finished run, named by the content of its spec; whole or not there.

igeom-runs.json                    what this folder is
trials/KEY/record.json             spec, one flat row of results, checksums of the files beside it and of itself
trials/KEY/geometry.safetensors    measured vectors, indices of the training samples
trials/KEY/weights.safetensors     the trained network
trials/KEY/history.parquet         one row per recorded epoch
working/KEY/                       state of an unfinished run
failed/KEY.json                    spec and reason of a run that did not finish
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pandas as pd
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from implicit_geometry._files import read_regular_file, write_atomically
from implicit_geometry._validate import InputError, file_path
from implicit_geometry.experiments.run import Array, Failure, MeasuredRun, Run, TrainedRun
from implicit_geometry.experiments.run_files import (
    ARRAYS,
    WEIGHTS,
    check_weights,
    failure_to_bytes,
    read_arrays,
    read_failure,
    read_history,
    read_record,
    run_to_files,
)
from implicit_geometry.experiments.spec import RunSpec

__all__ = ["MARKER", "Contents", "Failure", "Run", "RunStore", "existing_store", "open_store"]

MARKER = "igeom-runs.json"
_FORMAT = {"format": "implicit_geometry.runs", "version": 2}
_MARKER_BYTES = 1000
_PATIENCE = 1.0  # seconds until a claim is said to wait

T = TypeVar("T")


@dataclass(frozen=True)
class Contents:
    """What a results folder holds.

    Attributes:
        runs: finished ones in order of their keys.
        failures: runs that did not finish.
        damaged: what is wrong with each folder or file that cannot be read.
        unverified: keys of the runs that an earlier version wrote, without checksums.
    """

    runs: tuple[Run, ...]
    failures: tuple[Failure, ...]
    damaged: tuple[str, ...]
    unverified: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunStore:
    """Finished runs under one folder. Make one with :func:`open_store`."""

    folder: Path

    def has(self, spec: RunSpec) -> bool:
        """Whether the run is finished."""
        return self.place(spec).exists()

    def save(self, run: TrainedRun) -> None:
        """Write a run under a temporary name, then rename: it is there whole or not at all.

        Raises:
            InputError: it cannot be written; nothing of it is left then.
        """
        partial = None
        try:
            partial = Path(tempfile.mkdtemp(prefix=f".partial-{run.spec.key}-", dir=self.folder / "trials"))
            for name, data in run_to_files(run).items():
                (partial / name).write_bytes(data)
            partial.chmod(0o755)
            for file in partial.iterdir():
                file.chmod(0o644)
            if not self.has(run.spec):
                os.replace(partial, self.place(run.spec))
        except (OSError, SafetensorError) as error:
            raise InputError("output", "must be a folder that can be written", f"{self.folder} ({error})") from error
        finally:
            if partial is not None:
                shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(self._working(run.spec), ignore_errors=True)
        self._failed(run.spec).unlink(missing_ok=True)

    @contextmanager
    def claim(self, spec: RunSpec, *, on_wait: Callable[[], object] = lambda: None) -> Iterator[Path]:
        """A folder for the state of an unfinished run, which no other process has until the context ends.

        What processes that were killed had half written of the run is removed.

        Args:
            spec: the run.
            on_wait: called where another process has the run for more than a second; it may raise to leave it there.
        """
        working = self._working(spec)
        lock = working.with_suffix(".lock")
        try:
            working.parent.mkdir(exist_ok=True)
            with _locked(lock, on_wait):
                for partial in (self.folder / "trials").glob(f".partial-{spec.key}-*"):
                    shutil.rmtree(partial, ignore_errors=True)
                working.mkdir(exist_ok=True)
                yield working
            if self.has(spec):  # nobody needs to claim it again
                shutil.rmtree(working, ignore_errors=True)
                lock.unlink(missing_ok=True)
        except OSError as error:
            raise InputError("output", "must be a folder that can be written", f"{self.folder} ({error})") from error

    def fail(self, failure: Failure) -> None:
        """Record a run that did not finish, in the place of what was recorded of it before."""
        path = self._failed(failure.spec)
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, lambda part: part.write_bytes(failure_to_bytes(failure)))

    def failure(self, spec: RunSpec) -> Failure | None:
        """What was recorded of a run that did not finish."""
        path = self._failed(spec)
        return read_failure(path) if path.exists() else None

    def failures(self) -> list[Failure]:
        """All runs that did not finish."""
        return [read_failure(path) for path in sorted((self.folder / "failed").glob("*.json"))]

    def contents(self) -> Contents:
        """What is in the folder, the readable beside the damaged; measured vectors are left on disk."""
        records, damaged_runs = _each(sorted((self.folder / "trials").glob("*")), read_record)
        failures, damaged_failures = _each(sorted((self.folder / "failed").glob("*.json")), read_failure)
        return Contents(
            tuple(record.run for record in records),
            tuple(failures),
            (*damaged_runs, *damaged_failures),
            tuple(record.run.spec.key for record in records if record.files is None),
        )

    def load(self, spec: RunSpec) -> MeasuredRun:
        """Read a finished run back.

        Raises:
            InputError: its folder is missing or damaged.
        """
        return _read(self.place(spec))

    def history(self, spec: RunSpec) -> pd.DataFrame:
        """The recorded epochs of a finished run, one per row; empty where none was recorded.

        Raises:
            InputError: the file is damaged.
        """
        place = self.place(spec)
        return read_history(place, read_record(place))

    def weights(self, spec: RunSpec) -> dict[str, Array]:
        """The trained network of a finished run, as ``state_dict`` names it.

        Raises:
            InputError: the file is missing or damaged.
        """
        place = self.place(spec)
        return read_arrays(place, WEIGHTS, read_record(place))

    def load_all(self, specs: Iterable[RunSpec]) -> list[MeasuredRun]:
        """Read several finished runs, in order.

        Raises:
            InputError: folders are missing or damaged; the message names them all.
        """
        runs, damaged = _each((self.place(spec) for spec in specs), _read)
        if damaged:
            raise InputError(
                f"results {self.folder}",
                "must hold undamaged runs (remove the folders of damaged runs to train them again)",
                "\n".join(damaged),
            )
        return runs

    def place(self, spec: RunSpec) -> Path:
        """The folder of a finished run."""
        return self.folder / "trials" / spec.key

    def _working(self, spec: RunSpec) -> Path:
        return self.folder / "working" / spec.key

    def _failed(self, spec: RunSpec) -> Path:
        return self.folder / "failed" / f"{spec.key}.json"


def open_store(folder: str | Path) -> RunStore:
    """Open a results folder, or make a new one.

    Raises:
        InputError: the folder cannot be written, is a file, or holds something else.
    """
    path = file_path("folder", folder)
    marker = path / MARKER
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not marker.exists():
            if any(path.iterdir()):
                raise InputError(
                    "output", "must be a new folder or one made by igeom", f"{path}, which holds something else"
                )
            write_atomically(marker, lambda part: part.write_text(json.dumps(_FORMAT), encoding="utf-8"))
        (path / "trials").mkdir(exist_ok=True)
        tempfile.TemporaryFile(dir=path / "trials").close()
    except OSError as error:
        raise InputError("output", "must be a folder that can be written", f"{path} ({error.strerror})") from error
    return existing_store(path)


def existing_store(folder: str | Path) -> RunStore:
    """Open a results folder that is there, to read from it.

    Raises:
        InputError: it is not a results folder.
    """
    path = file_path("folder", folder)
    try:
        content = json.loads(read_regular_file(path / MARKER, at_most=_MARKER_BYTES).decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            "results", "must be in a folder made by igeom", f"{path} without a readable {MARKER}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            "results", "must be in a folder made by igeom", f"{path} with a damaged {MARKER} ({error})"
        ) from error
    if content != _FORMAT:
        raise InputError("results", f"must be in a folder of {_FORMAT}", f"{path} of {content}")
    return RunStore(path)


@contextmanager
def _locked(path: Path, on_wait: Callable[[], object]) -> Iterator[None]:
    """Hold a lock that ends with the process; ``on_wait`` is called where another has it for long."""
    lock = FileLock(path)
    try:
        held = lock.acquire(timeout=_PATIENCE)
    except Timeout:
        on_wait()
        held = lock.acquire()
    with held:
        yield


def _each(paths: Iterable[Path], read: Callable[[Path], T]) -> tuple[list[T], list[str]]:
    """Read several folders or files, in order; what is wrong with each that cannot be read."""
    found, damaged = [], []
    for path in paths:
        if path.name.startswith(".partial-"):
            continue
        try:
            found.append(read(path))
        except InputError as error:
            damaged.append(str(error))
    return found, damaged


def _read(place: Path) -> MeasuredRun:
    """Record and measured vectors; that the weights are whole is all that is seen of them."""
    record = read_record(place)
    check_weights(place, record)
    return MeasuredRun(record.run.spec, record.run.record, read_arrays(place, ARRAYS, record))
