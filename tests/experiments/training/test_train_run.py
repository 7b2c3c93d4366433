"""What a run measures and compares, with a bias on its head and without, computed again from its weights."""

import sys
import warnings
from dataclasses import asdict, replace

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from implicit_geometry import ClassCounts, InputError, Problem, compare, predict
from implicit_geometry.data.load import load_source
from implicit_geometry.experiments.record_columns import missing_columns, records_frame
from implicit_geometry.experiments.spec import DataSpec, NetworkSpec, Optimization, RunSpec
from implicit_geometry.experiments.store import open_store
from implicit_geometry.experiments.training import train_run as module
from implicit_geometry.experiments.training.fit import Hardware
from implicit_geometry.experiments.training.train_run import Resources, train_run
from implicit_geometry.geometry import Geometry
from implicit_geometry.nn.measuring import targets
from implicit_geometry.report.write import write_report
from implicit_geometry.theory.effective_ridge import effective_ridge
from implicit_geometry.theory.measured_frame import in_measured_frame

COUNTS = (30, 20, 10)
PLAN = Optimization(epochs=6, batch_size=16, learning_rate=0.1, weight_decay=1e-3)
CPU = Resources(hardware=Hardware("cpu"))
OWN = NetworkSpec("own_biased_network:build", {"width": 6})
MODULE = """
from torch import nn
def build(input_shape, num_classes, *, width):
    return nn.Sequential(nn.Linear(input_shape[0], width), nn.ReLU(), nn.Linear(width, num_classes))
"""


@pytest.fixture
def own_network(tmp_path, monkeypatch):
    """A module of the user's, whose network has a head with a bias that is not called fc."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_biased_network", raising=False)
    (tmp_path / "own_biased_network.py").write_text(MODULE)


def features(path, counts):
    """As many samples of each class as are drawn for training, and five more."""
    generator = np.random.default_rng(0)
    k = len(counts)
    labels = np.repeat(np.arange(k), np.asarray(counts) + 5)
    embeddings = generator.normal(size=(len(labels), 4)) + 3 * np.eye(max(k, 4))[labels, :4]
    np.savez(path, embeddings=embeddings, labels=labels)
    return DataSpec(f"features:{path}", test_per_class=5)


@pytest.fixture
def data(tmp_path):
    return features(tmp_path / "features.npz", COUNTS)


def layers(run):
    return [run.weights[name].astype(np.float64) for name in ("0.weight", "0.bias", "2.weight", "2.bias")]


def measured_by_hand(run, data):
    """Classifiers and class means about the mean over the samples, in the row space of what the loss sees."""
    first, shift, head, _ = layers(run)
    archive = np.load(data.name.removeprefix("features:"))
    inputs, labels = archive["embeddings"].astype(np.float32)[run.arrays["train_indices"]], archive["labels"]
    labels = labels[run.arrays["train_indices"]]
    hidden = np.maximum(inputs @ first.T + shift, 0)
    means = np.stack([hidden[labels == c].mean(axis=0) for c in range(len(COUNTS))])
    assert np.bincount(labels).tolist() == list(COUNTS)
    blind = 1 / run.spec.parameterization().class_scale
    seen = head - np.outer(blind, blind @ head) / (blind @ blind)
    basis = np.linalg.svd(seen)[2][: len(COUNTS) - 1]
    return head, (means - np.asarray(COUNTS) @ means / sum(COUNTS)) @ basis.T @ basis


def unit_distance(a, b):
    return float(np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b)))


@pytest.mark.usefixtures("own_network")
@pytest.mark.parametrize("weight_decay", [1e-3, 0.0])
def test_a_head_with_a_bias_is_compared_with_the_theory_of_one(data, weight_decay):
    plan = replace(PLAN, weight_decay=weight_decay)
    spec = RunSpec("cdt", {"gamma": 0.5}, COUNTS, data, OWN, plan)
    run = train_run(spec, resources=CPU)
    assert run.record["bias"] is True
    head, embedding = measured_by_hand(run, data)
    np.testing.assert_allclose(run.arrays["bias"], layers(run)[3], rtol=1e-12)
    np.testing.assert_allclose(run.arrays["classifier"], head, rtol=1e-12)
    np.testing.assert_allclose(run.arrays["embedding"], embedding, atol=1e-5)

    counts, loss = spec.class_counts(), spec.parameterization()
    limit = predict(Problem(counts, loss, bias=not weight_decay)).geometry  # a bias with a ridge comes to nothing
    centre = np.eye(3) - np.outer(np.ones(3), counts.values / counts.num_samples)

    def distances(theory):
        return {
            "classifier": unit_distance(head @ head.T, theory.classifier.dense()),
            "embedding": unit_distance(embedding @ embedding.T, centre @ theory.embedding.dense() @ centre.T),
            "cross": unit_distance(head @ embedding.T, theory.cross.dense() @ centre.T),
        }

    for block, value in distances(limit).items():
        assert run.record[f"{block}_limit_distance"] == pytest.approx(value, abs=1e-5), block

    def at(value):
        problem = Problem(counts, loss, ridge=value, bias=True, bias_ridge=value if weight_decay else 0.0)
        return distances(predict(problem).geometry)

    for block, value in at(run.record["effective_ridge"]).items():
        assert run.record[f"{block}_ridge_distance"] == pytest.approx(value, abs=1e-5), block
    nearest = min(at(value)["classifier"] for value in np.geomspace(1e-6, 5, 30))
    assert run.record["classifier_ridge_distance"] <= nearest + 1e-5


def test_a_head_without_bias_is_compared_as_ever(data):
    spec = RunSpec("cdt", {"gamma": 0.5}, COUNTS, data, NetworkSpec("linear"), PLAN)
    run = train_run(spec, resources=CPU)
    problem = Problem(spec.class_counts(), spec.parameterization())
    measured = Geometry.from_factors(run.arrays["classifier"], run.arrays["embedding"])
    assert run.record["bias"] is False
    assert "bias" not in run.arrays
    assert "not_compared" not in run.record
    assert run.record["cross_limit_distance"] == pytest.approx(compare(measured, predict(problem).geometry).cross)
    assert run.record["effective_ridge"] == pytest.approx(effective_ridge(measured, problem).ridge, rel=1e-2)


@pytest.mark.parametrize("head", [{}, {"head_bias": True}], ids=["no bias", "bias"])
def test_smoothed_labels_are_trained_and_compared_with_their_own_theory(data, head):
    plan = Optimization(epochs=300, batch_size=60, learning_rate=0.5, weight_decay=1e-2)
    network = NetworkSpec("linear", head)
    spec = RunSpec("vs", {"gamma": 0.25}, COUNTS, data, network, plan, record_every=300, label_smoothing=0.2)
    run, hard = (train_run(each, resources=CPU) for each in (spec, replace(spec, label_smoothing=0.0)))
    problem = spec.problem(bias=bool(head))
    assert problem.label_smoothing == 0.2
    measured = Geometry.from_factors(run.arrays["classifier"], run.arrays["embedding"])
    limit = in_measured_frame(predict(problem))
    optimum = in_measured_frame(predict(problem.at_ridge(run.record["effective_ridge"])))
    for block, value in asdict(compare(measured, limit)).items():
        assert run.record[f"{block}_limit_distance"] == pytest.approx(value, abs=1e-9)
    for block, value in asdict(compare(measured, optimum)).items():
        assert run.record[f"{block}_ridge_distance"] == pytest.approx(value, abs=1e-9)
    scale = np.linalg.norm(measured.cross.dense()) / np.linalg.norm(limit.cross.dense())
    assert run.record["cross_limit_scale"] == pytest.approx(scale)
    assert "cross_limit_scale" not in hard.record
    (row,) = run.history
    assert row["cross_limit_scale"] == pytest.approx(scale, rel=1e-4)
    assert row["cross_limit_distance"] == pytest.approx(run.record["cross_limit_distance"], abs=1e-4)
    gradient = smoothed_gradient(run, data, head)
    assert np.abs(gradient).max() < 1e-4


def smoothed_gradient(run, data, head):
    """Of what a linear head is trained on, by torch's own loss on adjusted logits: zero where training has ended."""
    archive, rows = np.load(data.name.removeprefix("features:")), run.arrays["train_indices"]
    inputs = torch.tensor(archive["embeddings"].astype(np.float32)[rows])
    labels, loss = torch.tensor(archive["labels"][rows]), run.spec.parameterization()
    weight = torch.tensor(run.weights["fc.weight"], requires_grad=True)
    bias = torch.tensor(run.weights["fc.bias"]) if head else 0.0
    adjusted = (inputs @ weight.T + bias) * torch.tensor(loss.class_scale.copy()).float()
    adjusted = adjusted + torch.tensor(loss.shift.copy()).float()
    value = F.cross_entropy(adjusted, labels, label_smoothing=0.2) + 1e-2 / 2 * weight.square().sum()
    return torch.autograd.grad(value, weight)[0].numpy()


def test_a_seed_draws_which_class_has_which_count(data):
    labels = load_source(data.name).train_labels
    plan = replace(PLAN, epochs=1)
    for seed in (0, 2):
        spec = RunSpec("ce", {}, (10, 8, 6), replace(data, class_order="seed"), NetworkSpec("linear"), plan, seed=seed)
        run = train_run(spec, resources=CPU)
        found = np.bincount(labels[run.arrays["train_indices"]])
        assert found[spec.class_order()].tolist() == [10, 8, 6]
        assert found.tolist() != [10, 8, 6]


def test_a_record_has_both_frames_and_the_parts_of_distances(data):
    spec = RunSpec("ldt", {"gamma": 0.5}, (20, 6, 6), data, NetworkSpec("linear"), PLAN)
    run = train_run(spec, resources=CPU)
    problem = Problem(spec.class_counts(), spec.parameterization())
    means, shares = run.arrays["class_means"], problem.parameterization.label_scale
    centred = means - shares @ means / shares.sum()
    np.testing.assert_allclose(run.embedding("centred"), centred, atol=1e-12)
    np.testing.assert_array_equal(run.embedding("projected"), run.arrays["embedding"])
    limit = predict(problem).geometry
    for prefix, rows in {"": run.arrays["embedding"], "centred_": centred}.items():
        found = compare(Geometry.from_factors(run.arrays["classifier"], rows), limit, groups=problem)
        for name, value in {
            "limit_distance": found.embedding,
            "limit_systematic": found.systematic.embedding,
            "heterogeneity": found.heterogeneity.embedding,
        }.items():
            assert run.record[f"{prefix}embedding_{name}"] == pytest.approx(value), (prefix, name)
    assert run.record["classifier_heterogeneity"] == pytest.approx(found.heterogeneity.classifier)
    old = replace(run, arrays={name: run.arrays[name] for name in ("classifier", "embedding")})
    with pytest.raises(InputError, match="frame must be 'projected' for runs of earlier versions"):
        old.embedding("centred")


def test_heads_of_the_library_have_a_bias_where_the_spec_says_so(data):
    spec = RunSpec("ce", {}, COUNTS, data, NetworkSpec("linear", {"head_bias": True}), PLAN)
    run = train_run(spec, resources=CPU)
    assert run.bias
    np.testing.assert_allclose(run.arrays["bias"], run.weights["fc.bias"], rtol=1e-6)


@pytest.mark.usefixtures("own_network")
def test_an_interrupted_run_comes_to_the_same_numbers(data, tmp_path, monkeypatch):
    spec = RunSpec("vs", {"gamma": 0.25, "tau": 1.0}, COUNTS, data, OWN, PLAN, record_every=2)
    whole = train_run(spec, resources=CPU)
    monkeypatch.setattr("implicit_geometry.experiments.training.fit._LARGEST_SHARE", float("inf"))
    recorders = module._recorders

    class Interrupt(L.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 3:
                raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(module, "_recorders", lambda *arguments: [*recorders(*arguments), Interrupt()])
        with pytest.raises(SystemExit):
            train_run(spec, resources=CPU, working=tmp_path)
    resumed = train_run(spec, resources=CPU, working=tmp_path)
    assert [row["epoch"] for row in resumed.history] == [2, 4, 6]
    pd.testing.assert_frame_equal(*(pd.DataFrame(run.history).astype(float) for run in (resumed, whole)))
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(resumed.arrays[name], array)
    for name, value in whole.record.items():
        assert resumed.record[name] == value or name.endswith("seconds") or np.isnan(value), name


def test_the_history_is_compared_with_the_theory_of_a_head_with_a_bias(data):
    spec = RunSpec("ce", {}, COUNTS, data, NetworkSpec("linear", {"head_bias": True}), PLAN, record_every=6)
    run = train_run(spec, resources=CPU)
    (row,) = run.history
    for block in ("classifier", "embedding", "cross"):  # seen in the steps of the last epoch, whose rate is nearly 0
        assert row[f"{block}_limit_distance"] == pytest.approx(run.record[f"{block}_limit_distance"], abs=1e-4)
        assert row[f"{block}_ridge_distance"] == pytest.approx(run.record[f"{block}_ridge_distance"], abs=1e-4)


@pytest.mark.parametrize("record_every", [0, 1])
def test_more_kinds_of_classes_than_theory_takes_end_no_run(tmp_path, record_every, monkeypatch):
    monkeypatch.setattr(targets, "_MOST_KINDS_WITH_BIAS", 12)
    counts = tuple(range(4, 17))
    spec = RunSpec(
        "ce",
        {},
        counts,
        features(tmp_path / "many.npz", counts),
        NetworkSpec("mlp", {"depth": 1, "width": 16, "head_bias": True}),
        PLAN,
        record_every=record_every,
    )
    with pytest.warns(UserWarning, match="no distances to the ridge: problem must have at most 12 kinds") as caught:
        run = train_run(spec, resources=CPU)
    assert len([item for item in caught if "no distances" in str(item.message)]) == 1
    assert list(run.not_compared) == ["ridge"]
    assert run.record["effective_ridge"] is run.record["classifier_ridge_distance"] is None
    assert run.record["classifier_limit_distance"] > 0
    assert missing_columns(run.record) == []
    store = open_store(tmp_path / "runs")
    store.save(run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = write_report([store.folder])
    assert page.damaged == ()
    assert "no distances to the optimum" in page.html
    table = records_frame(store.contents().runs)
    assert table["bias"].tolist() == [True]
    assert table["effective_ridge"].isna().all()


def test_weight_decay_is_on_the_bias_too():
    spec = RunSpec("ce", {}, COUNTS)
    assert spec.problem(bias=False) == Problem(ClassCounts(COUNTS))
    assert spec.problem(bias=True) == Problem(ClassCounts(COUNTS), bias=True, bias_ridge=1.0)
    free = replace(spec, optimization=replace(spec.optimization, weight_decay=0.0))
    assert free.problem(bias=True) == Problem(ClassCounts(COUNTS), bias=True)
