"""Pictures and tables of an item, written whole."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from implicit_geometry._files import write_atomically
from implicit_geometry._validate import InputError
from implicit_geometry.report.figures.images import save_figure


def made_folder(path: Path) -> Path:
    """The folder, made where it is missing.

    Raises:
        InputError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("output", "must be a folder that can be written", f"{path} ({error.strerror})") from error
    return path


def write_pictures(figure: Figure, folder: Path, stem: str) -> list[Path]:
    """Write a figure as PNG and SVG, and return both paths."""
    paths = [folder / f"{stem}{ending}" for ending in (".png", ".svg")]
    for path in paths:
        save_figure(figure, path)
    return paths


def write_table(numbers: pd.DataFrame, folder: Path, stem: str) -> Path:
    """Write numbers as CSV, and return the path."""
    path = folder / f"{stem}.csv"
    write_atomically(path, lambda part: numbers.to_csv(part, index=False))
    return path
