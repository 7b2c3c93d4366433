"""Measuring and comparing networks of 50,000 classes of dimension 256: medians of processor seconds.

Times are of the processor, so that other work on the machine hardly shows: set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

import implicit_geometry as ig
from implicit_geometry.nn import GeometryMetric
from implicit_geometry.summary import geometry_summary

NUM_CLASSES, FEATURE_DIM, ROUNDS = 50_000, 256, 5


def line(what: str, work: Callable[[], Any], wanted: float | None = None, rounds: int = ROUNDS) -> None:
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    median = float(np.median(times))
    verdict = "" if wanted is None else f", wanted <= {wanted:g} s" + ("  MISSED" if median > wanted else "")
    print(f"{what:64}{median:7.2f} s, {min(times):.2f} to {max(times):.2f}{verdict}", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    weight, noise = torch.randn(2, NUM_CLASSES, FEATURE_DIM, generator=generator)
    metric = GeometryMetric(NUM_CLASSES, FEATURE_DIM)
    for sign in (1.0, -1.0):
        metric.update(weight + sign * noise, torch.arange(NUM_CLASSES))
    counts = ig.ClassCounts.step(num_classes=NUM_CLASSES, imbalance_ratio=10, minority_fraction=0.5, max_count=100)
    a, b = (metric.compute(classifier=classifier).geometry for classifier in (weight, weight + 0.1 * noise))
    theory = ig.predict(ig.Problem(counts, ig.cdt(counts, gamma=0.5))).geometry
    print(f"{NUM_CLASSES:,} classes, dimension {FEATURE_DIM}, medians of {ROUNDS}")
    line("GeometryMetric.compute", lambda: metric.compute(classifier=weight), 1.0)
    line("GeometryMetric.compute(...).geometry", lambda: metric.compute(classifier=weight).geometry)
    line("compare two measured geometries", lambda: ig.compare(a, b), 1.0)
    line("compare, with the parts of equal classes", lambda: ig.compare(a, b, groups=counts))
    line("compare a measured geometry with a predicted one", lambda: ig.compare(a, theory))
    line("the eight numbers", lambda: geometry_summary(a, counts))
    measured = metric.compute()
    line("cdnv from 100,000 pairs, with its standard error", lambda: measured.sampled_cdnv())
    line("cdnv of all pairs", lambda: replace(measured).cdnv, rounds=1)


if __name__ == "__main__":
    main()
