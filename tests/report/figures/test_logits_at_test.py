"""The figure of the study of test-time logits, and reliability diagrams."""

import numpy as np
import pandas as pd
import pytest

from implicit_geometry import InputError
from implicit_geometry.nn import reliability
from implicit_geometry.report import reliability_figure
from implicit_geometry.report.figures.logits_at_test import logits_at_test_figure
from implicit_geometry.studies.logits_at_test import METHODS, PRIORS


def table():
    return pd.DataFrame(
        {
            "data": "digits",
            "prior": prior,
            "rule": rule,
            "method": method,
            "accuracy": 0.5 + 0.1 * place + 0.01 * step,
            "accuracy_half": 0.02,
            "ece": 0.1,
            "ece_half": 0.01,
        }
        for prior in PRIORS
        for place, rule in enumerate(("ce", "vs"))
        for step, method in enumerate(METHODS)
    )


def test_each_method_has_a_marker_for_each_loss_in_each_panel():
    figure = logits_at_test_figure(table(), "digits")
    assert len(figure.axes) == 4
    for ax in figure.axes:
        assert [label.get_text() for label in ax.get_xticklabels()] == ["CE", "VS"]
        assert len(ax.containers) == len(METHODS)
    heights = [bars.lines[0].get_ydata().tolist() for bars in figure.axes[0].containers]
    assert heights == [pytest.approx([0.5 + 0.01 * step, 0.6 + 0.01 * step]) for step in range(4)]


def test_a_missing_column_is_named():
    with pytest.raises(InputError, match="ece_half"):
        logits_at_test_figure(table().drop(columns="ece_half"), "digits")


def test_a_reliability_diagram_has_a_panel_per_curve():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(200, 3)), rng.integers(0, 3, 200)
    curves = {"plain": reliability(logits, labels), "sharper": reliability(3 * logits, labels)}
    figure = reliability_figure(curves)
    upper = figure.axes[:2]
    assert [ax.get_title() or ax.get_title(loc="left") for ax in upper] == list(curves)
    for ax, curve in zip(upper, curves.values(), strict=True):
        np.testing.assert_allclose(ax.lines[1].get_xdata(), curve.confidence)
        np.testing.assert_allclose(ax.lines[1].get_ydata(), curve.accuracy)


def test_a_reliability_diagram_needs_a_curve():
    with pytest.raises(InputError, match=r"^curves must hold at least one curve"):
        reliability_figure({})
