"""Which logits, for which prior? Plain, linked and fitted ones of every loss, on networks of the same data."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import torch

from implicit_geometry._validate import Floats, InputError, Ints
from implicit_geometry.correction.fit import NoFiniteTemperature, fit_logit_correction
from implicit_geometry.correction.logits import LogitCorrection, logit_correction
from implicit_geometry.experiments.spec import DataSpec, NetworkSpec, Optimization, RunSpec
from implicit_geometry.experiments.store import RunStore
from implicit_geometry.experiments.training.batches import ordered_batches
from implicit_geometry.experiments.training.evaluation import all_logits
from implicit_geometry.experiments.training.train_run import Resources, split_of
from implicit_geometry.nn.calibration import calibration
from implicit_geometry.nn.networks import make_network
from implicit_geometry.studies.accuracy import BENCHES, Bench, study_counts
from implicit_geometry.studies.intervals import means_with_intervals

LOSSES: tuple[tuple[str, dict[str, float]], ...] = (
    ("ce", {}),
    ("weighted", {"gamma": 1.0}),
    ("logit_adjusted", {"tau": 1.0}),
    ("cdt", {"gamma": 0.25}),
    ("ldt", {"gamma": 0.5}),
    ("vs", {"gamma": 0.25, "tau": 1.0}),
    ("ldam", {"max_margin": 0.5}),
)
PROFILE, RATIO = "exponential", 100
SEEDS = (0, 1, 2, 3, 4)
PRIORS = ("balanced", "train")
METHODS = ("plain", "link", "fitted plain", "fitted link")
MEASURES = ("accuracy", "balanced_accuracy", "nll", "ece", "brier")
_IMAGES = Bench(
    DataSpec("images", None, 100, augment=True),
    800,
    Optimization(epochs=30, batch_size=64, weight_decay=5e-4),
    NetworkSpec("resnet18", {"width": 8}),
)


def bench_of(data: str) -> Bench:
    """How the networks of a data set are trained: as in the accuracy study, or a thin ResNet18 for ``folder:PATH``.

    Raises:
        InputError: the data set is in neither.
    """
    if data.startswith("folder:"):
        return replace(_IMAGES, data=replace(_IMAGES.data, name=data))
    if data not in BENCHES:
        raise InputError("data", f"must be one of {', '.join(BENCHES)} or folder:PATH", repr(data))
    return BENCHES[data]


def study_specs(data: str, *, seeds: Sequence[int] = SEEDS) -> list[RunSpec]:
    """All runs on one data set: losses, seeds."""
    bench = bench_of(data)
    counts = tuple(study_counts(PROFILE, RATIO, bench.max_count).values.tolist())
    return [
        RunSpec(rule, given, counts, bench.data, bench.network, bench.optimization, seed)
        for rule, given in LOSSES
        for seed in seeds
    ]


def corrections(spec: RunSpec, held_out: Floats, labels: Ints, prior: str) -> dict[str, LogitCorrection | None]:
    """The logits that are compared, by method: none for the plain ones.

    Args:
        spec: the run.
        held_out: logits of held-out samples, shape (n, k).
        labels: their classes, shape (n,).
        prior: ``"balanced"`` or ``"train"``.

    Returns:
        A correction for each of :data:`METHODS`; none by a method that cannot be fitted, for all held-out samples are
        classified rightly.
    """
    counts, loss = spec.class_counts(), spec.parameterization()
    found: dict[str, LogitCorrection | None] = {"plain": None, "link": logit_correction(counts, loss, prior)}
    for method, link in (("fitted plain", None), ("fitted link", loss)):
        with suppress(NoFiniteTemperature):
            found[method] = fit_logit_correction(held_out, labels, counts, prior, parameterization=link)
    return found


def samples_of_prior(labels: Ints, shares: Floats) -> Ints:
    """Samples of a balanced set that have a prior of their own: as many as there are of the largest class.

    Args:
        labels: classes of the set, shape (n,).
        shares: the prior, shape (k,).

    Returns:
        Their indices: the first ones of each class, at least one.

    Example:
        >>> samples_of_prior(np.array([0, 0, 0, 0, 1, 1, 1, 1]), np.array([0.8, 0.2])).tolist()
        [0, 1, 2, 3, 4]
    """
    size = np.bincount(labels, minlength=shares.size)
    wanted = np.maximum(np.round(shares / shares.max() * size.min()), 1)
    chosen = [np.flatnonzero(labels == c)[: int(n)] for c, n in enumerate(wanted)]
    return np.concatenate(chosen)


def logit_rows(store: RunStore, specs: Sequence[RunSpec], resources: Resources) -> pd.DataFrame:
    """How good the test logits of finished runs are, by method and prior.

    Args:
        store: that of the runs.
        specs: finished runs.
        resources: where their data are.

    Returns:
        One row per run, prior and method: ``data``, ``rule``, ``seed``, ``prior``, ``method``, ``tau``,
        ``temperature`` and :data:`MEASURES`.
    """
    rows = []
    for spec in specs:
        data = split_of(spec, resources.source(spec.data))
        network = make_network(spec.network.name, data.input_shape, len(spec.counts), **spec.network.options)
        network.load_state_dict({name: torch.tensor(array) for name, array in store.weights(spec).items()})
        if data.validation is None:
            raise InputError("specs", "must hold out validation samples", spec.key)
        held_out, test = (
            all_logits(network, ordered_batches(part, spec.optimization.batch_size))
            for part in (data.validation, data.test)
        )
        shares = spec.class_counts().values / spec.class_counts().num_samples
        for prior in PRIORS:
            chosen = samples_of_prior(data.test_labels, shares if prior == "train" else np.ones_like(shares))
            for method, correction in corrections(spec, held_out, data.validation_labels, prior).items():
                rows.append(
                    {
                        "data": spec.data.name,
                        "rule": spec.rule,
                        "seed": spec.seed,
                        "prior": prior,
                        "method": method,
                        "tau": np.nan if correction is None else correction.tau,
                        "temperature": np.nan if correction is None else correction.temperature,
                        **asdict(calibration(test[chosen], data.test_labels[chosen], correction)),
                    }
                )
    return pd.DataFrame(rows)


def logit_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds with Student's 95 % intervals, one row per data set, prior, rule and method.

    Args:
        rows: what :func:`logit_rows` returns.

    Returns:
        Columns ``data``, ``prior``, ``rule``, ``method``, ``runs``; for each of :data:`MEASURES` its mean and
        ``_half``, half the width of the interval (NaN for one run); means of ``tau`` and ``temperature``.
    """
    keys = ["data", "prior", "rule", "method"]
    groups = rows.groupby(keys, sort=False)
    table = means_with_intervals(groups, MEASURES)
    for name in ("tau", "temperature"):
        table[name] = groups[name].mean()
    return table.reset_index()
