"""Figures as PNG and SVG, the same bytes for the same figure, and files that are whole or not there."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from PIL import Image

from implicit_geometry._files import write_atomically
from implicit_geometry._validate import choice, file_path, instance

DOTS_PER_INCH = 200
_COLORS = 128


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG of 200 dots an inch, without date or program in its metadata.

    Example:
        >>> png_bytes(Figure(figsize=(1, 1)))[1:4]
        b'PNG'
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def page_png(figure: Figure) -> bytes:
    """The figure as a PNG of at most 128 colours, a third as large, for pages that hold many.

    Example:
        >>> page_png(Figure(figsize=(1, 1)))[1:4]
        b'PNG'
    """
    picture = Image.open(io.BytesIO(png_bytes(figure))).convert("RGB")
    buffer = io.BytesIO()
    palette = picture.quantize(_COLORS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette.save(buffer, format="png", dpi=(DOTS_PER_INCH, DOTS_PER_INCH))
    return buffer.getvalue()


def svg_text(figure: Figure) -> str:
    """The figure as SVG text that needs no fonts, without date or program in its metadata.

    Example:
        >>> "<svg" in svg_text(Figure(figsize=(1, 1)))
        True
    """
    buffer = io.BytesIO()
    bare = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with matplotlib.rc_context({"svg.hashsalt": "implicit_geometry", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata=bare)
    return buffer.getvalue().decode("utf-8")


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure, whole or not at all; the suffix of the path, ``.png`` or ``.svg``, says as what.

    Raises:
        InputError: another suffix, or the file cannot be written.

    Example:
        >>> save_figure(Figure(), "figure.bmp")
        Traceback (most recent call last):
        implicit_geometry._validate.InputError: suffix of path must be one of .png, .svg, got '.bmp'
    """
    instance("figure", figure, Figure)
    target = file_path("path", path)
    suffix = choice("suffix of path", target.suffix.lower(), (".png", ".svg"))
    content = png_bytes(figure) if suffix == ".png" else svg_text(figure).encode("utf-8")
    write_atomically(target, lambda part: part.write_bytes(content))
