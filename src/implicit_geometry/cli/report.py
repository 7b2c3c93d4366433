"""``igeom report``: the page of any finished runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from implicit_geometry import experiments
from implicit_geometry import report as reports
from implicit_geometry._extras import require
from implicit_geometry._validate import choice
from implicit_geometry.cli._progress import print_damaged, print_unverified
from implicit_geometry.frames import FRAMES, Frame


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Results folders of demo, train, sweep or reproduce.", show_default=False)
    ],
    output: Annotated[
        Path | None, typer.Option(help="The page; report.html in the first folder if left out.", show_default=False)
    ] = None,
    frame: Annotated[
        str,
        typer.Option(
            help="In which figures show embeddings: projected, what the logits see of them, or centred, as the paper."
        ),
    ] = "projected",
) -> None:
    """Write one page that shows finished runs: figures over theory, tables that sort and filter, every run by epoch.

    The page needs no network and no other file. Runs that differ in loss and seed only share their figures. Damaged
    runs are left out, named on the page and here, and the exit code is then 1.

    Examples:

      igeom report runs/demo

      igeom report runs/mnist runs/cifar --output both.html
    """
    require("igeom report", "train")
    console = Console()
    page = reports.write_report(
        runs, output, frame=cast("Frame", choice("frame", frame, FRAMES)), track=partial(track, console=console)
    )
    console.print(_table(page))
    for failure in page.failures:
        console.print(f"failed: {failure.spec.key}: {failure.reason}", style="yellow", markup=False, soft_wrap=True)
    console.print(f"[bold]Page:[/] {output or runs[0] / 'report.html'}", soft_wrap=True)
    print_unverified(page.unverified, console)
    print_damaged(page.damaged)
    if page.damaged:
        raise typer.Exit(1)


def _table(page: reports.SweepPage) -> Table:
    distances = experiments.columns("classifier_limit_distance", "classifier_etf_distance")
    table = Table("setting", "runs", "losses", *(column.title for column in distances))
    for column in table.columns[1:]:
        column.justify = "right"
    for setting in page.settings:
        records = setting.records
        means = (format(records[column.key].mean(), column.form) for column in distances)
        table.add_row(setting.title, str(len(records)), str(records["rule"].nunique()), *means)
    return table
