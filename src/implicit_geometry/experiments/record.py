"""Finished runs as one table, one row a run, with words for what a run was."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from implicit_geometry._files import write_atomically
from implicit_geometry._validate import InputError
from implicit_geometry.counts import ClassCounts
from implicit_geometry.experiments.spec import DataSpec, NetworkSpec, Optimization, TrialSpec
from implicit_geometry.experiments.store import Run
from implicit_geometry.rules import find_rule


def exponent(spec: TrialSpec) -> float:
    """The value of the hyperparameter a rule is plotted against; 0 for plain cross-entropy."""
    return find_rule(spec.rule).value(spec.hyperparameters)


def variant(spec: TrialSpec) -> str:
    """The other hyperparameters of a rule where they differ from their defaults.

    Example:
        >>> variant(TrialSpec("vs", {"gamma": 0.5, "tau": 0.25}, counts=(100, 10)))
        'tau 0.25'
        >>> variant(TrialSpec("vs", {"gamma": 0.5, "tau": 1.0}, counts=(100, 10)))
        ''
    """
    rule = find_rule(spec.rule)
    usual = rule.hyperparameter_defaults()
    given = {
        name: value
        for name, value in spec.hyperparameters.items()
        if name != rule.exponent and value != usual.get(name)
    }
    return ", ".join(f"{name} {_short(value)}" for name, value in sorted(given.items()))


@lru_cache
def profile_text(counts: tuple[int, ...]) -> str:
    """Class counts in a few words.

    Example:
        >>> profile_text((120, 120, 12, 12)), profile_text((5,) * 10), profile_text((90, 30, 10))
        ('step:4,10 of 120', '10 x 5', 'exp:3,9 of 90')
    """
    values = ClassCounts(counts).values
    k, largest, smallest = values.size, int(values[0]), int(values[-1])
    ratio = largest / smallest
    if (values == largest).all():
        return f"{k} x {largest}"
    minorities = int(np.count_nonzero(values == smallest))
    if (np.sort(values)[::-1] == values).all() and minorities + np.count_nonzero(values == largest) == k:
        fraction = "" if 2 * minorities == k else f",{minorities / k:.3g}"
        return f"step:{k},{ratio:.4g}{fraction} of {largest}"
    if _is_exponential(values, ratio, largest):
        return f"exp:{k},{ratio:.4g} of {largest}"
    return f"{k} classes of {values.min()} to {values.max()}"


def data_text(data: DataSpec) -> str:
    """A data set and what is not as usual about it.

    Example:
        >>> data_text(DataSpec()), data_text(DataSpec("mnist", test_per_class=None, augment=True))
        ('digits', 'mnist (augment)')
    """
    return _with_options(data.name, _unusual(data))


def network_text(network: NetworkSpec) -> str:
    """A network and its options.

    Example:
        >>> network_text(NetworkSpec("mlp", {"depth": 6, "width": 2048}))
        'mlp (depth 6, width 2048)'
    """
    return _with_options(network.name, network.options)


def optimization_text(plan: Optimization) -> str:
    """How a run was trained.

    Example:
        >>> optimization_text(Optimization())
        '300 epochs, batch 128, rate 0.1 (cosine), momentum 0.9, weight decay 0.0005'
    """
    precision = "" if plan.precision == "32-true" else f", {plan.precision}"
    return (
        f"{plan.epochs} epochs, batch {plan.batch_size}, rate {plan.learning_rate:g} ({plan.schedule}), "
        f"momentum {plan.momentum:g}, weight decay {plan.weight_decay:g}{precision}"
    )


def records_frame(runs: Iterable[Run]) -> pd.DataFrame:
    """Gather runs, one a row.

    Columns: what the run was (``run``, ``rule``, ``exponent``, ``variant``, ``seed``, ``data``, ``profile``,
    ``num_classes``, ``num_samples``, ``imbalance_ratio``, ``network``, ``optimization``), the record's, and spec and
    versions as JSON text. A number that a record lacks is NaN.
    """
    columns = pd.DataFrame([_row(run) for run in runs])
    empty = [name for name in columns if columns[name].isna().all()]
    return columns.astype(dict.fromkeys(empty, float))


def write_records(records: pd.DataFrame, path: Path) -> None:
    """Write the table as Parquet, whole or not at all."""
    write_atomically(path, lambda part: records.to_parquet(part, index=False))


def _row(run: Run) -> dict[str, Any]:
    spec = run.spec
    counts = spec.counts
    described = {
        "run": spec.key,
        "rule": spec.rule,
        "exponent": exponent(spec),
        "variant": variant(spec),
        "seed": spec.seed,
        "data": data_text(spec.data),
        "profile": profile_text(counts),
        "num_classes": len(counts),
        "num_samples": sum(counts),
        "imbalance_ratio": max(counts) / min(counts),
        "network": network_text(spec.network),
        "optimization": optimization_text(spec.optimization),
    }
    return {
        **described,
        **{name: value for name, value in run.record.items() if name not in described},
        "spec": json.dumps(spec.to_dict(), sort_keys=True),
        "versions": json.dumps(run.record.get("versions", {}), sort_keys=True),
    }


def _is_exponential(values: Any, ratio: float, largest: int) -> bool:
    try:
        same = ClassCounts.exponential(num_classes=values.size, imbalance_ratio=ratio, max_count=largest)
    except InputError:
        return False
    return bool((same.values == values).all())


def _unusual(data: DataSpec) -> dict[str, Any]:
    """The options that are set and differ from their defaults."""
    options = {item.name: (getattr(data, item.name), item.default) for item in fields(data) if item.name != "name"}
    return {name: value for name, (value, usual) in options.items() if value is not None and value != usual}


def _with_options(name: str, options: dict[str, Any]) -> str:
    texts = [option if value is True else f"{option} {_short(value)}" for option, value in options.items()]
    return f"{name} ({', '.join(texts)})" if texts else name


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
