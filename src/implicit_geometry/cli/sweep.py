"""``igeom sweep``: all the runs that a YAML file describes, of which only what is missing happens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from implicit_geometry import experiments
from implicit_geometry._extras import require
from implicit_geometry._files import dumps
from implicit_geometry._validate import InputError, choice
from implicit_geometry.cli._inputs import DataRoot, Download, LoggerName
from implicit_geometry.cli._progress import (
    kept_on_interrupt,
    print_damaged,
    print_failures,
    print_unverified,
    run_bar,
)
from implicit_geometry.cli._tables import failure_document, plan_table, results_table, run_document

if TYPE_CHECKING:
    from implicit_geometry.experiments.backends.by_name import Backend

ACCELERATORS = ("auto", "cpu", "gpu")


def sweep(
    file: Annotated[Path, typer.Argument(help="YAML file of the runs.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(help="Folder of the results; finished runs in it are used again.", show_default="runs/FILE"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes of the local backend.", show_default="one per core")
    ] = None,
    backend: Annotated[
        str, typer.Option(help="local: processes of this machine; ray: tasks of a Ray cluster.")
    ] = "local",
    ray_address: Annotated[
        str | None, typer.Option(help="Of a running Ray cluster.", show_default="a new one on this machine")
    ] = None,
    data_root: DataRoot = None,
    download: Download = False,
    accelerator: Annotated[str, typer.Option(help="auto, cpu or gpu.")] = "auto",
    logger: LoggerName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, list the runs and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Train every network that a YAML file describes; every list in it is a grid.

    The same command again does only what is missing: finished runs are kept, and a run that was interrupted, by
    whatever means, goes on from its last epoch. Writes records.parquet, one row per run of the folder. The exit code
    is 1 if a run failed or another one in the folder is damaged, 2 for bad input, 130 after Ctrl-C.

    Examples:

      igeom sweep examples/digits.yaml

      igeom sweep examples/mnist.yaml --data-root ~/data --workers 8 --output runs/mnist

      igeom sweep examples/mnist.yaml --backend ray --ray-address auto --output /shared/runs/mnist
    """
    require("igeom sweep", "train")
    options = {"workers": workers, "ray_address": ray_address}
    chosen = _backend(backend, options)
    choice("accelerator", accelerator, ACCELERATORS)
    experiments.check_logger(logger)
    specs = experiments.read_sweep(file)
    console = Console(stderr=as_json)
    store = experiments.open_store(Path("runs") / file.stem if output is None else output)
    resources = experiments.Resources(data_root, download, experiments.Hardware(accelerator), logger)
    with kept_on_interrupt(store, specs, console):
        finished = [spec for spec in specs if store.has(spec)]
        store.load_all(finished)
        if chosen.is_this_machine:
            experiments.check_hardware(specs, resources.hardware)
        experiments.check_runs([spec for spec in specs if not store.has(spec)], resources)
        if dry_run:
            _print_plan(store, specs, as_json)
            return
        if finished:
            console.print(f"{len(finished)} of {len(specs)} runs were finished before and are used again.", style="dim")
        with run_bar(store, specs, console) as on_done:
            outcome = chosen.run(
                store, specs, resources=resources, on_done=on_done, **{name: options[name] for name in chosen.options}
            )
        damaged = _print_results(store, specs, outcome, console, as_json)
    raise typer.Exit(1 if outcome.failures or damaged else 0)


def _backend(name: str, options: dict[str, Any]) -> Backend:
    """The backend of a name; an option that was given must be one of its own."""
    chosen = experiments.BACKENDS[choice("backend", name, experiments.BACKENDS)]
    for option, value in options.items():
        if value is not None and option not in chosen.options:
            raise InputError(option.replace("_", "-"), f"must be left out with --backend {name}", value)
    return chosen


def _print_plan(store: experiments.RunStore, specs: list[experiments.RunSpec], as_json: bool) -> None:
    states = ["finished" if store.has(spec) else "failed" if store.failure(spec) else "missing" for spec in specs]
    if as_json:
        rows = zip(specs, states, strict=True)
        print(dumps([{"run": spec.key, "state": state, "spec": spec.to_dict()} for spec, state in rows]))
        return
    Console().print(plan_table(specs, states))


def _print_results(
    store: experiments.RunStore,
    specs: list[experiments.RunSpec],
    outcome: experiments.Outcome,
    console: Console,
    as_json: bool,
) -> bool:
    """Write the table of all runs in the folder; print that of the wanted ones.

    Returns:
        Whether something in the folder cannot be read.
    """
    path = store.folder / "records.parquet"
    contents = store.contents()
    experiments.write_records(experiments.records_frame(contents.runs), path)
    by_key = {run.spec.key: run for run in contents.runs}
    runs = [by_key[spec.key] for spec in specs if spec.key in by_key]
    print_failures(outcome.failures, console)
    print_unverified(len(contents.unverified), console)
    print_damaged(contents.damaged)
    if as_json:
        document = {
            "folder": str(store.folder),
            "wanted": len(specs),
            "ran": outcome.ran,
            "finished": len(runs),
            "failures": [failure_document(failure) for failure in outcome.failures],
            "records": [run_document(run) for run in runs],
        }
        print(dumps(document))
        return bool(contents.damaged)
    if runs:
        console.print(results_table(runs))
    done = sum(run.record["terminal_phase"] for run in runs)
    console.print(f"{done} of {len(runs)} networks reached 100 % training accuracy.")
    console.print(f"{len(runs)} of {len(specs)} runs are finished. [bold]Table:[/] {path}", soft_wrap=True)
    return bool(contents.damaged)
