"""The text of every value is one short line, of sizes and numbers that are there already."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import is_dataclass

import numpy as np
import pytest

import implicit_geometry as ig
from implicit_geometry.data.draw import imbalanced_split
from implicit_geometry.data.folder import ImageFiles
from implicit_geometry.data.source import Source
from implicit_geometry.data.split import make_split
from implicit_geometry.measurement import ClassMeans, Measurement, OnePass
from implicit_geometry.nn import VSLoss, train_ufm
from implicit_geometry.parameterization import NEUTRAL

LONGEST = 220
MANY = 50_000
SMALL = ig.ClassCounts([5000, 500, 50])
LARGE = ig.ClassCounts(np.full(MANY, 2**53 - 1))


def all_vectors(k: int) -> ig.Parameterization:
    return ig.Parameterization(**{name: np.linspace(0.123456789, 12345.6789, k) for name in NEUTRAL})


def class_means(k: int) -> ClassMeans:
    means = np.ones((k, 2))
    return ClassMeans(ig.ClassCounts(np.ones(k, dtype=int)), means, means, np.ones(k))


def one_pass(k: int) -> OnePass:
    means = np.ones((k, 2))
    return OnePass(ig.ClassCounts(np.ones(k, dtype=int)), means, means, np.ones(k), means)


def measurement(k: int) -> Measurement:
    ones = np.ones(k)
    return Measurement.of(one_pass(k), ones, class_nc1=ones, class_accuracy=ones, centre_agreement=1.0)


def source() -> Source:
    return Source(
        "two", np.arange(1600, dtype=np.uint8).reshape(400, 1, 2, 2), np.arange(400) % 2, None, None, ("dark", "light")
    )


def solution(counts: ig.ClassCounts) -> ig.Solution:
    problem = ig.Problem(counts, all_vectors(len(counts)), ridge=1.23456e-5, bias=True, bias_ridge=1.23456e-5)
    return ig.Solution(
        problem, ig.simplex_etf(len(counts)), ig.Certificate(1.0, 1.0 - 1e-9, 1.0), np.zeros(len(counts))
    )


VALUES: dict[str, Callable[[], object]] = {
    "BlockSummary": lambda: ig.simplex_etf(4).classifier.block_summary([True, True, False, False]),
    "Certificate": lambda: solution(SMALL).certificate,
    "ClassCounts": lambda: SMALL,
    "CollapseThresholds": lambda: ig.collapse_thresholds(SMALL),
    "LogitCorrection": lambda: ig.logit_correction(np.ones(MANY), all_vectors(MANY), label_smoothing=0.1),
    "Comparison": lambda: ig.compare(ig.simplex_etf(4), ig.simplex_etf(4)),
    "SplitComparison": lambda: ig.compare(ig.simplex_etf(4), ig.simplex_etf(4), groups=[9, 9, 1, 1]),
    "Cross": lambda: ig.simplex_etf(MANY).cross,
    "Rule": lambda: ig.Rule(ig.cdt, "CDT", exponent="gamma"),
    "Design": lambda: ig.design([5000, 500, 50], target="etf", weight_decay=0.1),
    "EffectiveCounts": lambda: ig.effective_counts(ig.simplex_etf(3), ig.Problem(SMALL), fit_ridge=False),
    "EffectiveRidge": lambda: ig.effective_ridge(ig.simplex_etf(3), ig.Problem(SMALL)),
    "Geometry": lambda: ig.simplex_etf(MANY),
    "Gram": lambda: ig.Gram.from_factors(np.ones((MANY, 3))),
    "LowRank": lambda: ig.simplex_etf(MANY).classifier.minus(ig.simplex_etf(MANY).embedding),
    "ClassMeans": lambda: class_means(MANY),
    "OnePass": lambda: one_pass(MANY),
    "Measurement": lambda: measurement(MANY),
    "Parameterization": lambda: all_vectors(3),
    "Problem": lambda: solution(SMALL).problem,
    "Solution": lambda: solution(SMALL),
    "UFMHistory": lambda: train_ufm([4, 1], [ig.Parameterization.neutral(2)], feature_dim=2, epochs=2, batch_size=1),
    "VSLoss": lambda: VSLoss(all_vectors(MANY)),
    "ImageFiles": lambda: ImageFiles(("a.png",) * 1000, 32),
    "LabelledData": lambda: make_split(
        source(), ig.ClassCounts([20, 10]), test_per_class=5, validation_per_class=5, seed=0, augment=False
    ),
    "Source": source,
    "Split": lambda: imbalanced_split(np.arange(400) % 2, ig.ClassCounts([20, 10]), test_per_class=5),
    "ClassCounts of many classes": lambda: LARGE,
    "Parameterization of many classes": lambda: all_vectors(MANY),
    "Parameterization of ten classes": lambda: all_vectors(10),
    "Problem of many classes": lambda: solution(LARGE).problem,
    "Solution of many classes": lambda: solution(LARGE),
    "Prediction": lambda: ig.predict(ig.Problem(SMALL, ig.cdt(SMALL, gamma=0.5))),
}


def test_every_value_of_the_package_is_here() -> None:
    values = {name for name in ig.__all__ if is_dataclass(getattr(ig, name)) and isinstance(getattr(ig, name), type)}
    assert values | {"UFMHistory"} <= set(VALUES)


@pytest.mark.parametrize("name", VALUES)
def test_a_value_shows_as_one_short_line_and_computes_nothing(name: str) -> None:
    value = VALUES[name]()
    tracemalloc.start()
    try:
        text = repr(value)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(value) == text
    assert "\n" not in text
    assert name.split()[0] in text or name == "Prediction"
    assert len(text) <= LONGEST, text
    assert peak < 4 * MANY  # not one float64 for each class


def test_a_prediction_says_what_it_is_of_and_how_far_it_is_proven() -> None:
    text = repr(ig.predict(ig.Problem([5000, 500, 50])))
    assert text.startswith("Solution(num_classes=3, ridge=0, bias=False, status='optimal', relative_gap=")


def test_a_problem_names_counts_loss_and_head() -> None:
    assert repr(ig.Problem([5, 3])) == "Problem(ClassCounts([5, 3]), loss with nothing set)"
    problem = ig.Problem([5, 3], ig.vs([5, 3], gamma=0.5), ridge=0.1, bias=True)
    assert repr(problem) == "Problem(ClassCounts([5, 3]), loss with shift, class_scale, ridge=0.1, bias=True)"


def test_values_that_are_equal_stay_equal_and_hash_alike() -> None:
    first, second = (ig.Problem([5, 3], ig.cdt([5, 3], gamma=0.5), ridge=0.1) for _ in range(2))
    assert (first, hash(first)) == (second, hash(second))
    one, other = (ig.predict(problem) for problem in (first, second))
    assert (one, hash(one)) == (other, hash(other))
    assert one.geometry == other.geometry
