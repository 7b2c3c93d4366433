import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from implicit_geometry import ClassCounts, InputError
from implicit_geometry.data.digits import load_digits
from implicit_geometry.data.imbalance import imbalanced_split

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


def test_test_set_does_not_depend_on_the_profile():
    balanced, skewed = (
        imbalanced_split(LABELS, ClassCounts(counts), test_per_class=5).test for counts in ([9] * 4, [20, 9, 3, 1])
    )
    assert np.array_equal(balanced, skewed)


@pytest.mark.parametrize(
    ("labels", "counts", "per_class", "message"),
    [
        (LABELS, [25, 5, 5, 5], 10, "class 0 has 30 samples"),
        (LABELS, [5, 5, 21, 5], 10, "class 2 has 30 samples"),
        (LABELS, [5, 5, 5], 10, "counts must cover the 4 classes"),
        (LABELS, [5, 5, 5, 5], 0, "test_per_class must be"),
        (LABELS[LABELS != 1], [5, 5, 5, 5], 5, r"no sample of classes \[1\]"),
    ],
)
def test_impossible_splits_are_named(labels, counts, per_class, message):
    with pytest.raises(InputError, match=message):
        imbalanced_split(labels, ClassCounts(counts), test_per_class=per_class)


def test_digits_are_real_scaled_and_split():
    counts = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=100)
    data = load_digits(counts, test_per_class=40, seed=3)
    assert np.array_equal(np.bincount(data.train_labels), counts.values)
    assert np.array_equal(np.bincount(data.test_labels), [40] * 10)
    assert data.train_inputs.dtype == np.float32
    assert abs(data.test_inputs.mean()) < 0.05
    assert abs(data.test_inputs.std() - 1) < 0.05


def test_digits_with_too_large_a_class_name_it():
    with pytest.raises(InputError, match="class 0 has 178 samples, got a training count of 170"):
        load_digits(ClassCounts([170] * 10))
