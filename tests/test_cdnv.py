"""The class-distance normalised variance, against all pairs written out."""

from __future__ import annotations

import numpy as np
import pytest

from implicit_geometry import cdnv
from implicit_geometry._validate import Floats, InputError
from implicit_geometry.cdnv import mean_cdnv, sampled_cdnv


def ratios(means: Floats, variance: Floats) -> Floats:
    """One of each pair of different classes."""
    i, j = np.triu_indices(len(means), 1)
    return np.asarray((variance[i] + variance[j]) / 2 / ((means[i] - means[j]) ** 2).sum(axis=1))


def drawn(k: int, d: int = 3) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(k)
    return rng.standard_normal((k, d)), rng.uniform(1, 2, k)


@pytest.mark.parametrize("k", [2, 7, 8, 30])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_blocks_of_pairs_sum_to_the_mean_over_all(k: int, offset: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cdnv, "_CLASSES_AT_ONCE", 7)
    means, variance = drawn(k)
    assert mean_cdnv(means + offset, variance) == pytest.approx(ratios(means + offset, variance).mean(), rel=1e-11)


@pytest.mark.parametrize("distance", [1e-3, 1e-7, 1e-18])
def test_pairs_of_nearly_equal_means_keep_their_digits(distance: float) -> None:
    means, variance = drawn(9)
    means[3:6] = distance * means[6:]
    assert mean_cdnv(means, variance) == pytest.approx(ratios(means, variance).mean(), rel=1e-11)


def test_coinciding_means_are_infinitely_near_or_without_variance_undefined() -> None:
    means, variance = np.array([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0]]), np.array([0.0, 1.0, 0.0])
    assert mean_cdnv(means, variance) == np.inf
    assert mean_cdnv(np.ones((3, 2)), np.ones(3)) == np.inf
    assert np.isnan(mean_cdnv(means, np.array([0.0, 0.0, 1.0])))


def test_the_sampled_mean_is_within_its_standard_error() -> None:
    means, variance = drawn(20, d=12)
    exact = ratios(means, variance)
    estimates = [sampled_cdnv(means, variance, 5000, seed) for seed in range(60)]
    scores = np.array([(found.value - exact.mean()) / found.standard_error for found in estimates])
    assert abs(scores.mean()) < 4 / np.sqrt(60)
    assert 0.7 < scores.std() < 1.3
    assert estimates[0].standard_error == pytest.approx(exact.std() / np.sqrt(5000), rel=0.1)


def test_a_sample_is_that_of_its_seed() -> None:
    means, variance = drawn(20)
    assert sampled_cdnv(means, variance, 9000, 1) == sampled_cdnv(means, variance, 9000, 1)
    assert sampled_cdnv(means, variance, 9000, 1) != sampled_cdnv(means, variance, 9000, 2)


@pytest.mark.parametrize(("name", "value"), [("num_pairs", 1), ("num_pairs", 2.5), ("num_pairs", 10**10), ("seed", -1)])
def test_other_samples_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"^{name} must"):
        sampled_cdnv(*drawn(3), **({"num_pairs": 10, "seed": 0} | {name: value}))
