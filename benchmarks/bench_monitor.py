"""GeometryMonitor every epoch against the same training without it: MLPs of 6 x 2048 and of 3 x 256, a ResNet18.

Epochs are shorter than MNIST's (215 steps of 128 at R = 10), so that what happens once per epoch weighs more.
Times are of the process's CPU. The theory's solutions, once a fit, are printed on their own.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, TensorDataset

from implicit_geometry.counts import ClassCounts
from implicit_geometry.nn.architectures import mlp, resnet18
from implicit_geometry.nn.losses.criterion import VSLoss
from implicit_geometry.nn.measuring.monitor import GeometryMonitor
from implicit_geometry.problem import Problem
from implicit_geometry.rules import cdt

ROUNDS, TARGET, CONVOLUTIONAL_TARGET = 3, 1.10, 1.05


class Task(L.LightningModule):
    """Plain training."""

    def __init__(self, model: nn.Module, loss: nn.Module) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch."""
        loss: Tensor = self.loss(self.model(batch[0]), batch[1])
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD with momentum."""
        return torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)


class Clock(L.Callback):
    """CPU seconds of the start of a fit and of every epoch; stands last among the callbacks."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Before the callbacks' ``on_fit_start``."""
        self.started = time.process_time()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """After it."""
        self.once, self.seconds = time.process_time() - self.started, []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start of an epoch."""
        self.started = time.process_time()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End of an epoch."""
        self.seconds.append(time.process_time() - self.started)


def loader(counts: ClassCounts, shape: tuple[int, ...], batch_size: int) -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.repeat_interleave(torch.arange(counts.num_classes), torch.from_numpy(counts.values.copy()))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    dataset = TensorDataset(torch.rand(len(labels), *shape, generator=generator), labels)
    return DataLoader(dataset, sampler=BatchSampler(SequentialSampler(dataset), batch_size, False), batch_size=None)


def train(
    task: Task, batches: DataLoader[tuple[Tensor, ...]], epochs: int, *callbacks: L.Callback
) -> tuple[float, list[float]]:
    clock = Clock()
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[*callbacks, clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, batches)
    return clock.once, clock.seconds


def compare(
    name: str,
    network: Callable[[], nn.Module],
    max_count: int,
    shape: tuple[int, ...],
    batch_size: int,
    epochs: int,
) -> None:
    counts = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=max_count)
    problem = Problem(counts, cdt(counts, gamma=0.5))
    batches = loader(counts, shape, batch_size)
    starts: tuple[list[float], list[float]] = ([], [])
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for which, callbacks in enumerate(([], [GeometryMonitor(problem)])):
            torch.manual_seed(0)
            task = Task(network(), VSLoss(problem.parameterization))
            once, seconds = train(task, batches, epochs, *callbacks)
            starts[which].append(once)
            times[which].extend(seconds)
    without, beside = 1e3 * np.mean(times, axis=1)
    medians = np.median(times, axis=1)
    print(f"{name}, {len(batches)} steps per epoch, {epochs} epochs, {ROUNDS} interleaved rounds:")
    print(f"  an epoch {without:.0f} ms without, {beside:.0f} ms with the monitor")
    print(f"  ratio {beside / without:.3f} of means, {medians[1] / medians[0]:.3f} of medians")
    print(f"  once a fit {1e3 * np.subtract(*np.median(starts, axis=1)[::-1]):.0f} ms")


def main() -> None:
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    compare("MLP 6 x 2048", lambda: mlp(784, 10, depth=6, width=2048), 250, (784,), 128, 3)
    compare("MLP 3 x 256", lambda: mlp(64, 10, depth=3, width=256), 120, (64,), 64, 40)
    compare("ResNet18, 16 channels", lambda: resnet18(3, 10, width=16), 150, (3, 32, 32), 128, 2)
    print(f"targets: at most {TARGET:.2f} of the first, {CONVOLUTIONAL_TARGET:.2f} of the last")


if __name__ == "__main__":
    main()
