"""Labels with any distribution per class, k x k: torch's loss of probability targets, and the limit they lead to."""

from dataclasses import replace

import mpmath
import numpy as np
import pytest
import torch

from implicit_geometry import (
    InputError,
    Parameterization,
    Problem,
    collapse_thresholds,
    effective_ridge,
    predict,
    ridge_path,
)
from implicit_geometry.certificate import Status
from smoothed_oracles import label_entropy, minimise_smoothed, smoothed_loss

HEADS = {"no bias": {}, "free bias": {"bias": True}, "bias with a ridge": {"bias": True, "bias_ridge": 0.05}}
NOISY = [[0.8, 0.15, 0.05], [0.1, 0.6, 0.3], [0.02, 0.08, 0.9]]


def random_problem(seed, *, ridge=0.0, **given):
    """Random labels, not always most on the class itself, with all five vectors."""
    draw = np.random.default_rng(seed)
    k = int(draw.integers(2, 7))
    loss = Parameterization(
        weight=np.exp(draw.normal(size=k) * 0.4),
        shift=draw.normal(size=k),
        class_scale=np.exp(draw.normal(size=k) * 0.4),
        label_scale=np.exp(draw.normal(size=k) * 0.4),
        margin=draw.normal(size=k) * 0.3,
    )
    share = draw.uniform(0.2, 0.9)
    labels = share * np.eye(k) + (1 - share) * draw.dirichlet(np.ones(k) * 2, k)
    return Problem(draw.integers(1, 100, k), loss, ridge=ridge, label_distribution=labels, **given)


def smoothed_as_a_matrix(problem):
    k, eps = problem.num_classes, problem.label_smoothing
    return replace(problem, label_smoothing=0.0, label_distribution=eps / k + (1 - eps) * np.eye(k))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_the_limit_has_the_smallest_loss_and_among_its_logits_the_least_nuclear_norm(seed, bias):
    problem = random_problem(seed, bias=bias)
    solution, loss = predict(problem), problem.parameterization
    logits = solution.geometry.cross.dense()
    rows = torch.tensor((logits + (solution.bias[:, None] if bias else 0.0)).T.copy())
    assert smoothed_loss(problem, rows).item() == pytest.approx(label_entropy(problem), rel=1e-12)
    scaled = logits * np.sqrt(problem.counts.values)
    draw = np.random.default_rng(seed)
    for _ in range(20):  # the same loss: a multiple of 1 / class_scale per column, and a bias
        other = scaled + np.outer(1 / loss.class_scale, draw.normal(size=problem.num_classes))
        if bias:
            other += np.outer(draw.normal(size=problem.num_classes), np.sqrt(problem.counts.values))
        assert np.linalg.norm(other, "nuc") >= solution.certificate.dual
    assert solution.certificate.primal == pytest.approx(np.linalg.norm(scaled, "nuc"), rel=1e-10)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("seed", range(6))
def test_no_head_and_features_have_a_smaller_objective(seed, head):
    problem = random_problem(seed, ridge=float(10 ** np.random.default_rng(seed).uniform(-1.5, 0.7)), **HEADS[head])
    solution, minimum = predict(problem), minimise_smoothed(problem)
    certificate = solution.certificate
    assert certificate.status in (Status.OPTIMAL, Status.COLLAPSED)
    assert certificate.dual <= minimum.objective * (1 + 1e-9)
    assert certificate.primal == pytest.approx(minimum.objective, rel=1e-7)
    for name in ("classifier", "embedding", "cross"):
        wanted = getattr(minimum, name)
        if minimum.classifier.max() > 1e-6:
            block = getattr(solution.geometry, name).dense()
            np.testing.assert_allclose(block, wanted, atol=2e-3 * np.abs(wanted).max())


@pytest.mark.parametrize("head", ["no bias", "free bias"])
def test_the_limit_is_reached_linearly_in_the_ridge(head):
    limit = predict(random_problem(4, **HEADS[head]))

    def distance(ridge):
        near = predict(replace(limit.problem, ridge=ridge)).geometry
        return np.abs(near.classifier.dense() - limit.geometry.classifier.dense()).max()

    assert 5 < distance(1e-3) / distance(1e-4) < 20


@pytest.mark.parametrize("features", ["free", "nonnegative"])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_the_matrix_of_smoothed_labels_is_label_smoothing(ridge, head, features):
    loss = Parameterization(weight=[1.0, 2.0, 0.5], shift=[0.0, 0.2, -0.1], class_scale=[1.0, 0.8, 1.2])
    if features == "nonnegative" and not ridge:
        loss = Parameterization(class_scale=[1.0, 0.8, 1.2])
    problem = Problem([60, 20, 5], loss, ridge=ridge, label_smoothing=0.1, features=features, **HEADS[head])
    one, other = predict(problem), predict(smoothed_as_a_matrix(problem))
    for name in ("classifier", "embedding", "cross"):
        wanted = getattr(one.geometry, name).dense()
        np.testing.assert_allclose(getattr(other.geometry, name).dense(), wanted, atol=1e-5 * np.abs(wanted).max())
    if problem.bias:
        np.testing.assert_allclose(other.bias, one.bias, atol=1e-6)


def test_nonnegative_features_are_descended_where_the_closed_form_ends():
    problem = Problem([60, 20, 5], ridge=0.3, label_distribution=NOISY, features="nonnegative")
    free, found = predict(replace(problem, features="free")), predict(problem)
    assert found.certificate.status is Status.OPTIMAL
    assert found.certificate.primal > free.certificate.dual
    assert found.geometry.embedding.dense().min() >= 0


def test_a_ridge_is_found_again_from_the_geometry_and_along_a_path():
    problem = Problem([60, 20, 5], ridge=0.3, label_distribution=NOISY)
    solution = predict(problem)
    assert effective_ridge(solution.geometry, problem).ridge == pytest.approx(0.3, rel=1e-4)
    on_path = ridge_path(problem, None, [0.1, 0.3])[1].geometry.classifier.dense()
    np.testing.assert_allclose(on_path, solution.geometry.classifier.dense(), rtol=1e-6)


def test_the_ridge_is_found_again_where_every_one_of_many_classes_is_a_kind():
    counts = np.arange(200, 151, -1)
    problem = Problem(counts, ridge=0.3, label_distribution=0.8 * np.eye(49) + 0.2 / 49)
    found = effective_ridge(predict(problem).geometry, problem)
    assert found.ridge == pytest.approx(0.3, rel=1e-2)


def exact_objective(problem, columns):
    """Of two classes whose logits are (t, -t), t one number per label, less the entropy of the labels, in 40 digits."""
    with mpmath.workdps(40):
        total = problem.ridge * mpmath.sqrt(2 * problem.counts.values[0]) * mpmath.norm(columns)
        for count, row, t in zip(problem.counts.values, problem.label_distribution, columns, strict=True):
            log_sum = mpmath.log(mpmath.exp(t) + mpmath.exp(-t))
            for share, logit in zip(row, (t, -t), strict=True):
                total += int(count) * mpmath.mpf(float(share)) * (log_sum - logit + mpmath.log(float(share)))
        return float(total)


@pytest.mark.parametrize("least", [1e-3, 1e-7, 1e-11, 1e-15])
def test_labels_that_hardly_stand_on_their_own_class_lose_no_digits(least):
    problem = Problem([1882, 1882], ridge=1.4e-3, label_distribution=[[least, 1 - least], [0.9997, 0.0003]])
    solution = predict(problem)
    exact = exact_objective(problem, [mpmath.mpf(float(t)) for t in solution.geometry.cross.dense()[0]])
    certificate = solution.certificate
    assert certificate.status is Status.OPTIMAL
    assert certificate.primal == pytest.approx(exact, rel=1e-11)
    assert certificate.dual <= exact


def test_rows_are_divided_by_their_sums_and_kept_read_only():
    problem = Problem([6, 2], label_distribution=np.array([[0.9, 0.1], [0.3, 0.7]], dtype=np.float32))
    np.testing.assert_allclose(problem.label_distribution.sum(axis=1), 1, rtol=1e-15)
    assert not problem.label_distribution.flags.writeable
    assert problem == Problem([6, 2], label_distribution=problem.label_distribution)
    assert problem != Problem([6, 2])
    assert "label_distribution given" in repr(problem)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"label_distribution": [[1.0, 0.0], [0.1, 0.9]]}, "at least 1e-100 everywhere.*0 for class 1 in row 0"),
        ({"label_distribution": [[0.9, 0.1], [float("nan"), 0.9]]}, "nan for class 0 in row 1"),
        ({"label_distribution": [[0.9, 0.2], [0.1, 0.9]]}, "rows that sum to 1, got 1.1 in row 0"),
        ({"label_distribution": [0.5, 0.5]}, r"shape \(2, 2\)"),
        ({"label_distribution": "uniform"}, "label_distribution must be numbers"),
        ({"label_distribution": [[0.9, 0.1], [0.1, 0.9]], "label_smoothing": 0.1}, "0 beside a label_distribution"),
    ],
)
def test_a_wrong_distribution_is_one_clear_error(given, message):
    with pytest.raises(InputError, match=message):
        Problem([6, 2], **given)


def test_what_knows_no_distributions_refuses_them_by_name():
    problem = Problem([60, 20, 5], label_distribution=NOISY)
    with pytest.raises(InputError, match="label_distribution must be left out for collapse thresholds"):
        collapse_thresholds(problem)
