"""Runs that differ in loss and seed only, as one part of a page: figures over theory, findings, a table, the set-up."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from implicit_geometry._files import dumps
from implicit_geometry._validate import choice
from implicit_geometry.comparison import compare
from implicit_geometry.experiments.record_columns import COLUMNS, records_frame
from implicit_geometry.experiments.run import MeasuredRun, Run, require_frame
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.spec_texts import exponent, series_title, smoothing_text
from implicit_geometry.frames import FRAMES, Frame, FramedGeometry
from implicit_geometry.geometry import Geometry, mean_geometry
from implicit_geometry.gram import Gram
from implicit_geometry.report.figures.images import page_png
from implicit_geometry.report.figures.runs_over_theory import accuracy_figure, geometry_figure, gram_figure
from implicit_geometry.report.frames import mean_over_seeds, series, series_runs
from implicit_geometry.report.page.document import PageFigure, versions_text
from implicit_geometry.report.page.heatmap import drawn_entries
from implicit_geometry.rules import find_rule, in_order
from implicit_geometry.summary import CENTRED, VECTORS_IN

_SHOWN_EXPONENT = 0.5
_MOST_SHOWN = 3
_TARGETS = {
    "limit": "their own predicted limit",
    "ridge": "the regularised optimum that fits each best",
    "etf": "the simplex ETF",
}
_FRAMES: dict[Frame, str] = {
    "projected": "projected on the row space of the classifiers",
    "centred": "centred as in the paper",
}
_ACCURACIES = ("test_balanced", "test_minority", "test_worst", "test_overall")


@dataclass(frozen=True)
class Setting:
    """Runs on the same counts, data, network, smoothing of labels and optimisation.

    Attributes:
        runs: in the order of their rules, exponents and seeds.
        records: their table.
    """

    runs: tuple[Run, ...]
    records: pd.DataFrame

    @property
    def spec(self) -> RunSpec:
        """Of one of the runs."""
        return self.runs[0].spec

    @property
    def title(self) -> str:
        """Data, class counts, network and smoothing in words."""
        first = self.records.iloc[0]
        parts = [first["data"], first["profile"], first["network"], smoothing_text(self.spec)]
        return ", ".join(filter(None, parts))


@dataclass(frozen=True)
class NamedFigure:
    """A figure that is yet to be drawn.

    Attributes:
        name: of its file, without suffix.
        title: heading.
        caption: what to see in it.
        draw: the figure, for a narrow page or a wide one.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[bool], Figure]

    def rendered(self) -> PageFigure:
        """The figure as a page takes it."""
        return PageFigure(self.title, self.caption, page_png(self.draw(False)), page_png(self.draw(True)))


Load = Callable[[RunSpec], MeasuredRun]
"""Reads a run with its measured vectors."""

Curves = Callable[[Setting, str, str, float], pd.DataFrame]
"""Theory along the exponent of a setting's rule and variant, at a ridge too where that is positive."""


def settings_of(runs: Iterable[Run]) -> list[Setting]:
    """Put runs together that differ in loss and seed only."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        spec = run.spec
        what = [asdict(spec.data), list(spec.counts), asdict(spec.network), asdict(spec.optimization), run.bias]
        key = dumps([*what, spec.label_smoothing])
        groups.setdefault(key, []).append(run)
    return [_setting(groups[key]) for key in sorted(groups)]


def _setting(runs: Sequence[Run]) -> Setting:
    records = records_frame(runs).assign(position=range(len(runs)))
    order = in_order(records["rule"])
    records = records.sort_values(
        ["rule", "variant", "exponent", "seed"], key=lambda keys: keys.map(order.index) if keys.name == "rule" else keys
    )
    ordered = tuple(runs[position] for position in records["position"])
    return Setting(ordered, records.drop(columns="position").reset_index(drop=True))


def setting_figures(
    setting: Setting,
    load: Load,
    curves: Curves,
    limit: Callable[[Run], FramedGeometry],
    frame: Frame = "projected",
) -> list[NamedFigure]:
    """Geometry over theory for every loss, accuracy, Gram matrices: those that the runs have the numbers for.

    Args:
        setting: the runs.
        load: reads a run with its measured vectors.
        curves: what theory says along the exponent of a rule and variant, in the limit and at a ridge.
        limit: the predicted limit of a run.
        frame: in which embeddings are shown.

    Raises:
        InputError: there is no such frame, or runs of earlier versions were not measured in it.
    """
    choice("frame", frame, FRAMES)
    for run in setting.runs:
        require_frame(frame, run.record, f"{CENTRED}_norm_ratio", run.spec.key)
    records = setting.records
    pairs = [pair for pair in series(records) if pair[0] != "ce"]
    pairs.sort(key=lambda pair: find_rule(pair[0]).has_limit_of_ce)
    has_minorities = not setting.spec.class_counts().majority.all()
    figures = [_geometry(setting, rule, variant, curves, frame) for rule, variant in pairs] if has_minorities else []
    metrics = [name for name in _ACCURACIES if name in records and records[name].notna().any()][:2]
    if pairs and len(metrics) == 2:
        shown = " and ".join(COLUMNS[name].long_title.removesuffix(" test accuracy") for name in metrics)
        title = f"{shown.capitalize()} test accuracy"
        caption = "Held-out test set. Dots are networks, lines go through the means over seeds; dashed is plain CE."
        draw = partial(_accuracy, records, metrics)
        figures.append(NamedFigure("accuracy", title, caption, draw))
    chosen = _chosen_runs(setting)
    return [*figures, _gram(chosen, _limit_text(setting), load, limit, frame)] if chosen else figures


def setting_facts(setting: Setting) -> dict[str, str]:
    """What was set up, by name."""
    spec, records = setting.spec, setting.records
    first, held_out = records.iloc[0], spec.data.test_per_class
    seeds = sorted(set(records["seed"]))
    shown = ", ".join(map(str, spec.counts[:20])) + (
        f", ... ({len(spec.counts)} classes)" if len(spec.counts) > 20 else ""
    )
    return {
        "data": first["data"],
        "training samples per class": shown,
        "test samples per class": "the whole test part" if held_out is None else str(held_out),
        "network": first["network"],
        **({"labels": f"smoothed by {spec.label_smoothing:g}"} if spec.label_smoothing else {}),
        "training": first["optimization"],
        "seeds": ", ".join(map(str, seeds)),
        "runs": str(len(records)),
        "seconds, all runs together": f"{records['seconds'].sum():.0f}",
        "versions": "; ".join(versions_text(json.loads(versions)) for versions in dict.fromkeys(records["versions"])),
    }


def geometry_sentence(records: pd.DataFrame, of_which: str = "") -> str:
    """How far networks stand from their limit, from the regularised optimum and from the ETF, on average."""
    mean = {
        (block, target): float(records[f"{block}_{target}_distance"].mean())
        for block in ("classifier", "embedding")
        for target in _TARGETS
    }
    targets = [target for target in _TARGETS if target == "etf" or not math.isnan(mean["classifier", target])]
    first, *others = (f"{mean['classifier', target]:.2f} from {_TARGETS[target]}" for target in targets)
    classifiers = _listed([f"{first} (mean distance of unit-norm Gram matrices)", *others], ", and")
    embeddings = _listed([f"{mean['embedding', target]:.2f}" for target in targets], " and")
    start = f"{of_which} the" if of_which else "The"
    return f"{start} classifiers stand {classifiers}; the embeddings stand {embeddings} from theirs."


def accuracy_sentence(records: pd.DataFrame) -> str:
    """Which loss has the highest balanced test accuracy (mean over seeds), beside plain cross-entropy."""
    means = mean_over_seeds(records, ["test_balanced", "test_minority"])
    best = means.iloc[int(np.nanargmax(means["test_balanced"]))]
    base = means[(means["rule"] == "ce") & (best["rule"] != "ce")]

    def beside(metric: str, suffix: str = "") -> str:
        against = f" against {base[metric].iloc[0]:.1%}{suffix}" if len(base) else ""
        return f"{best[metric]:.1%}{against}"

    at = "" if best["rule"] == "ce" else f" at {best['exponent']:g}"
    minority = "" if np.isnan(best["test_minority"]) else f", and on the minority classes {beside('test_minority')}"
    return (
        f"{series_title(best['rule'], best['variant'])}{at} has the highest balanced test accuracy of the grid "
        f"(picked after the fact): {beside('test_balanced', ' for CE')}{minority}."
    )


def terminal_sentence(records: pd.DataFrame) -> str:
    """How many networks the theory is about."""
    return (
        f"{int(records['terminal_phase'].sum())} of {len(records)} networks reached 100 % training accuracy, the "
        "terminal phase that the theory is about."
    )


def setting_sentences(records: pd.DataFrame) -> tuple[str, ...]:
    """The findings of any setting."""
    tested = "test_balanced" in records and records["test_balanced"].notna().any()
    accuracy = (accuracy_sentence(records),) if tested else ()
    return geometry_sentence(records), *accuracy, terminal_sentence(records)


def class_order_sentences(setting: Setting, load: Load, limit: Callable[[Run], FramedGeometry]) -> tuple[str, ...]:
    """What is left of the distances once the classes are averaged out, where seeds draw which class has which count."""
    if setting.spec.data.class_order != "seed":
        return ()
    losses = setting.records.groupby(["rule", "variant", "exponent"], sort=False).indices.values()
    alone, averaged = [], []
    for positions in losses:
        runs = [setting.runs[place] for place in positions]
        if len(runs) > 1 and "limit" not in runs[0].not_compared:
            arrays = [load(run.spec).arrays for run in runs]
            mean = mean_geometry(Geometry.from_factors(a["classifier"], a["embedding"]) for a in arrays)
            found = compare(mean, limit(runs[0]).geometry)
            averaged.append((found.classifier, found.embedding))
            alone += [[run.record[f"{block}_limit_distance"] for block in ("classifier", "embedding")] for run in runs]
    if not averaged:
        return ()
    (w, h), (w_alone, h_alone) = np.mean(averaged, axis=0), np.mean(alone, axis=0)
    return (
        f"The seeds draw which class has which count. The mean Gram matrices over them stand {w:.2f} (W) and {h:.2f} "
        f"(H) from their limit, single networks {w_alone:.2f} and {h_alone:.2f}: what the mean takes away is what "
        "classes have of their own, and chance.",
    )


def _limit_text(setting: Setting) -> str:
    """What the limit is that figures draw."""
    text = "the limit of vanishing weight decay"
    problem = setting.runs[0].problem
    if problem.label_smoothing:
        text += f" with {smoothing_text(setting.spec)}"
    if not problem.bias:
        return text
    head = "a free bias" if problem.free_bias else "a bias under weight decay, which comes to nothing in it"
    return f"{text} for heads with {head}; embeddings are about their mean over the samples"


def _listed(parts: Sequence[str], last: str) -> str:
    """Parts in a row, the last after a word of its own.

    Example:
        >>> _listed(["a", "b", "c"], " and"), _listed(["a"], " and")
        ('a, b and c', 'a')
    """
    return f"{', '.join(parts[:-1])}{last} {parts[-1]}" if len(parts) > 1 else parts[0]


def _geometry(setting: Setting, rule: str, variant: str, curves: Curves, frame: Frame) -> NamedFigure:
    runs = series_runs(setting.records, rule, variant)
    ridge = float(runs["effective_ridge"].median())
    regularised = (
        f"Dash-dotted: the regularised optimum at ridge {ridge:.2g}, the median of the ridges that fit these networks "
        "best. "
        if ridge > 0
        else ""
    )
    caption = (
        "Squared norm ratio of majority to minority classes and mean cosines, classifiers W above, class-mean "
        f"embeddings H below ({_FRAMES[frame]}). Solid: {_limit_text(setting)}. {regularised}Dashed: simplex ETF. "
        "Markers: trained networks, hollow where the training accuracy is below 100 %."
    )
    name = f"geometry-{rule}" + (f"-{variant.replace(', ', '-').replace(' ', '')}" if variant else "")
    lines = cache(partial(curves, setting, rule, variant, ridge))
    num_classes = len(setting.spec.counts)

    def draw(narrow: bool) -> Figure:
        return geometry_figure(rule, lines(), runs, num_classes, frame=frame, narrow=narrow)

    return NamedFigure(name, f"{series_title(rule, variant)}: measured geometry over theory", caption, draw)


def _accuracy(records: pd.DataFrame, metrics: Sequence[str], narrow: bool) -> Figure:
    return accuracy_figure(records, metrics, narrow=narrow)


def _gram(
    chosen: Mapping[str, Run], limit_text: str, load: Load, limit: Callable[[Run], FramedGeometry], frame: Frame
) -> NamedFigure:
    return NamedFigure(
        "gram",
        "Gram matrices, predicted beside measured",
        f"Unit Frobenius norm, classes in the order of the data, embeddings H {_FRAMES[frame]}. Predicted: "
        f"{limit_text}.",
        partial(_gram_figure, chosen, load, limit, frame),
    )


def _chosen_runs(setting: Setting) -> dict[str, Run]:
    """Plain cross-entropy and two other losses at the exponent nearest 1/2, by name; of runs with a limit."""
    chosen: dict[str, Run] = {}
    records = setting.records[["limit" not in run.not_compared for run in setting.runs]]
    for rule in sorted(in_order(records["rule"]), key=_shown_late):
        mine = records[records["rule"] == rule]
        if len(chosen) < _MOST_SHOWN:
            at = int(mine.index[int((mine["exponent"] - _SHOWN_EXPONENT).abs().argmin())])
            at_exponent = "" if rule == "ce" else f" {exponent(setting.runs[at].spec):g}"
            chosen[f"{find_rule(rule).label}{at_exponent}"] = setting.runs[at]
    return chosen


def _shown_late(rule: str) -> bool:
    """Whether a loss other than plain cross-entropy leads to the same limit, as it does on hard labels."""
    return rule != "ce" and find_rule(rule).has_limit_of_ce


def _gram_figure(
    chosen: Mapping[str, Run],
    load: Load,
    limit: Callable[[Run], FramedGeometry],
    frame: Frame,
    narrow: bool,
) -> Figure:
    predicted, measured = {}, {}
    for name, run in chosen.items():
        theory, loaded = limit(run).blocks(), load(run.spec)
        vectors = loaded.arrays["classifier"], loaded.embedding(frame)
        for letter, block, rows in zip("WH", VECTORS_IN[frame], vectors, strict=True):
            predicted[f"{name}: {letter}"] = drawn_entries(theory[block])
            measured[f"{name}: {letter}"] = drawn_entries(Gram.from_factors(rows))
    return gram_figure(predicted, measured, narrow=narrow)
