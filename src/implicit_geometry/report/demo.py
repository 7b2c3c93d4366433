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
from implicit_geometry.experiments.run import Run
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.spec_texts import exponent, loss_name
from implicit_geometry.experiments.store import RunStore
from implicit_geometry.report.figures.arrival import arrival_figure
from implicit_geometry.report.gather import Sweep
from implicit_geometry.report.page.document import PageFigure
from implicit_geometry.report.page.setting import NamedFigure, accuracy_sentence, geometry_sentence
from implicit_geometry.report.page.tables import summary_table
from implicit_geometry.report.write import make_page
from implicit_geometry.summary import BLOCKS

_ARRIVING = ("ce", "cdt", "ldt")


@dataclass(frozen=True)
class DemoSummary:
    """What the command shows: a table, four sentences, and where the page lies."""

    table: Table
    sentences: tuple[str, ...]
    page: Path


def write_demo_report(store: RunStore, specs: Sequence[RunSpec]) -> DemoSummary:
    """Write records.parquet, the figures and report.html of finished runs into their folder.

    Raises:
        InputError: a run is missing or damaged, or a file cannot be written.
    """
    runs = tuple(store.load_all(specs))

    def keep(number: int, named: NamedFigure, drawn: PageFigure) -> None:
        assert isinstance(drawn.image, bytes)
        name = f"smoothed-{named.name}" if number else named.name
        write_atomically(store.folder / f"{name}.png", partial(Path.write_bytes, data=drawn.image))

    page = make_page(
        Sweep({spec.key: store for spec in specs}, runs),
        title="Where networks trained on imbalanced digits go, and where theory sends them",
        lead=_lead(specs),
        sentences=demo_sentences,
        opening=_arrival(store, runs),
        on_figure=keep,
    )
    hard, smoothed = (setting.records for setting in page.settings)
    write_records(pd.concat([hard, smoothed], ignore_index=True), store.folder / "records.parquet")
    path = store.folder / "report.html"
    write_atomically(path, lambda part: part.write_text(page.html, encoding="utf-8"))
    return DemoSummary(summary_table(hard), (*demo_sentences(hard), smoothing_sentence(hard, smoothed)), path)


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


def smoothing_sentence(hard: pd.DataFrame, smoothed: pd.DataFrame) -> str:
    """What smoothed labels do to the distances of the same losses."""
    losses = ["rule", "exponent"]
    same = hard.merge(smoothed[losses], on=losses)

    def distances(records: pd.DataFrame) -> str:
        means = (float(records[f"{block}_limit_systematic"].mean()) for block in BLOCKS)
        return ", ".join(f"{mean:.3f} ({title})" for mean, title in zip(means, BLOCKS.values(), strict=True))

    return (
        f"With labels smoothed by {smoothed['label_smoothing'].iloc[0]:g}, {len(smoothed)} losses stand "
        f"{distances(smoothed)} from their limit, apart from what equal classes differ in (mean systematic distance); "
        f"with hard labels {distances(same)}. Embeddings and mean logits arrive; classifiers keep the distance that "
        "one price per sample leaves (igeom reproduce laws)."
    )


def _arrival(store: RunStore, runs: Sequence[Run]) -> list[NamedFigure]:
    """Distances by epoch of plain cross-entropy and the temperatures at 1/2; none of runs too short to be recorded."""
    shown = [run for run in runs if run.spec.rule in _ARRIVING and exponent(run.spec) in (0.0, 0.5)]
    histories = [
        store.history(spec).assign(loss=loss_name(spec.rule, exponent(spec)), label_smoothing=spec.label_smoothing)
        for spec in (run.spec for run in shown)
    ]
    table = pd.concat(histories, ignore_index=True)
    if table.empty:
        return []
    caption = (
        "Distance of classifiers W, embeddings H and mean logits to the limit that theory predicts for the labels they "
        "were trained with, apart from what equal classes differ in. Solid: smoothed labels. Dashed: hard labels, "
        "whose limit is approached like the inverse of a logarithm."
    )
    title = "How the geometry arrives: smoothed labels beside hard ones"
    return [NamedFigure("arrival", title, caption, lambda narrow: arrival_figure(table, narrow=narrow))]


def _lead(specs: Sequence[RunSpec]) -> str:
    counts = specs[0].class_counts()
    majorities = int(counts.majority.sum())
    return (
        f"{len(specs)} networks were trained on real handwritten digits: {majorities} classes with "
        f"{counts.values.max()} samples and {counts.num_classes - majorities} with {counts.values.min()}. The theory "
        "knows the class counts and the loss, nothing of the images or the network."
    )
