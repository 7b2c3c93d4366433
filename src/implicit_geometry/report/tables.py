"""One row a rule and exponent, mean over seeds: for a terminal, and as a fragment of HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import pandas as pd
from rich import box
from rich.table import Table

from implicit_geometry.report.frames import mean_over_seeds
from implicit_geometry.report.style import RULE_STYLES


@dataclass(frozen=True)
class Column:
    """A column of means.

    Attributes:
        key: column of the records.
        title: heading.
        form: format specification of a number.
    """

    key: str
    title: str
    form: str


SUMMARY = (
    Column("test_balanced", "test balanced", ".1%"),
    Column("test_minority", "test minority", ".1%"),
    Column("test_worst", "test worst", ".1%"),
    Column("classifier_limit_distance", "W to limit", ".3f"),
    Column("embedding_limit_distance", "H to limit", ".3f"),
    Column("classifier_etf_distance", "W to ETF", ".3f"),
    Column("embedding_etf_distance", "H to ETF", ".3f"),
)
"""The means every summary shows."""

REGULARIZED = (
    Column("classifier_ridge_distance", "W to optimum", ".3f"),
    Column("embedding_ridge_distance", "H to optimum", ".3f"),
    Column("effective_ridge", "effective ridge", ".3g"),
)
"""What the HTML summary adds where the records have it: the comparison with the regularised optimum."""


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
        records: one row a run; columns ``rule``, ``exponent``, ``terminal_phase`` and the keys of :data:`SUMMARY`.

    Raises:
        InputError: a column is missing, or a rule is unknown.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=0, header_style="bold")
    for position, title in enumerate(_titles(SUMMARY)):
        table.add_column("\n".join(title.rsplit(" ", 1)), justify="left" if position == 0 else "right", no_wrap=True)
    for _, row in mean_over_seeds(records, [column.key for column in SUMMARY]).iterrows():
        table.add_row(*(text for text, _ in _cells(row, SUMMARY)))
    return table


def summary_html(records: pd.DataFrame) -> str:
    """The same as an HTML table; every cell carries the unrounded value, for sorting, in ``data-value``.

    The columns of :data:`REGULARIZED` follow where the records have all of them.

    Args:
        records: as for :func:`summary_table`.

    Raises:
        InputError: a column is missing, or a rule is unknown.
    """
    extra = REGULARIZED if all(column.key in records.columns for column in REGULARIZED) else ()
    columns = (*SUMMARY, *extra)
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in _titles(columns))
    means = mean_over_seeds(records, [column.key for column in columns])
    body = "\n".join(_html_row(_cells(row, columns)) for _, row in means.iterrows())
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _titles(columns: Sequence[Column]) -> list[str]:
    return ["rule", "exponent", *(column.title for column in columns), "terminal phase"]


def _cells(row: pd.Series, columns: Sequence[Column]) -> list[tuple[str, str]]:
    """Text and sorting value of every cell of a row."""
    label = RULE_STYLES[row["rule"]].label
    done, runs = int(row["terminal_runs"]), int(row["runs"])
    share = {0: "no", runs: "yes"}.get(done, f"{done} of {runs}")
    return [
        (label, label),
        (f"{row['exponent']:g}", repr(float(row["exponent"]))),
        *((format_number(float(row[c.key]), c.form), repr(float(row[c.key]))) for c in columns),
        (share, repr(done / runs)),
    ]


def _html_row(cells: Sequence[tuple[str, str]]) -> str:
    (label, order), *rest = cells
    first = f'<th scope="row" data-value="{escape(order)}">{escape(label)}</th>'
    others = (f'<td data-value="{escape(order)}">{escape(text)}</td>' for text, order in rest)
    return f"<tr>{first}{''.join(others)}</tr>"
