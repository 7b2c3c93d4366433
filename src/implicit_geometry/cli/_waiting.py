"""What is shown while a command computes: nothing at first, after two seconds what it does and for how long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

PATIENCE = 2.0
"""Seconds without a word."""


@contextmanager
def waiting(doing: str) -> Iterator[None]:
    """A spinner with the time passed, on the error stream where that is a terminal, once two seconds have gone.

    It leaves no line behind, whatever ends the work.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    done = threading.Event()

    def show() -> None:
        if done.wait(PATIENCE):
            return
        columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(doing, total=None)
            progress.tasks[task].start_time = progress.get_time() - PATIENCE
            done.wait()

    shown = threading.Thread(target=show, daemon=True)
    shown.start()
    try:
        yield
    finally:
        done.set()
        shown.join()
