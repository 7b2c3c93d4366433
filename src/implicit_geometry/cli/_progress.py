"""What commands that train show: a bar, the runs that failed, and how to go on after Ctrl-C."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from implicit_geometry import experiments
from implicit_geometry.experiments.spec_texts import loss_text, run_text

if TYPE_CHECKING:
    from implicit_geometry.experiments.run import Failure
    from implicit_geometry.experiments.spec import RunSpec
    from implicit_geometry.experiments.store import RunStore

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


@contextmanager
def run_bar(store: RunStore, specs: Sequence[RunSpec], console: Console) -> Iterator[Callable[[RunSpec], object]]:
    """A bar over runs with the time left; gives the function to call after each of them."""
    columns = (
        TextColumn("training"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("networks, left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    done = len(specs) - len(experiments.missing_runs(store, specs))
    with Progress(*columns, console=console, speed_estimate_period=math.inf) as progress:
        task = progress.add_task("", total=len(specs), completed=done)

        def on_done(spec: RunSpec) -> None:
            failed = "" if store.has(spec) else " [red]failed[/]"
            progress.update(task, advance=1, description=loss_text(spec) + failed)

        yield on_done


@contextmanager
def kept_on_interrupt(store: RunStore, specs: Sequence[RunSpec], console: Console) -> Iterator[None]:
    """After Ctrl-C say what is kept and how to go on, and exit.

    Lightning turns Ctrl-C in training into a SystemExit.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        done = sum(store.has(spec) for spec in specs)
        console.print(
            f"\nStopped. {done} of {len(specs)} runs are finished and kept in {store.folder};", soft_wrap=True
        )
        console.print("those that were running go on from their last epoch. To continue:")
        console.print(escape(shlex.join(["igeom", *sys.argv[1:]])), soft_wrap=True, highlight=False)
        raise typer.Exit(INTERRUPTED) from None


def print_failures(failures: Iterable[Failure], console: Console) -> None:
    """One line per run that did not finish."""
    for failure in failures:
        again = "not tried again" if failure.final else "tried again by the next call"
        console.print(
            f"[bold red]failed:[/] {escape(f'{run_text(failure.spec)}: {failure.reason}')} ({again})", soft_wrap=True
        )


def print_damaged(damaged: Iterable[str]) -> None:
    """One line on the error stream for each part of a results folder that cannot be read."""
    errors = Console(stderr=True)
    for text in damaged:
        errors.print(f"damaged: {text}", style="red", markup=False, soft_wrap=True)


def print_unverified(runs: int, console: Console) -> None:
    """One line where there are runs that an earlier version wrote, without checksums."""
    if runs:
        console.print(
            f"{runs} {'run' if runs == 1 else 'runs'} without checksums, written by an earlier version: unverified.",
            style="dim",
            soft_wrap=True,
        )


@contextmanager
def epoch_bar(epochs: int) -> Iterator[Callable[[int], object]]:
    """A bar over the epochs of the unconstrained-features model; gives the function to call after each of them."""
    columns = (
        TextColumn("training UFM"),
        BarColumn(bar_width=20),
        TextColumn("epoch {task.completed}/{task.total}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        task = progress.add_task("", total=epochs)
        yield lambda epoch: progress.update(task, completed=epoch)
