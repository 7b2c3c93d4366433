"""All faults, one after another; a table at the end, and exit code 1 where something was violated.

Usage: python -m faults [--kills N] [--seed S] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import atexit
import random
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from faults.scenarios import (
    Scenario,
    clock_jumps,
    full_disk,
    killed,
    ray_driver,
    ray_node,
    read_only,
    several_at_once,
)
from faults.sweeps import SWEEP, Ground, Result, Sweep

TARGETS = ("worker", "parent", "group")


def main() -> None:
    """Run the scenarios."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=54, help="of workers, parents and groups together (default: 54)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--only", nargs="*", default=[], help="names of scenarios")
    given = parser.parse_args()
    if sys.platform != "linux":
        sys.exit("faults needs Linux: it finds processes in /proc")
    scenarios: dict[str, Scenario] = {
        **{target: partial(killed, target, -(-given.kills // len(TARGETS))) for target in TARGETS},
        "several": several_at_once,
        "full-disk": full_disk,
        "read-only": read_only,
        "clock": clock_jumps,
        "ray-node": ray_node,
        "ray-driver": ray_driver,
    }
    unknown = set(given.only) - scenarios.keys()
    if unknown:
        sys.exit(f"only must be among {', '.join(scenarios)}, got {', '.join(sorted(unknown))}")
    start = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    atexit.register(lambda: [sweep.kill_group() for sweep in Sweep.started])
    with tempfile.TemporaryDirectory(prefix="igeom-faults-") as folder:
        ground, results = _undisturbed(Path(folder))
        for name, scenario in scenarios.items():
            if ground is not None and name in (given.only or scenarios):
                results.append(scenario(ground, random.Random(f"{given.seed} {name}")))
    _print_table(results, time.monotonic() - start)
    sys.exit(1 if any(result.violations for result in results) else 0)


def _undisturbed(folder: Path) -> tuple[Ground | None, list[Result]]:
    """The store that all others are compared with."""
    result = Result("undisturbed sweep")
    sweep = folder / "sweep.yaml"
    sweep.write_text(SWEEP, encoding="utf-8")
    start = time.monotonic()
    ground = Ground(folder, sweep, folder / "reference", 0.0)
    Sweep(ground, ground.reference).check_ended_well(result)
    seconds = time.monotonic() - start
    result.done = f"6 runs in {seconds:.0f} s"
    result.say(result.done)
    return (None if result.violations else Ground(folder, sweep, ground.reference, seconds)), [result]


def _print_table(results: list[Result], seconds: float) -> None:
    width = max(len(result.name) for result in results)
    print(f"\n{'fault':{width}}  violations  what was done")
    for result in results:
        done = f"skipped: {result.skipped}" if result.skipped else result.done
        print(f"{result.name:{width}}  {len(result.violations):10}  {done}")
    for result in results:
        for text in result.violations:
            print(f"{result.name}: {text}")
    total = sum(len(result.violations) for result in results)
    print(f"\n{total} violations in {seconds / 60:.1f} minutes")


if __name__ == "__main__":
    main()
