"""The full measurement of embeddings that are stored already: arrays in memory or on a disk, in chunks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from implicit_geometry._files import size_of_regular_file
from implicit_geometry._validate import InputError, choice, instance, whole_number
from implicit_geometry.frames import FRAMES, Frame
from implicit_geometry.lowrank import finite_matrix
from implicit_geometry.measurement import Measurement, refuses_replaced_arguments
from implicit_geometry.nn.measuring.metric import GeometryMetric, host_array, tensor_of
from implicit_geometry.nn.measuring.two_passes import Scatter
from implicit_geometry.parameterization import Parameterization

_ENTRIES_AT_ONCE = 2**22  # of embeddings or logits in float64: 32 MB


@refuses_replaced_arguments
def measure_arrays(
    embeddings: NDArray[Any] | str | os.PathLike[str],
    labels: NDArray[Any] | str | os.PathLike[str],
    classifier: Tensor | ArrayLike,
    bias: Tensor | ArrayLike | None = None,
    *,
    ignore_index: int = -100,
    parameterization: Parameterization | None = None,
    frame: Frame = "projected",
) -> Measurement:
    """Measure the geometry, collapse and accuracy of a network from its embeddings, as :func:`measure` does.

    Both passes read the arrays in chunks, so that memory maps (``np.load(path, mmap_mode="r")``) larger than memory are
    measured too. The logits are those of the given head, in float64.

    Args:
        embeddings: what enters the head, any floating dtype, shape (N, d); or the path of an ``.npy`` file with them.
        labels: class indices, any integer dtype, shape (N,); or the path of an ``.npy`` file with them.
        classifier: W of the head, shape (k, d).
        bias: bias of the head, shape (k,), where it has one.
        ignore_index: label of samples that do not count.
        parameterization: the training loss, whose scales say what of the embeddings it sees; plain cross-entropy where
            left out.
        frame: of the class means (:mod:`implicit_geometry.frames`): ``"projected"``, what the logits see of them, or
            ``"centred"``, as the paper compares them.

    Raises:
        InputError: embeddings and labels of different length, a file that cannot be read or ends early, a wrong type,
            dtype or shape, labels out of range, embeddings that are not finite, a class without samples, or no such
            frame.

    Example:
        >>> embeddings, labels = np.array([[2.0, 5.0], [-2.0, 5.0], [-1.0, 5.0]]), np.array([0, 1, 1])
        >>> found = measure_arrays(embeddings, labels, [[1.0, 0.0], [-1.0, 0.0]])
        >>> found.embedding.tolist(), found.class_variance.tolist(), found.accuracy
        ([[2.0, 0.0], [-1.5, 0.0]], [0.0, 0.25], 1.0)
    """
    weight = finite_matrix("classifier", host_array("classifier", classifier))
    ignored = whole_number("ignore_index", ignore_index, minimum=-(2**63), maximum=2**63 - 1)
    if parameterization is not None:
        instance("parameterization", parameterization, Parameterization)
    choice("frame", frame, FRAMES)
    rows, index = _opened("embeddings", embeddings), _opened("labels", labels)
    if rows.ndim != 2 or rows.shape[1] != weight.shape[1]:
        raise InputError("embeddings", f"must have shape (N, {weight.shape[1]}), as classifier has", rows.shape)
    if index.shape != rows.shape[:1]:
        raise InputError("labels", f"must have one entry per embedding, shape ({len(rows)},)", index.shape)
    metric = GeometryMetric(*weight.shape, ignore_index=ignored, sync_on_compute=False)
    chunk = max(_ENTRIES_AT_ONCE // max(weight.shape), 1)
    for start, vectors, classes in _chunks(rows, index, chunk):
        try:
            metric.update(vectors, classes)
        except InputError as error:
            where = f"{error.given} of the {len(classes)} from {start} on"
            raise InputError(error.argument, error.expectation, where) from error
    measurement = metric.compute(weight, bias=bias, parameterization=parameterization, frame=frame)
    scatter = Scatter(measurement, torch.device("cpu"))
    head = torch.tensor(measurement.classifier)
    offset = None if measurement.bias is None else torch.tensor(measurement.bias)
    for _, vectors, classes in _chunks(rows, index, chunk):
        counted = classes != ignored
        vectors, classes = vectors[counted], classes[counted]
        scatter.update(vectors, classes, torch.nn.functional.linear(vectors, head, offset))
    return scatter.added_to(measurement)


def _chunks(embeddings: NDArray[Any], labels: NDArray[Any], length: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """The first row of each chunk, its embeddings in float64 and its labels."""
    for start in range(0, len(labels), length):
        part = slice(start, start + length)
        yield start, tensor_of("embeddings", embeddings[part]), tensor_of("labels", labels[part])


def _opened(name: str, given: NDArray[Any] | str | os.PathLike[str]) -> NDArray[Any]:
    """An array, that of a file as a memory map."""
    if isinstance(given, (str, os.PathLike)):
        try:
            size_of_regular_file(Path(given))  # or a pipe would be waited for
            array = np.load(given, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(name, "must be a whole .npy file that can be read", f"{given} ({error})") from error
    else:
        array = given
    if not isinstance(array, np.ndarray):
        raise InputError(name, "must be a NumPy array or the path of an .npy file", type(array).__name__)
    _refuse_cut_file(name, array)
    return array


def _refuse_cut_file(name: str, array: NDArray[Any]) -> None:
    """Refuse a memory map of a file that has lost its end since: to read there would end the process."""
    whole = array
    while isinstance(whole.base, np.memmap):
        whole = whole.base
    if isinstance(whole, np.memmap) and whole.filename is not None and os.path.exists(whole.filename):
        size, needed = os.path.getsize(whole.filename), whole.offset + whole.nbytes
        if size < needed:
            given = f"{whole.filename} of {size:,} bytes"
            raise InputError(name, f"must be a memory map of a file that has its {needed:,} bytes", given)
