"""Training a classifier with any loss, on Lightning."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import RichProgressBar
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset

from implicit_geometry._validate import InputError, Ints
from implicit_geometry.experiments.spec import Optimization


class ClassifierTask(L.LightningModule):
    """A model and a loss under the optimiser and schedule of an :class:`Optimization`."""

    def __init__(self, model: nn.Module, loss: nn.Module, optimization: Optimization) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.optimization = optimization

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch."""
        inputs, labels = batch
        loss: Tensor = self.loss(self.model(inputs), labels)
        return loss

    def configure_optimizers(self) -> Any:
        """SGD with the schedule stepped once an epoch."""
        plan = self.optimization
        optimizer = torch.optim.SGD(
            self.model.parameters(), lr=plan.learning_rate, momentum=plan.momentum, weight_decay=plan.weight_decay
        )
        return [optimizer], [make_schedule(optimizer, plan)]


def make_schedule(optimizer: torch.optim.Optimizer, plan: Optimization) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning-rate schedule of a plan, to be stepped once an epoch."""
    if plan.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=plan.epochs)
    drops = [plan.epochs // 3, 2 * plan.epochs // 3] if plan.schedule == "step" else []
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=drops, gamma=0.1)


def batches(inputs: NDArray[np.float32], labels: Ints, batch_size: int, *, shuffle: bool = False) -> DataLoader[Any]:
    """A loader that slices whole batches out of tensors (no per-sample collation)."""
    dataset = TensorDataset(torch.from_numpy(inputs), torch.from_numpy(labels))
    order = RandomSampler(dataset) if shuffle else SequentialSampler(dataset)
    return DataLoader(dataset, sampler=BatchSampler(order, batch_size, drop_last=False), batch_size=None)


def fit(
    model: nn.Module,
    loss: nn.Module,
    loader: DataLoader[Any],
    plan: Optimization,
    *,
    seed: int = 0,
    accelerator: str = "auto",
    progress: bool = False,
    callbacks: tuple[L.Callback, ...] = (),
) -> None:
    """Train ``model`` in place; deterministic for a seed on one device.

    Args:
        model: maps inputs to logits.
        loss: maps (logits, labels) to a scalar.
        loader: training batches.
        plan: optimiser, schedule and epochs.
        seed: of the order of the batches (the model is initialised by the caller).
        accelerator: Lightning's; ``"auto"`` takes a GPU where there is one.
        progress: show a progress bar.
        callbacks: further Lightning callbacks.

    Raises:
        InputError: training diverged (a parameter is no longer finite).
    """
    bars = (RichProgressBar(),) if progress else ()
    with _quiet_lightning():
        L.seed_everything(seed, verbose=False)
        trainer = L.Trainer(
            max_epochs=plan.epochs,
            accelerator=accelerator,
            devices=1,
            deterministic=True,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=progress,
            enable_model_summary=False,
            callbacks=[*bars, *callbacks],
        )
        trainer.fit(ClassifierTask(model, loss, plan), loader)
    if not all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters()):
        raise InputError(f"learning_rate must let training converge, got {plan.learning_rate:g}: it diverged")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block under a torch seed and restore the generator after it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def build(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Initialise a model under a seed."""
    with seeded(seed):
        return make()


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence Lightning's banner, its hints about loader workers and its use of a deprecated torch name."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*number of training batches.*")
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
