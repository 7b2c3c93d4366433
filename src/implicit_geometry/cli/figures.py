"""``igeom reproduce fig1`` to ``fig5``: train what is missing, draw, write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from implicit_geometry._validate import InputError, choice
from implicit_geometry.cli._progress import kept_on_interrupt, print_failures, run_bar
from implicit_geometry.experiments.spec import DataSpec, RunSpec
from implicit_geometry.studies.figure_plans import FIGURES, SCALES, UFM_EPOCHS, network_specs

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from implicit_geometry.experiments.store import Failure, RunStore
    from implicit_geometry.experiments.training.train_run import Resources
    from implicit_geometry.nn.ufm import UFMHistory
    from implicit_geometry.studies.figure_plans import FigurePlan

_DATA_NAMES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
_CURVE_POINTS = 61


@dataclass(frozen=True)
class Request:
    """Which figure, and how.

    Attributes:
        item: a name in :data:`implicit_geometry.studies.figure_plans.FIGURES`.
        models: to train; all that the figure has where empty.
        scale: of networks.
        data: of networks; the scale's own where None.
        output: folder, which exists.
        epochs: instead of those of model and scale.
        ridge: of the unconstrained-features model.
        seeds: repetitions.
        workers: processes; by default one a core.
        resources: data folder and hardware.
    """

    item: str
    models: tuple[str, ...]
    scale: str
    data: str | None
    output: Path
    epochs: int | None
    ridge: float
    seeds: range
    workers: int | None
    resources: Resources

    @property
    def plan(self) -> FigurePlan:
        """What the figure compares."""
        return FIGURES[self.item]


Drawing = tuple[str, "Figure", "pd.DataFrame"]
"""End of the file name, picture, numbers."""


@dataclass(frozen=True)
class Networks:
    """The networks of a figure.

    Attributes:
        specs: by model; none for the unconstrained-features model.
        store: where they lie.
        failures: those that did not finish.
    """

    specs: dict[str, list[RunSpec]]
    store: RunStore
    failures: tuple[Failure, ...]

    def finished(self, model: str) -> list[RunSpec]:
        """Those of a model that can be drawn.

        Raises:
            InputError: there is none.
        """
        finished = [spec for spec in self.specs[model] if self.store.has(spec)]
        if not finished:
            raise InputError(
                "networks", "must be there to be drawn", f"none of {len(self.specs[model])} {model} finished"
            )
        return finished


def draw_figure(request: Request) -> tuple[list[Path], tuple[Failure, ...]]:
    """Make a figure; return its files, and the networks that failed."""
    models = request.models or request.plan.models
    for model in models:
        choice("model", model, request.plan.models)
    choice("scale", request.scale, SCALES)
    networks = _networks(request, [model for model in models if model != "ufm"])
    drawings = _DRAW[request.item](request, models, networks)
    return [path for drawing in drawings for path in _write(request, drawing)], networks.failures


def _networks(request: Request, models: Sequence[str]) -> Networks:
    """Train the networks that are missing."""
    from implicit_geometry.experiments.store import RunStore, open_store

    folder = request.output / "networks"
    specs = {model: _specs(request, model) for model in models}
    if not specs:
        return Networks({}, RunStore(folder), ())
    store = open_store(folder)
    return Networks(specs, store, _train(store, [spec for some in specs.values() for spec in some], request))


def _specs(request: Request, model: str) -> list[RunSpec]:
    specs = network_specs(
        request.item, model, scale=request.scale, data=request.data, epochs=request.epochs, seeds=request.seeds
    )
    if request.plan.num_classes == 10:
        return specs
    from implicit_geometry.studies.figure_tables import write_three_classes

    path = request.output / f"{specs[0].data.name}-3.npz"
    if not path.exists():
        write_three_classes(request.resources.source(specs[0].data), path)
    data = DataSpec(f"features:{path}", test_per_class=50)
    return [replace(spec, data=data) for spec in specs]


def _train(store: RunStore, specs: list[RunSpec], request: Request) -> tuple[Failure, ...]:
    from implicit_geometry.experiments.backends.local_workers import run_missing
    from implicit_geometry.experiments.backends.preflight import check_runs

    console = Console()
    with kept_on_interrupt(store, specs, console):
        waiting = [spec for spec in specs if not store.has(spec)]
        check_runs(waiting, request.resources)
        if request.scale == "paper":
            _warn_without_gpu(waiting, request, console)
        with run_bar(store, specs, console) as on_done:
            outcome = run_missing(store, specs, resources=request.resources, workers=request.workers, on_done=on_done)
    print_failures(outcome.failures, console)
    return outcome.failures


def _warn_without_gpu(specs: list[RunSpec], request: Request, console: Console) -> None:
    import torch

    from implicit_geometry.experiments.backends.estimate import training_seconds
    from implicit_geometry.experiments.backends.local_workers import cores

    if not specs or torch.cuda.is_available() or torch.backends.mps.is_available():
        return
    workers = min(request.workers or cores(), len(specs))
    hours = training_seconds(specs, request.resources) / workers / 3600
    console.print(
        f"[yellow]There is no GPU: {len(specs)} networks of the paper's size will take about {hours:,.0f} hours with "
        f"{workers} process{'es' if workers > 1 else ''}.[/] What is finished is kept; --scale small takes minutes.",
        soft_wrap=True,
    )


def _norm_ratios(request: Request, models: Sequence[str], networks: Networks) -> list[Drawing]:
    from implicit_geometry.report.figures.paper import norm_ratio_figure

    curves, records = _theory_and_runs(request, models, networks)
    return [(_suffix(request, models), norm_ratio_figure(curves, records, _names(models, networks)), records)]


def _all_numbers(request: Request, models: Sequence[str], networks: Networks) -> list[Drawing]:
    from implicit_geometry.report.figures.paper import four_by_four_figure

    curves, records = _theory_and_runs(request, models, networks)
    return [(_suffix(request, models), four_by_four_figure(curves, records, _names(models, networks)), records)]


def _theory_and_runs(request: Request, models: Sequence[str], networks: Networks) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lines of theory and a row a trained model, for all models."""
    import numpy as np
    import pandas as pd

    from implicit_geometry.studies.figure_tables import fitted_curves, network_records

    plan = request.plan
    grid = np.linspace(min(plan.exponents), max(plan.exponents), _CURVE_POINTS)
    curves, records = [], []
    for model in models:
        if model == "ufm":
            runs, counts, ridge = _ufm_records(request), plan.ufm_counts(10), request.ridge
        else:
            specs = networks.finished(model)
            runs, counts, ridge = network_records(networks.store, specs), specs[0].class_counts(), 0.0
        curves.append(fitted_curves(counts, plan.rules, runs, grid, ridge=ridge).assign(model=model))
        records.append(runs)
    return pd.concat(curves, ignore_index=True), pd.concat(records, ignore_index=True)


def _vectors(request: Request, models: Sequence[str], networks: Networks) -> list[Drawing]:
    from implicit_geometry.report.figures.vectors import vectors_figure
    from implicit_geometry.studies.figure_tables import network_geometries, vector_table
    from implicit_geometry.studies.ufm import measured_geometry

    measured = {}
    for model in models:
        if model == "ufm":
            history = _ufm_history(request, 10)
            for position, loss in enumerate(request.plan.losses(model, request.scale)):
                measured[model, loss] = measured_geometry(history, position, 0, -1)
        else:
            for loss, geometry in network_geometries(networks.store, networks.finished(model)).items():
                measured[model, loss] = geometry
    table = vector_table(measured, request.plan.ufm_counts(10))
    return [(_suffix(request, models), vectors_figure(table, _names(models, networks)), table)]


def _distances(request: Request, models: Sequence[str], networks: Networks) -> list[Drawing]:
    from implicit_geometry.report.figures.paper import distance_figure

    return _by_epoch(request, models, networks, distance_figure)


def _accuracies(request: Request, models: Sequence[str], networks: Networks) -> list[Drawing]:
    from implicit_geometry.report.figures.paper import training_accuracy_figure

    return _by_epoch(request, models, networks, training_accuracy_figure)


def _by_epoch(
    request: Request, models: Sequence[str], networks: Networks, draw: Callable[[pd.DataFrame, str], Figure]
) -> list[Drawing]:
    """A picture a model."""
    from implicit_geometry.studies.figure_tables import network_histories

    drawings = []
    for model, name in _names(models, networks).items():
        if model == "ufm":
            rows = _ufm_records(request, every_epoch=True)
        else:
            rows = network_histories(networks.store, networks.finished(model))
        drawings.append((_suffix(request, [model]), draw(rows, name), rows))
    return drawings


_DRAW = {
    "fig1": _norm_ratios,
    "fig2": _vectors,
    "fig3": _all_numbers,
    "fig4": _distances,
    "fig5": _accuracies,
}


def _ufm_records(request: Request, *, every_epoch: bool = False) -> pd.DataFrame:
    import pandas as pd

    from implicit_geometry.studies.ufm import study_records

    losses = request.plan.losses("ufm", request.scale)
    parts = [
        study_records(_ufm_history(request, ratio), losses, every_epoch=every_epoch)
        for ratio in request.plan.imbalance_ratios[request.scale]
    ]
    return pd.concat(parts, ignore_index=True)


def _ufm_history(request: Request, imbalance_ratio: int) -> UFMHistory:
    from implicit_geometry.studies.ufm import train_study

    epochs = request.epochs or UFM_EPOCHS
    with _epoch_bar(epochs) as on_epoch:
        return train_study(
            request.plan.ufm_counts(imbalance_ratio),
            request.plan.losses("ufm", request.scale),
            epochs=epochs,
            ridge=request.ridge,
            seeds=request.seeds,
            on_epoch=on_epoch,
        )


@contextmanager
def _epoch_bar(epochs: int) -> Iterator[Callable[[int], object]]:
    columns = (
        TextColumn("training UFM"),
        BarColumn(bar_width=20),
        TextColumn("epoch {task.completed}/{task.total}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        task = progress.add_task("", total=epochs)
        yield lambda epoch: progress.update(task, completed=epoch)


def _names(models: Sequence[str], networks: Networks) -> dict[str, str]:
    """Models, and the data they were trained on, for readers."""
    from implicit_geometry.report.figures.paper import MODEL_NAMES

    data = {model: Path(specs[0].data.name).stem.removesuffix("-3") for model, specs in networks.specs.items()}
    titles = {model: f" on {_DATA_NAMES.get(name, name)}" for model, name in data.items()}
    return {model: MODEL_NAMES[model] + titles.get(model, "") for model in models}


def _suffix(request: Request, models: Sequence[str]) -> str:
    """What tells apart the files of a figure: models, and of networks scale and data."""
    networks = [] if list(models) == ["ufm"] else [request.scale, *([request.data] if request.data else [])]
    return "-".join([*models, *networks])


def _write(request: Request, drawing: Drawing) -> list[Path]:
    from implicit_geometry._files import write_atomically
    from implicit_geometry.report.figures.images import save_figure

    suffix, figure, numbers = drawing
    paths = [request.output / f"{request.item}-{suffix}{ending}" for ending in (".png", ".svg", ".csv")]
    for path in paths[:2]:
        save_figure(figure, path)
    write_atomically(paths[2], lambda part: numbers.to_csv(part, index=False))
    return paths
