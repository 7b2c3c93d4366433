"""Runs that never happened: the theory's vectors plus seeded noise, with every column and file that a report reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from implicit_geometry.comparison import split_distance
from implicit_geometry.experiments.record_columns import SPLIT_TARGETS
from implicit_geometry.experiments.run import TrainedRun
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.frames import FramedGeometry
from implicit_geometry.geometry import Geometry, simplex_etf
from implicit_geometry.groups import gather
from implicit_geometry.measurement import OnePass
from implicit_geometry.problem import Problem
from implicit_geometry.summary import framed_summary
from implicit_geometry.theory.measured_frame import in_both_frames
from implicit_geometry.theory.predict import predict

RIDGE = 0.5
EPOCHS = (1, 5, 10, 20)


def of_an_earlier_version(run: TrainedRun) -> TrainedRun:
    """The run as a version wrote it that knew one frame, and no parts of distances."""

    def known(row: dict[str, Any]) -> dict[str, Any]:
        new = ("centred_", "_systematic", "_heterogeneity")
        return {name: value for name, value in row.items() if not any(text in name for text in new)}

    arrays = {name: array for name, array in run.arrays.items() if name != "class_means"}
    return replace(run, record=known(run.record), arrays=arrays, history=[known(row) for row in run.history])


def made_up_run(spec: RunSpec, *, terminal_phase: bool = True, accuracy: float = 0.8, bias: bool = False) -> TrainedRun:
    """A finished run of a spec; its noise depends on the spec alone."""
    noise = np.random.default_rng(int(spec.key, 16))
    decayed = bias and spec.optimization.weight_decay > 0
    problem = Problem(
        spec.class_counts(),
        spec.parameterization(),
        bias=bias,
        bias_ridge=float(decayed),
        label_smoothing=spec.label_smoothing,
    )
    limit = in_both_frames(predict(problem))
    optimum = in_both_frames(predict(replace(problem, ridge=RIDGE, bias_ridge=RIDGE * decayed)))
    classifier, embedding = _vectors(optimum.geometry, noise)
    means = embedding + noise.normal(size=embedding.shape[1])
    bias_vector = noise.normal(size=len(spec.counts)) if bias else None
    measured = OnePass(problem.counts, means, embedding, np.ones(len(means)), classifier, bias_vector)
    framed = measured.in_both_frames(problem.parameterization.label_scale)
    etf = simplex_etf(problem.num_classes)
    theory = {"limit": limit, "ridge": optimum, "etf": FramedGeometry(etf, etf.embedding)}
    numbers = {
        **framed_summary(framed, problem.counts),
        **_distances(framed, theory, problem),
        "effective_ridge": RIDGE,
    }
    record = {
        "run": spec.key,
        "rule": spec.rule,
        "bias": bias,
        **_accuracies("train", 1.0 if terminal_phase else 0.9),
        **_accuracies("test", accuracy),
        "terminal_phase": terminal_phase,
        **numbers,
        "nc1": 0.01,
        "cdnv": 0.02,
        "self_duality": 0.98,
        "seconds": 4.5,
        "versions": {"python": "3.12", "torch": "2.8"},
    }
    history = [{"epoch": epoch, **numbers, "cdnv": 1 / epoch, **_accuracies("test", accuracy)} for epoch in EPOCHS]
    arrays = {"classifier": classifier, "embedding": embedding, "class_means": means}
    if bias_vector is not None:
        arrays["bias"] = bias_vector
    return TrainedRun(spec, record, arrays, history=history)


def _distances(framed: FramedGeometry, theory: dict[str, FramedGeometry], problem: Problem) -> dict[str, float]:
    """Distances to every target with their parts, as records have them."""
    groups, found = gather(problem), {}
    for name, target in theory.items():
        for block, gram in framed.blocks().items():
            whole, systematic, heterogeneity = split_distance(gram, target.blocks()[block], groups.group)
            found[f"{block}_{name}_distance"] = whole
            if name in SPLIT_TARGETS and not groups.all_differ:
                found |= {f"{block}_{name}_systematic": systematic, f"{block}_heterogeneity": heterogeneity}
    return found


def _vectors(geometry: Geometry, noise: np.random.Generator) -> tuple[Any, Any]:
    """Classifiers and embeddings with the inner products of a geometry, and a little noise."""
    k = geometry.num_classes
    cross = geometry.cross.dense()
    values, vectors = np.linalg.eigh(
        np.block([[geometry.classifier.dense(), cross], [cross.T, geometry.embedding.dense()]])
    )
    rows = vectors * np.sqrt(np.clip(values, 0.0, None))
    rows = rows + 0.02 * np.abs(rows).max() * noise.normal(size=rows.shape)
    return rows[:k], rows[k:]


def _accuracies(part: str, value: float) -> dict[str, float]:
    groups = ("overall", "balanced", "majority", "minority", "worst")
    return {f"{part}_{group}": value for group in groups}
