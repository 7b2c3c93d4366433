"""Runs that never happened: real theory plus seeded noise, with every column a report reads."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from implicit_geometry.counts import ClassCounts
from implicit_geometry.frames import FramedGeometry
from implicit_geometry.problem import Problem
from implicit_geometry.rules import make_parameterization
from implicit_geometry.summary import framed_summary
from implicit_geometry.theory.predict import predict

COUNTS = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=120)
TEMPERATURES = (-0.5, -0.25, 0.25, 0.5, 0.75, 1.0)
GRID = {
    "ce": (0.0,),
    "weighted": (0.5, 1.0, 1.5),
    "logit_adjusted": (0.5, 1.0, 1.5),
    "cdt": TEMPERATURES,
    "ldt": TEMPERATURES,
    "vs": (0.25, 0.5, 0.75),
}
ACCURACIES = ("overall", "balanced", "majority", "minority", "worst")


def eight_numbers(rule: str, exponent: float) -> dict[str, float]:
    name = {"ce": None, "logit_adjusted": "tau"}.get(rule, "gamma")
    parameters = make_parameterization(rule, COUNTS, **({} if name is None else {name: exponent}))
    geometry = predict(Problem(COUNTS, parameters)).geometry
    return framed_summary(FramedGeometry(geometry, geometry.embedding), COUNTS)


def make_curves(rules: tuple[str, ...] = ("cdt", "ldt"), points: int = 61) -> pd.DataFrame:
    """The limit, and a stand-in for the regularised optimum that runs off to infinity as minority collapse does."""
    rows = []
    for rule in rules:
        for exponent in np.linspace(-1.5, 1.5, points):
            limit = eight_numbers(rule, float(exponent))
            bend = 1.0 / max(1.2 - exponent, 1e-9)
            ridge = {name: value * (1.3 * bend if name.endswith("ratio") else 0.9) for name, value in limit.items()}
            for block in ("embedding", "centred_embedding"):
                ridge[f"{block}_norm_ratio"] = limit[f"{block}_norm_ratio"] * 1.3
            base = {"rule": rule, "exponent": float(exponent)}
            rows += [{**base, "kind": "limit", **limit}, {**base, "kind": "ridge", **ridge}]
    return pd.DataFrame(rows)


def make_records(seeds: int = 2) -> pd.DataFrame:
    noise = np.random.default_rng(0)
    rows = []
    for rule, exponents in GRID.items():
        for exponent in exponents:
            rows += [_record(rule, exponent, seed, noise) for seed in range(seeds)]
    return pd.DataFrame(rows)


def _record(rule: str, exponent: float, seed: int, noise: np.random.Generator) -> dict[str, object]:
    geometry = {
        name: value * float(np.exp(0.15 * noise.normal())) if name.endswith("ratio") else value + 0.02 * noise.normal()
        for name, value in eight_numbers(rule, exponent).items()
    }
    balanced = float(0.86 + 0.06 * np.exp(-3 * (exponent - 0.6) ** 2) + 0.005 * noise.normal())
    accuracy = dict(zip(ACCURACIES, (balanced, balanced, 0.96, 2 * balanced - 0.96, balanced - 0.25), strict=True))
    distances = {
        f"{block}_{target}_distance": abs(float(noise.normal(0.15, 0.08)))
        for target in ("limit", "ridge", "etf")
        for block in ("classifier", "embedding", "centred_embedding")
    }
    finished = exponent > -0.5
    return {
        "run": f"{rule}-{exponent}-{seed}",
        "rule": rule,
        "exponent": exponent,
        "variant": "",
        "seed": seed,
        "data": "digits",
        "profile": "step:10,10 of 120",
        "network": "mlp",
        "label_smoothing": 0.0,
        "optimization": "300 epochs",
        **geometry,
        **distances,
        "cross_limit_distance": 0.1,
        "effective_ridge": 0.66,
        **{f"train_{name}": 1.0 if finished else 0.998 for name in ACCURACIES},
        **{f"test_{name}": value for name, value in accuracy.items()},
        "terminal_phase": finished,
        "nc1": 0.01,
        "cdnv": 0.02,
        "self_duality": 0.98,
        "seconds": 4.2,
        "spec": json.dumps({"rule": rule, "note": 'a "quoted", <b>tagged</b> & ünïcode text'}),
        "versions": json.dumps({"python": "3.12", "torch": "2.8"}),
    }


@pytest.fixture(scope="session")
def records() -> pd.DataFrame:
    return make_records()


@pytest.fixture(scope="session")
def curves() -> pd.DataFrame:
    return make_curves()
