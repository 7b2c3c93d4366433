import random
import time

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from implicit_geometry.experiments.spec import Optimization
from implicit_geometry.experiments.training.checkpoint import read_checkpoint
from implicit_geometry.experiments.training.fit import Diverged, Hardware, build, fit, make_schedule

CPU = Hardware("cpu")


def separable(samples=60):
    generator = np.random.default_rng(0)
    labels = np.arange(samples) % 3
    inputs = generator.normal(size=(samples, 4)) * 0.1 + 3 * np.eye(4)[labels]
    return inputs.astype(np.float32), labels.astype(np.int64)


def dataset(samples=60):
    return TensorDataset(*map(torch.from_numpy, separable(samples)))


def train(plan, seed=0, **options):
    inputs, labels = separable()
    model = build(lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), seed)
    fit(model, nn.CrossEntropyLoss(), dataset(), plan, seed=seed, hardware=CPU, **options)
    return model, inputs, labels


def test_training_reaches_the_terminal_phase_on_separable_data():
    model, inputs, labels = train(Optimization(epochs=30, batch_size=16))
    assert (model(torch.from_numpy(inputs)).argmax(1).numpy() == labels).all()


def test_same_seed_same_weights_and_another_seed_others():
    first, again, other = (train(Optimization(epochs=3, batch_size=16), seed)[0] for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first[0].weight, other[0].weight)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1.0] * 6),
        ("step", [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]),
        ("cosine", [(1 + np.cos(np.pi * t / 6)) / 2 for t in range(6)]),
    ],
)
def test_schedules_follow_their_formula(schedule, expected):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make_schedule(optimizer, Optimization(epochs=6, learning_rate=1.0, schedule=schedule))
    rates = []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(rates, expected, atol=1e-12)


def test_one_step_is_sgd_with_weight_decay_by_hand():
    plan = Optimization(epochs=1, batch_size=60, learning_rate=0.5, momentum=0.0, weight_decay=0.1, schedule="constant")
    inputs, labels = separable()
    model = build(lambda: nn.Linear(4, 3), 0)
    before = model.weight.detach().clone().requires_grad_()
    loss = nn.functional.cross_entropy(
        torch.from_numpy(inputs) @ before.T + model.bias.detach(), torch.from_numpy(labels)
    )
    (gradient,) = torch.autograd.grad(loss, before)
    fit(model, nn.CrossEntropyLoss(), dataset(), plan, hardware=CPU)
    torch.testing.assert_close(model.weight, before - 0.5 * (gradient + 0.1 * before))


def test_divergence_is_named():
    with pytest.raises(Diverged, match=r"got 1e\+30: it diverged in epoch 1 of 40"):
        train(Optimization(epochs=40, batch_size=16, learning_rate=1e30, weight_decay=1.0, schedule="constant"))


def test_callbacks_run_and_the_progress_bar_draws(capsys):
    class Count(L.Callback):
        epochs = 0

        def on_train_epoch_end(self, trainer, module):
            self.epochs += 1

    counter = Count()
    train(Optimization(epochs=2, batch_size=16), callbacks=(counter,), progress=True)
    assert counter.epochs == 2
    assert "Epoch" in capsys.readouterr().out


class Interrupt(L.Callback):
    """Stops at the start of an epoch, as a killed process would."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == self.epoch:
            raise SystemExit


class Draw(L.Callback):
    """Records an epoch, and uses random numbers and optimiser state as training may."""

    def __init__(self, rows):
        self.rows = rows

    def on_train_epoch_end(self, trainer, module):
        self.rows.append(
            {
                "epoch": trainer.current_epoch + 1,
                "noise": float(torch.rand(())),
                "rate": trainer.optimizers[0].param_groups[0]["lr"],
                "step": trainer.global_step,
            }
        )


@pytest.fixture
def every_epoch(monkeypatch):
    """A checkpoint after every epoch, however short."""
    monkeypatch.setattr("implicit_geometry.experiments.training.fit._LARGEST_SHARE", float("inf"))


def test_checkpoints_take_a_small_share_of_the_time_of_training(tmp_path, monkeypatch):
    written = []

    def slow(path, checkpoint):
        written.append(checkpoint.epoch)
        time.sleep(0.05)

    monkeypatch.setattr("implicit_geometry.experiments.training.fit.write_checkpoint", slow)
    train(Optimization(epochs=12, batch_size=16), checkpoint=tmp_path / "checkpoint.safetensors")
    assert written[0] == 1
    assert len(written) < 6


def noisy(seed):
    return build(lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3)), seed)


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_an_interrupted_training_goes_on_as_if_it_had_never_stopped(schedule, tmp_path, every_epoch):
    plan = Optimization(epochs=9, batch_size=16, schedule=schedule)

    def go(model, rows, *callbacks, **options):
        kept = [Draw(rows), *callbacks]
        fit(model, nn.CrossEntropyLoss(), dataset(), plan, hardware=CPU, callbacks=kept, history=rows, **options)

    whole, rows = noisy(0), []
    go(whole, rows)

    path, part, seen = tmp_path / "checkpoint.safetensors", noisy(0), []
    for stop in (4, 6):
        with pytest.raises(SystemExit):
            go(part, seen, Interrupt(stop), checkpoint=path)
        part, seen = noisy(1), []
    assert read_checkpoint(path).epoch == 6
    go(part, seen, checkpoint=path)
    assert seen == rows
    for name, tensor in whole.state_dict().items():
        assert torch.equal(part.state_dict()[name], tensor), name


def test_a_finished_training_is_not_repeated(tmp_path, every_epoch):
    path, plan = tmp_path / "checkpoint.safetensors", Optimization(epochs=2, batch_size=16)
    first = train(plan, checkpoint=path)[0]
    again = train(plan, seed=5, checkpoint=path)[0]
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_a_damaged_checkpoint_is_not_used_and_training_starts_anew(tmp_path, every_epoch):
    path, plan = tmp_path / "checkpoint.safetensors", Optimization(epochs=2, batch_size=16)
    whole = train(plan)[0]
    path.write_bytes(b"junk")
    with pytest.warns(UserWarning, match=r"is damaged \(it has no checksum\): training starts anew"):
        again = train(plan, checkpoint=path)[0]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
    assert read_checkpoint(path).epoch == 2


def test_every_flipped_bit_of_a_checkpoint_is_noticed(tmp_path, every_epoch):
    path = tmp_path / "checkpoint.safetensors"
    train(Optimization(epochs=1, batch_size=16), checkpoint=path)
    data = path.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(data)), 200):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.warns(UserWarning, match="is damaged"):
            assert read_checkpoint(path) is None
