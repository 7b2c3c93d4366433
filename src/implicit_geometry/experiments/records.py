"""Finished runs as one table, one row a run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from implicit_geometry.experiments.spec import TrialSpec
from implicit_geometry.experiments.store import Run, write_atomically

_EXPONENTS = ("gamma", "tau", "max_margin")


def exponent(spec: TrialSpec) -> float:
    """The hyperparameter a rule is plotted against: gamma, else tau, else max_margin; 0 for plain cross-entropy."""
    return float(next((spec.hyperparameters[name] for name in _EXPONENTS if name in spec.hyperparameters), 0.0))


def records_frame(runs: Iterable[Run]) -> pd.DataFrame:
    """Gather runs: the record's columns, ``exponent``, ``seed``, and spec and versions as JSON text."""
    rows = [
        {
            **run.record,
            "exponent": exponent(run.spec),
            "seed": run.spec.seed,
            "spec": json.dumps(run.spec.to_dict(), sort_keys=True),
            "versions": json.dumps(run.record["versions"], sort_keys=True),
        }
        for run in runs
    ]
    return pd.DataFrame(rows)


def write_records(records: pd.DataFrame, path: Path) -> None:
    """Write the table as Parquet, whole or not at all."""
    write_atomically(path, lambda part: records.to_parquet(part, index=False))
