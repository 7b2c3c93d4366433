"""Prediction of the limit: import, ten classes, a million classes, the whole command, error against a dense SVD."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

ROUNDS = 7
MILLION = """
import resource, time
import implicit_geometry as ig
ig.predict(ig.Problem([2, 1]))
counts = ig.ClassCounts.zipf(num_classes=1_000_000, num_samples=1_000_000_000)
problem = ig.Problem(counts, ig.vs(counts, gamma=0.2))
start = time.perf_counter()
solution = ig.predict(problem)
solution.geometry.classifier.norms(), solution.geometry.embedding.norms()
elapsed = time.perf_counter() - start
assert solution.certificate.relative_gap < 1e-10
print(elapsed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""
COMMAND = [sys.executable, "-m", "implicit_geometry", "predict", "step:10,100", "--json"]


def output_and_seconds(command: list[str]) -> tuple[str, float]:
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout, time.perf_counter() - start


def interleaved_medians(commands: dict[str, list[str]]) -> dict[str, float]:
    """Seconds of each command, run in turns so that a busy machine slows all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            seconds[name].append(output_and_seconds(command)[1])
    return {name: median(values) for name, values in seconds.items()}


def million_classes() -> tuple[float, float]:
    """Seconds after import and peak resident memory in GiB, each in a fresh process."""
    runs = [[float(word) for word in output_and_seconds([sys.executable, "-c", MILLION])[0].split()] for _ in range(3)]
    return median(run[0] for run in runs), max(run[1] for run in runs)


def ten_classes() -> float:
    """Milliseconds a prediction."""
    import implicit_geometry as ig

    counts = ig.ClassCounts.exponential(num_classes=10, imbalance_ratio=100)
    problem = ig.Problem(counts, ig.vs(counts, gamma=0.2))
    seconds = []
    for _ in range(101):
        start = time.perf_counter()
        ig.predict(problem)
        seconds.append(time.perf_counter() - start)
    return 1e3 * median(seconds)


def error_against_svd() -> float:
    """Largest normwise relative error of the two Grams, 200 classes, ratio a million, random scales."""
    import numpy as np

    import implicit_geometry as ig

    k, rng = 200, np.random.default_rng(0)
    counts = np.round(np.geomspace(1e6, 1, k))
    class_scale, label_scale = rng.uniform(0.3, 3, (2, k))
    parameters = ig.Parameterization(class_scale=class_scale, label_scale=label_scale)
    geometry = ig.predict(ig.Problem(counts, parameters)).geometry
    v = (1 / class_scale) / np.linalg.norm(1 / class_scale)
    logits = (np.eye(k) - np.outer(v, v)) * (np.sqrt(counts) / (class_scale * label_scale))
    left, singular, right = np.linalg.svd(logits)
    classifier = (left * singular) @ left.T
    embedding = (right.T * singular) @ right / np.sqrt(np.outer(counts, counts))
    pairs = ((geometry.classifier.dense(), classifier), (geometry.embedding.dense(), embedding))
    return max(float(np.linalg.norm(found - exact) / np.linalg.norm(exact)) for found, exact in pairs)


def rows() -> list[tuple[str, float, str, float]]:
    """What, measured, unit, largest wanted."""
    python = [sys.executable, "-c"]
    times = interleaved_medians(
        {
            "bare": [*python, "pass"],
            "numpy": [*python, "import numpy"],
            "package": [*python, "import implicit_geometry"],
            "predict": [*python, "import implicit_geometry; implicit_geometry.predict"],
            "command": COMMAND,
        }
    )
    ms = {name: 1e3 * (seconds - times["bare"]) for name, seconds in times.items()}
    seconds, memory = million_classes()
    return [
        ("import implicit_geometry", ms["package"], "ms", ms["numpy"]),
        ("import implicit_geometry, first use of predict", ms["predict"], "ms", 2 * ms["numpy"]),
        ("predict, 10 classes", ten_classes(), "ms", 5.0),
        ("predict, 1,000,000 classes (Zipf, 1e9 samples)", seconds, "s", 1.0),
        ("the same, peak resident memory", memory, "GiB", 4.0),
        ("error against dense SVD, k = 200, R = 1e6", error_against_svd(), "relative", 1e-12),
        ("igeom predict step:10,100 --json, whole process", times["command"], "s", 1.0),
    ]


def main() -> None:
    print(f"{'':50}{'measured':>12}{'target':>14}  unit")
    for what, measured, unit, target in rows():
        verdict = "" if measured <= target else "  MISSED"
        print(f"{what:50}{measured:12.3g}{'<= ' + format(target, '.3g'):>14}  {unit}{verdict}")


if __name__ == "__main__":
    main()
