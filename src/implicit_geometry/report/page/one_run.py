"""One run on a page: numbers beside theory, curves by epoch, Gram matrices predicted beside measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import Any

import pandas as pd

from implicit_geometry._files import dumps
from implicit_geometry.experiments.record_columns import COLUMNS, PARTS, SPLIT_TARGETS, TARGETS
from implicit_geometry.experiments.run import MeasuredRun, Run
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.spec_texts import (
    data_text,
    loss_text,
    network_text,
    optimization_text,
    profile_text,
    run_title,
)
from implicit_geometry.frames import FramedGeometry
from implicit_geometry.geometry import Geometry
from implicit_geometry.groups import gather
from implicit_geometry.report.page.chart import Line, line_chart
from implicit_geometry.report.page.document import facts_html, png_uri, scrolling, versions_text
from implicit_geometry.report.page.heatmap import MOST_CLASSES, drawn_entries, heatmap_pngs, scale_png
from implicit_geometry.report.page.tables import Cell, html_table, number_cell, text_cell
from implicit_geometry.summary import ACCURACIES, BLOCKS, FRAMED_BLOCKS, QUANTITIES, SUMMARISED, framed_summary

_BLUE, _ORANGE, _GREEN, _PINK = "#2F8FD0", "#E0731D", "#12A67C", "#CC79A7"


@dataclass(frozen=True)
class _Curve:
    """A column of the history and how it is drawn."""

    key: str
    color: str
    dash: str = ""


@dataclass(frozen=True)
class _Chart:
    """Curves in one picture, and the scale and format of its vertical axis."""

    title: str
    log: bool
    form: str
    curves: tuple[_Curve, ...]


_FACTS = ("effective_ridge", "cross_limit_scale", "nc1", "cdnv", "self_duality", "seconds")
_DASHES = {"limit": "", "ridge": "8 3 2 3", "etf": "2 3"}
_CHARTS = (
    _Chart(
        "Accuracy",
        False,
        ".3g",
        (
            _Curve("train_balanced", _BLUE, "5 3"),
            _Curve("train_minority", _ORANGE, "5 3"),
            _Curve("test_balanced", _BLUE),
            _Curve("test_minority", _ORANGE),
            _Curve("test_worst", _PINK),
        ),
    ),
    _Chart(
        "Distance to theory",
        False,
        ".3g",
        tuple(
            _Curve(f"{block}_{target}_distance", color, dash)
            for target, dash in _DASHES.items()
            for block, color in (("classifier", _BLUE), ("embedding", _ORANGE))
        ),
    ),
    _Chart(
        "Squared norm ratio",
        True,
        "g",
        (_Curve("classifier_norm_ratio", _BLUE), _Curve("embedding_norm_ratio", _ORANGE)),
    ),
    _Chart(
        "Collapse and loss",
        True,
        "g",
        (_Curve("nc1", _BLUE), _Curve("cdnv", _ORANGE), _Curve("train_loss", _GREEN)),
    ),
)


def run_content(run: MeasuredRun, history: pd.DataFrame, place: str, predicted: Mapping[str, FramedGeometry]) -> str:
    """What a page shows of a run, as HTML.

    Args:
        run: with its measured vectors.
        history: one row per recorded epoch; may be empty.
        place: the folder of the run.
        predicted: geometries of the theory, by name.
    """
    spec = run.spec
    measured = Geometry.from_factors(run.arrays["classifier"], run.arrays["embedding"])
    parts = [
        f'<div class="tables">{_geometry_table(run, predicted)}{_distance_table(run)}{_accuracy_table(run)}</div>',
        _curves(history),
        _heatmaps(measured, {name: framed.geometry for name, framed in predicted.items()}),
        f"<h3>Set-up</h3>\n{facts_html(_facts(run, place))}",
        f"<details><summary>Specification as JSON</summary><pre>{escape(dumps(spec.to_dict()))}</pre></details>",
    ]
    return "\n".join(part for part in parts if part)


def run_article(
    spec: RunSpec,
    content: str,
    *,
    bias: bool = False,
    before: RunSpec | None = None,
    after: RunSpec | None = None,
) -> str:
    """The part of a page that shows one run; its address is ``#run-KEY``.

    Args:
        spec: the run.
        content: as :func:`run_content` makes it.
        bias: whether its head has a bias.
        before: the run that the link "previous" leads to.
        after: the run that the link "next" leads to.
    """
    setting = f"{data_text(spec.data)}, {profile_text(spec.counts)}, {network_text(spec.network, bias=bias)}"
    heading = f'<h2>{escape(run_title(spec))}</h2>\n<p class="lead">{escape(setting)}</p>'
    return f"""<article class="run" id="run-{spec.key}" tabindex="-1">
{_links(before, after)}
{heading}
{content}
</article>"""


def _links(before: RunSpec | None, after: RunSpec | None) -> str:
    ways = [("‹ previous", before), ("next ›", after)]
    links = [f'<a href="#run-{spec.key}" title="{escape(run_title(spec))}">{text}</a>' for text, spec in ways if spec]
    return f'<nav class="steps" aria-label="Runs"><a href="#runs">all runs</a>{"".join(links)}</nav>'


def _geometry_table(run: Run, predicted: Mapping[str, FramedGeometry]) -> str:
    counts = run.spec.class_counts()
    if counts.majority.all():
        return ""
    theory = {name: framed_summary(framed, counts) for name, framed in predicted.items()}
    rows = [
        [
            text_cell(f"{FRAMED_BLOCKS[block]}: {title}"),
            *(_number(source.get(f"{block}_{quantity}"), ".3f") for source in (run.record, *theory.values())),
        ]
        for block in SUMMARISED
        if f"{block}_norm_ratio" in run.record
        for quantity, title in QUANTITIES.items()
    ]
    return _table("Geometry", ["", "measured", *theory], rows)


def _distance_table(run: Run) -> str:
    """Distances to every target and, where classes are equal, their systematic parts and the heterogeneity."""
    has_parts = "classifier_heterogeneity" in run.record
    keys: dict[str, str] = {}
    for target, name in TARGETS.items():
        keys[f"{target}_distance"] = f"to {name}"
        if has_parts and target in SPLIT_TARGETS:
            keys[f"{target}_systematic"] = f"to {name}, systematic"
    if has_parts:
        keys["heterogeneity"] = "heterogeneity"
    rows = [
        [text_cell(f"distance of {letter}"), *(_number(run.record.get(f"{block}_{key}"), ".3f") for key in keys)]
        for block, letter in FRAMED_BLOCKS.items()
        if f"{block}_etf_distance" in run.record
    ]
    return _table("Distances", ["", *keys.values()], rows, note=_parts_note(run, has_parts))


def _parts_note(run: Run, has_parts: bool) -> str:
    """What the parts of a distance are, or why there are none."""
    if has_parts:
        return (
            "A squared distance to theory is the sum of two squares: the systematic part, that of the averages over "
            "classes of equal counts and loss, and the heterogeneity of such classes, which no theory of counts and "
            "loss tells apart."
        )
    if gather(run.problem).all_differ:
        return "No two classes are equal in counts and loss, so that distances have no part that is heterogeneity."
    return ""


def _accuracy_table(run: Run) -> str:
    parts = {part: name for part, name in PARTS.items() if f"{part}_balanced" in run.record}
    rows = [
        [text_cell(group), *(_number(run.record.get(f"{part}_{group}"), ".1%") for part in parts)]
        for group in ACCURACIES
        if any(run.record.get(f"{part}_{group}") is not None for part in parts)
    ]
    return _table("Accuracy", ["", *parts.values()], rows) if rows else ""


def _table(title: str, titles: Sequence[str], rows: Sequence[Sequence[Cell]], note: str = "") -> str:
    below = f'<p class="note">{note}</p>' if note else ""
    return f"<div><h3>{title}</h3>{scrolling(html_table(titles, rows), title)}{below}</div>"


def _number(value: Any, form: str) -> Cell:
    return number_cell(math.nan if value is None else value, form)


def _curves(history: pd.DataFrame) -> str:
    """Charts of what the history has; nothing where no epoch was recorded."""
    charts = []
    for chart in _CHARTS:
        drawable = [c for c in chart.curves if c.key in history and _has_points(history[c.key], chart.log)]
        lines = [
            Line(
                COLUMNS[curve.key].title,
                history["epoch"],
                history[curve.key],
                curve.color,
                curve.dash,
                format(history[curve.key].iloc[-1], ".3g"),
            )
            for curve in drawable
        ]
        if lines:
            charts.append(line_chart(chart.title, lines, log=chart.log, form=chart.form))
    note = (
        '<p class="note">As seen in the steps of each epoch, with weights that move and batch statistics; the numbers '
        "above are those of the trained network at rest.</p>"
    )
    return f'<h3>By epoch</h3>\n{note}\n<div class="charts">{"".join(charts)}</div>' if charts else ""


def _has_points(values: pd.Series, log: bool) -> bool:
    return bool((values > 0).any() if log else values.notna().any())


def _heatmaps(measured: Geometry, predicted: Mapping[str, Geometry]) -> str:
    """One row per block, one column per source, all on one scale per block."""
    sources = {"measured": measured, **predicted}
    k = measured.num_classes
    rows = []
    for block, letter in BLOCKS.items():
        pictures = heatmap_pngs([drawn_entries(getattr(geometry, block)) for geometry in sources.values()])
        rows += [
            f'<div><img class="pixels" alt="Gram matrix of {letter}, {name}" src="{png_uri(picture)}">'
            f"<span>{letter}, {name}</span></div>"
            for name, picture in zip(sources, pictures, strict=True)
        ]
    part = "" if k <= MOST_CLASSES else f" {MOST_CLASSES} of {k:,} classes, evenly spaced."
    return (
        f'<h3>Gram matrices</h3>\n<div class="grams" style="--columns: {len(sources)}">{"".join(rows)}</div>\n'
        f'<p class="note"><img class="pixels scale" alt="" src="{_scale_uri()}"> blue negative, white 0, red positive; '
        f"W and H have W Wᵀ and H Hᵀ, W Hᵀ are the mean logits. Each is scaled to Frobenius norm 1, colours go with "
        f"the root of the entry and are the same along a row.{part}</p>"
    )


def _facts(run: Run, place: str) -> dict[str, str]:
    spec, record = run.spec, run.record
    shown = {COLUMNS[key].long_title: record.get(key) for key in _FACTS}
    return {
        "loss": loss_text(spec),
        "class counts": profile_text(spec.counts),
        "data": data_text(spec.data),
        "network": network_text(spec.network, bias=run.bias),
        "training": optimization_text(spec.optimization),
        "seed": str(spec.seed),
        **{name: f"{value:.4g}" for name, value in shown.items() if value is not None},
        **{f"no distances to the {TARGETS.get(target, target)}": why for target, why in run.not_compared.items()},
        "versions": versions_text(record.get("versions", {})),
        "folder": place,
    }


@lru_cache(maxsize=1)
def _scale_uri() -> str:
    return png_uri(scale_png())
