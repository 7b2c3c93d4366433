"""Embeddings of another price than one per sample, against the objective minimised on heads and features."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from implicit_geometry import (
    ClassCounts,
    Geometry,
    InputError,
    Parameterization,
    Problem,
    cdt,
    design,
    effective_counts,
    ldt,
    predict,
    ridge_path,
    simplex_etf,
)
from implicit_geometry.certificate import Status
from implicit_geometry.solvers.factored import solve_factored
from implicit_geometry.solvers.margin import solve_margin
from oracles import factor_logits, limit_logits
from strategies import class_counts
from theory.limit.test_smoothed import random_problem

STEP = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)


def minimum(problem):
    """The smallest of loss + ridge / 2 (|W|^2 + sum_c m_c |h_c|^2) + bias_ridge / 2 |b|^2, and W W^T there."""
    k, loss = problem.num_classes, problem.parameterization
    weight, shift, scale, label_scale, margin, cost = (
        torch.tensor(np.array(vector))
        for vector in (
            loss.weight,
            loss.shift,
            loss.class_scale,
            loss.label_scale,
            loss.margin,
            problem.embedding_cost,
        )
    )
    counts = torch.tensor(problem.counts.values.astype(float))

    def objective(x):
        point = torch.tensor(x, requires_grad=True)
        w, h, b = point[: k * k].reshape(k, k), point[k * k : -k].reshape(k, k), point[-k:] * problem.bias
        logits = label_scale[:, None] * (h @ w.T + b) * scale + shift - torch.diag(margin)
        each = F.cross_entropy(logits, torch.arange(k), reduction="none")
        value = (counts * weight * each).sum()
        value = value + problem.ridge / 2 * ((w**2).sum() + (cost[:, None] * h**2).sum())
        value = value + problem.bias_ridge / 2 * (b**2).sum()
        (gradient,) = torch.autograd.grad(value, point)
        return value.item(), gradient.numpy()

    options = {"maxiter": 20_000, "maxfun": 100_000, "ftol": 1e-16, "gtol": 1e-11, "maxcor": 50}
    start = np.random.default_rng(0).normal(size=2 * k * k + k)
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    w = found.x[: k * k].reshape(k, k)
    return found.fun, w @ w.T


def hard(seed, **given):
    problem = random_problem(seed)
    draw = np.random.default_rng(seed)
    cost = np.exp(draw.normal(size=problem.num_classes) * 2)
    return replace(problem, label_smoothing=0.0, embedding_cost=cost, **given)


@pytest.mark.parametrize("head", [{}, {"bias": True}, {"bias": True, "bias_ridge": 0.1}])
@pytest.mark.parametrize("seed", range(5))
def test_no_head_and_features_have_a_smaller_objective(seed, head):
    problem = hard(seed, ridge=float(10 ** np.random.default_rng(seed).uniform(-1.5, 0.5)), **head)
    solution = predict(problem)
    objective, classifier = minimum(problem)
    assert solution.certificate.status is Status.OPTIMAL
    assert solution.certificate.primal == pytest.approx(objective, rel=1e-6)
    wanted = np.abs(classifier).max()
    assert np.abs(solution.geometry.classifier.dense() - classifier).max() < 2e-2 * wanted


@pytest.mark.parametrize("seed", range(5))
def test_the_independent_solvers_agree(seed):
    problem = hard(seed, ridge=0.1)
    for ours, theirs in (
        (predict(problem), solve_factored(problem)),
        (predict(replace(problem, ridge=0.0)), solve_margin(replace(problem, ridge=0.0))),
    ):
        wanted = theirs.geometry.classifier.dense()
        assert np.abs(ours.geometry.classifier.dense() - wanted).max() < 1e-3 * np.abs(wanted).max()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_limit_is_that_of_the_prices_in_place_of_the_counts(bias, smoothing):
    """Whole-number prices, so that they can be counts."""
    counts, prices = [500, 100, 20, 5], [3, 7, 1, 2]
    loss = cdt(counts, gamma=0.2)
    paid = predict(Problem(counts, loss, bias=bias, label_smoothing=smoothing, embedding_cost=prices))
    counted = predict(Problem(prices, loss, bias=bias, label_smoothing=smoothing))
    for block in ("classifier", "embedding", "cross"):
        wanted = getattr(counted.geometry, block).dense()
        np.testing.assert_allclose(getattr(paid.geometry, block).dense(), wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("head", [{}, {"bias": True}])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_at_a_ridge_prices_are_counts_with_weights(head, smoothing):
    """m in place of n, n / m as a weight of the samples: that of smoothed labels is on all their terms alike."""
    counts, prices = np.array([50, 50, 8, 8]), np.array([10, 10, 20, 20])
    paid = predict(Problem(counts, ridge=0.3, label_smoothing=smoothing, embedding_cost=prices, **head))
    if smoothing == 0:
        counted = predict(Problem(prices, Parameterization(weight=counts / prices), ridge=0.3, **head))
        assert paid.certificate.primal == pytest.approx(counted.certificate.primal, rel=1e-7)
        wanted = counted.geometry.classifier.dense()
        np.testing.assert_allclose(paid.geometry.classifier.dense(), wanted, atol=1e-5 * wanted.max())
    scaled = predict(Problem(counts * 10, ridge=3.0, label_smoothing=smoothing, embedding_cost=prices, **head))
    np.testing.assert_allclose(
        scaled.geometry.classifier.dense(), paid.geometry.classifier.dense(), atol=1e-4 * prices.max()
    )


@settings(deadline=None, max_examples=30)
@given(class_counts(min_classes=3), st.floats(-0.5, 1.5))
def test_label_scales_of_half_the_count_exponent_make_an_etf(counts, exponent):
    found = design(counts, target="etf", count_exponent=exponent)
    if counts.imbalance_ratio > 1:
        assert found.exponent == exponent / 2
    problem = Problem(counts, found.parameterization, count_exponent=exponent)
    gram = predict(problem).geometry.classifier.dense()
    k = counts.num_classes
    etf = np.eye(k) - 1 / k
    np.testing.assert_allclose(gram / np.linalg.norm(gram), etf / np.linalg.norm(etf), atol=1e-12)
    prices = counts.values.astype(float) ** exponent
    logits = limit_logits(prices, np.ones(k), found.parameterization.label_scale)
    np.testing.assert_allclose(gram, factor_logits(logits, prices).classifier, atol=1e-11 * gram.max())


def test_at_one_price_per_class_plain_cross_entropy_leads_to_an_etf_whatever_the_counts_and_the_head():
    for bias in (False, True):
        gram = predict(Problem(STEP, count_exponent=0.0, bias=bias)).geometry.classifier
        assert gram.cosine(0, 9) == pytest.approx(-1 / 9, abs=1e-12)
        found = design(STEP, target="etf", family="cdt", count_exponent=0.0, bias=bias)
        assert (found.exact, found.exponent) == (True, 0.0)


def test_alignment_and_collapse_are_designed_for_the_price_of_the_embeddings():
    aligned = design(STEP, target="alignment", family="cdt", count_exponent=0.6)
    assert aligned.exponent == pytest.approx(0.3)
    problem = Problem(STEP, aligned.parameterization, count_exponent=0.6)
    np.testing.assert_allclose(predict(problem).geometry.alignment(), 1.0, atol=1e-12)
    kept = design(STEP, target="no_collapse", weight_decay=0.015, count_exponent=0.6)
    assert kept.reached >= 1
    assert kept.exponent <= 0


def test_a_path_pays_the_same_prices():
    problem = Problem(STEP, ldt(STEP, gamma=0.25), count_exponent=0.5)
    for solution, ridge in zip(ridge_path(problem, None, [0.1, 1.0]), [0.1, 1.0], strict=True):
        assert solution.problem == problem.at_ridge(ridge)
        assert solution.certificate.primal == pytest.approx(
            predict(problem.at_ridge(ridge)).certificate.primal, rel=1e-8
        )


def test_problems_of_other_prices_are_others():
    plain = Problem([50, 5])
    assert plain == Problem([50, 5], count_exponent=1.0) == Problem([50, 5], embedding_cost=[50, 5])
    assert plain != Problem([50, 5], count_exponent=0.9)
    assert hash(plain) == hash(Problem([50, 5], embedding_cost=[50.0, 5.0]))
    assert "embedding_cost" in repr(Problem([50, 5], count_exponent=0.5))
    assert "embedding_cost" not in repr(plain)
    assert replace(Problem([50, 5], count_exponent=0.5), ridge=1.0) == Problem([50, 5], ridge=1.0, count_exponent=0.5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count_exponent": float("nan")}, "count_exponent must be a finite number"),
        ({"count_exponent": float("inf")}, "count_exponent must be a finite number"),
        ({"count_exponent": 100.0}, "count_exponent must keep the prices within"),
        ({"count_exponent": "1"}, "count_exponent must be a number"),
        ({"embedding_cost": [1.0, 0.0]}, "embedding_cost must be finite and positive"),
        ({"embedding_cost": [1.0, float("nan")]}, "embedding_cost must be finite and positive"),
        ({"embedding_cost": [1.0]}, "embedding_cost must have 2 entries"),
        ({"embedding_cost": np.zeros(0)}, "embedding_cost must have 2 entries"),
        ({"embedding_cost": [1.0, 1e200]}, "embedding_cost must keep the prices within"),
        ({"embedding_cost": [1.0, 2.0], "count_exponent": 0.5}, "count_exponent must be left out"),
    ],
)
def test_prices_that_are_none_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        Problem([50, 5], **given)


# The way back: from a measured geometry to its prices


@pytest.mark.parametrize("counts", [STEP, ClassCounts([500, 200, 90, 30, 8])])
@pytest.mark.parametrize("labels", [{}, {"label_smoothing": 0.1}])
@pytest.mark.parametrize("model", [{}, {"bias": True}, {"features": "nonnegative"}])
@pytest.mark.parametrize("exponent", [-0.2, 0.7, 1.0])
def test_the_exponent_of_a_prediction_is_recovered(counts, labels, model, exponent):
    asked = Problem(counts, ldt(counts, gamma=0.2), **labels, **model)
    truth = Problem(counts, ldt(counts, gamma=0.2), count_exponent=exponent, **labels, **model)
    in_limit = effective_counts(predict(truth).geometry, asked, fit_ridge=False)
    assert in_limit.count_exponent == pytest.approx(exponent, abs=1e-5)
    assert in_limit.ridge == 0
    assert in_limit.comparison.embedding < 1e-5
    at_ridge = effective_counts(predict(truth.at_ridge(0.2)).geometry, asked)
    assert at_ridge.count_exponent == pytest.approx(exponent, abs=1e-3)
    assert at_ridge.ridge == pytest.approx(0.2, rel=1e-2)
    assert at_ridge.solution.problem.label_smoothing == asked.label_smoothing


def noisy(geometry, draw, size):
    def rattled(gram):
        left = np.linalg.cholesky(gram.dense() + 1e-9 * np.eye(gram.num_classes))
        return left * (1 + size * draw.standard_normal(left.shape))

    return Geometry.from_factors(rattled(geometry.classifier), rattled(geometry.embedding))


def test_the_interval_over_seeds_is_students_and_that_over_classes_holds_the_truth_about_as_often_as_it_says():
    draw = np.random.default_rng(0)
    problem = Problem(STEP, label_smoothing=0.1)
    truth = predict(replace(problem, embedding_cost=STEP.values**0.7)).geometry
    runs = [noisy(truth, draw, 0.05) for _ in range(20)]
    alone = [effective_counts(run, problem, fit_ridge=False) for run in runs]
    exponents = np.array([found.count_exponent for found in alone])
    together = effective_counts(runs, problem, fit_ridge=False)
    assert together.count_exponent == pytest.approx(exponents.mean())
    half = 2.093 * exponents.std(ddof=1) / np.sqrt(20)  # t_0.975 with 19 degrees of freedom
    assert together.interval == pytest.approx((exponents.mean() - half, exponents.mean() + half), abs=1e-4)
    covered = sum(found.interval[0] <= 0.7 <= found.interval[1] for found in alone)
    assert covered >= 15
    widths = [found.interval[1] - found.interval[0] for found in alone]
    assert np.median(widths) < 8 * exponents.std(ddof=1)


@pytest.mark.parametrize(
    ("measured", "problem", "message"),
    [
        (simplex_etf(3), Problem([50, 5]), "measured must have the 2 classes"),
        (simplex_etf(3), Problem([5, 5, 5]), "counts must be imbalanced"),
        ([], Problem([50, 20, 5]), "measured must hold at least one geometry"),
        ([simplex_etf(3), 1], Problem([50, 20, 5]), "measured must be"),
        (simplex_etf(2), Problem([50, 5]), "problem must have 3 to 2,000 classes"),
        (simplex_etf(2), [50, 5], "problem must be"),
        (simplex_etf(3000), Problem(ClassCounts.zipf(num_classes=3000, num_samples=10**6)), "3 to 2,000 classes"),
    ],
)
def test_what_cannot_be_fitted_is_refused(measured, problem, message):
    with pytest.raises(InputError, match=message):
        effective_counts(measured, problem)
