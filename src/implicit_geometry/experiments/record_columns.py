"""What stands in a record: every column with its key, title and format, and the runs of a folder as one table.

A new column is one entry here; tables, figures, pages and CSV files take its title and format from it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from implicit_geometry._files import write_atomically
from implicit_geometry._validate import LARGEST_COUNT
from implicit_geometry.experiments.run import Run
from implicit_geometry.experiments.spec_texts import (
    data_text,
    exponent,
    network_text,
    optimization_text,
    profile_text,
    variant,
)
from implicit_geometry.summary import ACCURACIES, FRAMED_BLOCKS, QUANTITIES, SUMMARISED


@dataclass(frozen=True)
class Column:
    """A column of records.

    Attributes:
        key: its name in records, and in Parquet and CSV files.
        title: heading in tables.
        form: format specification of its numbers; empty for what is no number.
        name: what an axis or a legend calls it; the title where empty.
        kind: ``"number"``, ``"text"``, ``"flag"`` or ``"texts"`` (names with texts).
        always: whether every record has it.
        target: what it is a comparison with, of :data:`TARGETS`; empty for what is none.
    """

    key: str
    title: str
    form: str = ""
    name: str = ""
    kind: str = "number"
    always: bool = False
    target: str = ""

    @property
    def long_title(self) -> str:
        """What an axis or a legend calls it."""
        return self.name or self.title


PARTS = {"train": "training", "test": "test", "validation": "validation"}
"""Parts of a data set on which accuracies are measured, in words."""

TARGETS = {"limit": "limit", "ridge": "optimum", "etf": "ETF"}
"""What a measured geometry is compared with: its limit, the optimum at its effective ridge, the simplex ETF."""

SPLIT_TARGETS = ("limit", "ridge")
"""Those of theory: where classes are equal, distances to them have a systematic part."""


def _accuracy(part: str, group: str) -> Column:
    return Column(f"{part}_{group}", f"{part} {group}", ".1%", f"{ACCURACIES[group]} {PARTS[part]} accuracy")


def _distance(block: str, target: str) -> Column:
    needed = block in ("classifier", "embedding")
    title = f"{FRAMED_BLOCKS[block]} to {TARGETS[target]}"
    return Column(f"{block}_{target}_distance", title, ".3f", always=needed, target=target)


def _systematic(block: str, target: str) -> Column:
    title = f"{FRAMED_BLOCKS[block]} to {TARGETS[target]}, systematic"
    return Column(f"{block}_{target}_systematic", title, ".3f", target=target)


def _heterogeneity(block: str) -> Column:
    return Column(f"{block}_heterogeneity", f"{FRAMED_BLOCKS[block]} heterogeneity", ".3f")


COLUMNS = {
    column.key: column
    for column in (
        Column("run", "run", kind="text"),
        Column("rule", "loss", kind="text"),
        Column("exponent", "exponent", "g"),
        Column("variant", "variant", kind="text"),
        Column("label_smoothing", "label smoothing", "g"),
        Column("seed", "seed", "g"),
        Column("data", "data", kind="text"),
        Column("profile", "class counts", kind="text"),
        Column("num_classes", "classes", "g"),
        Column("num_samples", "samples", "g"),
        Column("imbalance_ratio", "imbalance ratio", ".4g"),
        Column("network", "network", kind="text"),
        Column("bias", "bias", name="head with a bias", kind="flag"),
        Column("optimization", "training", kind="text"),
        *(_accuracy(part, group) for part in PARTS for group in ACCURACIES),
        Column("terminal_phase", "terminal phase", kind="flag", always=True),
        *(
            Column(f"{block}_{quantity}", f"{FRAMED_BLOCKS[block]} {title}", ".3f")
            for block in SUMMARISED
            for quantity, title in QUANTITIES.items()
        ),
        *(_distance(block, target) for target in ("limit", "etf") for block in FRAMED_BLOCKS),
        Column("effective_ridge", "effective ridge", ".3g", always=True, target="ridge"),
        *(_distance(block, "ridge") for block in FRAMED_BLOCKS),
        Column("cross_limit_scale", "W Hᵀ over limit", ".3f", "size of the mean logits over that of their limit"),
        *(_systematic(block, target) for target in SPLIT_TARGETS for block in FRAMED_BLOCKS),
        *(_heterogeneity(block) for block in FRAMED_BLOCKS),
        Column("not_compared", "not compared", kind="texts"),
        Column("nc1", "NC1", ".2g"),
        Column("cdnv", "CDNV", ".2g"),
        Column("self_duality", "self-duality", ".3f", "self-duality (mean cosine of w and h)"),
        Column("seconds", "seconds", ".3g", always=True),
        Column("training_seconds", "seconds of training", ".3g"),
        Column("versions", "versions", kind="texts"),
        Column("spec", "specification", kind="text"),
        Column("epoch", "epoch", "g"),
        Column("learning_rate", "learning rate", ".3g"),
        Column("train_loss", "training loss", ".3g"),
    )
}
"""Every column of records, of the table of runs and of a history, in their order."""

DESCRIPTION = ("data", "profile", "network", "label_smoothing", "optimization")
"""Columns that say what a run was, beside its loss and seed."""


def columns(*keys: str) -> tuple[Column, ...]:
    """Columns by their keys."""
    return tuple(COLUMNS[key] for key in keys)


def checked_record(record: Any) -> dict[str, Any]:
    """A record of which every column has the type that it has in all records.

    Raises:
        ValueError: a value has another type; the message names its column.

    Example:
        >>> try:
        ...     checked_record({"nc1": "0.1"})
        ... except ValueError as error:
        ...     print(error)
        nc1 must be a number or null, got '0.1'
    """
    if not isinstance(record, dict):
        raise ValueError(f"the record must have names and values, got {_shown(record)}")
    for key, value in record.items():
        expected, is_good = _KINDS[COLUMNS[key].kind if key in COLUMNS else "number"]
        if not is_good(value):
            raise ValueError(f"{key} must be {expected}, got {_shown(value)}")
    return dict(record)


def missing_columns(record: Mapping[str, Any]) -> list[str]:
    """Keys of the columns that every record has and this one lacks without saying why."""
    explained = record.get("not_compared", {})
    return [
        key
        for key, column in COLUMNS.items()
        if column.always and record.get(key) is None and not (column.target and column.target in explained)
    ]


def records_frame(runs: Iterable[Run]) -> pd.DataFrame:
    """Gather runs, one row per run: what each run was, its record, and its spec and versions as JSON text.

    The columns are those of :data:`COLUMNS` that a record has, in their order, then others. A number that a record
    lacks is NaN.
    """
    table = pd.DataFrame([_row(run) for run in runs])
    known = [key for key in COLUMNS if key in table]
    table = table[[*known, *(key for key in table if key not in COLUMNS)]]
    empty = [key for key in table if table[key].isna().all()]
    return table.astype(dict.fromkeys(empty, float))


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
        "label_smoothing": spec.label_smoothing,
        "seed": spec.seed,
        "data": data_text(spec.data),
        "profile": profile_text(counts),
        "num_classes": len(counts),
        "num_samples": sum(counts),
        "imbalance_ratio": max(counts) / min(counts),
        "network": network_text(spec.network, bias=run.bias),
        "bias": run.bias,
        "optimization": optimization_text(spec.optimization),
    }
    missing = run.record.get("not_compared")
    return {
        **described,
        **{name: value for name, value in run.record.items() if name not in described},
        **({"not_compared": json.dumps(missing, sort_keys=True)} if missing else {}),
        "spec": json.dumps(spec.to_dict(), sort_keys=True),
        "versions": json.dumps(run.record.get("versions", {}), sort_keys=True),
    }


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_COUNT


def _are_texts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(text, str) for text in value.values())


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "text": ("a text", lambda value: isinstance(value, str)),
    "flag": ("true or false", lambda value: isinstance(value, bool)),
    "texts": ("names with texts", _are_texts),
    "number": ("a number or null", lambda value: value is None or _is_number(value)),
}


def _shown(value: Any) -> str:
    """A few words of a value, which may be a number of any length."""
    if isinstance(value, int) and abs(value) > LARGEST_COUNT:
        return "a whole number beyond 2^53"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
