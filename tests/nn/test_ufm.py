"""Training the unconstrained-features model: equal to plain autograd loops, and headed for what theory predicts."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import oracles
from implicit_geometry._validate import InputError
from implicit_geometry.comparison import compare
from implicit_geometry.counts import ClassCounts
from implicit_geometry.geometry import simplex_etf
from implicit_geometry.nn.ufm import train_ufm
from implicit_geometry.parameterization import NEUTRAL, Parameterization
from implicit_geometry.problem import Problem
from implicit_geometry.rules import cdt, ce, ldt, logit_adjusted, weighted
from implicit_geometry.theory.predict import predict

COUNTS = ClassCounts([4, 2, 1])
CE = ce(COUNTS)
MIXED = Parameterization(
    weight=[0.5, 1.0, 2.0],
    shift=[0.0, -1.0, 0.5],
    class_scale=[1.0, 0.5, 2.0],
    label_scale=[0.7, 1.0, 1.5],
    margin=[0.1, 0.2, 0.4],
)


def loop_loss(logits, labels, loss, smoothing=0.0):
    """The loss of every sample, by the formula at the head of ``parameterization.py``; of smoothed labels, torch's."""
    weight, shift, class_scale, label_scale, margin = (torch.tensor(getattr(loss, name)) for name in NEUTRAL)
    adjusted = label_scale[labels, None] * class_scale * logits + shift - margin[labels, None] * torch.eye(3)[labels]
    if smoothing:
        return F.cross_entropy(adjusted, labels, weight=weight, label_smoothing=smoothing, reduction="none")
    return weight[labels] * F.cross_entropy(adjusted, labels, reduction="none")


def initial_values(seed, num_samples, scale, width):
    generator = torch.Generator().manual_seed(seed)
    values = scale * torch.randn(3 + num_samples, width, dtype=torch.float64, generator=generator)
    return generator, values[:3].clone().requires_grad_(), values[3:].clone().requires_grad_()


def class_means(samples, labels):
    return np.stack([samples.detach().numpy()[labels.numpy() == c].mean(axis=0) for c in range(3)])


def train_by_loop(loss, seed, *, width, epochs, size, rate, ridge, scale, smoothing):
    """One run, one step at a time: autograd on the objective of the batch."""
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    generator, classifier, samples = initial_values(seed, 7, scale, width)
    order = torch.arange(7)
    for _ in range(epochs):
        order = order[torch.randperm(7, generator=generator)]
        for batch in order.split(size):
            rows = samples[batch]
            losses = loop_loss(rows @ classifier.T, labels[batch], loss, smoothing)
            per_sample = losses + ridge / 2 * rows.square().sum(1)
            objective = per_sample.mean() + ridge / (2 * 7) * classifier.square().sum()
            gradients = torch.autograd.grad(objective, (classifier, samples))
            with torch.no_grad():
                for values, gradient in zip((classifier, samples), gradients, strict=True):
                    values -= rate * gradient
    logits = samples @ classifier.T
    hits = (logits.argmax(1) == labels).double()
    accuracy = [hits[labels == c].mean().item() for c in range(3)]
    mean_loss = loop_loss(logits, labels, loss, smoothing).mean().item()
    squares = (classifier.square().sum() + samples.square().sum()).item()
    margin = smallest_margin(logits.detach().numpy(), labels.tolist(), loss)
    return classifier.detach().numpy(), class_means(samples, labels), mean_loss, accuracy, squares, margin


def smallest_margin(logits, labels, loss):
    """Pair by pair, as the limit's constraints are written."""
    return min(
        loss.label_scale[y] * (loss.class_scale[y] * z[y] - loss.class_scale[c] * z[c])
        for z, y in zip(logits, labels, strict=True)
        for c in range(3)
        if c != y
    )


@pytest.mark.parametrize("size", [1, 3, 7])  # 3 leaves a last batch of one sample
@pytest.mark.parametrize(("ridge", "smoothing"), [(0.0, 0.0), (0.3, 0.0), (0.3, 0.2)])
def test_every_run_is_the_plain_autograd_loop(size, ridge, smoothing):
    losses, seeds = [MIXED, CE, cdt(COUNTS, 1.0), weighted(COUNTS)], [3, 11]
    history = train_ufm(
        COUNTS,
        losses,
        feature_dim=4,
        epochs=4,
        batch_size=size,
        learning_rate=0.4,
        ridge=ridge,
        label_smoothing=smoothing,
        initial_scale=0.5,
        seeds=seeds,
    )
    for p, loss in enumerate(losses):
        for s, seed in enumerate(seeds):
            plan = {"size": size, "rate": 0.4, "ridge": ridge, "smoothing": smoothing}
            expected = train_by_loop(loss, seed, width=4, epochs=4, scale=0.5, **plan)
            found = (history.classifier, history.embedding, history.loss, history.class_accuracy)
            found = (*found, history.squared_norms, history.smallest_margin)
            for values, reference in zip(found, expected, strict=True):
                np.testing.assert_allclose(values[p, s, -1], reference, rtol=1e-12, atol=1e-13)


def test_the_objective_at_unit_margin_is_above_the_certified_least_one_and_tends_to_it():
    counts = ClassCounts([4, 4, 1, 1])
    losses = [ce(counts), cdt(counts, 0.5), ldt(counts, 0.5)]
    history = train_ufm(counts, losses, feature_dim=4, epochs=1500, batch_size=2, learning_rate=1.0)
    for p, loss in enumerate(losses):
        bounds = oracles.margin_certificate(
            oracles.limit_logits(counts.values, loss.class_scale, loss.label_scale),
            counts.values,
            loss.class_scale,
            loss.label_scale,
        )
        assert bounds.primal == pytest.approx(bounds.dual, rel=1e-9)
        found = history.unit_margin_objective[p, 0]
        assert (found > bounds.dual).all()
        assert found[-1] < 1.2 * bounds.primal
        assert found[-1] < found[-20]


def test_the_objective_at_unit_margin_is_infinite_where_a_sample_is_mistaken():
    history = train_ufm(COUNTS, [CE], epochs=1, record_epochs=[0])
    assert history.smallest_margin[0, 0, 0] < 0
    assert history.unit_margin_objective[0, 0, 0] == np.inf


def test_without_ridge_it_is_torchs_sgd_on_cross_entropy():
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    generator, classifier, samples = initial_values(0, 7, 0.03, 4)
    optimizer = torch.optim.SGD([classifier, samples], lr=0.4)
    order = torch.arange(7)
    for _ in range(5):
        order = order[torch.randperm(7, generator=generator)]
        for batch in order.split(2):
            optimizer.zero_grad()
            F.cross_entropy(samples[batch] @ classifier.T, labels[batch]).backward()
            optimizer.step()
    history = train_ufm(COUNTS, [CE], feature_dim=4, epochs=5, batch_size=2, learning_rate=0.4)
    np.testing.assert_allclose(history.classifier[0, 0, -1], classifier.detach(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(history.embedding[0, 0, -1], class_means(samples, labels), rtol=1e-12, atol=1e-14)


def test_the_same_call_gives_the_same_records_and_other_seeds_others():
    first, second, other = (
        train_ufm(COUNTS, [CE, MIXED], epochs=20, seeds=[seed], record_epochs=[0, 5]) for seed in (4, 4, 5)
    )
    for name in ("epochs", "classifier", "embedding", "loss", "class_accuracy", "squared_norms", "smallest_margin"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert not np.allclose(first.classifier, other.classifier)


def test_a_run_does_not_depend_on_its_neighbours():
    together = train_ufm(COUNTS, [CE, MIXED], epochs=20, seeds=[7, 8])
    alone = train_ufm(COUNTS, [MIXED], epochs=20, seeds=[8])
    np.testing.assert_allclose(together.classifier[1, 1], alone.classifier[0, 0], rtol=1e-10)
    np.testing.assert_allclose(together.embedding[1, 1], alone.embedding[0, 0], rtol=1e-10)


def test_losses_share_initial_values_and_batches_of_a_seed():
    # at tau = 0 logit adjustment is cross-entropy
    history = train_ufm(COUNTS, [CE, logit_adjusted(COUNTS, 0.0), MIXED], epochs=10, record_epochs=[0])
    np.testing.assert_allclose(history.classifier[0], history.classifier[1], rtol=1e-12)
    np.testing.assert_array_equal(history.classifier[0, :, 0], history.classifier[2, :, 0])


def test_the_number_of_threads_is_left_as_it_was():
    before, seen = torch.get_num_threads(), []
    try:
        torch.set_num_threads(2)
        train_ufm(COUNTS, [CE], epochs=1, on_epoch=lambda _: seen.append(torch.get_num_threads()))
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


# Where training goes


@pytest.mark.parametrize("loss", [CE, cdt(COUNTS, 0.25), ldt(COUNTS, 0.5)], ids=["ce", "cdt", "ldt"])
def test_long_training_approaches_the_limit_monotonically(loss):
    history = train_ufm(
        COUNTS,
        [loss],
        feature_dim=3,
        epochs=10_000,
        batch_size=7,
        learning_rate=2.0,
        record_epochs=[100, 300, 1000, 3000],
    )
    target = predict(Problem(COUNTS, loss)).geometry
    for block in ("classifier", "embedding", "cross"):
        distance = history.distances(block, [target])[0, 0]
        assert (np.diff(distance) < 0).all()
        assert distance[-1] < 0.75 * distance[0]
    assert (np.diff(history.loss[0, 0]) < 0).all()
    assert history.accuracy[0, 0, -1] == 1.0


def test_balanced_classes_approach_the_simplex_etf():
    history = train_ufm([3, 3, 3], [Parameterization.neutral(3)], feature_dim=3, epochs=3000, batch_size=9)
    distances = compare(history.geometry(), simplex_etf(3))
    assert max(distances.classifier, distances.embedding, distances.cross) < 0.05


RIDGE = 0.4


@pytest.fixture(scope="module")
def regularised():
    losses = [CE, MIXED, ldt(COUNTS, 0.5)]
    history = train_ufm(
        COUNTS, losses, feature_dim=4, epochs=4000, batch_size=7, learning_rate=1.0, ridge=RIDGE, seeds=[0, 1]
    )
    return losses, history


def test_with_ridge_training_ends_at_a_stationary_point(regularised):
    losses, history = regularised
    labels = torch.arange(3)
    for p, loss in enumerate(losses):
        classifier, means = (
            torch.tensor(values[p, 0, -1]).requires_grad_() for values in (history.classifier, history.embedding)
        )
        per_class = loop_loss(means @ classifier.T, labels, loss) + RIDGE / 2 * means.square().sum(1)
        objective = torch.tensor(COUNTS.values).double() @ per_class + RIDGE / 2 * classifier.square().sum()
        objective.backward()
        assert classifier.grad.abs().max() < 1e-9
        assert means.grad.abs().max() < 1e-9


def test_with_ridge_the_stationary_point_is_the_certified_optimum(regularised):
    losses, history = regularised
    for p, loss in enumerate(losses):
        for s in range(2):
            logits = history.classifier[p, s, -1] @ history.embedding[p, s, -1].T * np.sqrt(COUNTS.values)
            bounds = oracles.fenchel_certificate(logits, COUNTS.values, loss, RIDGE)
            assert bounds.primal - bounds.dual < 1e-9 * bounds.primal


def test_with_ridge_the_geometry_is_the_predicted_one(regularised):
    losses, history = regularised
    targets = [predict(Problem(COUNTS, loss, ridge=RIDGE)).geometry for loss in losses]
    for block in ("classifier", "embedding", "cross"):
        assert history.distances(block, targets)[..., -1].max() < 1e-6
    np.testing.assert_allclose(
        history.geometry(1, 1).classifier.squared_norms(), targets[1].classifier.squared_norms(), rtol=1e-6
    )


def test_smoothed_labels_lead_to_the_predicted_optimum_in_absolute_scale():
    losses = [CE, MIXED, logit_adjusted(COUNTS)]
    history = train_ufm(
        COUNTS,
        losses,
        feature_dim=4,
        epochs=4000,
        batch_size=7,
        learning_rate=1.0,
        ridge=RIDGE,
        label_smoothing=0.1,
        initial_scale=0.3,
        seeds=[0, 1],
    )
    assert history.label_smoothing == 0.1
    targets = [predict(Problem(COUNTS, loss, ridge=RIDGE, label_smoothing=0.1)).geometry for loss in losses]
    hard = [predict(Problem(COUNTS, loss, ridge=RIDGE)).geometry for loss in losses]
    for block in ("classifier", "embedding", "cross"):
        assert history.distances(block, targets)[..., -1].max() < 1e-6
        for p, target in enumerate(targets):
            found, wanted = (getattr(geometry, block).dense() for geometry in (history.geometry(p, 1), target))
            np.testing.assert_allclose(found, wanted, atol=1e-6 * np.abs(wanted).max())
    assert history.distances("cross", hard)[..., -1].min() > 1e-2


def test_small_batches_with_ridge_stay_near_the_same_point(regularised):
    losses, history = regularised
    targets = [history.geometry(p) for p in range(len(losses))]
    noisy = train_ufm(
        COUNTS, losses, feature_dim=4, epochs=3000, batch_size=2, learning_rate=0.02, ridge=RIDGE, initial_scale=0.3
    )
    for block in ("classifier", "embedding"):
        assert noisy.distances(block, targets)[..., -1].max() < 0.03


# Records


def test_records_are_taken_at_the_given_epochs_and_the_last():
    seen = []
    history = train_ufm(COUNTS, [CE], epochs=9, record_epochs=[4, 0, 4], on_epoch=seen.append)
    assert history.epochs.tolist() == [0, 4, 9]
    assert seen == list(range(1, 10))
    shorter = train_ufm(COUNTS, [CE], epochs=4)
    np.testing.assert_array_equal(history.classifier[:, :, 1], shorter.classifier[:, :, -1])


def test_records_are_evenly_spaced_in_the_logarithm_by_default():
    epochs = train_ufm(COUNTS, [CE], epochs=300, batch_size=7).epochs
    assert epochs[0] == 1
    assert epochs[-1] == 300
    assert 30 <= epochs.size <= 50
    np.testing.assert_allclose(np.diff(np.log(epochs[epochs > 50])), np.log(300) / 49, atol=0.02)


def test_distances_and_summaries_are_those_of_dense_matrices():
    losses = [CE, MIXED]
    history = train_ufm(COUNTS, losses, epochs=30, seeds=[0, 1], record_epochs=[10])
    targets = [predict(Problem(COUNTS, loss)).geometry for loss in losses]
    distances, summary = history.distances("embedding", targets), history.summary("embedding")
    assert distances.shape == summary["norm_ratio"].shape == (2, 2, 2)
    for p, s, t in np.ndindex(2, 2, 2):
        gram = history.embedding[p, s, t] @ history.embedding[p, s, t].T
        target = targets[p].embedding.dense()
        expected = np.linalg.norm(gram / np.linalg.norm(gram) - target / np.linalg.norm(target))
        assert distances[p, s, t] == pytest.approx(expected, abs=1e-12)
        cosines = gram / np.sqrt(np.outer(np.diag(gram), np.diag(gram)))
        # counts 4 and 2 are majority, 1 is minority
        assert summary["norm_ratio"][p, s, t] == pytest.approx((gram[0, 0] + gram[1, 1]) / 2 / gram[2, 2])
        assert summary["cos_majority"][p, s, t] == pytest.approx(cosines[0, 1])
        assert summary["cos_between"][p, s, t] == pytest.approx((cosines[0, 2] + cosines[1, 2]) / 2)
        assert np.isnan(summary["cos_minority"][p, s, t])


def test_accuracy_weighs_classes_by_their_samples():
    history = train_ufm([30, 1], [Parameterization.neutral(2)], epochs=1, learning_rate=1.0)
    by_class = history.class_accuracy[0, 0, -1]
    assert history.accuracy[0, 0, -1] == pytest.approx((30 * by_class[0] + by_class[1]) / 31)


def test_accuracy_is_exactly_one_where_every_sample_is_right():
    history = train_ufm([49, 10, 3], [CE], epochs=40)
    assert (history.class_accuracy[0, 0, -1] == 1.0).all()
    assert history.accuracy[0, 0, -1] == 1.0


def test_history_is_read_only():
    history = train_ufm(COUNTS, [CE], epochs=1)
    with pytest.raises(ValueError, match="read-only"):
        history.classifier[...] = 0


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"feature_dim": 1}, "feature_dim must be .* (at least|between) 2.*, got 1"),
        ({"epochs": 0}, "epochs must be .* (at least|between) 1.*, got 0"),
        ({"batch_size": 8}, "batch_size must be .* between 1 and 7, got 8"),
        ({"learning_rate": 0.0}, "learning_rate must be .* above 0"),
        ({"ridge": -1.0}, "ridge must be .* at least 0"),
        ({"label_smoothing": 1.0}, "label_smoothing must be below 1"),
        ({"initial_scale": 0.0}, "initial_scale must be .* above 0"),
        ({"seeds": []}, "seeds must hold at least one value"),
        ({"seeds": [-1]}, "seeds must be .* between 0"),
        ({"epochs": 5, "record_epochs": [6]}, "record_epochs must be .* between 0 and 5, got 6"),
        ({"parameterizations": []}, "parameterizations and seeds must hold at least one value"),
        ({"parameterizations": [Parameterization.neutral(4)]}, "parameterization must cover the 3 classes"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        train_ufm(**{"counts": COUNTS, "parameterizations": [CE], "epochs": 1, **arguments})


def test_divergence_names_the_run():
    harmless = Parameterization(label_scale=[1e-3, 1e-3, 1e-3])
    with pytest.raises(InputError, match=r"learning_rate .*got 200: parameterization 1 with seed 9 diverged in epoch"):
        train_ufm(COUNTS, [harmless, CE], epochs=5000, learning_rate=200.0, seeds=[9])


def test_history_refuses_unknown_blocks_and_missing_targets():
    history = train_ufm(COUNTS, [CE, MIXED], epochs=1)
    with pytest.raises(InputError, match=r"block must be one of .* did you mean 'classifier'"):
        history.summary("classifiers")
    with pytest.raises(InputError, match="targets must hold one geometry for each of 2 losses, got 1"):
        history.distances("classifier", [simplex_etf(3)])
    balanced = train_ufm([2, 2], [Parameterization.neutral(2)], epochs=1, batch_size=4)
    with pytest.raises(InputError, match="majority must be a mask"):
        balanced.summary("classifier")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_gives_the_same_records():
    here, there = (
        train_ufm(COUNTS, [CE, MIXED], epochs=50, ridge=0.1, seeds=[0, 1], device=device) for device in ("cpu", "cuda")
    )
    for name in ("classifier", "embedding", "loss", "class_accuracy"):
        np.testing.assert_allclose(getattr(here, name), getattr(there, name), rtol=1e-9, atol=1e-12)
