"""What stands in the pictures of convergence, read back from the artists."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from implicit_geometry.report.figures.paper.convergence import convergence_figure, gap_figure

QUANTITIES = ("classifier_distance", "embedding_distance", "gap")
EPOCHS = np.array([1, 20, 100, 300, 1000])


@pytest.fixture
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    runs, fits = [], []
    for ratio in (2, 20):
        for rule, exponent, scale in (("ce", 0.0, 1.0), ("cdt", 0.5, 1.0), ("ldt", 0.5, 1.0), ("cdt", 0.5, 2.0)):
            base = {"imbalance_ratio": ratio, "rule": rule, "exponent": exponent, "scale": scale, "seed": 0}
            level = ratio / 100 + exponent / 10 + scale / 1000 + (rule == "ldt") / 5000
            values = level + 1 / np.log(np.maximum(EPOCHS, 2))
            values[1] = np.inf
            runs.append(pd.DataFrame({**base, "epoch": EPOCHS, **dict.fromkeys(QUANTITIES, values)}))
            numbers = {"end": values[-1], "slope": 1.0, "at_infinity": level}
            fits.append({**base, **{f"{q}_{name}": value for q in QUANTITIES for name, value in numbers.items()}})
    return pd.concat(runs), pd.DataFrame(fits)


def test_a_panel_has_a_line_an_exponent_over_the_inverse_logarithm(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    figure = convergence_figure(*tables)
    titles = [ax.get_title(loc="left") for ax in figure.axes[:4]]
    assert titles == ["CDT, R = 2", "LDT, R = 2", "CDT, R = 20", "LDT, R = 20"]
    ax = figure.axes[3]
    lines = {line.get_label(): line for line in ax.lines if line.get_label().startswith("γ")}
    assert list(lines) == ["γ = 0 (CE)", "γ = 0.5"]
    x, y = lines["γ = 0.5"].get_data()
    np.testing.assert_allclose(x, 1 / np.log([100, 300, 1000]))  # not epoch 1, and not what is infinite
    np.testing.assert_allclose(y, 0.2 + 0.05 + 0.001 + 0.0002 + x)
    fitted = [line for line in ax.lines if line.get_linestyle() == ":" and len(line.get_xdata())]
    np.testing.assert_allclose(fitted[1].get_ydata()[0], 0.2512)
    assert ax.get_xlim()[0] > ax.get_xlim()[1] == 0


def test_gaps_stand_over_the_exponent_and_over_the_scale(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    rates = tables[1]
    figure = gap_figure(rates)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["CDT", "LDT", "CDT, γ = 0.5"]
    end, infinity = figure.axes[1].lines[2:4]  # R = 20
    wanted = rates[(rates["imbalance_ratio"] == 20) & rates["rule"].isin(("ce", "ldt"))]
    np.testing.assert_allclose(end.get_data(), (wanted["exponent"], wanted["gap_end"]))
    np.testing.assert_allclose(infinity.get_ydata(), wanted["gap_at_infinity"])
    scaled = figure.axes[2].lines[0]
    np.testing.assert_allclose(scaled.get_xdata(), [1, 2])
