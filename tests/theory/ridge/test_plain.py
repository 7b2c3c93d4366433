"""The regularised optimum against oracles that share nothing with it, and the laws it must obey."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from implicit_geometry import (
    ClassCounts,
    InputError,
    Parameterization,
    Problem,
    Status,
    cdt,
    ldt,
    make_parameterization,
    predict,
    ridge_from_weight_decay,
    ridge_path,
    simplex_etf,
    vs,
)
from implicit_geometry.groups import gather
from implicit_geometry.theory.ridge.plain import ridge_solution
from oracles import factor_logits
from ridge_oracles import convex_program, optimality, random_problem, sample_by_sample

STEP = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)
BLOCKS = ("classifier", "embedding", "cross")
FAMILY = [
    ("ce", {}),
    ("weighted", {"gamma": 1.0}),
    ("logit_adjusted", {"tau": 1.0}),
    ("cdt", {"gamma": -0.7}),
    ("ldt", {"gamma": 0.8}),
    ("vs", {"gamma": 0.3, "tau": 1.0}),
    ("ldam", {"max_margin": 1.5, "scale": 2.0}),
]


def assert_certified(problem):
    solution = predict(problem)
    conditions = optimality(solution)
    assert solution.certificate.relative_gap <= 1e-8
    assert solution.certificate.dual <= solution.certificate.primal * (1 + 1e-12)
    assert conditions.excess <= 2e-7
    assert conditions.slack <= 1e-7
    assert conditions.objective == pytest.approx(solution.certificate.primal, rel=1e-8)


def random_loss(size, seed):
    draw = np.random.default_rng(seed)
    return Parameterization(
        weight=draw.uniform(0.5, 2, size),
        class_scale=draw.uniform(0.5, 2, size),
        label_scale=draw.uniform(0.5, 2, size),
        shift=draw.uniform(-1, 1, size),
        margin=draw.uniform(-0.5, 1, size),
    )


def assert_same_geometry(one, other, rtol=1e-6):
    for name in BLOCKS:
        expected = getattr(other, name).dense()
        np.testing.assert_allclose(getattr(one, name).dense(), expected, atol=rtol * np.abs(expected).max())


# Oracles


@pytest.mark.parametrize(("rule", "given_"), FAMILY)
def test_free_features_for_every_sample_find_the_same_minimum(rule, given_):
    counts = ClassCounts([6, 3, 3, 1])
    problem = Problem(counts, make_parameterization(rule, counts, **given_), ridge=0.1)
    found, solution = sample_by_sample(problem), predict(problem)
    assert found.objective == pytest.approx(solution.certificate.primal, rel=1e-7)
    means = np.stack([found.features[found.labels == label].mean(axis=0) for label in range(4)])
    np.testing.assert_allclose(found.features, means[found.labels], atol=1e-3)
    blocks = (found.classifier @ found.classifier.T, means @ means.T, found.classifier @ means.T)
    for name, block in zip(BLOCKS, blocks, strict=True):
        np.testing.assert_allclose(getattr(solution.geometry, name).dense(), block, atol=1e-3 * np.abs(block).max())


def test_different_decays_of_classifiers_and_features_change_scales_only():
    problem = Problem([5, 2, 2], ridge=0.4)
    found = sample_by_sample(problem, feature_ridge=0.025)
    ridge = ridge_from_weight_decay(0.4 / 9, 9, embedding_weight_decay=0.025 / 9)
    geometry = predict(Problem([5, 2, 2], ridge=ridge)).geometry
    assert ridge == pytest.approx(0.1)
    squared = (found.classifier**2).sum(axis=1)
    np.testing.assert_allclose(squared, geometry.classifier.squared_norms() * (0.025 / 0.4) ** 0.5, rtol=1e-3)
    np.testing.assert_allclose(
        (found.features[[0, 5, 7]] ** 2).sum(axis=1),
        geometry.embedding.squared_norms() * (0.4 / 0.025) ** 0.5,
        rtol=1e-3,
    )


@pytest.mark.parametrize("seed", range(6))
def test_an_interior_point_program_finds_the_same_logits(seed):
    draw = np.random.default_rng(seed)
    size = 3 + seed % 4
    counts = ClassCounts(draw.integers(1, 60, size))
    problem = Problem(counts, random_loss(size, seed), ridge=float(10 ** draw.uniform(-2, 0.5)))
    value, x = convex_program(problem)
    solution = predict(problem)
    assert solution.certificate.dual * (1 - 1e-7) <= value
    assert solution.certificate.primal == pytest.approx(value, rel=1e-7)
    np.testing.assert_allclose(
        solution.geometry.cross.dense() * np.sqrt(counts.values), x, atol=1e-3 * max(np.abs(x).max(), 1e-3)
    )


@pytest.mark.slow
def test_an_interior_point_program_of_ten_classes_finds_the_same_value():
    problem = Problem(STEP, vs(STEP, gamma=0.3), ridge=0.1)
    assert predict(problem).certificate.primal == pytest.approx(convex_program(problem)[0], rel=1e-7)


@pytest.mark.parametrize("seed", range(100))
def test_random_problems_are_certified(seed):
    assert_certified(random_problem(seed, most_kinds=16))


@pytest.mark.parametrize("seed", [9, 377, 1635])
def test_problems_that_give_up_some_of_their_classes_are_certified(seed):
    """Of the two thousand below, ones where the optimum misclassifies rare classes: long valleys without curvature."""
    assert_certified(random_problem(seed))


@pytest.mark.exhaustive
@pytest.mark.parametrize("block", range(20))
def test_two_thousand_random_problems_are_certified(block):
    for seed in range(100 * block, 100 * (block + 1)):
        assert_certified(random_problem(seed))


@pytest.mark.parametrize("rule", ["cdt", "ldt", "vs"])
@pytest.mark.parametrize("gamma", [-1.5, 1.5])
@pytest.mark.parametrize("ridge", [1e-8, 1e-4, 1e-1])
def test_strong_temperatures_and_a_ratio_of_a_thousand_are_certified(rule, gamma, ridge):
    for counts in (
        ClassCounts.step(num_classes=10, imbalance_ratio=1e3),
        ClassCounts.exponential(num_classes=10, imbalance_ratio=1e3, max_count=50_000),
    ):
        assert_certified(Problem(counts, make_parameterization(rule, counts, gamma=gamma), ridge=ridge))


@pytest.mark.parametrize("rule", ["cdt", "ldt", "vs"])
@pytest.mark.parametrize("gamma", [-5, -3, 3, 5])
@pytest.mark.parametrize("ratio", [1e6, 1e9])
def test_beyond_that_everything_is_finite_and_the_status_says_how_far_it_is_proven(rule, gamma, ratio):
    for profile in (ClassCounts.step, ClassCounts.exponential):
        counts = profile(num_classes=10, imbalance_ratio=ratio, max_count=int(5 * ratio))
        solution = predict(Problem(counts, make_parameterization(rule, counts, gamma=gamma), ridge=1e-3))
        for name in BLOCKS:
            assert np.isfinite(getattr(solution.geometry, name).dense()).all()
        assert (solution.certificate.status is Status.INACCURATE) == (solution.certificate.relative_gap > 1e-8)


@pytest.mark.parametrize("fraction", [1e-9, 1e-3, 0.5, 0.9, 0.99])
def test_the_grams_are_those_of_a_dense_singular_value_decomposition(fraction):
    counts = ClassCounts([90, 90, 40, 20, 7, 7, 7, 1])
    loss = random_loss(8, 5)
    loss = Parameterization(class_scale=loss.class_scale[[0, 0, 2, 3, 4, 4, 4, 7]], shift=-np.log(counts.values))
    geometry = predict(Problem(counts, loss, ridge=fraction * 9)).geometry
    logits = geometry.cross.dense() * np.sqrt(counts.values)
    for name, expected in zip(BLOCKS, factor_logits(logits, counts.values), strict=True):
        atol = 1e-10 * np.abs(expected).max()
        np.testing.assert_allclose(getattr(geometry, name).dense(), expected, atol=atol)


# Laws


@pytest.mark.parametrize("ridge", [1e-6, 0.1, 2.0])
def test_classes_taken_one_by_one_have_the_geometry_of_their_groups(ridge):
    """A shift of 1e-9 makes all ten classes different, so that nothing is gathered."""
    loss = vs(STEP, gamma=0.3)
    apart = Parameterization(class_scale=loss.class_scale, shift=loss.shift + 1e-9 * np.arange(10))
    assert gather(Problem(STEP, apart)).size.size == 10
    one_by_one, gathered = (predict(Problem(STEP, p, ridge=ridge)).geometry for p in (apart, loss))
    assert_same_geometry(one_by_one, gathered)


@settings(max_examples=15)
@given(st.integers(0, 1000), st.permutations(range(6)))
def test_the_order_of_the_classes_does_not_matter(seed, order):
    counts, loss = np.array([50, 50, 20, 5, 5, 1]), random_loss(6, seed)
    moved = Parameterization(**{name: np.array(values)[order] for name, values in loss.to_dict().items()})
    straight = predict(Problem(counts, loss, ridge=0.3)).geometry
    permuted = predict(Problem(counts[order], moved, ridge=0.3)).geometry
    for name in BLOCKS:
        expected = getattr(straight, name).dense()[np.ix_(order, order)]
        np.testing.assert_allclose(getattr(permuted, name).dense(), expected, atol=1e-6 * np.abs(expected).max())


@settings(max_examples=15)
@given(st.integers(0, 1000), st.floats(-2, 2), st.floats(-3, 3))
def test_gauge_changes_change_nothing(seed, log_scale, offset):
    counts, loss, factor = [40, 12, 12, 3], random_loss(4, seed), np.exp(log_scale)
    other = Parameterization(
        weight=loss.weight,
        shift=loss.shift + offset,
        class_scale=loss.class_scale * factor,
        label_scale=loss.label_scale / factor,
        margin=loss.margin,
    )
    one, two = (predict(Problem(counts, p, ridge=0.05)).geometry for p in (loss, other))
    assert_same_geometry(one, two)


@settings(max_examples=15)
@given(st.integers(0, 1000), st.floats(-3, 3))
def test_weights_and_ridge_scale_together_and_a_temperature_shrinks_the_logits(seed, log_scale):
    counts, factor = [40, 12, 12, 3], np.exp(log_scale)
    loss = random_loss(4, seed).to_dict()
    base = predict(Problem(counts, Parameterization(**loss), ridge=0.05)).geometry
    heavier = {**loss, "weight": np.array(loss["weight"]) * factor}
    assert_same_geometry(predict(Problem(counts, Parameterization(**heavier), ridge=0.05 * factor)).geometry, base)
    hotter = {**loss, "label_scale": np.array(loss["label_scale"]) * factor}
    shrunk = predict(Problem(counts, Parameterization(**hotter), ridge=0.05 * factor)).geometry
    for name in BLOCKS:
        expected = getattr(base, name).dense()
        np.testing.assert_allclose(getattr(shrunk, name).dense() * factor, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("ridge", [1e-8, 0.1, 3.0])
def test_balanced_counts_give_a_simplex_etf_at_any_ridge(ridge):
    geometry = predict(Problem([20] * 7, ridge=ridge)).geometry
    etf = simplex_etf(7).classifier.dense()
    for name in BLOCKS:
        gram = getattr(geometry, name).dense()
        np.testing.assert_allclose(gram / gram[0, 0], etf, atol=1e-12)


@pytest.mark.parametrize("rule", ["ce", "cdt", "ldt"])
def test_the_limit_is_approached_as_the_logarithm_of_the_ridge(rule):
    loss = make_parameterization(rule, STEP, **({} if rule == "ce" else {"gamma": 0.3}))
    limit, *near = (
        predict(Problem(STEP, loss, ridge=ridge)).geometry.classifier.block_summary(STEP.majority).norm_ratio
        for ridge in (0.0, 1e-10, 1e-50, 1e-250)
    )
    errors = np.abs(np.array(near) - limit)
    assert (np.diff(errors) < 0).all()
    assert errors[-1] < 0.02 * limit


def test_omega_and_iota_matter_at_a_finite_ridge_and_not_in_the_limit():
    loss = Parameterization(weight=np.where(STEP.majority, 1.0, 5.0), shift=np.where(STEP.majority, 0.0, -2.0))
    for ridge, same in ((0.0, True), (1e-2, False)):
        one, other = (predict(Problem(STEP, p, ridge=ridge)).geometry.classifier.norms() for p in (None, loss))
        assert np.allclose(one / one[0], other / other[0], rtol=1e-3) == same


# Paths, conversion, bad input


@pytest.mark.parametrize("loss", [None, ldt(STEP, gamma=1.0)])
def test_a_path_from_collapse_to_near_the_limit_is_certified_in_the_order_given(loss):
    ridges = np.random.default_rng(0).permutation(np.geomspace(1e-9, 20.0, 25))
    path = ridge_path(STEP, loss, ridges)
    assert [solution.problem.ridge for solution in path] == ridges.tolist()
    for solution in path:
        assert solution.certificate.relative_gap <= 1e-8
        alone = ridge_solution(solution.problem)
        assert solution.certificate.status is alone.certificate.status
        assert solution.certificate.primal == pytest.approx(alone.certificate.primal, rel=1e-9)


@pytest.mark.parametrize("bias_ridge", [0.0, 0.5])
def test_a_path_of_a_head_with_a_bias_keeps_the_quotient_of_its_ridges(bias_ridge):
    path = ridge_path(Problem(STEP, bias=True, ridge=1.0, bias_ridge=bias_ridge), None, [0.1, 2.0])
    for ridge, solution in zip([0.1, 2.0], path, strict=True):
        assert (solution.problem.ridge, solution.problem.bias_ridge) == (ridge, bias_ridge * ridge)
        assert solution.certificate.relative_gap <= 1e-8
        assert solution.bias[0] > solution.bias[-1]


def test_a_path_of_many_kinds_is_certified():
    counts = ClassCounts(np.unique(np.round(1280 * (5 / 1280) ** (np.arange(70) / 69)).astype(int)))
    for solution in ridge_path(counts, None, [0.01, 0.1, 10.0]):
        assert solution.certificate.status is Status.OPTIMAL
        assert optimality(solution).objective == pytest.approx(solution.certificate.primal, rel=1e-8)


def test_a_path_over_no_ridge_is_empty():
    assert ridge_path(STEP, None, []) == ()


def test_a_path_shares_its_counts_and_loss():
    one, other = ridge_path(STEP, None, [0.1, 0.2])
    assert one.problem.parameterization is other.problem.parameterization


@pytest.mark.parametrize(
    ("argument", "given_"),
    [
        ("weight_decay", {"weight_decay": 0.0, "num_samples": 10}),
        ("num_samples", {"weight_decay": 1e-3, "num_samples": 0}),
        ("embedding_weight_decay", {"weight_decay": 1e-3, "num_samples": 10, "embedding_weight_decay": -1.0}),
    ],
)
def test_a_weight_decay_out_of_range_is_named(argument, given_):
    with pytest.raises(InputError, match=f"^{argument} "):
        ridge_from_weight_decay(**given_)


def test_weight_decay_times_samples_is_the_ridge():
    assert ridge_from_weight_decay(5e-4, 50_000) == pytest.approx(25.0)


@pytest.mark.parametrize("problem", [Problem(STEP), Problem(STEP, ridge=1.0, bias=True)])
def test_other_problems_are_refused(problem):
    with pytest.raises(InputError, match="ridge > 0 and bias=False"):
        ridge_solution(problem)


def test_status_of_an_optimum_and_of_collapse():
    assert predict(Problem(STEP, cdt(STEP, gamma=0.5), ridge=1e-2)).certificate.status is Status.OPTIMAL
    collapsed = predict(Problem(STEP, ridge=np.sqrt(50) * 1.0001))
    assert collapsed.certificate.status is Status.COLLAPSED
    assert collapsed.certificate.primal == pytest.approx(275 * np.log(10))
    assert not any(getattr(collapsed.geometry, name).dense().any() for name in BLOCKS)
