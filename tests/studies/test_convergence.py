"""The unconstrained-features model on its way to the limit: distances, the gap to the global minimum, fitted rates."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import oracles
from implicit_geometry.nn.ufm import train_ufm
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.rules import cdt
from implicit_geometry.studies.convergence import (
    QUANTITIES,
    SETTINGS,
    Setting,
    convergence_history,
    fitted_rates,
)
from implicit_geometry.studies.figure_plans import FIGURES


@pytest.fixture(scope="module")
def history() -> pd.DataFrame:
    return convergence_history(2, settings=[Setting("cdt", 0.5, 2.0), Setting("ldt", 0.5)], epochs=200, seeds=(0, 1))


def last_run(rule: str) -> tuple[np.ndarray, np.ndarray, Parameterization, float, float]:
    """Counts, W, the loss, squared norms and smallest margin of the same training with seed 1, made by hand."""
    counts = FIGURES["fig4"].ufm_counts(2)
    scales = np.array([2.0**0.5] * 5 + [1.0] * 5)
    scales *= 10 / scales.sum()
    loss = Parameterization(class_scale=2 * scales) if rule == "cdt" else Parameterization(label_scale=scales)
    found = train_ufm(counts, [loss], epochs=200, seeds=(1,))
    classifier = found.classifier[0, 0, -1]
    return counts.values, classifier, loss, found.squared_norms[0, 0, -1], found.smallest_margin[0, 0, -1]


@pytest.mark.parametrize("rule", ["cdt", "ldt"])
def test_distance_and_gap_by_hand(history: pd.DataFrame, rule: str) -> None:
    counts, classifier, loss, squares, margin = last_run(rule)
    row = history[(history["rule"] == rule) & (history["seed"] == 1)].iloc[-1]
    logits = oracles.limit_logits(counts, loss.class_scale, loss.label_scale)
    target = oracles.factor_logits(logits, counts).classifier
    found = classifier @ classifier.T
    distance = np.linalg.norm(found / np.linalg.norm(found) - target / np.linalg.norm(target))
    assert row["classifier_distance"] == pytest.approx(distance, rel=1e-8)
    least = oracles.margin_certificate(logits, counts, loss.class_scale, loss.label_scale).dual
    assert row["gap"] == pytest.approx(squares / 2 / margin / least - 1, rel=1e-6)


def test_the_gap_is_never_negative_and_falls(history: pd.DataFrame) -> None:
    for _, run in history.groupby(["rule", "seed"]):
        finite = run["gap"][np.isfinite(run["gap"])]
        assert (finite > 0).all()
        assert finite.iloc[-1] == finite.min() < 0.3


def test_the_scale_of_delta_is_a_rate() -> None:
    """s delta is delta at s times the rate from sqrt(s) times the initial values: sqrt(s) W and sqrt(s) H coincide."""
    counts, s = FIGURES["fig4"].ufm_counts(2), 3.0
    loss = cdt(counts, 0.5)
    scaled = Parameterization(class_scale=s * loss.class_scale)
    first = train_ufm(counts, [scaled], epochs=30, learning_rate=0.2, initial_scale=0.03)
    second = train_ufm(counts, [loss], epochs=30, learning_rate=0.2 * s, initial_scale=0.03 * np.sqrt(s))
    np.testing.assert_allclose(np.sqrt(s) * first.classifier, second.classifier, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.sqrt(s) * first.embedding, second.embedding, rtol=1e-9, atol=1e-12)


def made_up(epochs: np.ndarray, values: np.ndarray, seed: int = 0) -> pd.DataFrame:
    run = {"imbalance_ratio": 2, "rule": "cdt", "exponent": 0.5, "scale": 1.0, "seed": seed, "epoch": epochs}
    return pd.DataFrame({**run, **dict.fromkeys(QUANTITIES, values)})


def test_rates_are_fitted_to_the_last_decade_only() -> None:
    epochs = np.array([1, 10, 99, 100, 200, 500, 1000])
    values = np.where(epochs < 100, 7.0, 0.25 + 1.5 / np.log(np.maximum(epochs, 2)))
    (row,) = fitted_rates(made_up(epochs, values)).to_dict("records")
    for quantity in QUANTITIES:
        assert row[f"{quantity}_slope"] == pytest.approx(1.5, rel=1e-9)
        assert row[f"{quantity}_at_infinity"] == pytest.approx(0.25, rel=1e-9)
        assert row[f"{quantity}_residual"] == pytest.approx(0, abs=1e-12)
        assert row[f"{quantity}_log_residual"] > 1e-3
        assert row[f"{quantity}_end"] == values[-1]


def test_the_line_against_ln_t_is_told_by_its_residual() -> None:
    epochs = np.array([100, 200, 500, 1000])
    (row,) = fitted_rates(made_up(epochs, 2 - 0.1 * np.log(epochs))).to_dict("records")
    assert row["gap_log_slope"] == pytest.approx(-0.1, rel=1e-9)
    assert row["gap_log_residual"] == pytest.approx(0, abs=1e-12)
    assert row["gap_residual"] > 1e-3


def test_too_few_finite_values_have_no_rate() -> None:
    epochs = np.array([100, 200, 500, 1000])
    rates = fitted_rates(
        pd.concat([made_up(epochs, np.array([np.inf, np.inf, 0.4, 0.3])), made_up(epochs, 1.0 / epochs, 1)])
    )
    assert np.isnan(rates["gap_slope"].iloc[0])
    assert rates["gap_end"].iloc[0] == 0.3
    assert np.isfinite(rates["gap_slope"].iloc[1])


def test_the_settings_vary_one_thing_at_a_time() -> None:
    assert len(set(SETTINGS)) == len(SETTINGS)
    usual = {(setting.rule, setting.exponent) for setting in SETTINGS if setting.scale == 1}
    assert usual == {("ce", 0.0), *((rule, gamma) for rule in ("cdt", "ldt") for gamma in (-1.0, -0.5, 0.5, 1.0))}
    others = [setting for setting in SETTINGS if setting.scale != 1]
    assert {(setting.rule, setting.exponent) for setting in others} == {("cdt", 0.5)}
