"""Hundreds and thousands of kinds of classes at a ridge, beside Newton's method without coarse problems, FISTA and SCS.

Times are of the processor, so that other work on the machine hardly shows: set OMP_NUM_THREADS=1. ``--slow`` adds
Newton's method alone on the largest profile (about a minute), SCS and 20,000 kinds.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np

import implicit_geometry as ig
from implicit_geometry.groups import gather
from implicit_geometry.theory.ridge.optimum import optimum
from implicit_geometry.theory.ridge.program import Bounds, Logits, Reduced
from implicit_geometry.theory.ridge.reduce import reduce_problem

IMAGENET = ig.ClassCounts(np.round(1280 * (5 / 1280) ** (np.arange(1000) / 999)).astype(int))
CIFAR = ig.ClassCounts.exponential(num_classes=100, imbalance_ratio=100, max_count=500)
INATURALIST = ig.ClassCounts(np.sort(np.random.default_rng(0).zipf(1.5, 8142).clip(1, 113) + 8)[::-1])
STEP = ig.ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)
RULES: dict[str, Callable[[ig.ClassCounts], ig.Parameterization]] = {
    "ldt 0.25": lambda counts: ig.ldt(counts, 0.25),
    "ce": ig.ce,
    "cdt 0.25": lambda counts: ig.cdt(counts, 0.25),
    "vs 0.25": lambda counts: ig.vs(counts, 0.25),
    "la": ig.logit_adjusted,
    "ldam": ig.ldam,
}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def line(what: str, seconds: float, wanted: float, rest: str = "") -> None:
    verdict = "" if seconds <= wanted else "  MISSED"
    print(f"{what:62}{seconds:9.3f} s, wanted <= {wanted:g} s{verdict}  {rest}", flush=True)


def proximal_gradient(reduced: Reduced, seconds: float) -> tuple[int, float]:
    """Accelerated proximal gradient on the logits, one dense SVD a step: steps and relative gap after some seconds."""
    x = Logits(np.zeros_like(reduced.size), np.zeros_like(reduced.logit_slope))
    ahead, momentum, steps, start = x, 1.0, 0, time.process_time()
    length = 4 / (reduced.group_weight * reduced.logit_slope.max(axis=0) ** 2 * 2).max()
    while time.process_time() - start < seconds:
        point = reduced.evaluate(ahead)
        left, sigma, right = np.linalg.svd(ahead.mean - length * point.mean_gradient)
        mean = (left * np.maximum(sigma - length, 0.0)) @ right
        own = np.maximum(ahead.own - length * (1 + point.own_gradient), 0.0) * reduced.live
        following = 0.5 + np.sqrt(0.25 + momentum**2)
        share = (momentum - 1) / following
        ahead = Logits(own + share * (own - x.own), mean + share * (mean - x.mean))
        x, momentum, steps = Logits(own, mean), following, steps + 1
    bounds: Bounds = reduced.bounds(x, reduced.evaluate(x))
    return steps, bounds.gap


def conic(counts: ig.ClassCounts, ridge: float, seconds: float) -> str:
    """The convex program of plain cross-entropy on k x k logits, by CVXPY and SCS."""
    values = counts.values.astype(float)
    x = cp.Variable((values.size, values.size))
    logits = x / np.sqrt(values)
    losses = cp.log_sum_exp(logits, axis=0) - cp.diag(logits)
    program = cp.Problem(cp.Minimize(values @ losses + ridge * cp.normNuc(x)))
    try:
        spent, value = timed(lambda: program.solve(solver=cp.SCS, time_limit_secs=seconds, max_iters=10**6))
    except cp.SolverError as error:
        return f"no solution within {seconds:g} s ({error})"
    ours = ig.predict(ig.Problem(counts, ridge=ridge)).certificate.primal
    return f"{spent:.1f} s, {program.status}, its value is off by {abs(value / ours - 1):.0e}"


def predictions(slow: bool) -> None:
    for name, rule in RULES.items():
        problem = ig.Problem(IMAGENET, rule(IMAGENET), ridge=0.05)
        spent, solution = timed(lambda problem=problem: ig.predict(problem))
        line(f"predict, 1,000 classes of 529 kinds, {name}", spent, 5.0, f"gap {solution.certificate.relative_gap:.0e}")
    for name, bias_ridge in (("a bias with a ridge", 0.05), ("a free bias", 0.0)):
        problem = ig.Problem(IMAGENET, ig.ldt(IMAGENET, 0.25), ridge=0.05, bias=True, bias_ridge=bias_ridge)
        spent, solution = timed(lambda problem=problem: ig.predict(problem))
        gap = f"gap {solution.certificate.relative_gap:.0e}"
        line(f"predict, 1,000 classes of 529 kinds, ldt 0.25, {name}", spent, 3.0, gap)
    for name, bias in (("smoothed labels", False), ("the same and a free bias", True)):
        problem = ig.Problem(IMAGENET, ig.ldt(IMAGENET, 0.25), ridge=0.05, bias=bias, label_smoothing=0.1)
        spent, solution = timed(lambda problem=problem: ig.predict(problem))
        gap = f"gap {solution.certificate.relative_gap:.0e}"
        line(f"predict, 1,000 classes of 529 kinds, ldt 0.25, {name}", spent, 3.0, gap)
    problem = ig.Problem(IMAGENET, ig.ldt(IMAGENET, 0.25), ridge=0.05)
    reduced = reduce_problem(problem, gather(problem))
    steps, gap = proximal_gradient(reduced, 10.0)
    print(f"    accelerated proximal gradient, ldt 0.25: gap {gap:.0e} after 10 s and {steps} steps")
    if slow:
        spent, alone = timed(lambda: optimum(reduced))
        print(f"    Newton's method without coarse problems, ldt 0.25: {spent:.1f} s, gap {alone.bounds.gap:.0e}")
        for classes in (10, 30, 100):
            counts = ig.ClassCounts.exponential(num_classes=classes, imbalance_ratio=100, max_count=500)
            print(f"    CVXPY with SCS, {classes} classes, ce: {conic(counts, 0.05, 60.0)}", flush=True)
    spent = min(timed(lambda: ig.predict(ig.Problem(STEP, ridge=0.1)))[0] for _ in range(50))
    line("predict, STEP, 10 classes", spent, 0.002)


def ridges() -> None:
    for name, counts, loss, wanted in (
        ("CIFAR-100-LT, ce", CIFAR, ig.ce(CIFAR), 0.3),
        ("8,142 classes of about 113 kinds, ce", INATURALIST, ig.ce(INATURALIST), 0.5),
        ("1,000 classes of 529 kinds, ldt 0.25", IMAGENET, ig.ldt(IMAGENET, 0.25), 3.0),
    ):
        for head, bias, bias_ridge in (("", False, 0.0), (", a free bias", True, 0.0), (", a ridge on it", True, 0.05)):
            problem = ig.Problem(counts, loss, ridge=0.05, bias=bias, bias_ridge=bias_ridge)
            measured = ig.predict(problem).geometry
            spent, found = timed(lambda measured=measured, problem=problem: ig.effective_ridge(measured, problem))
            line(f"effective_ridge, {name}{head}", spent, wanted, f"off by {abs(found.ridge / 0.05 - 1):.0e}")


def thresholds() -> None:
    zipf = ig.ClassCounts(np.sort(np.random.default_rng(0).zipf(1.5, 50_000).clip(1, 100_000))[::-1])
    spent, _ = timed(lambda: ig.collapse_thresholds(zipf, ig.vs(zipf, 0.25)))
    line("collapse_thresholds, 50,000 classes by Zipf's law, vs 0.25", spent, 2.0)
    for name, counts in (("CIFAR-100-LT", CIFAR), ("1,000 classes of 529 kinds", IMAGENET)):
        spent, found = timed(lambda counts=counts: ig.collapse_thresholds(counts, ig.ldam(counts)))
        line(f"collapse_thresholds, {name}, ldam", spent, 2.0, f"error about {found.error.max():.0e}")
    for name, bias_ridge in (("a bias with a ridge", 0.05), ("a free bias", 0.0)):
        problem = ig.Problem(IMAGENET, ig.ldam(IMAGENET), ridge=0.05, bias=True, bias_ridge=bias_ridge)
        spent, found = timed(lambda problem=problem: ig.collapse_thresholds(problem))
        what = f"collapse_thresholds, 1,000 classes of 529 kinds, ldam, {name}"
        line(what, spent, 2.0, f"error about {found.error.max():.0e}")


def limits() -> None:
    times = {}
    for classes in (10**4, 10**5, 10**6, 10**7):
        share = 1 / np.arange(1, classes + 1)
        counts = ig.ClassCounts(np.maximum(np.round(1e10 * share / share.sum()), 1).astype(np.int64))
        times[classes] = min(timed(lambda counts=counts: ig.predict(ig.Problem(counts)))[0] for _ in range(2))
    slope = np.log10(times[10**7] / times[10**4]) / 3
    line("the limit, 10,000,000 classes by Zipf's law, 1e10 samples", times[10**7], 2.0, f"slope in k {slope:.2f}")


def thousands() -> None:
    values = np.unique(np.round(np.geomspace(5, 1e6, 36_000)).astype(int))
    counts = ig.ClassCounts(values[np.round(np.linspace(0, values.size - 1, 20_000)).astype(int)][::-1])
    for name, bias in (("ldt 0.25", False), ("ce", False), ("ldt 0.25", True), ("ce", True)):
        problem = ig.Problem(counts, RULES[name](counts), ridge=0.05, bias=bias)
        spent, solution = timed(lambda problem=problem: ig.predict(problem, tolerance=1e-3))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        rest = f"gap {solution.certificate.relative_gap:.0e}, {memory:.1f} GiB"
        head = ", a free bias" if bias else ""
        line(f"predict, {counts.num_classes} kinds, {name}{head}, tolerance 1e-3", spent, 60.0, rest)


if __name__ == "__main__":
    slow = "--slow" in sys.argv[1:]
    predictions(slow)
    ridges()
    thresholds()
    limits()
    if slow:
        thousands()
