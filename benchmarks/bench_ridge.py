"""The regularised optimum: time and relative gap of one ridge, of a path and of many groups, and against Clarabel.

Times are of the processor, so that other work on the machine hardly shows: set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import implicit_geometry as ig

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from ridge_oracles import convex_program, random_problem

STEP = ig.ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)
MILLION = ig.ClassCounts.step(num_classes=1_000_000, imbalance_ratio=10, max_count=50)
RIDGES = np.geomspace(1e-8, 0.99 * 50**0.5, 50)
HUNDRED = ig.ClassCounts(np.round(5000 * 100 ** (-np.arange(100) / 99)).astype(int))
STEEP = ig.ClassCounts(np.round(50_000 * 1000 ** (-np.arange(100) / 99)).astype(int))
LOSSES = {
    "ce": {},
    "logit_adjusted": {},
    "cdt": {"gamma": 0.5},
    "ldt": {"gamma": 0.5},
    "vs": {"gamma": 0.3},
}


def best_of(rounds: int, work: Callable[[], Any]) -> tuple[float, Any]:
    """Smallest time of several rounds in milliseconds, and the last result."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        result = work()
        times.append(time.process_time() - start)
    return 1e3 * min(times), result


def line(name: str, milliseconds: float, gap: float, bound: float) -> None:
    verdict = "" if milliseconds <= bound and gap <= 1e-8 else "  MISSED"
    print(f"{name:62}{milliseconds:9.1f} ms, gap {gap:.0e}, wanted <= {bound:g} ms{verdict}")


def two_groups() -> None:
    for name, counts, single, path in (("k = 10", STEP, 5.0, 150.0), ("k = 1e6", MILLION, 15.0, 450.0)):
        loss = ig.ce(counts)
        for ridge in (1e-8, 1e-3, 1.0):
            problem = ig.Problem(counts, loss, ridge=ridge)
            spent, solution = best_of(7, lambda problem=problem: ig.predict(problem))
            line(f"STEP, {name}, ridge {ridge:g}", spent, solution.certificate.relative_gap, single)
        spent, solutions = best_of(3, lambda counts=counts, loss=loss: ig.ridge_path(counts, loss, RIDGES))
        line(f"STEP, {name}, path of 50 ridges", spent, max(s.certificate.relative_gap for s in solutions), path)


def many_groups() -> None:
    for name, counts in (("R = 100", HUNDRED), ("R = 1000", STEEP)):
        for rule, given in LOSSES.items():
            loss = ig.make_parameterization(rule, counts, **given)
            worst, slowest = 0.0, 0.0
            for fraction in (0.9, 1e-1, 1e-3, 1e-6, 1e-9):
                total = ig.collapse_thresholds(counts, loss).total
                problem = ig.Problem(counts, loss, ridge=fraction * total)
                spent, solution = best_of(1, lambda problem=problem: ig.predict(problem))
                worst, slowest = max(worst, solution.certificate.relative_gap), max(slowest, spent)
            line(f"100 different counts, {name}, {rule}, slowest of 5", slowest, worst, 2000.0)
    for rule in ("cdt", "ldt"):
        for gamma in (-1.5, 1.5):
            loss = ig.make_parameterization(rule, STEEP, gamma=gamma)
            spent, solution = best_of(1, lambda loss=loss: ig.predict(ig.Problem(STEEP, loss, ridge=1e-3)))
            line(f"100 different counts, R = 1000, {rule} {gamma:g}", spent, solution.certificate.relative_gap, 2000.0)


def against_clarabel() -> None:
    problem = ig.Problem(STEP, ig.vs(STEP, gamma=0.3), ridge=0.1)
    ours, solution = best_of(5, lambda: ig.predict(problem))
    theirs, (value, _) = best_of(1, lambda: convex_program(problem))
    certificate = solution.certificate
    gap = (value - certificate.dual) / certificate.primal
    print(f"k = 10 by CVXPY and Clarabel: {theirs:.0f} ms, {theirs / ours:.0f} times as long, to a gap of {gap:.0e}")


def random_problems(number: int) -> None:
    spent = []
    for seed in range(number):
        problem = random_problem(seed)
        start = time.process_time()
        certificate = ig.predict(problem).certificate
        spent.append((time.process_time() - start, certificate.relative_gap))
    times, gaps = np.array(spent).T
    print(
        f"{number} random problems: median {1e3 * np.median(times):.0f} ms, slowest {times.max():.1f} s, "
        f"largest gap {gaps.max():.0e}"
    )


def thresholds() -> None:
    for name, counts in (("k = 10", STEP), ("k = 1e6", MILLION)):
        spent, found = best_of(3, lambda counts=counts: ig.collapse_thresholds(counts))
        print(f"collapse thresholds, {name}: {spent:.1f} ms; {found.ridge[0]:.3f}, {found.ridge[-1]:.3f}")


if __name__ == "__main__":
    two_groups()
    many_groups()
    thresholds()
    against_clarabel()
    random_problems(100)
