"""Collapse thresholds against gradients formed entry by entry in 50 digits."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np

from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem
from implicit_geometry.theory.collapse import collapse_thresholds
from implicit_geometry.theory.predict import predict
from numerics.row import Row


def collapse_row(cases: int, margins: bool, seed: int = 0) -> Row:
    """Thresholds of groups of equal classes, and the ridge of total collapse.

    With margins a threshold is judged by the optimum there, which is known to a relative gap of 1e-9 and its
    probabilities so to the root of that.
    """
    random, worst = np.random.default_rng(seed), 0.0
    for _ in range(cases):
        size = random.integers(2, 4, size=2)
        kind = np.repeat([0, 1], size)
        counts = np.round(10 ** random.uniform(0.5, 4, 2)).astype(np.int64)[kind]
        scales = 10 ** random.uniform(-0.4, 0.4, (3, 2))
        margin = random.uniform(-1, 1, 2) * margins
        loss = Parameterization(
            weight=scales[0][kind], class_scale=scales[1][kind], label_scale=scales[2][kind], margin=margin[kind]
        )
        found = collapse_thresholds(counts, loss)
        for label in (0, int(size[0])):
            exact = _within_group_gradient(Problem(counts, loss, ridge=float(found.ridge[label])), label, label + 1)
            worst = max(worst, abs(float(found.ridge[label] / exact) - 1))
        worst = max(worst, abs(float(found.total / _norm_at_zero(Problem(counts, loss))) - 1))
    what = f"collapse thresholds, all scales{' and margins' if margins else ''}"
    return Row(what, "gradients, 50 digits", cases, "relative error", worst, 1e-5 if margins else 1e-12)


def _within_group_gradient(problem: Problem, label: int, other: int) -> Any:
    """Weight Delta_y delta_y sqrt(n_y) (1 - p_yy + p_yc) of a class y and its equal c, at the optimum for the ridge."""
    logits = predict(problem).geometry.cross.dense()[:, label]
    with mpmath.workdps(50):
        loss, gradient = problem.parameterization, mpmath.mpf(float(problem.parameterization.weight[label]))
        probability = _probabilities(problem, [mpmath.mpf(float(z)) for z in logits], label)
        gradient *= mpmath.mpf(float(loss.label_scale[label])) * mpmath.mpf(float(loss.class_scale[label]))
        shift = probability[other] - probability[label] if loss.margin.any() else 0  # equal at collapse without margins
        return gradient * mpmath.sqrt(int(problem.counts.values[label])) * (1 + shift)


def _norm_at_zero(problem: Problem) -> Any:
    """Largest singular value of the loss's gradient by X at X = 0."""
    with mpmath.workdps(50):
        k, loss = problem.num_classes, problem.parameterization
        gradient = mpmath.matrix(k, k)
        for y in range(k):
            probability = _probabilities(problem, [mpmath.mpf(0)] * k, y)
            for c in range(k):
                gradient[c, y] = (
                    mpmath.sqrt(int(problem.counts.values[y]))
                    * mpmath.mpf(float(loss.weight[y]))
                    * mpmath.mpf(float(loss.label_scale[y]))
                    * mpmath.mpf(float(loss.class_scale[c]))
                    * (probability[c] - (c == y))
                )
        return max(mpmath.svd_r(gradient, compute_uv=False))


def _probabilities(problem: Problem, logits: list[Any], label: int) -> list[Any]:
    loss = problem.parameterization
    adjusted = [
        mpmath.mpf(float(loss.label_scale[label])) * mpmath.mpf(float(loss.class_scale[c])) * z
        + mpmath.mpf(float(loss.shift[c]))
        - mpmath.mpf(float(loss.margin[label])) * (c == label)
        for c, z in enumerate(logits)
    ]
    total = sum(mpmath.exp(u) for u in adjusted)
    return [mpmath.exp(u) / total for u in adjusted]
