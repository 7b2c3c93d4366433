"""Values of returned solutions, recomputed with many digits from their dense matrices and nothing else."""

from __future__ import annotations

from typing import Any, NamedTuple

import mpmath
import numpy as np

from law.cases import Ask, Floats


class Recomputed(NamedTuple):
    """What a returned geometry is worth."""

    nuclear_norm: float
    smallest_margin: float


def _matrix(values: Any) -> Any:
    return mpmath.matrix([[mpmath.mpf(float(x)) for x in row] for row in values])


def nuclear_norm(matrix: Any) -> Any:
    """Sum of the singular values of a matrix of mpmath numbers."""
    values = mpmath.eigsy(matrix.T * matrix, eigvals_only=True)
    return mpmath.fsum(mpmath.sqrt(max(value, 0)) for value in values)


def limit_of(ask: Ask, mean_logits: Floats, bias: Floats | None, digits: int = 60) -> Recomputed:
    """|X|_* and the smallest cost-sensitive margin of mean logits z (columns) with a bias."""
    with mpmath.workdps(digits):
        k = ask.num_classes
        delta, label = ([mpmath.mpf(float(x)) for x in ask.vector(name)] for name in ("class_scale", "label_scale"))
        root = [mpmath.sqrt(n) for n in ask.counts]
        z = _matrix(mean_logits)
        b = [mpmath.mpf(0)] * k if bias is None else [mpmath.mpf(float(x)) for x in bias]
        x = mpmath.matrix(k, k)
        for c in range(k):
            for y in range(k):
                x[c, y] = z[c, y] * root[y]
        margin = min(
            label[y] * (delta[y] * (z[y, y] + b[y]) - delta[c] * (z[c, y] + b[c]))
            for y in range(k)
            for c in range(k)
            if c != y
        )
        return Recomputed(float(nuclear_norm(x)), float(margin))


class Candidate(NamedTuple):
    """P S P_r: its nuclear norm, whether it is the optimum, and the mean logits (columns divided by sqrt(n))."""

    nuclear_norm: float
    is_optimal: bool
    mean_logits: Floats


def biased_candidate(ask: Ask, digits: int = 120) -> Candidate:
    """It is the optimum where its polar factor has no positive entry off the diagonal."""
    with mpmath.workdps(digits):
        k = ask.num_classes
        delta, label = ([mpmath.mpf(float(x)) for x in ask.vector(name)] for name in ("class_scale", "label_scale"))
        root = [mpmath.sqrt(n) for n in ask.counts]
        v, r = _unit([1 / d for d in delta]), _unit(root)
        s = [root[c] / delta[c] / label[c] for c in range(k)]
        mean = mpmath.fsum(v[c] * s[c] * r[c] for c in range(k))
        x = mpmath.matrix(k, k)
        for i in range(k):
            for j in range(k):
                x[i, j] = s[i] * (i == j) - v[i] * v[j] * s[j] - s[i] * r[i] * r[j] + v[i] * mean * r[j]
        values, vectors = mpmath.eigsy(x.T * x)
        order = sorted(range(k), key=lambda index: values[index])[1:]
        polar = mpmath.matrix(k, k)
        for index in order:
            root_value = mpmath.sqrt(values[index])
            column = vectors[:, index]
            polar += (x * column / root_value) * column.T
        largest = max(polar[i, j] for i in range(k) for j in range(k) if i != j)
        logits = np.array([[float(x[i, j] / root[j]) for j in range(k)] for i in range(k)])
        return Candidate(float(mpmath.fsum(mpmath.sqrt(values[index]) for index in order)), bool(largest <= 0), logits)


def _unit(vector: list[Any]) -> list[Any]:
    length = mpmath.sqrt(mpmath.fsum(x**2 for x in vector))
    return [x / length for x in vector]


class Bounds(NamedTuple):
    """An upper and a lower bound of the optimum."""

    primal: float
    dual: float


def ridge_bounds(ask: Ask, mean_logits: Floats, digits: int = 60) -> Bounds:
    """Objective at mean logits and the Fenchel dual at its gradient, scaled into the ball (head without bias)."""
    with mpmath.workdps(digits):
        k, ridge = ask.num_classes, mpmath.mpf(ask.ridge)
        weight, shift, delta, label, margin = (
            [mpmath.mpf(float(x)) for x in ask.vector(name)]
            for name in ("weight", "shift", "class_scale", "label_scale", "margin")
        )
        n = [mpmath.mpf(count) for count in ask.counts]
        z, x = _matrix(mean_logits), mpmath.matrix(k, k)
        probability, gradient, total = mpmath.matrix(k, k), mpmath.matrix(k, k), mpmath.mpf(0)
        offset = mpmath.matrix(k, k)
        for y in range(k):
            for c in range(k):
                offset[c, y] = shift[c] - margin[y] * (c == y)
            excess = [label[y] * delta[c] * z[c, y] + offset[c, y] for c in range(k)]
            odds = [mpmath.exp(e - excess[y]) for e in excess]
            for c in range(k):
                probability[c, y] = odds[c] / mpmath.fsum(odds)
                x[c, y] = z[c, y] * mpmath.sqrt(n[y])
            others = mpmath.fsum(odds[c] for c in range(k) if c != y)
            total += n[y] * weight[y] * mpmath.log1p(others)
            probability_rest = others / (1 + others)
            for c in range(k):
                away = probability[c, y] if c != y else -probability_rest
                gradient[c, y] = mpmath.sqrt(n[y]) * weight[y] * label[y] * delta[c] * away
        norm = mpmath.sqrt(max(mpmath.eigsy(gradient.T * gradient, eigvals_only=True)))
        t = min(mpmath.mpf(1), ridge / norm) if norm else mpmath.mpf(1)
        dual = mpmath.mpf(0)
        for y in range(k):
            entropy = linear = mpmath.mpf(0)
            for c in range(k):
                mixed = t * probability[c, y] + (1 - t) * (c == y)
                entropy += mixed * mpmath.log(mixed) if mixed > 0 else 0
                linear += (mixed - (c == y)) * offset[c, y]
            dual -= n[y] * weight[y] * (entropy - linear)
        return Bounds(float(total + ridge * nuclear_norm(x)), float(dual))


def largest_entry(matrix: Floats) -> float:
    """The largest absolute value."""
    return float(np.abs(matrix).max())
