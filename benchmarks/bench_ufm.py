"""The paper's UFM experiment as one program: against one autograd loop a run, then in full (26 runs of 6000 epochs)."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from implicit_geometry.counts import ClassCounts
from implicit_geometry.nn.ufm import train_ufm
from implicit_geometry.problem import Problem
from implicit_geometry.rules import cdt, ldt
from implicit_geometry.theory.predict import predict

COUNTS = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)
LOSSES = [rule(COUNTS, gamma) for rule in (cdt, ldt) for gamma in np.linspace(-1.5, 1.5, 13)]
FEATURE_DIM, BATCH, EPOCHS, TARGET_SECONDS = 20, 5, 6000, 180
SHORT_EPOCHS, ROUNDS, TARGET_RATIO = 20, 5, 20


def autograd_loop() -> None:
    """One run of cross-entropy, written the plain way."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(COUNTS.num_classes).repeat_interleave(torch.tensor(COUNTS.values))
    classifier, samples = (
        (0.03 * torch.randn(rows, FEATURE_DIM, generator=generator, dtype=torch.float64)).requires_grad_()
        for rows in (COUNTS.num_classes, COUNTS.num_samples)
    )
    optimizer = torch.optim.SGD([classifier, samples], lr=1.0)
    for _ in range(SHORT_EPOCHS):
        for batch in torch.randperm(COUNTS.num_samples, generator=generator).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(samples[batch] @ classifier.T, labels[batch]).backward()
            optimizer.step()


def all_runs() -> None:
    train_ufm(COUNTS, LOSSES, feature_dim=FEATURE_DIM, batch_size=BATCH, epochs=SHORT_EPOCHS, record_epochs=[])


def seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(1)
    times = np.array([[seconds(run) for run in (autograd_loop, all_runs)] for _ in range(ROUNDS + 1)])[1:]
    ratios = len(LOSSES) * times[:, 0] / times[:, 1]
    print(f"{len(LOSSES)} autograd loops take {np.median(ratios):.0f} times as long as train_ufm", end=" ")
    print(f"({ratios.min():.0f} to {ratios.max():.0f}, {ROUNDS} interleaved rounds); target at least {TARGET_RATIO}")

    start = time.perf_counter()
    history = train_ufm(COUNTS, LOSSES, feature_dim=FEATURE_DIM, batch_size=BATCH, epochs=EPOCHS)
    elapsed = time.perf_counter() - start
    step = elapsed / (EPOCHS * COUNTS.num_samples / BATCH)
    print(f"{len(LOSSES)} runs of {EPOCHS} epochs: {elapsed:.0f} s, {1e6 * step:.0f} µs a step", end="; ")
    print(f"target at most {TARGET_SECONDS} s")

    limits = [predict(Problem(COUNTS, loss)).geometry for loss in LOSSES]
    for block in ("classifier", "embedding"):
        distance = history.distances(block, limits)[:, 0, -1]
        print(f"{block}: distance from the limit {np.median(distance):.2f} (median), {distance.max():.2f} (largest)")


if __name__ == "__main__":
    main()
