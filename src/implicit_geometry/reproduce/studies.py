"""Studies of what the paper leaves open, trained, tabulated and drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import pandas as pd
from matplotlib.figure import Figure

from implicit_geometry._validate import choice, whole_number
from implicit_geometry.experiments.record_columns import records_frame
from implicit_geometry.experiments.run import Failure
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.store import RunStore, open_store
from implicit_geometry.experiments.training.train_run import Resources
from implicit_geometry.report.figures.accuracy_study import accuracy_against_geometry_figure, accuracy_study_figure
from implicit_geometry.report.figures.logits_at_test import logits_at_test_figure
from implicit_geometry.reproduce.write import write_pictures, write_table
from implicit_geometry.studies import accuracy, logits_at_test
from implicit_geometry.studies.training import Watch, train_missing

NUM_SEEDS = 5
"""Repetitions of a study where none are asked for."""


@dataclass(frozen=True)
class Findings:
    """What the finished networks of a study say.

    Attributes:
        tables: by the stem of their file.
        figures: likewise.
    """

    tables: dict[str, pd.DataFrame]
    figures: dict[str, Figure]


@dataclass(frozen=True)
class Study:
    """A study: which networks it asks for, and what it finds in them.

    Attributes:
        specs: from a data set and the number of seeds to the runs.
        find: from a store, its finished runs and their data sets to the findings.
        caption: of its figures.
    """

    specs: Callable[[str, int], list[RunSpec]]
    find: Callable[[RunStore, Sequence[RunSpec], Resources], Findings]
    caption: str


def run_study(
    study: Study,
    data: Sequence[str],
    folder: Path,
    *,
    seeds: int,
    workers: int | None,
    resources: Resources,
    watch: Watch,
) -> tuple[list[Path], dict[str, pd.DataFrame], tuple[Failure, ...]]:
    """Train what is missing, and write what is found: paths, tables, and networks that did not finish."""
    count = whole_number("seeds", seeds, minimum=2)
    specs = [spec for name in data for spec in study.specs(name, count)]
    store = open_store(folder / "networks")
    failures = train_missing(store, specs, resources=resources, workers=workers, watch=watch)
    found = study.find(store, [spec for spec in specs if store.has(spec)], resources)
    files = [write_table(numbers, folder, stem) for stem, numbers in found.tables.items()]
    for stem, figure in found.figures.items():
        files += write_pictures(figure, folder, stem)
    return files, found.tables, failures


def _accuracy_specs(data: str, seeds: int) -> list[RunSpec]:
    return accuracy.study_specs(choice("data", data, accuracy.BENCHES), seeds=range(seeds))


def _accuracy(store: RunStore, specs: Sequence[RunSpec], resources: Resources) -> Findings:
    runs = store.load_all(specs)
    records = accuracy.with_settings(records_frame(runs), [run.spec for run in runs])
    table = accuracy.accuracy_table(accuracy.chosen_by_validation(records))
    figures = {}
    for name in dict.fromkeys(records["data"]):
        figures[f"accuracy-{_stem(name)}"] = accuracy_study_figure(table, name)
        figures[f"accuracy-geometry-{_stem(name)}"] = accuracy_against_geometry_figure(records, name)
    return Findings({"accuracy": table, "accuracy-correlations": accuracy.rank_correlations(records)}, figures)


def _logits_specs(data: str, seeds: int) -> list[RunSpec]:
    return logits_at_test.study_specs(data, seeds=range(seeds))


def _logits(store: RunStore, specs: Sequence[RunSpec], resources: Resources) -> Findings:
    table = logits_at_test.logit_table(logits_at_test.logit_rows(store, specs, resources))
    figures = {f"logits-{_stem(name)}": logits_at_test_figure(table, name) for name in dict.fromkeys(table["data"])}
    return Findings({"logits": table}, figures)


def _stem(data: str) -> str:
    """The name of a data set, or of the folder that it lies in."""
    return PurePath(data.partition(":")[2] or data).name


STUDIES = {
    "accuracy": Study(
        _accuracy_specs,
        _accuracy,
        "Test accuracy, mean and 95 % interval over seeds; exponents chosen on validation samples.",
    ),
    "logits": Study(
        _logits_specs,
        _logits,
        "Accuracy and calibration of plain, linked and fitted test logits, mean and 95 % interval over seeds.",
    ),
}
"""By the name of the item."""
