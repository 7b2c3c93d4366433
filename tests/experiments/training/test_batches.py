import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from implicit_geometry.experiments.training.batches import ShuffledBatches, ordered_batches, training_batches

DATASET = TensorDataset(torch.arange(50.0).unsqueeze(1), torch.arange(50))


def seen(loader):
    return torch.cat([labels for _, labels in loader]).numpy()


def test_every_epoch_sees_every_sample_once_in_a_new_order():
    loader = training_batches(DATASET, 16, seed=0)
    first, second = seen(loader), seen(loader)
    assert not np.array_equal(first, second)
    for order in (first, second):
        assert np.array_equal(np.sort(order), np.arange(50))


def test_the_order_depends_on_seed_and_epoch_alone():
    loader = training_batches(DATASET, 16, seed=3)
    torch.manual_seed(0)
    epochs = [seen(loader) for _ in range(3)]
    torch.manual_seed(1)
    assert np.array_equal(seen(training_batches(DATASET, 16, seed=3, epoch=2)), epochs[2])
    assert not np.array_equal(seen(training_batches(DATASET, 16, seed=4, epoch=2)), epochs[2])


@pytest.mark.parametrize(
    ("size", "batch_size", "lengths"),
    [(50, 16, [16, 16, 16, 2]), (49, 16, [16, 16, 17]), (48, 16, [16, 16, 16]), (5, 8, [5]), (1, 8, [1])],
)
def test_no_batch_has_a_single_sample(size, batch_size, lengths):
    batches = ShuffledBatches(size, batch_size, seed=0)
    assert len(batches) == len(lengths)
    assert [len(batch) for batch in batches] == lengths


def test_processes_share_every_batch(monkeypatch):
    whole = list(ShuffledBatches(21, 8, seed=0))
    shares = []
    for rank in range(2):
        monkeypatch.setattr("implicit_geometry.experiments.training.batches._place", lambda rank=rank: (rank, 2))
        shares.append(list(ShuffledBatches(21, 8, seed=0)))
    assert [sorted(a + b) for a, b in zip(*shares, strict=True)] == [sorted(batch) for batch in whole]


def test_ordered_batches_keep_the_order():
    assert np.array_equal(seen(ordered_batches(DATASET, 16)), np.arange(50))
