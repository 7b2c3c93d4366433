"""One HTML page that needs nothing else: text, figures, a table that sorts and filters, the runs as CSV."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import NamedTuple

import pandas as pd

from implicit_geometry._validate import InputError
from implicit_geometry.report.tables import summary_html

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class PageFigure(NamedTuple):
    """A figure of a page; a plain (title, caption, image) serves too.

    Attributes:
        title: heading, and the text a reader gets who cannot see the image.
        caption: what to see in it.
        image: PNG bytes or SVG text.
        narrow_image: the same laid out for a narrow screen; ``image`` serves there too if None.
    """

    title: str
    caption: str
    image: bytes | str
    narrow_image: bytes | str | None = None


def render_page(
    *,
    title: str,
    lead: str,
    sentences: Sequence[str],
    figures: Sequence[PageFigure | tuple[str, str, bytes | str]],
    records: pd.DataFrame,
    facts: Mapping[str, object],
) -> str:
    """Render a report as one self-contained HTML document; all text is plain text and is escaped.

    Args:
        title: of the page.
        lead: one paragraph below it.
        sentences: findings, in order.
        figures: in order.
        records: one row a run; the table shows their means over seeds, the CSV link holds them all.
        facts: name and value, in order: data, network, optimisation, versions.

    Returns:
        The document; it asks for nothing from the network and opens from a file.

    Raises:
        InputError: an image is neither PNG bytes nor SVG text, or a column of the records is missing.
    """
    folder = files(__package__)
    template = Template(folder.joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title),
        lead=escape(lead),
        style=folder.joinpath("page.css").read_text(encoding="utf-8").strip(),
        sentences="\n".join(f"<li>{escape(sentence)}</li>" for sentence in sentences),
        figures="\n".join(_figure_html(PageFigure(*figure)) for figure in figures),
        table=summary_html(records),
        csv=_base64(records.to_csv(index=False).encode("utf-8")),
        runs="1 run" if len(records) == 1 else f"{len(records)} runs",
        facts="\n".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items()),
    )


def _figure_html(figure: PageFigure) -> str:
    image = f'<img alt="{escape(figure.title)}" src="{_data_uri(figure.title, figure.image)}">'
    if figure.narrow_image is not None:
        narrow = _data_uri(figure.title, figure.narrow_image)
        image = f'<picture><source media="(max-width: 44rem)" srcset="{narrow}">{image}</picture>'
    heading, caption = f"<h3>{escape(figure.title)}</h3>", f"<figcaption>{escape(figure.caption)}</figcaption>"
    return f"<figure>\n{heading}\n{image}\n{caption}\n</figure>"


def _data_uri(title: str, image: bytes | str) -> str:
    if isinstance(image, bytes) and image.startswith(_PNG_SIGNATURE):
        return f"data:image/png;base64,{_base64(image)}"
    if isinstance(image, str) and "<svg" in image:
        return f"data:image/svg+xml;base64,{_base64(image.encode('utf-8'))}"
    raise InputError(f"image of figure {title!r} must be PNG bytes or SVG text, got {image[:20]!r}")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
