"""The regularised optimum against published numbers, dense optimality conditions and an interior-point oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from implicit_geometry import (
    ClassCounts,
    InputError,
    Parameterization,
    Problem,
    Status,
    cdt,
    ldt,
    logit_adjusted,
    make_parameterization,
    predict,
    ridge_from_weight_decay,
    ridge_path,
)

STEP = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)
FAMILY = [
    ("ce", {}),
    ("weighted", {"gamma": 0.5}),
    ("logit_adjusted", {"tau": 1.0}),
    ("cdt", {"gamma": 0.5}),
    ("ldt", {"gamma": -0.5}),
    ("vs", {"gamma": 0.3, "tau": 1.0}),
    ("ldam", {"max_margin": 0.5}),
]


def dense_logits(solution):
    """X = class-mean logits times sqrt(n), from the cross block."""
    return solution.geometry.cross.dense() * np.sqrt(solution.problem.counts.values)


def loss_and_gradient(problem, logits):
    """Sum of the losses and its gradient by X, written class by class."""
    p, counts = problem.parameterization, problem.counts.values
    total, gradient = 0.0, np.zeros_like(logits)
    for y, n in enumerate(counts):
        z = logits[:, y] / np.sqrt(n)
        adjusted = p.label_scale[y] * p.class_scale * z + p.shift - p.margin[y] * (np.arange(len(z)) == y)
        total -= n * p.weight[y] * log_softmax(adjusted)[y]
        slope = softmax(adjusted) - (np.arange(len(z)) == y)
        gradient[:, y] = np.sqrt(n) * p.weight[y] * p.label_scale[y] * p.class_scale * slope
    return total, gradient


def assert_is_the_global_optimum(solution, tolerance=1e-6):
    """|G|_op <= ridge and <G, X> = -ridge |X|_*: necessary and sufficient, since the problem is convex."""
    ridge, x = solution.problem.ridge, dense_logits(solution)
    loss, gradient = loss_and_gradient(solution.problem, x)
    nuclear = np.linalg.norm(x, "nuc")
    assert np.linalg.norm(gradient, 2) <= ridge * (1 + tolerance)
    assert np.sum(gradient * x) == pytest.approx(-ridge * nuclear, rel=tolerance, abs=1e-9 * ridge)
    assert solution.certificate.primal == pytest.approx(loss + ridge * nuclear, rel=1e-9)


@pytest.mark.parametrize(("ridge", "ratio"), [(1e-1, 3.50), (1e-3, 3.14), (1e-6, 2.96), (1e-10, 2.87)])
def test_convergence_to_the_limit_is_logarithmic(ridge, ratio):
    block = predict(Problem(STEP, ridge=ridge)).geometry.classifier.block_summary(STEP.majority)
    assert block.norm_ratio == pytest.approx(ratio, abs=5.5e-3)  # 2.8649 in print as 2.87


def test_logit_adjustment_matters_at_a_finite_ridge():
    ratios = [
        predict(Problem(STEP, loss, ridge=1e-2)).geometry.embedding.block_summary(STEP.majority).norm_ratio
        for loss in (None, logit_adjusted(STEP))
    ]
    assert ratios == pytest.approx([0.387, 0.253], abs=5e-4)


@pytest.mark.parametrize(("rule", "given_"), FAMILY)
@pytest.mark.parametrize("ridge", [1e-6, 1e-2, 0.5])
def test_optimality_holds_densely_for_the_whole_family(rule, given_, ridge):
    counts = ClassCounts([40, 40, 12, 12, 5, 3])
    solution = predict(Problem(counts, make_parameterization(rule, counts, **given_), ridge=ridge))
    assert solution.certificate.relative_gap <= 1e-8
    assert_is_the_global_optimum(solution)


@pytest.mark.parametrize(("rule", "given_"), FAMILY[:6])
def test_minorities_collapse_at_the_threshold_and_nowhere_else(rule, given_):
    loss = make_parameterization(rule, STEP, **given_)
    minority = 9
    threshold = (loss.weight * loss.class_scale * loss.label_scale * np.sqrt(STEP.values))[minority]
    below, above = (predict(Problem(STEP, loss, ridge=threshold * f)).geometry.classifier for f in (0.995, 1.005))

    def spread(gram):
        """Squared distance of two minority classifiers."""
        return 2 * (gram.entry(minority, minority) - gram.entry(minority, minority - 1))

    scale = below.squared_norms().max()
    assert spread(below) > 1e-4 * scale
    assert abs(spread(above)) < 1e-9 * scale


def test_cross_entropy_with_five_samples_collapses_at_root_five():
    spreads = []
    for ridge in (2.23, 2.24):
        gram = predict(Problem(STEP, ridge=ridge)).geometry.classifier
        spreads.append(gram.entry(9, 9) - gram.entry(9, 8))
    assert spreads[0] > 1e-4
    assert abs(spreads[1]) < 1e-12


@pytest.mark.parametrize("rule", [cdt, ldt])
def test_strong_temperatures_collapse_early(rule):
    loss = rule(STEP, gamma=1.5)
    scale = (loss.class_scale * loss.label_scale)[9]
    assert scale == pytest.approx(0.0613, abs=5e-5)
    for ridge, collapsed in ((0.135, False), (0.1375, True)):
        gram = predict(Problem(STEP, loss, ridge=ridge)).geometry.classifier
        assert (abs(gram.entry(9, 9) - gram.entry(9, 8)) < 1e-12) == collapsed


def test_a_ridge_above_everything_gives_the_zero_geometry_and_says_so():
    solution = predict(Problem(STEP, ridge=1e3))
    assert solution.certificate.status is Status.COLLAPSED
    assert not solution.geometry.classifier.norms().any()
    assert not solution.geometry.embedding.norms().any()


def test_interior_point_oracle_agrees():
    cp = pytest.importorskip("cvxpy")
    counts = ClassCounts([12, 12, 3, 2])
    problem = Problem(counts, Parameterization(class_scale=[1, 1, 0.6, 0.5], shift=[0, 0, -1, -1]), ridge=0.3)
    p, n = problem.parameterization, counts.values
    x = cp.Variable((4, 4))
    losses = []
    for y in range(4):
        adjusted = cp.multiply(p.class_scale, x[:, y]) / np.sqrt(n[y]) + p.shift
        losses.append(n[y] * (cp.log_sum_exp(adjusted) - adjusted[y]))
    program = cp.Problem(cp.Minimize(sum(losses) + problem.ridge * cp.normNuc(x)))
    program.solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    solution = predict(problem)
    assert solution.certificate.primal == pytest.approx(program.value, rel=1e-7)
    np.testing.assert_allclose(dense_logits(solution), x.value, atol=2e-4)


def test_a_path_is_the_single_solutions_in_the_order_given():
    ridges = [1e-2, 3.0, 1e-6]
    for ridge, solution in zip(ridges, ridge_path(STEP, cdt(STEP, gamma=0.5), ridges), strict=True):
        alone = predict(Problem(STEP, cdt(STEP, gamma=0.5), ridge=ridge))
        assert solution.problem == alone.problem
        np.testing.assert_allclose(
            solution.geometry.classifier.norms(), alone.geometry.classifier.norms(), rtol=1e-5, atol=1e-9
        )


def test_two_groups_of_a_million_classes_are_a_problem_of_four_unknowns():
    counts = ClassCounts.step(num_classes=10**6, imbalance_ratio=10, max_count=1000)
    solution = predict(Problem(counts, ridge=1.0))
    assert solution.certificate.relative_gap <= 1e-8
    assert solution.geometry.classifier.diagonal.size == 2


@settings(max_examples=100)
@given(st.data())
def test_random_problems_are_certified(data):
    size = data.draw(st.integers(2, 8))
    logs = st.lists(st.floats(-3, 3), min_size=size, max_size=size)
    counts = ClassCounts(data.draw(st.lists(st.integers(1, 10**6), min_size=size, max_size=size)))
    loss = Parameterization(class_scale=np.exp(data.draw(logs)), label_scale=np.exp(data.draw(logs)))
    ridge = 10 ** data.draw(st.floats(-8, 2))
    solution = predict(Problem(counts, loss, ridge=ridge))
    assert solution.certificate.relative_gap <= 1e-8


def test_ridge_of_a_weight_decay():
    assert ridge_from_weight_decay(5e-4, 1000) == pytest.approx(0.5)
    assert ridge_from_weight_decay(4e-4, 1000, embedding_weight_decay=1e-4) == pytest.approx(0.2)


@pytest.mark.parametrize("ridge", [-1.0, float("nan"), float("inf")])
def test_a_ridge_must_be_a_number_at_least_zero(ridge):
    with pytest.raises(InputError, match="ridge"):
        Problem(STEP, ridge=ridge)


@pytest.mark.parametrize("ridges", [[0.0], [-1.0, 1.0], [float("nan")]])
def test_a_path_needs_positive_ridges(ridges):
    with pytest.raises(InputError, match="ridges"):
        ridge_path(STEP, None, ridges)
