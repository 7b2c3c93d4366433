"""Data sets by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from implicit_geometry._validate import InputError, Ints, choice, instance, whole_number
from implicit_geometry.data.features import load_features
from implicit_geometry.data.folder import DEFAULT_SIZE, find_images, has_class_folders
from implicit_geometry.data.source import Source
from implicit_geometry.data.synthetic import load_gaussian
from implicit_geometry.data.vision import READERS, load_vision

__all__ = ["SOURCES", "Source", "load_source"]

SOURCES = ("digits", *READERS)
"""Names of the data sets that need no path."""

_NAMED = ("folder:PATH", "features:FILE.npz", "gaussian:K")


def load_source(
    name: str, *, root: Path | None = None, download: bool = False, image_size: int | None = None
) -> Source:
    """Read a whole data set.

    Args:
        name: one of :data:`SOURCES`, ``folder:PATH`` for images in ``PATH/train/<class>/*`` and ``PATH/val/<class>/*``
            (``test`` where there is no ``val``) or in ``PATH/<class>/*``, or ``features:FILE.npz`` for arrays
            ``embeddings`` (n, d) and ``labels`` (n,), optionally ``test_embeddings`` and ``test_labels``, or
            ``gaussian:K`` for K exchangeable classes (:mod:`implicit_geometry.data.synthetic`).
        root: folder of the torchvision data sets, ``data`` where left out.
        download: fetch a torchvision data set that is not there.
        image_size: side to which the images of a folder are brought, 32 where left out.

    Raises:
        InputError: no such name, files that are missing or damaged, or ``image_size`` for a set of another kind.

    Example:
        >>> digits = load_source("digits")
        >>> digits.input_shape, digits.num_classes, len(digits.train)
        ((1, 8, 8), 10, 1797)
    """
    kind, _, path = instance("name", name, str).partition(":")
    if path and kind == "folder":
        size = DEFAULT_SIZE if image_size is None else whole_number("image_size", image_size, minimum=1)
        return _load_folder(Path(path).expanduser(), size)
    if image_size is not None:
        raise InputError("image_size", f"must be left out for {name}: only image folders are scaled", image_size)
    if path and kind == "features":
        return load_features(Path(path).expanduser())
    if path and kind == "gaussian":
        return load_gaussian(path)
    if choice("name", name, (*SOURCES, *_NAMED)) == "digits":
        return _load_digits()
    return load_vision(name, Path("data") if root is None else Path(root), download=download)


def _load_digits() -> Source:
    """The 8 x 8 handwritten digits that scikit-learn ships: real data that needs no download."""
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    images = digits.images.astype(np.uint8)[:, None]  # whole numbers 0..16, (1797, 1, 8, 8)
    labels: Ints = digits.target.astype(np.int64)
    return Source("digits", images, labels, None, None, tuple(str(name) for name in digits.target_names))


def _load_folder(path: Path, size: int) -> Source:
    name = f"folder:{path}"
    if not has_class_folders(path / "train"):
        images, labels, classes = find_images(path, size)
        return Source(name, images, labels, None, None, classes, mirrors=True)
    images, labels, classes = find_images(path / "train", size)
    held_out = next((path / part for part in ("val", "test") if (path / part).is_dir()), None)
    if held_out is None:
        return Source(name, images, labels, None, None, classes, mirrors=True)
    test, test_labels, _ = find_images(held_out, size, classes)
    return Source(name, images, labels, test, test_labels, classes, mirrors=True)
