"""Features that cannot be negative, against bounded descent on heads and features, W any and H >= 0."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from implicit_geometry import (
    ClassCounts,
    InputError,
    Parameterization,
    Problem,
    cdt,
    collapse_thresholds,
    compare,
    ldam,
    ldt,
    logit_adjusted,
    predict,
)
from implicit_geometry.certificate import Status
from implicit_geometry.solvers.factored import solve_factored
from implicit_geometry.theory.collapse import total_threshold
from implicit_geometry.theory.measured_frame import in_measured_frame
from implicit_geometry.theory.ridge.nonnegative import nonnegative_ridge_solution
from smoothed_oracles import label_entropy, smoothed_loss
from strategies import class_counts

MANY_SHIFTED = logit_adjusted([500] * 11 + [5] * 20)
STEP = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)


def bounded_descent(problem, starts=3):
    """The smallest objective with H >= 0 (entropy of the labels taken off), and the three blocks there."""
    k, d = problem.num_classes, problem.num_classes + 2
    root = torch.tensor(np.sqrt(np.array(problem.embedding_cost)))

    def objective(x):
        point = torch.tensor(x, requires_grad=True)
        w, h = point[: k * d].reshape(k, d), point[k * d :].reshape(k, d) / root[:, None]
        value = smoothed_loss(problem, h @ w.T) + problem.ridge / 2 * (point**2).sum()
        (gradient,) = torch.autograd.grad(value, point)
        return value.item(), gradient.numpy()

    bounds = [(None, None)] * (k * d) + [(0, None)] * (k * d)
    options = {"maxiter": 20_000, "maxfun": 100_000, "ftol": 1e-16, "gtol": 1e-11, "maxcor": 50}
    found = [
        minimize(
            objective,
            np.abs(np.random.default_rng(seed).normal(size=2 * k * d)),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options=options,
        )
        for seed in range(starts)
    ]
    best = min(found, key=lambda result: result.fun)
    w, h = best.x[: k * d].reshape(k, d), best.x[k * d :].reshape(k, d) / root.numpy()[:, None]
    entropy = label_entropy(problem) if problem.label_smoothing else 0.0
    return best.fun - entropy, (w @ w.T, h @ h.T, w @ h.T)


CASES = {
    "ce": Parameterization.neutral(4),
    "cdt": Parameterization(class_scale=[1.0, 0.8, 0.5, 0.4]),
    "ldt": Parameterization(label_scale=[1.0, 0.8, 0.5, 0.4]),
    "both": Parameterization(class_scale=[1.0, 1.3, 0.8, 1.1], label_scale=[1.0, 0.8, 0.5, 0.4]),
    "ldam": Parameterization(margin=[0.1, 0.2, 0.4, 0.8]),
}


@pytest.mark.parametrize("given", [{}, {"label_smoothing": 0.1}, {"count_exponent": 0.4}])
@pytest.mark.parametrize("ridge", [0.01, 0.5])
@pytest.mark.parametrize("name", CASES)
def test_no_head_and_nonnegative_features_have_a_smaller_objective(name, ridge, given):
    problem = Problem([60, 25, 10, 5], CASES[name], ridge=ridge, features="nonnegative", **given)
    solution = predict(problem)
    objective, blocks = bounded_descent(problem, starts=10 if name == "ldt" else 3)
    certificate = solution.certificate
    assert certificate.status is Status.OPTIMAL
    assert certificate.dual <= objective * (1 + 1e-9)
    assert certificate.primal == pytest.approx(objective, rel=1e-8)
    for block, wanted in zip(("classifier", "embedding", "cross"), blocks, strict=True):
        found = getattr(solution.geometry, block).dense()
        assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("name", CASES)
def test_groups_of_equal_classes_are_what_their_classes_are_apart(name):
    twice = {key: np.repeat(getattr(CASES[name], key), 2) for key in ("class_scale", "label_scale", "margin")}
    counts = np.repeat([60, 25, 10, 5], 2)
    together = Problem(counts, Parameterization(**twice), ridge=0.2, features="nonnegative")
    nearly = replace(together, embedding_cost=counts * (1 + 1e-9 * np.arange(8)))
    for block in ("classifier", "embedding", "cross"):
        one, other = (getattr(predict(problem).geometry, block).dense() for problem in (together, nearly))
        np.testing.assert_allclose(one, other, atol=1e-6 * np.abs(other).max())


@settings(deadline=None, max_examples=40)
@given(class_counts(), st.floats(-1, 1), st.just(0.0) | st.floats(1e-6, 0.5))
def test_the_limit_has_the_mean_logits_of_free_features_and_orthogonal_embeddings(counts, gamma, smoothing):
    loss = cdt(counts, gamma=gamma)
    problem = Problem(counts, loss, label_smoothing=smoothing)
    free, relu = predict(problem), predict(replace(problem, features="nonnegative"))
    wanted = free.geometry.cross.dense()
    np.testing.assert_allclose(relu.geometry.cross.dense(), wanted, atol=1e-12 * np.abs(wanted).max())
    embedding = relu.geometry.embedding.dense()
    assert not (embedding - np.diag(embedding.diagonal())).any()
    norms = np.linalg.norm(wanted, axis=0)
    root = np.sqrt(counts.values)
    np.testing.assert_allclose(embedding.diagonal(), norms / root, rtol=1e-9)
    classifier = (wanted * (root / norms)) @ wanted.T
    np.testing.assert_allclose(relu.geometry.classifier.dense(), classifier, atol=1e-11 * classifier.max())
    assert relu.certificate.primal == pytest.approx(float(root @ norms), rel=1e-9)
    assert relu.certificate.primal >= free.certificate.dual


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_falling_ridge_leads_to_the_limit(smoothing):
    problem = Problem(STEP, ldt(STEP, gamma=0.3), features="nonnegative", label_smoothing=smoothing)
    limit = predict(problem).geometry
    far, near = (compare(predict(problem.at_ridge(ridge)).geometry, limit) for ridge in (1e-2, 1e-4))
    assert near.classifier < (0.05 if smoothing else 0.8) * far.classifier
    assert near.cross < (0.05 if smoothing else 0.8) * far.cross


@pytest.mark.parametrize(("gamma", "cosine"), [(0.5, 0.235), (1.0, 0.56), (1.5, 0.81)])
def test_centred_embeddings_of_majorities_close_up_under_class_scales_as_those_of_relu_networks_do(gamma, cosine):
    embedding = predict(Problem(STEP, cdt(STEP, gamma=gamma), features="nonnegative")).geometry.embedding.dense()
    centring = np.eye(10) - 0.1
    centred = centring @ embedding @ centring
    assert centred[0, 1] / centred[0, 0] == pytest.approx(cosine, abs=0.005)


def test_a_class_collapses_where_its_gradient_at_zero_is_no_longer_than_the_ridge():
    """CE: at sqrt(n (k - 1) / k)."""
    for count in (50, 5):
        threshold = np.sqrt(count * 0.9)
        for factor, alive in ((0.999, True), (1.001, False)):
            solution = predict(Problem(STEP, ridge=threshold * factor, features="nonnegative"))
            label = 0 if count == 50 else 9
            assert (solution.geometry.embedding.entry(label, label) > 0) == alive
    assert predict(Problem(STEP, ridge=7.0, features="nonnegative")).certificate.status is Status.COLLAPSED


def test_with_a_shift_at_a_larger_ridge_embeddings_are_not_orthogonal():
    problem = Problem([60, 25, 10, 5], logit_adjusted([60, 25, 10, 5]), ridge=0.5, features="nonnegative")
    with pytest.raises(InputError, match="two classes' gradients point the same way"):
        nonnegative_ridge_solution(problem)
    value, blocks = bounded_descent(problem)
    norms = np.sqrt(np.diag(blocks[1]))
    assert (blocks[1] / np.outer(norms, norms) - np.eye(4)).max() > 0.02
    found = predict(problem)
    assert found.certificate.primal == pytest.approx(value, rel=1e-9)
    for block, wanted in zip(("classifier", "embedding", "cross"), blocks, strict=True):
        np.testing.assert_allclose(getattr(found.geometry, block).dense(), wanted, atol=1e-4)


def test_where_gradients_point_the_same_way_orthogonal_embeddings_would_cost_some_thousandths_more():
    """Logit adjustment at some tenths of sqrt(n_min); the classes' own problems are minimised by SciPy here."""
    counts = np.array([50, 50, 5, 5])
    shift = logit_adjusted(counts).shift
    for tenths in (5, 7):
        ridge = tenths / 10 * np.sqrt(5)

        def own_problem(z, label, ridge=ridge):
            loss = np.logaddexp.reduce(z + shift) - (z + shift)[label]
            return counts[label] * loss + ridge * np.sqrt(counts[label]) * np.sqrt(z @ z + 1e-18)

        orthogonal = sum(minimize(own_problem, np.eye(4)[y], args=(y,), tol=1e-10).fun for y in range(4))
        optimum = predict(Problem(counts, logit_adjusted(counts), ridge=ridge, features="nonnegative"))
        assert 1.002 < orthogonal / optimum.certificate.primal < 1.005
        assert 0.25 < optimum.geometry.embedding.cosine(2, 3) < 0.38


@pytest.mark.parametrize("given", [{}, {"label_smoothing": 0.1}, {"count_exponent": 0.4}])
@pytest.mark.parametrize("name", CASES)
def test_a_class_loses_its_embedding_at_its_threshold_where_that_is_exact(name, given):
    problem = Problem([60, 25, 10, 5], CASES[name], features="nonnegative", **given)
    thresholds = collapse_thresholds(problem)
    assert thresholds.exact.any()
    assert thresholds.exact.all() or name in ("cdt", "both")
    for label in np.flatnonzero(thresholds.exact):
        ridge = thresholds.ridge[label]
        above, below = (predict(problem.at_ridge(ridge * factor)).geometry.embedding for factor in (1.001, 0.999))
        assert above.entry(label, label) < 1e-9 < below.entry(label, label)


def test_a_threshold_that_is_not_exact_says_so():
    counts = [60, 25, 10, 5]
    thresholds = collapse_thresholds(Problem(counts, logit_adjusted(counts), features="nonnegative"))
    assert not thresholds.exact.any()
    assert np.isnan(thresholds.total)
    assert collapse_thresholds(Problem(counts, features="nonnegative")).total == pytest.approx(np.sqrt(60 * 3 / 4))
    with pytest.raises(InputError, match="must be 'free' for a head with a bias"):
        collapse_thresholds(Problem(counts, bias=True, features="nonnegative"))


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (Problem([5] * 31, bias=True, features="nonnegative"), "must be 'free' for a head with a bias"),
        (
            Problem([500] * 11 + [5] * 20, MANY_SHIFTED, label_smoothing=0.1, features="nonnegative"),
            "features must be 'free' here: .* two classes' gradients point the same way",
        ),
    ],
)
def test_what_has_no_closed_form_is_refused_with_the_reason(problem, message):
    with pytest.raises(InputError, match=message):
        predict(problem)


def test_other_methods_refuse_nonnegative_features():
    problem = Problem([50, 5], ridge=0.1, features="nonnegative")
    for ask in (solve_factored, total_threshold):
        with pytest.raises(InputError, match="features must be 'free' for"):
            ask(problem)
    with pytest.raises(InputError, match="features must be one of free, nonnegative"):
        Problem([50, 5], features="relu")
    assert predict(Problem(STEP, ldam(STEP), features="nonnegative")).certificate.status is Status.OPTIMAL


@pytest.mark.parametrize("gamma", [-0.5, 0.0, 0.5])
def test_what_the_logits_see_of_nonnegative_embeddings_is_their_projection(gamma):
    """H = diag(|h|) (1 - e e^T) diag(|h|) with e along v / theta, theta^2 = s / sqrt(1 - v^2)."""
    loss = cdt(STEP, gamma=gamma)
    solution = predict(Problem(STEP, loss, features="nonnegative"))
    v = 1 / loss.class_scale / np.linalg.norm(1 / loss.class_scale)
    theta = np.sqrt(np.sqrt(STEP.values) / loss.class_scale / np.sqrt(1 - v**2))
    e = v / theta / np.linalg.norm(v / theta)
    norms = solution.geometry.embedding.norms()
    wanted = np.diag(norms) @ (np.eye(10) - np.outer(e, e)) @ np.diag(norms)
    projected = in_measured_frame(solution).embedding.dense()
    np.testing.assert_allclose(projected, wanted, atol=1e-12 * wanted.max())
    free = predict(Problem(STEP, loss)).geometry.embedding.dense()
    distance = np.linalg.norm(free / np.linalg.norm(free) - wanted / np.linalg.norm(wanted))
    assert distance < (0.03 if gamma >= 0 else 0.15)


def test_centred_nonnegative_embeddings_are_those_less_their_mean():
    solution = predict(Problem(STEP, ldt(STEP, gamma=0.5), features="nonnegative"))
    shares = solution.problem.parameterization.label_scale / solution.problem.parameterization.label_scale.sum()
    centring = np.eye(10) - np.outer(np.ones(10), shares)
    wanted = centring @ solution.geometry.embedding.dense() @ centring.T
    centred = in_measured_frame(solution, "centred").embedding.dense()
    np.testing.assert_allclose(centred, wanted, atol=1e-12 * wanted.max())


def test_embeddings_of_another_price_are_centred_as_a_network_with_a_bias_is_measured():
    solution = predict(Problem(STEP, bias=True, count_exponent=0.5))
    shares = STEP.values / STEP.num_samples
    centred = in_measured_frame(solution).embedding.dense()
    assert np.abs(shares @ centred).max() < 1e-12 * centred.max()
    assert np.abs(shares @ solution.geometry.embedding.dense()).max() > 1e-3 * centred.max()


@pytest.mark.parametrize(("gamma", "cosine"), [(0.5, -0.02), (1.0, -0.01), (1.5, -0.01)])
def test_the_limit_of_free_features_has_majorities_apart_where_nonnegative_ones_close_up(gamma, cosine):
    assert predict(Problem(STEP, cdt(STEP, gamma=gamma))).geometry.embedding.cosine(0, 1) == pytest.approx(
        cosine, abs=0.005
    )


@pytest.mark.parametrize(
    ("loss", "gamma", "distance"),
    [(cdt, 0.0, 0.025), (cdt, 0.5, 0.012), (cdt, 1.5, 0.002), (cdt, -1.5, 0.07), (ldt, -1.5, 0.12), (ldt, 1.0, 0.038)],
)
def test_projected_embeddings_of_both_models_are_about_the_same_for_class_scales_of_positive_exponent(
    loss, gamma, distance
):
    free, nonnegative = (
        in_measured_frame(predict(Problem(STEP, loss(STEP, gamma=gamma), features=features)))
        for features in ("free", "nonnegative")
    )
    assert compare(free, nonnegative).embedding == pytest.approx(distance, abs=0.002)
    assert compare(free, nonnegative).cross < 1e-7


@pytest.mark.parametrize(("ridge", "cosine"), [(1e-3, 0.253), (0.1, 0.257)])
def test_with_a_free_bias_the_largest_class_has_no_embedding_and_the_others_are_not_orthogonal(ridge, cosine):
    """Plain cross-entropy; no closed form is known."""
    counts, k, d = torch.tensor([100.0, 10.0, 10.0, 10.0], dtype=torch.float64), 4, 6

    def objective(x):
        point = torch.tensor(x, requires_grad=True)
        w, h, b = point[: k * d].reshape(k, d), point[k * d : 2 * k * d].reshape(k, d), point[2 * k * d :]
        logits = h @ w.T + b
        losses = counts * (torch.logsumexp(logits, 1) - logits.diagonal())
        value = losses.sum() + ridge / 2 * ((w**2).sum() + (counts[:, None] * h**2).sum())
        (gradient,) = torch.autograd.grad(value, point)
        return value.item(), gradient.numpy()

    bounds = [(None, None)] * (k * d) + [(0, None)] * (k * d) + [(None, None)] * k
    options = {"maxiter": 20_000, "maxfun": 100_000, "ftol": 1e-16, "gtol": 1e-10, "maxcor": 50}
    starts = (np.append(np.abs(np.random.default_rng(seed).normal(size=2 * k * d)), np.zeros(k)) for seed in range(3))
    found = (minimize(objective, x, jac=True, method="L-BFGS-B", bounds=bounds, options=options) for x in starts)
    h = min(found, key=lambda result: result.fun).x[k * d : 2 * k * d].reshape(k, d)
    inner = h @ h.T
    assert inner[0, 0] < 1e-10
    assert inner[1, 2] / inner[1, 1] == pytest.approx(cosine, abs=1e-3)
    found = predict(Problem([100, 10, 10, 10], ridge=ridge, bias=True, features="nonnegative"))
    assert found.geometry.embedding.entry(0, 0) == 0
    assert found.geometry.embedding.cosine(1, 2) == pytest.approx(cosine, abs=1e-3)
