"""Class-distance normalised variance: a mean over all pairs of classes, in blocks of them or from a sample.

Source: Galanti, Gyorgy, Hutter (2022), Definition 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from implicit_geometry._validate import Floats, Ints, whole_number

_CLASSES_AT_ONCE = 1024  # on either side of a block of pairs, 8 MB
_PAIRS_AT_ONCE = 4096
_NEAR = 1e-4  # squared distance over squared norms, below which it is computed from the difference itself


@dataclass(frozen=True)
class SampledMean:
    """A mean over all pairs of classes, estimated from some.

    Attributes:
        value: of the estimate.
        standard_error: its standard deviation over the draws of the pairs.

    Example:
        >>> SampledMean(0.5, 0.01)
        SampledMean(value=0.5, standard_error=0.01)
    """

    value: float
    standard_error: float


def mean_cdnv(means: Floats, variance: Floats) -> float:
    """Mean over all pairs of classes of (var_c + var_c') / (2 |mean_c - mean_c'|^2), in O(k^2 d) time.

    Infinite where two class means coincide; NaN where they do so without any variance.

    Args:
        means: of the classes, shape (k, d).
        variance: of each class, shape (k,).

    Example:
        >>> mean_cdnv(np.eye(3), np.ones(3))
        0.5
    """
    k, total = len(means), 0.0
    scaled, variance = _in_units(means, variance)
    centred = scaled - scaled.mean(axis=0)
    squares = np.einsum("ij,ij->i", centred, centred)
    one = np.ones((k, 1))
    left, right = np.hstack([-2 * centred, squares[:, None], one]), np.hstack([centred, one, squares[:, None]])
    for start in range(0, k, _CLASSES_AT_ONCE):
        rows = np.arange(start, min(start + _CLASSES_AT_ONCE, k))
        for other in range(start, k, _CLASSES_AT_ONCE):
            columns = np.arange(other, min(other + _CLASSES_AT_ONCE, k))
            distance = left[rows] @ right[columns].T
            if start == other:
                distance[np.tril_indices_from(distance)] = np.inf
            if distance.min() <= _NEAR * (squares[rows].max() + squares[columns].max()):
                i, j = np.nonzero(distance <= _NEAR * np.add.outer(squares[rows], squares[columns]))
                distance[i, j] = np.inf
                total += _sum_of_ratios(scaled, variance, rows[i], columns[j])
            np.reciprocal(distance, out=distance)
            total += float(variance[rows] @ distance.sum(axis=1) + distance.sum(axis=0) @ variance[columns])
    return total / (k * (k - 1))


def sampled_cdnv(means: Floats, variance: Floats, num_pairs: int, seed: int) -> SampledMean:
    """The mean of :func:`mean_cdnv` from pairs of different classes that are drawn with replacement, unbiased.

    Args:
        means: of the classes, shape (k, d).
        variance: of each class, shape (k,).
        num_pairs: how many pairs to draw, at least 2.
        seed: of the draws.

    Raises:
        InputError: ``num_pairs`` or ``seed`` is out of range.

    Example:
        >>> sampled_cdnv(np.eye(3), np.ones(3), num_pairs=10, seed=0)
        SampledMean(value=0.5, standard_error=0.0)
    """
    n = whole_number("num_pairs", num_pairs, minimum=2, maximum=10**9)
    generator = np.random.default_rng(whole_number("seed", seed))
    scaled, variance = _in_units(means, variance)
    total = squares = 0.0
    for start in range(0, n, _PAIRS_AT_ONCE):
        first = generator.integers(len(means), size=min(_PAIRS_AT_ONCE, n - start))
        second = (first + generator.integers(1, len(means), size=first.size)) % len(means)
        ratios = _ratios(scaled, variance, first, second) / 2
        total, squares = total + float(ratios.sum()), squares + float(ratios @ ratios)
    mean = total / n
    return SampledMean(
        mean, float(np.sqrt(np.maximum(squares / n - mean**2, 0.0) / (n - 1))) if mean < np.inf else np.nan
    )


def _in_units(means: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """Means in units of their largest entry, and the variances in its square."""
    unit = max(float(means.max()), -float(means.min())) or 1.0
    return means / unit, variance / unit / unit


def _sum_of_ratios(means: Floats, variance: Floats, first: Ints, second: Ints) -> float:
    parts = (slice(start, start + _PAIRS_AT_ONCE) for start in range(0, first.size, _PAIRS_AT_ONCE))
    return float(sum(_ratios(means, variance, first[part], second[part]).sum() for part in parts))


def _ratios(means: Floats, variance: Floats, first: Ints, second: Ints) -> Floats:
    """Sum of the variances over the squared distance, for some pairs."""
    difference = means[first] - means[second]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((variance[first] + variance[second]) / np.einsum("ij,ij->i", difference, difference))
