"""Studies of what the paper leaves open, trained, tabulated and drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from implicit_geometry._validate import choice, whole_number
from implicit_geometry.experiments.record_columns import records_frame
from implicit_geometry.experiments.run import Failure
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.store import RunStore, open_store
from implicit_geometry.experiments.training.train_run import Resources
from implicit_geometry.report.figures.accuracy_study import accuracy_against_geometry_figure, accuracy_study_figure
from implicit_geometry.report.figures.laws import exponents_figure, laws_figure, losses_figure
from implicit_geometry.report.figures.logits_at_test import logits_at_test_figure
from implicit_geometry.reproduce.write import write_pictures, write_table
from implicit_geometry.studies import accuracy, logits_at_test
from implicit_geometry.studies.laws import plan, table
from implicit_geometry.studies.laws.plan import data_title
from implicit_geometry.studies.training import Watch, train_missing


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
        specs: from a data set and the number of seeds, None for the study's own, to the runs.
        find: from a store, its finished runs and their data sets to the findings.
        caption: of its figures.
    """

    specs: Callable[[str, int | None], list[RunSpec]]
    find: Callable[[RunStore, Sequence[RunSpec], Resources], Findings]
    caption: str


def run_study(
    study: Study,
    data: Sequence[str],
    folder: Path,
    *,
    seeds: int | None,
    workers: int | None,
    resources: Resources,
    watch: Watch,
) -> tuple[list[Path], dict[str, pd.DataFrame], tuple[Failure, ...]]:
    """Train what is missing, and write what is found: paths, tables, and networks that did not finish."""
    count = None if seeds is None else whole_number("seeds", seeds, minimum=2)
    specs = [spec for name in data for spec in study.specs(name, count)]
    store = open_store(folder / "networks")
    failures = train_missing(store, specs, resources=resources, workers=workers, watch=watch)
    with watch.working("comparing the networks with theory"):
        found = study.find(store, [spec for spec in specs if store.has(spec)], resources)
        files = [write_table(numbers, folder, stem) for stem, numbers in found.tables.items()]
        for stem, figure in found.figures.items():
            files += write_pictures(figure, folder, stem)
    return files, found.tables, failures


def _accuracy_specs(data: str, seeds: int | None) -> list[RunSpec]:
    repeated = accuracy.SEEDS if seeds is None else range(seeds)
    return accuracy.study_specs(choice("data", data, accuracy.BENCHES), seeds=repeated)


def _accuracy(store: RunStore, specs: Sequence[RunSpec], resources: Resources) -> Findings:
    runs = store.load_all(specs)
    records = accuracy.with_settings(records_frame(runs), [run.spec for run in runs])
    numbers = accuracy.accuracy_table(accuracy.chosen_by_validation(records))
    figures = {}
    for name in dict.fromkeys(records["data"]):
        figures[f"accuracy-{data_title(name)}"] = accuracy_study_figure(numbers, name)
        figures[f"accuracy-geometry-{data_title(name)}"] = accuracy_against_geometry_figure(records, name)
    return Findings({"accuracy": numbers, "accuracy-correlations": accuracy.rank_correlations(records)}, figures)


def _logits_specs(data: str, seeds: int | None) -> list[RunSpec]:
    return logits_at_test.study_specs(data, seeds=logits_at_test.SEEDS if seeds is None else range(seeds))


def _logits(store: RunStore, specs: Sequence[RunSpec], resources: Resources) -> Findings:
    numbers = logits_at_test.logit_table(logits_at_test.logit_rows(store, specs, resources))
    figures = {
        f"logits-{data_title(name)}": logits_at_test_figure(numbers, name) for name in dict.fromkeys(numbers["data"])
    }
    return Findings({"logits": numbers}, figures)


def _laws_specs(data: str, seeds: int | None) -> list[RunSpec]:
    return plan.study_specs(data, seeds=seeds)


def _laws(store: RunStore, specs: Sequence[RunSpec], resources: Resources) -> Findings:
    rows = table.law_rows(store.load_all(specs))
    medians = table.law_table(rows)
    tables: dict[str, pd.DataFrame] = {}
    figures: dict[str, Figure] = {}
    for name in dict.fromkeys(medians["data"]):
        one = medians[medians["data"] == name]
        tables |= {f"laws-{name}": one, f"laws-runs-{name}": rows[rows["data"] == name]}
        figures |= {
            f"laws-{name}": laws_figure(one),
            f"laws-losses-{name}": losses_figure(one),
            f"laws-exponents-{name}": exponents_figure(one),
        }
    return Findings(tables, figures)


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
    "laws": Study(
        _laws_specs,
        _laws,
        "Systematic distance of networks to what each law predicts, medians over seeds; fitted on plain cross-entropy "
        "alone.",
    ),
}
"""By the name of the item."""
