"""VSLoss against F.cross_entropy: forward and backward of a linear head (d = 512, no bias) and the loss, side by side.

Each contender takes turns with F.cross_entropy, step by step. "ratio" is the median over the rounds of the contender's
step over the step of F.cross_entropy beside it, "best" the ratio of the two fastest steps; F.cross_entropy against
itself says how far to trust them. "folded" is the same loss with scale and shift in the head (vs_linear), "fused" the
same with head and loss in one node (vs_linear_loss).
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from implicit_geometry.counts import ClassCounts
from implicit_geometry.nn.losses.criterion import VSLoss
from implicit_geometry.nn.losses.heads import vs_linear
from implicit_geometry.nn.losses.linear_loss import vs_linear_loss
from implicit_geometry.rules import make_parameterization

FEATURE_DIM = 512
HYPERPARAMETERS: dict[str, dict[str, float]] = {
    "ce": {},
    "weighted": {"gamma": 0.5},
    "logit_adjusted": {"tau": 1.0},
    "cdt": {"gamma": 0.25},
    "ldt": {"gamma": 0.5},
    "vs": {"gamma": 0.25, "tau": 1.0},
    "ldam": {"max_margin": 0.5},
}
FOLDABLE = ("logit_adjusted", "cdt", "vs")

Step = Callable[[nn.Linear, Tensor, Tensor], Tensor]


class Size(NamedTuple):
    """A batch, how often to run it, and the ratio not to exceed."""

    batch: int
    num_classes: int
    rounds: int
    target: float


SIZES = (Size(128, 10, 2000, 1.10), Size(128, 1000, 100, 1.05), Size(512, 32000, 7, 1.15))


def cross_entropy(head: nn.Linear, embeddings: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(head(embeddings), labels)


def in_the_loss(criterion: VSLoss) -> Step:
    return lambda head, embeddings, labels: criterion(head(embeddings), labels)


def in_the_head(criterion: VSLoss) -> Step:
    scale, shift = criterion.class_scale, criterion.shift
    return lambda head, embeddings, labels: F.cross_entropy(
        vs_linear(embeddings, head.weight, class_scale=scale, shift=shift), labels
    )


def with_the_head(criterion: VSLoss) -> Step:
    return lambda head, embeddings, labels: vs_linear_loss(criterion, embeddings, head.weight, labels)


def make_contenders(num_classes: int) -> dict[str, Step]:
    counts = ClassCounts.exponential(num_classes=num_classes, imbalance_ratio=100, max_count=5000)
    losses = {rule: VSLoss(make_parameterization(rule, counts, **given)) for rule, given in HYPERPARAMETERS.items()}
    return {
        "F.cross_entropy": cross_entropy,
        **{rule: in_the_loss(criterion) for rule, criterion in losses.items()},
        **{f"{rule}, folded": in_the_head(losses[rule]) for rule in FOLDABLE},
        **{f"{rule}, fused": with_the_head(criterion) for rule, criterion in losses.items()},
    }


def seconds(step: Step, head: nn.Linear, embeddings: Tensor, labels: Tensor) -> float:
    head.zero_grad(set_to_none=True)
    embeddings.grad = None
    start = time.perf_counter()
    step(head, embeddings, labels).backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - start


def measure(size: Size, *, compiled: bool) -> dict[str, NDArray[np.float64]]:
    """Return seconds of F.cross_entropy and of each contender in every round, shape (rounds, 2)."""
    torch.manual_seed(0)
    head = nn.Linear(FEATURE_DIM, size.num_classes, bias=False)
    batch = torch.randn(size.batch, FEATURE_DIM, requires_grad=True), torch.randint(size.num_classes, (size.batch,))
    warm_up = 1 + size.rounds // 10
    times: dict[str, NDArray[np.float64]] = {}
    for name, contender in make_contenders(size.num_classes).items():
        steps: list[Step] = [cross_entropy, contender]
        if compiled:
            torch.compiler.reset()
            steps = [torch.compile(step) for step in steps]
        pairs = np.empty((warm_up + size.rounds, 2))
        for turn, pair in enumerate(pairs):
            for i in (0, 1) if turn % 2 else (1, 0):
                pair[i] = seconds(steps[i], head, *batch)
        times[name] = pairs[warm_up:]
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    parser.add_argument("--compile", action="store_true", help="compile both sides with torch.compile")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    gc.disable()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s) on {os.cpu_count()} cores")
    for size in SIZES:
        print(f"\nbatch {size.batch}, {size.num_classes} classes, {size.rounds} rounds")
        print(f"{'loss':<24}{'step [us]':>12}{'ratio':>8}{'quartiles':>16}{'best':>8}{'target':>8}")
        for name, pairs in measure(size, compiled=given.compile).items():
            low, middle, high = np.percentile(pairs[:, 1] / pairs[:, 0], (25, 50, 75))
            step = 1e6 * np.median(pairs[:, 1])
            best = pairs[:, 1].min() / pairs[:, 0].min()
            spread = f"{low:.3f}-{high:.3f}"
            print(f"{name:<24}{step:>12.0f}{middle:>8.3f}{spread:>16}{best:>8.3f}{size.target:>8.2f}")


if __name__ == "__main__":
    main()
