"""Runs that never happened: the theory's vectors plus seeded noise, with every column and file that a report reads."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from implicit_geometry.comparison import compare
from implicit_geometry.experiments.run import TrainedRun
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.geometry import Geometry, simplex_etf
from implicit_geometry.problem import Problem
from implicit_geometry.summary import geometry_summary
from implicit_geometry.theory.measured_frame import in_measured_frame
from implicit_geometry.theory.predict import predict

RIDGE = 0.5
EPOCHS = (1, 5, 10, 20)


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
    limit = in_measured_frame(predict(problem))
    optimum = in_measured_frame(predict(replace(problem, ridge=RIDGE, bias_ridge=RIDGE * decayed)))
    classifier, embedding = _vectors(optimum, noise)
    geometry = Geometry.from_factors(classifier, embedding)
    theory = {"limit": limit, "ridge": optimum, "etf": simplex_etf(problem.counts.num_classes)}
    distances = {
        f"{block}_{name}_distance": value
        for name, target in theory.items()
        for block, value in asdict(compare(geometry, target)).items()
    }
    numbers = {**geometry_summary(geometry, problem.counts), **distances, "effective_ridge": RIDGE}
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
    arrays = {"classifier": classifier, "embedding": embedding}
    if bias:
        arrays["bias"] = noise.normal(size=len(spec.counts))
    return TrainedRun(spec, record, arrays, history=history)


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
