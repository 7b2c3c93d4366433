"""Time of designing a loss and of fitting the effective ridge, against the times wanted."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

from implicit_geometry.counts import ClassCounts
from implicit_geometry.problem import Problem
from implicit_geometry.theory.design import design
from implicit_geometry.theory.effective_ridge import effective_ridge
from implicit_geometry.theory.predict import predict

STEP = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)
LONG_TAIL = ClassCounts.exponential(num_classes=100, imbalance_ratio=100)
MILLION = ClassCounts.zipf(num_classes=1_000_000, num_samples=1_000_000_000)

DESIGNS: tuple[tuple[str, ClassCounts, dict[str, Any], float], ...] = (
    ("STEP k=10, exponent", STEP, {"target": "norm_ratio", "value": 1.2, "family": "cdt"}, 0.05),
    ("STEP k=10, exponent", STEP, {"target": "equal_norms", "family": "cdt"}, 0.05),
    ("STEP k=10, exponent", STEP, {"target": "etf", "family": "cdt"}, 0.05),
    ("k=100, exponent", LONG_TAIL, {"target": "etf", "family": "cdt"}, 0.1),
    ("k=100, free", LONG_TAIL, {"target": "equal_norms", "family": "cdt", "free": True}, 5.0),
    ("k=100, free", LONG_TAIL, {"target": "etf", "family": "cdt", "free": True}, 5.0),
    ("k=100, free", LONG_TAIL, {"target": "norm_ratio", "value": 500, "family": "ldt", "free": True}, 5.0),
    ("k=1,000,000, exact", MILLION, {"target": "etf"}, 1.0),
)


def seconds(action: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return median(times)


def main() -> None:
    measured = predict(Problem(STEP, ridge=0.1)).geometry
    rows = [
        (f"{name} {given}", seconds(lambda c=counts, g=given: design(c, **g), 1 if wanted >= 1 else 21), wanted)
        for name, counts, given, wanted in DESIGNS
    ]
    rows.append(("STEP k=10, effective ridge", seconds(lambda: effective_ridge(measured, Problem(STEP)), 11), 0.5))
    for what, taken, wanted in rows:
        verdict = "" if taken <= wanted else "  MISSED"
        print(f"{what:95}{taken:9.4f} s, wanted <= {wanted:g}{verdict}")


if __name__ == "__main__":
    main()
