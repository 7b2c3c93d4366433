"""Training a classifier with any loss, on Lightning."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn
from torch.utils.data import Dataset

from implicit_geometry._validate import InputError
from implicit_geometry.experiments.ends_with_parent import end_with_first_process
from implicit_geometry.experiments.spec import Optimization
from implicit_geometry.experiments.training.batches import training_batches
from implicit_geometry.experiments.training.checkpoint import (
    Checkpoint,
    read_checkpoint,
    take_checkpoint,
    write_checkpoint,
)

_LARGEST_SHARE = 0.05  # of the time of training, for checkpoints


class Diverged(InputError):
    """Training left the finite numbers: a result of its spec, which another attempt would only repeat."""


@dataclass(frozen=True)
class Hardware:
    """Where to train; it does not change what is computed beyond rounding.

    Several devices share every batch. Batch normalisation is over the whole batch on GPUs; over each process's share
    on CPUs, for which torch has no other, so that networks with batch-norm do differ there.

    Attributes:
        accelerator: Lightning's; ``"auto"`` takes a GPU where there is one.
        devices: how many, each with a process of its own where there are several.
    """

    accelerator: str = "auto"
    devices: int = 1


ANY_DEVICE = Hardware()


def uses_gpu(hardware: Hardware) -> bool:
    """Whether training happens on a GPU."""
    return hardware.accelerator != "cpu" and torch.cuda.is_available()


class ClassifierTask(L.LightningModule):
    """A model and a loss under the optimiser and schedule of an :class:`Optimization`."""

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module,
        optimization: Optimization,
        *,
        augmentation: Callable[[Tensor], Tensor] | None = None,
        resume: Checkpoint | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.optimization = optimization
        self.augmentation = augmentation
        self.resume = resume

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch."""
        inputs, labels = batch
        if self.augmentation is not None:
            inputs = self.augmentation(inputs)
        loss: Tensor = self.loss(self.model(inputs), labels)
        return loss

    def configure_optimizers(self) -> Any:
        """The optimiser, with its schedule stepped once per epoch."""
        optimizer = make_optimizer(self.model, self.optimization)
        if self.resume is None:
            return [optimizer], [make_schedule(optimizer, self.optimization)]
        self.resume.restore_optimizer(optimizer)
        return [optimizer], [make_schedule(optimizer, self.optimization, epoch=self.resume.epoch)]

    def on_train_start(self) -> None:
        """Go on with the random numbers where an interrupted run left off."""
        if self.resume is not None:
            self.resume.restore_random()


class EpochEnd(L.Callback):
    """After every epoch: stop where training diverged, and write a checkpoint where asked.

    Where epochs take less than twenty times as long as a checkpoint, some go without: an interruption costs at most
    the current epoch or, where that is longer, the time of twenty checkpoints (a fraction of a second).

    Args:
        history: rows recorded so far, kept with the state.
        path: of the checkpoint, or None.
    """

    def __init__(self, history: list[dict[str, Any]], path: Path | None) -> None:
        self.history = history
        self.path = path
        self.next = 0.0

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check and save."""
        assert isinstance(pl_module, ClassifierTask)
        epoch = trainer.current_epoch + 1
        if not all(bool(torch.isfinite(parameter).all()) for parameter in pl_module.model.parameters()):
            plan = pl_module.optimization
            raise Diverged(
                "learning_rate",
                "must let training converge",
                f"{plan.learning_rate:g}: it diverged in epoch {epoch} of {plan.epochs}",
            )
        started = time.monotonic()
        if self.path is not None and trainer.is_global_zero and started >= self.next:
            (optimizer,) = trainer.optimizers
            write_checkpoint(self.path, take_checkpoint(epoch, pl_module.model, optimizer, self.history))
            ended = time.monotonic()
            self.next = ended + (ended - started) / _LARGEST_SHARE


def make_optimizer(model: nn.Module, plan: Optimization) -> torch.optim.Optimizer:
    """The optimiser of a plan."""
    return torch.optim.SGD(
        model.parameters(), lr=plan.learning_rate, momentum=plan.momentum, weight_decay=plan.weight_decay
    )


def make_schedule(
    optimizer: torch.optim.Optimizer, plan: Optimization, *, epoch: int = 0
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning-rate schedule of a plan, from an epoch on, to be stepped once per epoch."""

    def factor(now: int) -> float:
        if plan.schedule == "cosine":
            return (1 + math.cos(math.pi * now / plan.epochs)) / 2
        if plan.schedule == "step":
            return 0.1 ** ((now >= plan.epochs // 3) + (now >= 2 * (plan.epochs // 3)))
        return 1.0

    for group in optimizer.param_groups:
        group["initial_lr"] = plan.learning_rate
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor, last_epoch=epoch - 1)


def fit(
    model: nn.Module,
    loss: nn.Module,
    dataset: Dataset[Any],
    plan: Optimization,
    *,
    seed: int = 0,
    hardware: Hardware = ANY_DEVICE,
    augmentation: Callable[[Tensor], Tensor] | None = None,
    progress: bool = False,
    callbacks: Sequence[L.Callback] = (),
    logger: Logger | None = None,
    history: list[dict[str, Any]] | None = None,
    checkpoint: Path | None = None,
) -> L.Trainer:
    """Train ``model`` in place; deterministic for a seed on one device, interrupted or not.

    Args:
        model: maps inputs to logits.
        loss: maps (logits, labels) to a scalar.
        dataset: training samples, indexed by lists of indices.
        plan: optimiser, schedule and epochs.
        seed: of the order of the batches and of the random numbers in training (the caller initialises the model).
        hardware: where to train.
        augmentation: applied to the inputs of every batch.
        progress: show a progress bar.
        callbacks: further Lightning callbacks.
        logger: Lightning's.
        history: rows that a callback records; kept with the checkpoint, and filled from it where training goes on.
        checkpoint: file of the state after the last epoch. Where it exists, training goes on from it, unless it is
            damaged: then a warning says that it starts anew.

    Returns:
        The trainer.

    Raises:
        Diverged: a parameter is no longer finite.
        InputError: the checkpoint cannot be written.
    """
    rows = [] if history is None else history
    resume = None if checkpoint is None else read_checkpoint(checkpoint)
    epoch = 0
    if resume is not None:
        resume.restore_model(model)
        rows[:] = resume.history
        epoch = resume.epoch
    if hardware.devices > 1:
        end_with_first_process()
    bars = (RichProgressBar(),) if progress else ()
    with _quiet_lightning():
        L.seed_everything(seed, verbose=False)
        trainer = L.Trainer(
            max_epochs=plan.epochs,
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            precision=plan.precision,  # type: ignore[arg-type]
            deterministic=True,
            use_distributed_sampler=False,
            sync_batchnorm=hardware.devices > 1 and uses_gpu(hardware),
            logger=logger or False,
            enable_checkpointing=False,
            enable_progress_bar=progress,
            enable_model_summary=False,
            callbacks=[*bars, *callbacks, EpochEnd(rows, checkpoint)],
        )
        if epoch < plan.epochs:
            task = ClassifierTask(model, loss, plan, augmentation=augmentation, resume=resume)
            batches = training_batches(dataset, plan.batch_size, seed=seed, epoch=epoch)
            _count_as_done(trainer, epoch, steps=epoch * len(batches))
            trainer.fit(task, batches)
    return trainer


def _count_as_done(trainer: L.Trainer, epochs: int, *, steps: int) -> None:
    """Set what Lightning restores from its own checkpoints."""
    for stage in ("ready", "started", "processed", "completed"):
        setattr(trainer.fit_loop.epoch_progress.current, stage, epochs)
    done = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
    done.ready = done.completed = steps


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
