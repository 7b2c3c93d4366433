"""From a figure of the paper to the tables that it is drawn from: train what is missing, measure, tabulate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from implicit_geometry._validate import InputError
from implicit_geometry.experiments.backends.estimate import training_seconds
from implicit_geometry.experiments.backends.local_workers import cores
from implicit_geometry.experiments.run import Failure
from implicit_geometry.experiments.spec import DataSpec, RunSpec
from implicit_geometry.experiments.store import RunStore, open_store
from implicit_geometry.experiments.training.train_run import Resources
from implicit_geometry.frames import Frame
from implicit_geometry.nn.ufm import UFMHistory
from implicit_geometry.studies.figure_plans import (
    FIGURES,
    PRINTED_MLP,
    UFM_EPOCHS,
    FigurePlan,
    figure_plan,
    network_specs,
)
from implicit_geometry.studies.figure_tables import (
    fitted_curves,
    network_geometries,
    network_histories,
    network_records,
    vector_table,
    write_three_classes,
)
from implicit_geometry.studies.training import Watch, train_missing
from implicit_geometry.studies.ufm import measured, study_records, train_study

_DATA_NAMES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
_MODEL_NAMES = {"ufm": "UFM", "mlp": "MLP", PRINTED_MLP: "6 × 2048 MLP", "resnet18": "ResNet18"}
_CURVE_POINTS = 61

PAPER_FRAME: Frame = "centred"
"""The frame in which the paper shows embeddings."""


@dataclass(frozen=True)
class FigureRequest:
    """Which figure of the paper, and how; the arguments of :func:`implicit_geometry.reproduce.reproduce`."""

    item: str
    models: tuple[str, ...]
    frame: Frame
    scale: str
    data: str | None
    output: Path
    epochs: int | None
    ridge: float
    seeds: range
    workers: int | None
    resources: Resources
    watch: Watch

    @property
    def plan(self) -> FigurePlan:
        """What the figure compares."""
        return figure_plan(self.item, self.scale)

    @property
    def drawn_frame(self) -> Frame:
        """The frame of the embeddings; of figures that show none, the one that every network was measured in."""
        return self.frame if self.plan.shows_embeddings else "projected"

    def suffix(self, models: Sequence[str]) -> str:
        """What tells apart the files of a figure: models, scale and data of networks, a frame other than its own."""
        usual = self.plan == FIGURES[self.item]
        networks = [] if list(models) == ["ufm"] and usual else [self.scale, *([self.data] if self.data else [])]
        frame = [self.frame] if self.plan.shows_embeddings and self.frame != PAPER_FRAME else []
        return "-".join([*models, *networks, *frame])


@dataclass(frozen=True)
class FigureNetworks:
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

    def names(self, models: Sequence[str]) -> dict[str, str]:
        """Models, and the data they were trained on, for readers."""
        data = {model: Path(specs[0].data.name).stem.removesuffix("-3") for model, specs in self.specs.items()}
        titles = {model: f" on {_DATA_NAMES.get(name, name)}" for model, name in data.items()}
        return {model: _MODEL_NAMES[model] + titles.get(model, "") for model in models}


def trained_networks(request: FigureRequest) -> FigureNetworks:
    """Train the networks that are missing."""
    folder = request.output / "networks"
    specs = {model: _specs(request, model) for model in request.models if model != "ufm"}
    if not specs:
        return FigureNetworks({}, RunStore(folder), ())
    store = open_store(folder)
    wanted = [spec for some in specs.values() for spec in some]
    large = {
        spec.key for model, some in specs.items() if request.scale == "paper" or model == PRINTED_MLP for spec in some
    }
    failures = train_missing(
        store,
        wanted,
        resources=request.resources,
        workers=request.workers,
        watch=request.watch,
        before=lambda waiting: _warn_without_gpu([spec for spec in waiting if spec.key in large], request),
    )
    return FigureNetworks(specs, store, failures)


def _specs(request: FigureRequest, model: str) -> list[RunSpec]:
    specs = network_specs(
        request.item, model, scale=request.scale, data=request.data, epochs=request.epochs, seeds=request.seeds
    )
    if request.plan.num_classes == 10:
        return specs
    path = request.output / f"{specs[0].data.name}-3.npz"
    if not path.exists():
        write_three_classes(request.resources.source(specs[0].data), path)
    data = DataSpec(f"features:{path}", test_per_class=50)
    return [replace(spec, data=data) for spec in specs]


def _warn_without_gpu(specs: list[RunSpec], request: FigureRequest) -> None:
    """Say how long networks of the paper's size will take on cores."""
    if not specs or torch.cuda.is_available() or torch.backends.mps.is_available():
        return
    workers = min(request.workers or cores(), len(specs))
    hours = training_seconds(specs, request.resources) / workers / 3600
    request.watch.say(
        f"There is no GPU: {len(specs)} networks of the paper's size will take about {hours:,.1f} hours with "
        f"{workers} process{'es' if workers > 1 else ''}. What is finished is kept; the small ones take minutes."
    )


def theory_and_runs(request: FigureRequest, networks: FigureNetworks) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lines of theory, and one row per trained model, for all models."""
    plan = request.plan
    grid = np.linspace(min(plan.exponents), max(plan.exponents), _CURVE_POINTS)
    curves, records = [], []
    for model in request.models:
        if model == "ufm":
            runs, counts, ridge = _ufm_records(request), plan.ufm_counts(10), request.ridge
        else:
            specs = networks.finished(model)
            runs = network_records(networks.store, specs, request.drawn_frame).assign(model=model)
            counts, ridge = specs[0].class_counts(), 0.0
        curves.append(fitted_curves(counts, plan.rules, runs, grid, ridge=ridge).assign(model=model))
        records.append(runs)
    return pd.concat(curves, ignore_index=True), pd.concat(records, ignore_index=True)


def vectors_of_three_classes(request: FigureRequest, networks: FigureNetworks) -> pd.DataFrame:
    """The vectors of Fig. 2, predicted and measured."""
    found = {}
    for model in request.models:
        if model == "ufm":
            history = _ufm_history(request, 10)
            for position, loss in enumerate(request.plan.losses(model, request.scale)):
                found[model, loss] = measured(history, position, 0, -1, request.drawn_frame).geometry
        else:
            geometries = network_geometries(networks.store, networks.finished(model), request.drawn_frame)
            found |= {(model, loss): geometry for loss, geometry in geometries.items()}
    return vector_table(found, request.plan.ufm_counts(10))


def rows_by_epoch(request: FigureRequest, networks: FigureNetworks, model: str) -> pd.DataFrame:
    """One row per run and recorded epoch of a model."""
    if model == "ufm":
        return _ufm_records(request, every_epoch=True)
    return network_histories(networks.store, networks.finished(model), request.drawn_frame)


def _ufm_records(request: FigureRequest, *, every_epoch: bool = False) -> pd.DataFrame:
    losses = request.plan.losses("ufm", request.scale)
    parts = [
        study_records(_ufm_history(request, ratio), losses, every_epoch=every_epoch)
        for ratio in request.plan.imbalance_ratios
    ]
    return pd.concat(parts, ignore_index=True)


def _ufm_history(request: FigureRequest, imbalance_ratio: int) -> UFMHistory:
    epochs = request.epochs or UFM_EPOCHS
    with request.watch.epochs(epochs) as on_epoch:
        return train_study(
            request.plan.ufm_counts(imbalance_ratio),
            request.plan.losses("ufm", request.scale),
            epochs=epochs,
            ridge=request.ridge,
            seeds=request.seeds,
            on_epoch=on_epoch,
        )
