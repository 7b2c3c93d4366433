"""Hundreds of kinds of classes with all vectors drawn at random: how many are certified, and is every certificate true.

    cd tests && python -m numerics.many_kinds LOG --problems 500

One line a problem is added to LOG; a second call goes on after the last one. Exit code 1 if a certificate is wrong or a
problem breaks down.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import numpy as np

from implicit_geometry import Problem, predict
from ridge_oracles import random_many_kinds, sample_loss

_CERTIFIED = 1e-8
_AGREES = 1e-9  # relative difference of objectives that summation in another order may make


class Outcome(NamedTuple):
    """What one problem came to: ``certified``, ``open`` (a gap that is stated), ``slow``, ``wrong`` or ``broken``."""

    seed: int
    kinds: int
    head: str
    gap: float
    seconds: float
    verdict: str


def problem_of(seed: int) -> Problem:
    """50 to 600 kinds, evenly on a logarithmic scale; heads without a bias, a free one, one with a ridge, by turns."""
    kinds = int(np.exp(np.random.default_rng([seed, 1]).uniform(np.log(50), np.log(601))))
    return random_many_kinds(seed, kinds, head=("none", "free", "none", "ridge")[seed % 4])


def objective(problem: Problem, mean_logits: np.ndarray, bias: np.ndarray | None) -> float:
    """Of whole matrices, from mean logits and bias alone."""
    counts = problem.counts.values
    shift = np.zeros(counts.size) if bias is None else bias
    losses = (
        count * sample_loss(problem.parameterization, mean_logits[:, label] + shift, label)[0]
        for label, count in enumerate(counts)
    )
    norm = np.linalg.norm(mean_logits * np.sqrt(counts), "nuc")
    return float(sum(losses) + problem.ridge * norm + 0.5 * problem.bias_ridge * (shift @ shift))


def outcome(seed: int, limit: float) -> Outcome:
    """Solve one problem within a number of processor seconds."""
    problem = problem_of(seed)
    head = "none" if not problem.bias else "free" if problem.free_bias else "ridge"
    start, gap = time.process_time(), float("nan")
    signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        solution = predict(problem)
        signal.setitimer(signal.ITIMER_PROF, 0)
        seconds, gap = time.process_time() - start, solution.certificate.relative_gap
        reached = objective(problem, solution.geometry.cross.dense(), solution.bias)
        certificate = solution.certificate
        true = reached <= certificate.primal + _AGREES * reached and certificate.dual <= reached * (1 + _AGREES)
        verdict = ("certified" if gap <= _CERTIFIED else "open") if true else "wrong"
    except TimeoutError:
        seconds, verdict = limit, "slow"
    except Exception as error:
        signal.setitimer(signal.ITIMER_PROF, 0)
        seconds, verdict = time.process_time() - start, f"broken: {type(error).__name__}"
    return Outcome(seed, problem.num_classes, head, gap, seconds, verdict)


def _too_long(_: int, __: FrameType | None) -> None:
    raise TimeoutError


def main() -> int:
    parser = argparse.ArgumentParser(prog="numerics.many_kinds", description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--limit", type=float, default=120.0, help="processor seconds for one problem")
    given = parser.parse_args()
    lines = given.log.read_text().splitlines() if given.log.exists() else []
    for seed in range(len(lines), given.problems):
        found = outcome(seed, given.limit)
        lines.append("\t".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in found))
        with given.log.open("a") as log:
            log.write(lines[-1] + "\n")
    verdicts = [line.split("\t")[-1].split(":")[0] for line in lines]
    for verdict in ("certified", "open", "slow", "wrong", "broken"):
        print(f"{verdicts.count(verdict):5} {verdict}")
    slowest = max(lines, key=lambda line: float(line.split("\t")[4]))
    print(f"slowest: {slowest}")
    return 1 if {"wrong", "broken"} & set(verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
