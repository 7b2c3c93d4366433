import numpy as np
import pandas as pd
import pytest
from scipy import stats

from implicit_geometry.rules import RULES
from implicit_geometry.studies.accuracy import (
    LOSSES,
    accuracy_table,
    chosen_by_validation,
    rank_correlations,
    study_counts,
    study_specs,
    with_settings,
)

SETTING = {"data": "digits", "profile": "step", "imbalance_ratio": 10}


def record(rule, exponent, seed, validation, test, **more):
    accuracies = {f"test_{name}": test for name in ("balanced", "minority", "worst", "many", "medium", "few")}
    geometry = {"classifier_etf_distance": 0.3, "classifier_limit_distance": 0.1, "effective_ridge": 1e-3}
    return {
        **SETTING,
        "rule": rule,
        "exponent": exponent,
        "seed": seed,
        "validation_balanced": validation,
        **accuracies,
        **geometry,
        **more,
    }


def test_the_study_covers_every_rule_profile_ratio_and_seed():
    specs = study_specs("digits")
    assert {spec.rule for spec in specs} == set(RULES)
    assert len({spec.key for spec in specs}) == len(specs) == 4 * len(LOSSES) * 5
    assert {spec.counts for spec in specs} == {
        (100,) * 5 + (10,) * 5,
        (100,) * 5 + (1,) * 5,
        tuple(study_counts("exponential", 10, 100).values),
        tuple(study_counts("exponential", 100, 100).values),
    }
    assert all(spec.data.validation_per_class > 0 for spec in specs)


def test_settings_are_read_from_the_counts():
    specs = study_specs("mnist", seeds=[0])
    records = pd.DataFrame({"run": [spec.key for spec in specs]})
    named = with_settings(records, specs)
    assert set(named["data"]) == {"mnist"}
    for spec, profile, ratio in zip(specs, named["profile"], named["imbalance_ratio"], strict=True):
        assert spec.counts == tuple(study_counts(profile, ratio, 500).values)


def test_validation_chooses_and_the_test_set_has_no_say():
    records = pd.DataFrame(
        [
            record("cdt", 0.25, 0, 0.9, 0.1),
            record("cdt", 0.25, 1, 0.8, 0.1),
            record("cdt", 0.5, 0, 0.95, 0.9),
            record("cdt", 0.5, 1, 0.7, 0.9),
            record("ldt", 0.5, 0, 0.8, 0.5),
            record("ldt", -0.25, 0, 0.8, 0.4),
        ]
    )
    chosen = chosen_by_validation(records)
    assert sorted(zip(chosen["rule"], chosen["exponent"], strict=True)) == [
        ("cdt", 0.25),
        ("cdt", 0.25),
        ("ldt", -0.25),
    ]


def test_the_interval_is_students():
    values = [0.90, 0.92, 0.97]
    chosen = pd.DataFrame([record("ce", 0.0, seed, 0.9, value) for seed, value in enumerate(values)])
    row = accuracy_table(chosen).iloc[0]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert row["runs"] == 3
    assert row["test_balanced"] == pytest.approx(np.mean(values))
    assert 2 * row["test_balanced_half"] == pytest.approx(high - low)


def test_ridges_are_averaged_on_their_logarithm():
    chosen = pd.DataFrame([record("ce", 0.0, s, 0.9, 0.9, effective_ridge=r) for s, r in enumerate((1e-2, 1e-6))])
    assert accuracy_table(chosen).iloc[0]["effective_ridge"] == pytest.approx(1e-4)


def test_correlation_is_that_of_means_over_seeds():
    numbers = {0.0: (0.1, 0.9), 0.25: (0.3, 0.7), 0.5: (0.2, 0.8), 0.75: (0.4, 0.75)}
    records = pd.DataFrame(
        [
            record("cdt", exponent, seed, 0.5, test + 0.01 * seed, classifier_etf_distance=distance - 0.02 * seed)
            for exponent, (distance, test) in numbers.items()
            for seed in (0, 1)
        ]
    )
    found = rank_correlations(records).set_index("quantity").loc["classifier_etf_distance"]
    assert found["correlation"] == pytest.approx(-0.8)  # ranks 1 3 2 4 against 4 1 3 2
    assert found["losses"] == 4
