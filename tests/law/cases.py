"""Problems as plain values: their repr is the reproducer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from implicit_geometry import Parameterization, Problem, Solution, predict

Floats = NDArray[np.float64]
VECTORS = ("weight", "shift", "class_scale", "label_scale", "margin")

seeds = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Ask:
    """A problem: what is left out of ``vectors`` is neutral."""

    counts: list[int]
    vectors: dict[str, list[float]]
    ridge: float = 0.0
    bias: bool = False
    bias_ridge: float = 0.0
    label_smoothing: float = 0.0
    label_distribution: list[list[float]] | None = None

    @property
    def num_classes(self) -> int:
        return len(self.counts)

    def vector(self, name: str) -> Floats:
        neutral = 0.0 if name in ("shift", "margin") else 1.0
        return np.array(self.vectors.get(name, [neutral] * self.num_classes))

    def problem(self) -> Problem:
        loss = Parameterization(**self.vectors) if self.vectors else None
        heads = {"bias": self.bias, "bias_ridge": self.bias_ridge}
        labels = {"label_smoothing": self.label_smoothing, "label_distribution": self.label_distribution}
        return Problem(self.counts, loss, ridge=self.ridge, **labels, **heads)

    def predict(self) -> Solution:
        return predict(self.problem())


def draw_counts(rng: Any, most_classes: int, decades: float) -> list[int]:
    """Class counts of a few or of all different kinds, from 1 to 10**decades."""
    k = int(rng.integers(2, most_classes + 1))
    kinds = int(rng.integers(1, k + 1))
    values = np.floor(10 ** rng.uniform(0, decades, kinds)).astype(np.int64)
    return [int(n) for n in values[rng.integers(0, kinds, k)]]


def draw_scales(rng: Any, counts: list[int], exponent: float, noise: float) -> list[float]:
    """A power of the counts, times noise in some of the cases."""
    n = np.array(counts, dtype=np.float64)
    gamma = float(rng.uniform(-exponent, exponent))
    scale = (n / n.max()) ** gamma
    if rng.random() < 0.4:
        scale = scale * np.exp(rng.uniform(-noise, noise, n.size))
    return [float(x) for x in scale / math.exp(float(np.mean(np.log(scale))))]


def draw_ask(
    seed: int,
    *,
    most_classes: int = 6,
    decades: float = 4.0,
    exponent: float = 1.0,
    ridge: tuple[float, float] | None = None,
    bias: bool = False,
    everything: bool = False,
    smoothed: bool = False,
) -> Ask:
    """A problem drawn from a seed; ``ridge`` are the decades below the largest collapse threshold of a class."""
    rng = np.random.default_rng(seed)
    counts = draw_counts(rng, most_classes, decades)
    vectors = {
        name: draw_scales(rng, counts, exponent, 1.0) for name in ("class_scale", "label_scale") if rng.random() < 0.6
    }
    if everything:
        if rng.random() < 0.5:
            vectors["weight"] = draw_scales(rng, counts, exponent, 1.0)
        if rng.random() < 0.5:
            vectors["shift"] = [float(x) for x in rng.uniform(-4, 4, len(counts))]
        if rng.random() < 0.4:
            vectors["margin"] = [float(x) for x in rng.uniform(-1, 2, len(counts))]
    ask = Ask(counts, vectors)
    value, bias_ridge = 0.0, 0.0
    if ridge is not None:
        strength = ask.vector("weight") * ask.vector("class_scale") * ask.vector("label_scale") * np.sqrt(counts)
        value = float(strength.max() * 10 ** -rng.uniform(*ridge))
        bias_ridge = value if bias and rng.random() < 0.4 else 0.0
    smoothing = float(10 ** -rng.uniform(0, 20) if rng.random() < 0.5 else rng.uniform(0.01, 0.98)) if smoothed else 0.0
    return Ask(counts, vectors, value, bias, bias_ridge, smoothing)


def asks(**options: Any) -> Any:
    """Problems of :func:`draw_ask`."""
    return seeds.map(lambda seed: draw_ask(seed, **options))


def close(found: Any, expected: Any, relative: float, absolute: float = 0.0) -> bool:
    """Equal up to a tolerance; NaN equals nothing, infinity only itself."""
    found, expected = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    return found.shape == expected.shape and bool(np.allclose(found, expected, rtol=relative, atol=absolute))
