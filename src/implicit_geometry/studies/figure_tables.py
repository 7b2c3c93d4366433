"""Runs and theory as the tables that the paper's figures are drawn from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from implicit_geometry._files import write_atomically
from implicit_geometry._validate import Floats, InputError
from implicit_geometry.counts import ClassCounts
from implicit_geometry.data.load import Source
from implicit_geometry.experiments.record_columns import records_frame
from implicit_geometry.experiments.run import require_frame
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.spec_texts import exponent
from implicit_geometry.experiments.store import RunStore
from implicit_geometry.frames import Frame
from implicit_geometry.geometry import Geometry
from implicit_geometry.problem import Problem
from implicit_geometry.studies.curves import rule_at, theory_curves
from implicit_geometry.studies.figure_plans import Loss
from implicit_geometry.summary import CENTRED
from implicit_geometry.theory.predict import predict


def network_records(store: RunStore, specs: Iterable[RunSpec], frame: Frame = "projected") -> pd.DataFrame:
    """One row per run, with the columns of :func:`implicit_geometry.studies.ufm.study_records`.

    Raises:
        InputError: an earlier version trained a run, which has no numbers in this frame; likewise below.
    """
    runs = store.load_all(specs)
    for run in runs:
        require_frame(frame, run.record, f"{CENTRED}_norm_ratio", run.spec.key)
    ratios = [run.spec.class_counts().imbalance_ratio for run in runs]
    return records_frame(runs).assign(model=[run.spec.network.name for run in runs], imbalance_ratio=ratios)


def network_histories(store: RunStore, specs: Iterable[RunSpec], frame: Frame = "projected") -> pd.DataFrame:
    """One row per recorded epoch of a run."""
    histories = [(spec, store.history(spec)) for spec in specs]
    for spec, history in histories:
        require_frame(frame, history, f"{CENTRED}_limit_distance", spec.key)
    parts = [
        history.assign(
            model=spec.network.name,
            rule=spec.rule,
            exponent=exponent(spec),
            imbalance_ratio=spec.class_counts().imbalance_ratio,
            seed=spec.seed,
            data=spec.data.name,
        )
        for spec, history in histories
    ]
    return pd.concat(parts, ignore_index=True)


def network_geometries(store: RunStore, specs: Iterable[RunSpec], frame: Frame = "projected") -> dict[Loss, Geometry]:
    """The measured geometry of every loss; of several seeds the first."""
    found: dict[Loss, Geometry] = {}
    for run in store.load_all(specs):
        geometry = Geometry.from_factors(run.arrays["classifier"], run.embedding(frame))
        found.setdefault(Loss(run.spec.rule, exponent(run.spec)), geometry)
    return found


def fitted_curves(
    counts: ClassCounts, rules: Sequence[str], records: pd.DataFrame, exponents: Iterable[float], *, ridge: float = 0.0
) -> pd.DataFrame:
    """Theory for the runs of one model: limits, also of features behind a ReLU, and the optimum at one ridge per rule.

    Kinds are ``"limit"``, ``"relu"`` and ``"ridge"``.

    Args:
        counts: that the runs were trained with.
        rules: to draw.
        records: the runs; columns ``rule`` and ``effective_ridge``.
        exponents: of the lines.
        ridge: that the runs were trained with; where it is 0, the median of those that fit a rule's runs.
    """
    fitted = records.groupby("rule")["effective_ridge"].median().to_dict()
    ridges = {rule: ridge or fitted[rule] for rule in rules if rule in fitted}
    grid = list(exponents)
    behind_relu = theory_curves(counts, rules, grid, features="nonnegative").assign(kind="relu")
    return pd.concat([theory_curves(counts, rules, grid, ridges=ridges), behind_relu], ignore_index=True)


def plane_vectors(geometry: Geometry) -> tuple[Floats, Floats]:
    """Classifiers and class-mean embeddings of three classes as vectors of a plane, each of unit Frobenius norm.

    Args:
        geometry: of three classes. Where its vectors do not lie in a plane, the nearest one is taken.

    Returns:
        W and H, shape (3, 2) each, up to a rotation or reflection of both.

    Raises:
        InputError: another number of classes.

    Example:
        >>> from implicit_geometry.geometry import simplex_etf
        >>> w, h = plane_vectors(simplex_etf(3))
        >>> bool(np.allclose(w, h)), bool(np.allclose(w @ w.T, np.eye(3) / 2 - 1 / 6))
        (True, True)
    """
    if geometry.num_classes != 3:
        raise InputError("geometry", "must have 3 classes", geometry.num_classes)
    blocks = [gram.dense() for gram in (geometry.classifier, geometry.cross, geometry.embedding)]
    classifier, cross, embedding = blocks
    scale = np.repeat(1 / np.sqrt([np.trace(classifier), np.trace(embedding)]), 3)
    joint = np.block([[classifier, cross], [cross.T, embedding]]) * np.outer(scale, scale)
    values, vectors = np.linalg.eigh(joint)
    points = vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 0.0))
    points /= np.repeat([np.linalg.norm(points[:3]), np.linalg.norm(points[3:])], 3)[:, None]
    return points[:3], points[3:]


def vector_table(measured: dict[tuple[str, Loss], Geometry], counts: ClassCounts) -> pd.DataFrame:
    """The vectors of Fig. 2: predicted, and measured ones turned to lie on the predicted.

    Args:
        measured: geometry of every model (a name other than ``"theory"``) and loss.
        counts: of the three classes.

    Returns:
        One row per vector: ``model``, ``rule``, ``exponent``, ``factor`` (``"classifier"`` or ``"embedding"``),
        ``class``, ``count``, ``x``, ``y``.
    """
    rows: list[dict[str, Any]] = []
    for loss in dict.fromkeys(loss for _, loss in measured):
        parameters = rule_at(loss.rule, counts, loss.exponent)
        predicted = np.concatenate(plane_vectors(predict(Problem(counts, parameters)).geometry))
        predicted = predicted @ _turn(predicted[:1], np.array([[0.0, 1.0]]))
        found = {"theory": predicted}
        for (model, its_loss), geometry in measured.items():
            if its_loss == loss:
                points = np.concatenate(plane_vectors(geometry))
                found[model] = points @ _turn(points, predicted)
        for model, points in found.items():
            base = {"model": model, "rule": loss.rule, "exponent": loss.exponent}
            for position, (x, y) in enumerate(points):
                factor, c = ("classifier", "embedding")[position // 3], position % 3
                rows.append({**base, "factor": factor, "class": c, "count": counts.values[c], "x": x, "y": y})
    return pd.DataFrame(rows)


def write_three_classes(source: Source, path: Path) -> None:
    """Write the first three classes of an image data set as a feature file of pixels, for networks of three classes."""
    if not isinstance(source.train, np.ndarray):
        raise InputError("data", "must be held as arrays", f"{source.name}, which is files of images")
    mean, std = source.pixel_statistics
    kept = source.train_labels < 3
    pixels = ((source.train[kept] - mean) / std).astype(np.float32).reshape(int(kept.sum()), -1)
    write_atomically(path, lambda part: np.savez(part, embeddings=pixels, labels=source.train_labels[kept]))


def _turn(points: Floats, target: Floats) -> Floats:
    """The rotation or reflection that brings points nearest to a target."""
    left, _, right = np.linalg.svd(points.T @ target)
    return np.asarray(left @ right)
