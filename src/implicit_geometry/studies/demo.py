"""The main job: digits with STEP imbalance, six losses over a grid of exponents, and the theory beside them.

Some of the losses are trained once more with smoothed labels, with which the geometry arrives.
"""

from __future__ import annotations

from dataclasses import replace

from implicit_geometry.counts import ClassCounts
from implicit_geometry.experiments.spec import NetworkSpec, Optimization, RunSpec

COUNTS = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=120)
NETWORK = NetworkSpec("mlp", {"depth": 3, "width": 256})
PLAN = Optimization(epochs=300, batch_size=64, learning_rate=0.1, weight_decay=1e-3)
RECORD_EVERY = 25

_TEMPERATURES = (-0.5, -0.25, 0.25, 0.5, 0.75, 1.0)
GRID: tuple[tuple[str, dict[str, float]], ...] = (
    ("ce", {}),
    *(("weighted", {"gamma": gamma}) for gamma in (0.5, 1.0, 1.5)),
    *(("logit_adjusted", {"tau": tau}) for tau in (0.5, 1.0, 1.5)),
    *(("cdt", {"gamma": gamma}) for gamma in _TEMPERATURES),
    *(("ldt", {"gamma": gamma}) for gamma in _TEMPERATURES),
    *(("vs", {"gamma": gamma, "tau": 1.0}) for gamma in (0.25, 0.5, 0.75)),
)

SMOOTHING = 0.1
SMOOTHED: tuple[tuple[str, dict[str, float]], ...] = (
    ("ce", {}),
    ("logit_adjusted", {"tau": 1.0}),
    *((rule, {"gamma": gamma}) for rule in ("cdt", "ldt") for gamma in (-0.5, 0.5)),
)
"""What is trained with smoothed labels besides."""


def demo_specs(*, seed: int = 0, epochs: int = PLAN.epochs) -> list[RunSpec]:
    """The runs of the demo, one per loss and exponent; those with smoothed labels last."""
    plan = replace(PLAN, epochs=epochs)
    counts = tuple(COUNTS.values.tolist())
    return [
        RunSpec(
            rule,
            dict(values),
            counts,
            network=NETWORK,
            optimization=plan,
            seed=seed,
            record_every=RECORD_EVERY,
            label_smoothing=smoothing,
        )
        for grid, smoothing in ((GRID, 0.0), (SMOOTHED, SMOOTHING))
        for rule, values in grid
    ]
