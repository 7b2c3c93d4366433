"""Head and loss of 131,072 classes, d = 512, batch 2,048, forward and backward: vs_linear_loss against logits + VSLoss.

Each contender runs in a process of its own, whose peak of resident memory counts from where weights, inputs and
gradients are held. Times are of the processor, one thread: set OMP_NUM_THREADS=1. About five minutes.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

import implicit_geometry as ig
from implicit_geometry.nn import VSLoss, vs_linear_loss

NUM_CLASSES, FEATURE_DIM, BATCH, ROUNDS = 131_072, 512, 2048, 5
MOST_MEMORY, MOST_TIME = 0.25, 1.3


def peak() -> float:
    """Of resident memory, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def run(name: str) -> None:
    """Print the median of processor seconds and the memory above weights, inputs and gradients."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    counts = ig.ClassCounts.exponential(num_classes=NUM_CLASSES, imbalance_ratio=100, max_count=5000)
    criterion = VSLoss(ig.vs(counts, gamma=0.25, tau=1.0))
    weight = torch.randn(NUM_CLASSES, FEATURE_DIM).div_(FEATURE_DIM**0.5).requires_grad_()
    embeddings = torch.randn(BATCH, FEATURE_DIM, requires_grad=True)
    labels = torch.randint(NUM_CLASSES, (BATCH,))
    weight.grad, embeddings.grad = torch.zeros_like(weight), torch.zeros_like(embeddings)
    held, times = peak(), []
    for _ in range(ROUNDS):
        start = time.process_time()
        if name == "vs_linear_loss":
            loss = vs_linear_loss(criterion, embeddings, weight, labels)
        else:
            loss = criterion(F.linear(embeddings, weight), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        times.append(time.process_time() - start)
    print(float(np.median(times)), peak() - held)


def main() -> None:
    found = {}
    for name in ("logits + VSLoss", "vs_linear_loss"):
        done = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True, check=True)
        seconds, memory = found[name] = tuple(map(float, done.stdout.split()))
        print(f"{name:16}{seconds:7.1f} s{memory:8.0f} MB above weights, inputs and gradients", flush=True)
    time_ratio, memory_ratio = (b / a for a, b in zip(*found.values(), strict=True))
    for what, ratio, most in (("time", time_ratio, MOST_TIME), ("memory", memory_ratio, MOST_MEMORY)):
        print(f"{what} {ratio:.2f}x, wanted <= {most}x{'  MISSED' if ratio > most else ''}")


if __name__ == "__main__":
    run(sys.argv[1]) if len(sys.argv) > 1 else main()
