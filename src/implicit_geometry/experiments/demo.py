"""The main job: digits with STEP imbalance, six losses over a grid of exponents, and the theory beside them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from implicit_geometry.counts import ClassCounts
from implicit_geometry.experiments.spec import Optimization, TrialSpec
from implicit_geometry.experiments.trial import geometry_summary
from implicit_geometry.problem import Problem
from implicit_geometry.rules import make_parameterization
from implicit_geometry.theory.predict import predict

COUNTS = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=120)
PLAN = Optimization(epochs=300, batch_size=64, learning_rate=0.1, weight_decay=1e-3)

_TEMPERATURES = (-0.5, -0.25, 0.25, 0.5, 0.75, 1.0)
GRID: tuple[tuple[str, dict[str, float]], ...] = (
    ("ce", {}),
    *(("weighted", {"gamma": gamma}) for gamma in (0.5, 1.0, 1.5)),
    *(("logit_adjusted", {"tau": tau}) for tau in (0.5, 1.0, 1.5)),
    *(("cdt", {"gamma": gamma}) for gamma in _TEMPERATURES),
    *(("ldt", {"gamma": gamma}) for gamma in _TEMPERATURES),
    *(("vs", {"gamma": gamma, "tau": 1.0}) for gamma in (0.25, 0.5, 0.75)),
)


def demo_specs(*, seed: int = 0, epochs: int = PLAN.epochs) -> list[TrialSpec]:
    """The runs of the demo, one a loss and exponent."""
    plan = replace(PLAN, epochs=epochs)
    counts = tuple(COUNTS.values.tolist())
    return [TrialSpec(rule, dict(values), counts, optimization=plan, seed=seed) for rule, values in GRID]


def theory_curves(rules: tuple[str, ...], exponents: np.ndarray[tuple[int], np.dtype[np.float64]]) -> pd.DataFrame:
    """The eight numbers of the paper's figures in the limit, for every rule and exponent.

    Args:
        rules: of ``ce``, ``weighted``, ``logit_adjusted``, ``cdt``, ``ldt``, ``vs``.
        exponents: gamma (tau for ``logit_adjusted``), shape (n,).

    Returns:
        Columns ``rule``, ``exponent``, ``kind`` and the eight numbers.
    """
    rows = []
    for rule in rules:
        name = "tau" if rule == "logit_adjusted" else "gamma"
        for value in exponents:
            parameters = make_parameterization(rule, COUNTS, **({} if rule == "ce" else {name: float(value)}))
            geometry = predict(Problem(COUNTS, parameters)).geometry
            rows.append({"rule": rule, "exponent": float(value), "kind": "limit", **geometry_summary(geometry, COUNTS)})
    return pd.DataFrame(rows)
