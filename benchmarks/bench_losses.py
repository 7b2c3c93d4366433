"""VSLoss against F.cross_entropy: forward and backward of a linear head (d = 512, no bias) and the loss, side by side.

In every round each contender takes turns with F.cross_entropy, step by step; a ratio is the median over the rounds of
the contender's step over the step of F.cross_entropy beside it. F.cross_entropy against itself says how far to trust
the others. "folded" is the same loss with scale and shift in the head (vs_linear).
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
from implicit_geometry.nn.heads import vs_linear
from implicit_geometry.nn.losses import VSLoss
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
    vectors = {"class_scale": criterion.class_scale, "shift": criterion.shift}
    return lambda head, embeddings, labels: F.cross_entropy(vs_linear(embeddings, head.weight, **vectors), labels)


def make_contenders(num_classes: int) -> dict[str, Step]:
    counts = ClassCounts.exponential(num_classes=num_classes, imbalance_ratio=100, max_count=5000)
    losses = {rule: VSLoss(make_parameterization(rule, counts, **given)) for rule, given in HYPERPARAMETERS.items()}
    return {
        "F.cross_entropy": cross_entropy,
        **{rule: in_the_loss(criterion) for rule, criterion in losses.items()},
        **{f"{rule}, folded": in_the_head(losses[rule]) for rule in FOLDABLE},
    }


def seconds(step: Step, head: nn.Linear, embeddings: Tensor, labels: Tensor) -> float:
    head.zero_grad(set_to_none=True)
    embeddings.grad = None
    start = time.perf_counter()
    step(head, embeddings, labels).backward()
    return time.perf_counter() - start


def measure(size: Size) -> dict[str, NDArray[np.float64]]:
    """Return seconds of F.cross_entropy and of each contender in every round, shape (rounds, 2)."""
    torch.manual_seed(0)
    head = nn.Linear(FEATURE_DIM, size.num_classes, bias=False)
    embeddings = torch.randn(size.batch, FEATURE_DIM, requires_grad=True)
    labels = torch.randint(size.num_classes, (size.batch,))
    contenders = make_contenders(size.num_classes)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(size.rounds + 1):
        for name, step in contenders.items():
            pair = seconds(cross_entropy, head, embeddings, labels), seconds(step, head, embeddings, labels)
            times[name].append(pair)
    return {name: np.array(pairs[1:]) for name, pairs in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    torch.set_num_threads(parser.parse_args().threads)
    gc.disable()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s) on {os.cpu_count()} cores")
    for size in SIZES:
        print(f"\nbatch {size.batch}, {size.num_classes} classes, {size.rounds} rounds")
        print(f"{'loss':<24}{'step [us]':>12}{'ratio':>8}{'quartiles':>16}{'target':>8}")
        for name, pairs in measure(size).items():
            low, middle, high = np.percentile(pairs[:, 1] / pairs[:, 0], (25, 50, 75))
            step = 1e6 * np.median(pairs[:, 1])
            print(f"{name:<24}{step:>12.0f}{middle:>8.3f}{f'{low:.3f}-{high:.3f}':>16}{size.target:>8.2f}")


if __name__ == "__main__":
    main()
