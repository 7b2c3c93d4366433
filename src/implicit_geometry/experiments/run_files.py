"""The files of a run, with checksums: a file that has changed is damage, and is named.

The record carries its own checksum, and size and SHA-256 of each file beside it. Each is verified when it is read.
Records of earlier versions have no checksums; they are read as they are, and known to be unverified.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyarrow import ArrowException
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from implicit_geometry._files import LARGE, dumps, read_regular_file, size_of_regular_file
from implicit_geometry._validate import InputError
from implicit_geometry.experiments.file_checksum import BLANK, check_seal, checksum, sealed
from implicit_geometry.experiments.record_columns import checked_record
from implicit_geometry.experiments.run import Array, Failure, Run, TrainedRun
from implicit_geometry.experiments.spec import RunSpec

RECORD = "record.json"
ARRAYS = "geometry.safetensors"
WEIGHTS = "weights.safetensors"
HISTORY = "history.parquet"

_MARK = b'"checksum": "'
_UNSEALED_RUN, _UNSEALED_FAILURE = {"spec", "record"}, {"spec", "reason", "final"}


@dataclass(frozen=True)
class Record:
    """What a run's ``record.json`` says.

    Attributes:
        run: without its vectors.
        files: size and checksum of each file beside it; None where an earlier version wrote none.
    """

    run: Run
    files: Mapping[str, tuple[int, str]] | None


def run_to_files(run: TrainedRun) -> dict[str, bytes]:
    """The content of every file of a run, by name; the record comes last.

    Raises:
        SafetensorError: an array has a type that safetensors has not.
    """
    files = {
        name: save({key: np.ascontiguousarray(array) for key, array in arrays.items()})
        for name, arrays in ((ARRAYS, run.arrays), (WEIGHTS, run.weights))
    }
    if run.history:
        table = BytesIO()
        _history_frame(run.history).to_parquet(table, index=False)
        files[HISTORY] = table.getvalue()
    described = {name: {"bytes": len(data), "sha256": checksum(data)} for name, data in files.items()}
    record = _sealed_json({"spec": run.spec.to_dict(), "record": run.record, "files": described})
    return {**files, RECORD: record}


def failure_to_bytes(failure: Failure) -> bytes:
    """The content of the file of a run that did not finish."""
    return _sealed_json({"spec": failure.spec.to_dict(), "reason": failure.reason, "final": failure.final})


def read_record(place: Path) -> Record:
    """Read the record in the folder of a run.

    Raises:
        InputError: it is missing or damaged, or is that of another run than the folder's name says.
    """
    try:
        document = _unsealed_json(read_regular_file(place / RECORD), _UNSEALED_RUN, {"files"})
        run = Run(RunSpec.from_dict(document["spec"]), checked_record(document["record"]))
        files = (
            {name: (int(item["bytes"]), str(item["sha256"])) for name, item in document["files"].items()}
            if ("files" in document)
            else None
        )
    except _UNREADABLE as error:
        raise _damaged(place, RECORD, error) from error
    if run.spec.key != place.name:
        raise InputError(f"run folder {place}", "must hold the run its name says", "another spec")
    return Record(run, files)


def read_arrays(place: Path, name: str, record: Record) -> dict[str, Array]:
    """Read a file of arrays of a run.

    Raises:
        InputError: the file is missing or damaged.
    """
    data = _verified(place, name, record)
    with _damage_named(place, name, SafetensorError):
        return load(data)


def check_weights(place: Path, record: Record) -> None:
    """See that the weights are there and of the size that they had, without reading them.

    Raises:
        InputError: they are missing or of another size; without checksums, they are no safetensors file.
    """
    with _damage_named(place, WEIGHTS, SafetensorError):
        size = size_of_regular_file(place / WEIGHTS)
        if record.files is None:
            with safe_open(place / WEIGHTS, framework="np"):
                return
        expected, _ = record.files[WEIGHTS]
        if size != expected:
            raise ValueError(f"it has {size:,} bytes and had {expected:,}")


def read_history(place: Path, record: Record) -> pd.DataFrame:
    """Read the recorded epochs of a run; an empty table where none was recorded.

    Raises:
        InputError: the file is missing or damaged.
    """
    recorded = (place / HISTORY).exists() if record.files is None else HISTORY in record.files
    if not recorded:
        return pd.DataFrame()
    data = _verified(place, HISTORY, record)
    with _damage_named(place, HISTORY, ArrowException):
        table = pd.read_parquet(BytesIO(data))
        if "epoch" not in table or not all(kind.kind in "iuf" for kind in table.dtypes):
            raise ValueError("it must have a column epoch, and numbers only")
        return table


def read_failure(path: Path) -> Failure:
    """Read the file of a run that did not finish.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        document = _unsealed_json(read_regular_file(path), _UNSEALED_FAILURE, set())
        failure = Failure(RunSpec.from_dict(document["spec"]), document["reason"], document["final"])
        if not (isinstance(failure.reason, str) and isinstance(failure.final, bool)):
            raise ValueError("it must have a reason, and whether that is final")
    except _UNREADABLE as error:
        raise InputError(
            str(path), "must describe a run that failed (remove it to run that again)", f"damaged content ({error})"
        ) from error
    return failure


def _sealed_json(document: dict[str, Any]) -> bytes:
    return sealed(dumps({"checksum": BLANK, **document}).encode(), _MARK)


def _unsealed_json(data: bytes, unsealed_keys: set[str], more_keys: set[str]) -> dict[str, Any]:
    """The document of a file that carries its checksum, or of an earlier version's, which has fewer keys."""
    document = json.loads(data, parse_constant=_refuse)
    keys = set(document) if isinstance(document, dict) else set()
    if keys != unsealed_keys:
        if keys != {*unsealed_keys, *more_keys, "checksum"}:
            raise ValueError(f"it must have the keys {', '.join(sorted({*unsealed_keys, *more_keys, 'checksum'}))}")
        check_seal(data, _MARK)
    return dict(document)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _verified(place: Path, name: str, record: Record) -> bytes:
    """The bytes of a file, which are those that were written."""
    with _damage_named(place, name):
        if record.files is None:
            return read_regular_file(place / name, at_most=LARGE)
        size, expected = record.files[name]
        data = read_regular_file(place / name, at_most=size)
        if checksum(data) != expected:
            raise ValueError("its content is not what its checksum says")
        return data


_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, MemoryError)


@contextmanager
def _damage_named(place: Path, name: str, *kinds: type[Exception]) -> Iterator[None]:
    """Name a file that is missing or damaged, and its run."""
    damage: tuple[type[Exception], ...] = (*_UNREADABLE, *kinds)
    try:
        yield
    except damage as error:
        raise _damaged(place, name, error) from error


def _damaged(place: Path, name: str, error: Exception) -> InputError:
    return InputError(f"run folder {place}", "must hold a finished run", f"a damaged {name} ({_in_words(error)})")


def _in_words(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    return f"{error.args[0]} is missing" if type(error) is KeyError else str(error)


def _history_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table of numbers; ``epoch`` whole, None (no number) as NaN."""
    return pd.DataFrame(rows).astype(float).astype({"epoch": int})
