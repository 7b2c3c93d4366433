"""Reading 1,000 finished runs into one table: records of ten classes, 512-dimensional vectors beside them on disk."""

from __future__ import annotations

import tempfile
import time

import numpy as np

from implicit_geometry.counts import ClassCounts
from implicit_geometry.experiments.record_columns import records_frame
from implicit_geometry.experiments.run import TrainedRun
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.store import RunStore, existing_store, open_store

NUM_RUNS, FEATURE_DIM, ROUNDS, TARGET = 1000, 512, 5, 2.0
COUNTS = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=500)
NUMBERS = 60  # of a record: accuracies, geometry, distances


def fill(store: RunStore) -> None:
    random = np.random.default_rng(0)
    counts = tuple(COUNTS.values.tolist())
    for seed in range(NUM_RUNS):
        spec = RunSpec("cdt", {"gamma": 0.5}, counts, seed=seed)
        numbers = {f"number_{place}": float(value) for place, value in enumerate(random.normal(size=NUMBERS))}
        vectors = random.normal(size=(2, COUNTS.num_classes, FEATURE_DIM))
        record = {"run": spec.key, "rule": spec.rule, "terminal_phase": True, **numbers, "versions": {"torch": "2.8"}}
        history = [{"epoch": epoch, **numbers} for epoch in range(1, 6)]
        store.save(TrainedRun(spec, record, {"classifier": vectors[0], "embedding": vectors[1]}, history))


def read(store: RunStore) -> tuple[float, float]:
    """Wall and processor seconds of one reading."""
    wall, processor = time.perf_counter(), time.process_time()
    table = records_frame(store.contents().runs)
    assert len(table) == NUM_RUNS
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        fill(open_store(folder))
        times = np.array([read(existing_store(folder)) for _ in range(ROUNDS)])
    wall, processor = np.median(times, axis=0)
    print(
        f"{NUM_RUNS:,} runs into a table: {wall:.2f} s, of which {processor:.2f} s of processor (medians of {ROUNDS})"
    )
    print(f"from {times[:, 0].min():.2f} to {times[:, 0].max():.2f} s; target at most {TARGET:.1f} s")


if __name__ == "__main__":
    main()
