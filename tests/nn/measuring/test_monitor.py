"""The live monitor against embeddings, labels and logits collected by hand, through everything Lightning does."""

import csv
import json
import math
import os
import subprocess
import sys
import warnings
from collections import OrderedDict
from dataclasses import replace

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger
from sklearn.metrics import recall_score
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from implicit_geometry import ClassCounts, Geometry, InputError, Problem, cdt, compare, effective_ridge, predict
from implicit_geometry.certificate import Certificate
from implicit_geometry.nn import GeometryMonitor, VSLoss, measure, mlp
from implicit_geometry.nn.measuring.targets import Targets
from implicit_geometry.summary import geometry_summary
from implicit_geometry.theory.effective_ridge import RidgeSearch

K, D = 4, 6
COUNTS = ClassCounts([24, 16, 8, 4])
PROBLEM = Problem(COUNTS, cdt(COUNTS, gamma=0.5))
BLOCKS = ("classifier", "embedding", "cross")


class Task(L.LightningModule):
    """Trains a network, and keeps of every training step what the monitor should see."""

    def __init__(self, model=None, loss=None):
        super().__init__()
        torch.manual_seed(0)
        self.model = mlp(3, K, depth=2, width=D) if model is None else model
        self.loss = nn.CrossEntropyLoss() if loss is None else loss
        self.steps = []

    def training_step(self, batch, batch_idx):
        embeddings = self.model.features(batch[0])
        logits = self.model.fc(embeddings)
        loss = self.loss(logits, batch[1])
        self.steps.append((self.current_epoch, *(t.detach().clone() for t in (embeddings, batch[1], logits, loss))))
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.2)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]

    def epoch(self, number):
        """Embeddings, labels and logits of one epoch as arrays, losses and sizes of its batches."""
        steps = [step[1:] for step in self.steps if step[0] == number - 1]
        arrays = [torch.cat([step[part] for step in steps]).double().numpy() for part in range(3)]
        return *arrays, np.array([[float(step[3]), len(step[1])] for step in steps])


def data(counts=COUNTS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(np.asarray(counts)))
    centres = 1.5 * torch.randn(len(counts), 3, generator=torch.Generator().manual_seed(9))
    order = torch.randperm(len(labels), generator=generator)
    return TensorDataset((centres[labels] + torch.randn(len(labels), 3, generator=generator))[order], labels[order])


def loader(dataset=None, batch_size=13):
    return DataLoader(data() if dataset is None else dataset, batch_size=batch_size)


def fit(task, *callbacks, epochs=2, train=None, validation=None, ckpt_path=None, **options):
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=list(callbacks),
        **{
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **options,
        },
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*number of training batches.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        trainer.fit(task, loader() if train is None else train, validation, ckpt_path=ckpt_path)
    return trainer


def assert_same(history, expected, rel=1e-9):
    assert len(history) == len(expected)
    for row, other in zip(history, expected, strict=True):
        assert row == pytest.approx(other, rel=rel, nan_ok=True)


def recall(labels, logits):
    return recall_score(labels, logits.argmax(1), labels=range(K), average=None, zero_division=np.nan)


def expected_geometry(weight, embeddings, labels):
    """Projected class means and classifier as a geometry, in dense linear algebra."""
    means = np.array([embeddings[labels == c].mean(axis=0) for c in range(K)])
    seen = weight - weight.mean(axis=0)
    return Geometry.from_factors(weight, means @ np.linalg.pinv(seen, rcond=1e-10) @ seen)


def weight_of(task):
    return task.model.fc.weight.detach().double().numpy()


@pytest.fixture(scope="module")
def trained():
    task, monitor = Task(), GeometryMonitor()
    fit(task, monitor, epochs=3)
    return task, monitor.history


class TestARowIsTheEpochThatWasTrained:
    def test_one_row_an_epoch_with_loss_and_learning_rate(self, trained):
        task, history = trained
        assert [row["epoch"] for row in history] == [1, 2, 3]
        assert [row["learning_rate"] for row in history] == pytest.approx([0.2, 0.1, 0.05])
        for row in history:
            losses, sizes = task.epoch(row["epoch"])[3].T
            assert row["train_loss"] == pytest.approx((losses * sizes).sum() / sizes.sum(), rel=1e-6)
            assert all(isinstance(value, (int, float)) for value in row.values())

    def test_accuracies(self, trained):
        task, history = trained
        for row in history:
            _, labels, logits, _ = task.epoch(row["epoch"])
            found = recall(labels, logits)
            assert row["train_overall"] == pytest.approx(np.mean(logits.argmax(1) == labels))
            assert row["train_balanced"] == pytest.approx(found.mean())
            assert row["train_majority"] == pytest.approx(found[:2].mean())
            assert row["train_minority"] == pytest.approx(found[2:].mean())
            assert row["train_worst"] == pytest.approx(found.min())
        assert history[0]["train_overall"] != history[2]["train_overall"]

    def test_geometry(self, trained):
        task, history = trained
        embeddings, labels, _, _ = task.epoch(3)
        geometry = expected_geometry(weight_of(task), embeddings, labels)
        for name, value in geometry_summary(geometry, COUNTS).items():
            assert history[-1][name] == pytest.approx(value, rel=1e-6), name
        cosines = [np.dot(w, h) for w, h in zip(weight_of(task), geometry.embedding.left, strict=True)]
        norms = np.linalg.norm(weight_of(task), axis=1) * np.linalg.norm(geometry.embedding.left, axis=1)
        assert history[-1]["self_duality"] == pytest.approx(np.mean(cosines / norms), rel=1e-6)
        etf = np.eye(K) - 1 / K
        for block in BLOCKS:
            gram = getattr(geometry, block).dense()
            distance = np.linalg.norm(gram / np.linalg.norm(gram) - etf / np.linalg.norm(etf))
            assert history[-1][f"{block}_etf_distance"] == pytest.approx(distance, rel=1e-6)

    def test_cdnv(self, trained):
        task, history = trained
        embeddings, labels, _, _ = task.epoch(3)
        rows = [embeddings[labels == c] for c in range(K)]
        means = [row.mean(axis=0) for row in rows]
        spread = [((row - mean) ** 2).sum(axis=1).mean() for row, mean in zip(rows, means, strict=True)]
        pairs = [(a, b) for a in range(K) for b in range(a)]
        cdnv = np.mean([(spread[a] + spread[b]) / (2 * ((means[a] - means[b]) ** 2).sum()) for a, b in pairs])
        assert history[-1]["cdnv"] == pytest.approx(cdnv, rel=1e-6)

    def test_without_a_problem_there_is_no_theory(self, trained):
        assert not [name for name in trained[1][0] if "limit" in name or "ridge" in name]


@pytest.fixture(scope="module")
def trained_with_cdt():
    task, monitor = Task(loss=VSLoss(PROBLEM.parameterization)), GeometryMonitor(PROBLEM, head="model.fc")
    fit(task, monitor, epochs=20)
    return task, monitor.history[-1]


class TestTheory:
    def test_distances_to_the_limit_and_to_the_fitted_ridge(self, trained_with_cdt):
        task, row = trained_with_cdt
        embeddings, labels, _, _ = task.epoch(20)
        means = np.array([embeddings[labels == c].mean(axis=0) for c in range(K)])
        blind = 1 / PROBLEM.parameterization.class_scale
        seen = weight_of(task) - np.outer(blind, blind @ weight_of(task)) / (blind @ blind)
        geometry = Geometry.from_factors(weight_of(task), means @ np.linalg.pinv(seen, rcond=1e-10) @ seen)
        limit, fitted = compare(geometry, predict(PROBLEM).geometry), RidgeSearch(PROBLEM).nearest(geometry)
        for block in BLOCKS:
            assert row[f"{block}_limit_distance"] == pytest.approx(getattr(limit, block), rel=1e-6)
            assert row[f"{block}_ridge_distance"] == pytest.approx(getattr(fitted.comparison, block), rel=1e-6)
        assert row["effective_ridge"] == pytest.approx(fitted.ridge, rel=1e-6)
        assert row["effective_ridge"] == pytest.approx(effective_ridge(geometry, PROBLEM).ridge, rel=1e-2)

    def test_classes_of_many_kinds_have_no_fitted_ridge(self):
        many = Problem(range(1, 602))
        targets = Targets(many, 601, has_bias=False)
        assert set(targets.columns) == {"summary", "etf", "limit"}
        assert "must have at most 600 kinds of classes" in str(targets.missing["ridge"])

    def test_a_head_with_a_bias_has_a_limit_and_a_fitted_ridge(self):
        model = nn.Sequential()
        model.features, model.fc = nn.Linear(3, D), nn.Linear(D, K)
        monitor = GeometryMonitor(Problem(COUNTS, bias=True))
        fit(Task(model), monitor, epochs=1)
        row = monitor.history[0]
        assert row["classifier_limit_distance"] > 0
        assert row["effective_ridge"] > 0
        assert row["classifier_ridge_distance"] > 0
        assert "ridge" not in Targets(Problem(range(1, 130), bias=True), 129, has_bias=True).columns

    @pytest.mark.parametrize("problem", [Problem([5, 5]), Problem([9, 5]), Problem(COUNTS, bias=True)])
    def test_a_problem_of_another_head_is_refused(self, problem):
        with pytest.raises(InputError, match="problem must have the 4 classes and bias=False of the head"):
            fit(Task(), GeometryMonitor(problem, head="fc"))

    def test_a_problem_whose_classes_no_layer_has_finds_no_head(self):
        message = "head must be a linear layer or 1 x 1 convolution with 2 outputs, got only .*'model.fc' with 4"
        with pytest.raises(InputError, match=message):
            fit(Task(), GeometryMonitor(Problem([5, 5])))


@pytest.fixture(scope="module")
def plain():
    monitor = GeometryMonitor(PROBLEM)
    fit(Task(), monitor)
    return monitor.history


class TestWhatLightningDoes:
    def test_validation_batches_do_not_count(self, plain):
        class Validated(Task):
            def validation_step(self, batch, batch_idx):
                self.model(batch[0] + 100)

        monitor = GeometryMonitor(PROBLEM)
        fit(Validated(), monitor, validation=loader(data(seed=5)), val_check_interval=0.5, num_sanity_val_steps=2)
        assert_same(monitor.history, plain)

    def test_nor_is_training_disturbed(self):
        with_monitor, without = Task(), Task()
        fit(with_monitor, GeometryMonitor(PROBLEM, loader=loader(), test_loader=loader()))
        fit(without)
        for one, other in zip(with_monitor.state_dict().values(), without.state_dict().values(), strict=True):
            assert torch.equal(one, other)

    @pytest.mark.parametrize("batches", [2, 3])
    def test_gradient_accumulation(self, batches):
        task, monitor = Task(), GeometryMonitor()
        fit(task, monitor, accumulate_grad_batches=batches)
        embeddings, labels, _, losses = task.epoch(2)
        geometry = expected_geometry(weight_of(task), embeddings, labels)
        row = monitor.history[-1]
        assert row["train_loss"] == pytest.approx((losses[:, 0] * losses[:, 1]).sum() / losses[:, 1].sum(), rel=1e-6)
        assert row["embedding_norm_ratio"] == pytest.approx(
            geometry_summary(geometry, COUNTS)["embedding_norm_ratio"], rel=1e-6
        )

    def test_manual_optimization(self, plain):
        class Manual(Task):
            def __init__(self):
                super().__init__()
                self.automatic_optimization = False

            def training_step(self, batch, batch_idx):
                loss = super().training_step(batch, batch_idx)
                self.optimizers().zero_grad()
                self.manual_backward(loss)
                self.optimizers().step()
                return {"loss": loss, "other": 1}

            def configure_optimizers(self):
                return super().configure_optimizers()[0]

        monitor = GeometryMonitor(PROBLEM)
        fit(Manual(), monitor, epochs=1)
        assert_same(monitor.history, plain[:1])

    def test_it_keeps_no_graph_and_lets_go_of_the_network(self):
        task, monitor = Task(), GeometryMonitor()
        kept = []

        class Look(L.Callback):
            def on_train_batch_end(self, trainer, pl_module, *_):
                watch = monitor._watch
                kept.extend(t.requires_grad for t in (watch._sums.hits, watch._sums.loss, watch._metric.class_sums))
                assert watch._labels is watch._passed is None

        fit(task, monitor, Look(), epochs=1)
        assert not any(kept)
        assert not task.model.fc._forward_hooks

    def test_it_lets_go_of_the_network_where_training_fails(self):
        class Failing(Task):
            def on_train_epoch_end(self):
                raise RuntimeError("stop")

        task = Failing()
        with pytest.raises(RuntimeError, match="stop"):
            fit(task, GeometryMonitor())
        assert not task.model.fc._forward_hooks

    def test_a_step_with_two_passes_counts_the_first(self, plain):
        class Twice(Task):
            def training_step(self, batch, batch_idx):
                loss = super().training_step(batch, batch_idx)
                self.model.fc(torch.full((5, D), 1e6))
                return loss

        monitor = GeometryMonitor(PROBLEM)
        fit(Twice(), monitor)
        assert_same(monitor.history, plain)

    @pytest.mark.slow
    def test_a_compiled_network(self, plain):
        class Compiled(Task):
            def training_step(self, batch, batch_idx):
                return self.loss(self.model(batch[0]), batch[1])

        task = Compiled()
        task.model = torch.compile(task.model, backend="eager")
        monitor = GeometryMonitor(PROBLEM, test_loader=loader(), head="fc")
        fit(task, monitor)
        assert_same([{name: row[name] for name in plain[0]} for row in monitor.history], plain, rel=1e-4)

    def test_every_other_epoch(self, plain):
        monitor = GeometryMonitor(PROBLEM, every=2)
        fit(Task(), monitor)
        assert_same(monitor.history, plain[1:])

    def test_the_rows_are_logged(self, tmp_path):
        monitor = GeometryMonitor(PROBLEM)
        fit(Task(), monitor, logger=CSVLogger(tmp_path, name="", version=""), log_every_n_steps=1)
        with open(tmp_path / "metrics.csv") as file:
            logged = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        assert [row.pop("step") for row in logged] == [3, 7]
        assert [row.pop("epoch") for row in logged] == [0, 1]
        expected = [{f"geometry/{name}": value for name, value in row.items()} for row in monitor.history]
        assert_same(logged, [{name: row[name] for name in row if name != "geometry/epoch"} for row in expected])

    def test_other_callbacks_can_monitor_the_rows(self):
        stop = EarlyStopping("geometry/train_loss", mode="max", patience=1, check_on_train_epoch_end=True)
        trainer = fit(Task(), monitor := GeometryMonitor(), stop, epochs=9)
        assert trainer.current_epoch == len(monitor.history) < 9
        assert float(stop.best_score) == pytest.approx(max(row["train_loss"] for row in monitor.history))

    def test_the_history_survives_a_resume(self, plain, tmp_path):
        class Save(L.Callback):
            def on_train_epoch_end(self, trainer, pl_module):
                trainer.save_checkpoint(tmp_path / "last.ckpt")

        fit(Task(), GeometryMonitor(PROBLEM), Save(), epochs=1)
        monitor = GeometryMonitor(PROBLEM)
        history = monitor.history
        fit(Task(), monitor, ckpt_path=tmp_path / "last.ckpt")
        assert_same(monitor.history, plain)
        assert monitor.history is history
        assert_same(json.loads(json.dumps(monitor.state_dict()))["history"], history)


def plain_task():
    """Without batch statistics, which processes do not share."""
    torch.manual_seed(0)
    model = nn.Sequential()
    model.features, model.fc = nn.Linear(3, D), nn.Linear(D, K, bias=False)
    return Task(model)


def every_other(first):
    return Subset(data(), range(first, COUNTS.num_samples, 2))


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    """Two processes with half of every batch each take the steps of one, and both have its history."""
    (tmp_path / "train.py").write_text(
        "import json, os, test_monitor as T\n"
        "half = T.every_other(int(os.environ.get('LOCAL_RANK', 0)))\n"
        "monitor = T.GeometryMonitor(T.PROBLEM, test_loader=T.loader())\n"
        "options = dict(devices=2, strategy='ddp', use_distributed_sampler=False)\n"
        "trainer = T.fit(T.plain_task(), monitor, train=T.loader(half, 2), **options)\n"
        "with open(f'{trainer.global_rank}.json', 'w') as file:\n"
        "    json.dump(monitor.history, file)\n"
    )
    paths = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "train.py"],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    alone = GeometryMonitor(PROBLEM, test_loader=loader())
    fit(plain_task(), alone, train=loader(batch_size=4))
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert_same(first, second)
    assert_same(first, alone.history, rel=1e-4)


class TestAtRest:
    def test_the_loader_is_measured_in_eval_mode(self):
        task, monitor = Task(), GeometryMonitor(PROBLEM, loader=loader(data(seed=3), 7))
        fit(task, monitor)
        expected = measure(task.model, loader(data(seed=3)), parameterization=PROBLEM.parameterization)
        row = monitor.history[-1]
        for name in ("nc1", "cdnv", "self_duality"):
            assert row[name] == pytest.approx(getattr(expected, name), rel=1e-4)
        assert row["train_overall"] == pytest.approx(expected.accuracy)
        assert row["train_worst"] == pytest.approx(expected.class_accuracy.min())
        assert row["embedding_limit_distance"] == pytest.approx(
            compare(expected.geometry, predict(PROBLEM).geometry).embedding, rel=1e-4
        )
        losses = task.epoch(2)[3]
        assert row["train_loss"] == pytest.approx((losses[:, 0] * losses[:, 1]).sum() / losses[:, 1].sum(), rel=1e-6)

    def test_test_accuracies(self):
        task, monitor = Task(), GeometryMonitor(PROBLEM, test_loader=loader(data([5, 9, 4, 6], seed=4), 5))
        fit(task, monitor)
        inputs, labels = data([5, 9, 4, 6], seed=4).tensors
        found = recall(labels, task.model.eval()(inputs))
        row = monitor.history[-1]
        assert row["test_balanced"] == pytest.approx(found.mean())
        assert row["test_majority"] == pytest.approx(found[:2].mean())
        assert row["test_minority"] == pytest.approx(found[2:].mean())
        assert row["test_worst"] == pytest.approx(found.min())
        assert row["test_overall"] == pytest.approx(float((task.model(inputs).argmax(1) == labels).float().mean()))

    def test_a_task_that_is_the_network(self):
        class Whole(Task):
            def __init__(self):
                super().__init__()
                self.features, self.fc = self.model.features, self.model.fc
                del self.model

            def forward(self, inputs):
                return self.fc(self.features(inputs))

            def training_step(self, batch, batch_idx):
                return self.loss(self(batch[0]), batch[1])

        task, monitor = Whole(), GeometryMonitor(loader=loader())
        fit(task, monitor, epochs=1)
        assert monitor.history[0]["nc1"] == pytest.approx(measure(task, loader()).nc1)


class TestNothingToMeasure:
    def test_a_class_that_was_not_seen_is_left_out(self):
        counts, seen = [20, 10, 0, 5], [0, 1, 3]
        task, monitor = Task(), GeometryMonitor(PROBLEM)
        message = r"epoch 1 has no geometry over the ridge: .* none of classes \[2\]"
        with pytest.warns(UserWarning, match=message) as caught:
            fit(task, monitor, train=loader(data(counts)))
        assert len([item for item in caught if "no geometry" in str(item.message)]) == 1
        row = monitor.history[-1]
        embeddings, labels, logits, _ = task.epoch(2)
        weight = weight_of(task)
        scale = PROBLEM.parameterization.class_scale
        blind = (1 / scale) / np.linalg.norm(1 / scale)
        rows = weight - np.outer(blind, blind @ weight)
        means = np.array([embeddings[labels == c].mean(axis=0) for c in seen])
        measured = Geometry.from_factors(weight[seen], means @ np.linalg.pinv(rows, rcond=1e-10) @ rows)
        limit = compare(measured, predict(PROBLEM).geometry.subset(seen))
        assert row["classifier_limit_distance"] == pytest.approx(limit.classifier, rel=1e-6)
        assert row["embedding_limit_distance"] == pytest.approx(limit.embedding, rel=1e-6)
        assert row["train_balanced"] == pytest.approx(np.nanmean(recall(labels, logits)))
        assert math.isnan(row["effective_ridge"])
        complete = GeometryMonitor(PROBLEM)
        fit(Task(), complete, epochs=1)
        assert list(complete.history[0]) == list(row)

    def test_one_class_has_no_geometry(self):
        monitor = GeometryMonitor(PROBLEM)
        with pytest.warns(UserWarning, match="epoch 1 has no geometry: .*none of classes 0, 1, 3"):
            fit(Task(), monitor, train=loader(data([0, 0, 9, 0])), epochs=1)
        assert math.isnan(monitor.history[0]["cdnv"])
        assert monitor.history[0]["train_loss"] > 0

    def test_a_network_that_diverged(self):
        class Diverging(Task):
            def on_train_batch_start(self, batch, batch_idx):
                if self.current_epoch == 1 and batch_idx == 2:
                    nn.init.constant_(self.model.features[1].weight, math.nan)

        monitor = GeometryMonitor(PROBLEM)
        with pytest.warns(UserWarning, match="epoch 2 has no geometry: embeddings must be finite"):
            fit(Diverging(), monitor, epochs=3)
        assert [math.isnan(row["classifier_norm_ratio"]) for row in monitor.history] == [False, True, True]


class ByKeyword(nn.Module):
    """Calls a head by keyword."""

    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, embeddings):
        return self.head(input=embeddings)


class Broken:
    """Batches that cannot be read."""

    def __iter__(self):
        raise OSError("the disk is gone")


class TestNothingEndsATraining:
    def test_a_limit_that_theory_does_not_give_has_no_columns(self):
        """Of a head with a bias and more kinds of classes than can be solved: it ended the training at its start."""
        k = 520
        counts = ClassCounts(np.arange(1, k + 1) ** 2)
        problem = Problem(counts, cdt(counts, gamma=-0.8), bias=True)
        with pytest.raises(InputError):
            predict(problem)
        task = Task(nn.Sequential(OrderedDict(features=nn.Linear(3, 4), fc=nn.Linear(4, k))))
        monitor = GeometryMonitor(problem)
        with pytest.warns(UserWarning, match="no distances to the (limit|ridge): problem must") as caught:
            fit(task, monitor, train=loader(data(np.ones(k, dtype=int)), 520), epochs=2)
        for target in ("limit", "ridge"):
            assert len([item for item in caught if f"to the {target}:" in str(item.message)]) == 1
        assert len(monitor.history) == 2
        assert monitor.history[-1]["classifier_etf_distance"] > 0
        assert not [name for name in monitor.history[0] if "limit" in name or "ridge" in name]

    def test_nor_has_a_limit_that_is_inaccurate(self, monkeypatch):
        solution = predict(PROBLEM)
        poor = replace(solution, certificate=Certificate(1.0, 0.9, 1.0))
        monkeypatch.setattr("implicit_geometry.nn.measuring.targets.predict", lambda problem: poor)
        targets = Targets(PROBLEM, K, has_bias=False)
        assert set(targets.columns) == {"summary", "etf", "ridge"}
        assert "relative gap of 1.0e-01" in str(targets.missing["limit"])

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda task: nn.init.constant_(task.model.fc.weight, math.nan), "must be finite"),
            (lambda task: setattr(task.model, "fc", nn.Linear(D, K)), "head must run in every training step"),
            (lambda task: setattr(task.model, "fc", nn.Linear(D, K + 2)), "head must run in every training step"),
            (lambda task: setattr(task.model, "fc", ByKeyword(task.model.fc)), "embedding as positional argument"),
        ],
        ids=["NaN weights", "another head", "another size of head", "called by keyword"],
    )
    def test_a_head_that_changes(self, change, reason):
        class Robust(Task):
            def training_step(self, batch, batch_idx):
                logits = self.model.fc(self.model.features(batch[0]))
                return logits.flatten(1)[:, :K].logsumexp(1).mean()

        class Struck(Robust):
            def on_train_batch_start(self, batch, batch_idx):
                if self.global_step == 6:
                    change(self)

        monitor = GeometryMonitor(PROBLEM)
        with pytest.warns(UserWarning, match=f"epoch 2 has no geometry: .*{reason}") as caught:
            fit(Struck(), monitor, epochs=3)
        assert len([item for item in caught if "no geometry" in str(item.message)]) == 1
        assert [math.isnan(row["classifier_norm_ratio"]) for row in monitor.history] == [False, True, True]
        assert list(monitor.history[2]) == list(monitor.history[0])

    def test_batches_that_change(self):
        class Changing(Task):
            def training_step(self, batch, batch_idx):
                inputs = batch[0] if isinstance(batch, list) else batch["inputs"]
                return self.model(inputs).logsumexp(1).mean()

            def on_after_batch_transfer(self, batch, dataloader_idx):
                return {"inputs": batch[0], "names": batch[1]} if self.global_step == 7 else batch

        monitor = GeometryMonitor(PROBLEM)
        with pytest.warns(UserWarning, match=r"epoch 2 has no geometry: batch must give \(inputs, labels, ...\)"):
            fit(Changing(), monitor, epochs=3)
        assert [math.isnan(row["train_overall"]) for row in monitor.history] == [False, True, False]
        assert [math.isnan(row["cdnv"]) for row in monitor.history] == [False, True, False]

    def test_labels_that_are_no_class_in_a_later_epoch(self):
        class Changing(Task):
            def training_step(self, batch, batch_idx):
                return self.model(batch[0]).logsumexp(1).mean()

            def on_after_batch_transfer(self, batch, dataloader_idx):
                return [batch[0], batch[1] + 2] if self.global_step == 7 else batch

        monitor = GeometryMonitor()
        with pytest.warns(UserWarning, match=r"epoch 2 has no geometry: labels must lie in 0..3, got [45]"):
            fit(Changing(), monitor)
        assert math.isnan(monitor.history[1]["train_worst"])

    @pytest.mark.parametrize("scale", [0.0, 1e200, 1e-200], ids=str)
    def test_embeddings_that_float64_cannot_square_and_zeros(self, scale):
        class Scaled(Task):
            def training_step(self, batch, batch_idx):
                embeddings = self.model.features(batch[0]).double() * (1.0 if self.current_epoch == 0 else scale)
                self.model.fc(embeddings)
                return embeddings.sum() * 0

        task, monitor = Scaled(), GeometryMonitor(PROBLEM)
        task.model.fc.double()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit(task, monitor)
        messages = [str(item.message) for item in caught if "has no" in str(item.message)]
        assert [message[:27] for message in messages] == ([] if scale == 0 else ["epoch 2 has no geometry: em"])
        assert not [item for item in caught if issubclass(item.category, RuntimeWarning)]
        assert math.isnan(monitor.history[1]["embedding_limit_distance"])
        assert math.isfinite(monitor.history[0]["embedding_limit_distance"])

    def test_loaders_that_fail(self):
        for options, column in (({"test_loader": Broken()}, "test_balanced"), ({"loader": Broken()}, "cdnv")):
            monitor = GeometryMonitor(PROBLEM, **options)
            with pytest.warns(UserWarning, match="epoch 1 has no .*: OSError: the disk is gone"):
                fit(Task(), monitor)
            assert [math.isnan(row[column]) for row in monitor.history] == [True, True]

    def test_a_target_that_fails_leaves_the_others(self, monkeypatch):
        nearest, calls = RidgeSearch.nearest, []

        def fail_later(lattice, classifier):
            calls.append(classifier)
            if len(calls) > 1:
                raise np.linalg.LinAlgError("no convergence")
            return nearest(lattice, classifier)

        monkeypatch.setattr(RidgeSearch, "nearest", fail_later)
        monitor = GeometryMonitor(PROBLEM)
        with pytest.warns(UserWarning, match="geometry over the ridge: LinAlgError: no convergence"):
            fit(Task(), monitor, epochs=1)
        assert math.isnan(monitor.history[0]["classifier_ridge_distance"])
        assert monitor.history[0]["classifier_limit_distance"] > 0

    def test_a_weight_made_of_other_parameters_is_read_as_it_is(self):
        task, monitor = Task(), GeometryMonitor()
        nn.utils.parametrizations.weight_norm(task.model.fc)
        fit(task, monitor, epochs=1)
        embeddings, labels, _, _ = task.epoch(1)
        expected = geometry_summary(expected_geometry(weight_of(task), embeddings, labels), COUNTS)
        assert monitor.history[0]["classifier_norm_ratio"] == pytest.approx(expected["classifier_norm_ratio"], rel=1e-6)

    def test_what_is_wrong_in_the_first_step_is_an_error_also_where_its_epoch_has_no_row(self):
        task = Task()
        task.other = nn.Linear(D, K)
        with pytest.raises(InputError, match="head must run in every training step, got none of 'other'"):
            fit(task, GeometryMonitor(head="other", every=5))

    def test_the_first_step_of_an_epoch_without_row_does_not_count(self):
        every, other = GeometryMonitor(PROBLEM), GeometryMonitor(PROBLEM, every=2)
        fit(Task(), every)
        fit(Task(), other)
        assert_same(other.history, every.history[1:])


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"problem": COUNTS}, "problem must be a Problem, got ClassCounts"),
            ({"head": 3}, "head must be the dotted name of a module, got int"),
            ({"loader": 5}, "^loader must be an iterable of batches"),
            ({"test_loader": True}, "test_loader must be an iterable of batches"),
        ],
    )
    def test_arguments_of_another_type(self, options, message):
        with pytest.raises(InputError, match=message):
            GeometryMonitor(**options)

    @pytest.mark.parametrize("every", [0, 1.5, True])
    def test_every(self, every):
        with pytest.raises(InputError, match="every"):
            GeometryMonitor(every=every)

    def test_a_head_that_is_not_there(self):
        with pytest.raises(InputError, match=r"head must name a module of the model, got 'head'; .*'model.fc'"):
            fit(Task(), GeometryMonitor(head="head"))

    def test_a_head_that_could_be_two(self):
        task = Task()
        task.teacher = mlp(3, K, depth=1, width=D)
        with pytest.raises(InputError, match=r"head must be named where .*'model.fc' \(4 outputs\), 'teacher.fc'"):
            fit(task, GeometryMonitor(PROBLEM))
        with pytest.raises(InputError, match=r"head must name one module, got 'fc', .*model.fc or teacher.fc"):
            fit(task, GeometryMonitor(head="fc"))
        monitor = GeometryMonitor(head="model.fc")
        fit(task, monitor, epochs=1)
        assert len(monitor.history) == 1

    def test_a_head_without_a_weight_matrix(self):
        with pytest.raises(InputError, match="head must have a weight matrix"):
            fit(Task(), GeometryMonitor(head="features"))

    def test_a_head_that_does_not_run(self):
        task = Task()
        task.other = nn.Linear(D, K)
        with pytest.raises(InputError, match="head must run in every training step, got none of 'other'"):
            fit(task, GeometryMonitor(head="other"))

    def test_a_batch_without_labels(self):
        class Alone(Task):
            def training_step(self, batch, batch_idx):
                return self.model(batch).sum()

        inputs = DataLoader(data().tensors[0], batch_size=13)
        with pytest.raises(InputError, match=r"batch must give \(inputs, labels, ...\)"):
            fit(Alone(), GeometryMonitor(), train=inputs)

    def test_labels_that_are_no_class(self):
        class Raw(Task):
            def training_step(self, batch, batch_idx):
                return F.mse_loss(self.model(batch[0]), torch.zeros(len(batch[1]), K))

        dataset = TensorDataset(data().tensors[0], data().tensors[1] + 1)
        with pytest.raises(InputError, match=r"labels must lie in 0..3, got 4"):
            fit(Raw(), GeometryMonitor(), train=loader(dataset))
