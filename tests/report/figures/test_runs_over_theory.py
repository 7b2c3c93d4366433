"""What stands in the figures: values are read back from the artists and compared with the tables they came from."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from implicit_geometry._validate import InputError
from implicit_geometry.report.figures.runs_over_theory import (
    accuracy_figure,
    accuracy_panel,
    geometry_figure,
    geometry_panels,
    gram_figure,
    gram_heatmaps,
)
from implicit_geometry.rules import RULES

NUM_CLASSES = 10
COLUMNS = [
    f"{block}_{name}"
    for block in ("classifier", "embedding")
    for name in ("norm_ratio", "cos_majority", "cos_minority", "cos_between")
]


def lines(ax: Axes, label: str) -> list[Line2D]:
    return [line for line in ax.lines if line.get_label() == label]


def points(ax: Axes, label: str) -> set[tuple[float, float]]:
    return {(float(x), float(y)) for line in lines(ax, label) for x, y in zip(*line.get_data(), strict=True)}


def panels(rule: str, curves: pd.DataFrame, records: pd.DataFrame) -> np.ndarray:
    return geometry_panels(Figure().subplots(2, 4), rule, curves, records, NUM_CLASSES)


def test_every_rule_has_a_style_of_its_own() -> None:
    assert len({(style.color, style.label) for style in RULES.values()}) == len(RULES)


def test_dashed_lines_are_the_simplex_etf(curves: pd.DataFrame, records: pd.DataFrame) -> None:
    for row in panels("cdt", curves, records):
        for ax, value in zip(row, (1.0, -1 / 9, -1 / 9, -1 / 9), strict=True):
            (line,) = lines(ax, "simplex ETF")
            assert np.asarray(line.get_ydata()) == pytest.approx([value, value])
            assert line.get_linestyle() == "--"


@pytest.mark.parametrize(("kind", "label"), [("limit", "theory: limit"), ("ridge", "theory: finite ridge")])
def test_theory_lines_are_the_curves_of_the_rule(
    curves: pd.DataFrame, records: pd.DataFrame, kind: str, label: str
) -> None:
    expected = curves[(curves["rule"] == "ldt") & (curves["kind"] == kind)]
    shuffled = curves.sample(frac=1, random_state=0)
    for ax, column in zip(panels("ldt", shuffled, records).flat, COLUMNS, strict=True):
        (line,) = lines(ax, label)
        np.testing.assert_array_equal(line.get_xdata(), expected["exponent"])
        np.testing.assert_array_equal(line.get_ydata(), expected[column])


def test_without_a_regularised_optimum_there_is_no_line_for_it(curves: pd.DataFrame, records: pd.DataFrame) -> None:
    for ax in panels("cdt", curves[curves["kind"] == "limit"], records).flat:
        assert not lines(ax, "theory: finite ridge")


def test_one_marker_a_run_and_hollow_before_the_terminal_phase(curves: pd.DataFrame, records: pd.DataFrame) -> None:
    own = [row for row in records.to_dict("records") if row["rule"] in ("cdt", "ce")]
    for ax, column in zip(panels("cdt", curves, records).flat, COLUMNS, strict=True):
        for finished, label in ((True, "measured"), (False, "measured before terminal phase")):
            expected = {(row["exponent"], row[column]) for row in own if row["terminal_phase"] is finished}
            assert points(ax, label) == expected
            assert len(expected) > 0
            (line,) = lines(ax, label)
            assert line.get_linestyle() == "None"
            assert to_rgba(line.get_markerfacecolor()) == to_rgba(RULES["cdt"].color if finished else "white")


def test_cross_entropy_is_not_a_point_of_a_rule_that_differs_from_it_at_zero(
    curves: pd.DataFrame, records: pd.DataFrame
) -> None:
    assert {x for x, _ in points(panels("vs", curves, records)[0, 0], "measured")} == {0.25, 0.5, 0.75}


def test_a_curve_that_runs_off_to_collapse_does_not_squeeze_the_runs(
    curves: pd.DataFrame, records: pd.DataFrame
) -> None:
    ridge = curves["kind"] == "ridge"
    assert curves.loc[ridge, "classifier_norm_ratio"].max() > 1e6
    limit_only = panels("cdt", curves[~ridge], records)[0, 0].get_ylim()
    both = panels("cdt", curves, records)[0, 0]
    assert both.get_yscale() == "log"
    assert both.get_ylim()[1] == pytest.approx(3 * limit_only[1])


def test_accuracy_lines_are_means_over_seeds_and_pass_through_cross_entropy(records: pd.DataFrame) -> None:
    ax = accuracy_panel(Figure().subplots(), records, "test_minority")
    for rule in ("weighted", "logit_adjusted", "cdt", "ldt", "vs"):
        sums: dict[float, list[float]] = {}
        for row in records.to_dict("records"):
            if row["rule"] == rule or (row["rule"] == "ce" and rule != "vs"):
                sums.setdefault(row["exponent"], []).append(row["test_minority"])
        (line,) = lines(ax, RULES[rule].label)
        assert list(line.get_xdata()) == sorted(sums)
        assert list(line.get_ydata()) == pytest.approx([np.mean(sums[exponent]) for exponent in sorted(sums)])


def test_cross_entropy_is_a_horizontal_line(records: pd.DataFrame) -> None:
    ax = accuracy_panel(Figure().subplots(), records)
    expected = np.mean([row["test_balanced"] for row in records.to_dict("records") if row["rule"] == "ce"])
    across = [line for line in ax.lines if line.get_linestyle() == "--" and len(line.get_xdata()) == 2]
    assert [list(line.get_ydata()) for line in across] == [pytest.approx([expected, expected])]


def test_every_seed_is_a_small_marker_once(records: pd.DataFrame) -> None:
    ax = accuracy_panel(Figure().subplots(), records)
    seeds = [line for line in ax.lines if line.get_marker() == "."]
    assert sum(len(line.get_xdata()) for line in seeds) == len(records)


def test_variants_of_a_rule_are_lines_of_their_own(records: pd.DataFrame) -> None:
    second = records[records["rule"] == "vs"].assign(variant="tau 0.5", test_balanced=0.5)
    ax = accuracy_panel(Figure().subplots(), pd.concat([records, second]))
    (usual,), (other,) = lines(ax, "VS"), lines(ax, "VS (tau 0.5)")
    assert set(other.get_ydata()) == {0.5}
    assert min(usual.get_ydata()) > 0.5
    assert usual.get_linestyle() != other.get_linestyle()
    assert usual.get_color() == other.get_color()


def test_rules_without_runs_are_not_in_the_legend(records: pd.DataFrame) -> None:
    figure = accuracy_figure(records[records["rule"].isin(["ce", "ldt"])])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["CE", "LDT"]


def test_heatmaps_have_unit_norm_and_one_symmetric_scale() -> None:
    random = np.random.default_rng(0)
    predicted = {"W": random.normal(size=(4, 4)), "H": 100 * np.eye(4)}
    measured = {"W": 7 * predicted["W"], "H": random.normal(size=(4, 4))}
    axes = gram_heatmaps(Figure().subplots(2, 2), predicted, measured)
    for row, title in zip(axes, ("W", "H"), strict=True):
        for ax, matrix in zip(row, (predicted[title], measured[title]), strict=True):
            expected = matrix / np.sqrt(sum(entry**2 for entry in matrix.flat))
            np.testing.assert_allclose(ax.images[0].get_array(), expected, atol=1e-15)
    np.testing.assert_allclose(axes[0, 0].images[0].get_array(), axes[0, 1].images[0].get_array(), atol=1e-15)
    scales = {(ax.images[0].norm.vmin, ax.images[0].norm.vmax) for ax in axes.flat}
    largest = max(float(np.abs(ax.images[0].get_array()).max()) for ax in axes.flat)
    assert scales == {(-largest, largest)}
    assert axes[0, 0].images[0].norm(0.0) == pytest.approx(0.5)
    assert [ax.get_title(loc="center") for ax in axes.flat] == [
        "W, predicted",
        "W, measured",
        "H, predicted",
        "H, measured",
    ]


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("kind", ["geometry", "accuracy", "gram"])
def test_nothing_is_clipped_and_the_legend_covers_no_panel(
    curves: pd.DataFrame, records: pd.DataFrame, kind: str, narrow: bool
) -> None:
    grams = {f"CE: {letter}": np.eye(10) for letter in "WHX"}
    figure = {
        "geometry": lambda: geometry_figure("cdt", curves, records, NUM_CLASSES, narrow=narrow),
        "accuracy": lambda: accuracy_figure(records, narrow=narrow),
        "gram": lambda: gram_figure(grams, grams, narrow=narrow),
    }[kind]()
    figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    drawn = figure.get_tightbbox()
    assert drawn.x0 >= 0
    assert drawn.y0 >= 0
    assert drawn.x1 <= width
    assert drawn.y1 <= height
    for legend in figure.legends:
        assert not any(legend.get_window_extent().overlaps(ax.get_tightbbox()) for ax in figure.axes)
    titles = [ax.title if kind == "gram" else ax._left_title for ax in figure.axes if ax.get_label() != "<colorbar>"]
    boxes = [title.get_window_extent() for title in titles]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_narrow_and_wide_figures_show_the_same(curves: pd.DataFrame, records: pd.DataFrame) -> None:
    wide, narrow = (geometry_figure("ldt", curves, records, NUM_CLASSES, narrow=flag) for flag in (False, True))
    assert {ax.get_title(loc="left") for ax in wide.axes} == {ax.get_title(loc="left") for ax in narrow.axes}
    assert narrow.get_figwidth() < 5 < wide.get_figwidth()


def test_settings_of_the_caller_are_left_alone(records: pd.DataFrame) -> None:
    before = dict(matplotlib.rcParams)
    accuracy_figure(records)
    assert dict(matplotlib.rcParams) == before


def test_bad_input_is_named(curves: pd.DataFrame, records: pd.DataFrame) -> None:
    grid = Figure().subplots(2, 4)
    with pytest.raises(InputError, match=r"axes must have shape \(2, 4\), got \(4, 2\)"):
        geometry_panels(grid.T, "cdt", curves, records, NUM_CLASSES)
    with pytest.raises(InputError, match="did you mean 'cdt'"):
        geometry_panels(grid, "cdtt", curves, records, NUM_CLASSES)
    with pytest.raises(InputError, match=r"num_classes must be .* at least 2, got 1"):
        geometry_panels(grid, "cdt", curves, records, 1)
    with pytest.raises(InputError, match="kind of a curve must be one of limit, ridge, got 'path'"):
        geometry_panels(grid, "cdt", curves.replace({"kind": {"ridge": "path"}}), records, NUM_CLASSES)
    with pytest.raises(InputError, match="records must have the columns embedding_cos_between"):
        geometry_panels(grid, "cdt", curves, records.drop(columns="embedding_cos_between"), NUM_CLASSES)
    with pytest.raises(InputError, match="metric must be one of"):
        accuracy_panel(Figure().subplots(), records, "test_accuracy")
    with pytest.raises(InputError, match="measured must have the titles"):
        gram_heatmaps(Figure().subplots(1, 2, squeeze=False), {"W": np.eye(2)}, {"H": np.eye(2)})
    with pytest.raises(InputError, match="matrix 'W' must be square, finite and not zero"):
        gram_heatmaps(Figure().subplots(1, 2, squeeze=False), {"W": np.zeros((2, 2))}, {"W": np.eye(2)})
