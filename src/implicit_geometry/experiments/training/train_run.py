"""From a spec to a finished run: data, network, loss, training, measurement, comparison with theory."""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.utils.data import Dataset

from implicit_geometry._validate import Ints
from implicit_geometry._version import __version__
from implicit_geometry.data.load import Source, load_source
from implicit_geometry.data.split import LabelledData, make_split
from implicit_geometry.experiments.record_columns import COLUMNS
from implicit_geometry.experiments.run import Array, TrainedRun
from implicit_geometry.experiments.spec import DataSpec, RunSpec
from implicit_geometry.experiments.training.batches import ordered_batches
from implicit_geometry.experiments.training.evaluation import accuracies, predictions
from implicit_geometry.experiments.training.fit import ANY_DEVICE, Hardware, build, fit
from implicit_geometry.measurement import Measurement
from implicit_geometry.nn.losses.criterion import VSLoss
from implicit_geometry.nn.measuring.monitor import GeometryMonitor
from implicit_geometry.nn.measuring.targets import Observed, Targets, reason
from implicit_geometry.nn.measuring.two_passes import measure
from implicit_geometry.nn.networks import linear_head, make_network
from implicit_geometry.problem import Problem
from implicit_geometry.summary import accuracy_summary

_PACKAGES = ("numpy", "scipy", "torch", "lightning", "scikit-learn", "torchvision", "timm")


@dataclass(frozen=True)
class Resources:
    """What a run needs from the machine it happens on, and what does not change its result.

    Attributes:
        data_root: folder of the data sets that torchvision reads.
        download: fetch a data set that is not there.
        hardware: where to train.
        logger: one of :data:`~implicit_geometry.experiments.training.loggers.LOGGERS`, besides a run's own history.
    """

    data_root: Path | None = None
    download: bool = False
    hardware: Hardware = ANY_DEVICE
    logger: str | None = None

    def source(self, spec: DataSpec) -> Source:
        """The data set of a spec; the last one stays in memory."""
        return _load(spec.name, self.data_root, self.download, spec.image_size)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, for a process of its own."""
        return {**asdict(self), "data_root": None if self.data_root is None else str(self.data_root)}

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Resources:
        """Read what :meth:`to_dict` gave."""
        root = document["data_root"]
        return cls(
            **{
                **document,
                "data_root": None if root is None else Path(root),
                "hardware": Hardware(**document["hardware"]),
            }
        )


NO_FILES = Resources()


@lru_cache(maxsize=1)
def _load(name: str, root: Path | None, download: bool, image_size: int | None) -> Source:
    return load_source(name, root=root, download=download, image_size=image_size)


def train_run(
    spec: RunSpec,
    *,
    resources: Resources = NO_FILES,
    source: Source | None = None,
    working: Path | None = None,
    progress: bool = False,
    logger: Logger | None = None,
) -> TrainedRun | None:
    """Train, measure and compare one spec.

    Args:
        spec: the run.
        resources: data folder and hardware.
        source: the data set, where it is at hand; loaded otherwise.
        working: folder of the state of the unfinished run; where it holds one, training goes on from it.
        progress: show a progress bar.
        logger: Lightning's, for the rows of the history.

    Returns:
        The run; None in a process that only helped another to train.

    Raises:
        InputError: a data set is missing or too small for the counts, or training diverged
            (:class:`~implicit_geometry.experiments.training.fit.Diverged`).
    """
    started = time.perf_counter()
    counts, parameterization = spec.class_counts(), spec.parameterization()
    data = split_of(spec, source or resources.source(spec.data))
    model = build(
        lambda: make_network(spec.network.name, data.input_shape, counts.num_classes, **spec.network.options), spec.seed
    )
    head = linear_head(model, counts.num_classes)
    problem = spec.problem(bias=head.bias is not None)
    history: list[dict[str, Any]] = []
    before = time.perf_counter()
    trainer = fit(
        model,
        VSLoss(parameterization, label_smoothing=spec.label_smoothing),
        data.train,
        spec.optimization,
        seed=spec.seed,
        hardware=resources.hardware,
        augmentation=data.augmentation,
        progress=progress,
        callbacks=_recorders(spec, problem, head.name, data, history),
        logger=logger,
        history=history,
        checkpoint=None if working is None else working / "checkpoint.safetensors",
    )
    training_seconds = time.perf_counter() - before
    if not trainer.is_global_zero:
        return None
    model.to(trainer.strategy.root_device)
    measured = measure(
        model,
        ordered_batches(data.train, spec.optimization.batch_size),
        head=head.name,
        parameterization=parameterization,
    )
    train = accuracy_summary(measured.class_accuracy * counts.values, counts.values, counts)
    record = {
        "run": spec.key,
        "rule": spec.rule,
        "data": spec.data.name,
        "network": spec.network.name,
        "bias": problem.bias,
        **{f"train_{name}": value for name, value in train.items()},
        **held_out_accuracies(spec, data, model),
        "terminal_phase": train["overall"] == 1.0,
        **compared(measured, problem, quiet=spec.record_every > 0),
        "seconds": time.perf_counter() - started,
        "training_seconds": training_seconds,
        "versions": _versions(),
    }
    weights = {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}
    return TrainedRun(spec, record, _arrays(measured, data), history=history, weights=weights)


def _arrays(measured: Measurement, data: LabelledData) -> dict[str, Array]:
    bias = {} if measured.bias is None else {"bias": measured.bias}
    return {
        "classifier": np.asarray(measured.classifier, dtype=np.float64),
        "embedding": np.asarray(measured.embedding, dtype=np.float64),
        "class_means": np.asarray(measured.class_means, dtype=np.float64),
        **bias,
        "train_indices": np.asarray(data.train_indices, dtype=np.int64),
    }


def split_of(spec: RunSpec, source: Source) -> LabelledData:
    """The samples of a run.

    Raises:
        InputError: a class of the data set has too few samples.
    """
    if source.num_classes == len(spec.counts):  # else the split says what is wrong
        source = source.in_class_order(spec.class_order())
    return make_split(
        source,
        spec.class_counts(),
        test_per_class=spec.data.test_per_class,
        validation_per_class=spec.data.validation_per_class,
        seed=spec.seed,
        augment=spec.data.augment,
    )


def held_out_accuracies(spec: RunSpec, data: LabelledData, model: nn.Module) -> dict[str, float]:
    """Accuracies on the test and the validation samples, keyed ``test_balanced`` etc."""
    parts: dict[str, tuple[Dataset[Any] | None, Ints | None]] = {
        "test": (data.test, data.test_labels),
        "validation": (data.validation, data.validation_labels),
    }
    counts, size = spec.class_counts(), spec.optimization.batch_size
    return {
        f"{part}_{name}": value
        for part, (dataset, labels) in parts.items()
        if dataset is not None and labels is not None
        for name, value in accuracies(predictions(model, ordered_batches(dataset, size)), labels, counts).items()
    }


def compared(measured: Measurement, problem: Problem, *, quiet: bool = False) -> dict[str, Any]:
    """The numbers of a measurement, its distances to theory with their parts, and what the theory calls collapse.

    Args:
        measured: the network.
        problem: what it was trained with.
        quiet: do not warn of what theory does not give, which a monitor has said before.

    Returns:
        Numbers, None for those of a target that theory does not give, and as ``not_compared`` why it does not.
    """
    framed = measured.in_both_frames(problem.parameterization.label_scale)
    observed = Observed(framed, problem.counts, np.arange(problem.num_classes))
    targets = Targets(problem, problem.num_classes, has_bias=problem.bias)
    columns: dict[str, Any] = {}
    for part in targets.parts.values():
        columns |= part(observed)
    missing = {name: reason(error) for name, error in targets.missing.items()}
    for name, why in missing.items():
        if not quiet:
            warnings.warn(f"no distances to the {name}: {why}", stacklevel=2)
    lacking = [column.key for column in COLUMNS.values() if column.target in missing]
    return {
        **columns,
        **dict.fromkeys(lacking),
        **({"not_compared": missing} if missing else {}),
        "nc1": measured.nc1,
        "cdnv": measured.cdnv,
        "self_duality": measured.self_duality,
    }


def _recorders(
    spec: RunSpec, problem: Problem, head: str, data: LabelledData, history: list[dict[str, Any]]
) -> list[L.Callback]:
    if not spec.record_every:
        return []
    monitor = GeometryMonitor(problem, head=f"model.{head}", every=spec.record_every)
    monitor.history = history
    return [monitor, _HeldOutAccuracy(spec, data, history)]


class _HeldOutAccuracy(L.Callback):
    """Adds held-out accuracies to the row that a monitor recorded at the end of an epoch."""

    def __init__(self, spec: RunSpec, data: LabelledData, history: Sequence[dict[str, Any]]) -> None:
        self.spec = spec
        self.data = data
        self.history = history
        self.seen = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Rows of an interrupted run have theirs."""
        self.seen = len(self.history)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure where a row is new."""
        if len(self.history) > self.seen:
            self.history[-1].update(held_out_accuracies(self.spec, self.data, pl_module.model))  # type: ignore[arg-type]
        self.seen = len(self.history)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "implicit-geometry": __version__}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
