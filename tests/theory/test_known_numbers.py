"""Numbers of the theory and of the paper that no other test has, each where a reader would look for it.

The limit's facts are in ``test_limit``, the road to it in ``test_ridge_facts``, collapse in ``test_collapse``, the
paper's lemmas, corollaries, tables and errata in ``test_step``, binary linear models in ``test_example_binary_linear``.
"""

import inspect

import numpy as np
import pytest

import oracles
from implicit_geometry import (
    ClassCounts,
    Parameterization,
    Problem,
    cdt,
    ce,
    collapse_thresholds,
    compare,
    ldam,
    ldt,
    logit_adjusted,
    predict,
    ridge_from_weight_decay,
    simplex_etf,
    weighted,
)
from solutions import vectors_of

STEP = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)


def norm_ratio(counts, loss, ridge=0.0):
    solution = predict(Problem(counts, loss, ridge=ridge))
    return solution.geometry.classifier.block_summary(counts.majority).norm_ratio


def distance_apart(loss, ridge, one, other):
    gram = predict(Problem(STEP, loss, ridge=ridge)).geometry.classifier
    return gram.entry(one, one) - gram.entry(one, other)


# A finite ridge


def test_at_a_ridge_of_one_in_a_million_a_third_of_the_way_to_the_limit_is_left():
    ratios = [norm_ratio(STEP, None, ridge) for ridge in (1e-1, 1e-3, 1e-6, 1e-10, 0.0)]
    assert ratios == pytest.approx([3.50, 3.14, 2.96, 2.87, 2.672], abs=5.5e-3)
    assert (ratios[2] - ratios[-1]) / (ratios[0] - ratios[-1]) == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.parametrize("rule", [cdt, ldt])
def test_temperatures_of_exponent_1_5_collapse_the_minority_at_0_1371(rule):
    loss = rule(STEP, gamma=1.5)
    assert (loss.class_scale * loss.label_scale)[9] == pytest.approx(0.0613, abs=5e-5)
    assert collapse_thresholds(STEP, loss).ridge[9] == pytest.approx(0.1371, abs=5e-5)
    assert distance_apart(loss, 0.1370, 9, 8) > 1e-6
    assert distance_apart(loss, 0.1375, 9, 8) == pytest.approx(0, abs=1e-12)


def test_collapse_in_weight_decay_is_weight_times_both_scales_times_root_n_over_all_samples():
    majority = STEP.majority
    loss = Parameterization(
        weight=np.where(majority, 0.7, 2.0),
        shift=np.where(majority, 0.0, -1.5),
        class_scale=np.where(majority, 1.3, 0.6),
        label_scale=np.where(majority, 0.8, 1.5),
    )
    for one, other, decay in ((0, 1, 0.7 * 1.3 * 0.8 * 50**0.5 / 275), (9, 8, 2.0 * 0.6 * 1.5 * 5**0.5 / 275)):
        assert collapse_thresholds(STEP, loss).weight_decay()[one] == pytest.approx(decay, rel=1e-14)
        for factor, collapsed in ((0.999, False), (1.001, True)):
            ridge = ridge_from_weight_decay(factor * decay, num_samples=275)
            assert (distance_apart(loss, ridge, one, other) < 1e-12) == collapsed


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_with_a_margin_the_threshold_is_the_slope_within_the_group_at_the_collapsed_optimum(sign):
    """weight class_scale label_scale sqrt(n) (1 - p_yy + p_yc), c another class of the group."""
    loss = Parameterization(margin=sign * ldam(STEP, max_margin=2.0).margin, label_scale=ldt(STEP, 0.25).label_scale)
    for one, other in ((0, 1), (9, 8)):
        threshold = collapse_thresholds(STEP, loss).ridge[one]
        logits = predict(Problem(STEP, loss, ridge=threshold * 1.000001)).geometry.cross.dense()[:, one]
        adjusted = loss.label_scale[one] * logits - loss.margin[one] * np.eye(10)[one]
        p = np.exp(adjusted) / np.exp(adjusted).sum()
        slope = loss.label_scale[one] * np.sqrt(STEP.values[one]) * (1 - p[one] + p[other])
        assert threshold == pytest.approx(slope, rel=1e-4)
        assert (threshold > loss.label_scale[one] * np.sqrt(STEP.values[one])) == (sign > 0)


# The paper's figures


def test_figure_1_shows_one_horizontal_and_two_falling_lines():
    """wCE and LA stay at cross-entropy's 2.672 (1.635 un-squared); CDT and LDT fall, LDT through 1 at one half."""
    gammas = np.linspace(-0.5, 1.0, 13)
    for rule in (weighted, logit_adjusted):
        assert [norm_ratio(STEP, rule(STEP, gamma)) for gamma in gammas] == pytest.approx([2.672] * 13, abs=5e-4)
    assert norm_ratio(STEP, ce(STEP)) ** 0.5 == pytest.approx(1.635, abs=5e-4)
    for rule in (cdt, ldt):
        ratios = [norm_ratio(STEP, rule(STEP, gamma)) for gamma in gammas]
        for ratio, gamma in zip(ratios, gammas, strict=True):
            exact = oracles.limit_geometry(*vectors_of(Problem(STEP, rule(STEP, gamma)))).classifier
            assert ratio == pytest.approx(exact[0, 0] / exact[9, 9], rel=1e-11)
        assert ratios == sorted(ratios, reverse=True)
        assert ratios[0] > 5
        assert ratios[-1] < 1
    assert norm_ratio(STEP, ldt(STEP, 0.5)) == pytest.approx(1, rel=1e-14)
    assert norm_ratio(STEP, cdt(STEP, 0.5)) == pytest.approx(1.2, rel=1e-14)


FIGURE_2 = ClassCounts.step(num_classes=3, imbalance_ratio=10, minority_fraction=2 / 3, max_count=50)


@pytest.mark.parametrize(("rule", "aligned", "etf"), [("ce", False, False), ("cdt", True, False), ("ldt", True, True)])
def test_figure_2_one_majority_and_two_minorities_at_the_root_of_the_ratio(rule, aligned, etf):
    """CE has neither, CDT aligned vectors of unequal norms, LDT three vectors 120 degrees apart."""
    assert FIGURE_2.values.tolist() == [50, 5, 5]
    loss = {"ce": ce(FIGURE_2), "cdt": cdt(FIGURE_2, 0.5), "ldt": ldt(FIGURE_2, 0.5)}[rule]
    geometry = predict(Problem(FIGURE_2, loss)).geometry
    assert np.allclose(geometry.alignment(), 1, rtol=0, atol=1e-12) == aligned
    assert (np.ptp(geometry.classifier.norms()) < 1e-12) == etf
    assert (compare(geometry, simplex_etf(3)).classifier < 1e-12) == etf
    if etf:
        norms = geometry.embedding.norms()
        assert norms[1] / norms[0] == pytest.approx(10**0.5)
        for gram in (geometry.classifier, geometry.embedding):
            assert gram.block_cosines([0, 1, 2])[np.triu_indices(3, 1)] == pytest.approx([-0.5] * 3)


def test_the_unconstrained_features_model_is_trained_as_in_the_paper():
    from implicit_geometry.nn.ufm import train_ufm

    defaults = {name: parameter.default for name, parameter in inspect.signature(train_ufm).parameters.items()}
    assert (defaults["feature_dim"], defaults["batch_size"], defaults["epochs"]) == (20, 5, 6000)
    assert defaults["ridge"] == 0
    assert (STEP.num_samples, STEP.imbalance_ratio, STEP.values.min()) == (275, 10, 5)
    for rule in (cdt, ldt):
        loss = rule(STEP, gamma=0.7)
        assert (loss.class_scale * loss.label_scale).sum() == pytest.approx(10)


# Depth


@pytest.mark.parametrize("factors", [2, 3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_of_all_tight_logits_those_of_the_limit_have_the_least_schatten_quasi_norm_of_any_depth(seed, factors):
    draw = np.random.default_rng(seed)
    k = int(draw.integers(3, 7))
    counts = draw.integers(1, 100, k)
    loss = Parameterization(class_scale=draw.uniform(0.3, 3, k), label_scale=draw.uniform(0.3, 3, k))
    limit = predict(Problem(counts, loss)).geometry.cross.dense() * np.sqrt(counts)

    def quasi_norm(logits):
        return (np.linalg.svd(logits, compute_uv=False) ** (2 / factors)).sum()

    for size in (0.3, 3.0):
        other = limit + size * np.outer(1 / loss.class_scale, draw.normal(size=k))
        assert quasi_norm(other) > quasi_norm(limit)
