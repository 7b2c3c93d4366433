"""Figures of finished runs: measured geometry over theory, accuracy, Gram matrices. Axes in, Axes out.

A ``..._figure`` function makes the whole figure: panels, one legend beside them, and a layout for a wide page or, with
``narrow=True``, for a column or a telephone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import FuncNorm
from matplotlib.figure import Figure
from matplotlib.ticker import AutoMinorLocator, FuncFormatter, LogLocator
from numpy.typing import ArrayLike, NDArray

from implicit_geometry._validate import Floats, InputError, choice, numeric_array, whole_number
from implicit_geometry.experiments.record_columns import COLUMNS
from implicit_geometry.experiments.spec_texts import series_title
from implicit_geometry.frames import FRAMES, Frame
from implicit_geometry.report.figures.style import ETF_COLOR, FIGURE_STYLE
from implicit_geometry.report.frames import (
    require_columns,
    rule_runs,
    series,
    series_runs,
    variants,
)
from implicit_geometry.rules import find_rule
from implicit_geometry.summary import FRAMED_BLOCKS, QUANTITIES, VECTORS_IN

_ACCURACIES = ("test_balanced", "test_minority", "test_majority", "test_worst", "test_overall")
_THEORY: dict[str, dict[str, Any]] = {
    "limit": {"label": "theory: limit", "linestyle": "-", "linewidth": 2.0, "alpha": 0.55},
    "ridge": {"label": "theory: finite ridge", "linestyle": "-.", "linewidth": 1.2},
}
ETF_LABEL = "simplex ETF"
_MEASURED = {True: "measured", False: "measured before terminal phase"}
LEGEND = (*(kind["label"] for kind in _THEORY.values()), ETF_LABEL, *_MEASURED.values())
_VARIANT_LINES = ("-", ":", "-.")
_LARGEST_OVERSHOOT = 3.0
_WIDEST_HEADING = 24  # letters that fit above a panel in one line
_SERIES = ("terminal_phase", "rule", "exponent")


def geometry_panels(
    axes: NDArray[np.object_],
    rule: str,
    curves: pd.DataFrame,
    records: pd.DataFrame,
    num_classes: int,
    frame: Frame = "projected",
) -> NDArray[np.object_]:
    """Norm ratio and mean cosines of classifiers and embeddings over the exponent of a rule: theory, ETF, runs.

    One marker per run, hollow where the run did not reach the terminal phase. Runs of plain cross-entropy stand at
    exponent 0 of the rules that equal it there.

    Args:
        axes: shape (2, 4): a row for W, a row for H; columns squared norm ratio and the cosines within the majority,
            within the minority, between them.
        rule: a name that :func:`implicit_geometry.rules.find_rule` takes.
        curves: theory; columns ``rule``, ``exponent``, ``kind`` (``"limit"`` or ``"ridge"``) and the eight numbers.
        records: one row per run; columns ``rule``, ``exponent``, ``terminal_phase`` and the eight numbers.
        num_classes: number of classes k; a simplex ETF has norm ratio 1 and cosines -1 / (k - 1).
        frame: of the embeddings; the numbers of ``"centred"`` ones are columns that begin with ``centred_embedding``.

    Returns:
        The axes.

    Raises:
        InputError: the axes have another shape, a column is missing, or the rule, the frame or a kind of curve is
            unknown.

    Source: Behnia et al. (2023), Fig. 3.
    """
    choice("frame", frame, FRAMES)
    blocks = VECTORS_IN[frame]
    if axes.shape != (len(blocks), len(QUANTITIES)):
        raise InputError("axes", "must have shape (2, 4)", axes.shape)
    columns = [f"{block}_{quantity}" for block in blocks for quantity in QUANTITIES]
    require_columns("curves", curves, ["rule", "exponent", "kind", *columns])
    require_columns("records", records, [*_SERIES, *columns])
    find_rule(rule)
    for kind in curves["kind"].unique():
        choice("kind of a curve", kind, _THEORY)
    whole_number("num_classes", num_classes, minimum=2)
    theory = curves[curves["rule"] == rule].sort_values("exponent")
    runs = rule_runs(records, rule)
    for ax, column in titled_panels(axes, num_classes, frame):
        _draw_geometry(ax, rule, theory, runs, column)
        _label_exponent(ax, [rule])
    return axes


def titled_panels(axes: NDArray[np.object_], num_classes: int, frame: Frame) -> Iterator[tuple[Axes, str]]:
    """Each of 2 x 4 panels with its title, its scale and the simplex ETF, and the name of the number that it shows."""
    etf_cosine = -1.0 / (num_classes - 1)
    for row, block in zip(axes, VECTORS_IN[frame], strict=True):
        for ax, (quantity, title) in zip(row, QUANTITIES.items(), strict=True):
            is_ratio = quantity == "norm_ratio"
            if is_ratio:
                log_scale(ax)
            heading = f"{FRAMED_BLOCKS[block]}: {title}"
            ax.set_title(heading if len(heading) <= _WIDEST_HEADING else heading.replace(": ", ":\n"))
            ax.axhline(1.0 if is_ratio else etf_cosine, color=ETF_COLOR, linestyle="--", linewidth=1.1, label=ETF_LABEL)
            yield ax, f"{block}_{quantity}"


def geometry_figure(
    rule: str,
    curves: pd.DataFrame,
    records: pd.DataFrame,
    num_classes: int,
    *,
    frame: Frame = "projected",
    narrow: bool = False,
) -> Figure:
    """The panels of :func:`geometry_panels` as a figure: 2 x 4, or 4 x 2 where ``narrow``."""
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(4.8, 8.6) if narrow else (11.2, 5.0), layout="constrained")
        axes = figure.subplots(4, 2, sharex=True).T if narrow else figure.subplots(2, 4, sharex=True)
        geometry_panels(axes, rule, curves, records, num_classes, frame)
        shared_legend(figure, LEGEND, columns=2 if narrow else 5)
    return figure


def accuracy_panel(ax: Axes, records: pd.DataFrame, metric: str = "test_balanced") -> Axes:
    """An accuracy over the exponent: one line per rule through the means over seeds; plain CE is a horizontal line.

    Lines of rules that equal plain cross-entropy at exponent 0 go through it there. Variants of a rule, where the
    records have a column ``variant``, get lines of their own.

    Args:
        ax: where to draw.
        records: one row per run; columns ``rule``, ``exponent``, ``terminal_phase`` and the metric.
        metric: ``test_balanced``, ``test_minority``, ``test_majority``, ``test_worst`` or ``test_overall``.

    Returns:
        The axes.

    Raises:
        InputError: a column is missing, or the metric is unknown.
    """
    title = COLUMNS[choice("metric", metric, _ACCURACIES)].long_title.capitalize()
    require_columns("records", records, [*_SERIES, metric])
    drawn = Counter[str]()
    for rule, variant in series(records):
        _draw_accuracy(ax, rule, variant, records, metric, _VARIANT_LINES[drawn[rule] % len(_VARIANT_LINES)])
        drawn[rule] += 1
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}%"))
    ax.set_title(title)
    _label_exponent(ax, [rule for rule in drawn if rule != "ce"])
    return ax


def accuracy_figure(
    records: pd.DataFrame, metrics: Sequence[str] = ("test_balanced", "test_minority"), *, narrow: bool = False
) -> Figure:
    """Two accuracies, each by :func:`accuracy_panel`, side by side or stacked where ``narrow``."""
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(4.8, 6.4) if narrow else (11.2, 4.4), layout="constrained")
        axes = figure.subplots(2, 1, sharex=True) if narrow else figure.subplots(1, 2)
        for ax, metric in zip(axes, metrics, strict=True):
            accuracy_panel(ax, records, metric)
        labels = [series_title(rule, variant) for rule, variant in series(records)]
        widest = max(map(len, labels), default=1)
        shared_legend(figure, labels, columns=max(1, min(len(labels), (40 if narrow else 100) // (widest + 4))))
    return figure


def gram_heatmaps(
    axes: NDArray[np.object_], predicted: Mapping[str, ArrayLike], measured: Mapping[str, ArrayLike]
) -> NDArray[np.object_]:
    """Gram matrices scaled to unit Frobenius norm, predicted beside measured, on one diverging colour scale.

    The colour is linear in the signed square root of the entry, so that cosines show beside the diagonal.

    Args:
        axes: shape (n, 2): one row per matrix; predicted left, measured right.
        predicted: title and k x k matrix, n of them.
        measured: the same titles with the measured matrices.

    Returns:
        The axes.

    Raises:
        InputError: the titles differ, the axes do not fit, or a matrix is zero or not finite and square.
    """
    if list(predicted) != list(measured):
        raise InputError("measured", f"must have the titles {list(predicted)}", list(measured))
    if axes.shape != (len(predicted), 2):
        raise InputError("axes", f"must have shape ({len(predicted)}, 2)", axes.shape)
    pairs = {title: (_unit_norm(title, predicted[title]), _unit_norm(title, measured[title])) for title in predicted}
    largest = max(float(np.abs(matrix).max()) for pair in pairs.values() for matrix in pair)
    scale = FuncNorm((_signed_root, _signed_square), vmin=-largest, vmax=largest)
    for row, (title, pair) in zip(axes, pairs.items(), strict=True):
        for ax, matrix, source in zip(row, pair, ("predicted", "measured"), strict=True):
            ax.imshow(matrix, norm=scale, cmap="RdBu_r", interpolation="nearest")
            ax.set_title(f"{title}, {source}")
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
    return axes


def gram_figure(
    predicted: Mapping[str, ArrayLike], measured: Mapping[str, ArrayLike], *, narrow: bool = False
) -> Figure:
    """The panels of :func:`gram_heatmaps` with their colour bar: two matrices per line, or one where ``narrow``."""
    pairs_a_line = 1 if narrow else 2
    lines = -(-len(predicted) // pairs_a_line)
    with matplotlib.rc_context(FIGURE_STYLE):
        width = 4.8 if narrow else 9.6
        figure = Figure(figsize=(width, 2.4 * lines + 0.6), layout="constrained")
        grid = figure.subplots(lines, 2 * pairs_a_line).reshape(-1, 2)
        axes = gram_heatmaps(grid[: len(predicted)], predicted, measured)
        for ax in grid[len(predicted) :].flat:
            ax.remove()
        bar = figure.colorbar(
            axes[0, 0].images[0], ax=axes.ravel().tolist(), location="bottom", shrink=0.6, aspect=40, pad=0.06 / lines
        )
        bar.set_label("entry of the Gram matrix scaled to Frobenius norm 1")
        bar.outline.set_visible(False)
    return figure


def _draw_geometry(ax: Axes, rule: str, theory: pd.DataFrame, runs: pd.DataFrame, column: str) -> None:
    """Limit, runs, regularised optimum; the last may leave the axes where it runs off towards minority collapse."""
    style = find_rule(rule)
    _draw_theory(ax, theory, "limit", style.color, column)
    for done, label in _MEASURED.items():
        chosen = runs[runs["terminal_phase"].astype(bool) == done]
        face, edge, width = (style.color, "white", 0.8) if done else ("white", style.color, 1.5)
        look: dict[str, Any] = {
            "markersize": 6.5,
            "markerfacecolor": face,
            "markeredgecolor": edge,
            "markeredgewidth": width,
        }
        if len(chosen):
            ax.plot(chosen["exponent"], chosen[column], style.marker, zorder=3, label=label, **look)
    low, high = ax.get_ylim()
    _draw_theory(ax, theory, "ridge", style.color, column)
    if ax.get_yscale() == "log":
        reached_low, reached_high = ax.get_ylim()
        ax.set_ylim(max(reached_low, low / _LARGEST_OVERSHOOT), min(reached_high, high * _LARGEST_OVERSHOOT))


def _draw_theory(ax: Axes, theory: pd.DataFrame, kind: str, color: str, column: str) -> None:
    line = theory[theory["kind"] == kind]
    if len(line):
        ax.plot(line["exponent"], line[column], color=color, **_THEORY[kind])


def _draw_accuracy(ax: Axes, rule: str, variant: str, records: pd.DataFrame, metric: str, line: str) -> None:
    style = find_rule(rule)
    seeds = records[(records["rule"] == rule) & (variants(records) == variant)]
    mean = series_runs(records, rule, variant).groupby("exponent")[metric].mean()
    line, order = ("--", 4) if rule == "ce" else (line, 3)
    if rule == "ce":
        ax.axhline(seeds[metric].mean(), color=style.color, linestyle=line, linewidth=1.1)
    ax.plot(seeds["exponent"], seeds[metric], ".", markersize=4, color=style.color, alpha=0.5, zorder=order)
    look: dict[str, Any] = {
        "color": style.color,
        "linewidth": 1.4,
        "markersize": 6,
        "markeredgecolor": "white",
        "markeredgewidth": 0.7,
    }
    label = series_title(rule, variant)
    ax.plot(mean.index, mean, linestyle=line, marker=style.marker, zorder=order, label=label, **look)


def log_scale(ax: Axes) -> None:
    """Logarithmic vertical axis with plain numbers at 1, 2 and 5."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=4))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.minorticks_off()


def _label_exponent(ax: Axes, rules: Sequence[str]) -> None:
    """Name the exponents of the rules, once per column of panels."""
    ax.xaxis.set_minor_locator(AutoMinorLocator(2))
    place = ax.get_subplotspec()
    if place is None or place.is_last_row():
        labels: dict[str, list[str]] = {}
        for rule in rules:
            labels.setdefault(find_rule(rule).axis, []).append(find_rule(rule).label)
        ax.set_xlabel(", ".join(f"{exponent} ({', '.join(names)})" for exponent, names in labels.items()))


def shared_legend(figure: Figure, order: Sequence[str], columns: int) -> None:
    """One legend below all panels, every label once."""
    handles: dict[str, Any] = {}
    for ax in figure.axes:  # those of sub-figures too
        handles.update(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    shown = [label for label in order if label in handles]
    figure.legend(
        [handles[label] for label in shown], shown, loc="outside lower center", ncols=columns, columnspacing=1.5
    )


def _unit_norm(title: str, matrix: ArrayLike) -> Floats:
    entries = numeric_array(f"matrix {title!r}", matrix)
    norm = float(np.linalg.norm(entries)) if entries.ndim == 2 else np.nan
    if entries.ndim != 2 or entries.shape[0] != entries.shape[1] or not np.isfinite(norm) or norm == 0:
        raise InputError(
            f"matrix {title!r}", "must be square, finite and not zero", f"shape {entries.shape}, norm {norm:g}"
        )
    return np.asarray(entries / norm)


def _signed_root(values: Floats) -> Floats:
    return np.asarray(np.sign(values) * np.sqrt(np.abs(values)))


def _signed_square(values: Floats) -> Floats:
    return np.asarray(values * np.abs(values))
