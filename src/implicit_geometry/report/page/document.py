"""One HTML page that needs nothing else: findings, figures, tables that sort and filter, every run, the runs as CSV.

The page is one template with ten holes, filled by the standard library; a template engine would be one more dependency
for a handful of loops.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import NamedTuple

import pandas as pd

from implicit_geometry._validate import InputError
from implicit_geometry.experiments.record_columns import COLUMNS, DESCRIPTION, columns
from implicit_geometry.report.page.tables import (
    Cell,
    described_cells,
    html_table,
    number_cell,
    runs_html,
    summary_html,
)

_DISTANCES = columns("classifier_limit_distance", "classifier_etf_distance")
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


@dataclass(frozen=True)
class Section:
    """Runs that differ in loss and seed only.

    Attributes:
        title: heading.
        sentences: findings, in order.
        figures: in order.
        records: one row per run, as :func:`implicit_geometry.experiments.record_columns.records_frame` makes them.
        facts: name and value, in order: data, network, optimisation, versions.
    """

    title: str
    sentences: Sequence[str]
    figures: Sequence[PageFigure | tuple[str, str, bytes | str]]
    records: pd.DataFrame
    facts: Mapping[str, object]


@dataclass(frozen=True)
class Problems:
    """What a page must say of runs that it cannot show.

    Attributes:
        failures: run in words and reason, for each that did not finish.
        damaged: what is wrong with each folder or file that cannot be read.
    """

    failures: Sequence[tuple[str, str]] = ()
    damaged: Sequence[str] = ()


def render_page(
    *,
    title: str,
    lead: str,
    tiles: Mapping[str, object],
    sections: Sequence[Section],
    articles: Iterable[str] = (),
    problems: Problems = Problems(),
) -> str:
    """Render a report as one self-contained HTML document; all text is plain text and is escaped.

    Args:
        title: of the page.
        lead: one paragraph below it.
        tiles: name and number, in order: how many runs, losses and so on.
        sections: at least one, in order; the table and the CSV link hold the runs of all.
        articles: HTML of every run, as :func:`implicit_geometry.report.page.one_run.run_article` makes it.
        problems: runs that failed and folders that are damaged.

    Returns:
        The document; it asks for nothing from the network and opens from a file.

    Raises:
        InputError: an image is neither PNG bytes nor SVG text, or a column of the records is missing.
    """
    folder = files(__package__)
    template = Template(folder.joinpath("page.html").read_text(encoding="utf-8"))
    records = pd.concat([section.records for section in sections], ignore_index=True)
    return template.substitute(
        title=escape(title),
        lead=escape(lead),
        style=folder.joinpath("page.css").read_text(encoding="utf-8").strip(),
        tiles="\n".join(f"<div><dt>{escape(name)}</dt><dd>{escape(str(tiles[name]))}</dd></div>" for name in tiles),
        problems=_problems_html(problems),
        overview=_overview_html(sections) if len(sections) > 1 else "",
        sections="\n".join(_section_html(section, number) for number, section in enumerate(sections, start=1)),
        table=runs_html(records),
        csv=_base64(as_csv(records).encode("utf-8")),
        runs="1 run" if len(records) == 1 else f"{len(records)} runs",
        articles="\n".join(articles),
    )


def as_csv(records: pd.DataFrame) -> str:
    r"""Records as CSV in which no text is a formula to a spreadsheet: an apostrophe goes before what would start one.

    Example:
        >>> print(as_csv(pd.DataFrame({"data": ["=1+1", "digits"], "nc1": [-0.5, 2.0]})), end="")
        data,nc1
        '=1+1,-0.5
        digits,2.0
    """
    texts = records.map(lambda value: _no_formula(value) if isinstance(value, str) else value)
    return texts.rename(columns=_no_formula).to_csv(index=False, lineterminator="\r\n")


def _no_formula(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def facts_html(facts: Mapping[str, object]) -> str:
    """Names and values as a list of definitions.

    Example:
        >>> facts_html({"seed": 0}).splitlines()[1]
        '<dt>seed</dt><dd>0</dd>'
    """
    items = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
    return f'<dl class="facts">\n{items}\n</dl>'


def versions_text(versions: Mapping[str, str]) -> str:
    """Packages with their versions in one line.

    Example:
        >>> versions_text({"python": "3.12", "torch": "2.8"})
        'python 3.12, torch 2.8'
    """
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def scrolling(table: str, label: str) -> str:
    """A table in a box that scrolls sideways, by keyboard too."""
    return f'<div class="scroll" role="region" aria-label="{escape(label)}" tabindex="0">\n{table}\n</div>'


def png_uri(image: bytes) -> str:
    """A PNG as an address that holds it."""
    return f"data:image/png;base64,{_base64(image)}"


def _section_html(section: Section, number: int) -> str:
    sentences = "\n".join(f"<li>{escape(sentence)}</li>" for sentence in section.sentences)
    figures = "\n".join(_figure_html(PageFigure(*figure)) for figure in section.figures)
    return f"""<section aria-labelledby="setting-{number}">
<h2 id="setting-{number}">{escape(section.title)}</h2>
<ul class="findings">
{sentences}
</ul>
{figures}
<h3>Results, means over seeds</h3>
{scrolling(summary_html(section.records), f"Means of setting {number}")}
<h3>Set-up</h3>
{facts_html(section.facts)}
</section>"""


def _overview_html(sections: Sequence[Section]) -> str:
    """A table of contents: how the settings differ, with links to them."""
    firsts = [section.records.iloc[0] for section in sections]
    words = [key for key in DESCRIPTION if len({first[key] for first in firsts}) > 1]
    rows = [
        [
            Cell(str(number), str(number), f"#setting-{number}"),
            *described_cells(first, words),
            number_cell(len(section.records), "g"),
            number_cell(section.records["rule"].nunique(), "g"),
            *(number_cell(section.records[column.key].mean(), column.form) for column in _DISTANCES),
        ]
        for number, (section, first) in enumerate(zip(sections, firsts, strict=True), start=1)
    ]
    varying = [COLUMNS[key].title for key in words]
    titles = ["setting", *varying, "runs", "losses", *(column.title for column in _DISTANCES)]
    return (
        '<section aria-labelledby="settings">\n<h2 id="settings">Settings</h2>\n'
        "<p>Runs of a setting differ in loss and seed only. Distances are means over its runs.</p>\n"
        f"{scrolling(html_table(titles, rows), 'Settings')}\n</section>"
    )


def _problems_html(problems: Problems) -> str:
    damaged = [escape(text) for text in problems.damaged]
    failed = [f"<b>{escape(name)}</b>: {escape(reason)}" for name, reason in problems.failures]
    headings = {"Damaged, and not in this report": damaged, "Failed": failed}
    parts = [
        f"<h3>{heading}: {len(items)}</h3>\n<ul>\n{''.join(f'<li>{item}</li>' for item in items)}\n</ul>"
        for heading, items in headings.items()
        if items
    ]
    return f'<div class="problems">\n{"".join(parts)}\n</div>' if parts else ""


def _figure_html(figure: PageFigure) -> str:
    wide = f'src="{_data_uri(figure.title, figure.image)}"{_size(figure.image)}'
    image = f'<img loading="lazy" alt="{escape(figure.title)}" {wide}>'
    if figure.narrow_image is not None:
        narrow = f'srcset="{_data_uri(figure.title, figure.narrow_image)}"{_size(figure.narrow_image)}'
        image = f'<picture><source media="(max-width: 44rem)" {narrow}>{image}</picture>'
    heading, caption = f"<h3>{escape(figure.title)}</h3>", f"<figcaption>{escape(figure.caption)}</figcaption>"
    return f"<figure>\n{heading}\n{image}\n{caption}\n</figure>"


def _size(image: bytes | str) -> str:
    """Attributes that keep the place of a PNG before it is decoded."""
    if isinstance(image, str):
        return ""
    width, height = struct.unpack(">II", image[16:24])
    return f' width="{width}" height="{height}"'


def _data_uri(title: str, image: bytes | str) -> str:
    if isinstance(image, bytes) and image.startswith(_PNG_SIGNATURE):
        return png_uri(image)
    if isinstance(image, str) and "<svg" in image:
        return f"data:image/svg+xml;base64,{_base64(image.encode('utf-8'))}"
    raise InputError(f"image of figure {title!r}", "must be PNG bytes or SVG text", repr(image[:20]))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
