import lightning as L
import numpy as np
import pytest
import torch
from torch import nn

from implicit_geometry import InputError
from implicit_geometry.experiments.spec import Optimization
from implicit_geometry.experiments.training import batches, build, fit, make_schedule


def separable(samples=60):
    generator = np.random.default_rng(0)
    labels = np.arange(samples) % 3
    inputs = generator.normal(size=(samples, 4)) * 0.1 + 3 * np.eye(4)[labels]
    return inputs.astype(np.float32), labels.astype(np.int64)


def train(plan, seed=0, **options):
    inputs, labels = separable()
    model = build(lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), seed)
    loader = batches(inputs, labels, plan.batch_size, shuffle=True)
    fit(model, nn.CrossEntropyLoss(), loader, plan, seed=seed, accelerator="cpu", **options)
    return model, inputs, labels


def test_training_reaches_the_terminal_phase_on_separable_data():
    model, inputs, labels = train(Optimization(epochs=30, batch_size=16))
    assert (model(torch.from_numpy(inputs)).argmax(1).numpy() == labels).all()


def test_same_seed_same_weights_and_another_seed_others():
    first, again, other = (train(Optimization(epochs=3, batch_size=16), seed)[0] for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first[0].weight, other[0].weight)


def test_an_epoch_sees_every_sample_once_in_a_new_order():
    inputs, labels = separable(50)
    loader = batches(inputs, labels, 16, shuffle=True)
    epochs = [torch.cat([x for x, _ in loader]).numpy() for _ in range(2)]
    assert not np.array_equal(epochs[0], epochs[1])
    for seen in epochs:
        assert np.array_equal(np.sort(seen, axis=0), np.sort(inputs, axis=0))


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
    fit(model, nn.CrossEntropyLoss(), batches(inputs, labels, 60), plan, accelerator="cpu")
    torch.testing.assert_close(model.weight, before - 0.5 * (gradient + 0.1 * before))


def test_divergence_is_named():
    with pytest.raises(InputError, match="learning_rate"):
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
