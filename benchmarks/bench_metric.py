"""GeometryMetric against float64 sums by class of the same embeddings: 27,500 of dimension 512, in batches of 128."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from implicit_geometry.nn.measuring.metric import GeometryMetric

NUM_SAMPLES, FEATURE_DIM, NUM_CLASSES, BATCH, ROUNDS, TARGET = 27_500, 512, 10, 128, 15, 3.0

Batches = list[tuple[Tensor, Tensor]]


def make_batches() -> Batches:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(NUM_SAMPLES, FEATURE_DIM, generator=generator)
    labels = torch.randint(NUM_CLASSES, (NUM_SAMPLES,), generator=generator)
    return list(zip(embeddings.split(BATCH), labels.split(BATCH), strict=True))


def sum_by_class(batches: Batches) -> None:
    sums = torch.zeros(NUM_CLASSES, FEATURE_DIM, dtype=torch.float64)
    for embeddings, labels in batches:
        sums.index_add_(0, labels, embeddings.double())


def update_metric(batches: Batches) -> None:
    metric = GeometryMetric(NUM_CLASSES, FEATURE_DIM)
    for embeddings, labels in batches:
        metric.update(embeddings, labels)
    metric.compute()


def seconds(run: Callable[[Batches], None], batches: Batches) -> float:
    start = time.perf_counter()
    run(batches)
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(1)
    batches = make_batches()
    times = np.array([[seconds(run, batches) for run in (sum_by_class, update_metric)] for _ in range(ROUNDS + 1)])[1:]
    ratios = times[:, 1] / times[:, 0]
    baseline, metric = 1e3 * np.median(times, axis=0)
    print(f"sums by class {baseline:.1f} ms, GeometryMetric {metric:.1f} ms (medians of {ROUNDS} interleaved rounds)")
    print(f"ratio {np.median(ratios):.2f}, from {ratios.min():.2f} to {ratios.max():.2f}; target at most {TARGET:.1f}")


if __name__ == "__main__":
    main()
