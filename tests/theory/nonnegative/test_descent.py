"""Nonnegative features without a closed form, against the convex program in which K = H^T H is doubly nonnegative.

For up to four classes a positive semidefinite K with entries >= 0 is H^T H with H >= 0, so that this program is the
model itself.
"""

from dataclasses import replace

import cvxpy
import numpy as np
import pytest

from implicit_geometry import ClassCounts, InputError, Problem, logit_adjusted, predict, vs
from implicit_geometry.certificate import Status
from implicit_geometry.theory.nonnegative.descent import _Program, descended_solution

COUNTS = [60, 25, 10, 5]
CASES = {
    "shift": {"parameterization": logit_adjusted(COUNTS)},
    "shift and scales": {"parameterization": vs(COUNTS, gamma=0.3, tau=1.0)},
    "shift and smoothed labels": {"parameterization": logit_adjusted(COUNTS), "label_smoothing": 0.1},
    "free bias": {"bias": True},
    "bias with a ridge": {"bias": True, "bias_ridge": 0.3},
    "free bias, shift and prices": {"bias": True, "parameterization": logit_adjusted(COUNTS), "count_exponent": 0.5},
}


def convex_optimum(problem):
    """The optimum over logits and both Gram matrices, less the entropy of the labels."""
    k, loss = problem.num_classes, problem.parameterization
    gram = cvxpy.Variable((2 * k, 2 * k), PSD=True)
    root = np.sqrt(problem.embedding_cost)
    logits = gram[:k, k:] @ np.diag(1 / root)
    bias = cvxpy.Variable(k) if problem.bias else np.zeros(k)
    smoothing = problem.label_smoothing
    total = problem.ridge / 2 * cvxpy.trace(gram)
    for y, count in enumerate(problem.counts.values):
        seen = loss.label_scale[y] * cvxpy.multiply(loss.class_scale, logits[:, y] + bias) + loss.shift
        label = np.full(k, smoothing / k) + (1 - smoothing) * np.eye(k)[y]
        entropy = -(label * np.log(np.where(label > 0, label, 1.0))).sum()
        total += count * loss.weight[y] * (cvxpy.log_sum_exp(seen) - label @ seen - entropy)
    if problem.bias:
        total += problem.bias_ridge / 2 * cvxpy.sum_squares(bias)
    program = cvxpy.Problem(cvxpy.Minimize(total), [gram[k:, k:] >= 0])
    program.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
    assert program.status in (cvxpy.OPTIMAL, cvxpy.OPTIMAL_INACCURATE)
    embedding = gram.value[k:, k:] / np.outer(root, root)
    return program.value, gram.value[:k, :k], embedding


@pytest.mark.parametrize("ridge", [0.05, 0.5])
@pytest.mark.parametrize("name", CASES)
def test_the_descent_finds_the_optimum_of_the_convex_program(name, ridge):
    problem = Problem(COUNTS, ridge=ridge, features="nonnegative", **CASES[name])
    found = descended_solution(problem)
    value, classifier, embedding = convex_optimum(problem)
    assert found.certificate.status is Status.OPTIMAL
    assert found.certificate.primal == pytest.approx(value, rel=1e-6)
    for block, wanted in ((found.geometry.classifier, classifier), (found.geometry.embedding, embedding)):
        np.testing.assert_allclose(block.dense(), wanted, atol=2e-3 * np.abs(wanted).max())


@pytest.mark.parametrize("loss", ["ce", "cdt"])
def test_where_there_is_a_closed_form_the_descent_finds_it(loss):
    scales = {"ce": {}, "cdt": {"parameterization": vs(COUNTS, gamma=0.3, tau=0.0)}}[loss]
    problem = Problem(COUNTS, ridge=0.1, features="nonnegative", **scales)
    closed, found = predict(problem), descended_solution(problem)
    assert closed.geometry.embedding.left.shape[1] == 0  # orthogonal by construction
    assert found.certificate.primal == pytest.approx(closed.certificate.primal, rel=1e-9)
    np.testing.assert_allclose(found.geometry.cross.dense(), closed.geometry.cross.dense(), atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_the_lower_bound_of_any_point_is_below_the_optimum(name):
    problem = Problem(COUNTS, ridge=0.2, features="nonnegative", **CASES[name])
    optimum = descended_solution(problem).certificate.primal
    program, rng = _Program.of(problem), np.random.default_rng(0)
    sizes = 2 * program.classes * program.dimension
    for scale in (0.01, 1.0, 5.0):
        x = scale * rng.normal(size=sizes + (program.classes if problem.bias else 0))
        x[sizes // 2 : sizes] = np.abs(x[sizes // 2 : sizes])
        assert program.lower_bound(x) * problem.ridge < optimum


def test_the_gradient_and_the_curvature_are_those_of_the_objective():
    problem = Problem(COUNTS, ridge=0.2, features="nonnegative", **CASES["free bias, shift and prices"])
    program, rng = _Program.of(problem), np.random.default_rng(1)
    x, direction = rng.normal(size=(2, 2 * program.classes * program.dimension + program.classes))
    ahead, behind = (program.value_and_gradient(x + sign * 1e-6 * direction) for sign in (1, -1))
    slope = program.value_and_gradient(x)[1] @ direction
    assert (ahead[0] - behind[0]) / 2e-6 == pytest.approx(slope, rel=1e-6)
    np.testing.assert_allclose((ahead[1] - behind[1]) / 2e-6, program.curvature(x, direction), rtol=1e-5, atol=1e-6)


def test_ten_classes_with_smoothed_labels_and_a_shift_are_proven():
    counts = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=120)
    problem = Problem(counts, logit_adjusted(counts), ridge=0.5, label_smoothing=0.1, features="nonnegative")
    found = predict(problem)
    assert found.certificate.status is Status.OPTIMAL
    embedding = found.geometry.embedding
    assert max(embedding.cosine(0, 1), embedding.cosine(0, 9), embedding.cosine(8, 9)) > 0.01


def test_the_best_of_several_descents_that_is_not_proven_says_so_and_by_how_much():
    problem = Problem(COUNTS, ridge=1e-8, features="nonnegative", **CASES["free bias"])
    found = descended_solution(problem)
    assert found.certificate.status is Status.DESCENDED
    assert 1e-8 < found.certificate.relative_gap < 0.5
    assert "best that descent from several starts has found" in found.certificate.status.remedy


def test_a_ridge_beyond_collapse_leaves_nothing():
    problem = Problem(COUNTS, ridge=50.0, features="nonnegative", **CASES["bias with a ridge"])
    found = descended_solution(problem)
    assert found.certificate.status is Status.COLLAPSED


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (Problem(COUNTS, features="nonnegative"), "problem must have ridge > 0 and nonnegative features"),
        (Problem(COUNTS, ridge=0.1), "problem must have ridge > 0 and nonnegative features"),
        (Problem([5] * 31, ridge=0.1, features="nonnegative"), "problem must have at most 30 classes"),
    ],
)
def test_what_is_not_descended_is_refused(problem, message):
    with pytest.raises(InputError, match=message):
        descended_solution(problem)


def test_more_classes_and_the_limit_keep_their_reason():
    counts = [90] * 16 + [3] * 15
    many = Problem(counts, logit_adjusted(counts), ridge=0.5, features="nonnegative")
    with pytest.raises(InputError, match="two classes' gradients point the same way"):
        predict(many)
    with pytest.raises(InputError, match="must be 'free' for a head with a bias"):
        predict(replace(many, ridge=0.0, bias=True))
