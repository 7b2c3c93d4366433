import pandas as pd
import pytest

from implicit_geometry import InputError
from implicit_geometry.report.figures.accuracy_study import accuracy_against_geometry_figure, accuracy_study_figure
from implicit_geometry.rules import RULES

SETTINGS = [("step", 10), ("step", 100), ("exponential", 10)]


def table():
    rows = []
    for profile, ratio in SETTINGS:
        for place, rule in enumerate(("ce", "cdt", "vs")):
            row = {"data": "digits", "profile": profile, "imbalance_ratio": ratio, "rule": rule}
            for name, value in (("balanced", 0.9), ("minority", 0.8), ("worst", 0.7)):
                row |= {f"test_{name}": value + 0.01 * place, f"test_{name}_half": 0.02}
            rows.append({**row, "classifier_etf_distance": 0.1 * place, "classifier_limit_distance": 0.2})
    return pd.DataFrame(rows)


def test_a_panel_a_setting_with_a_line_a_loss_in_the_order_of_the_styles():
    figure = accuracy_study_figure(table(), "digits")
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        f"digits, {profile}, R = {ratio}" for profile, ratio in SETTINGS
    ]
    for ax in figure.axes:
        assert [label.get_text() for label in ax.get_yticklabels()] == ["CE", "CDT", "VS"]
        balanced = ax.containers[0]
        assert balanced.lines[0].get_xdata().tolist() == pytest.approx([0.9, 0.91, 0.92])
        low, high = balanced.lines[2][0].get_segments()[0][:, 0]
        assert (low, high) == pytest.approx((0.88, 0.92))


def test_every_run_is_a_dot_over_both_distances():
    figure = accuracy_against_geometry_figure(table(), "digits")
    assert len(figure.axes) == 2 * len(SETTINGS)
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert list(lines) == [style.label for style in RULES.values()]
    assert lines["VS"].get_xdata().tolist() == pytest.approx([0.2])
    assert lines["VS"].get_ydata().tolist() == pytest.approx([0.92])


def test_a_missing_column_is_named():
    with pytest.raises(InputError, match="test_worst"):
        accuracy_study_figure(table().drop(columns="test_worst"), "digits")
    with pytest.raises(InputError, match="classifier_etf_distance"):
        accuracy_against_geometry_figure(table().drop(columns="classifier_etf_distance"), "digits")
