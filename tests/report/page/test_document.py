"""The page: self-contained, escaped, complete."""

from __future__ import annotations

import base64
import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from implicit_geometry._validate import InputError
from implicit_geometry.report.figures.images import png_bytes, svg_text
from implicit_geometry.report.page.document import PageFigure, Problems, Section, as_csv, render_page

VOID = {"meta", "img", "source", "input", "link", "br", "hr"}
HOSTILE = "<script>alert(\"1\")</script> & '$title'"


class Page(HTMLParser):
    """Tags with attributes, text by tag, and a check that tags close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.text.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text[self.open[-1]][-1] += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def drawing() -> Figure:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([1, 2])
    return figure


@pytest.fixture(scope="module")
def section(drawing: Figure, records: pd.DataFrame) -> Section:
    return Section(
        title="digits, step",
        sentences=["First finding.", "Second finding."],
        figures=[
            PageFigure("Accuracy", "By exponent.", png_bytes(drawing), svg_text(drawing)),
            ("Geometry", "Over theory.", svg_text(drawing)),
        ],
        records=records,
        facts={"Network": "3 x 256", "Seeds": 2},
    )


@pytest.fixture(scope="module")
def parts(section: Section) -> dict[str, Any]:
    return {
        "title": "Geometry of digits",
        "lead": "What was trained.",
        "tiles": {"runs": 44, "losses": 6},
        "sections": [section],
    }


@pytest.fixture(scope="module")
def html(parts: dict[str, Any]) -> str:
    return render_page(**parts)


def payload(uri: str | None) -> bytes:
    assert uri is not None
    return base64.b64decode(uri.split("base64,", 1)[1], validate=True)


def test_nothing_comes_from_the_network(html: str) -> None:
    page = Page(html)
    addresses = [
        value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href", "srcset")
    ]
    outside = [value for value in addresses if value is not None and not value.startswith("#run-")]
    assert len(outside) == 4
    assert all(value.startswith("data:") for value in outside)
    assert {tag for tag, _ in page.tags}.isdisjoint({"link", "iframe", "object", "embed", "base"})
    assert not re.search(
        r"https?:|//[a-z]|@import|url\(|fetch\(|XMLHttpRequest|@font-face", re.sub(r"base64,\S+", "", html)
    )
    policy = next(item["content"] for item in page.attributes("meta") if "http-equiv" in item)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_the_text_is_all_there_under_one_title(html: str) -> None:
    text = Page(html).text
    assert text["h1"] == text["title"] == ["Geometry of digits"]
    assert text["h2"] == ["digits, step", "Runs"]
    assert text["h3"] == ["Accuracy", "Geometry", "Results, means over seeds", "Set-up"]
    assert text["li"] == ["First finding.", "Second finding."]
    assert text["figcaption"] == ["By exponent.", "Over theory."]
    assert list(zip(text["dt"], text["dd"], strict=True)) == [
        ("runs", "44"),
        ("losses", "6"),
        ("Network", "3 x 256"),
        ("Seeds", "2"),
    ]


def test_images_are_inlined_whole_with_alternative_text(html: str, drawing: Figure) -> None:
    page = Page(html)
    first, second = page.attributes("img")
    (narrow,) = page.attributes("source")
    assert payload(first["src"]) == png_bytes(drawing)
    assert payload(second["src"]) == payload(narrow["srcset"]) == svg_text(drawing).encode()
    assert (first["alt"], second["alt"]) == ("Accuracy", "Geometry")
    assert narrow["media"] == "(max-width: 44rem)"
    assert (first["width"], first["height"]) == ("400", "200")


def test_the_csv_link_holds_every_record(html: str, records: pd.DataFrame) -> None:
    (link,) = [item for item in Page(html).attributes("a") if "download" in item]
    assert link["download"] == "records.csv"
    head, *rows = csv.reader(io.StringIO(payload(link["href"]).decode("utf-8"), newline=""))
    assert head == list(records.columns)
    assert len(rows) == len(records)
    for row, record in zip(rows, records.to_dict("records"), strict=True):
        for text, value in zip(row, record.values(), strict=True):
            assert (float(text) if type(value) is float else text) == (value if type(value) is float else str(value))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_of_the_csv_is_a_formula_and_numbers_stay(start: str) -> None:
    text = f"{start}1+HYPERLINK(1)"
    head, row = csv.reader(io.StringIO(as_csv(pd.DataFrame({text: [text], "nc1": [-0.5], "seed": [-1]})), newline=""))
    assert head == [f"'{text}", "nc1", "seed"]
    assert row == [f"'{text}", "-0.5", "-1"]


def test_text_is_escaped_wherever_it_comes_from(parts: dict[str, Any], drawing: Figure) -> None:
    figures = [PageFigure(HOSTILE, HOSTILE, png_bytes(drawing))]
    section = Section(HOSTILE, [HOSTILE], figures, parts["sections"][0].records, {HOSTILE: HOSTILE})
    problems = Problems([(HOSTILE, HOSTILE)], [HOSTILE])
    tiles = {HOSTILE: HOSTILE}
    page = Page(render_page(title=HOSTILE, lead=HOSTILE, tiles=tiles, sections=[section], problems=problems))
    assert len(page.attributes("script")) == 1
    for tag in ("title", "h1", "figcaption", "dt", "dd", "b"):
        assert set(page.text[tag]) == {HOSTILE}
    assert page.text["li"] == [HOSTILE, f": {HOSTILE}", HOSTILE]
    assert HOSTILE in page.text["h2"]
    assert page.attributes("img")[0]["alt"] == HOSTILE


def test_several_settings_have_a_table_of_contents(parts: dict[str, Any], section: Section) -> None:
    other = replace(section, title="mnist, step", records=section.records.assign(data="mnist", run="other"))
    page = Page(render_page(**{**parts, "sections": [section, other]}))
    assert page.text["h2"] == ["Settings", "digits, step", "mnist, step", "Runs"]
    targets = {item["id"] for item in page.attributes("h2")}
    links = [item["href"] for item in page.attributes("a") if (item["href"] or "").startswith("#setting-")]
    assert links == ["#setting-1", "#setting-2"]
    assert {"setting-1", "setting-2"} <= targets
    (csv_link,) = [item for item in page.attributes("a") if "download" in item]
    assert len(payload(csv_link["href"]).splitlines()) == 1 + 2 * len(section.records)


def test_failures_and_damage_are_said_on_top(parts: dict[str, Any]) -> None:
    problems = Problems([("LDT, seed 0", "it diverged")], ["run folder x is damaged"])
    html = render_page(**parts, problems=problems)
    assert html.index("it diverged") < html.index("First finding.")
    assert Page(html).text["h3"][:2] == ["Damaged, and not in this report: 1", "Failed: 1"]


def test_runs_are_shown_one_at_a_time_and_without_scripts(parts: dict[str, Any]) -> None:
    html = render_page(**parts, articles=['<article class="run" id="run-a">A run</article>'])
    assert Page(html).text["article"] == ["A run"]
    assert re.search(r"\.run \{ display: none; \}\s+\.run:target \{ display: block; \}", html)


def test_it_reads_on_a_telephone_and_without_scripts(html: str) -> None:
    page = Page(html)
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.attributes("meta")
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html
    (filter_label,) = page.attributes("label")
    assert "hidden" in filter_label
    assert not page.attributes("button")
    assert sum(tag == "tr" for tag, _ in page.tags) > 20


def test_equal_reports_are_equal_and_light(parts: dict[str, Any], html: str) -> None:
    assert render_page(**parts) == html
    assert len(html) < 300_000


def test_an_image_of_another_kind_is_refused(parts: dict[str, Any], section: Section) -> None:
    with pytest.raises(InputError, match="image of figure 'A' must be PNG bytes or SVG text, got b'GIF89a'"):
        render_page(**{**parts, "sections": [replace(section, figures=[("A", "", b"GIF89a")])]})
