import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from implicit_geometry import ClassCounts, InputError
from implicit_geometry.data.draw import imbalanced_split

LABELS = np.repeat(np.arange(4), 30)


@given(counts=st.lists(st.integers(1, 20), min_size=4, max_size=4), seed=st.integers(0, 5))
def test_split_has_the_wanted_counts_and_a_balanced_test_set_of_other_samples(counts, seed):
    split = imbalanced_split(LABELS, ClassCounts(counts), test_per_class=10, seed=seed)
    assert np.bincount(LABELS[split.train]).tolist() == counts
    assert np.bincount(LABELS[split.test]).tolist() == [10] * 4
    assert not set(split.train) & set(split.test)
    assert len(set(split.train)) == sum(counts)


def test_same_seed_same_split_and_another_seed_another():
    first, again, other = (
        imbalanced_split(LABELS, ClassCounts([9, 9, 3, 3]), test_per_class=5, seed=seed) for seed in (1, 1, 2)
    )
    assert np.array_equal(first.train, again.train)
    assert not np.array_equal(first.train, other.train)


@given(
    counts=st.lists(st.integers(1, 15), min_size=4, max_size=4), validation=st.integers(0, 5), seed=st.integers(0, 5)
)
def test_held_out_sets_are_balanced_disjoint_and_independent_of_the_profile(counts, validation, seed):
    split, balanced = (
        imbalanced_split(LABELS, ClassCounts(n), test_per_class=10, validation_per_class=validation, seed=seed)
        for n in (counts, [9] * 4)
    )
    parts = (split.train, split.test, split.validation)
    assert np.bincount(LABELS[split.validation], minlength=4).tolist() == [validation] * 4
    assert len(set(np.concatenate(parts))) == sum(part.size for part in parts) == sum(counts) + 40 + 4 * validation
    assert np.array_equal(split.test, balanced.test)
    assert np.array_equal(split.validation, balanced.validation)


def test_a_longer_tail_keeps_the_samples_it_had():
    short, long = (imbalanced_split(LABELS, ClassCounts([9, 9, 9, n]), test_per_class=5).train for n in (2, 8))
    assert set(short) < set(long)


def test_the_draw_is_a_permutation_of_each_class_test_samples_first():
    split = imbalanced_split(LABELS, ClassCounts([3, 2, 1, 4]), test_per_class=2, validation_per_class=1, seed=7)
    generator = np.random.default_rng(7)
    orders = [generator.permutation(np.flatnonzero(label == LABELS)) for label in range(4)]
    assert split.test.tolist() == [i for order in orders for i in order[:2]]
    assert split.validation.tolist() == [i for order in orders for i in order[2:3]]
    assert split.train.tolist() == [i for order, n in zip(orders, [3, 2, 1, 4], strict=True) for i in order[3 : 3 + n]]


@pytest.mark.parametrize(
    ("labels", "counts", "per_class", "message"),
    [
        (LABELS, [25, 5, 5, 5], 10, "class 0 has 30 samples"),
        (LABELS, [5, 5, 21, 5], 10, "class 2 has 30 samples"),
        (LABELS, [5, 5, 5], 10, "counts must cover the 4 classes"),
        (LABELS, [5, 5, 5, 5], -1, "test_per_class must be"),
        (LABELS[LABELS != 1], [5, 5, 5, 5], 5, r"no sample of classes \[1\]"),
    ],
)
def test_impossible_splits_are_named(labels, counts, per_class, message):
    with pytest.raises(InputError, match=message):
        imbalanced_split(labels, ClassCounts(counts), test_per_class=per_class)


@pytest.mark.parametrize("labels", [np.array(["ant", "cat"] * 9), ["ant", "cat"] * 9, np.array([False, True] * 9)])
def test_names_and_booleans_are_labels_too(labels):
    split = imbalanced_split(labels, ClassCounts([5, 2]), test_per_class=3)
    assert np.unique(np.asarray(labels)[split.train], return_counts=True)[1].tolist() == [5, 2]
    assert np.unique(np.asarray(labels)[split.test], return_counts=True)[1].tolist() == [3, 3]


def test_what_has_no_samples_has_no_split():
    with pytest.raises(InputError, match=r"^labels must be class indices"):
        imbalanced_split({0: 30, 1: 30}, ClassCounts([5, 5]), test_per_class=3)


def test_a_class_too_small_for_all_three_parts_is_named():
    message = r"class 1 \('cat'\) has 30 samples, got a training count of 16 besides 10 test and 5 validation samples"
    with pytest.raises(InputError, match=message):
        imbalanced_split(
            LABELS,
            ClassCounts([15, 16, 1, 1]),
            test_per_class=10,
            validation_per_class=5,
            class_names=("ant", "cat", "dog", "elk"),
        )
