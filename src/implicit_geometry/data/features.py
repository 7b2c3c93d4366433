"""Feature files: embeddings that some network made, with their labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from implicit_geometry._files import size_of_regular_file
from implicit_geometry._validate import LARGEST_COUNT, InputError, Ints
from implicit_geometry.counts import ClassCounts
from implicit_geometry.data.read_errors import reading
from implicit_geometry.data.source import Source


def load_features(path: Path) -> Source:
    """Read ``embeddings`` (n, d) and ``labels`` (n,) from an ``.npz`` file, as they are, in float32.

    Args:
        path: may also hold ``test_embeddings`` and ``test_labels``, then the official test part. Never unpickled.

    Raises:
        InputError: the file is missing or damaged, lacks an array, or arrays do not fit one another.
    """
    arrays = _arrays(path)
    train, labels = _embeddings(path, "embeddings", arrays), _labels(path, "labels", arrays)
    k = ClassCounts.from_labels(labels).num_classes
    test = test_labels = None
    if "test_embeddings" in arrays or "test_labels" in arrays:
        test, test_labels = _embeddings(path, "test_embeddings", arrays), _labels(path, "test_labels", arrays)
    return Source(f"features:{path}", train, labels, test, test_labels, tuple(map(str, range(k))))


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    names = ("embeddings", "labels", "test_embeddings", "test_labels")
    with reading(f"feature file {path}"):
        size_of_regular_file(path)  # or a pipe would be waited for
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(f"feature file {path}", "must be an .npz archive of named arrays", "a single array")
            with archive:
                return {name: archive[name] for name in names if name in archive.files}


def _embeddings(path: Path, name: str, arrays: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    array = _named(path, name, arrays)
    if array.ndim != 2 or array.dtype.kind not in "iuf" or 0 in array.shape:
        raise InputError(
            f"{name} of {path}", "must be numbers of shape (n, d)", f"shape {array.shape} and dtype {array.dtype}"
        )
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    bad = ~np.isfinite(single)
    if bad.any():
        row, column = np.unravel_index(bad.argmax(), bad.shape)
        raise InputError(f"{name} of {path}", "must be finite in float32", f"{array[row, column]} in row {row}")
    return single


def _labels(path: Path, name: str, arrays: dict[str, NDArray[Any]]) -> Ints:
    array = _named(path, name, arrays)
    if array.dtype.kind not in "iuf" or not np.all((np.abs(array) < LARGEST_COUNT) & (array == np.floor(array))):
        raise InputError(f"{name} of {path}", "must be class indices 0, 1, ...", f"dtype {array.dtype}")
    return array.astype(np.int64)


def _named(path: Path, name: str, arrays: dict[str, NDArray[Any]]) -> NDArray[Any]:
    if name not in arrays:
        raise InputError(f"feature file {path}", f"must hold {name}", ", ".join(arrays) or "none of its arrays")
    return arrays[name]
