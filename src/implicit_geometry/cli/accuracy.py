"""``igeom reproduce accuracy``: test accuracy of every loss beside the geometry it leads to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from implicit_geometry.cli._progress import kept_on_interrupt, print_failures, run_bar

if TYPE_CHECKING:
    import pandas as pd

    from implicit_geometry.experiments.store import Failure
    from implicit_geometry.experiments.training.train_run import Resources


def run_accuracy_study(
    data: Sequence[str], folder: Path, *, seeds: int, resources: Resources, workers: int | None
) -> tuple[list[Path], tuple[Failure, ...]]:
    """Train what is missing of the study, write its tables and figures, print the table.

    Args:
        data: names in :data:`implicit_geometry.studies.accuracy.BENCHES`.
        folder: of the results; the networks lie in ``networks``.
        seeds: repetitions, at least 2.
        resources: data folder and hardware.
        workers: processes; by default one a core.

    Returns:
        The files written, and the runs that failed.
    """
    from implicit_geometry._files import write_atomically
    from implicit_geometry._validate import choice, whole_number
    from implicit_geometry.experiments.backends.local_workers import run_missing
    from implicit_geometry.experiments.backends.preflight import check_runs
    from implicit_geometry.experiments.record import records_frame
    from implicit_geometry.experiments.store import open_store
    from implicit_geometry.studies.accuracy import (
        BENCHES,
        accuracy_table,
        chosen_by_validation,
        rank_correlations,
        study_specs,
        with_settings,
    )

    count = whole_number("seeds", seeds, minimum=2)
    specs = [spec for name in data for spec in study_specs(choice("data", name, BENCHES), seeds=range(count))]
    console = Console()
    store = open_store(folder / "networks")
    with kept_on_interrupt(store, specs, console):
        check_runs([spec for spec in specs if not store.has(spec)], resources)
        with run_bar(store, specs, console) as on_done:
            outcome = run_missing(store, specs, resources=resources, workers=workers, on_done=on_done)
    print_failures(outcome.failures, console)
    runs = store.load_all(spec for spec in specs if store.has(spec))
    records = with_settings(records_frame(runs), [run.spec for run in runs])
    table, correlations = accuracy_table(chosen_by_validation(records)), rank_correlations(records)
    paths = []
    for name, frame in (("accuracy", table), ("accuracy-correlations", correlations)):
        paths.append(folder / f"{name}.csv")
        write_atomically(paths[-1], lambda part, frame=frame: frame.to_csv(part, index=False))  # type: ignore[misc]
    paths += _draw(data, records, table, folder)
    console.print("Test accuracy in %, mean and 95 % interval over seeds; exponents chosen on validation samples.")
    for (source, profile, ratio), rows in table.groupby(["data", "profile", "imbalance_ratio"]):
        console.print(_setting_table(f"{source}, {profile}, R = {ratio}", rows))
    console.print(_correlation_table(correlations))
    return paths, outcome.failures


def _draw(data: Sequence[str], records: pd.DataFrame, table: pd.DataFrame, folder: Path) -> list[Path]:
    from implicit_geometry.report.figures.accuracy_study import accuracy_against_geometry_figure, accuracy_study_figure
    from implicit_geometry.report.figures.images import save_figure

    paths = []
    for name in data:
        figures = {
            f"accuracy-{name}": accuracy_study_figure(table, name),
            f"accuracy-geometry-{name}": accuracy_against_geometry_figure(records, name),
        }
        for title, figure in figures.items():
            for suffix in (".png", ".svg"):
                paths.append(folder / f"{title}{suffix}")
                save_figure(figure, paths[-1])
    return paths


def _setting_table(title: str, rows: pd.DataFrame) -> Table:
    """One setting of the study: a line a loss."""
    from implicit_geometry.rules import RULES

    made = Table(box=box.SIMPLE_HEAD, padding=0, header_style="bold", title=title, title_justify="left")
    for name in ("loss", "exponent", "balanced", "minority", "worst class", "W to ETF", "W to limit", "ridge"):
        made.add_column(name, justify="left" if name == "loss" else "right", no_wrap=True)
    for row in rows.to_dict("records"):
        accuracies = (
            f"{100 * row[f'test_{name}']:.1f} ± {100 * row[f'test_{name}_half']:.1f}"
            for name in ("balanced", "minority", "worst")
        )
        distances = (f"{row[f'classifier_{target}_distance']:.2f}" for target in ("etf", "limit"))
        label = RULES[row["rule"]].label
        made.add_row(label, f"{row['exponent']:g}", *accuracies, *distances, f"{row['effective_ridge']:.1g}")
    return made


def _correlation_table(correlations: pd.DataFrame) -> Table:
    made = Table(box=box.SIMPLE_HEAD, padding=0, header_style="bold")
    for name in ("data", "profile", "R", "balanced test accuracy against", "Spearman", "p", "losses"):
        made.add_column(name, no_wrap=True)
    for row in correlations.to_dict("records"):
        quantity = row["quantity"].replace("_", " ")
        numbers = f"{row['correlation']:+.2f}", f"{row['p_value']:.2g}", str(row["losses"])
        made.add_row(row["data"], row["profile"], str(row["imbalance_ratio"]), quantity, *numbers)
    return made
