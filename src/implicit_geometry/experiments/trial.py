"""From a spec to a finished run: data, network, loss, training, measurement, comparison with theory."""

from __future__ import annotations

import platform
import time
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from implicit_geometry._validate import Ints
from implicit_geometry._version import __version__
from implicit_geometry.comparison import compare
from implicit_geometry.counts import ClassCounts
from implicit_geometry.data.digits import load_digits
from implicit_geometry.experiments.spec import TrialSpec
from implicit_geometry.experiments.store import Run
from implicit_geometry.experiments.training import batches, build, fit
from implicit_geometry.geometry import Geometry, simplex_etf
from implicit_geometry.nn.losses import VSLoss
from implicit_geometry.nn.measure import measure
from implicit_geometry.nn.models import mlp
from implicit_geometry.problem import Problem
from implicit_geometry.summary import geometry_summary
from implicit_geometry.theory.effective import effective_ridge
from implicit_geometry.theory.predict import predict

_PACKAGES = ("numpy", "scipy", "torch", "lightning", "scikit-learn")


def run_trial(spec: TrialSpec) -> Run:
    """Train, measure and compare one spec on the CPU.

    Raises:
        InputError: the data set is too small for the counts, or training diverged.
    """
    started = time.perf_counter()
    counts, parameterization = spec.class_counts(), spec.parameterization()
    data = load_digits(counts, test_per_class=spec.test_per_class, seed=spec.seed)
    model = build(
        lambda: mlp(data.train_inputs.shape[1], counts.num_classes, depth=spec.depth, width=spec.width), spec.seed
    )
    size = spec.optimization.batch_size
    loader = batches(data.train_inputs, data.train_labels, size, shuffle=True)
    fit(model, VSLoss(parameterization), loader, spec.optimization, seed=spec.seed, accelerator="cpu")

    measured = measure(
        model,
        batches(data.train_inputs, data.train_labels, size),
        class_scale=parameterization.class_scale,
        label_scale=parameterization.label_scale,
    )
    geometry = measured.geometry
    assert geometry is not None  # the head of an MLP always gives a classifier
    problem = Problem(counts, parameterization)
    limit = predict(problem).geometry
    fitted = effective_ridge(geometry, problem)
    train = accuracies(_predictions(model, data.train_inputs), data.train_labels, counts)
    test = accuracies(_predictions(model, data.test_inputs), data.test_labels, counts)
    record = {
        "run": spec.key,
        "rule": spec.rule,
        **{f"train_{name}": value for name, value in train.items()},
        **{f"test_{name}": value for name, value in test.items()},
        "terminal_phase": train["overall"] == 1.0,
        **geometry_summary(geometry, counts),
        **_distances("limit", geometry, limit),
        **_distances("etf", geometry, simplex_etf(counts.num_classes)),
        "effective_ridge": fitted.ridge,
        "classifier_ridge_distance": fitted.comparison.classifier,
        "embedding_ridge_distance": fitted.comparison.embedding,
        "cross_ridge_distance": fitted.comparison.cross,
        "nc1": measured.nc1,
        "cdnv": measured.cdnv,
        "self_duality": measured.self_duality,
        "seconds": time.perf_counter() - started,
        "versions": _versions(),
    }
    arrays = {
        "classifier": np.asarray(measured.classifier, dtype=np.float64),
        "embedding": np.asarray(measured.embedding, dtype=np.float64),
    }
    return Run(spec, record, arrays)


def accuracies(predictions: Ints, labels: Ints, counts: ClassCounts) -> dict[str, float]:
    """Overall, balanced, majority, minority and worst-class accuracy.

    Args:
        predictions: class indices, shape (n,).
        labels: true classes, every class at least once, shape (n,).
        counts: training samples a class, which say what a majority is.

    Returns:
        Fractions; ``minority`` is NaN where the counts are balanced.

    Example:
        >>> accuracies(np.array([0, 0, 1]), np.array([0, 1, 1]), ClassCounts([9, 1]))["balanced"]
        0.75
    """
    from sklearn.metrics import recall_score

    classes = np.arange(counts.num_classes)
    recall = recall_score(labels, predictions, labels=classes, average=None, zero_division=np.nan)
    majority = counts.majority
    return {
        "overall": float(np.mean(predictions == labels)),
        "balanced": float(recall.mean()),
        "majority": float(recall[majority].mean()),
        "minority": float(recall[~majority].mean()) if not majority.all() else float("nan"),
        "worst": float(recall.min()),
    }


def _distances(target: str, measured: Geometry, predicted: Geometry) -> dict[str, float]:
    return {f"{block}_{target}_distance": value for block, value in asdict(compare(measured, predicted)).items()}


def _predictions(model: torch.nn.Module, inputs: NDArray[np.float32]) -> Ints:
    model.eval()
    with torch.no_grad():
        chosen: Ints = model(torch.from_numpy(inputs)).argmax(dim=1).numpy()
    return chosen


def _versions() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "implicit-geometry": __version__,
        **{name: version(name) for name in _PACKAGES},
    }
