"""Finished runs in a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from rich import box
from rich.table import Table

from implicit_geometry import experiments, report
from implicit_geometry.experiments.run import Failure, Run
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.spec_texts import loss_text, setting_texts, varying_settings
from implicit_geometry.summary import QUANTITIES

_MAX_ROWS = 12

T = TypeVar("T")


def results_table(runs: Sequence[Run]) -> Table:
    """Means over seeds, one row for the runs that differ in nothing else; a column for what varies, and for biases."""
    varying = varying_settings([run.spec for run in runs])
    texts = [setting_texts(run.spec, varying) for run in runs]
    columns = {name: [row[place] for row in texts] for place, name in enumerate(varying)}
    if any(run.bias for run in runs):
        columns["bias"] = ["yes" if run.bias else "no" for run in runs]
    return report.summary_table(experiments.records_frame(runs).assign(**columns), [*columns])


def run_table(run: Run) -> Table:
    """What a run came to: accuracies, the paper's eight numbers, distances with their parts, effective ridge."""
    record = run.record
    title = loss_text(run.spec) + (", head with a bias" if run.bias else "")
    table = Table(box=box.SIMPLE_HEAD, padding=0, header_style="bold", title=title)
    for title in ("", "training set", "test set"):
        table.add_column(title, justify="right" if title else "left")
    for name in ("overall", "balanced", "majority", "minority", "worst"):
        table.add_row(f"{name} accuracy", *(_number(record, f"{part}_{name}") for part in ("train", "test")))
    table.add_section()
    table.add_row("[bold]geometry", "[bold]classifiers W", "[bold]embeddings H")
    for name, title in QUANTITIES.items():
        table.add_row(title, *(_number(record, f"{block}_{name}") for block in ("classifier", "embedding")))
    has_parts = "classifier_heterogeneity" in record
    for target, title in experiments.TARGETS.items():
        numbers = (_number(record, f"{block}_{target}_distance") for block in ("classifier", "embedding"))
        table.add_row(f"distance to {title}", *numbers)
        if has_parts and target in experiments.SPLIT_TARGETS:
            numbers = (_number(record, f"{block}_{target}_systematic") for block in ("classifier", "embedding"))
            table.add_row("  systematic part of it", *numbers)
    if has_parts:
        numbers = (_number(record, f"{block}_heterogeneity") for block in ("classifier", "embedding"))
        table.add_row("heterogeneity of equal classes", *numbers)
    table.add_section()
    for key in ("effective_ridge", *(["cross_limit_scale"] if "cross_limit_scale" in record else []), "seconds"):
        table.add_row(experiments.COLUMNS[key].title, _number(record, key), "")
    return table


def run_document(run: Run) -> dict[str, Any]:
    """A run for programs: its record and its spec."""
    return {**run.record, "spec": run.spec.to_dict()}


def failure_document(failure: Failure) -> dict[str, Any]:
    """A run that failed, for programs."""
    return {
        "run": failure.spec.key,
        "reason": failure.reason,
        "final": failure.final,
        "spec": failure.spec.to_dict(),
    }


def _number(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    return report.format_number(float("nan") if value is None else value, experiments.COLUMNS[key].form)


def plan_table(specs: Sequence[RunSpec], states: Sequence[str]) -> Table:
    """The runs to come, one per row; settings that vary get a column."""
    varying = varying_settings(specs)
    table = Table("loss", *varying, "seed", "state", title=f"{len(specs)} runs", box=box.SIMPLE_HEAD, padding=0)
    table.add_column("run", no_wrap=True)
    for spec, state in zip(specs, states, strict=True):
        table.add_row(loss_text(spec), *setting_texts(spec, varying), str(spec.seed), state, spec.key)
    return table


def add_rows(table: Table, rows: Sequence[T], cells: Callable[[T], Iterable[str]]) -> None:
    """Add rows to a table; of many only the first and the last.

    Args:
        table: that they are added to.
        rows: in order.
        cells: the texts of a row.
    """
    half = _MAX_ROWS // 2
    shown = [*rows] if len(rows) <= _MAX_ROWS else [*rows[:half], None, *rows[-half:]]
    for row in shown:
        if row is None:
            table.add_row(f"... {len(rows) - _MAX_ROWS:,} more")
        else:
            table.add_row(*cells(row))
