"""Summaries of runs, against means taken with loops."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from implicit_geometry._validate import InputError
from implicit_geometry.report.frames import mean_over_seeds
from implicit_geometry.report.page.tables import (
    REGULARIZED,
    SUMMARY,
    format_number,
    runs_html,
    summary_html,
    summary_table,
)
from implicit_geometry.rules import RULES


class Cells(HTMLParser):
    """Rows of (text, data-value) of the only table."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[list[str | None]]] = []
        self.inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append(["", dict(attrs).get("data-value")])
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1][0] += data


def loop_means(records: pd.DataFrame, key: str) -> dict[tuple[str, float], float]:
    values: dict[tuple[str, float], list[float]] = {}
    for row in records.to_dict("records"):
        values.setdefault((row["rule"], row["exponent"]), []).append(row[key])
    return {group: sum(numbers) / len(numbers) for group, numbers in values.items()}


def test_means_are_over_seeds_in_the_order_of_rules_and_exponents(records: pd.DataFrame) -> None:
    table = mean_over_seeds(records.sample(frac=1, random_state=0), ["test_worst"])
    expected = loop_means(records, "test_worst")
    order = sorted(expected, key=lambda group: (list(RULES).index(group[0]), group[1]))
    assert list(zip(table["rule"], table["exponent"], strict=True)) == order
    assert table["test_worst"].tolist() == pytest.approx([expected[group] for group in order])
    assert set(table["runs"]) == {2}


def test_html_cells_carry_the_mean_and_its_text(records: pd.DataFrame) -> None:
    head, *rows = Cells(summary_html(records)).rows
    columns = (*SUMMARY, *REGULARIZED)
    titles = [column.title for column in columns]
    assert [text for text, _ in head] == ["loss", "exponent", "seeds", *titles, "terminal phase"]
    assert len(rows) == len(loop_means(records, "seconds"))
    rules = {style.label: rule for rule, style in RULES.items()}
    for position, column in enumerate(columns, start=3):
        expected = loop_means(records, column.key)
        for row in rows:
            mean = expected[rules[row[0][0]], float(row[1][1])]
            assert row[position][0] == format(mean, column.form)
            assert float(row[position][1]) == pytest.approx(mean, rel=1e-12)


def test_the_regularised_optimum_is_shown_where_records_have_it(records: pd.DataFrame) -> None:
    assert "W to optimum" in summary_html(records)
    assert "optimum" not in summary_html(records.drop(columns=[column.key for column in REGULARIZED]))


def test_terminal_table_fits_eighty_columns_and_shows_every_row(records: pd.DataFrame) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(summary_table(records))
    text = console.export_text()
    assert "…" not in text
    ldt = mean_over_seeds(records, ["test_balanced"]).query("rule == 'ldt' and exponent == 0.5").iloc[0]
    assert re.search(rf"LDT +0\.5 +2 +{ldt['test_balanced']:.1%}", text)
    assert len(re.findall(r"^ *(CE|wCE|LA|CDT|LDT|VS) ", text, flags=re.M)) == len(loop_means(records, "seconds"))


@pytest.mark.parametrize(("flags", "text"), [((True, True), "yes"), ((False, False), "no"), ((True, False), "1 of 2")])
def test_terminal_phase_counts_runs(records: pd.DataFrame, flags: tuple[bool, bool], text: str) -> None:
    pair = records[(records["rule"] == "cdt") & (records["exponent"] == 0.5)].assign(terminal_phase=list(flags))
    _, row = Cells(summary_html(pair)).rows
    assert row[-1] == [text, repr(sum(flags) / 2)]


def test_missing_numbers_are_dashes_and_columns_without_any_are_left_out(records: pd.DataFrame) -> None:
    assert format_number(np.nan, ".1%") == "–"
    few = records.assign(test_minority=records["test_minority"].where(records["rule"] == "ce"))
    assert summary_html(few).count('<td data-value="nan">–</td>') == len(loop_means(records, "seconds")) - 1
    assert "test minority" not in summary_html(records.assign(test_minority=np.nan))
    assert "test minority" not in summary_html(records.drop(columns="test_minority"))


def test_variants_of_a_rule_have_rows_of_their_own(records: pd.DataFrame) -> None:
    half = records["seed"] == 1
    mixed = records.assign(variant=np.where(half & (records["rule"] == "vs"), "tau 0.5", ""))
    rows = [row for row in Cells(summary_html(mixed)).rows if row[0][0] in ("VS", "VS (tau 0.5)")]
    assert [row[0][0] for row in rows] == ["VS"] * 3 + ["VS (tau 0.5)"] * 3
    own = mixed[half & (records["rule"] == "vs")].sort_values("exponent")["test_balanced"]
    assert [float(row[3][1]) for row in rows[3:]] == pytest.approx(own.tolist())


def test_each_run_has_a_row_that_leads_to_its_page(records: pd.DataFrame) -> None:
    html = runs_html(records)
    head, *rows = Cells(html).rows
    titles = [text for text, _ in head]
    assert titles[:3] == ["loss", "exponent", "seed"]
    assert not {"data", "network", "training", "class counts"} & set(titles)
    assert re.findall(r'href="#run-([^"]+)"', html) == records["run"].tolist()
    column = titles.index("test worst")
    assert [float(row[column][1]) for row in rows] == records["test_worst"].tolist()


def test_what_runs_differ_in_beside_loss_and_seed_is_a_column(records: pd.DataFrame) -> None:
    head, *rows = Cells(runs_html(records.assign(data=np.where(records["seed"] == 0, "digits", "<mnist>")))).rows
    assert [text for text, _ in head][3:5] == ["data", "test balanced"]
    assert {row[3][0] for row in rows} == {"digits", "<mnist>"}


def test_the_smoothing_of_labels_is_a_number_of_its_own(records: pd.DataFrame) -> None:
    head, *rows = Cells(runs_html(records.assign(label_smoothing=np.where(records["seed"] == 0, 0.0, 0.1)))).rows
    assert [text for text, _ in head][3] == "label smoothing"
    assert {tuple(row[3]) for row in rows} == {("0", "0.0"), ("0.1", "0.1")}


def test_bad_records_are_named(records: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="records must have the columns terminal_phase, got"):
        summary_table(records.drop(columns="terminal_phase"))
    with pytest.raises(InputError, match="records must have the columns run, network, got"):
        runs_html(records.drop(columns=["run", "network"]))
    with pytest.raises(InputError, match=r"rule must be one of .*, got .focal."):
        summary_html(records.replace({"rule": {"ldt": "focal"}}))
