"""What stands in the paper's figures: values are read back from the artists and compared with their tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

from implicit_geometry.frames import FRAMES
from implicit_geometry.report.figures.images import svg_text
from implicit_geometry.report.figures.paper.fig1_norm_ratios import norm_ratio_figure
from implicit_geometry.report.figures.paper.fig2_vectors import vectors_figure
from implicit_geometry.report.figures.paper.fig3_all_numbers import four_by_four_figure
from implicit_geometry.report.figures.paper.fig4_distances import distance_figure
from implicit_geometry.report.figures.paper.fig5_training_accuracy import training_accuracy_figure

NAMES = {"ufm": "UFM", "mlp": "MLP on digits"}
COLUMNS = [
    f"{block}_{name}"
    for block in ("classifier", "centred_embedding")
    for name in ("norm_ratio", "cos_majority", "cos_minority", "cos_between")
]


@pytest.fixture(scope="module")
def models(curves: pd.DataFrame, records: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Theory and runs of two models; the second's norm ratios are twice the first's."""
    scaled = records.assign(classifier_norm_ratio=2 * records["classifier_norm_ratio"])
    return (
        pd.concat([curves.assign(model=model) for model in NAMES]),
        pd.concat([records.assign(model="ufm"), scaled.assign(model="mlp")]),
    )


def markers(ax: Axes) -> set[tuple[float, float, bool]]:
    """Position of every marker, and whether it is hollow."""
    return {
        (float(x), float(y), to_hex(line.get_markerfacecolor()) == "#ffffff")
        for line in ax.lines
        if line.get_marker() not in ("None", "", None)
        for x, y in zip(*line.get_data(), strict=True)
    }


def legend(figure: Figure) -> list[str]:
    (found,) = figure.legends
    return [text.get_text() for text in found.get_texts()]


def test_fig1_has_a_panel_a_model_and_a_marker_a_run(models: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    curves, records = models
    figure = norm_ratio_figure(curves, records, NAMES)
    for ax, (model, name) in zip(figure.axes, NAMES.items(), strict=True):
        runs = records[records["model"] == model]
        columns = (runs["exponent"], runs["classifier_norm_ratio"], ~runs["terminal_phase"].astype(bool))
        assert ax.get_title(loc="left") == name
        assert markers(ax) == set(zip(*columns, strict=True))
    assert {"CE", "CDT", "LDT", "theory: limit", "theory: fitted ridge", "simplex ETF"} <= set(legend(figure))


def test_fig3_has_sixteen_panels_with_every_models_runs(models: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    curves, records = models
    figure = four_by_four_figure(curves, records, NAMES)
    halves = figure.subfigs
    for half, rule in zip(halves, ("cdt", "ldt"), strict=True):
        runs = records[records["rule"].isin((rule, "ce"))]
        for ax, column in zip(half.axes, COLUMNS, strict=True):
            expected = zip(runs["exponent"], runs[column], ~runs["terminal_phase"].astype(bool), strict=True)
            assert markers(ax) == set(expected)
    assert legend(figure)[:2] == list(NAMES.values())


def test_fig3_draws_the_limit_once_and_a_fitted_line_a_model(models: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    curves, records = models
    ax = four_by_four_figure(curves, records, NAMES).subfigs[1].axes[1]
    limit = curves[(curves["rule"] == "ldt") & (curves["kind"] == "limit") & (curves["model"] == "ufm")]
    (line,) = [line for line in ax.lines if line.get_label() == "theory: limit"]
    np.testing.assert_array_equal(line.get_ydata(), limit["classifier_cos_majority"])
    assert len([line for line in ax.lines if line.get_linestyle() == "-." and len(line.get_xdata())]) == 2


def test_fig3_tells_the_papers_limit_from_that_behind_a_relu(models: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    curves, records = models
    behind = curves[curves["kind"] == "limit"].assign(kind="relu")
    behind[COLUMNS] *= 0.5
    figure = four_by_four_figure(pd.concat([curves, behind]), records, NAMES)
    for ax, column in zip(figure.subfigs[0].axes, COLUMNS, strict=True):
        paper, relu = (
            next(line for line in ax.lines if line.get_label() == label)
            for label in ("theory: limit", "theory: limit behind a ReLU")
        )
        wanted = curves[(curves["rule"] == "cdt") & (curves["kind"] == "limit") & (curves["model"] == "ufm")]
        np.testing.assert_array_equal(paper.get_ydata(), wanted[column])
        np.testing.assert_array_equal(relu.get_ydata(), 0.5 * wanted[column])
        assert paper.get_color() != relu.get_color()
    assert {"theory: limit", "theory: limit behind a ReLU"} <= set(legend(figure))


def test_a_fitted_line_that_runs_off_does_not_stretch_the_axes(models: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    curves, records = models
    wild = curves.copy()
    wild.loc[wild["kind"] == "ridge", COLUMNS] *= 1e6
    for ax in four_by_four_figure(wild, records, NAMES).subfigs[0].axes:
        assert ax.get_ylim()[1] < 1e4


@pytest.fixture
def histories() -> pd.DataFrame:
    """Runs whose distances and accuracies are told apart by exponent, ratio and rule."""
    rows = []
    for ratio in (2.0, 10.0):
        for rule, exponents in (("ce", (0.0,)), ("cdt", (-0.5, 1.0)), ("ldt", (-0.5, 1.0))):
            for exponent in exponents:
                for epoch in (10, 20):
                    level = epoch / 100 + exponent / 1000 + ratio / 10_000 + (rule == "ldt") / 1e5
                    names = [f"{block}_limit_distance" for block in ("classifier", "centred_embedding")]
                    names += [f"train_{group}" for group in ("balanced", "majority", "minority")]
                    values = dict.fromkeys(names, level)
                    base = {"rule": rule, "exponent": exponent, "imbalance_ratio": ratio, "epoch": epoch, "seed": 0}
                    rows.append({**base, **values})
    return pd.DataFrame(rows)


def test_fig4_has_a_line_an_exponent_with_ce_among_them(histories: pd.DataFrame) -> None:
    figure = distance_figure(histories, "MLP on digits")
    titles = [ax.get_title(loc="left") for ax in figure.axes[:4]]
    assert titles == [f"{rule}, R = {ratio}: classifiers W" for ratio in (2, 10) for rule in ("CDT", "LDT")]
    lines = {line.get_label(): line.get_ydata().tolist() for line in figure.axes[3].lines}
    level = 10 / 10_000 + 1e-5
    assert lines["γ = 1"] == pytest.approx([0.1 + 0.001 + level, 0.2 + 0.001 + level])
    assert lines["γ = 0 (CE)"] == pytest.approx([0.1 + level - 1e-5, 0.2 + level - 1e-5])
    assert list(lines) == ["γ = −0.5", "γ = 0 (CE)", "γ = 1"] == legend(figure)


def test_fig4_as_printed_has_columns_for_cdt_only(histories: pd.DataFrame) -> None:
    figure = distance_figure(histories[histories["rule"] == "cdt"], "UFM")
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == [f"CDT, R = {ratio}: {name}" for name in ("classifiers W", "embeddings H") for ratio in (2, 10)]


def test_fig4_and_fig3_show_embeddings_in_the_frame_asked_for(
    models: tuple[pd.DataFrame, pd.DataFrame], histories: pd.DataFrame
) -> None:
    both = histories.assign(embedding_limit_distance=2 * histories["centred_embedding_limit_distance"])
    projected, centred = (distance_figure(both, "MLP", frame=frame).axes[4].lines[0] for frame in FRAMES)
    np.testing.assert_allclose(projected.get_ydata(), 2 * centred.get_ydata())
    curves, records = models
    moved = records.assign(embedding_norm_ratio=3 * records["centred_embedding_norm_ratio"])
    panels = [four_by_four_figure(curves, moved, NAMES, frame=frame).subfigs[0].axes[4] for frame in FRAMES]
    assert [ax.get_title(loc="left") for ax in panels] == ["H: squared norm ratio", "H centred:\nsquared norm ratio"]
    heights = [sorted(y for _, y, _ in markers(ax)) for ax in panels]
    np.testing.assert_allclose(heights[0], 3 * np.array(heights[1]))


def test_fig5_shows_three_groups_of_both_rules_in_percent(histories: pd.DataFrame) -> None:
    figure = training_accuracy_figure(histories[histories["imbalance_ratio"] == 10], "MLP on digits")
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        f"{rule}: {group}" for rule in ("CDT", "LDT") for group in ("all classes", "majority", "minority")
    ]
    assert all(len(ax.lines) == 3 for ax in figure.axes)
    assert figure.axes[0].yaxis.get_major_formatter()(0.5, 0) in ("50%", "50.0%")


def test_lines_are_means_over_seeds(histories: pd.DataFrame) -> None:
    other = histories.assign(seed=1, classifier_limit_distance=histories["classifier_limit_distance"] + 1)
    axes = distance_figure(pd.concat([histories, other]), "MLP").axes
    assert axes[0].lines[1].get_ydata() == pytest.approx([0.6002, 0.7002])


def test_fig2_draws_predictions_as_arrows_and_trained_tips_as_markers() -> None:
    rows = [
        {"model": model, "rule": rule, "exponent": 0.5, "factor": factor, "class": c, "count": 5 + 45 * (c == 0)}
        for model in ("theory", "ufm")
        for rule in ("ldt", "cdt")
        for factor in ("classifier", "embedding")
        for c in range(3)
    ]
    points = np.random.default_rng(0).normal(size=(len(rows), 2)).round(3)
    table = pd.DataFrame(rows).assign(x=points[:, 0], y=points[:, 1])
    figure = vectors_figure(table, {"ufm": "UFM"})
    ax = figure.axes[1]
    mine = table[(table["rule"] == "cdt") & (table["factor"] == "classifier")]
    arrows = {(float(q.U[0]), float(q.V[0])) for q in ax.collections if isinstance(q, Quiver)}
    assert arrows == set(map(tuple, mine.loc[mine["model"] == "theory", ["x", "y"]].to_numpy().tolist()))
    tips = {(x, y) for x, y, _ in markers(ax)}
    assert tips == set(map(tuple, mine.loc[mine["model"] == "ufm", ["x", "y"]].to_numpy().tolist()))
    assert ax.get_aspect() == 1
    assert svg_text(figure).startswith("<?xml")
