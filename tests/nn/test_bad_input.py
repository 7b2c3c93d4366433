"""Every public entry of ``nn``, and of the values it makes, names what it refuses: types, huge sizes and extremes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import implicit_geometry as ig
from implicit_geometry import InputError
from implicit_geometry.measurement import ClassMeans, measurement_from_moments
from implicit_geometry.nn import (
    GeometryMetric,
    VSLoss,
    make_network,
    measure,
    mlp,
    train_ufm,
    vs_linear,
    vs_linear_loss,
    vs_loss,
)
from implicit_geometry.nn.architectures import linear, resnet18, with_head
from implicit_geometry.nn.networks import check_network
from implicit_geometry.summary import accuracy_summary, geometry_summary
from implicit_geometry.theory.measured_frame import in_measured_frame

P: Any = ig.cdt([5, 3], gamma=0.5)
L: Any = torch.zeros(3, 2)
W: Any = torch.ones(2, 2)
Y: Any = torch.tensor([0, 1, 1])
NAN = float("nan")


def filled() -> Any:
    metric = GeometryMetric(2, 2)
    metric.update(L, Y)
    return metric


CASES: dict[str, list[Callable[[], object]]] = {
    "ignore_index": [
        lambda: VSLoss(P, ignore_index=1.5),  # type: ignore[arg-type]
        lambda: VSLoss(P, ignore_index=None),  # type: ignore[arg-type]
        lambda: VSLoss(P, ignore_index=2**80),
        lambda: vs_loss(L, Y, ignore_index=1.5),  # type: ignore[arg-type]
        lambda: vs_loss(L, Y, ignore_index="a"),  # type: ignore[arg-type]
        lambda: vs_loss(L, Y, ignore_index=2**80),
    ],
    "label_smoothing": [
        lambda: VSLoss(P, label_smoothing=NAN),
        lambda: VSLoss(P, label_smoothing="a"),  # type: ignore[arg-type]
        lambda: vs_loss(L, Y, label_smoothing=NAN),
        lambda: vs_loss(L, Y, label_smoothing=1.5),
        lambda: vs_loss(L, Y, label_smoothing=-0.1),
    ],
    "reduction": [lambda: VSLoss(P, reduction=3), lambda: vs_loss(L, Y, reduction="foo")],  # type: ignore[arg-type]
    "dtype": [
        lambda: VSLoss(P, dtype=torch.int64),
        lambda: VSLoss(P, dtype="float32"),  # type: ignore[arg-type]
    ],
    "device": [
        lambda: VSLoss(P, device="foo"),
        lambda: measure(mlp(2, 2), [(L, Y)], device="foo"),
        lambda: train_ufm([5, 3], [P], device="foo", epochs=1),
    ],
    "parameterization": [
        lambda: VSLoss([1.0, 2.0]),  # type: ignore[arg-type]
        lambda: filled().compute(W, parameterization=VSLoss(P)),
    ],
    "logits": [
        lambda: VSLoss(P)(L.numpy(), Y),
        lambda: VSLoss(P)(None, None),
        lambda: vs_loss(L.numpy(), Y),
        lambda: vs_loss([[1.0, 2.0]], [0]),  # type: ignore[arg-type]
        lambda: vs_loss(L.to(torch.complex64), Y, shift=torch.ones(2)),
        lambda: vs_loss(torch.zeros(3, 0), Y),
    ],
    "target": [
        lambda: VSLoss(P)(L, Y.numpy()),
        lambda: vs_loss(L, Y.numpy()),
        lambda: vs_loss(L.to("meta"), Y),
        lambda: vs_linear_loss(VSLoss(P), L, W, None),  # type: ignore[arg-type]
    ],
    "weight": [
        lambda: vs_loss(L, Y, weight=np.ones(2)),  # type: ignore[arg-type]
        lambda: vs_linear_loss(VSLoss(P), L, None, Y),  # type: ignore[arg-type]
        lambda: vs_linear_loss(VSLoss(P), L, W.double(), Y),
        lambda: vs_linear(L, None),  # type: ignore[arg-type]
        lambda: vs_linear(L, W.double()),
    ],
    "shift": [
        lambda: vs_loss(L, Y, shift=1.0),  # type: ignore[arg-type]
        lambda: vs_loss(L, Y, shift=torch.ones(2, dtype=torch.complex64)),
        lambda: vs_loss(L, Y, shift=torch.ones(2, device="meta")),
    ],
    "margin": [lambda: vs_loss(L, Y, margin=[1.0, 2.0])],  # type: ignore[arg-type]
    "criterion": [lambda: vs_linear_loss(nn.CrossEntropyLoss(), L, W, Y)],  # type: ignore[arg-type]
    "embeddings": [
        lambda: vs_linear_loss(VSLoss(P), L.numpy(), W, Y),
        lambda: vs_linear_loss(VSLoss(P), torch.tensor(1.0), W, Y),
        lambda: vs_linear(L.numpy(), W),
        lambda: vs_linear(L, torch.ones(2, 5)),
        lambda: filled().update(None, None),
        lambda: measure(mlp(2, 2), []),
        lambda: measurement_from_moments([2, 0], np.ones((2, 2)), [1.0, 1.0]),  # type: ignore[arg-type]
    ],
    "bias": [
        lambda: vs_linear_loss(VSLoss(P), L, W, Y, bias=3),  # type: ignore[arg-type]
        lambda: vs_linear_loss(VSLoss(P), L, W, Y, bias=torch.ones(3)),
        lambda: vs_linear(L, W, torch.ones(7)),
        lambda: filled().compute(W, bias="a"),
    ],
    "class_scale": [lambda: vs_linear(L, W, class_scale=np.ones(2))],  # type: ignore[arg-type]
    "classifier": [
        lambda: filled().compute("abc"),
        lambda: filled().compute([[1, 2], [3]]),
        lambda: filled().compute(W.to(torch.complex64)),
        lambda: filled().compute(np.ones((2, 2), dtype=complex)),
        lambda: measurement_from_moments([1, 2], np.ones((2, 2)), np.ones(2), classifier="a"),
        lambda: ig.Geometry.from_factors(np.full((2, 2), 1e200), np.ones((2, 2))),
    ],
    "embedding": [
        lambda: ig.Geometry.from_factors(np.ones((2, 2)), np.full((2, 2), 1e-300)),
        lambda: ig.Geometry.from_factors(np.ones((2, 2)), np.ones((2, 3))),
        lambda: ClassMeans(ig.ClassCounts([1, 2]), np.ones((2, 2)), np.ones((2, 3)), np.ones(2)),
    ],
    "frame": [
        lambda: filled().compute(W, frame="yes"),
        lambda: filled().compute(frame="projected"),
        lambda: measure(mlp(2, 2), [(L, Y)], frame=None),  # type: ignore[arg-type]
        lambda: measurement_from_moments([1, 2], np.ones((2, 2)), np.ones(2), frame="projected"),  # type: ignore[call-overload]
        lambda: in_measured_frame(ig.predict(ig.Problem([2, 1])), "raw"),  # type: ignore[arg-type]
    ],
    "project": [lambda: filled().compute(W, project=True), lambda: measure(mlp(2, 2), [(L, Y)], project=False)],  # type: ignore[call-arg]
    "num_classes": [
        lambda: GeometryMetric(2**63, 3),
        lambda: GeometryMetric("a", 3),  # type: ignore[arg-type]
        lambda: mlp(3, 2**63),
        lambda: make_network("mlp", (3,), 1),
    ],
    "class sums (num_classes x feature_dim)": [lambda: GeometryMetric(10**7, 10**7)],
    "kwargs": [lambda: GeometryMetric(3, 3, foo=1)],
    "depth": [lambda: mlp(3, 2, depth=1e300), lambda: make_network("mlp", (3,), 2, depth="a")],  # type: ignore[arg-type]
    "width": [lambda: mlp(3, 2, width=2**63), lambda: resnet18(3, 10, width=1e18)],  # type: ignore[arg-type]
    "mlp (in_features x width, then width x width)": [lambda: mlp(3, 2, depth=100, width=10**5)],
    "resnet18 (2,727 x width^2 and its stem)": [lambda: resnet18(3, 10, width=10**5)],
    "head (num_classes x feature_dim)": [lambda: linear(10**8, 10**8), lambda: with_head(nn.Identity(), 10**6, 10**6)],
    "in_features": [lambda: mlp(2**63, 2), lambda: linear("a", 2)],  # type: ignore[arg-type]
    "features": [lambda: with_head(None, 3, 3)],  # type: ignore[arg-type]
    "input_shape": [
        lambda: make_network("mlp", None, 2),  # type: ignore[arg-type]
        lambda: make_network("mlp", (), 2),
        lambda: make_network("mlp", "abc", 2),  # type: ignore[arg-type]
        lambda: make_network("mlp", (2**40, 2**40), 2),
    ],
    "options": [lambda: check_network("mlp", None)],  # type: ignore[arg-type]
    "network": [lambda: make_network(None, (3,), 2), lambda: check_network(3, {})],  # type: ignore[arg-type]
    "model": [lambda: measure(None, [])],  # type: ignore[arg-type]
    "loader": [
        lambda: measure(mlp(2, 2), None),  # type: ignore[arg-type]
        lambda: measure(mlp(2, 2), 5),  # type: ignore[arg-type]
        lambda: measure(mlp(2, 2), [L]),
    ],
    "head": [lambda: measure(mlp(2, 2), [], head=3), lambda: measure(mlp(2, 2), [], head=[])],  # type: ignore[arg-type]
    "labels": [lambda: measure(mlp(2, 2), [(L, Y + 7)])],
    "parameterizations": [
        lambda: train_ufm([5, 3], None),  # type: ignore[arg-type]
        lambda: train_ufm([5, 3], P),
        lambda: train_ufm([5, 3], ["a"]),  # type: ignore[list-item]
    ],
    "seeds": [lambda: train_ufm([5, 3], [P], seeds=3)],  # type: ignore[arg-type]
    "epochs": [lambda: train_ufm([5, 3], [P], epochs=1e300)],  # type: ignore[arg-type]
    "feature_dim": [lambda: train_ufm([5, 3], [P], feature_dim=2**62), lambda: GeometryMetric(3, 0)],
    "record_epochs": [lambda: train_ufm([5, 3], [P], record_epochs=3, epochs=2)],  # type: ignore[arg-type]
    "on_epoch": [lambda: train_ufm([5, 3], [P], epochs=1, on_epoch=3)],  # type: ignore[arg-type]
    "runs (losses x seeds x samples x (feature_dim + num_classes))": [lambda: train_ufm([2**50, 3], [P], epochs=1)],
    "counts": [
        lambda: train_ufm(None, [P]),  # type: ignore[arg-type]
        lambda: measurement_from_moments(None, None, None),  # type: ignore[arg-type]
        lambda: measurement_from_moments([1.5, 2], np.ones((2, 2)), np.ones(2)),
        lambda: measurement_from_moments([1, -2], np.ones((2, 2)), np.ones(2)),
        lambda: measurement_from_moments([1], np.ones((1, 2)), np.ones(1)),
        lambda: ClassMeans(None, None, None, None),  # type: ignore[arg-type]
        lambda: geometry_summary(ig.simplex_etf(3), None),  # type: ignore[arg-type]
        lambda: geometry_summary(ig.simplex_etf(3), ig.ClassCounts([5, 2])),
        lambda: accuracy_summary([1, 2], [1, 2], None),  # type: ignore[arg-type]
    ],
    "class_sums": [
        lambda: measurement_from_moments([1, 2], "a", [1, 2]),  # type: ignore[arg-type]
        lambda: measurement_from_moments([1, 2], np.ones((3, 2)), np.ones(2)),
    ],
    "class_means": [lambda: ClassMeans(ig.ClassCounts([1, 2]), np.ones((3, 2)), np.ones((3, 2)), np.ones(2))],
    "geometry": [lambda: geometry_summary(None, None)],  # type: ignore[arg-type]
    "hits": [lambda: accuracy_summary("ab", [0, 0], ig.ClassCounts([5, 2]))],
    "seen": [lambda: accuracy_summary([1, 2], [1], ig.ClassCounts([5, 2]))],
    "left": [
        lambda: ig.Gram.from_factors(np.full((2, 2), 1e200)),
        lambda: ig.Gram.from_factors(np.full((2, 2), 1e-300)),
    ],
    "majority": [
        lambda: ig.Gram.from_factors(np.eye(3)).block_summary("abc"),
        lambda: ig.Gram.from_factors(np.eye(3)).block_summary([0.3, 0.0, 1.0]),
    ],
    "factor": [
        lambda: ig.Gram.from_factors(np.eye(3)).scaled("a"),  # type: ignore[arg-type]
        lambda: ig.Gram.from_factors(np.eye(3)).scaled(float("inf")),
        lambda: ig.Gram.from_factors(1e140 * np.eye(3)).scaled(1e100),
        lambda: ig.simplex_etf(3).cross.scaled(NAN),
    ],
    "other": [lambda: ig.Gram.from_factors(np.eye(3)).minus(3)],  # type: ignore[arg-type]
    "diagonal": [lambda: ig.Gram(None, None, None, None), lambda: ig.Gram([NAN], [[1.0]], [[1.0]], [0])],  # type: ignore[arg-type]
    "group": [lambda: ig.Gram([1.0], [[1.0]], [[1.0]], None)],  # type: ignore[arg-type]
    "entries": [lambda: ig.Gram.from_dense(np.full((2, 2), 1e308)).frobenius_norm()],
    "geometry_a": [lambda: ig.compare(1, 2)],  # type: ignore[arg-type]
}


@pytest.mark.parametrize(
    ("argument", "call"),
    [pytest.param(name, call, id=f"{name}-{i}") for name in CASES for i, call in enumerate(CASES[name])],
)
def test_what_is_refused_is_named(argument: str, call: Callable[[], object]) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).startswith(f"{argument} must ")
    assert len(str(caught.value)) < 400


# Extremes that have an answer


def test_vectors_of_zeros_have_norms_but_no_angles() -> None:
    gram = ig.Gram.from_factors(np.zeros((3, 2)))
    assert gram.norms().tolist() == [0, 0, 0]
    assert gram.frobenius_norm() == 0
    summary = gram.block_summary([True, False, False])
    assert np.isnan([summary.norm_ratio, summary.cos_minority, summary.cos_between]).all()


@pytest.mark.parametrize("scale", [1e-140, 1e-30, 1e30, 1e140])
def test_the_unit_of_vectors_changes_no_angle_and_no_distance(scale: float) -> None:
    w, h = np.random.default_rng(0).standard_normal((2, 4, 3))
    plain, scaled = ig.Geometry.from_factors(w, h), ig.Geometry.from_factors(scale * w, h / scale)
    np.testing.assert_allclose(scaled.classifier.norms(), scale * plain.classifier.norms(), rtol=1e-14)
    groups = [0, 0, 1, 1]
    np.testing.assert_allclose(
        scaled.classifier.block_cosines(groups), plain.classifier.block_cosines(groups), rtol=1e-13
    )
    np.testing.assert_allclose(scaled.alignment(), plain.alignment(), rtol=1e-13)
    assert scaled.cross.cosine(0, 3) == pytest.approx(plain.cross.cosine(0, 3), rel=1e-13)
    assert scaled.classifier.frobenius_norm() == pytest.approx(scale**2 * plain.classifier.frobenius_norm(), rel=1e-14)
    for distance in vars(ig.compare(plain, scaled)).values():
        assert distance < 1e-14


@pytest.mark.parametrize("entry", [1e-300, 1e-150, 1e150])
def test_dense_matrices_of_any_size_keep_their_cosines(entry: float) -> None:
    gram = ig.Gram.from_dense(entry * (np.eye(3) + 1))
    assert gram.cosine(0, 1) == pytest.approx(0.5, rel=1e-14)
    assert gram.frobenius_norm() == pytest.approx(entry * np.sqrt(18), rel=1e-14)


def test_a_network_of_dead_units_is_measured_without_angles() -> None:
    model = mlp(2, 2, depth=1, width=3)
    with torch.no_grad():
        for parameter in model.features.parameters():
            parameter.zero_()
    found = measure(model, [(L, Y)])
    assert found.self_duality is not None
    assert np.isnan([found.self_duality, found.cdnv, found.nc1]).all()
    assert found.geometry is not None
    assert found.geometry.embedding.frobenius_norm() == 0


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_scales_of_any_size_project_as_their_ratios_do(scale: float) -> None:
    sums = np.array([[4.0, 2.0], [0.0, 1.0]])
    ratios = np.array([1.0, 0.5])
    w = np.array([[1.0, 0.3], [-1.0, 0.2]])
    plain, scaled = (
        measurement_from_moments(
            [2, 1], sums, np.array([20.0, 1.0]), classifier=w, parameterization=ig.Parameterization(class_scale=vector)
        )
        for vector in (ratios, scale * ratios)
    )
    np.testing.assert_allclose(scaled.embedding, plain.embedding, rtol=1e-14)
