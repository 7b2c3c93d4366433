"""``igeom sweep``: all the runs that a YAML file describes, of which only what is missing happens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

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
    from implicit_geometry.experiments.backends.execute import OnRun, Outcome
    from implicit_geometry.experiments.spec import RunSpec
    from implicit_geometry.experiments.store import RunStore
    from implicit_geometry.experiments.training.train_run import Resources

BACKENDS = ("local", "ray")
ACCELERATORS = ("auto", "cpu", "gpu")


def sweep(
    file: Annotated[Path, typer.Argument(help="YAML file of the runs.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(help="Folder of the results; finished runs in it are used again.", show_default="runs/FILE"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes of the local backend.", show_default="one a core")
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
    whatever means, goes on from its last epoch. Writes records.parquet, one row a run of the folder. The exit code is 1
    if a run failed or another one in the folder is damaged, 2 for bad input, 130 after Ctrl-C.

    Examples:

      igeom sweep examples/digits.yaml

      igeom sweep examples/mnist.yaml --data-root ~/data --workers 8 --output runs/mnist

      igeom sweep examples/mnist.yaml --backend ray --ray-address auto --output /shared/runs/mnist
    """
    from implicit_geometry.experiments.backends.preflight import check_hardware, check_runs
    from implicit_geometry.experiments.store import open_store
    from implicit_geometry.experiments.sweep_file.read import read_sweep
    from implicit_geometry.experiments.training.fit import Hardware
    from implicit_geometry.experiments.training.loggers import check_logger
    from implicit_geometry.experiments.training.train_run import Resources

    _check_flags(backend, workers, ray_address, accelerator)
    check_logger(logger)
    specs = read_sweep(file)
    console = Console(stderr=as_json)
    store = open_store(Path("runs") / file.stem if output is None else output)
    resources = Resources(data_root, download, Hardware(accelerator), logger)
    with kept_on_interrupt(store, specs, console):
        finished = [spec for spec in specs if store.has(spec)]
        store.load_all(finished)
        if backend == "local":
            check_hardware(specs, resources.hardware)
        check_runs([spec for spec in specs if not store.has(spec)], resources)
        if dry_run:
            _print_plan(store, specs, as_json)
            return
        if finished:
            console.print(f"{len(finished)} of {len(specs)} runs were finished before and are used again.", style="dim")
        with run_bar(store, specs, console) as on_done:
            outcome = _run(store, specs, resources, backend, workers, ray_address, on_done)
        damaged = _print_results(store, specs, outcome, console, as_json)
    raise typer.Exit(1 if outcome.failures or damaged else 0)


def _check_flags(backend: str, workers: int | None, ray_address: str | None, accelerator: str) -> None:
    choice("backend", backend, BACKENDS)
    choice("accelerator", accelerator, ACCELERATORS)
    if backend == "ray" and workers is not None:
        raise InputError("workers", "must be left out with --backend ray, whose cluster decides", workers)
    if backend == "local" and ray_address is not None:
        raise InputError("ray-address", "must come with --backend ray", f"{ray_address!r} with --backend local")


def _run(
    store: RunStore,
    specs: list[RunSpec],
    resources: Resources,
    backend: str,
    workers: int | None,
    ray_address: str | None,
    on_done: OnRun,
) -> Outcome:
    if backend == "ray":
        from implicit_geometry.experiments.backends.ray_cluster import run_missing_on_ray

        return run_missing_on_ray(store, specs, resources=resources, address=ray_address, on_done=on_done)
    from implicit_geometry.experiments.backends.local_workers import run_missing

    return run_missing(store, specs, resources=resources, workers=workers, on_done=on_done)


def _print_plan(store: RunStore, specs: list[RunSpec], as_json: bool) -> None:
    states = ["finished" if store.has(spec) else "failed" if store.failure(spec) else "missing" for spec in specs]
    if as_json:
        rows = zip(specs, states, strict=True)
        print(dumps([{"run": spec.key, "state": state, "spec": spec.to_dict()} for spec, state in rows]))
        return
    Console().print(plan_table(specs, states))


def _print_results(store: RunStore, specs: list[RunSpec], outcome: Outcome, console: Console, as_json: bool) -> bool:
    """Write the table of all runs in the folder; print that of the wanted ones.

    Returns:
        Whether something in the folder cannot be read.
    """
    from implicit_geometry.experiments.record import records_frame, write_records

    path = store.folder / "records.parquet"
    contents = store.contents()
    write_records(records_frame(contents.runs), path)
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
