"""Tables of runs: means over seeds for a terminal and as HTML, and one row a run as HTML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table

from implicit_geometry.report.frames import mean_over_seeds, require_columns, series_label

DESCRIPTION = {"data": "data", "profile": "class counts", "network": "network", "optimization": "training"}
"""Columns in words, with their headings: what a run was beside its loss and seed."""


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Attributes:
        key: column of the records.
        title: heading.
        form: format specification of a number.
    """

    key: str
    title: str
    form: str


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


SUMMARY = (
    Column("test_balanced", "test balanced", ".1%"),
    Column("test_minority", "test minority", ".1%"),
    Column("test_worst", "test worst", ".1%"),
    Column("classifier_limit_distance", "W to limit", ".3f"),
    Column("embedding_limit_distance", "H to limit", ".3f"),
    Column("classifier_etf_distance", "W to ETF", ".3f"),
    Column("embedding_etf_distance", "H to ETF", ".3f"),
)
"""The means every summary shows, where the runs have them."""

REGULARIZED = (
    Column("classifier_ridge_distance", "W to optimum", ".3f"),
    Column("embedding_ridge_distance", "H to optimum", ".3f"),
    Column("effective_ridge", "effective ridge", ".3g"),
)
"""What HTML adds: the comparison with the regularised optimum."""

_WORDS = ' class="words"'
_OF_A_RUN = (Column("nc1", "NC1", ".2g"), Column("seconds", "seconds", ".3g"))


def format_number(value: float, form: str) -> str:
    """A number as every table shows it; a dash where there is none.

    Example:
        >>> format_number(0.93512, ".1%"), format_number(float("nan"), ".3f")
        ('93.5%', '–')
    """
    return "–" if math.isnan(value) else format(value, form)


def summary_table(records: pd.DataFrame) -> Table:
    """Accuracy, distances (0 to 2, unit-norm Gram matrices) and terminal phase for a terminal.

    Args:
        records: one row a run; columns ``rule``, ``exponent``, ``terminal_phase`` and those of :data:`SUMMARY` that the
            runs have.

    Raises:
        InputError: a column is missing, or a rule is unknown.
    """
    columns = _present(records, SUMMARY)
    table = Table(box=box.SIMPLE_HEAD, padding=0, header_style="bold")
    for position, title in enumerate(_summary_titles(columns)):
        table.add_column("\n".join(title.rsplit(" ", 1)), justify="left" if position == 0 else "right", no_wrap=True)
    for _, row in mean_over_seeds(records, [column.key for column in columns]).iterrows():
        table.add_row(*(cell.text for cell in _summary_cells(row, columns)))
    return table


def summary_html(records: pd.DataFrame) -> str:
    """The same as an HTML table, with the columns of :data:`REGULARIZED` that the runs have.

    Raises:
        InputError: a column is missing, or a rule is unknown.
    """
    columns = _present(records, (*SUMMARY, *REGULARIZED))
    means = mean_over_seeds(records, [column.key for column in columns])
    return html_table(_summary_titles(columns), [_summary_cells(row, columns) for _, row in means.iterrows()])


def runs_html(records: pd.DataFrame) -> str:
    """One row a run, its loss a link to ``#run-KEY``; columns of :data:`DESCRIPTION` where runs differ in them.

    Args:
        records: as :func:`implicit_geometry.experiments.record.records_frame` makes them.

    Raises:
        InputError: a column is missing.
    """
    require_columns("records", records, ["run", "rule", "variant", "exponent", "seed", "terminal_phase", *DESCRIPTION])
    words = [key for key in DESCRIPTION if records[key].nunique() > 1]
    columns = _present(records, (*SUMMARY, *REGULARIZED, *_OF_A_RUN))
    titles = ["loss", "exponent", "seed", *(DESCRIPTION[key] for key in words)]
    rows = [_run_cells(row, words, columns) for row in records.to_dict("records")]
    return html_table([*titles, *(column.title for column in columns), "terminal phase"], rows)


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


def _present(records: pd.DataFrame, columns: Sequence[Column]) -> list[Column]:
    """The columns in which a run has a number."""
    return [column for column in columns if column.key in records and records[column.key].notna().any()]


def _summary_titles(columns: Sequence[Column]) -> list[str]:
    return ["rule", "exponent", *(column.title for column in columns), "terminal phase"]


def _summary_cells(row: pd.Series, columns: Sequence[Column]) -> list[Cell]:
    done, runs = int(row["terminal_runs"]), int(row["runs"])
    return [
        text_cell(series_label(row["rule"], row["variant"])),
        number_cell(row["exponent"], "g"),
        *(number_cell(row[column.key], column.form) for column in columns),
        Cell({0: "no", runs: "yes"}.get(done, f"{done} of {runs}"), repr(done / runs)),
    ]


def _run_cells(row: dict[Any, Any], words: Sequence[str], columns: Sequence[Column]) -> list[Cell]:
    return [
        text_cell(series_label(row["rule"], row["variant"]), link=f"#run-{row['run']}"),
        number_cell(row["exponent"], "g"),
        number_cell(row["seed"], "g"),
        *(text_cell(row[key]) for key in words),
        *(number_cell(row[column.key], column.form) for column in columns),
        Cell("yes" if row["terminal_phase"] else "no", repr(float(row["terminal_phase"]))),
    ]


def _html_cell(cell: Cell, place: int) -> str:
    text = f'<a href="{escape(cell.link)}">{escape(cell.text)}</a>' if cell.link else escape(cell.text)
    if place == 0:
        return f'<th scope="row" data-value="{escape(cell.order)}">{text}</th>'
    return f'<td data-value="{escape(cell.order)}"{_WORDS if cell.words else ""}>{text}</td>'
