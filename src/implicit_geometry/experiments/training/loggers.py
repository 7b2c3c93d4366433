"""Lightning's loggers by name: one record per run, beside the results or in a service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from implicit_geometry._validate import InputError, choice
from implicit_geometry.experiments.spec import RunSpec

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

LOGGERS = ("tensorboard", "wandb")


def check_logger(name: str | None) -> None:
    """Refuse an unknown logger, and one whose package is not installed.

    Raises:
        InputError: says which extra to install.

    Example:
        >>> check_logger(None)
    """
    if name is not None and find_spec(choice("logger", name, LOGGERS)) is None:
        raise InputError(f"logger {name}", "must be installed, and is not; pip install 'implicit-geometry[loggers]'")


@contextmanager
def run_logger(name: str | None, folder: Path, spec: RunSpec) -> Iterator[Logger | None]:
    """The logger of one run, told its spec and closed at the end; it goes on with what an interrupted run logged.

    Args:
        name: one of :data:`LOGGERS`, or None.
        folder: of the results. TensorBoard's files are in ``logs/KEY``, those of W&B in ``wandb``.
        spec: the run; its key is the run's name.
    """
    if name is None:
        yield None
        return
    logger = _tensorboard(folder, spec) if name == "tensorboard" else _wandb(folder, spec)
    logger.log_hyperparams(spec.to_dict())
    try:
        yield logger
    finally:
        if name == "wandb":
            logger.experiment.finish()  # or the next run of this process would be logged into this one


def _tensorboard(folder: Path, spec: RunSpec) -> TensorBoardLogger:
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(folder / "logs", name=None, version=spec.key)


def _wandb(folder: Path, spec: RunSpec) -> WandbLogger:
    from lightning.pytorch.loggers import WandbLogger

    return WandbLogger(save_dir=folder, project="implicit-geometry", id=spec.key, name=spec.key, resume="allow")
