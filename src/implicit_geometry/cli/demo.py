"""``igeom demo``: predict, train, measure and compare on real digits, and write the page that shows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from implicit_geometry.experiments.spec import TrialSpec
    from implicit_geometry.experiments.store import RunStore


def demo(
    output: Annotated[Path, typer.Option(help="Folder of the results; finished runs in it are used again.")] = Path(
        "runs/demo"
    ),
    workers: Annotated[int | None, typer.Option(help="Processes; one a core if left out.", show_default=False)] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the training set of each run.")] = 300,
    seed: Annotated[int, typer.Option(help="Of data split, initial weights and batches.")] = 0,
) -> None:
    """Train six losses on digits with 10:1 label imbalance and compare each network's geometry with the theory's.

    Writes records.parquet, figures and report.html, a self-contained page. A second call continues where the first
    stopped.

    Examples:

      igeom demo

      igeom demo --output runs/other-seed --seed 1
    """
    from implicit_geometry.experiments.demo import demo_specs
    from implicit_geometry.experiments.store import open_store

    console = Console()
    specs = demo_specs(seed=seed, epochs=epochs)
    store = open_store(output)
    reused = _train(store, specs, workers, console)
    if reused:
        console.print(f"{reused} of {len(specs)} runs were finished before and are used again.", style="dim")

    from implicit_geometry.report.demo import write_demo_report

    summary = write_demo_report(store, specs)
    console.print(summary.table)
    for sentence in summary.sentences:
        console.print(f"• {sentence}")
    console.print(f"\n[bold]Page:[/] {summary.page}", soft_wrap=True)


def _train(store: RunStore, specs: list[TrialSpec], workers: int | None, console: Console) -> int:
    """Run what is missing under a progress bar; return how many runs were there before."""
    from implicit_geometry.experiments.local import run_missing

    columns = (
        TextColumn("training"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("networks, left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    done = sum(store.has(spec) for spec in specs)
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(specs), completed=done)
        run_missing(
            store,
            specs,
            workers=workers,
            on_done=lambda spec: progress.update(task, advance=1, description=_label(spec)),
        )
    return done


def _label(spec: TrialSpec) -> str:
    given = ", ".join(f"{name}={value:g}" for name, value in spec.hyperparameters.items())
    return f"{spec.rule} {given}".strip()
