"""The class probabilities that logits stand for: recovered from minimisers of the loss, and by dense linear algebra."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

import implicit_geometry as ig
from implicit_geometry.correction import link
from implicit_geometry.nn import vs_loss
from implicit_geometry.parameterization import NEUTRAL, Parameterization

BY_LABEL = ("label_scale", "margin")


def draw_loss(k: int, names: tuple[str, ...], seed: int) -> Parameterization:
    rng = np.random.default_rng(seed)
    drawn = {
        "weight": rng.uniform(0.3, 2, k),
        "shift": rng.normal(size=k),
        "class_scale": rng.uniform(0.5, 2, k),
        "label_scale": rng.choice([0.5, 0.8, 1.7], k),
        "margin": rng.uniform(0, 1.5, k),
    }
    return Parameterization(**{name: drawn[name] if name in names else np.full(k, NEUTRAL[name]) for name in NEUTRAL})


def minimiser(loss: Parameterization, probabilities: np.ndarray, label_smoothing: float) -> np.ndarray:
    """Logits with the least expected loss where the labels have these probabilities, by torch's own descent."""
    k = loss.num_classes
    vectors = {name: torch.tensor(getattr(loss, name)) for name in NEUTRAL}
    logits = torch.zeros(k, dtype=torch.float64, requires_grad=True)

    def expected() -> torch.Tensor:
        of_labels = vs_loss(
            logits.expand(k, k), torch.arange(k), reduction="none", label_smoothing=label_smoothing, **vectors
        )
        return torch.tensor(probabilities) @ of_labels

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = expected()
        value.backward()
        return value

    optimizer = torch.optim.LBFGS(
        [logits], max_iter=1000, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )
    for _ in range(4):
        optimizer.step(closure)
    (gradient,) = torch.autograd.grad(expected(), logits)
    assert gradient.abs().max() < 1e-6
    return logits.detach().numpy()


ALL = ("weight", "shift", "class_scale")
KINDS: dict[str, tuple[str, ...]] = {
    "affine": ALL,
    "label scales": (*ALL, "label_scale"),
    "margins": (*ALL, "margin"),
    "everything": (*ALL, *BY_LABEL),
}


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", KINDS)
@given(k=st.integers(2, 7), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=8)
def test_the_minimiser_of_the_loss_gives_back_the_probabilities(
    kind: str, label_smoothing: float, k: int, seed: int
) -> None:
    loss = draw_loss(k, KINDS[kind], seed)
    probabilities = np.random.default_rng(seed).dirichlet(np.full(k, 3.0))
    logits = minimiser(loss, probabilities, label_smoothing)
    correction = ig.logit_correction(range(1, k + 1), loss, "train", label_smoothing=label_smoothing)
    np.testing.assert_allclose(correction.probabilities(logits), probabilities, atol=1e-6)


@pytest.mark.parametrize(("name", "at_least"), [("label_scale", 0.2), ("margin", 0.12)])
def test_what_a_softmax_over_the_weights_makes_of_the_same_logits_is_far_off(name: str, at_least: float) -> None:
    worst = 0.0
    for seed in range(12):
        k = 2 + seed % 4
        rng = np.random.default_rng(seed)
        given = {"label_scale": rng.uniform(0.2, 3, k)} if name == "label_scale" else {"margin": rng.uniform(0, 3, k)}
        loss, probabilities = Parameterization(**given), rng.dirichlet(np.full(k, 3.0))
        logits = minimiser(loss, probabilities, 0.0)
        worst = max(worst, float(np.abs(softmax(logits) - probabilities).max()))
        found = ig.logit_correction(range(1, k + 1), loss, "train").probabilities(logits)
        np.testing.assert_allclose(found, probabilities, atol=1e-6)
    assert worst > at_least


def perron(loss: Parameterization, logits: np.ndarray) -> np.ndarray:
    """p proportional to u / (omega Delta), u the Perron vector of the softmax columns of all labels."""
    adjusted = loss.label_scale[:, None] * loss.class_scale * logits + loss.shift - np.diag(loss.margin)
    values, vectors = np.linalg.eig(softmax(adjusted, axis=1).T)
    u = np.abs(np.real(vectors[:, np.argmax(np.real(values))]))
    p = u / (loss.weight * loss.label_scale)
    return p / p.sum()


@given(k=st.integers(2, 9), seed=st.integers(0, 2**32 - 1), size=st.sampled_from([0.1, 1.0, 5.0]))
def test_probabilities_are_those_of_the_perron_vector(k: int, seed: int, size: float) -> None:
    loss = draw_loss(k, tuple(NEUTRAL), seed)
    logits = size * np.random.default_rng(seed).normal(size=(4, k))
    found = ig.logit_correction(range(1, k + 1), loss, "train").probabilities(logits)
    np.testing.assert_allclose(found, [perron(loss, row) for row in logits], rtol=1e-7, atol=1e-12)


@given(k=st.integers(2, 9), seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.5, 3.0]))
def test_ldam_has_a_closed_form(k: int, seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 1000, k)
    loss = ig.ldam(counts, max_margin=0.7, scale=scale)
    logits = rng.normal(size=(3, k))
    s = softmax(scale * logits, axis=1)
    expected = s * (1 - s * (1 - np.exp(-loss.margin)))
    found = ig.logit_correction(counts, loss, "train").probabilities(logits)
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), rtol=1e-12)


@given(seed=st.integers(0, 2**32 - 1), a=st.floats(0.1, 10), b=st.floats(-5, 5), eps=st.sampled_from([0.0, 0.2]))
def test_the_gauge_of_the_loss_changes_nothing(seed: int, a: float, b: float, eps: float) -> None:
    loss = draw_loss(5, tuple(NEUTRAL), seed)
    moved = Parameterization(
        weight=loss.weight,
        shift=loss.shift + b,
        class_scale=loss.class_scale * a,
        label_scale=loss.label_scale / a,
        margin=loss.margin,
    )
    logits = np.random.default_rng(seed).normal(size=(6, 5))
    first, second = (ig.logit_correction([5, 4, 3, 2, 1], one, label_smoothing=eps) for one in (loss, moved))
    np.testing.assert_allclose(second.probabilities(logits), first.probabilities(logits), rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("eps", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["label scales", "margins", "everything"])
def test_chunks_and_further_axes_change_nothing(kind: str, eps: float, monkeypatch: pytest.MonkeyPatch) -> None:
    correction = ig.logit_correction([5, 4, 3, 2], draw_loss(4, KINDS[kind], 0), label_smoothing=eps)
    logits = np.random.default_rng(0).normal(size=(7, 3, 4))
    whole = correction.apply(logits)
    monkeypatch.setattr(link, "_MOST_ENTRIES", 30)
    np.testing.assert_allclose(correction.apply(logits), whole, rtol=1e-12)
    np.testing.assert_allclose(correction.apply(np.moveaxis(logits, -1, 1), axis=1), np.moveaxis(whole, -1, 1))
    assert correction.apply(np.empty((0, 4))).shape == (0, 4)


@pytest.mark.parametrize("size", [50.0, 300.0, 5000.0])
@pytest.mark.parametrize("kind", KINDS)
def test_large_logits_give_finite_probabilities(kind: str, size: float) -> None:
    correction = ig.logit_correction([5, 4, 3, 2], draw_loss(4, KINDS[kind], 1))
    probabilities = correction.probabilities(size * np.random.default_rng(0).normal(size=(50, 4)))
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)


def test_undoing_the_smoothing_clips_at_zero() -> None:
    correction = ig.logit_correction([1, 1, 1], prior="train", label_smoothing=0.3)
    assert correction.probabilities([9.0, 0.0, 0.0]).tolist() == [1.0, 0.0, 0.0]
    smoothed = np.array([0.7, 0.2, 0.1])
    np.testing.assert_allclose(
        correction.probabilities(np.log(smoothed)), (smoothed - 0.1) / 0.7, rtol=1e-12, atol=1e-15
    )


def test_more_label_scales_than_can_be_undone_are_refused() -> None:
    loss = Parameterization(label_scale=np.linspace(1, 2, 2001))
    correction = ig.logit_correction(np.arange(1, 2002), loss)
    with pytest.raises(ig.InputError, match=r"^parameterization must have at most 2,000 different label scales"):
        correction.apply(np.zeros(2001))


class TestTorch:
    @pytest.mark.parametrize("eps", [0.0, 0.1])
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
    def test_a_tensor_gives_what_an_array_gives(self, kind: str, eps: float, dtype: torch.dtype) -> None:
        correction = ig.logit_correction([5, 4, 3, 2], draw_loss(4, KINDS[kind], 2), label_smoothing=eps)
        logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
        found = correction.probabilities(logits)
        expected = correction.probabilities(logits.double().numpy())
        assert found.dtype == torch.promote_types(dtype, torch.float32)
        tolerance = 1e-12 if dtype == torch.float64 else 1e-5
        np.testing.assert_allclose(found.numpy(), expected, rtol=tolerance, atol=tolerance)

    @pytest.mark.parametrize("kind", KINDS)
    def test_gradients_flow(self, kind: str) -> None:
        correction = ig.logit_correction([5, 4, 3, 2], draw_loss(4, KINDS[kind], 3))
        logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(correction.apply, logits)

    def test_whole_numbers_are_refused(self) -> None:
        with pytest.raises(ig.InputError, match=r"^logits must be floating-point scores, not sparse, got torch.int64"):
            ig.logit_correction([5, 4]).apply(torch.zeros(3, 2, dtype=torch.int64))


class TestAffine:
    """Section 16 of the theory, rule by rule."""

    counts = np.array([900, 90, 10])
    log_pi = np.log(counts / counts.sum())
    logits = np.random.default_rng(0).normal(size=(5, 3))

    def same(self, scores: np.ndarray, expected: np.ndarray) -> None:
        """Equal up to a constant of each sample."""
        np.testing.assert_allclose(scores - scores.mean(1, keepdims=True), expected - expected.mean(1, keepdims=True))

    @pytest.mark.parametrize(
        ("loss", "scores"),
        [
            (ig.ce(counts), lambda z, log_pi: z - log_pi),
            (ig.logit_adjusted(counts), lambda z, log_pi: z),
            (ig.weighted(counts), lambda z, log_pi: z),
            (ig.cdt(counts, 0.3), lambda z, log_pi: ig.cdt([900, 90, 10], 0.3).class_scale * z - log_pi),
            (ig.vs(counts, 0.3, 0.7), lambda z, log_pi: ig.vs([900, 90, 10], 0.3).class_scale * z - 0.3 * log_pi),
        ],
        ids=["ce", "logit_adjusted", "weighted", "cdt", "vs"],
    )
    def test_balanced(self, loss: Parameterization, scores: Any) -> None:
        correction = ig.logit_correction(self.counts, loss)
        assert correction.is_affine
        self.same(correction.apply(self.logits), scores(self.logits, self.log_pi))
        self.same(correction.scale * self.logits + correction.offset, scores(self.logits, self.log_pi))

    def test_the_training_prior_asks_plain_cross_entropy_for_nothing(self) -> None:
        np.testing.assert_array_equal(ig.logit_correction(self.counts, prior="train").apply(self.logits), self.logits)

    def test_any_prior(self) -> None:
        prior = np.array([0.2, 0.3, 0.5])
        found = ig.logit_correction(self.counts, prior=prior).probabilities(self.logits)
        expected = softmax(self.logits, axis=1) * prior / np.exp(self.log_pi)
        np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True))

    def test_a_class_that_does_not_occur_has_no_probability(self) -> None:
        found = ig.logit_correction(self.counts, prior=[0.5, 0.5, 0.0]).probabilities(self.logits)
        assert (found[:, 2] == 0).all()
        np.testing.assert_allclose(found.sum(1), 1)

    def test_the_prior_of_training_is_that_of_the_sampler(self) -> None:
        self.same(ig.logit_correction(self.counts, sampling="balanced").apply(self.logits), self.logits)
        shares = np.array([0.5, 0.3, 0.2])
        self.same(ig.logit_correction(self.counts, sampling=shares).apply(self.logits), self.logits - np.log(shares))


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"prior": [0.5, 0.6, 0.1]}, r"^prior must sum to 1, got a sum of 1.2"),
            ({"prior": [0.5, 0.5]}, r"^prior must have one share for each of the 3 classes, got 2"),
            ({"prior": [1.5, -0.5, 0.0]}, r"^prior must not be negative for any class, got -0.5 for class 1"),
            ({"prior": "uniform"}, r"^prior must be one of balanced, train, got 'uniform'"),
            ({"prior": [0.5, np.nan, 0.5]}, r"^prior must be finite for every class"),
            ({"sampling": [1.0, 0.0, 0.0]}, r"^sampling must be positive for every class, got 0 for class 1"),
            ({"sampling": "even"}, r"^sampling must be one of balanced, train"),
            ({"label_smoothing": 1.0}, r"^label_smoothing must be below 1"),
            ({"label_smoothing": -0.1}, r"^label_smoothing must be a finite number between 0 and 1"),
            ({"parameterization": ig.ce([5, 4])}, r"^parameterization must cover the 3 classes of counts, got 2"),
            ({"parameterization": "cdt"}, r"^parameterization must be a Parameterization"),
        ],
    )
    def test_of_a_correction(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(ig.InputError, match=words):
            ig.logit_correction([5, 4, 3], **options)

    def test_of_logits(self) -> None:
        correction = ig.logit_correction([5, 4, 3])
        with pytest.raises(ig.InputError, match=r"^logits must have 3 classes along axis -1, got shape \(2, 4\)"):
            correction.apply(np.zeros((2, 4)))
        with pytest.raises(ig.InputError, match=r"^axis must be one of the 2 axes of logits, got 2"):
            correction.apply(np.zeros((2, 3)), axis=2)
        with pytest.raises(ig.InputError, match=r"^logits must be numbers"):
            correction.apply([["a", "b", "c"]])

    def test_what_is_not_affine_has_no_scale_and_no_offset(self) -> None:
        correction = ig.logit_correction([5, 4, 3], ig.ldt([5, 4, 3], 0.5))
        for name in ("scale", "offset"):
            with pytest.raises(ig.InputError, match=rf"^{name} must be asked of an affine correction; use apply"):
                getattr(correction, name)
