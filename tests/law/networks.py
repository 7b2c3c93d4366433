"""Attacks on ``implicit_geometry.nn``: losses, measurement, networks and the unconstrained-features model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

from implicit_geometry import Parameterization, cdt
from implicit_geometry import nn as ig_nn
from law.attack import HELD, ORACLE, Attack
from law.cases import VECTORS, Floats, close, seeds
from law.nonsense import nonsense_for

# Losses


def numpy_loss(
    logits: Floats, labels: Any, vectors: dict[str, Floats], smoothing: float, ignored: int
) -> tuple[Floats, Floats]:
    """Losses and weights of the samples of a batch (rows), in float64."""
    n, k = logits.shape
    v = {name: vectors.get(name, np.full(k, 0.0 if name in ("shift", "margin") else 1.0)) for name in VECTORS}
    losses, weights = np.zeros(n), np.zeros(n)
    for row, label in enumerate(labels):
        if label == ignored:
            continue
        adjusted = v["label_scale"][label] * v["class_scale"] * logits[row] + v["shift"]
        adjusted[label] -= v["margin"][label]
        peak = adjusted.max()
        minus_log = peak + math.log(float(np.exp(adjusted - peak).sum())) - adjusted
        target = np.full(k, smoothing / k)
        target[label] += 1 - smoothing
        losses[row] = float((target * v["weight"] * minus_log).sum())
        weights[row] = v["weight"][label]
    return losses, weights


def draw_batch(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(1, 12)), int(rng.integers(2, 9))
    spread = float(rng.choice([0.1, 3.0, 50.0]))
    vectors = {}
    for name in VECTORS:
        if rng.random() < 0.4:
            vectors[name] = rng.uniform(-3, 3, k) if name in ("shift", "margin") else np.exp(rng.uniform(-2, 2, k))
    smoothing = float(rng.choice([0.0, 0.0, 0.1, 1.0])) if set(vectors) <= {"weight", "shift", "class_scale"} else 0.0
    return {
        "logits": rng.normal(0, spread, (n, k)),
        "labels": rng.integers(0, k, n),
        "vectors": vectors,
        "smoothing": smoothing,
        "reduction": str(rng.choice(["mean", "sum", "none"])),
        "ignored": bool(rng.random() < 0.2),
        "dtype": str(rng.choice(["float64", "float32", "bfloat16", "float16"], p=[0.5, 0.3, 0.1, 0.1])),
    }


def expected_loss(batch: dict[str, Any], logits: Floats) -> Floats:
    labels = batch["labels"].copy()
    if batch["ignored"]:
        labels[0] = -100
    losses, weights = numpy_loss(logits, labels, batch["vectors"], batch["smoothing"], -100)
    if batch["reduction"] == "none":
        return losses
    return np.asarray(losses.sum() / (weights.sum() if batch["reduction"] == "mean" else 1.0))


def tensors(batch: dict[str, Any]) -> tuple[Tensor, Tensor, float]:
    dtype = getattr(torch, batch["dtype"])
    labels = torch.tensor(batch["labels"])
    if batch["ignored"]:
        labels[0] = -100
    tolerance = {"float64": 1e-11, "float32": 1e-4, "bfloat16": 2e-2, "float16": 5e-3}[batch["dtype"]]
    return torch.tensor(batch["logits"], dtype=dtype), labels, tolerance


def check_vs_loss(seed: int) -> str:
    batch = draw_batch(seed)
    logits, labels, tolerance = tensors(batch)
    if batch["reduction"] == "mean" and batch["ignored"] and len(labels) == 1:
        return HELD  # the mean over no sample is NaN in F.cross_entropy too
    expected = expected_loss(batch, logits.double().numpy())
    options = {"label_smoothing": batch["smoothing"], "reduction": batch["reduction"]}
    vectors = {
        name: torch.tensor(values).to(logits.dtype if logits.dtype in (torch.float32, torch.float64) else torch.float32)
        for name, values in batch["vectors"].items()
    }
    found = ig_nn.vs_loss(logits, labels, **vectors, **options)
    assert found.dtype == F.cross_entropy(logits, labels, reduction=batch["reduction"]).dtype
    assert close(found.double().numpy(), expected, tolerance, tolerance * (1 + np.abs(expected).max())), (
        found,
        expected,
    )
    if not vectors:
        assert torch.equal(found, F.cross_entropy(logits, labels, **options))
    return ORACLE


def check_vs_loss_of_classes(seed: int) -> str:
    """Drawn classes, written out: log of the corrected sum of exponentials less the label's logit."""
    rng = np.random.default_rng(seed)
    k, n = int(rng.integers(2, 9)), int(rng.integers(1, 6))
    labels, logits, shift = (
        rng.integers(0, k, n),
        rng.normal(size=(n, k)) * 10.0 ** rng.uniform(-3, 2),
        rng.normal(size=k),
    )
    chance = rng.uniform(1e-3, 1, k)
    classes = rng.permutation(np.union1d(labels, np.flatnonzero(rng.random(k) < chance)))
    found = ig_nn.vs_loss(
        torch.tensor(logits[:, classes]),
        torch.tensor(labels),
        shift=torch.tensor(shift),
        classes=torch.tensor(classes),
        sampling_probability=torch.tensor(chance[classes]),
        reduction="none",
    )
    certain = np.where(np.isin(classes, labels), 1.0, chance[classes])
    adjusted = (logits + shift)[:, classes] - np.log(certain)
    peak = adjusted.max(axis=1, keepdims=True)
    expected = (np.log(np.exp(adjusted - peak).sum(axis=1)) + peak[:, 0]) - (logits + shift)[np.arange(n), labels]
    assert close(found.numpy(), expected, 1e-10, 1e-12 * (1 + np.abs(logits).max()))
    return ORACLE


def check_vs_loss_module(seed: int) -> str:
    batch = draw_batch(seed)
    logits, labels, tolerance = tensors(batch)
    if batch["reduction"] == "mean" and batch["ignored"] and len(labels) == 1:
        return HELD
    expected = expected_loss(batch, logits.double().numpy())
    vectors = batch["vectors"] or {"weight": np.ones(logits.shape[1])}
    loss = ig_nn.VSLoss(Parameterization(**vectors), label_smoothing=batch["smoothing"], reduction=batch["reduction"])
    found = loss(logits, labels)
    tolerance = max(tolerance, 1e-5)
    assert close(found.double().numpy(), expected, tolerance, tolerance * (1 + np.abs(expected).max())), (
        found,
        expected,
    )
    repr(loss)
    return ORACLE


def check_vs_linear(seed: int) -> str:
    rng = np.random.default_rng(seed)
    n, d, k = (int(x) for x in rng.integers(2, 7, 3))
    h, w, b, delta, iota = (
        rng.normal(size=(n, d)),
        rng.normal(size=(k, d)),
        rng.normal(size=k),
        np.exp(rng.normal(size=k)),
        rng.normal(size=k),
    )
    found = ig_nn.vs_linear(*map(torch.tensor, (h, w, b)), class_scale=torch.tensor(delta), shift=torch.tensor(iota))
    assert close(found.numpy(), delta * (h @ w.T + b) + iota, 1e-11, 1e-11)
    return ORACLE


def check_vs_linear_loss(seed: int) -> str:
    rng = np.random.default_rng(seed)
    n, d, k = (int(x) for x in rng.integers(2, 7, 3))
    h, w, labels = rng.normal(size=(n, d)), rng.normal(size=(k, d)), rng.integers(0, k, n)
    vectors = {
        name: np.exp(rng.normal(size=k)) if name not in ("shift", "margin") else rng.normal(size=k)
        for name in VECTORS
        if rng.random() < 0.5
    } or {"weight": np.ones(k)}
    loss = ig_nn.VSLoss(Parameterization(**vectors), reduction="sum", dtype=torch.float64)
    weight = torch.tensor(w, requires_grad=True)
    found = ig_nn.vs_linear_loss(loss, torch.tensor(h), weight, torch.tensor(labels))
    losses, _ = numpy_loss(h @ w.T, labels, vectors, 0.0, -100)
    assert close(found.item(), losses.sum(), 1e-10, 1e-10)
    found.backward()
    direction, step = rng.normal(size=w.shape), 1e-6
    ahead, _ = numpy_loss(h @ (w + step * direction).T, labels, vectors, 0.0, -100)
    behind, _ = numpy_loss(h @ (w - step * direction).T, labels, vectors, 0.0, -100)
    slope = (ahead.sum() - behind.sum()) / 2 / step
    assert weight.grad is not None
    assert close(float((weight.grad.numpy() * direction).sum()), slope, 1e-5, 1e-5 * (1 + float(np.abs(ahead).sum())))
    return ORACLE


# Measurement


def draw_samples(seed: int) -> tuple[Floats, Any, Floats]:
    rng = np.random.default_rng(seed)
    k, d = int(rng.integers(2, 6)), int(rng.integers(1, 6))
    labels = rng.permutation(np.repeat(np.arange(k), rng.integers(1, 6, k)))
    return rng.normal(size=(labels.size, d)) * 10.0 ** rng.uniform(-6, 6), labels, rng.normal(size=(k, d))


def check_metric(seed: int) -> str:
    """Class means and W H^T from arrays, however the batches are cut."""
    embeddings, labels, classifier = draw_samples(seed)
    k, d = classifier.shape
    metric = ig_nn.GeometryMetric(k, d)
    cut = int(np.random.default_rng(seed).integers(0, len(labels) + 1))
    metric.update(torch.tensor(embeddings[:cut]), torch.tensor(labels[:cut]))
    metric.update(embeddings[cut:], labels[cut:])
    found = metric.compute(classifier=torch.tensor(classifier), frame="centred")
    means = np.stack([embeddings[labels == c].mean(axis=0) for c in range(k)])
    assert found.counts.values.tolist() == np.bincount(labels).tolist()
    assert close(found.class_means, means, 1e-10, 1e-10 * float(np.abs(means).max()))
    centred = means - means.mean(axis=0)
    assert close(found.embedding, centred, 1e-9, 1e-9 * float(np.abs(means).max()))
    dense = found.geometry.cross.dense()
    assert close(
        dense, classifier @ centred.T, 1e-8, 1e-9 * (1e-300 + float(np.abs(dense).max()) + float(np.abs(means).max()))
    )
    repr(found)
    return ORACLE


def check_measure_arrays(seed: int) -> str:
    """Accuracy and variance by loops over the classes."""
    embeddings, labels, classifier = draw_samples(seed)
    found = ig_nn.measure_arrays(embeddings, labels, classifier)
    right = (embeddings @ classifier.T).argmax(1) == labels
    for c in range(len(classifier)):
        rows = embeddings[labels == c]
        variance = ((rows - rows.mean(axis=0)) ** 2).sum(axis=1).mean()
        assert close(found.class_variance[c], variance, 1e-9, 1e-20 * float((rows**2).max()))
        assert found.class_accuracy[c] == right[labels == c].mean()
    return ORACLE


def check_measure(seed: int) -> str:
    embeddings, labels, classifier = draw_samples(seed)
    k, d = classifier.shape
    head = nn.Linear(d, k, bias=False).double()
    head.weight = nn.Parameter(torch.tensor(classifier))
    loader = [(torch.tensor(embeddings), torch.tensor(labels))]
    found = ig_nn.measure(nn.Sequential(head), loader, head="0", frame="centred")
    means = np.stack([embeddings[labels == c].mean(axis=0) for c in range(k)])
    variance = np.array([((embeddings[labels == c] - means[c]) ** 2).sum(axis=1).mean() for c in range(k)])
    size = float((embeddings**2).sum(axis=1).max())
    assert close(found.class_means, means, 1e-10, 1e-10 * math.sqrt(size))
    assert close(found.class_variance, variance, 1e-8, 1e-10 * size)
    right = (embeddings @ classifier.T).argmax(axis=1) == labels
    assert close(found.class_accuracy, [right[labels == c].mean() for c in range(k)], 1e-12)
    assert isinstance(found, ig_nn.Measurement)
    return ORACLE


# Networks and the unconstrained-features model


def check_mlp(case: tuple[int, int, int, int, bool]) -> str:
    inputs, k, depth, width, bias = case
    network = ig_nn.mlp(inputs, k, depth=depth, width=width, head_bias=bias)
    parameters = sum(p.numel() for p in network.parameters())
    hidden = sum((inputs if layer == 0 else width) * width + 3 * width for layer in range(depth))
    assert parameters == hidden + width * k + k * bias
    network.eval()
    h = network.features(torch.ones(2, inputs))
    assert torch.allclose(network(torch.ones(2, inputs)), logits_of(network, h), atol=1e-5)
    return ORACLE


def logits_of(network: torch.nn.Module, embeddings: torch.Tensor) -> torch.Tensor:
    head = network.fc
    return embeddings @ head.weight.T + (0 if head.bias is None else head.bias)


def check_make_network(case: tuple[str, int, int, bool]) -> str:
    name, k, size, bias = case
    options = {"linear": {}, "mlp": {"depth": 1, "width": 4}, "resnet18": {"width": 2}}[name]
    network = ig_nn.make_network(name, (1, size, size), k, **options, head_bias=bias).eval()
    x = torch.randn(2, 1, size, size, generator=torch.Generator().manual_seed(size))
    h = network.features(x)
    assert torch.allclose(network(x), logits_of(network, h), atol=1e-5)
    assert network.fc.out_features == k
    assert (network.fc.bias is not None) == bias
    return ORACLE


def check_train_ufm(seed: int) -> str:
    """One epoch of full batches is one step of gradient descent."""
    rng = np.random.default_rng(seed)
    counts = [int(n) for n in rng.integers(1, 4, int(rng.integers(2, 4)))]
    k, n = len(counts), sum(counts)
    loss = cdt(counts, gamma=float(rng.uniform(-0.5, 0.5)))
    rate, ridge = float(rng.uniform(0.1, 1)), float(rng.choice([0.0, 0.1]))
    history = ig_nn.train_ufm(
        counts,
        [loss],
        feature_dim=k,
        epochs=1,
        batch_size=n,
        learning_rate=rate,
        ridge=ridge,
        initial_scale=0.5,
        seeds=[int(seed) % 1000],
        record_epochs=[0, 1],
    )
    before, after = history.classifier[0, 0]
    means = history.embedding[0, 0]
    assert isinstance(history, ig_nn.UFMHistory)
    assert history.epochs.tolist() == [0, 1]
    if max(counts) > 1:  # the step of W depends on every embedding, not on the means alone
        assert np.isfinite(after).all()
        assert ((history.accuracy >= 0) & (history.accuracy <= 1)).all()
        return HELD
    logits = means[0] @ before.T
    gradient = np.zeros_like(logits)
    for y in range(k):
        adjusted = loss.class_scale * logits[y]
        odds = np.exp(adjusted - adjusted.max())
        gradient[y] = loss.class_scale * (odds / odds.sum() - (np.arange(k) == y)) / n
    assert close(after, before - rate * (gradient.T @ means[0] + ridge / n * before), 1e-9, 1e-11)
    assert close(means[1], means[0] - rate * (gradient @ before + ridge / n * means[0]), 1e-9, 1e-11)
    return ORACLE


def check_labels_out_of_range(case: tuple[int, str]) -> str:
    """As in ``F.cross_entropy``, an IndexError that names the labels, or a refusal."""
    label, reduction = case
    logits, target, options = (
        torch.zeros(2, 3),
        torch.tensor([0, label]),
        {"shift": torch.zeros(3), "reduction": reduction},
    )
    if not (0 <= label < 3 or label == -100):
        with pytest.raises(IndexError, match=r"target must hold class indices in 0\.\.2"):
            ig_nn.vs_loss(logits, target, **options)
        return HELD
    assert torch.isfinite(ig_nn.vs_loss(logits, target, **options)).all()
    return HELD


def _tensor(*shape: int) -> Any:
    return lambda: torch.ones(*shape)


def _parameterization() -> Parameterization:
    return cdt([50, 5], gamma=0.5)


def _fresh_metric(**given: Any) -> Any:
    metric = ig_nn.GeometryMetric(2, 3)
    metric.update(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0, 1]))
    return metric.compute(**given)


def _update(**given: Any) -> Any:
    return ig_nn.GeometryMetric(2, 3).update(**given)


def _loader() -> Any:
    return [(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0, 1]))]


LOGITS = {"logits": _tensor(2, 3), "target": lambda: torch.tensor([0, 1])}
CLASS_VECTORS = {name: _tensor(3) for name in VECTORS}
OPTIONS = {"ignore_index": lambda: -100, "label_smoothing": lambda: 0.0, "reduction": lambda: "mean"}
SAMPLED = {"classes": lambda: torch.tensor([1, 0, 2]), "sampling_probability": lambda: torch.full((3,), 0.5)}
SCALES = {"class_scale": lambda: None, "label_scale": lambda: None, "frame": lambda: "centred"}
ATTACKS = [
    Attack("vs_loss", ("vs_loss",), seeds, check_vs_loss, 80),
    Attack("vs_loss of some classes", ("vs_loss",), seeds, check_vs_loss_of_classes, 10),
    Attack("VSLoss", ("VSLoss",), seeds, check_vs_loss_module, 50),
    Attack("vs_linear", ("vs_linear",), seeds, check_vs_linear, 20),
    Attack("vs_linear_loss", ("vs_linear_loss",), seeds, check_vs_linear_loss, 30),
    Attack(
        "vs_loss: labels out of range",
        ("vs_loss",),
        st.tuples(st.integers(-300, 300), st.sampled_from(["mean", "sum", "none"])),
        check_labels_out_of_range,
        4,
        ("target",),
    ),
    Attack("GeometryMetric", ("GeometryMetric",), seeds, check_metric, 25),
    Attack("measure_arrays", ("measure_arrays",), seeds, check_measure_arrays, 8, ("embeddings",)),
    Attack("measure", ("measure", "Measurement"), seeds, check_measure, 15, ("embeddings",)),
    Attack(
        "mlp",
        ("mlp",),
        st.tuples(st.integers(1, 9), st.integers(2, 6), st.integers(1, 3), st.integers(1, 8), st.booleans()),
        check_mlp,
        8,
    ),
    Attack(
        "make_network",
        ("make_network",),
        st.tuples(st.sampled_from(["linear", "mlp", "resnet18"]), st.integers(2, 5), st.integers(4, 9), st.booleans()),
        check_make_network,
        3,
    ),
    Attack("train_ufm", ("train_ufm", "UFMHistory"), seeds, check_train_ufm, 3),
    nonsense_for("vs_loss", ig_nn.vs_loss, LOGITS | CLASS_VECTORS | OPTIONS, share=12, may_hold_nan=True),
    nonsense_for(
        "vs_loss of some classes",
        ig_nn.vs_loss,
        LOGITS | CLASS_VECTORS | OPTIONS | SAMPLED,
        share=4,
        covers=("vs_loss",),
        may_hold_nan=True,
    ),
    nonsense_for(
        "VSLoss",
        ig_nn.VSLoss,
        {"parameterization": _parameterization, "device": lambda: None, "dtype": lambda: None} | OPTIONS,
        share=8,
    ),
    nonsense_for(
        "VSLoss.forward",
        lambda **given: ig_nn.VSLoss(cdt([50, 5, 1], gamma=0.5))(**given),
        LOGITS,
        share=4,
        covers=("VSLoss",),
        may_hold_nan=True,
    ),
    nonsense_for(
        "vs_linear",
        ig_nn.vs_linear,
        {
            "embeddings": _tensor(4, 2),
            "weight": _tensor(3, 2),
            "bias": _tensor(3),
            "class_scale": _tensor(3),
            "shift": _tensor(3),
        },
        share=4,
        may_hold_nan=True,
    ),
    nonsense_for(
        "vs_linear_loss",
        ig_nn.vs_linear_loss,
        {
            "criterion": lambda: ig_nn.VSLoss(cdt([50, 5, 1], gamma=0.5)),
            "embeddings": _tensor(2, 2),
            "weight": _tensor(3, 2),
            "target": lambda: torch.tensor([0, 1]),
            "bias": _tensor(3),
        },
        share=4,
        names=("logits",),
        may_hold_nan=True,
    ),
    nonsense_for("GeometryMetric", ig_nn.GeometryMetric, {"num_classes": lambda: 3, "feature_dim": lambda: 2}, share=2),
    nonsense_for(
        "GeometryMetric.update",
        _update,
        {"embeddings": _tensor(4, 3), "labels": lambda: torch.tensor([0, 1, 0, 1])},
        share=3,
        covers=("GeometryMetric",),
    ),
    nonsense_for(
        "GeometryMetric.compute",
        _fresh_metric,
        {"classifier": lambda: None, "bias": lambda: None} | SCALES,
        share=3,
        covers=("GeometryMetric",),
        may_hold_nan=True,
    ),
    nonsense_for(
        "measure",
        ig_nn.measure,
        {
            "model": lambda: nn.Sequential(nn.Linear(3, 2, bias=False)),
            "loader": _loader,
            "head": lambda: "0",
            "device": lambda: None,
        }
        | SCALES,
        share=3,
        names=("embeddings", "labels", "batch"),
        may_hold_nan=True,
    ),
    nonsense_for(
        "measure_arrays",
        ig_nn.measure_arrays,
        {
            "embeddings": lambda: np.array([[2.0, 5.0, 0.0], [-2.0, 5.0, 1.0]]),
            "labels": lambda: np.array([0, 1]),
            "classifier": lambda: np.eye(2, 3),
            "bias": lambda: None,
            "ignore_index": lambda: -100,
            "parameterization": lambda: None,
            "frame": lambda: "centred",
        },
        share=3,
        may_hold_nan=True,
    ),
    nonsense_for(
        "mlp",
        ig_nn.mlp,
        {
            "in_features": lambda: 3,
            "num_classes": lambda: 2,
            "depth": lambda: 1,
            "width": lambda: 2,
            "head_bias": lambda: True,
        },
        share=3,
    ),
    nonsense_for(
        "make_network",
        ig_nn.make_network,
        {"name": lambda: "mlp", "input_shape": lambda: (3,), "num_classes": lambda: 2, "head_bias": lambda: True},
        share=2,
        names=("network", "options", "width", "depth"),
    ),
    nonsense_for(
        "train_ufm",
        ig_nn.train_ufm,
        {
            "counts": lambda: [2, 1],
            "parameterizations": lambda: [Parameterization.neutral(2)],
            "feature_dim": lambda: 2,
            "epochs": lambda: 1,
            "batch_size": lambda: 1,
            "learning_rate": lambda: 0.1,
            "ridge": lambda: 0.0,
            "label_smoothing": lambda: 0.0,
            "initial_scale": lambda: 0.1,
            "seeds": lambda: (0,),
            "record_epochs": lambda: None,
            "device": lambda: "cpu",
            "on_epoch": lambda: None,
        },
        share=3,
    ),
    nonsense_for(
        "GeometryMonitor",
        ig_nn.GeometryMonitor,
        {
            "problem": lambda: None,
            "head": lambda: "fc",
            "every": lambda: 1,
            "loader": lambda: None,
            "test_loader": lambda: None,
        },
        share=2,
    ),
]
