"""Thresholds with margins of many kinds: bins of other kinds, whole problems, and predictions on both sides."""

from dataclasses import replace

import numpy as np
import pytest

from implicit_geometry import ClassCounts, Parameterization, Problem, collapse_thresholds, ldam, predict
from implicit_geometry.groups import gather
from implicit_geometry.theory import collapse
from implicit_geometry.theory.ridge.bias.program import optimum_with_bias
from implicit_geometry.theory.ridge.many.coarser import around
from implicit_geometry.theory.ridge.optimum import optimum
from implicit_geometry.theory.ridge.reduce import Kinds, reduce_kinds
from implicit_geometry.theory.ridge.thresholds import margins
from implicit_geometry.theory.ridge.thresholds.margins import margin_thresholds

PAIRS = [3, 30, 45]


def random_problem(seed, kinds=50, **head):
    """Margins on all classes of distinct kinds, and three kinds of two classes."""
    draw = np.random.default_rng(seed)
    kind = np.concatenate([np.arange(kinds), PAIRS])

    def scale():
        return 10 ** draw.uniform(-0.3, 0.3, kinds)[kind]

    loss = Parameterization(
        weight=scale(),
        class_scale=scale(),
        label_scale=scale(),
        shift=draw.normal(0, 0.5, kinds)[kind],
        margin=draw.uniform(-1, 1, kinds)[kind],
    )
    counts = np.ceil(10 ** draw.uniform(0.5, 3, kinds)).astype(int)[kind]
    return Problem(counts, loss, **head)


def smooth_problem(kinds, **head):
    """Every count of a long tail once, and three of them twice."""
    values = np.unique(np.round(np.geomspace(5, 2000, 2 * kinds)).astype(int))[::-1][:kinds]
    counts = ClassCounts(np.concatenate([values, values[[kinds // 3, kinds // 2, kinds - 5]]]))
    return Problem(counts, ldam(counts, max_margin=1.0), **head)


def gradient_at_threshold(problem, kinds, group, ridge):
    """Over the ridge, at the certified optimum of the whole problem with the group held collapsed."""
    reduced = reduce_kinds(kinds, ridge)
    held = replace(reduced, live=reduced.live & (np.arange(kinds.number) != group))
    if problem.bias:
        return -optimum_with_bias(held, problem.relative_bias_ridge).own_gradient[group]
    return -held.evaluate(optimum(held).logits).own_gradient[group]


@pytest.mark.parametrize(
    "head",
    [{}, {"count_exponent": 0.4}, {"bias": True}, {"ridge": 1.0, "bias": True, "bias_ridge": 0.5}],
    ids=["plain", "other price", "free bias", "bias with a ridge"],
)
def test_the_gradient_of_the_whole_problem_is_the_ridge_at_the_threshold(head):
    problem = random_problem(0, **head)
    kinds = Kinds.of(problem, gather(problem))
    ridge, error = margin_thresholds(kinds, problem.relative_bias_ridge if problem.bias else None)
    assert np.flatnonzero(np.isfinite(ridge)).tolist() == PAIRS
    assert (error[PAIRS] <= 2.5e-7).all()
    for group in PAIRS[:2]:
        assert gradient_at_threshold(problem, kinds, group, ridge[group]) == pytest.approx(1.0, abs=3e-8)


def test_predictions_tell_a_pair_apart_below_its_threshold_and_not_above():
    problem = random_problem(1)
    found = collapse_thresholds(problem)
    for group in PAIRS:
        ridge, twin = found.ridge[group], 50 + PAIRS.index(group)
        assert found.ridge[twin] == ridge
        apart = []
        for factor in (1 - 3e-5, 1 + 3e-5):
            logits = predict(replace(problem, ridge=ridge * factor)).geometry.cross.dense()
            apart.append((logits[group, group] - logits[twin, group]) / np.abs(logits[:, group]).max())
        assert 1e-3 < apart[0] < 1e-2
        assert apart[1] == 0.0


def test_without_margins_nothing_is_left_open_and_with_them_an_estimate_is_given():
    problem = random_problem(2)
    found = collapse_thresholds(problem)
    assert (found.error > 0).nonzero()[0].tolist() == [*PAIRS, 50, 51, 52]
    assert not collapse_thresholds(problem.counts).error.any()


@pytest.mark.parametrize("decay", [None, 0.0], ids=["plain", "free bias"])
def test_bins_of_hundreds_of_kinds_are_as_near_as_they_say(decay):
    problem = smooth_problem(140)
    kinds = Kinds.of(problem, gather(problem))
    ridge, error = margin_thresholds(kinds, decay)
    pairs = np.flatnonzero(kinds.size > 1)
    search = margins._Search(kinds, decay, *kinds.collapse_range(), {})
    assert (error[pairs] < 2e-5).all()
    for group in pairs[1:2]:
        whole, _ = search.crossing(int(group), kinds.number - 1, float(ridge[group]), 0.0)
        assert abs(ridge[group] / whole - 1) <= error[group]


def test_agreement_by_chance_of_one_group_does_not_lower_its_error(monkeypatch):
    """Groups move by different amounts; what all of them move by on the average is the least that is said."""
    problem = smooth_problem(140)
    kinds = Kinds.of(problem, gather(problem))
    pairs = np.flatnonzero(kinds.size > 1)
    moves = dict(zip(pairs.tolist(), (0.0, 1.0, 1.0), strict=True))
    monkeypatch.setattr(
        margins._Search,
        "crossing",
        lambda search, group, bins, ridge, slope, believed=True: (
            search.low[group] * (1 + moves[group] / bins**3),
            slope,
        ),
    )
    _, error = margin_thresholds(kinds, None)
    last = 1 / 24**3 - 1 / 48**3
    assert error[pairs[0]] == pytest.approx(last * np.sqrt(2 / 3), rel=1e-3)
    assert error[pairs[1]] == pytest.approx(last, rel=1e-3)


def test_where_no_optimum_is_found_the_slower_search_takes_over(monkeypatch):
    problem = random_problem(3)
    wanted = collapse_thresholds(problem)
    monkeypatch.setattr(margins._Held, "descended", lambda *_: None)
    kinds = Kinds.of(problem, gather(problem))
    assert np.isnan(margin_thresholds(kinds, None)[0]).all()
    np.testing.assert_allclose(collapse.class_thresholds(problem), wanted.ridge, rtol=2e-8)


def test_bins_around_a_kind_keep_it_and_are_narrow_near_it():
    problem = Problem(np.arange(400, 100, -1))
    kinds = Kinds.of(problem, gather(problem))
    binned = around(kinds, 150, 12)
    assert binned.number == 13
    assert binned.size.sum() == 300
    assert (binned.size[0], binned.count[0]) == (1, pytest.approx(250))
    width = binned.size[1:]
    nearest = np.argsort(np.abs(binned.count[1:] - 250))
    assert width[nearest[:2]].mean() < 0.9 * width[nearest[2:]].mean()
    assert width[binned.count[1:] > 250].sum() == 150  # no bin has counts on both sides
    np.testing.assert_allclose(around(kinds, 150, 299).count, np.append(250, np.delete(kinds.count, 150)))


def test_changes_that_do_not_fall_are_expected_to_go_on(monkeypatch):
    """Halving from one doubling to the next leaves as much as the last, three quarters three times as much."""
    problem = smooth_problem(140)
    kinds = Kinds.of(problem, gather(problem))
    pairs = np.flatnonzero(kinds.size > 1)
    for share, times in ((0.25, 1.0), (0.5, 1.0), (2 / 3, 2.0), (0.9, 3.0)):
        move = {bins: 1e-2 * share**number for number, bins in enumerate(margins._BINS)}
        monkeypatch.setattr(
            margins._Search,
            "crossing",
            lambda search, group, bins, ridge, slope, believed=True, move=move: (
                search.low[group] * (1 + move[bins]),
                slope,
            ),
        )
        _, error = margin_thresholds(kinds, None)
        last = move[margins._BINS[-2]] - move[margins._BINS[-1]]
        np.testing.assert_allclose(error[pairs], times * last, rtol=2e-2)
