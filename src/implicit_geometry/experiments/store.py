"""One folder a finished run, named by the content of its spec; whole or not there."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from implicit_geometry._json import dumps
from implicit_geometry._validate import InputError
from implicit_geometry.experiments.spec import TrialSpec

_MARKER = "igeom-runs.json"
_FORMAT = {"format": "implicit_geometry.runs", "version": 1}
_RECORD = "record.json"
_ARRAYS = "geometry.safetensors"


@dataclass(frozen=True)
class Run:
    """A finished run: what was asked, what came out, and the measured vectors.

    Attributes:
        spec: the run.
        record: one flat row of results.
        arrays: named float64 arrays, such as ``classifier`` and ``embedding`` of shape (k, d).
    """

    spec: TrialSpec
    record: dict[str, Any]
    arrays: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class RunStore:
    """Finished runs under one folder. Make one with :func:`open_store`."""

    folder: Path

    def has(self, spec: TrialSpec) -> bool:
        """Whether the run is finished."""
        return self._place(spec).exists()

    def save(self, run: Run) -> None:
        """Write a run under a temporary name, then rename: it is there whole or not at all."""
        from safetensors.numpy import save_file

        trials = self.folder / "trials"
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=trials))
        try:
            document = {"spec": run.spec.to_dict(), "record": run.record}
            (partial / _RECORD).write_text(dumps(document), encoding="utf-8")
            save_file({name: np.ascontiguousarray(array) for name, array in run.arrays.items()}, partial / _ARRAYS)
            partial.chmod(0o755)
            if not self.has(run.spec):
                os.replace(partial, self._place(run.spec))
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def load(self, spec: TrialSpec) -> Run:
        """Read a finished run back.

        Raises:
            InputError: its folder is missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        place = self._place(spec)
        try:
            document = json.loads((place / _RECORD).read_text(encoding="utf-8"))
            stored, record = TrialSpec.from_dict(document["spec"]), dict(document["record"])
            arrays = load_file(place / _ARRAYS)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise InputError(f"run folder {place} must hold a finished run, got damaged content ({error})") from error
        if stored != spec:
            raise InputError(f"run folder {place} must hold the run its name says, got another spec")
        return Run(stored, record, arrays)

    def load_all(self, specs: Iterable[TrialSpec]) -> list[Run]:
        """Read several finished runs, in order."""
        return [self.load(spec) for spec in specs]

    def _place(self, spec: TrialSpec) -> Path:
        return self.folder / "trials" / spec.key


def open_store(folder: str | Path) -> RunStore:
    """Open a results folder, or make a new one.

    Raises:
        InputError: the folder cannot be written, is a file, or holds something else.
    """
    path = Path(folder)
    marker = path / _MARKER
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not marker.exists():
            if any(path.iterdir()):
                raise InputError(
                    f"output must be a new folder or one made by igeom, got {path}, which holds something else"
                )
            write_atomically(marker, lambda part: part.write_text(json.dumps(_FORMAT), encoding="utf-8"))
        (path / "trials").mkdir(exist_ok=True)
        tempfile.TemporaryFile(dir=path / "trials").close()
        content = json.loads(marker.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"output must be a folder that can be written, got {path} ({error.strerror})") from error
    except json.JSONDecodeError as error:
        raise InputError(f"output must be a results folder, got {path} with a damaged {_MARKER} ({error})") from error
    if content != _FORMAT:
        raise InputError(f"output must be a results folder of {_FORMAT}, got {path} of {content}")
    return RunStore(path)


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file under a temporary name beside it, then rename; the suffix is kept for writers that look at it.

    Raises:
        InputError: the file cannot be written.
    """
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
    except OSError as error:
        raise InputError(f"output must be a file that can be written, got {path} ({error.strerror})") from error
