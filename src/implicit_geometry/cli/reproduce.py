"""``igeom reproduce``: the paper's tables, and its figures on the unconstrained-features model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from implicit_geometry._json import dumps
from implicit_geometry._validate import choice

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from matplotlib.figure import Figure

_ITEMS = ("tables", "fig1", "fig3", "fig4")
_MODELS = ("ufm",)


def reproduce(
    item: Annotated[str, typer.Argument(help=f"One of {', '.join(_ITEMS)}.", show_default=False)],
    model: Annotated[str, typer.Option(help="What is trained for a figure: ufm.")] = "ufm",
    output: Annotated[Path, typer.Option(help="Folder of pictures and numbers.")] = Path("runs/reproduce"),
    epochs: Annotated[int, typer.Option(help="Passes over the samples.")] = 6000,
    ridge: Annotated[float, typer.Option(help="Regularisation of the model; the paper has none.")] = 0.0,
    seeds: Annotated[int, typer.Option(help="Repetitions.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows of the tables as JSON.")] = False,
) -> None:
    """Print the paper's numbers beside ours, or draw its figures: theory, regularised theory, trained models.

    A figure is written as PNG and SVG with its numbers as CSV. Without a ridge the regularised line is drawn at the
    ridge that fits the trained models best (the median over a rule's runs).

    Examples:

      igeom reproduce tables

      igeom reproduce fig3 --model ufm

      igeom reproduce fig4 --epochs 600 --output runs/quick
    """
    choice("item", item, _ITEMS)
    choice("model", model, _MODELS)
    if item == "tables":
        _print_tables(as_json)
        return
    with _epoch_bar(epochs) as on_epoch:
        figure, numbers = _FIGURES[item](epochs, ridge, range(seeds), on_epoch)
    for path in _write(figure, numbers, output, f"{item}-{model}"):
        Console().print(str(path), soft_wrap=True)


def _print_tables(as_json: bool) -> None:
    from dataclasses import asdict

    from implicit_geometry.theory.step_tables import balancing_rows, errata_rows, formula_rows, limit_rows

    sections = {
        "Printed formulas, k = 10, R = 10": formula_rows(),
        "Corollaries 1.1 and 1.2: temperature ratio sqrt R": balancing_rows(),
        "Corollaries 1.3 and 1.4, Tables 1 and 2: R -> infinity, ours at R = 1e12": limit_rows(),
        "Errata: what stands in print or in circulating code, and the theory": errata_rows(),
    }
    if as_json:
        print(dumps({title: [asdict(row) for row in rows] for title, rows in sections.items()}))
        return
    for title, rows in sections.items():
        table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for name in ("source", "loss", "γ", "quantity", "paper", "ours"):
            table.add_column(name, no_wrap=name == "quantity")
        for row in rows:
            table.add_row(row.source, row.loss, f"{row.gamma:.4g}", row.quantity, f"{row.paper:.6g}", f"{row.ours:.6g}")
        Console().print(table)


def _norm_ratios(
    epochs: int, ridge: float, seeds: range, on_epoch: Callable[[int], object]
) -> tuple[Figure, pd.DataFrame]:
    from implicit_geometry.report.reproduction import norm_ratio_figure

    gammas = (-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)
    curves, records = _trained(("weighted", "logit_adjusted", "cdt", "ldt"), gammas, epochs, ridge, seeds, on_epoch)
    return norm_ratio_figure(curves, records), records


def _all_numbers(
    epochs: int, ridge: float, seeds: range, on_epoch: Callable[[int], object]
) -> tuple[Figure, pd.DataFrame]:
    from implicit_geometry.report.reproduction import four_by_four_figure

    gammas = tuple(step / 4 for step in range(-6, 7))
    curves, records = _trained(("cdt", "ldt"), gammas, epochs, ridge, seeds, on_epoch)
    return four_by_four_figure(curves, records, num_classes=10), records


def _trained(
    rules: tuple[str, ...],
    gammas: tuple[float, ...],
    epochs: int,
    ridge: float,
    seeds: range,
    on_epoch: Callable[[int], object],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Theory lines and one row a trained model."""
    import numpy as np

    from implicit_geometry.experiments.curves import theory_curves
    from implicit_geometry.experiments.ufm_study import UFMRun, paper_counts, study_records, train_study

    counts = paper_counts()
    runs = [UFMRun(rule, gamma) for rule in rules for gamma in gammas]
    history = train_study(counts, runs, epochs=epochs, ridge=ridge, seeds=seeds, on_epoch=on_epoch)
    records = study_records(history, runs)
    fitted = {rule: float(records.loc[records["rule"] == rule, "effective_ridge"].median()) for rule in rules}
    ridges = dict.fromkeys(rules, ridge) if ridge else fitted
    return theory_curves(counts, rules, np.linspace(min(gammas), max(gammas), 61), ridges=ridges), records


def _distances(
    epochs: int, ridge: float, seeds: range, on_epoch: Callable[[int], object]
) -> tuple[Figure, pd.DataFrame]:
    import pandas as pd

    from implicit_geometry.experiments.ufm_study import UFMRun, paper_counts, study_records, train_study
    from implicit_geometry.report.reproduction import distance_figure

    runs = [UFMRun(rule, gamma) for rule in ("cdt", "ldt") for gamma in (-0.5, 0.0, 0.5, 1.0)]
    parts = []
    for ratio in (2, 10):
        history = train_study(paper_counts(ratio), runs, epochs=epochs, ridge=ridge, seeds=seeds, on_epoch=on_epoch)
        parts.append(study_records(history, runs, every_epoch=True).assign(imbalance_ratio=ratio))
    records = pd.concat(parts, ignore_index=True)
    return distance_figure(records), records


_FIGURES = {"fig1": _norm_ratios, "fig3": _all_numbers, "fig4": _distances}


@contextmanager
def _epoch_bar(epochs: int) -> Iterator[Callable[[int], object]]:
    columns = (
        TextColumn("training"),
        BarColumn(),
        TextColumn("epoch {task.completed}/{task.total}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        task = progress.add_task("", total=epochs)
        yield lambda epoch: progress.update(task, completed=epoch)


def _write(figure: Figure, numbers: pd.DataFrame, folder: Path, name: str) -> list[Path]:
    from implicit_geometry._validate import InputError
    from implicit_geometry.experiments.store import write_atomically
    from implicit_geometry.report.images import save_figure

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"output must be a folder that can be written, got {folder} ({error.strerror})") from error
    paths = [folder / f"{name}{suffix}" for suffix in (".png", ".svg", ".csv")]
    for path in paths[:2]:
        save_figure(figure, path)
    write_atomically(paths[2], lambda part: numbers.to_csv(part, index=False))
    return paths
