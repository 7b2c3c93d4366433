"""Results on disk: one folder a finished run, named by the content of its spec; whole or not there.

igeom-runs.json                    what this folder is
trials/KEY/record.json             spec, and one flat row of results
trials/KEY/geometry.safetensors    measured vectors, indices of the training samples
trials/KEY/weights.safetensors     the trained network
trials/KEY/history.parquet         one row a recorded epoch
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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from implicit_geometry._json import dumps
from implicit_geometry._validate import InputError
from implicit_geometry.experiments.spec import TrialSpec

if TYPE_CHECKING:
    import pandas as pd

MARKER = "igeom-runs.json"
_FORMAT = {"format": "implicit_geometry.runs", "version": 2}
_RECORD = "record.json"
_ARRAYS = "geometry.safetensors"
_WEIGHTS = "weights.safetensors"
_HISTORY = "history.parquet"

_PATIENCE = 1.0  # seconds until a claim is said to wait

Array = NDArray[Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """A finished run: what was asked, what came out, and the measured vectors.

    Attributes:
        spec: the run.
        record: one flat row of results.
        arrays: such as ``classifier`` and ``embedding``, float64 of shape (k, d), and ``train_indices``.
        history: one row a recorded epoch. Not read back with the run: see :meth:`RunStore.history`.
        weights: tensors of the network. Not read back with the run: see :meth:`RunStore.weights`.
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


@dataclass(frozen=True)
class Contents:
    """What a results folder holds.

    Attributes:
        runs: finished ones in order of their keys, without ``arrays``.
        failures: runs that did not finish.
        damaged: what is wrong with each folder or file that cannot be read.
    """

    runs: tuple[Run, ...]
    failures: tuple[Failure, ...]
    damaged: tuple[str, ...]


@dataclass(frozen=True)
class RunStore:
    """Finished runs under one folder. Make one with :func:`open_store`."""

    folder: Path

    def has(self, spec: TrialSpec) -> bool:
        """Whether the run is finished."""
        return self.place(spec).exists()

    def save(self, run: Run) -> None:
        """Write a run under a temporary name, then rename: it is there whole or not at all.

        Raises:
            InputError: it cannot be written; nothing of it is left then.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        partial = None
        try:
            partial = Path(tempfile.mkdtemp(prefix=f".partial-{run.spec.key}-", dir=self.folder / "trials"))
            document = {"spec": run.spec.to_dict(), "record": run.record}
            (partial / _RECORD).write_text(dumps(document), encoding="utf-8")
            for name, arrays in ((_ARRAYS, run.arrays), (_WEIGHTS, run.weights)):
                save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, partial / name)
            if run.history:
                _history_frame(run.history).to_parquet(partial / _HISTORY, index=False)
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
    def claim(self, spec: TrialSpec, *, on_wait: Callable[[], object] = lambda: None) -> Iterator[Path]:
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
        document = {"spec": failure.spec.to_dict(), "reason": failure.reason, "final": failure.final}
        write_atomically(path, lambda part: part.write_text(dumps(document), encoding="utf-8"))

    def failure(self, spec: TrialSpec) -> Failure | None:
        """What was recorded of a run that did not finish."""
        path = self._failed(spec)
        return _read_failure(path) if path.exists() else None

    def failures(self) -> list[Failure]:
        """All runs that did not finish."""
        return [_read_failure(path) for path in sorted((self.folder / "failed").glob("*.json"))]

    def contents(self) -> Contents:
        """What is in the folder, the readable beside the damaged; measured vectors are left on disk."""
        runs, damaged_runs = _each(sorted((self.folder / "trials").glob("*")), _read_record)
        failures, damaged_failures = _each(sorted((self.folder / "failed").glob("*.json")), _read_failure)
        return Contents(tuple(runs), tuple(failures), (*damaged_runs, *damaged_failures))

    def load(self, spec: TrialSpec) -> Run:
        """Read a finished run back.

        Raises:
            InputError: its folder is missing or damaged.
        """
        return _read(self.place(spec))

    def history(self, spec: TrialSpec) -> pd.DataFrame:
        """The recorded epochs of a finished run, one a row; empty where none was recorded.

        Raises:
            InputError: the file is damaged.
        """
        import pandas as pd

        path = self.place(spec) / _HISTORY
        try:
            return pd.read_parquet(path) if path.exists() else pd.DataFrame()
        except (OSError, ValueError) as error:
            raise InputError(f"run folder {path.parent}", f"must hold a readable {_HISTORY}", error) from error

    def weights(self, spec: TrialSpec) -> dict[str, Array]:
        """The trained network of a finished run, as ``state_dict`` names it.

        Raises:
            InputError: the file is missing or damaged.
        """
        return _arrays(self.place(spec) / _WEIGHTS)

    def load_all(self, specs: Iterable[TrialSpec]) -> list[Run]:
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

    def place(self, spec: TrialSpec) -> Path:
        """The folder of a finished run."""
        return self.folder / "trials" / spec.key

    def _working(self, spec: TrialSpec) -> Path:
        return self.folder / "working" / spec.key

    def _failed(self, spec: TrialSpec) -> Path:
        return self.folder / "failed" / f"{spec.key}.json"


def open_store(folder: str | Path) -> RunStore:
    """Open a results folder, or make a new one.

    Raises:
        InputError: the folder cannot be written, is a file, or holds something else.
    """
    path = Path(folder)
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
    path = Path(folder)
    try:
        content = json.loads((path / MARKER).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            "results", "must be in a folder made by igeom", f"{path} without a readable {MARKER}"
        ) from error
    except json.JSONDecodeError as error:
        raise InputError(
            "results", "must be in a folder made by igeom", f"{path} with a damaged {MARKER} ({error})"
        ) from error
    if content != _FORMAT:
        raise InputError("results", f"must be in a folder of {_FORMAT}", f"{path} of {content}")
    return RunStore(path)


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file under a temporary name beside it, then rename; the suffix is kept for writers that look at it.

    Raises:
        InputError: the file cannot be written.
    """
    from safetensors import SafetensorError

    try:
        handle, name = tempfile.mkstemp(prefix=".partial-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        part = Path(name)
        try:
            write(part)
            part.chmod(0o644)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError("output", "must be a file that can be written", f"{path} ({reason})") from error


@contextmanager
def _locked(path: Path, on_wait: Callable[[], object]) -> Iterator[None]:
    """Hold a lock that ends with the process; ``on_wait`` is called where another has it for long."""
    from filelock import FileLock, Timeout

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


def _read(place: Path) -> Run:
    """Record and measured vectors; that the weights are whole is all that is read of them."""
    from safetensors import safe_open

    run = replace(_read_record(place), arrays=_arrays(place / _ARRAYS))
    with _damage_named(place / _WEIGHTS), safe_open(place / _WEIGHTS, framework="np"):
        return run


def _read_record(place: Path) -> Run:
    try:
        document = json.loads((place / _RECORD).read_text(encoding="utf-8"))
        run = Run(TrialSpec.from_dict(document["spec"]), dict(document["record"]), arrays={})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"run folder {place}", "must hold a finished run", f"a damaged {_RECORD} ({error})") from error
    if run.spec.key != place.name:
        raise InputError(f"run folder {place}", "must hold the run its name says", "another spec")
    return run


def _arrays(path: Path) -> dict[str, Array]:
    from safetensors.numpy import load_file

    with _damage_named(path):
        return load_file(path)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Name a safetensors file that is missing or damaged, and its run."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"run folder {path.parent}", "must hold a finished run", f"a damaged {path.name} ({error})"
        ) from error


def _read_failure(path: Path) -> Failure:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Failure(TrialSpec.from_dict(document["spec"]), str(document["reason"]), bool(document["final"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(str(path), "must describe a run that failed", f"damaged content ({error})") from error


def _history_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table of numbers; ``epoch`` whole, None (no number) as NaN."""
    import pandas as pd

    return pd.DataFrame(rows).astype(float).astype({"epoch": int})
