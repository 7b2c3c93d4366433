"""The figures of the study of laws show the numbers of its table."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from implicit_geometry import InputError
from implicit_geometry.report.figures.laws import exponents_figure, laws_figure, losses_figure
from implicit_geometry.studies.laws.predictions import LAWS

LOSSES = [("ce", 0.0), ("ldt", 0.5), ("cdt", 0.5), ("logit_adjusted", 1.0)]
FIGURES = [laws_figure, losses_figure, exponents_figure]


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    rows = []
    for normalization, smoothing, ratio, (rule, exponent), law in itertools.product(
        ("batch", "none"), (0.0, 0.1), (2.0, 10.0), LOSSES, LAWS
    ):
        if rule == "logit_adjusted" and ratio == 2.0:
            continue
        row = {"normalization": normalization, "label_smoothing": smoothing, "imbalance_ratio": ratio}
        row |= {"rule": rule, "exponent": exponent, "law": law, "count_exponent": 0.8}
        row["main"] = rule != "logit_adjusted"
        row |= {"count_exponent_low": 0.7, "count_exponent_high": 0.95}
        for block in ("classifier", "embedding", "cross"):
            refused = law == "counts_relu" and rule == "logit_adjusted"
            row |= {f"{block}_systematic": np.nan if refused else rng.uniform(0.01, 0.4), f"{block}_heterogeneity": 0.1}
        rows.append(row)
    return pd.DataFrame(rows)


def points(ax, color):
    """What is drawn as larger markers of a colour."""
    drawn = [line for line in ax.lines if line.get_color() == color and len(line.get_xdata())]
    return [line for line in drawn if line.get_marker() in "os^"]


def test_every_law_is_the_median_over_the_main_losses(table):
    ax = laws_figure(table).axes[0]
    (line,) = points(ax, "#0072B2")
    at_ten = table[(table["normalization"] == "batch") & (table["imbalance_ratio"] == 10)]
    main = at_ten[(at_ten["label_smoothing"] == 0) & at_ten["main"]]
    wanted = main.groupby("law")["classifier_systematic"].median().reindex(list(LAWS))
    np.testing.assert_allclose(line.get_ydata(), wanted)


def test_all_that_is_drawn_is_within_the_axes(table):
    table.loc[table["label_smoothing"] == 0.1, "classifier_systematic"] += 2.0  # in the second of the rows
    axes = laws_figure(table).axes
    assert axes[0].get_ylim() == axes[3].get_ylim()
    low, high = axes[3].get_ylim()
    drawn = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes[3].lines])
    assert low == 0
    assert np.nanmax(drawn) < high


def test_every_loss_has_the_papers_distance_and_that_of_the_last_law_that_theory_allows(table):
    ax = losses_figure(table).axes[1]
    hollow, filled = (line.get_ydata() for line in ax.lines[:2])
    smoothed = table[(table["label_smoothing"] == 0.1) & (table["imbalance_ratio"] == 10)]
    one = smoothed[smoothed["normalization"] == "batch"].set_index(["law", "rule"])["embedding_systematic"]
    np.testing.assert_allclose(hollow, [one["paper", rule] for rule, _ in LOSSES])
    laws = ["counts_relu"] * 3 + ["counts"]
    np.testing.assert_allclose(filled, [one[law, rule] for law, (rule, _) in zip(laws, LOSSES, strict=True)])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["CE", "LDT 0.5", "CDT 0.5", "LA 1"]


def test_exponents_stand_over_their_imbalance_ratio(table):
    ax = exponents_figure(table).axes[0]
    line = points(ax, "#009E73")[0]
    assert line.get_ydata().tolist() == [0.8, 0.8]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["R = 2", "R = 10"]


@pytest.mark.parametrize("draw", FIGURES)
def test_a_missing_column_is_named(table, draw):
    with pytest.raises(InputError, match=r"^table must have the columns law"):
        draw(table.drop(columns="law"))


@pytest.mark.parametrize("draw", FIGURES)
def test_one_network_and_one_ratio_are_enough(table, draw):
    draw(table[(table["normalization"] == "none") & (table["imbalance_ratio"] == 10)])


def test_every_law_of_the_study_is_drawn(table):
    labels = laws_figure(table).axes[-1].get_xticklabels()
    assert len(labels) == len(LAWS)


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[3].glob("docs/laws-*.csv")), ids=lambda path: path.stem)
def test_the_page_of_laws_can_be_drawn_again_from_its_table(path):
    table = pd.read_csv(path)
    for draw in FIGURES:
        assert draw(table).axes
