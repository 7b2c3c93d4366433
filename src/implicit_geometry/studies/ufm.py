"""The paper's experiments on the unconstrained-features model, as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from implicit_geometry.comparison import gram_distance
from implicit_geometry.counts import ClassCounts
from implicit_geometry.frames import Frame
from implicit_geometry.measurement import OnePass, measurement_from_moments
from implicit_geometry.nn.ufm import UFMHistory, train_ufm
from implicit_geometry.problem import Problem
from implicit_geometry.studies.curves import rule_at
from implicit_geometry.studies.figure_plans import UFM_EPOCHS, Loss
from implicit_geometry.summary import framed_summary
from implicit_geometry.theory.effective_ridge import effective_ridge
from implicit_geometry.theory.measured_frame import in_both_frames
from implicit_geometry.theory.predict import predict


def train_study(
    counts: ClassCounts,
    losses: Sequence[Loss],
    *,
    epochs: int = UFM_EPOCHS,
    ridge: float = 0.0,
    seeds: Sequence[int] = (0,),
    on_epoch: Callable[[int], object] | None = None,
) -> UFMHistory:
    """Train all losses of a study as one program, in the paper's set-up (scales that sum to k)."""
    parameterizations = [rule_at(loss.rule, counts, loss.exponent) for loss in losses]
    return train_ufm(counts, parameterizations, epochs=epochs, ridge=ridge, seeds=seeds, on_epoch=on_epoch)


def study_records(history: UFMHistory, losses: Sequence[Loss], *, every_epoch: bool = False) -> pd.DataFrame:
    """One row per loss and seed (and recorded epoch, where asked): numbers in both frames, distances, accuracies.

    The effective ridge is fitted at the last epoch only.
    """
    rows = []
    for p, loss in enumerate(losses):
        problem = Problem(history.counts, history.parameterizations[p], label_smoothing=history.label_smoothing)
        limit = in_both_frames(predict(problem)).blocks()
        for s, seed in enumerate(history.seeds):
            records = range(len(history.epochs)) if every_epoch else [len(history.epochs) - 1]
            for t in records:
                framed = measured(history, p, s, t).in_both_frames(problem.parameterization.label_scale)
                row = {
                    "model": "ufm",
                    "rule": loss.rule,
                    "exponent": loss.exponent,
                    "imbalance_ratio": history.counts.imbalance_ratio,
                    "seed": seed,
                    "epoch": int(history.epochs[t]),
                    **framed_summary(framed, history.counts),
                    **{
                        f"{name}_limit_distance": gram_distance(gram, limit[name])
                        for name, gram in framed.blocks().items()
                    },
                    **_accuracies(history, p, s, t),
                    "terminal_phase": bool(history.accuracy[p, s, t] == 1.0),
                }
                if not every_epoch:
                    row["effective_ridge"] = effective_ridge(framed.geometry, problem).ridge
                rows.append(row)
    return pd.DataFrame(rows)


def measured(history: UFMHistory, parameterization: int, seed: int, record: int, frame: Frame = "projected") -> OnePass:
    """A run as a network is measured in a frame."""
    means = history.embedding[parameterization, seed, record]
    counts = history.counts.values
    found: OnePass = measurement_from_moments(
        counts,
        means * counts[:, None],
        counts * np.einsum("ij,ij->i", means, means),
        classifier=history.classifier[parameterization, seed, record],
        parameterization=history.parameterizations[parameterization],
        frame=frame,
    )
    return found


def _accuracies(history: UFMHistory, p: int, s: int, t: int) -> dict[str, float]:
    by_class = history.class_accuracy[p, s, t]
    majority = history.counts.majority
    return {
        "train_balanced": float(by_class.mean()),
        "train_majority": float(by_class[majority].mean()),
        "train_minority": float(by_class[~majority].mean()),
    }
