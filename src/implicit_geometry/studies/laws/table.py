"""Networks against laws: distances of every run to every law, and their medians over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from implicit_geometry.comparison import split_distance
from implicit_geometry.experiments.run import MeasuredRun
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.spec_texts import exponent
from implicit_geometry.frames import FramedGeometry
from implicit_geometry.geometry import Geometry
from implicit_geometry.gram import Gram
from implicit_geometry.groups import exchangeable_classes
from implicit_geometry.studies.laws.plan import MAIN_LOSSES, StudyNetwork, bench_of, data_title
from implicit_geometry.studies.laws.predictions import LAWS, FittedCosts, Trained, fitted_costs, predicted
from implicit_geometry.summary import FRAMED_BLOCKS

SETTING = ("data", "normalization", "label_smoothing", "imbalance_ratio")
"""What a fit is of: networks that differ in loss and seed only."""

MEASURED = ("train_overall", "test_balanced", "nc1", "classifier_norm_ratio", "embedding_norm_ratio")
"""Columns of a run's record."""

PARTS = (
    *(f"{block}_{part}" for block in FRAMED_BLOCKS for part in ("systematic", "heterogeneity")),
    "logits_systematic",
    "logits_scale",
)
"""Distances of a run to a law; the last two of mean logits in absolute scale, where the law has one."""


def law_rows(runs: Sequence[MeasuredRun]) -> pd.DataFrame:
    """Distances of finished runs to every law.

    Args:
        runs: of :func:`implicit_geometry.studies.laws.plan.study_specs`.

    Returns:
        One row per run and law: :data:`SETTING`, ``rule``, ``exponent``, ``main`` (whether the loss is trained at every
        imbalance ratio), ``seed``, ``law`` (of :data:`implicit_geometry.studies.laws.predictions.LAWS`), the law's
        ``count_exponent`` (with ``_low`` and ``_high``, the ends of its interval, where it was fitted) and ``ridge``,
        :data:`PARTS` (NaN where theory refuses the law) and :data:`MEASURED`.
    """
    rows: list[dict[str, Any]] = []
    ordered = sorted(runs, key=_setting)
    for setting, same in groupby(ordered, key=_setting):
        members = list(same)
        fitted = _fitted(members)
        for run in members:
            rows += _rows_of_run(run, dict(zip(SETTING, setting, strict=True)), fitted)
    return pd.DataFrame(rows)


def law_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Medians over seeds, one row per setting, loss and law, with the number of runs.

    Args:
        rows: what :func:`law_rows` returns.
    """
    keys = [*SETTING, "rule", "exponent", "main", "law"]
    groups = rows.groupby(keys, sort=False)
    table = groups.size().to_frame("runs")
    medians = groups[[name for name in rows if name not in (*keys, "seed")]].median()
    return pd.concat([table, medians], axis=1).reset_index()


def law_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Medians over plain cross-entropy, CDT and LDT at 1/2, one row per setting and law.

    Args:
        table: what :func:`law_table` returns.
    """
    keys = [*SETTING, "law"]
    groups = table[table["main"]].groupby(keys, sort=False)
    numbers = groups[[name for name in table if name not in (*keys, "rule", "exponent", "main", "runs")]].median()
    return pd.concat([groups["runs"].sum(), numbers], axis=1).reset_index()


def _network_of(spec: RunSpec) -> StudyNetwork:
    return next(each for each in bench_of(spec.data.name).networks if each.network == spec.network)


def _setting(run: MeasuredRun) -> tuple[str, str, float, float]:
    spec = run.spec
    ratio = spec.class_counts().imbalance_ratio
    return data_title(spec.data.name), _network_of(spec).normalization, spec.label_smoothing, ratio


def _geometry(run: MeasuredRun) -> Geometry:
    return Geometry.from_factors(run.arrays["classifier"], run.embedding("projected"))


def _fitted(runs: Sequence[MeasuredRun]) -> FittedCosts | None:
    plain = [run for run in runs if run.spec.rule == "ce"]
    return fitted_costs([_geometry(run) for run in plain], plain[0].problem) if plain else None


def _rows_of_run(run: MeasuredRun, setting: dict[str, Any], fitted: FittedCosts | None) -> list[dict[str, Any]]:
    network = _network_of(run.spec)
    decay = run.spec.optimization.weight_decay
    trained = Trained(run.problem, network.normalization, network.features, decay, fitted)
    measured = FramedGeometry(_geometry(run), Gram.from_factors(run.embedding("centred")))
    described = {
        **setting,
        "rule": run.spec.rule,
        "exponent": exponent(run.spec),
        "main": (run.spec.rule, run.spec.hyperparameters) in MAIN_LOSSES,
        "seed": run.spec.seed,
    }
    record = {name: run.record[name] for name in MEASURED}
    return [{**described, "law": name, **_against(name, trained, measured), **record} for name in LAWS]


def _against(name: str, trained: Trained, measured: FramedGeometry) -> dict[str, float]:
    """One law beside one run."""
    law = LAWS[name]
    problem = law.problem(trained)
    found = dict.fromkeys(("count_exponent", "count_exponent_low", "count_exponent_high", "ridge", *PARTS), np.nan)
    if problem is None:
        return found
    found["ridge"] = problem.ridge
    found["count_exponent"] = _exponent_of_cost(problem.embedding_cost, problem.counts.values)
    if law.fit is not None and trained.fitted is not None:
        found["count_exponent_low"], found["count_exponent_high"] = law.fit(trained.fitted).interval
    theory = predicted(problem)
    if theory is None:
        return found
    group = exchangeable_classes("problem", problem).group
    others = theory.blocks()
    for block, gram in measured.blocks().items():
        _, systematic, heterogeneity = split_distance(gram, others[block], group)
        found[f"{block}_systematic"], found[f"{block}_heterogeneity"] = systematic, heterogeneity
    if problem.ridge or problem.label_smoothing:
        scale = measured.geometry.cross.frobenius_norm() / theory.geometry.cross.frobenius_norm()
        found["logits_scale"] = scale
        found["logits_systematic"] = _in_absolute_scale(scale, found["cross_systematic"], found["cross_heterogeneity"])
    return found


def _exponent_of_cost(cost: Any, counts: Any) -> float:
    """The exponent a of prices n^a."""
    return float(np.log(cost[0] / cost[-1]) / np.log(counts[0] / counts[-1]))


def _in_absolute_scale(scale: float, systematic: float, heterogeneity: float) -> float:
    """Systematic distance |A' - T| / |T| of a block A, A' its average, to a predicted T, from that of unit norms.

    With r = |A| / |T| and A', T over their norms |A| and |T|: |A'|^2 = 1 - heterogeneity^2, and twice their inner
    product is |A'|^2 + 1 - systematic^2.
    """
    averaged = 1 - heterogeneity**2
    return float(np.sqrt(max(scale**2 * averaged - scale * (averaged + 1 - systematic**2) + 1, 0.0)))
