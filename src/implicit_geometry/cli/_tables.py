"""Finished runs in a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from implicit_geometry.cli._progress import loss_label

if TYPE_CHECKING:
    from implicit_geometry.experiments.spec import TrialSpec
    from implicit_geometry.experiments.store import Failure, Run

_EIGHT = ("norm_ratio", "cos_majority", "cos_minority", "cos_between")
_DISTANCES = (("limit", "own limit"), ("ridge", "optimum at the effective ridge"), ("etf", "simplex ETF"))


def results_table(runs: Sequence[Run]) -> Table:
    """Means over seeds, one row for the runs that differ in nothing else; settings that vary get a column."""
    from implicit_geometry.experiments.record import records_frame
    from implicit_geometry.report.page.tables import SUMMARY, format_number

    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(repr({**run.spec.to_dict(), "seed": None}), []).append(run)
    specs = [members[0].spec for members in groups.values()]
    varying = varying_settings(specs)
    table = Table(box=box.SIMPLE_HEAD, padding=0, header_style="bold")
    for title in ("loss", *varying, "seeds", *(column.title for column in SUMMARY)):
        text = title in ("loss", *varying)
        table.add_column(
            "\n".join(title.rsplit(" ", 1)), justify="left" if text else "right", no_wrap=not text, overflow="fold"
        )
    for spec, members in zip(specs, groups.values(), strict=True):
        means = records_frame(members)[[column.key for column in SUMMARY]].mean()
        numbers = (format_number(float(means[column.key]), column.form) for column in SUMMARY)
        table.add_row(loss_label(spec), *setting_texts(spec, varying), str(len(members)), *numbers)
    return table


def run_table(run: Run) -> Table:
    """What a run came to: accuracies, the paper's eight numbers, distances, effective ridge."""
    record = run.record
    table = Table(box=box.SIMPLE_HEAD, padding=0, header_style="bold", title=loss_label(run.spec))
    for title in ("", "training set", "test set"):
        table.add_column(title, justify="right" if title else "left")
    for name in ("overall", "balanced", "majority", "minority", "worst"):
        table.add_row(f"{name} accuracy", *(_number(record[f"{part}_{name}"], ".1%") for part in ("train", "test")))
    table.add_section()
    table.add_row("[bold]geometry", "[bold]classifiers W", "[bold]embeddings H")
    for name, title in zip(_EIGHT, ("|maj|² / |min|²", "cos maj, maj", "cos min, min", "cos maj, min"), strict=True):
        table.add_row(title, *(_number(record[f"{block}_{name}"], ".3f") for block in ("classifier", "embedding")))
    for target, title in _DISTANCES:
        distances = (record[f"{block}_{target}_distance"] for block in ("classifier", "embedding"))
        table.add_row(f"distance to {title}", *(_number(value, ".3f") for value in distances))
    table.add_section()
    table.add_row("effective ridge", _number(record["effective_ridge"], ".3g"), "")
    table.add_row("seconds", _number(record["seconds"], ".0f"), "")
    return table


def run_document(run: Run) -> dict[str, Any]:
    """A run for programs: its record and its spec."""
    return {**run.record, "spec": run.spec.to_dict()}


def failure_document(failure: Failure) -> dict[str, Any]:
    """A trial that failed, for programs."""
    return {
        "run": failure.spec.key,
        "reason": failure.reason,
        "final": failure.final,
        "spec": failure.spec.to_dict(),
    }


def _number(value: float | None, form: str) -> str:
    from implicit_geometry.report.page.tables import format_number

    return format_number(float("nan") if value is None else value, form)


def plan_table(specs: Sequence[TrialSpec], states: Sequence[str]) -> Table:
    """The runs to come, one a row; settings that vary get a column."""
    varying = varying_settings(specs)
    table = Table("loss", *varying, "seed", "state", title=f"{len(specs)} runs", box=box.SIMPLE_HEAD, padding=0)
    table.add_column("run", no_wrap=True)
    for spec, state in zip(specs, states, strict=True):
        table.add_row(loss_label(spec), *setting_texts(spec, varying), str(spec.seed), state, spec.key)
    return table


def varying_settings(specs: Sequence[TrialSpec]) -> list[str]:
    """What differs between specs, besides loss and seed."""
    rows = [_settings(spec) for spec in specs]
    keys = dict.fromkeys(key for row in rows for key in row)
    return [key for key in keys if len({str(row.get(key)) for row in rows}) > 1]


def setting_texts(spec: TrialSpec, keys: Sequence[str]) -> list[str]:
    """Some settings of a spec, as text."""
    settings = _settings(spec)
    return [str(settings.get(key, "")) for key in keys]


def _settings(spec: TrialSpec) -> dict[str, Any]:
    data, plan = asdict(spec.data), asdict(spec.optimization)
    network = {"network": spec.network.name, **spec.network.options}
    return {"data": data.pop("name"), "counts": counts_text(spec.counts), **data, **network, **plan}


def counts_text(counts: Sequence[int]) -> str:
    """Class counts in few words.

    Example:
        >>> counts_text((50, 50, 5)), counts_text((9, 8, 7, 6))
        ('2x50, 1x5', '4 classes, 9 to 6')
    """
    groups = [(count, len(list(members))) for count, members in groupby(counts)]
    if len(groups) > 3:
        return f"{len(counts)} classes, {max(counts)} to {min(counts)}"
    return ", ".join(f"{size}x{count}" for count, size in groups)
