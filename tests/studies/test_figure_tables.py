"""Runs as the tables that figures read, from a store filled by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from implicit_geometry._validate import InputError
from implicit_geometry.counts import ClassCounts
from implicit_geometry.data.load import load_source
from implicit_geometry.experiments.run import TrainedRun
from implicit_geometry.experiments.spec_texts import exponent
from implicit_geometry.experiments.store import RunStore, open_store
from implicit_geometry.geometry import Geometry
from implicit_geometry.gram import Gram
from implicit_geometry.problem import Problem
from implicit_geometry.rules import cdt, ldt
from implicit_geometry.studies.curves import theory_curves
from implicit_geometry.studies.figure_plans import Loss, network_specs
from implicit_geometry.studies.figure_tables import (
    fitted_curves,
    network_geometries,
    network_histories,
    network_records,
    plane_vectors,
    vector_table,
    write_three_classes,
)
from implicit_geometry.theory.predict import predict

COUNTS = ClassCounts([50, 5, 5])


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """The first three runs of Fig. 3; their norm ratio is their position."""
    store = open_store(tmp_path)
    for position, spec in enumerate(network_specs("fig3", "mlp")[:3]):
        record = {"rule": spec.rule, "data": "digits", "classifier_norm_ratio": position, "versions": {}}
        rows = [{"epoch": epoch, "train_balanced": epoch / 20} for epoch in (10, 20)]
        store.save(TrainedRun(spec, record, {"classifier": np.zeros((10, 2))}, history=rows))
    return store


def test_records_have_one_row_per_run(store: RunStore) -> None:
    records = network_records(store, network_specs("fig3", "mlp")[:3])
    expected = [("mlp", "ce", 0.0, 10, 0), ("mlp", "cdt", -1.5, 10, 1), ("mlp", "cdt", -1.0, 10, 2)]
    columns = ["model", "rule", "exponent", "imbalance_ratio", "classifier_norm_ratio"]
    assert [tuple(row) for row in records[columns].to_numpy().tolist()] == expected


def test_histories_have_one_row_per_epoch(store: RunStore) -> None:
    rows = network_histories(store, network_specs("fig5", "mlp")[:3])
    assert rows[["rule", "exponent", "epoch", "train_balanced"]].values.tolist() == [
        [rule, exponent, epoch, epoch / 20]
        for rule, exponent in (("ce", 0.0), ("cdt", -1.5), ("cdt", -1.0))
        for epoch in (10, 20)
    ]


def test_geometries_are_those_of_the_first_seed(tmp_path: Path) -> None:
    store, specs = open_store(tmp_path), network_specs("fig2", "mlp", seeds=(0, 1))
    for position, spec in enumerate(specs):
        store.save(TrainedRun(spec, {}, {"classifier": np.eye(3) * (position + 1), "embedding": np.ones((3, 3))}))
    found = network_geometries(store, specs)
    assert list(found) == [Loss("ce", 0.0), Loss("ldt", 0.5), Loss("cdt", 0.5)]
    assert [geometry.classifier.entry(0, 0) for geometry in found.values()] == [1, 9, 25]


def test_embeddings_are_in_the_frame_asked_for(tmp_path: Path) -> None:
    store, specs = open_store(tmp_path), network_specs("fig2", "mlp")
    means = np.arange(9.0).reshape(3, 3) ** 2
    for spec in specs:
        store.save(TrainedRun(spec, {}, {"classifier": np.eye(3), "embedding": np.eye(3), "class_means": means}))
    found = network_geometries(store, specs, "centred")
    for spec in specs:
        scales = spec.parameterization().label_scale
        centred = means - scales @ means / scales.sum()
        geometry = found[Loss(spec.rule, exponent(spec))]
        np.testing.assert_allclose(geometry.embedding.dense(), centred @ centred.T, rtol=1e-12)
    assert network_geometries(store, specs)[Loss("ce", 0.0)].embedding == Gram.from_factors(np.eye(3))


def test_runs_of_an_earlier_version_are_not_drawn_in_the_papers_frame(store: RunStore, tmp_path: Path) -> None:
    specs = network_specs("fig3", "mlp")[:3]
    vectors = open_store(tmp_path / "vectors")
    vectors.save(TrainedRun(specs[0], {}, {"classifier": np.eye(10), "embedding": np.eye(10)}))
    for draw in (
        lambda: network_records(store, specs, "centred"),
        lambda: network_histories(store, specs, "centred"),
        lambda: network_geometries(vectors, specs[:1], "centred"),
    ):
        with pytest.raises(InputError, match="frame must be 'projected' for runs of earlier versions"):
            draw()


def test_the_fitted_line_is_at_the_median_ridge_of_a_rule() -> None:
    counts = ClassCounts.step(num_classes=4, imbalance_ratio=10, max_count=50)
    runs = pd.DataFrame({"rule": ["cdt", "cdt", "cdt", "ldt"], "effective_ridge": [1e-3, 2e-2, 0.3, 0.1]})
    curves = fitted_curves(counts, ["cdt", "ldt"], runs, [0.0, 0.5])
    expected = theory_curves(counts, ["cdt", "ldt"], [0.0, 0.5], ridges={"cdt": 2e-2, "ldt": 0.1})
    pd.testing.assert_frame_equal(without_relu(curves), expected)
    at_known = fitted_curves(counts, ["cdt"], runs, [0.5], ridge=0.05)
    pd.testing.assert_frame_equal(without_relu(at_known), theory_curves(counts, ["cdt"], [0.5], ridges={"cdt": 0.05}))


def test_the_line_behind_a_relu_is_the_centred_orthogonal_frame() -> None:
    """By hand: h_y orthogonal with |h_y|^2 = sqrt(1 - v_y^2) / (delta_y sqrt(n_y)), less their mean (CDT)."""
    counts = ClassCounts.step(num_classes=4, imbalance_ratio=10, max_count=50)
    runs = pd.DataFrame({"rule": ["cdt"], "effective_ridge": [0.1]})
    curves = fitted_curves(counts, ["cdt"], runs, [1.0])
    (row,) = curves[curves["kind"] == "relu"].to_dict("records")
    scale = np.array([10.0, 10.0, 1.0, 1.0])
    v = (1 / scale) / np.linalg.norm(1 / scale)
    means = np.diag(np.sqrt(np.sqrt(1 - v**2) / (scale * np.sqrt(counts.values))))
    means -= means.mean(axis=0)
    gram = means @ means.T
    assert row["centred_embedding_norm_ratio"] == pytest.approx(gram[0, 0] / gram[3, 3], rel=1e-9)
    assert row["centred_embedding_cos_majority"] == pytest.approx(gram[0, 1] / gram[0, 0], rel=1e-9)
    assert row["centred_embedding_cos_minority"] == pytest.approx(gram[2, 3] / gram[3, 3], rel=1e-9)


def without_relu(curves: pd.DataFrame) -> pd.DataFrame:
    return curves[curves["kind"] != "relu"].reset_index(drop=True)


def test_vectors_of_the_plane_have_the_inner_products_of_the_theory() -> None:
    geometry = predict(Problem(COUNTS, cdt(COUNTS, gamma=0.5))).geometry
    w, h = plane_vectors(geometry)
    blocks = [gram.dense() for gram in (geometry.classifier, geometry.embedding, geometry.cross)]
    tr_w, tr_h = np.trace(blocks[0]), np.trace(blocks[1])
    np.testing.assert_allclose(w @ w.T, blocks[0] / tr_w, atol=1e-12)
    np.testing.assert_allclose(h @ h.T, blocks[1] / tr_h, atol=1e-12)
    np.testing.assert_allclose(w @ h.T, blocks[2] / np.sqrt(tr_w * tr_h), atol=1e-12)


def test_only_three_classes_lie_in_a_plane() -> None:
    geometry = predict(Problem([50, 50, 5, 5])).geometry
    with pytest.raises(InputError, match="3 classes, got 4"):
        plane_vectors(geometry)


def test_a_turned_mirrored_and_scaled_copy_lies_on_the_prediction() -> None:
    angle, loss = 2.1, Loss("ldt", 0.5)
    mirror = np.array([[np.cos(angle), np.sin(angle)], [np.sin(angle), -np.cos(angle)]])
    w, h = plane_vectors(predict(Problem(COUNTS, ldt(COUNTS, gamma=0.5))).geometry)
    table = vector_table({("mlp", loss): Geometry.from_factors(3 * w @ mirror, 7 * h @ mirror)}, COUNTS)
    points = {model: table.loc[table["model"] == model, ["x", "y"]].to_numpy() for model in ("theory", "mlp")}
    np.testing.assert_allclose(points["mlp"], points["theory"], atol=1e-12)
    first = table.iloc[0]
    assert (first["factor"], first["count"]) == ("classifier", 50)
    assert first["x"] == pytest.approx(0, abs=1e-12)
    assert first["y"] == pytest.approx(1 / np.sqrt(3))  # LDT at 1/2 gives a simplex ETF


def test_three_classes_of_the_digits_keep_their_pixels(tmp_path: Path) -> None:
    digits = load_source("digits")
    write_three_classes(digits, tmp_path / "digits-3.npz")
    features = load_source(f"features:{tmp_path / 'digits-3.npz'}")
    assert (features.num_classes, features.input_shape) == (3, (64,))
    kept = digits.train_labels < 3
    np.testing.assert_array_equal(features.train_labels, digits.train_labels[kept])
    flat = digits.train[kept].reshape(-1, 64)
    np.testing.assert_allclose(features.train, (flat - digits.train.mean()) / digits.train.std(), rtol=1e-5)
