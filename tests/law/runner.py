"""``make attack``: run the attack with new cases on several processes, and print what became of them.

Exit code 1 where the law is broken, with what reproduces it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

from law.attack import OUTCOMES, VIOLATION, Tally  # noqa: E402

_MOST_REPRODUCERS = 5  # of one attack


def part(job: tuple[int, int, int, str]) -> tuple[int, Tally, float]:
    """One attack's share of the cases of one process."""
    import torch

    from law.attack import run
    from law.table import ATTACKS

    index, cases, seed, _ = job
    torch.set_num_threads(1)
    started = time.process_time()
    tally = run(ATTACKS[index], cases, start=seed, keep_going=True)
    return index, tally, time.process_time() - started


def main() -> int:
    """Run the attack."""
    from law.table import ATTACKS, cases_of

    parser = argparse.ArgumentParser(description="Attack every public entry point.")
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="other seeds draw other cases")
    parser.add_argument("--only", default="", help="attacks whose name holds this text")
    options = parser.parse_args()
    jobs = []
    for index, attack in enumerate(ATTACKS):
        if options.only in attack.name:
            each = -(-cases_of(attack, options.cases) // options.processes)
            jobs += [(index, each, options.seed * 1000 + process, attack.name) for process in range(options.processes)]
    jobs.sort(key=lambda job: -job[1])
    tallies = {index: Tally() for index, *_ in jobs}
    seconds = dict.fromkeys(tallies, 0.0)
    started = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with context.Pool(options.processes) as pool:
        for done, (index, tally, spent) in enumerate(pool.imap_unordered(part, jobs), 1):
            tallies[index].outcomes.update(tally.outcomes)
            tallies[index].reproducers += tally.reproducers
            seconds[index] += spent
            print(
                f"{done}/{len(jobs)} parts, {time.monotonic() - started:.0f} s: {ATTACKS[index].name}", file=sys.stderr
            )
    rows = [("entry point", "cases", *OUTCOMES, "CPU s")]
    for index in sorted(tallies):
        found = tallies[index].outcomes
        rows.append((ATTACKS[index].name, *_counts(found), f"{seconds[index]:.0f}"))
    total = sum((tally.outcomes for tally in tallies.values()), type(tallies[jobs[0][0]].outcomes)())
    rows.append(("all", *_counts(total), f"{sum(seconds.values()):.0f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print(
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )
    print(f"{total.total():,} cases in {time.monotonic() - started:.0f} s, {total[VIOLATION]} violations")
    for index in sorted(tallies):
        for reproducer in tallies[index].reproducers[:_MOST_REPRODUCERS]:
            print(f"\n{reproducer[:3000]}")
    return int(total[VIOLATION] > 0)


def _counts(outcomes: dict[str, int]) -> tuple[str, ...]:
    return (f"{sum(outcomes.values())}", *(f"{outcomes.get(name, 0)}" for name in OUTCOMES))


if __name__ == "__main__":
    sys.exit(main())
