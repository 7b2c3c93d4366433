"""Loaders that slice whole batches out of a data set, in an order that depends on seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, SequentialSampler


class ShuffledBatches(Sampler[list[int]]):
    """Indices of the batches of one epoch after another, each in a new order.

    The order is that of seed and epoch, so that training can go on from any epoch as if it had never stopped. Under
    a process group every process takes its share of every batch. A last batch of a single sample, which batch
    normalisation refuses, joins the one before it.

    Args:
        size: samples in the data set.
        batch_size: samples per batch, over all processes.
        seed: of the order.
        epoch: the first to give.

    Example:
        >>> epochs = ShuffledBatches(5, 2, seed=0)
        >>> first, second = list(epochs), list(epochs)
        >>> [len(batch) for batch in first], first == second
        ([2, 3], False)
    """

    def __init__(self, size: int, batch_size: int, *, seed: int, epoch: int = 0) -> None:
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._starts())

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.size).tolist()
        self.epoch += 1
        rank, processes = _place()
        starts = self._starts()
        for start, stop in zip(starts, [*starts[1:], self.size], strict=True):
            yield order[start:stop][rank::processes]

    def _starts(self) -> list[int]:
        starts = list(range(0, self.size, self.batch_size))
        too_small = self.size - starts[-1] < 2 * _place()[1]
        return starts[:-1] if too_small and len(starts) > 1 else starts


def training_batches(dataset: Dataset[Any], batch_size: int, *, seed: int, epoch: int = 0) -> DataLoader[Any]:
    """Batches in random order, beginning with those of ``epoch``. The data set is indexed by lists of indices.

    torch's own random generator is left alone.
    """
    order = ShuffledBatches(len(dataset), batch_size, seed=seed, epoch=epoch)  # type: ignore[arg-type]
    return DataLoader(dataset, sampler=order, batch_size=None, generator=torch.Generator())


def ordered_batches(dataset: Dataset[Any], batch_size: int) -> DataLoader[Any]:
    """Batches in the order of the data set, which is indexed by lists of indices."""
    order = SequentialSampler(dataset)  # type: ignore[arg-type]
    return DataLoader(dataset, sampler=BatchSampler(order, batch_size, drop_last=False), batch_size=None)


def _place() -> tuple[int, int]:
    """Rank of this process and number of processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
