"""The demo's page: what was asked and what came out, as figures, a table and three sentences."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.table import Table

from implicit_geometry.experiments.curves import theory_curves
from implicit_geometry.experiments.demo import COUNTS
from implicit_geometry.experiments.records import records_frame, write_records
from implicit_geometry.experiments.spec import TrialSpec
from implicit_geometry.experiments.store import Run, RunStore, write_atomically
from implicit_geometry.gram import Gram
from implicit_geometry.problem import Problem
from implicit_geometry.report.figures import accuracy_figure, geometry_figure, gram_figure
from implicit_geometry.report.frames import rule_runs
from implicit_geometry.report.images import png_bytes
from implicit_geometry.report.page import PageFigure, render_page
from implicit_geometry.report.style import RULE_STYLES
from implicit_geometry.report.tables import summary_table
from implicit_geometry.theory.predict import predict

_EXPONENTS = np.linspace(-1.5, 1.5, 61)
_HEATMAPS = (("ce", 0.0), ("cdt", 0.5), ("ldt", 0.5))


@dataclass(frozen=True)
class DemoSummary:
    """What the command shows: a table, three sentences, and where the page lies."""

    table: Table
    sentences: tuple[str, ...]
    page: Path


def write_demo_report(store: RunStore, specs: Sequence[TrialSpec]) -> DemoSummary:
    """Write records.parquet, the figures and report.html of finished runs into their folder.

    Raises:
        InputError: a run is missing or damaged, or a file cannot be written.
    """
    runs = store.load_all(specs)
    records = records_frame(runs)
    write_records(records, store.folder / "records.parquet")
    rules = tuple(dict.fromkeys(spec.rule for spec in specs if spec.rule != "ce"))
    fitted = {rule: rule_runs(records, rule)["effective_ridge"].median() for rule in rules}
    curves = theory_curves(COUNTS, rules, _EXPONENTS, ridges=fitted)
    sections = []
    for name, title, caption, draw in _figures(runs, records, curves, fitted):
        wide, narrow = png_bytes(draw(False)), png_bytes(draw(True))
        write_atomically(store.folder / f"{name}.png", partial(Path.write_bytes, data=wide))
        sections.append(PageFigure(title, caption, wide, narrow))
    sentences = demo_sentences(records)
    page = render_page(
        title="Where networks trained on imbalanced digits go, and where theory sends them",
        lead=_lead(records),
        sentences=sentences,
        figures=sections,
        records=records,
        facts=_facts(runs),
    )
    path = store.folder / "report.html"
    write_atomically(path, lambda part: part.write_text(page, encoding="utf-8"))
    return DemoSummary(summary_table(records), sentences, path)


def demo_sentences(records: pd.DataFrame) -> tuple[str, str, str]:
    """The three findings that matter most, from the numbers of the runs."""
    near = records[(records["exponent"].abs() <= 0.5) & records["rule"].isin(["ce", "cdt", "ldt"])]
    own, etf = near["classifier_limit_distance"].mean(), near["classifier_etf_distance"].mean()
    geometry = (
        f"For CE, CDT and LDT with |gamma| <= 0.5 the classifiers stand {own:.2f} from their own predicted limit "
        f"(mean distance of unit-norm Gram matrices), {near['classifier_ridge_distance'].mean():.2f} from the "
        f"regularised optimum that fits each best, and {etf:.2f} from the simplex ETF; the embeddings stand "
        f"{near['embedding_limit_distance'].mean():.2f}, {near['embedding_ridge_distance'].mean():.2f} and "
        f"{near['embedding_etf_distance'].mean():.2f} from theirs."
    )
    base = records[records["rule"] == "ce"].iloc[0]
    best = records.sort_values("test_balanced", ascending=False).iloc[0]
    accuracy = (
        f"{RULE_STYLES[best['rule']].label} at {best['exponent']:g} has the highest balanced test accuracy "
        f"of the grid (picked after the fact): {best['test_balanced']:.1%} against {base['test_balanced']:.1%} "
        f"for CE, and on the minority classes {best['test_minority']:.1%} against {base['test_minority']:.1%}."
    )
    done = int(records["terminal_phase"].sum())
    etf_run = records[(records["rule"] == "ldt") & (records["exponent"] == 0.5)].iloc[0]
    terminal = (
        "LDT at gamma = 1/2, which theory sends to a simplex ETF whatever the imbalance, has a squared classifier "
        f"norm ratio of {etf_run['classifier_norm_ratio']:.2f} (ETF: 1; CE: {base['classifier_norm_ratio']:.2f}); "
        f"{done} of {len(records)} networks reached 100 % training accuracy, the terminal phase "
        "that the theory is about."
    )
    return geometry, accuracy, terminal


def _figures(
    runs: Sequence[Run], records: pd.DataFrame, curves: pd.DataFrame, fitted: Mapping[str, float]
) -> list[tuple[str, str, str, Callable[[bool], Figure]]]:
    """File name, title, caption and the figure as a function of ``narrow``, in the order of the page."""
    made = [
        (
            f"geometry-{rule}",
            f"{RULE_STYLES[rule].label}: measured geometry over theory",
            "Squared norm ratio of majority to minority classes and mean cosines, classifiers W above, "
            "class-mean embeddings H below. Solid: the limit of vanishing weight decay. Dash-dotted: the "
            f"regularised optimum at ridge {fitted[rule]:.2g}, the median of the ridges that fit these networks best. "
            "Dashed: simplex ETF. Markers: trained networks.",
            partial(_geometry, rule, curves, records),
        )
        for rule in sorted(fitted, key=("cdt", "ldt", "vs", "weighted", "logit_adjusted").index)
    ]
    accuracy = (
        "accuracy",
        "Balanced and minority test accuracy",
        "Held-out balanced test set. Every point is one network; the dashed line is plain cross-entropy.",
        lambda narrow: accuracy_figure(records, narrow=narrow),
    )
    heatmaps = (
        "gram",
        "Gram matrices, predicted beside measured",
        "Unit Frobenius norm, majority classes first. Predicted: the limit of vanishing weight decay.",
        lambda narrow: _gram_figure(runs, records, narrow),
    )
    return [*made, accuracy, heatmaps]


def _geometry(rule: str, curves: pd.DataFrame, records: pd.DataFrame, narrow: bool) -> Figure:
    return geometry_figure(rule, curves, records, COUNTS.num_classes, narrow=narrow)


def _gram_figure(runs: Sequence[Run], records: pd.DataFrame, narrow: bool) -> Figure:
    predicted, measured = {}, {}
    for rule, exponent in _HEATMAPS:
        chosen = records.index[(records["rule"] == rule) & (records["exponent"] == exponent)]
        run = runs[int(chosen[0])]
        limit = predict(Problem(run.spec.class_counts(), run.spec.parameterization())).geometry
        for letter, block in (("W", "classifier"), ("H", "embedding")):
            title = f"{RULE_STYLES[rule].label}{f' {exponent:g}' if exponent else ''}: {letter}"
            predicted[title] = getattr(limit, block).dense()
            measured[title] = Gram.from_factors(run.arrays[block]).dense()
    return gram_figure(predicted, measured, narrow=narrow)


def _lead(records: pd.DataFrame) -> str:
    majority, minority = COUNTS.values[0], COUNTS.values[-1]
    return (
        f"{len(records)} networks were trained on real handwritten digits: five classes with {majority} samples "
        f"and five with {minority}. The theory knows the class counts and the loss, nothing of the images or "
        "the network."
    )


def _facts(runs: Sequence[Run]) -> dict[str, str]:
    spec, record = runs[0].spec, runs[0].record
    plan = spec.optimization
    return {
        "data": "scikit-learn digits, 8 x 8 pixels",
        "training samples a class": ", ".join(str(n) for n in spec.counts),
        "test samples a class": str(spec.test_per_class),
        "network": f"{spec.depth} x {spec.width} ReLU with batch-norm, head without bias",
        "training": f"{plan.epochs} epochs, batch {plan.batch_size}, rate {plan.learning_rate:g} ({plan.schedule}), "
        f"SGD with momentum {plan.momentum:g}, weight decay {plan.weight_decay:g}",
        "seed": str(spec.seed),
        "seconds of training, all runs": f"{sum(run.record['seconds'] for run in runs):.0f}",
        "cores": str(os.cpu_count()),
        "versions": json.dumps(record["versions"]),
    }
