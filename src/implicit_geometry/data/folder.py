"""Image folders, decoded one image at a time: any number of them.

torchvision's ``ImageFolder`` raises whatever its decoder does on a damaged file; here that is one error that names the
file, in a worker of a loader too, and an image folder needs no torchvision.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from implicit_geometry._validate import InputError, Ints
from implicit_geometry.data.read_errors import reading

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Of image files, in any case (those of ``torchvision.datasets.ImageFolder``)."""

DEFAULT_SIZE = 32
"""Side of an image where none is given: that of CIFAR, which the networks for small images expect."""

_MEAN = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
_STD = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)


@dataclass(frozen=True, eq=False, repr=False)
class ImageFiles:
    """Images in files, read when asked for.

    Args:
        paths: one per sample.
        size: side in pixels to which every image is brought.
    """

    paths: tuple[str, ...]
    size: int

    def __repr__(self) -> str:
        return f"ImageFiles({len(self.paths)} files, size={self.size})"

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Number of images, channels, height and width."""
        return len(self.paths), 3, self.size, self.size

    def take(self, indices: Ints) -> ImageFiles:
        """The chosen images, in that order."""
        return ImageFiles(tuple(self.paths[i] for i in indices), self.size)

    def read(self, index: int) -> Tensor:
        """Decode one image: RGB, its shorter side scaled to ``size``, the middle square cut out, standardised.

        Mean and standard deviation are the usual ones of ImageNet, which pre-trained networks expect: those of a whole
        folder would need every image to be read.

        Returns:
            float32, shape (3, size, size).

        Raises:
            InputError: the file is missing or damaged (the message names it).
        """
        path = self.paths[index]
        with reading(f"image {path}"), Image.open(path) as image:
            image.draft("RGB", (2 * self.size, 2 * self.size))  # a large JPEG is decoded at a fraction of its size
            square = ImageOps.fit(image.convert("RGB"), (self.size, self.size), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()
        return (pixels / 255 - _MEAN) / _STD


class LabelledImages(Dataset[Any]):
    """Image files with labels; ``dataset[3]`` is one sample, ``dataset[[3, 5]]`` a batch."""

    def __init__(self, images: ImageFiles, labels: Tensor) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int | list[int]) -> tuple[Tensor, Tensor]:
        inputs = (
            torch.stack([self.images.read(i) for i in index]) if isinstance(index, list) else self.images.read(index)
        )
        return inputs, self.labels[index]


def find_images(folder: Path, size: int, class_names: tuple[str, ...] = ()) -> tuple[ImageFiles, Ints, tuple[str, ...]]:
    """Image files in the sub-folders of a folder, one sub-folder per class; nothing is decoded.

    Args:
        folder: holds ``<class>/*``. Files of other suffixes and hidden names are passed over.
        size: side in pixels to which every image will be brought.
        class_names: the sub-folders expected; any where left out.

    Returns:
        The files, their class indices (n,), and the class names in alphabetical order.

    Raises:
        InputError: there are fewer than two sub-folders, other ones than expected, or one without images.
    """
    with reading(f"image folder {folder}"):
        classes = tuple(sorted(child.name for child in folder.iterdir() if child.is_dir() and child.name[0] != "."))
        found = [_image_names(folder / name) for name in classes]
    if len(classes) < 2:
        raise InputError(f"image folder {folder}", "must hold at least 2 class folders", len(classes))
    if class_names and classes != class_names:
        odd = sorted(set(classes) ^ set(class_names))
        raise InputError(f"image folder {folder}", f"must hold the classes of the training part, differs in {odd[:10]}")
    for name, files in zip(classes, found, strict=True):
        if not files:
            raise InputError(f"class folder {folder / name}", f"must hold images ({', '.join(SUFFIXES)})", "none")
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in found])
    return ImageFiles(tuple(path for files in found for path in files), size), labels, classes


def has_class_folders(folder: Path) -> bool:
    """Whether a folder exists and holds sub-folders."""
    return folder.is_dir() and any(child.is_dir() and child.name[0] != "." for child in folder.iterdir())


def _image_names(folder: Path) -> list[str]:
    return sorted(
        str(path) for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
