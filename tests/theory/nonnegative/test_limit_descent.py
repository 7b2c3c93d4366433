"""The limit with nonnegative features that are not orthogonal, against the convex program in K, doubly nonnegative.

For up to four classes a positive semidefinite K with entries >= 0 is H^T H with H >= 0, so that this program is the
model itself.
"""

from dataclasses import replace

import cvxpy
import numpy as np
import pytest

from implicit_geometry import ClassCounts, InputError, Parameterization, Problem, cdt, ldt, logit_adjusted, predict, vs
from implicit_geometry.certificate import Status
from implicit_geometry.theory.nonnegative.limit_descent import _Program, descended_limit_solution

COUNTS = [60, 25, 10, 5]
NOISY = 0.6 * np.eye(4) + 0.4 * np.array([[1, 5, 2, 2], [1, 1, 4, 4], [3, 3, 3, 1], [2, 2, 2, 4]]) / 10
CASES = {
    "shift": {"parameterization": logit_adjusted(COUNTS, tau=1.5), "label_smoothing": 0.1},
    "shift and scales": {"parameterization": vs(COUNTS, gamma=0.3, tau=1.5), "label_smoothing": 0.1},
    "weights": {"parameterization": Parameterization(weight=[0.1, 0.5, 3.0, 9.0]), "label_smoothing": 0.2},
    "free bias": {"bias": True, "label_smoothing": 0.1},
    "free bias, scales and prices": {"bias": True, "parameterization": cdt(COUNTS, 0.5), "label_smoothing": 0.05}
    | {"count_exponent": 0.5},
    "noisy labels": {"label_distribution": NOISY, "bias": True},
    "hard, free bias": {"bias": True},
    "hard, free bias, class scales": {"bias": True, "parameterization": cdt(COUNTS, 1.0)},
    "hard, free bias, label scales": {"bias": True, "parameterization": ldt(COUNTS, -1.0), "count_exponent": 0.4},
}
HARD = [name for name in CASES if name.startswith("hard")]


def convex_limit(problem):
    """The least (|W|^2 + sum_y m_y |h_y|^2) / 2, the Gram matrix of W, and that of the embeddings."""
    k, loss = problem.num_classes, problem.parameterization
    gram = cvxpy.Variable((2 * k, 2 * k), PSD=True)
    root = np.sqrt(problem.embedding_cost)
    logits = gram[:k, k:] @ np.diag(1 / root)
    bias = cvxpy.Variable(k) if problem.bias else np.zeros(k)
    given = problem.label_distribution
    labels = problem.label_smoothing / k + (1 - problem.label_smoothing) * np.eye(k) if given is None else given
    rules = [gram[k:, k:] >= 0]
    for y in range(k):
        scores = loss.label_scale[y] * cvxpy.multiply(loss.class_scale, logits[:, y] + bias)
        for c in set(range(k)) - {y}:
            lead = scores[y] - scores[c]
            if problem.soft_labels:
                odds = labels[y, y] * loss.weight[y] / (labels[y, c] * loss.weight[c])
                rules.append(lead == np.log(odds) + loss.shift[c] - loss.shift[y] + loss.margin[y])
            else:
                rules.append(lead >= 1)
    program = cvxpy.Problem(cvxpy.Minimize(cvxpy.trace(gram) / 2), rules)
    program.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    assert program.status in (cvxpy.OPTIMAL, cvxpy.OPTIMAL_INACCURATE)
    return program.value, gram.value[:k, :k], gram.value[k:, k:] / np.outer(root, root)


@pytest.mark.parametrize("name", CASES)
def test_the_descent_finds_the_optimum_of_the_convex_program(name):
    problem = Problem(COUNTS, features="nonnegative", **CASES[name])
    found = predict(problem)
    value, classifier, embedding = convex_limit(problem)
    assert found.certificate.status is Status.OPTIMAL
    assert found.certificate.dual <= value * (1 + 1e-7)
    assert found.certificate.primal == pytest.approx(value, rel=1e-6)
    for block, wanted in ((found.geometry.classifier, classifier), (found.geometry.embedding, embedding)):
        np.testing.assert_allclose(block.dense(), wanted, atol=3e-3 * np.abs(wanted).max())


@pytest.mark.parametrize("name", [name for name in CASES if name not in HARD])
def test_a_falling_ridge_leads_there(name):
    limit = predict(Problem(COUNTS, features="nonnegative", **CASES[name]))

    def distance(ridge):
        near = predict(replace(limit.problem, ridge=ridge)).geometry.classifier.dense()
        return np.abs(near - limit.geometry.classifier.dense()).max()

    assert 5 < distance(1e-2) / distance(1e-3) < 20


def test_plain_cross_entropy_with_a_bias_leaves_the_largest_class_without_embedding():
    found = predict(Problem([100, 10, 10, 10], bias=True, features="nonnegative"))
    embedding = found.geometry.embedding
    assert embedding.entry(0, 0) == pytest.approx(0, abs=1e-12)
    assert embedding.cosine(1, 2) == pytest.approx(0.25, abs=1e-6)
    np.testing.assert_allclose(found.bias, [0.75, -0.25, -0.25, -0.25], atol=1e-8)
    assert found.certificate.smallest_margin == pytest.approx(1, abs=1e-9)


def test_where_there_is_a_closed_form_the_descent_finds_it():
    problem = Problem(COUNTS, logit_adjusted(COUNTS, tau=0.2), label_smoothing=0.1, features="nonnegative")
    closed, found = predict(problem), descended_limit_solution(problem)
    assert closed.geometry.embedding.left.shape[1] == 0  # orthogonal by construction
    assert found.certificate.primal == pytest.approx(closed.certificate.primal, rel=1e-9)
    np.testing.assert_allclose(found.geometry.classifier.dense(), closed.geometry.classifier.dense(), atol=1e-3)


def test_features_are_flat_where_a_strong_shift_asks_for_it():
    counts = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=120)
    found = predict(Problem(counts, logit_adjusted(counts), label_smoothing=0.1, features="nonnegative"))
    assert found.certificate.status is Status.OPTIMAL
    assert np.linalg.eigvalsh(found.geometry.embedding.dense())[0] == pytest.approx(0, abs=1e-6)
    assert found.geometry.embedding.cosine(0, 9) == pytest.approx(0.239, abs=1e-3)


def test_a_bias_with_a_ridge_of_its_own_stays_behind():
    one = Problem(COUNTS, features="nonnegative")
    other = Problem(COUNTS, bias=True, bias_ridge=1.0, features="nonnegative")
    np.testing.assert_array_equal(predict(one).geometry.classifier.dense(), predict(other).geometry.classifier.dense())
    assert not predict(other).bias.any()


@pytest.mark.parametrize("name", CASES)
def test_the_lower_bound_of_any_multipliers_is_below_the_optimum(name):
    problem = Problem(COUNTS, features="nonnegative", **CASES[name])
    optimum = descended_limit_solution(problem).certificate.primal
    program, rng = _Program.of(problem), np.random.default_rng(0)
    for scale in (0.01, 1.0, 5.0):
        features = np.abs(rng.normal(size=(4, program.dimension)))
        assert program.lower_bound(features, scale * rng.normal(size=(4, 4)), 10 * optimum) < optimum


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_and_the_curvature_are_those_of_the_objective(name):
    program = replace(_Program.of(Problem(COUNTS, features="nonnegative", **CASES[name])), blur=1e-3)
    rng = np.random.default_rng(1)
    size = 4 * program.dimension + (16 if program.opening is not None else 0)
    x, direction = np.abs(rng.normal(size=(2, size))) + 0.1
    ahead, behind = (program.value_and_gradient(x + sign * 1e-6 * direction) for sign in (1, -1))
    slope = program.value_and_gradient(x)[1] @ direction
    assert (ahead[0] - behind[0]) / 2e-6 == pytest.approx(slope, rel=1e-5)
    scale = np.abs(program.curvature(x, direction)).max()
    np.testing.assert_allclose((ahead[1] - behind[1]) / 2e-6, program.curvature(x, direction), atol=1e-5 * scale)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (Problem(COUNTS), "features must be 'nonnegative' here"),
        (Problem([5] * 31, features="nonnegative"), "problem must have at most 30 classes"),
    ],
)
def test_what_is_not_descended_is_refused(problem, message):
    with pytest.raises(InputError, match=message):
        descended_limit_solution(problem)
