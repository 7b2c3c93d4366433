"""Figures as bytes and files."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from implicit_geometry._validate import InputError
from implicit_geometry.report.figures.images import DOTS_PER_INCH, png_bytes, save_figure, svg_text


def drawing() -> Figure:
    figure = Figure(figsize=(3, 2), layout="constrained")
    figure.subplots().plot([1, 2, 3], label="line")
    figure.legend()
    return figure


def test_png_has_the_size_and_resolution_of_the_figure() -> None:
    image = Image.open(io.BytesIO(png_bytes(drawing())))
    assert image.size == (3 * DOTS_PER_INCH, 2 * DOTS_PER_INCH)
    assert DOTS_PER_INCH >= 150
    assert image.info["dpi"] == pytest.approx((DOTS_PER_INCH, DOTS_PER_INCH), rel=1e-3)


def test_equal_figures_give_equal_bytes_without_date_or_program() -> None:
    assert png_bytes(drawing()) == png_bytes(drawing())
    assert svg_text(drawing()) == svg_text(drawing())
    assert b"Matplotlib" not in png_bytes(drawing())
    assert not re.search(r"<dc:(date|creator)>|20\d\d-\d\d", svg_text(drawing()))


def test_svg_needs_no_fonts() -> None:
    text = svg_text(drawing())
    assert "<text" not in text
    assert "font-family" not in text


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("b.PNG", b"\x89PNG")])
def test_the_suffix_says_what_is_written(tmp_path: Path, name: str, start: bytes) -> None:
    save_figure(drawing(), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "figure.png"
    target.write_bytes(b"old")

    def full_disk(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:10])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(InputError, match=r"must be a file that can be written, got .*figure\.png"):
        save_figure(drawing(), target)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"suffix of path must be one of \.png, \.svg, got '\.jpeg'"):
        save_figure(drawing(), tmp_path / "figure.jpeg")
    assert not list(tmp_path.iterdir())
