"""The limit with smoothed labels: least nuclear norm among the logits of smallest loss."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from implicit_geometry import ClassCounts, InputError, Parameterization, Problem, cdt, ldam, logit_adjusted, predict, vs
from implicit_geometry.theory.limit import smoothed
from oracles import factor_logits
from smoothed_oracles import dense_logits, label_entropy, smoothed_loss
from strategies import class_counts

STEP = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)


def random_problem(seed, *, bias=False, ridge=0.0, twins=False, largest=2.3, spread=0.5):
    draw = np.random.default_rng(seed)
    k = int(draw.integers(2, 7))
    counts = np.round(10 ** draw.uniform(0, largest, k)).astype(int)
    vectors = {
        "weight": np.exp(draw.normal(size=k) * spread),
        "shift": draw.normal(size=k),
        "class_scale": np.exp(draw.normal(size=k) * spread),
        "label_scale": np.exp(draw.normal(size=k) * spread),
        "margin": draw.uniform(0, 1, k),
    }
    repeats = 2 if twins else 1
    loss = Parameterization(**{name: np.repeat(vector, repeats) for name, vector in vectors.items()})
    smoothing = float(draw.uniform(0.01, 0.6))
    return Problem(np.repeat(counts, repeats), loss, ridge=ridge, bias=bias, label_smoothing=smoothing)


def largest_difference(solution, dense):
    blocks = zip(("classifier", "embedding", "cross"), dense, strict=True)
    return max(
        np.abs(getattr(solution.geometry, name).dense() - block).max() / np.abs(block).max() for name, block in blocks
    )


@pytest.mark.parametrize("twins", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_no_logits_have_a_smaller_loss_and_torch_agrees(seed, bias, twins):
    problem = random_problem(seed, bias=bias, twins=twins)
    solution = predict(problem)
    logits = solution.geometry.cross.dense() + (solution.bias[:, None] if bias else 0.0)
    rows = torch.tensor(logits.T.copy(), requires_grad=True)
    loss = smoothed_loss(problem, rows)
    (gradient,) = torch.autograd.grad(loss, rows)
    assert gradient.abs().max() < 1e-10 * problem.counts.values.max()
    assert loss.item() == pytest.approx(label_entropy(problem), rel=1e-12)


@pytest.mark.parametrize("twins", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_the_blocks_are_those_of_the_dense_logits(seed, bias, twins):
    problem = random_problem(seed, bias=bias, twins=twins)
    solution = predict(problem)
    assert largest_difference(solution, factor_logits(dense_logits(problem), problem.counts.values)) < 1e-12
    nuclear_norm = np.linalg.svd(dense_logits(problem), compute_uv=False).sum()
    assert solution.certificate.dual <= nuclear_norm * (1 + 1e-14)
    assert nuclear_norm * (1 - 1e-14) <= solution.certificate.primal
    assert solution.certificate.relative_gap < 1e-11


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_no_other_logits_of_smallest_loss_are_shorter(seed, bias):
    """X + v a^T (and + c sqrt(n)^T with a free bias) have the same loss."""
    problem = random_problem(seed, bias=bias)
    logits, draw = dense_logits(problem), np.random.default_rng(seed)
    shortest = np.linalg.svd(logits, compute_uv=False).sum()
    for size in (1e-4, 1e-2, 1.0):
        other = logits + size * np.outer(1 / problem.parameterization.class_scale, draw.normal(size=logits.shape[0]))
        if bias:
            other = other + size * np.outer(draw.normal(size=logits.shape[0]), np.sqrt(problem.counts.values))
        assert np.linalg.svd(other, compute_uv=False).sum() >= shortest * (1 - 1e-14)


@settings(deadline=None, max_examples=40)
@given(class_counts(), st.floats(0.01, 0.9), st.floats(-1, 1))
def test_without_shift_the_geometry_is_that_of_hard_labels_times_the_log_odds(counts, smoothing, gamma):
    from implicit_geometry import ldt

    loss = ldt(counts, gamma=gamma)
    hard = predict(Problem(counts, loss)).geometry
    soft = predict(Problem(counts, loss, label_smoothing=smoothing)).geometry
    k = counts.num_classes
    odds = np.log((1 - smoothing + smoothing / k) / (smoothing / k))
    for name in ("classifier", "embedding", "cross"):
        wanted = odds * getattr(hard, name).dense()
        np.testing.assert_allclose(getattr(soft, name).dense(), wanted, atol=1e-12 * np.abs(wanted).max())


def test_a_shift_matters_with_smoothed_labels_and_a_free_bias_takes_it_over():
    plain, shifted = (predict(Problem(STEP, loss, label_smoothing=0.1)) for loss in (None, logit_adjusted(STEP)))
    assert abs(plain.geometry.classifier.cosine(0, 9) - shifted.geometry.classifier.cosine(0, 9)) > 0.05
    biased = [predict(Problem(STEP, loss, bias=True, label_smoothing=0.1)) for loss in (None, logit_adjusted(STEP))]
    np.testing.assert_allclose(
        biased[0].geometry.classifier.dense(), biased[1].geometry.classifier.dense(), atol=1e-12 * 1e3
    )
    difference = biased[1].bias - biased[0].bias
    wanted = -logit_adjusted(STEP).shift
    np.testing.assert_allclose(difference, wanted - wanted.mean(), atol=1e-12)


def test_a_bias_with_a_ridge_of_its_own_stays_at_zero():
    free, none = (
        predict(Problem(STEP, vs(STEP, gamma=0.2), label_smoothing=0.1, **head))
        for head in ({"bias": True, "bias_ridge": 1.0}, {})
    )
    assert not free.bias.any()
    np.testing.assert_array_equal(free.geometry.classifier.dense(), none.geometry.classifier.dense())


# Many kinds of classes


@pytest.mark.parametrize(("largest", "spread"), [(1, 0.3), (3, 0.3), (6, 0.6)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_the_rational_rule_gives_what_the_dense_decomposition_gives(monkeypatch, seed, bias, largest, spread):
    problem = random_problem(seed, bias=bias, twins=seed % 2 == 0, largest=largest, spread=spread)
    monkeypatch.setattr(smoothed, "FEW", 0)
    solution = predict(problem)
    assert largest_difference(solution, factor_logits(dense_logits(problem), problem.counts.values)) < 1e-11
    nuclear_norm = np.linalg.svd(dense_logits(problem), compute_uv=False).sum()
    assert solution.certificate.dual <= nuclear_norm <= solution.certificate.primal
    assert solution.certificate.relative_gap < 1e-10


def test_a_zipf_profile_of_many_kinds_agrees_with_its_dense_decomposition():
    counts = ClassCounts.zipf(num_classes=700, num_samples=1_000_000)
    problem = Problem(counts, vs(counts, gamma=0.2, tau=1.0), label_smoothing=0.1)
    solution = predict(problem)
    assert solution.geometry.classifier.diagonal.size > smoothed.FEW
    assert largest_difference(solution, factor_logits(dense_logits(problem), counts.values)) < 1e-12


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing must be below 1"),
        ({"label_smoothing": -0.1}, "label_smoothing must be a finite number"),
        ({"label_smoothing": 5e-324}, "label_smoothing must be 0 or at least 1e-100"),
        ({"label_smoothing": float("nan")}, "label_smoothing must be a finite number"),
        ({"label_smoothing": "0.1"}, "label_smoothing must be a number"),
    ],
)
def test_a_smoothing_that_is_none_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        Problem([50, 5], **given)


def test_margins_that_outweigh_the_labels_are_refused():
    with pytest.raises(InputError, match=r"margin must be above -0\.9163"):
        predict(Problem([50, 5], Parameterization(margin=[0.0, -1.0]), label_smoothing=0.8 * 5 / 7))
    predict(Problem(STEP, ldam(STEP), label_smoothing=0.8))


def test_methods_of_hard_labels_refuse_smoothed_ones():
    from implicit_geometry.solvers.factored import solve_factored
    from implicit_geometry.solvers.margin import solve_margin
    from implicit_geometry.theory.limit.plain import limit_solution

    for solve, ridge in ((solve_margin, 0.0), (solve_factored, 0.1), (limit_solution, 0.0)):
        with pytest.raises(InputError, match="label_smoothing must be 0 for"):
            solve(Problem([50, 5], ridge=ridge, label_smoothing=0.1))


@pytest.mark.parametrize(("ratio", "cosine"), [(2, 0.10), (10, 0.52), (100, 0.78)])
def test_with_a_shift_mean_logits_point_the_same_way_so_that_nonnegative_features_are_not_orthogonal(ratio, cosine):
    counts = ClassCounts.step(num_classes=10, imbalance_ratio=ratio, max_count=100)

    def largest_cosine(problem):
        columns = predict(problem).geometry.cross.dense()
        columns = columns / np.linalg.norm(columns, axis=0)
        return (columns.T @ columns)[~np.eye(10, dtype=bool)].max()

    shifted = Problem(counts, logit_adjusted(counts, tau=1.0), label_smoothing=0.1)
    assert largest_cosine(shifted) == pytest.approx(cosine, abs=0.005)
    assert largest_cosine(Problem(counts, cdt(counts, gamma=0.5), label_smoothing=0.1)) < 0
    nonnegative = predict(replace(shifted, features="nonnegative")).geometry
    pairs = (0, 1), (0, 9), (8, 9)
    assert max(nonnegative.embedding.cosine(*pair) for pair in pairs) > 0.01
    wanted = predict(shifted).geometry.cross.dense()
    np.testing.assert_allclose(nonnegative.cross.dense(), wanted, atol=1e-5 * np.abs(wanted).max())
