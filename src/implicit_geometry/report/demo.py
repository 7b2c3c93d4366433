"""The demo's page: the page of any runs, with what the demo is about in its own words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from rich.table import Table

from implicit_geometry._files import write_atomically
from implicit_geometry.experiments.record_columns import write_records
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.store import RunStore
from implicit_geometry.report.gather import Sweep
from implicit_geometry.report.page.document import PageFigure
from implicit_geometry.report.page.setting import NamedFigure, accuracy_sentence, geometry_sentence
from implicit_geometry.report.page.tables import summary_table
from implicit_geometry.report.write import make_page


@dataclass(frozen=True)
class DemoSummary:
    """What the command shows: a table, three sentences, and where the page lies."""

    table: Table
    sentences: tuple[str, ...]
    page: Path


def write_demo_report(store: RunStore, specs: Sequence[RunSpec]) -> DemoSummary:
    """Write records.parquet, the figures and report.html of finished runs into their folder.

    Raises:
        InputError: a run is missing or damaged, or a file cannot be written.
    """
    runs = tuple(store.load_all(specs))

    def keep(named: NamedFigure, drawn: PageFigure) -> None:
        assert isinstance(drawn.image, bytes)
        write_atomically(store.folder / f"{named.name}.png", partial(Path.write_bytes, data=drawn.image))

    page = make_page(
        Sweep({spec.key: store for spec in specs}, runs),
        title="Where networks trained on imbalanced digits go, and where theory sends them",
        lead=_lead(specs),
        sentences=demo_sentences,
        on_figure=keep,
    )
    (setting,) = page.settings
    write_records(setting.records, store.folder / "records.parquet")
    path = store.folder / "report.html"
    write_atomically(path, lambda part: part.write_text(page.html, encoding="utf-8"))
    return DemoSummary(summary_table(setting.records), demo_sentences(setting.records), path)


def demo_sentences(records: pd.DataFrame) -> tuple[str, str, str]:
    """The three findings that matter most, from the numbers of the runs."""
    near = records[(records["exponent"].abs() <= 0.5) & records["rule"].isin(["ce", "cdt", "ldt"])]
    base = records[records["rule"] == "ce"].iloc[0]
    etf_run = records[(records["rule"] == "ldt") & (records["exponent"] == 0.5)].iloc[0]
    terminal = (
        "LDT at gamma = 1/2, which theory sends to a simplex ETF whatever the imbalance, has a squared classifier "
        f"norm ratio of {etf_run['classifier_norm_ratio']:.2f} (ETF: 1; CE: {base['classifier_norm_ratio']:.2f}); "
        f"{int(records['terminal_phase'].sum())} of {len(records)} networks reached 100 % training accuracy, the "
        "terminal phase that the theory is about."
    )
    return geometry_sentence(near, "For CE, CDT and LDT with |gamma| <= 0.5"), accuracy_sentence(records), terminal


def _lead(specs: Sequence[RunSpec]) -> str:
    counts = specs[0].class_counts()
    majorities = int(counts.majority.sum())
    return (
        f"{len(specs)} networks were trained on real handwritten digits: {majorities} classes with "
        f"{counts.values.max()} samples and {counts.num_classes - majorities} with {counts.values.min()}. The theory "
        "knows the class counts and the loss, nothing of the images or the network."
    )
