"""Tables of runs: means over seeds for a terminal and as HTML, and one row per run as HTML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table

from implicit_geometry.experiments.record_columns import COLUMNS, DESCRIPTION, Column, columns
from implicit_geometry.experiments.spec_texts import series_title
from implicit_geometry.report.frames import mean_over_seeds, require_columns


@dataclass(frozen=True)
class Cell:
    """A cell of an HTML table.

    Attributes:
        text: what is shown.
        order: what the table is sorted by.
        link: address the text leads to.
        words: whether it is text, which may wrap.
    """

    text: str
    order: str
    link: str = ""
    words: bool = False


SUMMARY = columns(
    "test_balanced",
    "test_minority",
    "test_worst",
    "classifier_limit_distance",
    "embedding_limit_distance",
    "classifier_etf_distance",
    "embedding_etf_distance",
)
"""The means every summary shows, where the runs have them."""

REGULARIZED = columns("classifier_ridge_distance", "embedding_ridge_distance", "effective_ridge")
"""What HTML adds: the comparison with the regularised optimum."""

PARTS_OF_DISTANCES = columns(
    *(f"{block}_{part}" for part in ("limit_systematic", "heterogeneity") for block in ("classifier", "embedding"))
)
"""The systematic parts of distances to the limit, and the heterogeneity, of runs with equal classes."""

_WORDS = ' class="words"'
_OF_A_RUN = columns("nc1", "seconds")


def format_number(value: float, form: str) -> str:
    """A number as every table shows it; a dash where there is none.

    Example:
        >>> format_number(0.93512, ".1%"), format_number(float("nan"), ".3f")
        ('93.5%', '–')
    """
    return "–" if math.isnan(value) else format(value, form)


def summary_table(records: pd.DataFrame, settings: Sequence[str] = ()) -> Table:
    """Accuracy, distances (0 to 2, unit-norm Gram matrices) and terminal phase for a terminal.

    Args:
        records: one row per run; columns ``rule``, ``exponent``, ``terminal_phase`` and those of :data:`SUMMARY` that
            the runs have.
        settings: columns of texts in which runs differ besides their loss and seed; each gets a column.

    Raises:
        InputError: a column is missing, or a rule is unknown.
    """
    shown = _present(records, SUMMARY)
    table = Table(box=box.SIMPLE_HEAD, padding=0, header_style="bold")
    means = mean_over_seeds(records, [column.key for column in shown], settings)
    for title in _summary_titles(means, shown, settings):
        is_text = title == "loss" or title in settings
        table.add_column(
            "\n".join(title.rsplit(" ", 1)),
            justify="left" if is_text else "right",
            no_wrap=not is_text,
            overflow="fold",
        )
    for cells in _summary_rows(means, shown, settings):
        table.add_row(*(cell.text for cell in cells))
    return table


def summary_html(records: pd.DataFrame) -> str:
    """The same as an HTML table, with the columns of :data:`REGULARIZED` and of the parts that the runs have.

    Raises:
        InputError: a column is missing, or a rule is unknown.
    """
    shown = _present(records, (*SUMMARY, *REGULARIZED, *PARTS_OF_DISTANCES))
    means = mean_over_seeds(records, [column.key for column in shown])
    return html_table(_summary_titles(means, shown), _summary_rows(means, shown))


def runs_html(records: pd.DataFrame) -> str:
    """One row per run, its loss a link to ``#run-KEY``; columns of :data:`DESCRIPTION` where runs differ in them.

    Args:
        records: as :func:`implicit_geometry.experiments.record_columns.records_frame` makes them.

    Raises:
        InputError: a column is missing.
    """
    require_columns("records", records, ["run", "rule", "variant", "exponent", "seed", "terminal_phase", *DESCRIPTION])
    words = [key for key in DESCRIPTION if records[key].nunique() > 1]
    shown = _present(records, (*SUMMARY, *REGULARIZED, *PARTS_OF_DISTANCES, *_OF_A_RUN))
    titles = ["loss", "exponent", "seed", *(COLUMNS[key].title for key in words)]
    rows = [_run_cells(row, words, shown) for row in records.to_dict("records")]
    return html_table([*titles, *(column.title for column in shown), "terminal phase"], rows)


def html_table(titles: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table whose cells carry what they are sorted by in ``data-value``; the first of a row is its heading.

    Example:
        >>> html_table(["a"], [[Cell("1 %", "0.01")]]).count("data-value")
        1
    """
    lines = list(rows)
    wide = [any(cell.words for cell in column) for column in zip(*lines, strict=True)] or [False] * len(titles)
    head = "".join(
        f'<th scope="col"{_WORDS if words else ""}>{escape(title)}</th>'
        for title, words in zip(titles, wide, strict=True)
    )
    body = "\n".join(f"<tr>{''.join(_html_cell(cell, place) for place, cell in enumerate(row))}</tr>" for row in lines)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def text_cell(text: str, link: str = "") -> Cell:
    """A cell that is sorted by its text."""
    return Cell(text, text, link, words=True)


def number_cell(value: float, form: str) -> Cell:
    """A cell that is sorted by its number, unrounded."""
    return Cell(format_number(value, form), repr(float(value)))


def described_cells(row: Mapping[Any, Any] | pd.Series, keys: Iterable[str]) -> list[Cell]:
    """Cells of some columns of :data:`DESCRIPTION`.

    Example:
        >>> row = {"data": "digits", "label_smoothing": 0.1}
        >>> [cell.text for cell in described_cells(row, row)]
        ['digits', '0.1']
    """
    found = [(row[key], COLUMNS[key].form) for key in keys]
    return [number_cell(value, form) if form else text_cell(value) for value, form in found]


def _present(records: pd.DataFrame, wanted: Sequence[Column]) -> list[Column]:
    """The columns in which a run has a number."""
    return [column for column in wanted if column.key in records and records[column.key].notna().any()]


def _summary_titles(means: pd.DataFrame, shown: Sequence[Column], settings: Sequence[str] = ()) -> list[str]:
    seeds = ["seeds"] if _has_seeds(means) else []
    return ["loss", "exponent", *settings, *seeds, *(column.title for column in shown), "terminal phase"]


def _summary_rows(means: pd.DataFrame, shown: Sequence[Column], settings: Sequence[str] = ()) -> list[list[Cell]]:
    return [_summary_cells(row, shown, settings, _has_seeds(means)) for row in means.to_dict("records")]


def _has_seeds(means: pd.DataFrame) -> bool:
    return bool((means["runs"] > 1).any())


def _summary_cells(
    row: dict[Any, Any], shown: Sequence[Column], settings: Sequence[str], has_seeds: bool
) -> list[Cell]:
    done, runs = int(row["terminal_runs"]), int(row["runs"])
    return [
        text_cell(series_title(row["rule"], row["variant"])),
        number_cell(row["exponent"], "g"),
        *(text_cell(row[name]) for name in settings),
        *([number_cell(runs, "g")] if has_seeds else []),
        *(number_cell(row[column.key], column.form) for column in shown),
        Cell({0: "no", runs: "yes"}.get(done, f"{done} of {runs}"), repr(done / runs)),
    ]


def _run_cells(row: dict[Any, Any], words: Sequence[str], shown: Sequence[Column]) -> list[Cell]:
    return [
        text_cell(series_title(row["rule"], row["variant"]), link=f"#run-{row['run']}"),
        number_cell(row["exponent"], "g"),
        number_cell(row["seed"], "g"),
        *described_cells(row, words),
        *(number_cell(row[column.key], column.form) for column in shown),
        Cell("yes" if row["terminal_phase"] else "no", repr(float(row["terminal_phase"]))),
    ]


def _html_cell(cell: Cell, place: int) -> str:
    text = f'<a href="{escape(cell.link)}">{escape(cell.text)}</a>' if cell.link else escape(cell.text)
    if place == 0:
        return f'<th scope="row" data-value="{escape(cell.order)}">{text}</th>'
    return f'<td data-value="{escape(cell.order)}"{_WORDS if cell.words else ""}>{text}</td>'
