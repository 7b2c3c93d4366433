from itertools import pairwise

import numpy as np
import pytest

from implicit_geometry import (
    ClassCounts,
    InputError,
    Parameterization,
    Problem,
    cdt,
    collapse_thresholds,
    ldam,
    logit_adjusted,
    make_parameterization,
    predict,
)
from implicit_geometry.groups import gather
from implicit_geometry.theory import collapse
from implicit_geometry.theory.ridge.program import Logits
from implicit_geometry.theory.ridge.reduce import reduce_problem

STEP = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)


def rank_of_logits(problem):
    singular = np.linalg.svd(predict(problem).geometry.cross.dense() * np.sqrt(problem.counts.values), compute_uv=False)
    return int((singular > 1e-9 * np.sqrt(problem.counts.values.max())).sum())


def apart(loss, ridge, classes):
    gram = predict(Problem(STEP, loss, ridge=ridge)).geometry.classifier
    one, other = classes
    return gram.entry(one, one) - gram.entry(one, other)


@pytest.mark.parametrize(
    ("rule", "given"),
    [
        ("ce", {}),
        ("weighted", {"gamma": 0.5}),
        ("logit_adjusted", {"tau": 1.0}),
        ("cdt", {"gamma": 0.5}),
        ("ldt", {"gamma": 0.25}),
        ("vs", {"gamma": 0.3, "tau": 1.0}),
        ("ldam", {"max_margin": 2.0}),
    ],
)
@pytest.mark.parametrize("classes", [(0, 1), (8, 9)])
def test_the_optimum_changes_at_the_threshold_and_nowhere_else(rule, given, classes):
    loss = make_parameterization(rule, STEP, **given)
    threshold = collapse_thresholds(STEP, loss).ridge[classes[0]]
    for below in (0.5, 0.9, 0.999):
        assert apart(loss, threshold * below, classes) > 1e-9
    for above in (1.001, 1.1, 1.5):
        assert apart(loss, threshold * above, classes) == pytest.approx(0.0, abs=1e-12)


def test_cross_entropy_collapses_at_the_root_of_the_count():
    np.testing.assert_allclose(collapse_thresholds(STEP).ridge, np.sqrt(STEP.values), rtol=1e-15)


def test_a_margin_raises_the_threshold():
    assert collapse_thresholds(STEP, ldam(STEP, max_margin=2.0)).ridge[9] > np.sqrt(5) * 1.01


def test_a_class_without_an_equal_has_no_exact_threshold():
    assert collapse_thresholds([9, 9, 4]).exact.tolist() == [True, True, False]


def test_everything_is_zero_from_the_total_threshold_on():
    total = collapse_thresholds(STEP).total
    below, above = (predict(Problem(STEP, ridge=total * factor)).geometry.classifier for factor in (0.999, 1.001))
    assert below.norms().max() > 0
    assert above.norms().max() == 0


@pytest.mark.parametrize("label_scale", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("counts", [[8, 8, 8, 8], [50, 50, 5, 5], [90, 20, 3]])
def test_the_total_threshold_is_the_norm_of_the_dense_gradient_at_zero_logits(counts, label_scale):
    loss = Parameterization(label_scale=np.full(len(counts), label_scale))
    k, root = len(counts), np.sqrt(counts)
    gradient = label_scale * (np.full((k, k), 1 / k) - np.eye(k)) * root
    assert collapse_thresholds(counts, loss).total == pytest.approx(np.linalg.norm(gradient, 2), rel=1e-12)


@pytest.mark.parametrize("rule", ["ce", "weighted", "logit_adjusted", "cdt", "ldt", "vs"])
def test_the_rank_of_the_logits_changes_at_the_three_thresholds_and_nowhere_else(rule):
    """STEP: 4 + 4 directions within the groups and 1 between them."""
    given = {"gamma": 0.4} if rule in ("cdt", "ldt", "vs") else {}
    loss = make_parameterization(rule, STEP, **given)
    found = collapse_thresholds(STEP, loss)
    events = sorted([(found.ridge[0], 4), (found.ridge[9], 4), (found.between_groups, 1)])
    left = 9
    ridges = [1e-6, *(ridge for ridge, _ in events), 10 * events[-1][0]]
    for place, (low, high) in enumerate(pairwise(ridges)):
        for ridge in (low * 1.0001, np.sqrt(low * high), high * 0.9999):
            assert rank_of_logits(Problem(STEP, loss, ridge=ridge)) == left
        left -= events[place][1] if place < 3 else 0
    assert left == 0
    assert found.total == pytest.approx(events[-1][0], rel=1e-12)


def test_a_single_group_has_nothing_between_groups():
    found = collapse_thresholds([8, 8, 8])
    assert np.isnan(found.between_groups)
    assert found.total == pytest.approx(np.sqrt(8))


@pytest.mark.parametrize("seed", range(20))
def test_with_distinct_counts_cross_entropy_keeps_as_many_directions_as_classes_above_the_ridge_or_one_less(seed):
    draw = np.random.default_rng(seed)
    counts = np.unique(np.exp(draw.uniform(0, 9, draw.integers(4, 9))).astype(int) + 1)
    ridge = float(np.sqrt(np.exp(draw.uniform(0, 9))))
    above = int((collapse_thresholds(counts).ridge > ridge).sum())
    assert rank_of_logits(Problem(counts, ridge=ridge)) in (max(above - 1, 0), above)


def test_strong_shifts_and_scales_keep_classes_apart_above_every_threshold_of_a_class():
    loss = Parameterization(shift=[6.0, 0.0], class_scale=[5.0, 1.0])
    found = collapse_thresholds([100, 100], loss)
    assert found.total == pytest.approx(found.between_groups)
    assert found.total > 1.01 * found.ridge.max()
    for factor, alive in ((0.9999, True), (1.0001, False)):
        assert (
            predict(Problem([100, 100], loss, ridge=found.total * factor)).geometry.classifier.norms() > 0
        ).any() == alive


@pytest.mark.parametrize("max_margin", [0.5, 3.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_thresholds_with_a_margin_are_where_the_classes_meet(max_margin, sign):
    loss = Parameterization(margin=sign * ldam(STEP, max_margin=max_margin).margin)
    ridge = collapse_thresholds(STEP, loss).ridge
    for classes in ((0, 1), (8, 9)):
        assert apart(loss, ridge[classes[0]] * (1 - 1e-4), classes) > 1e-9
        assert apart(loss, ridge[classes[0]] * (1 + 1e-4), classes) == pytest.approx(0.0, abs=1e-12)
        assert (ridge[classes[0]] > np.sqrt(STEP.values[classes[0]])) == (sign > 0)


def test_thresholds_with_margins_of_many_kinds_are_where_the_classes_meet():
    values = np.unique(np.round(np.geomspace(5, 500, 60)).astype(int))
    counts = ClassCounts(np.concatenate([values, values[5:7]]))
    pairs = (5, values.size), (6, values.size + 1)
    margin = np.zeros(counts.num_classes)
    margin[[5, values.size]] = 0.4
    margin[[6, values.size + 1]] = 0.2
    loss = Parameterization(margin=margin)
    ridge = collapse_thresholds(counts, loss).ridge
    for pair in pairs:
        below, above = (
            predict(Problem(counts, loss, ridge=ridge[pair[0]] * factor)) for factor in (1 - 1e-4, 1 + 1e-4)
        )
        means = [solution.geometry.cross.dense() for solution in (below, above)]
        assert abs(means[0][pair[0], pair[0]] - means[0][pair[1], pair[0]]) > 1e-6
        assert means[1][pair[0], pair[0]] == pytest.approx(means[1][pair[1], pair[0]], abs=1e-12)


def test_the_smallest_surviving_count_is_where_the_threshold_meets_the_weight_decay():
    loss = cdt(STEP, gamma=0.5)
    thresholds = collapse_thresholds(STEP, loss)
    decay = thresholds.weight_decay()
    assert decay[9] == pytest.approx(thresholds.ridge[9] / 275)
    assert thresholds.smallest_surviving_count(decay[9] * 0.999)[9] == 5
    assert thresholds.smallest_surviving_count(decay[9] * 1.001)[9] == 6
    assert thresholds.weight_decay(num_samples=100)[0] == pytest.approx(thresholds.ridge[0] / 100)


# Heads with a bias


BIASED_LOSSES = {
    "ce": {},
    "logit_adjusted": {},
    "cdt": {"gamma": 0.4},
    "ldt": {"gamma": 0.4},
    "vs": {"gamma": 0.3},
    "ldam": {"max_margin": 2.0},
}


@pytest.mark.parametrize("relative", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("rule", BIASED_LOSSES)
def test_with_a_bias_the_rank_of_the_logits_changes_at_the_three_thresholds_too(rule, relative):
    loss = make_parameterization(rule, STEP, **BIASED_LOSSES[rule])
    found = collapse_thresholds(Problem(STEP, loss, bias=True, ridge=1.0, bias_ridge=relative))

    def directions(ridge):
        return rank_of_logits(Problem(STEP, loss, ridge=ridge, bias=True, bias_ridge=relative * ridge))

    for threshold, lost in ((found.ridge[9], 4), (found.between_groups, 1), (found.ridge[0], 4)):
        assert directions(threshold * 0.999) - directions(threshold * 1.001) == lost
    assert directions(found.total * 1.001) == 0
    assert found.total == pytest.approx(max(found.ridge[0], found.between_groups), rel=1e-9)


def test_a_free_bias_takes_over_any_shift_and_lets_everything_collapse_earlier():
    free = collapse_thresholds(Problem([500, 5], bias=True))
    assert free.total == pytest.approx(
        collapse_thresholds(Problem([500, 5], logit_adjusted([500, 5]), bias=True)).total
    )
    assert free.total < collapse_thresholds([500, 5]).total == pytest.approx(np.sqrt((500 + 5) / 2))


@pytest.mark.parametrize("seed", range(5))
def test_the_total_threshold_of_a_free_bias_is_the_norm_of_the_dense_gradient_where_the_bias_is_best(seed):
    """With CE the best bias alone is the log of the counts: every sample gives class c its share of all samples."""
    counts = np.random.default_rng(seed).integers(1, 500, 5)
    share = counts / counts.sum()
    gradient = (share[:, None] - np.eye(5)) * np.sqrt(counts)
    assert collapse_thresholds(Problem(counts, bias=True)).total == pytest.approx(np.linalg.norm(gradient, 2), rel=1e-9)


def test_a_bias_of_large_ridge_is_none():
    for name in ("between_groups", "total"):
        stiff = collapse_thresholds(Problem([50, 50, 5, 5], ridge=1.0, bias=True, bias_ridge=1e9))
        assert getattr(stiff, name) == pytest.approx(getattr(collapse_thresholds([50, 50, 5, 5]), name), rel=1e-6)


def test_a_loss_beside_a_problem_is_refused():
    with pytest.raises(InputError, match="parameterization must be left out where a Problem is given"):
        collapse_thresholds(Problem([50, 5]), cdt([50, 5], gamma=0.5))


# Embeddings of another price


@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.5])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_with_another_price_of_embeddings_groups_collapse_at_n_over_its_root(exponent, smoothing):
    problem = Problem(STEP, cdt(STEP, gamma=0.3), label_smoothing=smoothing, count_exponent=exponent)
    found = collapse_thresholds(problem)
    n = STEP.values.astype(float)
    wanted = (1 - smoothing) * problem.parameterization.class_scale * n / np.sqrt(n**exponent)
    np.testing.assert_allclose(found.ridge, wanted, rtol=1e-14)
    for threshold, lost in ((found.ridge[9], 4), (found.between_groups, 1), (found.ridge[0], 4)):
        below, above = (rank_of_logits(problem.at_ridge(threshold * factor)) for factor in (0.999, 1.001))
        assert below - above == lost
    with pytest.raises(InputError, match="embedding_cost must be the counts"):
        found.smallest_surviving_count(1e-3)


def test_bad_input():
    with pytest.raises(InputError, match="weight_decay"):
        collapse_thresholds(STEP).smallest_surviving_count(-1.0)
    with pytest.raises(InputError, match="num_samples"):
        collapse_thresholds(STEP).weight_decay(num_samples=0)


def test_lanczos_finds_the_thresholds_of_hundreds_of_kinds() -> None:
    counts = np.arange(250, 0, -1)
    found = collapse_thresholds(counts)
    reduced = reduce_problem(Problem(counts, ridge=1.0), gather(Problem(counts)))
    zero = reduced.evaluate(Logits(np.zeros(250), np.zeros((250, 250))))
    assert found.total == pytest.approx(reduced.gradient_norm(zero.slope), rel=1e-11)


@pytest.mark.parametrize("head", [{}, {"bias": True}, {"ridge": 1.0, "bias": True, "bias_ridge": 0.3}])
def test_where_means_are_the_last_to_vanish_they_do_so_with_everything(head):
    """Without the search that is asked for where differences within a group last longer."""
    counts = [400, 90, 90, 30, 7]
    problem = Problem(counts, ldam(ClassCounts(counts), max_margin=2.0), **head)
    groups = gather(problem)
    total, by_means = collapse._total(problem, groups)
    assert by_means
    assert collapse._between(problem, groups, total, by_means=False) == pytest.approx(total, rel=1e-8)
    pair = Problem([400, 400, 90, 30, 7], **head)
    assert not collapse._total(pair, gather(pair))[1]
    found = collapse_thresholds(pair)
    assert found.between_groups < found.total == pytest.approx(found.ridge[0])
