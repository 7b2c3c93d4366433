"""Which loss generalises best, and does its geometry say so? The study that the paper leaves open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from implicit_geometry.counts import ClassCounts
from implicit_geometry.experiments.spec import DataSpec, NetworkSpec, Optimization, RunSpec
from implicit_geometry.studies.intervals import means_with_intervals

LOSSES: tuple[tuple[str, dict[str, float]], ...] = (
    ("ce", {}),
    *(("weighted", {"gamma": gamma}) for gamma in (0.5, 1.0)),
    *(("logit_adjusted", {"tau": tau}) for tau in (0.5, 1.0, 1.5)),
    *(("cdt", {"gamma": gamma}) for gamma in (0.125, 0.25, 0.5)),
    *(("ldt", {"gamma": gamma}) for gamma in (0.25, 0.5)),
    *(("vs", {"gamma": gamma, "tau": 1.0}) for gamma in (0.125, 0.25)),
    *(("ldam", {"max_margin": margin}) for margin in (0.5, 2.0)),
)
"""The grid of every setting: plain cross-entropy, and the exponents among which validation chooses."""

PROFILES = ("step", "exponential")
RATIOS = (10, 100)
SEEDS = (0, 1, 2, 3, 4)
ACCURACIES = ("balanced", "minority", "worst", "many", "medium", "few")
GEOMETRY = ("classifier_etf_distance", "classifier_limit_distance", "effective_ridge")
_SETTING = ["data", "profile", "imbalance_ratio"]


@dataclass(frozen=True)
class Bench:
    """A data set of the study and how to train on it.

    Attributes:
        data: test and validation samples of every class included.
        max_count: samples of the largest class.
        optimization: how to train.
        network: what to train.
    """

    data: DataSpec
    max_count: int
    optimization: Optimization
    network: NetworkSpec = field(default_factory=NetworkSpec)


BENCHES = {
    "digits": Bench(DataSpec("digits", 50, 20), 100, Optimization(epochs=100, batch_size=64, weight_decay=1e-3)),
    "mnist": Bench(DataSpec("mnist", 200, 50), 500, Optimization(epochs=100, batch_size=64, weight_decay=1e-3)),
    "cifar10": Bench(DataSpec("cifar10", 1000, 100), 4000, Optimization(epochs=200, weight_decay=5e-4)),
}


def study_counts(profile: str, imbalance_ratio: float, max_count: int, num_classes: int = 10) -> ClassCounts:
    """The class counts of a setting."""
    make = {"step": ClassCounts.step, "exponential": ClassCounts.exponential}[profile]
    return make(num_classes=num_classes, imbalance_ratio=imbalance_ratio, max_count=max_count)


def study_specs(data: str, *, seeds: Sequence[int] = SEEDS) -> list[RunSpec]:
    """All runs on one data set: profiles, ratios, losses with their exponents, seeds."""
    bench = BENCHES[data]
    return [
        RunSpec(
            rule,
            given,
            tuple(study_counts(profile, ratio, bench.max_count).values.tolist()),
            data=bench.data,
            network=bench.network,
            optimization=bench.optimization,
            seed=seed,
        )
        for profile in PROFILES
        for ratio in RATIOS
        for rule, given in LOSSES
        for seed in seeds
    ]


def with_settings(records: pd.DataFrame, specs: Sequence[RunSpec]) -> pd.DataFrame:
    """The records of the study's runs with its own names of the setting: ``data``, ``profile``, ``imbalance_ratio``."""
    named = {
        tuple(study_counts(profile, ratio, bench.max_count).values.tolist()): (profile, ratio)
        for bench in BENCHES.values()
        for profile in PROFILES
        for ratio in RATIOS
    }
    settings = {spec.key: (spec.data.name, *named[spec.counts]) for spec in specs}
    columns = zip(*(settings[key] for key in records["run"]), strict=True)
    return records.assign(**dict(zip(_SETTING, map(list, columns), strict=True)))


def chosen_by_validation(records: pd.DataFrame) -> pd.DataFrame:
    """The runs at the exponent that has the best mean balanced validation accuracy, in every setting and rule.

    Args:
        records: columns ``data``, ``profile``, ``imbalance_ratio``, ``rule``, ``exponent``, ``validation_balanced``.

    Returns:
        The rows of those runs. Of equal exponents the smallest in size wins.
    """
    keys = [*_SETTING, "rule"]
    means = records.groupby([*keys, "exponent"], as_index=False)["validation_balanced"].mean()
    order = means.assign(size=means["exponent"].abs()).sort_values(
        ["validation_balanced", "size"], ascending=[False, True], kind="stable"
    )
    best = order.drop_duplicates(keys)[[*keys, "exponent"]]
    return records.merge(best, on=[*keys, "exponent"])


def accuracy_table(chosen: pd.DataFrame) -> pd.DataFrame:
    """Mean and 95 % interval of the test accuracies over seeds, and the mean geometry, one row per setting and rule.

    Returns:
        Columns of the setting, ``rule``, ``exponent``, ``runs``; for every accuracy ``test_*`` its mean and
        ``test_*_half``, half the width of Student's interval (NaN for one run); means of :data:`GEOMETRY`, of the
        effective ridge the geometric one.
    """
    groups = chosen.groupby([*_SETTING, "rule", "exponent"])
    table = means_with_intervals(groups, [f"test_{name}" for name in ACCURACIES])
    for name in GEOMETRY[:2]:
        table[name] = groups[name].mean()
    logarithm = np.log(chosen["effective_ridge"]).groupby([chosen[name] for name in groups.keys])
    table["effective_ridge"] = np.exp(logarithm.mean())
    return table.reset_index()


def rank_correlations(records: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of each geometric number with balanced test accuracy over all losses of a setting.

    Seeds are averaged first, so that a point is a loss with its exponent.

    Returns:
        Columns of the setting, ``quantity``, ``correlation``, ``p_value`` (NaN where nothing varies) and ``losses``
        (how many points).
    """
    points = records.groupby([*_SETTING, "rule", "exponent"], as_index=False)[["test_balanced", *GEOMETRY]].mean()
    rows = []
    for setting, group in points.groupby(_SETTING):
        for quantity in GEOMETRY:
            varies = min(group[quantity].nunique(), group["test_balanced"].nunique()) > 1
            statistic, p_value = spearmanr(group[quantity], group["test_balanced"]) if varies else (np.nan, np.nan)
            rows.append(
                {
                    **dict(zip(_SETTING, setting, strict=True)),
                    "quantity": quantity,
                    "correlation": float(statistic),
                    "p_value": float(p_value),
                    "losses": len(group),
                }
            )
    return pd.DataFrame(rows)
