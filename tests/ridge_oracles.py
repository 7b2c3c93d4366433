"""Slow, independent answers for the regularised problem: dense conditions, interior point, one feature per sample."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from implicit_geometry import ClassCounts, Parameterization, Problem, Solution

Floats = NDArray[np.float64]


def adjusted_logits(loss: Parameterization, logits: Floats, label: int) -> Floats:
    """What the softmax of a sample with this label sees."""
    adjusted = loss.label_scale[label] * loss.class_scale * logits + loss.shift
    adjusted[label] -= loss.margin[label]
    return adjusted


def sample_loss(loss: Parameterization, logits: Floats, label: int) -> tuple[float, Floats]:
    """Loss of one sample and its gradient by the logits, to full relative accuracy where the loss is tiny."""
    adjusted = adjusted_logits(loss, logits, label)
    excess = np.delete(adjusted - adjusted[label], label)
    value = np.log1p(np.exp(excess).sum()) if excess.max() < 30 else logsumexp(np.append(excess, 0.0))
    slope = softmax(adjusted)
    slope[label] = -np.delete(slope, label).sum()
    return float(loss.weight[label] * value), loss.weight[label] * loss.label_scale[label] * loss.class_scale * slope


class Conditions(NamedTuple):
    """The optimality conditions of min losses(X) + ridge |X|_*, as relative violations, and the objective."""

    excess: float
    slack: float
    objective: float


def optimality(solution: Solution) -> Conditions:
    """|G|_op <= ridge and <G, X> = -ridge |X|_* on k x k matrices, from the mean logits alone."""
    problem = solution.problem
    mean_logits, counts = solution.geometry.cross.dense(), problem.counts.values
    root = np.sqrt(counts)
    total, gradient = 0.0, np.zeros_like(mean_logits)
    for label, count in enumerate(counts):
        value, slope = sample_loss(problem.parameterization, mean_logits[:, label], label)
        total += count * value
        gradient[:, label] = root[label] * slope
    x = mean_logits * root
    objective = total + problem.ridge * np.linalg.norm(x, "nuc")
    slack = np.sum(gradient * x) + problem.ridge * np.linalg.norm(x, "nuc")
    return Conditions(np.linalg.norm(gradient, 2) / problem.ridge - 1, abs(slack) / objective, float(objective))


def objective_with_bias(solution: Solution) -> float:
    """The objective of a head with a bias on k x k matrices, from the mean logits and the bias alone."""
    problem, logits = solution.problem, solution.geometry.cross.dense()
    counts = problem.counts.values
    total = sum(
        n * sample_loss(problem.parameterization, logits[:, label] + solution.bias, label)[0]
        for label, n in enumerate(counts)
    )
    total += problem.ridge * np.linalg.norm(logits * np.sqrt(counts), "nuc")
    return float(total + 0.5 * problem.bias_ridge * solution.bias @ solution.bias)


def random_problem(seed: int, most_kinds: int = 60) -> Problem:
    """2 to 60 classes of 1 to 60 kinds; counts to 1e6, scales e^-3..e^3, ridges over ten decades."""
    draw = np.random.default_rng(seed)
    size = int(draw.integers(2, 61))
    kinds = min(size, most_kinds) if draw.random() < 0.4 else int(draw.integers(1, min(size, 6) + 1))
    kind = np.concatenate([np.arange(kinds), draw.integers(0, kinds, size - kinds)])

    def vary(share: float, low: float, high: float, constant: float) -> Floats:
        drawn = draw.uniform(low, high, kinds)[kind]
        return drawn if draw.random() < share else np.full(size, constant)

    counts = np.exp(vary(1.0, 0.0, np.log(1e6), 0.0)).astype(np.int64)
    weight, class_scale, label_scale = (np.exp(vary(0.6, -3.0, 3.0, 0.0)) for _ in range(3))
    loss = Parameterization(
        weight=weight,
        class_scale=class_scale,
        label_scale=label_scale,
        shift=vary(0.5, -5.0, 5.0, 0.0),
        margin=vary(0.4, -2.0, 4.0, 0.0),
    )
    largest = (weight * class_scale * label_scale * np.sqrt(counts)).max()
    return Problem(ClassCounts(counts), loss, ridge=float(largest * 10 ** -draw.uniform(0, 10)))


def random_many_kinds(seed: int, kinds: int, head: str = "none") -> Problem:
    """Every class of a kind of its own, all vectors drawn, ridges over eight decades; head none, free or ridge."""
    draw = np.random.default_rng(seed)
    values = np.floor(np.exp(draw.uniform(0, np.log(1e5), kinds))).astype(int)
    vectors = np.exp(draw.uniform(-0.7, 0.7, (3, kinds)))
    shift, margin = draw.uniform(-2, 2, kinds), draw.uniform(0, 1, kinds)
    loss = Parameterization(
        weight=vectors[0], class_scale=vectors[1], label_scale=vectors[2], shift=shift, margin=margin
    )
    largest = (vectors.prod(axis=0) * np.sqrt(values)).max()
    ridge = float(largest * 10 ** -draw.uniform(0, 8))
    return Problem(
        ClassCounts(values), loss, ridge=ridge, bias=head != "none", bias_ridge=ridge if head == "ridge" else 0.0
    )


def convex_program(problem: Problem) -> tuple[float, Floats]:
    """Optimal value and X of the convex program by Clarabel."""
    import cvxpy as cp

    loss, counts = problem.parameterization, problem.counts.values
    size = counts.size
    x = cp.Variable((size, size))
    total: Any = 0
    for label, count in enumerate(counts):
        scale = loss.label_scale[label] * loss.class_scale / np.sqrt(count)
        adjusted = cp.multiply(scale, x[:, label]) + loss.shift - loss.margin[label] * np.eye(size)[label]
        total += count * loss.weight[label] * (cp.log_sum_exp(adjusted) - adjusted[label])
    program = cp.Problem(cp.Minimize(total + problem.ridge * cp.normNuc(x)))
    program.solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return float(program.value), np.asarray(x.value)


class Features(NamedTuple):
    """Classifiers (k, d), one feature per sample (N, d), labels (N,) and the objective."""

    classifier: Floats
    features: Floats
    labels: NDArray[np.int64]
    objective: float


def sample_by_sample(problem: Problem, seed: int = 0, feature_ridge: float | None = None) -> Features:
    """Minimise over W and one free feature for every sample, by quasi-Newton from a random start."""
    labels = np.repeat(np.arange(problem.num_classes), problem.counts.values)
    shapes = [(problem.num_classes, problem.num_classes), (labels.size, problem.num_classes)]
    ridges = problem.ridge, problem.ridge if feature_ridge is None else feature_ridge

    def split(x: Floats) -> tuple[Floats, Floats]:
        return x[: shapes[0][0] * shapes[0][1]].reshape(shapes[0]), x[shapes[0][0] * shapes[0][1] :].reshape(shapes[1])

    def objective(x: Floats) -> tuple[float, Floats]:
        w, h = split(x)
        value = 0.5 * (ridges[0] * (w**2).sum() + ridges[1] * (h**2).sum())
        by_w, by_h = ridges[0] * w, ridges[1] * h
        for sample, label in enumerate(labels):
            one, slope = sample_loss(problem.parameterization, w @ h[sample], label)
            value += one
            by_w += np.outer(slope, h[sample])
            by_h[sample] += w.T @ slope
        return value, np.concatenate([by_w.ravel(), by_h.ravel()])

    start = np.random.default_rng(seed).standard_normal(sum(a * b for a, b in shapes))
    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-16, "gtol": 1e-10, "maxcor": 50}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    return Features(*split(found.x), labels, float(found.fun))
