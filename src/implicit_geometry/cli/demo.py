"""``igeom demo``: predict, train, measure and compare on real digits, and write the page that shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from implicit_geometry import experiments, report, studies
from implicit_geometry._extras import require
from implicit_geometry.cli._progress import kept_on_interrupt, print_failures, run_bar


def demo(
    output: Annotated[Path, typer.Option(help="Folder of the results; finished runs in it are used again.")] = Path(
        "runs/demo"
    ),
    workers: Annotated[
        int | None, typer.Option(help="Processes; one per core if left out.", show_default=False)
    ] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the training set of each run.")] = 300,
    seed: Annotated[int, typer.Option(help="Of data split, initial weights and batches.")] = 0,
) -> None:
    """Train six losses on digits with 10:1 label imbalance and compare each network's geometry with the theory's.

    Some are trained once more with smoothed labels, with which predicted embeddings and mean logits arrive.

    Writes records.parquet, figures and report.html, a self-contained page. A second call continues where the first
    stopped.

    Examples:

      igeom demo

      igeom demo --output runs/other-seed --seed 1
    """
    require("igeom demo", "train")
    console = Console()
    specs = studies.demo_specs(seed=seed, epochs=epochs)
    store = experiments.open_store(output)
    reused = sum(store.has(spec) for spec in specs)
    with kept_on_interrupt(store, specs, console), run_bar(store, specs, console) as on_done:
        outcome = experiments.run_missing(store, specs, workers=workers, on_done=on_done)
    if outcome.failures:
        print_failures(outcome.failures, console)
        raise typer.Exit(1)
    if reused:
        console.print(f"{reused} of {len(specs)} runs were finished before and are used again.", style="dim")
    summary = report.write_demo_report(store, specs)
    console.print(summary.table)
    for sentence in summary.sentences:
        console.print(f"• {sentence}")
    console.print(f"\n[bold]Page:[/] {summary.page}", soft_wrap=True)
