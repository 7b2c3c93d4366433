"""One item of the paper, from plan to picture: train what is missing, tabulate, draw, write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pandas as pd
from matplotlib.figure import Figure

from implicit_geometry._files import write_atomically
from implicit_geometry._validate import InputError, choice, number, whole_number
from implicit_geometry.experiments.record_columns import records_frame
from implicit_geometry.experiments.run import Failure
from implicit_geometry.experiments.store import open_store
from implicit_geometry.experiments.training.train_run import NO_FILES, Resources
from implicit_geometry.report.figures.accuracy_study import accuracy_against_geometry_figure, accuracy_study_figure
from implicit_geometry.report.figures.images import save_figure
from implicit_geometry.report.figures.paper import (
    fig1_norm_ratios,
    fig2_vectors,
    fig3_all_numbers,
    fig4_distances,
    fig5_training_accuracy,
)
from implicit_geometry.studies.accuracy import (
    BENCHES,
    accuracy_table,
    chosen_by_validation,
    rank_correlations,
    study_specs,
    with_settings,
)
from implicit_geometry.studies.figure_plans import FIGURES, SCALES
from implicit_geometry.studies.figure_runs import (
    FigureNetworks,
    FigureRequest,
    rows_by_epoch,
    theory_and_runs,
    trained_networks,
    vectors_of_three_classes,
)
from implicit_geometry.studies.training import QUIET, Watch, train_missing

__all__ = ["ITEMS", "Reproduction", "Watch", "reproduce"]

ITEMS = (*FIGURES, "accuracy")
"""What :func:`reproduce` makes: the paper's figures, and the study of test accuracy that it leaves open."""


@dataclass(frozen=True)
class Reproduction:
    """What was made.

    Attributes:
        caption: of the figure.
        files: pictures and tables that were written.
        tables: the numbers, by the stem of their file.
        failures: networks that did not finish.
    """

    caption: str
    files: tuple[Path, ...]
    tables: dict[str, pd.DataFrame]
    failures: tuple[Failure, ...] = ()


def reproduce(
    item: str,
    output: str | Path,
    *,
    models: Sequence[str] = (),
    scale: str = "small",
    data: Sequence[str] = (),
    epochs: int | None = None,
    ridge: float = 0.0,
    seeds: int | None = None,
    workers: int | None = None,
    resources: Resources = NO_FILES,
    watch: Watch = QUIET,
) -> Reproduction:
    """Make one item of the paper: plan it, train what is missing, tabulate, draw, and write pictures and numbers.

    Args:
        item: one of :data:`ITEMS`.
        output: folder of pictures and numbers; networks are kept in ``networks`` in it, and used again.
        models: what is trained for a figure: ``"ufm"``, ``"mlp"``, ``"resnet18"``; all that it has where empty.
        scale: of networks: ``"small"``, for two cores, or ``"paper"``, as printed.
        data: data set of the networks, several for ``"accuracy"``; the scale's own where empty.
        epochs: passes over the samples; those of model and scale where left out.
        ridge: of the unconstrained-features model; the paper has none.
        seeds: repetitions; 1 where left out, 5 for ``"accuracy"``.
        workers: processes that train networks; by default one for each core.
        resources: data folder and hardware.
        watch: told of the progress.

    Raises:
        InputError: an argument is wrong, a data set is missing, or no network finished.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     made = reproduce("fig4", folder, models=["ufm"], epochs=20)
        >>> [path.name for path in made.files]
        ['fig4-ufm.png', 'fig4-ufm.svg', 'fig4-ufm.csv']
    """
    choice("item", item, ITEMS)
    count = whole_number("seeds", {"accuracy": 5}.get(item, 1) if seeds is None else seeds, minimum=1)
    folder = _folder(Path(output))
    if item == "accuracy":
        return _accuracy_study(data or ["digits"], folder, count, workers, resources, watch)
    if len(data) > 1:
        raise InputError("data", "must be one data set for a figure", ", ".join(data))
    chosen = models or FIGURES[item].models
    for model in chosen:
        choice("model", model, FIGURES[item].models)
    request = FigureRequest(
        item=item,
        models=tuple(dict.fromkeys(chosen)),
        scale=choice("scale", scale, SCALES),
        data=data[0] if data else None,
        output=folder,
        epochs=None if epochs is None else whole_number("epochs", epochs, minimum=1),
        ridge=number("ridge", ridge, minimum=0.0),
        seeds=range(count),
        workers=workers,
        resources=resources,
        watch=watch,
    )
    networks = trained_networks(request)
    tables, files = {}, []
    module, make = _FIGURES[item]
    for models_drawn, figure, numbers in make(request, networks):
        stem = f"{item}-{request.suffix(models_drawn)}"
        tables[stem] = numbers
        files += [*_pictures(figure, folder, stem), _table(numbers, folder, stem)]
    return Reproduction(module.CAPTION, tuple(files), tables, networks.failures)


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("output", "must be a folder that can be written", f"{path} ({error.strerror})") from error
    return path


def _pictures(figure: Figure, folder: Path, stem: str) -> list[Path]:
    paths = [folder / f"{stem}{ending}" for ending in (".png", ".svg")]
    for path in paths:
        save_figure(figure, path)
    return paths


def _table(numbers: pd.DataFrame, folder: Path, stem: str) -> Path:
    path = folder / f"{stem}.csv"
    write_atomically(path, lambda part: numbers.to_csv(part, index=False))
    return path


_Drawing = tuple[Sequence[str], Figure, pd.DataFrame]  # models, picture, numbers


def _norm_ratios(request: FigureRequest, networks: FigureNetworks) -> list[_Drawing]:
    curves, records = theory_and_runs(request, networks)
    figure = fig1_norm_ratios.norm_ratio_figure(curves, records, networks.names(request.models))
    return [(request.models, figure, records)]


def _vectors(request: FigureRequest, networks: FigureNetworks) -> list[_Drawing]:
    table = vectors_of_three_classes(request, networks)
    return [(request.models, fig2_vectors.vectors_figure(table, networks.names(request.models)), table)]


def _all_numbers(request: FigureRequest, networks: FigureNetworks) -> list[_Drawing]:
    curves, records = theory_and_runs(request, networks)
    figure = fig3_all_numbers.four_by_four_figure(curves, records, networks.names(request.models))
    return [(request.models, figure, records)]


def _distances(request: FigureRequest, networks: FigureNetworks) -> list[_Drawing]:
    return _by_epoch(request, networks, fig4_distances.distance_figure)


def _accuracies(request: FigureRequest, networks: FigureNetworks) -> list[_Drawing]:
    return _by_epoch(request, networks, fig5_training_accuracy.training_accuracy_figure)


def _by_epoch(
    request: FigureRequest, networks: FigureNetworks, draw: Callable[[pd.DataFrame, str], Figure]
) -> list[_Drawing]:
    """One picture for each model."""
    drawings: list[_Drawing] = []
    for model, name in networks.names(request.models).items():
        rows = rows_by_epoch(request, networks, model)
        drawings.append(([model], draw(rows, name), rows))
    return drawings


_FIGURES: dict[str, tuple[ModuleType, Callable[[FigureRequest, FigureNetworks], list[_Drawing]]]] = {
    "fig1": (fig1_norm_ratios, _norm_ratios),
    "fig2": (fig2_vectors, _vectors),
    "fig3": (fig3_all_numbers, _all_numbers),
    "fig4": (fig4_distances, _distances),
    "fig5": (fig5_training_accuracy, _accuracies),
}


def _accuracy_study(
    data: Sequence[str], folder: Path, seeds: int, workers: int | None, resources: Resources, watch: Watch
) -> Reproduction:
    count = whole_number("seeds", seeds, minimum=2)
    specs = [spec for name in data for spec in study_specs(choice("data", name, BENCHES), seeds=range(count))]
    store = open_store(folder / "networks")
    failures = train_missing(store, specs, resources=resources, workers=workers, watch=watch)
    runs = store.load_all(spec for spec in specs if store.has(spec))
    records = with_settings(records_frame(runs), [run.spec for run in runs])
    tables = {
        "accuracy": accuracy_table(chosen_by_validation(records)),
        "accuracy-correlations": rank_correlations(records),
    }
    files = [_table(numbers, folder, stem) for stem, numbers in tables.items()]
    for name in data:
        files += _pictures(accuracy_study_figure(tables["accuracy"], name), folder, f"accuracy-{name}")
        files += _pictures(accuracy_against_geometry_figure(records, name), folder, f"accuracy-geometry-{name}")
    caption = "Test accuracy, mean and 95 % interval over seeds; exponents chosen on validation samples."
    return Reproduction(caption, tuple(files), tables, failures)
