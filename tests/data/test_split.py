import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from implicit_geometry._validate import InputError
from implicit_geometry.counts import ClassCounts
from implicit_geometry.data.draw import imbalanced_split
from implicit_geometry.data.load import load_source
from implicit_geometry.data.source import Source
from implicit_geometry.data.split import make_split

NAMES = ("ant", "bee", "cat")
COUNTS = ClassCounts([12, 6, 1])


@pytest.fixture(scope="module")
def colour() -> Source:
    """Colour images, 30 per class for training and 8 per class for testing, the channels of different scales."""
    generator = np.random.default_rng(0)
    pixels = generator.integers([[[[0]], [[100]], [[0]]]], [[[[256]], [[120]], [[2]]]], (114, 3, 8, 6), dtype=np.uint8)
    labels = np.arange(114) % 3
    return Source("colour", pixels[:90], labels[:90], pixels[90:], labels[90:], NAMES, mirrors=True)


@pytest.fixture(scope="module")
def embeddings() -> Source:
    """Embeddings without a test part, 30 per class."""
    values = np.random.default_rng(1).normal(5, 3, (90, 4)).astype(np.float32)
    return Source("embeddings", values, np.arange(90) % 3, None, None, NAMES)


def test_images_are_standardised_by_channel_over_the_whole_training_pool(colour):
    data = make_split(colour, COUNTS, test_per_class=None)
    mean, std = colour.train.mean((0, 2, 3), keepdims=True), colour.train.std((0, 2, 3), keepdims=True)
    inputs, labels = data.train[:]
    expected = (colour.train[data.train_indices] - mean) / std
    np.testing.assert_allclose(inputs, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(data.test[:][0], (colour.test - mean) / std, rtol=1e-5, atol=1e-5)
    assert inputs.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert data.input_shape == (3, 8, 6)
    assert data.num_classes == 3


def test_statistics_are_exact_also_for_a_pool_larger_than_a_chunk():
    pixels = np.random.default_rng(2).integers(250, 256, (300, 1, 5, 5), dtype=np.uint8)
    source = Source("bright", pixels, np.arange(300) % 2, None, None, ("a", "b"))
    mean, std = source.pixel_statistics
    assert mean.item() == pytest.approx(pixels.mean(dtype=np.float64), rel=1e-15)
    assert std.item() == pytest.approx(pixels.std(dtype=np.float64), rel=1e-13)
    data = make_split(source, ClassCounts([140, 100]), test_per_class=10)
    expected = (pixels[data.train_indices] - pixels.mean()) / pixels.std()
    np.testing.assert_allclose(data.train[:][0], expected, rtol=1e-5, atol=1e-6)


def test_embeddings_stay_as_they_are(embeddings):
    data = make_split(embeddings, COUNTS, test_per_class=5)
    assert np.array_equal(data.train[:][0], embeddings.train[data.train_indices])
    assert np.array_equal(data.train_labels, embeddings.train_labels[data.train_indices])


def test_a_source_without_a_test_part_is_split_as_imbalanced_split_does(embeddings):
    data = make_split(embeddings, COUNTS, test_per_class=5, validation_per_class=4, seed=3)
    split = imbalanced_split(embeddings.train_labels, COUNTS, test_per_class=5, validation_per_class=4, seed=3)
    assert np.array_equal(data.train_indices, split.train)
    assert np.array_equal(data.test[:][0], embeddings.train[split.test])
    assert np.array_equal(data.validation[:][0], embeddings.train[split.validation])
    assert np.array_equal(data.validation_labels, embeddings.train_labels[split.validation])


def test_digits_have_the_indices_of_imbalanced_split():
    digits = load_source("digits")
    counts = ClassCounts([100] * 5 + [10] * 5)
    data = make_split(digits, counts, test_per_class=50, seed=4)
    split = imbalanced_split(digits.train_labels, counts, test_per_class=50, seed=4)
    assert np.array_equal(data.train_indices, split.train)
    assert np.array_equal(data.test_labels, digits.train_labels[split.test])


def test_the_official_test_part_is_taken_whole_or_in_part(colour):
    whole = make_split(colour, COUNTS, test_per_class=None)
    assert np.array_equal(whole.test_labels, colour.test_labels)
    some, again, other = (make_split(colour, COUNTS, test_per_class=3, seed=seed) for seed in (0, 0, 1))
    assert np.bincount(some.test_labels).tolist() == [3, 3, 3]
    assert torch.equal(some.test[:][0], again.test[:][0])
    assert not torch.equal(some.test[:][0], other.test[:][0])
    official = {image.numpy().tobytes() for image in whole.test[:][0]}
    assert {image.numpy().tobytes() for image in some.test[:][0]} < official


def test_all_training_samples_can_be_used_beside_an_official_test_part(colour):
    data = make_split(colour, ClassCounts([30, 30, 30]), test_per_class=None)
    assert sorted(data.train_indices) == list(range(90))
    assert data.validation is None
    assert data.validation_labels.size == 0


def test_held_out_sets_do_not_depend_on_the_profile(colour):
    first, second = (
        make_split(colour, ClassCounts(counts), test_per_class=4, validation_per_class=10, seed=5)
        for counts in ([20, 20, 20], [7, 2, 1])
    )
    assert torch.equal(first.test[:][0], second.test[:][0])
    assert torch.equal(first.validation[:][0], second.validation[:][0])
    assert np.bincount(first.validation_labels).tolist() == [10, 10, 10]


def test_data_sets_give_samples_and_batches_and_survive_pickling(colour):
    data = make_split(colour, COUNTS, test_per_class=None, augment=True)
    train = pickle.loads(pickle.dumps(data)).train
    inputs, labels = train[[2, 0]]
    assert inputs.shape == (2, 3, 8, 6)
    assert torch.equal(inputs[1], train[0][0])
    assert labels[0] == train[2][1] == data.train_labels[2]
    assert len(train) == 19
    loader = DataLoader(train, sampler=BatchSampler(RandomSampler(train), 8, drop_last=False), batch_size=None)
    assert sorted(label for _, batch in loader for label in batch.tolist()) == [0] * 12 + [1] * 6 + [2]


def test_augmentation_is_given_beside_the_data_and_never_touches_them(colour):
    plain, augmented = (make_split(colour, COUNTS, test_per_class=None, augment=augment) for augment in (False, True))
    assert plain.augmentation is None
    assert torch.equal(plain.train[:][0], augmented.train[:][0])
    assert augmented.augmentation is not None
    assert augmented.augmentation(augmented.train[:][0]).shape == (19, 3, 8, 6)


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        ("embeddings", {"test_per_class": None}, "test_per_class must be a number for embeddings, which has no test"),
        ("embeddings", {"test_per_class": 0}, "test_per_class must be a .* at least 1, got 0"),
        ("embeddings", {"test_per_class": 5, "augment": True}, "augment must be off for embeddings"),
        (
            "embeddings",
            {"test_per_class": 10, "validation_per_class": 9},
            r"class 0 \('ant'\) has 30 samples, got a tr",
        ),
        ("embeddings", {"test_per_class": 5, "validation_per_class": -1}, "validation_per_class must be"),
        ("embeddings", {"test_per_class": 5, "seed": -1}, "seed must be"),
        ("colour", {"test_per_class": 0}, "test_per_class must be a .* at least 1, got 0"),
        ("colour", {"test_per_class": 9}, r"test part of colour: class 0 \('ant'\) has 8 samples, got 9"),
        ("colour", {"test_per_class": 3, "validation_per_class": 19}, "count of 12 besides 0 test and 19 validation"),
        ("colour", {"test_per_class": 3, "counts": ClassCounts([5, 5])}, "cover the 3 classes of colour, got 2"),
    ],
)
def test_impossible_splits_are_named(source, arguments, message, request):
    with pytest.raises(InputError, match=message):
        make_split(request.getfixturevalue(source), **{"counts": COUNTS, **arguments})


def test_a_whole_test_part_must_hold_every_class(colour):
    source = Source("gap", colour.train, colour.train_labels, colour.test[:2], np.array([0, 2]), NAMES)
    with pytest.raises(InputError, match=r"test part of gap: class 1 \('bee'\) has 0 samples"):
        make_split(source, COUNTS, test_per_class=None)


def test_images_of_one_value_cannot_be_standardised():
    source = Source("grey", np.full((9, 1, 2, 2), 7, np.uint8), np.arange(9) % 3, None, None, NAMES)
    with pytest.raises(InputError, match="grey must have pixels that differ"):
        make_split(source, ClassCounts([1, 1, 1]), test_per_class=1)


PIXELS = np.zeros((4, 1, 2, 2), np.uint8)
LABELS = np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((PIXELS, LABELS, PIXELS, None), "test and test_labels of x must both be given"),
        (
            (PIXELS, LABELS[:3], None, None),
            "train_labels of x must hold one int64 class index per sample, got 4",
        ),
        ((PIXELS, LABELS + 1, None, None), "train_labels of x must lie in 0..1, got 1..2"),
        ((PIXELS, LABELS - 1, None, None), "train_labels of x must lie in 0..1, got -1..0"),
        ((PIXELS, LABELS * 0, None, None), r"no sample of classes \[1\]"),
        ((PIXELS, LABELS, PIXELS, LABELS * 2), "test_labels of x must lie in 0..1, got 0..2"),
        ((PIXELS, LABELS, PIXELS[:0], LABELS[:0]), "test_labels of x must lie in 0..1, got none"),
        ((PIXELS, LABELS, PIXELS[..., :1], LABELS), r"test samples of x must have shape \(1, 2, 2\), got \(1, 2, 1\)"),
        ((PIXELS[:, 0], LABELS, None, None), "train samples of x must be uint8 images"),
        ((PIXELS.astype(float), LABELS, None, None), "or float32 inputs .* dtype float64"),
    ],
)
def test_a_source_that_does_not_fit_together_is_refused(parts, message):
    with pytest.raises(InputError, match=message):
        Source("x", *parts, ("a", "b"))


def test_digits_are_standardised_over_the_whole_data_set():
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    counts = ClassCounts([30] * 10)
    split = imbalanced_split(labels, counts, test_per_class=20, seed=2)
    data = make_split(load_source("digits"), counts, test_per_class=20, seed=2)
    expected = ((pixels - pixels.mean()) / pixels.std()).astype(np.float32)
    for dataset, chosen in ((data.train, split.train), (data.test, split.test)):
        inputs, targets = dataset[:]
        assert np.array_equal(inputs.flatten(1).numpy(), expected[chosen])
        assert np.array_equal(targets.numpy(), labels[chosen])


def test_digits_with_too_large_a_class_name_it():
    with pytest.raises(InputError, match=r"class 0 .*has 178 samples, got a training count of 170"):
        make_split(load_source("digits"), ClassCounts([170] * 10), test_per_class=50)
