"""A sweep's overhead, and what a second worker brings: runs of the demo with one worker and with two, side by side.

"overhead" is the share of the workers' time that is not training: start of the processes, data, measurement, theory,
writing, and waiting for the last run. Training includes the live monitor and the checkpoint of every epoch.
"""

from __future__ import annotations

import argparse
import tempfile
import time

from implicit_geometry.experiments.backends.local_workers import cores, run_missing
from implicit_geometry.experiments.store import open_store
from implicit_geometry.studies.demo import demo_specs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=22, help="how many of the demo's runs (default: all 22)")
    specs = demo_specs()[: parser.parse_args().runs]
    wall = {}
    print(f"{len(specs)} runs of the demo on {cores()} cores")
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            store = open_store(folder)
            start = time.perf_counter()
            assert run_missing(store, specs, workers=workers).failures == ()
            wall[workers] = time.perf_counter() - start
            training = sum(store.load(spec).record["training_seconds"] for spec in specs)
        overhead = 1 - training / (workers * wall[workers])
        print(f"{workers} worker(s): {wall[workers]:.1f} s, overhead {overhead:.1%}, wanted at most 10 %")
    print(f"two workers are {wall[1] / wall[2]:.2f} times as fast as one, wanted at least 1.8")


if __name__ == "__main__":
    main()
