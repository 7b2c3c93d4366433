"""The data sets that torchvision reads: MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from implicit_geometry._validate import InputError, Ints
from implicit_geometry.data.read_errors import reading
from implicit_geometry.data.source import Source

READERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100"}
"""Class of torchvision.datasets that reads each set."""

_FOLDERS = {
    "mnist": "MNIST/raw",
    "fashion_mnist": "FashionMNIST/raw",
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
}


def load_vision(name: str, root: Path, *, download: bool = False) -> Source:
    """Read a torchvision data set into uint8 arrays (n, channels, height, width).

    The CIFAR files are pickles. They are read by torchvision's own class, which first compares every file with the
    published checksum and refuses any other.

    Args:
        name: one of :data:`READERS`.
        root: folder that holds torchvision's sub-folder of the data set.
        download: fetch what is not there.

    Raises:
        InputError: torchvision is not installed, or the files are missing or damaged.
    """
    try:
        datasets = import_module("torchvision.datasets")
    except ImportError as error:
        raise InputError(name, "needs torchvision: pip install 'implicit-geometry[vision]'") from error
    folder = root.resolve() / _FOLDERS[name]
    if not download and not folder.is_dir():
        raise InputError(
            name,
            f"must lie in {folder}",
            "no such folder: name the folder above it with --data-root (root), or fetch it with --download "
            "(download=True)",
        )
    hint = f" (looked in {folder}; move damaged files away and fetch them again with --download)"
    reader = getattr(datasets, READERS[name])
    with reading(name, hint):
        train, test = (reader(str(root), train=part, download=download) for part in (True, False))
        images, test_images = _images(train.data), _images(test.data)
        labels, test_labels = _labels(train.targets), _labels(test.targets)
    classes = tuple(str(title).split(" - ")[0] for title in train.classes)  # MNIST's are "0 - zero", ...
    return Source(name, images, labels, test_images, test_labels, classes, mirrors=name != "mnist")


def _images(data: Any) -> NDArray[np.uint8]:
    """Grey (n, h, w) or colour (n, h, w, 3) to (n, channels, h, w)."""
    array = np.asarray(data)
    return array[:, None] if array.ndim == 3 else np.ascontiguousarray(array.transpose(0, 3, 1, 2))


def _labels(targets: Any) -> Ints:
    return np.asarray(targets, dtype=np.int64)
