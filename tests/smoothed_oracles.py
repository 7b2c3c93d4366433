"""Independent answers for soft labels: dense logits of the limit, and torch's own loss minimised by L-BFGS."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import minimize

from implicit_geometry.problem import Problem

Floats = NDArray[np.float64]


def dense_logits(problem: Problem) -> Floats:
    """X* = P [M S - (iota / delta) (sqrt(n) / Delta)^T] P_r, formed entry by entry from theory.

    With a label distribution of its own for every class, the log-odds of the labels stand for M.
    """
    loss, n, k = problem.parameterization, problem.counts.values, problem.num_classes
    if problem.label_distribution is not None:
        return _dense_logits_of_distributions(problem)
    eps = problem.label_smoothing
    odds = np.log((1 - eps + eps / k) / (eps / k)) + loss.margin
    shift = loss.shift - np.log(loss.weight)
    logits = np.diag(odds * np.sqrt(n) / loss.class_scale / loss.label_scale)
    logits -= np.outer(shift / loss.class_scale, np.sqrt(n) / loss.label_scale)
    logits = _null_projection(1 / loss.class_scale) @ logits
    return np.asarray(logits @ _null_projection(np.sqrt(n)) if problem.free_bias else logits)


def _dense_logits_of_distributions(problem: Problem) -> Floats:
    loss, n, k = problem.parameterization, problem.counts.values, problem.num_classes
    logits = np.zeros((k, k))
    for y, labels in enumerate(_labels(problem)):
        for c in range(k):
            odds = np.log(labels[y] * loss.weight[y]) - np.log(labels[c] * loss.weight[c]) if c != y else 0.0
            lead = odds + (loss.margin[y] + loss.shift[c] - loss.shift[y] if c != y else 0.0)
            logits[c, y] = -lead * np.sqrt(n[y]) / (loss.class_scale[c] * loss.label_scale[y])
    logits = _null_projection(1 / loss.class_scale) @ logits
    return np.asarray(logits @ _null_projection(np.sqrt(n)) if problem.free_bias else logits)


def _null_projection(vector: Floats) -> Floats:
    return np.asarray(np.eye(vector.size) - np.outer(vector, vector) / (vector @ vector))


def _labels(problem: Problem) -> Floats:
    """The distribution of the labels of each class, row by row."""
    k, eps = problem.num_classes, problem.label_smoothing
    given = problem.label_distribution
    return np.array(eps / k + (1 - eps) * np.eye(k) if given is None else given)


def label_entropy(problem: Problem) -> float:
    """The smallest loss that any logits have: the weighted entropy of the labels, summed over all samples."""
    weight = problem.parameterization.weight
    total = 0.0
    for labels, count in zip(_labels(problem), problem.counts.values, strict=True):
        target = weight * labels
        share = target / target.sum()
        total += count * target.sum() * float(-(share * np.log(share)).sum())
    return total


def smoothed_loss(problem: Problem, logits: torch.Tensor) -> torch.Tensor:
    """The sum of torch's losses of all samples, from one row of logits per class."""
    loss = problem.parameterization
    weight, shift, scale, label_scale, margin = (
        torch.tensor(np.array(getattr(loss, name)))
        for name in ("weight", "shift", "class_scale", "label_scale", "margin")
    )
    adjusted = label_scale[:, None] * logits * scale + shift - torch.diag(margin)
    labels, smoothing = torch.arange(problem.num_classes), problem.label_smoothing
    if problem.label_distribution is not None:
        labels = torch.tensor(_labels(problem))
    each = F.cross_entropy(adjusted, labels, weight=weight, label_smoothing=smoothing, reduction="none")
    return (each * torch.tensor(np.array(problem.counts.values, dtype=np.float64))).sum()


class Minimum(NamedTuple):
    """The smallest objective found (entropy of the labels taken off) and W W^T, H H^T, W H^T there."""

    objective: float
    classifier: Floats
    embedding: Floats
    cross: Floats


def minimise_smoothed(problem: Problem, *, starts: int = 3) -> Minimum:
    """min over W, H, b of loss + ridge / 2 (|W|^2 + sum_y n_y |h_y|^2) + bias_ridge / 2 |b|^2, from random starts."""
    k = problem.num_classes
    root = torch.tensor(np.sqrt(np.array(problem.counts.values, dtype=np.float64)))

    def parts(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        w, h, b = x[: k * k].reshape(k, k), x[k * k : 2 * k * k].reshape(k, k), x[2 * k * k :]
        return w, h / root[:, None], b * problem.bias

    def objective(x: Floats) -> tuple[float, Floats]:
        point = torch.tensor(x, requires_grad=True)
        w, h, b = parts(point)
        value = smoothed_loss(problem, h @ w.T + b) + problem.ridge / 2 * (point[: 2 * k * k] ** 2).sum()
        value = value + problem.bias_ridge / 2 * (b**2).sum()
        (gradient,) = torch.autograd.grad(value, point)
        return value.item(), gradient.numpy()

    options = {"maxiter": 20_000, "maxfun": 100_000, "ftol": 1e-16, "gtol": 1e-11, "maxcor": 50}
    found = [
        minimize(
            objective,
            np.random.default_rng(seed).normal(size=2 * k * k + k),
            jac=True,
            method="L-BFGS-B",
            options=options,
        )
        for seed in range(starts)
    ]
    best = min(found, key=lambda result: result.fun)
    w, h, _ = (part.numpy() for part in parts(torch.tensor(best.x)))
    return Minimum(float(best.fun) - label_entropy(problem), w @ w.T, h @ h.T, w @ h.T)
