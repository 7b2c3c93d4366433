import numpy as np
import pytest

from implicit_geometry import ClassCounts, Problem, cdt, logit_adjusted, predict, simplex_etf, vs
from implicit_geometry.studies.curves import rule_at, theory_curves
from implicit_geometry.summary import geometry_summary

COUNTS = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)


def test_summary_holds_the_known_eight_numbers():
    summary = geometry_summary(predict(Problem(COUNTS, cdt(COUNTS, gamma=-1.5))).geometry, COUNTS)
    expected = [54.708, -0.250, 0.316, -0.002, 9.369, -0.241, -0.162, -0.023]
    np.testing.assert_allclose(list(summary.values()), expected, atol=6e-4)


def test_balanced_counts_have_no_majority_and_no_summary():
    assert np.isnan(list(geometry_summary(simplex_etf(4), ClassCounts([5] * 4)).values())).all()


def test_the_exponent_is_the_one_each_rule_is_plotted_against():
    assert rule_at("logit_adjusted", COUNTS, 0.5) == logit_adjusted(COUNTS, tau=0.5)
    assert rule_at("vs", COUNTS, 0.5) == vs(COUNTS, gamma=0.5, tau=1.0)
    assert rule_at("ce", COUNTS, 0.5) == cdt(COUNTS, gamma=0.0)


def test_curves_of_smoothed_labels_are_those_of_their_problem():
    curves = theory_curves(COUNTS, ["vs"], [0.25], ridges={"vs": 0.1}, label_smoothing=0.1)
    for kind, ridge in (("limit", 0.0), ("ridge", 0.1)):
        problem = Problem(COUNTS, vs(COUNTS, gamma=0.25), ridge=ridge, label_smoothing=0.1)
        expected = geometry_summary(predict(problem).geometry, COUNTS)
        (row,) = curves[curves["kind"] == kind].to_dict("records")
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-6)


def test_curves_hold_the_limit_and_a_ridge_where_one_is_given():
    curves = theory_curves(COUNTS, ("cdt", "weighted"), (0.0, 0.5), ridges={"cdt": 1e-3})
    assert curves.groupby(["rule", "kind"]).size().to_dict() == {
        ("cdt", "limit"): 2,
        ("cdt", "ridge"): 2,
        ("weighted", "limit"): 2,
    }
    at_zero = curves[(curves["rule"] == "cdt") & (curves["exponent"] == 0.0)].set_index("kind")["classifier_norm_ratio"]
    assert at_zero["limit"] == pytest.approx(2.672, abs=5e-4)
    assert at_zero["ridge"] == pytest.approx(3.14, abs=5e-3)


def test_values_that_a_rule_does_not_take_are_left_out():
    counts = ClassCounts.step(num_classes=4, imbalance_ratio=10, max_count=50)
    curves = theory_curves(counts, ["ldam", "cdt"], [-0.5, 0.5])
    assert curves.loc[curves["rule"] == "ldam", "exponent"].tolist() == [0.5]
    assert curves.loc[curves["rule"] == "cdt", "exponent"].tolist() == [-0.5, 0.5]
