"""Class counts: what every constructor makes, and what none of them takes."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset, Subset, TensorDataset

from implicit_geometry._validate import InputError
from implicit_geometry.counts import ClassCounts
from strategies import count_lists

# From numbers


@pytest.mark.parametrize(
    "values",
    [
        [5000, 50],
        (5000, 50),
        np.array([5000, 50]),
        np.array([5000, 50], dtype=np.uint16),
        np.array([5000.0, 50.0]),
        torch.tensor([5000, 50]),
        ClassCounts([5000, 50]),
    ],
)
def test_counts_come_from_any_sequence_of_whole_numbers(values: object) -> None:
    counts = ClassCounts(values)
    assert counts.values.tolist() == [5000, 50]
    assert counts.values.dtype == np.int64
    assert (counts.num_classes, counts.num_samples, counts.imbalance_ratio, len(counts)) == (2, 5050, 100.0, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([5, 0], r"counts.*0 for class 1"),
        ([5, -3], r"counts.*-3 for class 1"),
        ([float("nan"), 5], r"counts.*nan for class 0"),
        ([float("inf"), 5], r"counts.*inf for class 0"),
        ([5, 2.5], r"counts.*2\.5 for class 1"),
        ([], r"counts.*at least 2 classes, got 0"),
        ([5], r"counts.*at least 2 classes, got 1"),
        ([[5, 5]], r"counts.*one-dimensional.*\(1, 2\)"),
        (5, r"counts.*one-dimensional"),
        ([[5], [5, 5]], r"counts must be a sequence of numbers"),
        ([True, True], r"counts must be a sequence of numbers.*bool"),
        (["5", "5"], r"counts must be a sequence of numbers"),
        ("55", r"counts must be a sequence of numbers"),
        ([5, None], r"counts must be a sequence of numbers"),
        ([5, 1j], r"counts must be a sequence of numbers"),
        ({"cat": 5, "dog": 5}, r"counts must be a sequence of numbers"),
        ([5, 10**400], r"counts must be a sequence of numbers"),
        ([5, 2**53 + 2], r"counts.*at most 9007199254740992"),
    ],
)
def test_counts_that_are_not_positive_whole_numbers_are_refused(values: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ClassCounts(values)


def test_a_count_that_float64_cannot_hold_is_refused_rather_than_changed() -> None:
    with pytest.raises(InputError, match="counts"):
        ClassCounts([2**53 + 1, 1])


def test_the_number_of_samples_does_not_overflow() -> None:
    assert ClassCounts([2**53] * 2000).num_samples == 2000 * 2**53


# A value


def test_counts_cannot_be_changed() -> None:
    source = np.array([5, 3])
    counts = ClassCounts(source)
    source[0] = 9
    assert counts.values.tolist() == [5, 3]
    with pytest.raises(ValueError, match="read-only"):
        counts.values[0] = 9
    with pytest.raises(ValueError, match="read-only"):
        counts.majority[0] = False
    with pytest.raises(dataclasses.FrozenInstanceError):
        counts.values = source  # type: ignore[misc]


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies_are_equal_and_cannot_be_changed_either(duplicate: object) -> None:
    again = duplicate(ClassCounts([5, 3]))  # type: ignore[operator]
    assert again == ClassCounts([5, 3])
    with pytest.raises(ValueError, match="read-only"):
        again.values[0] = 9


def test_equality_and_hash_are_those_of_the_content() -> None:
    assert ClassCounts([5, 3]) == ClassCounts((5.0, 3.0))
    assert hash(ClassCounts([5, 3])) == hash(ClassCounts((5.0, 3.0)))
    assert ClassCounts([5, 3]) != ClassCounts([3, 5])
    assert ClassCounts([5, 3]) != ClassCounts([5, 3, 3])
    assert ClassCounts([5, 3]) != [5, 3]
    assert len({ClassCounts([5, 3]), ClassCounts([5, 3]), ClassCounts([4, 3])}) == 2


def test_counts_convert_to_an_array_and_show_themselves() -> None:
    assert np.asarray(ClassCounts([5, 3])).tolist() == [5, 3]
    assert np.asarray(ClassCounts([5, 3]), dtype=np.float32).dtype == np.float32
    assert repr(ClassCounts([5, 3])) == "ClassCounts([5, 3])"
    assert repr(ClassCounts([4] * 1000)) == "ClassCounts([4, 4, 4, 4, 4, 4, 4, 4, 4, 4, ... (1000 classes)])"


# Majority and minority


@pytest.mark.parametrize(
    ("values", "majority"),
    [
        ([50, 50, 5, 5], [True, True, False, False]),
        ([5, 50, 5], [False, True, False]),
        ([7, 7, 7], [True, True, True]),
        ([101, 100], [True, False]),
        ([100, 11, 9, 1], [True, True, False, False]),
        ([100, 10, 1], [True, True, False]),  # exactly at the geometric mean
    ],
)
def test_majority_classes_are_at_or_above_the_geometric_mean_of_the_extremes(
    values: list[int], majority: list[bool]
) -> None:
    assert ClassCounts(values).majority.tolist() == majority


@given(st.integers(1, 10**9), st.integers(2, 10**6), st.integers(1, 5), st.integers(1, 5))
def test_on_a_step_profile_the_mask_is_exactly_the_majority_classes(
    smallest: int, ratio: int, majorities: int, minorities: int
) -> None:
    counts = ClassCounts([smallest * ratio] * majorities + [smallest] * minorities)
    assert counts.majority.tolist() == [True] * majorities + [False] * minorities


# STEP


def test_step_puts_the_majority_first() -> None:
    counts = ClassCounts.step(num_classes=10, imbalance_ratio=10, minority_fraction=0.5, max_count=5000)
    assert counts.values.tolist() == [5000] * 5 + [500] * 5


@pytest.mark.parametrize(
    ("num_classes", "fraction", "minorities"),
    [(10, 0.1, 1), (10, 0.3, 3), (10, 0.9, 9), (3, 1 / 3, 1), (3, 2 / 3, 2), (7, 0.5, 4), (100, 0.29, 29), (2, 0.5, 1)],
)
def test_step_takes_any_minority_fraction(num_classes: int, fraction: float, minorities: int) -> None:
    counts = ClassCounts.step(num_classes=num_classes, imbalance_ratio=10, minority_fraction=fraction, max_count=50)
    assert counts.values.tolist() == [50] * (num_classes - minorities) + [5] * minorities


def test_step_rounds_the_minority_count() -> None:
    assert ClassCounts.step(num_classes=2, imbalance_ratio=3, max_count=50).values.tolist() == [50, 17]
    assert ClassCounts.step(num_classes=2, imbalance_ratio=1, max_count=50).values.tolist() == [50, 50]


@given(st.integers(2, 200), st.floats(0.001, 0.999), st.floats(1, 1e4), st.integers(10**4, 10**6))
def test_step_has_two_counts_and_the_fraction_nearest_to_the_wanted_one(
    num_classes: int, fraction: float, ratio: float, max_count: int
) -> None:
    wanted = fraction * num_classes
    if not 0.5 < wanted < num_classes - 0.5:
        return
    values = ClassCounts.step(
        num_classes=num_classes, imbalance_ratio=ratio, minority_fraction=fraction, max_count=max_count
    ).values
    smallest = round(max_count / ratio)
    assert set(values.tolist()) == {max_count, smallest}
    if smallest < max_count:
        assert abs(np.count_nonzero(values == smallest) - wanted) <= 0.5
        assert (np.diff(values) <= 0).all()


STEP = {"num_classes": 4, "imbalance_ratio": 10.0, "minority_fraction": 0.5, "max_count": 50}


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("num_classes", 1),
        ("num_classes", 0),
        ("num_classes", -4),
        ("num_classes", 2.5),
        ("num_classes", True),
        ("num_classes", "4"),
        ("num_classes", None),
        pytest.param("num_classes", 10**400, id="num_classes-beyond float64"),
        ("imbalance_ratio", 0.5),
        ("imbalance_ratio", -1),
        ("imbalance_ratio", float("nan")),
        ("imbalance_ratio", float("inf")),
        ("imbalance_ratio", 1000),  # leaves no sample in a minority class
        ("imbalance_ratio", None),
        ("imbalance_ratio", "10"),
        ("imbalance_ratio", True),
        ("imbalance_ratio", [10, 20]),
        ("minority_fraction", 0),
        ("minority_fraction", 1),
        ("minority_fraction", 0.01),  # rounds to no minority class
        ("minority_fraction", 0.99),  # rounds to no majority class
        ("minority_fraction", float("nan")),
        ("max_count", 0),
        ("max_count", 5.5),
        ("max_count", 10**18),
    ],
)
def test_step_refuses_what_it_cannot_make_and_names_the_argument(argument: str, value: object) -> None:
    with pytest.raises(InputError, match=f"^{argument} must"):
        ClassCounts.step(**{**STEP, argument: value})  # type: ignore[arg-type]


# Exponential


def published_cifar_lt_counts(num_classes: int, imbalance_ratio: float, max_count: int) -> list[int]:
    """The loop of the released CIFAR-LT loaders (Cui et al. 2019; Cao et al. 2019), ``imb_factor`` = 1 / R."""
    factor = 1 / imbalance_ratio
    return [int(max_count * factor ** (index / (num_classes - 1.0))) for index in range(num_classes)]


@pytest.mark.parametrize("ratio", [1, 10, 20, 50, 100, 200])
@pytest.mark.parametrize(("num_classes", "max_count"), [(10, 5000), (100, 500)])
def test_exponential_is_the_published_cifar_lt_profile(num_classes: int, max_count: int, ratio: int) -> None:
    counts = ClassCounts.exponential(num_classes=num_classes, imbalance_ratio=ratio, max_count=max_count)
    assert counts.values.tolist() == published_cifar_lt_counts(num_classes, ratio, max_count)


@pytest.mark.parametrize(
    ("num_classes", "max_count", "ratio", "total"),
    [
        (10, 5000, 10, 20431),
        (10, 5000, 50, 13996),
        (10, 5000, 100, 12406),
        (100, 500, 10, 19573),
        (100, 500, 100, 10847),
    ],
)
def test_exponential_has_the_published_number_of_training_images(
    num_classes: int, max_count: int, ratio: int, total: int
) -> None:
    counts = ClassCounts.exponential(num_classes=num_classes, imbalance_ratio=ratio, max_count=max_count)
    assert counts.num_samples == total


@given(st.integers(2, 300), st.floats(1, 1e3), st.integers(10**4, 10**6))
def test_exponential_falls_from_the_first_count_to_the_last(num_classes: int, ratio: float, max_count: int) -> None:
    values = ClassCounts.exponential(num_classes=num_classes, imbalance_ratio=ratio, max_count=max_count).values
    assert values[0] == max_count
    assert (np.diff(values) <= 0).all()
    assert abs(values[-1] - max_count / ratio) <= 1


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("num_classes", 1),
        ("num_classes", "ten"),
        ("imbalance_ratio", 0.99),
        ("imbalance_ratio", float("nan")),
        ("imbalance_ratio", 51),  # the last class would be empty
        ("max_count", 0),
        ("max_count", True),
    ],
)
def test_exponential_refuses_what_it_cannot_make(argument: str, value: object) -> None:
    valid = {"num_classes": 10, "imbalance_ratio": 10, "max_count": 50}
    with pytest.raises(InputError, match=argument):
        ClassCounts.exponential(**{**valid, argument: value})  # type: ignore[arg-type]


# Zipf


def zipf_shares(num_classes: int, num_samples: int, exponent: float) -> np.ndarray:
    share = np.array([(c + 1.0) ** -exponent for c in range(num_classes)])
    return num_samples * share / share.sum()


def test_zipf_known_answers() -> None:
    assert ClassCounts.zipf(num_classes=4, num_samples=25).values.tolist() == [12, 6, 4, 3]
    assert ClassCounts.zipf(num_classes=3, num_samples=12, exponent=0).values.tolist() == [4, 4, 4]
    assert ClassCounts.zipf(num_classes=3, num_samples=3).values.tolist() == [1, 1, 1]
    assert ClassCounts.zipf(num_classes=3, num_samples=100, exponent=50).values.tolist() == [98, 1, 1]
    assert ClassCounts.zipf(num_classes=3, num_samples=100, exponent=2000).values.tolist() == [98, 1, 1]


@given(st.integers(2, 2000), st.integers(0, 10**9), st.floats(0, 6))
def test_zipf_sums_exactly_is_monotone_and_leaves_no_class_empty(num_classes: int, extra: int, exponent: float) -> None:
    values = ClassCounts.zipf(num_classes=num_classes, num_samples=num_classes + extra, exponent=exponent).values
    assert values.sum() == num_classes + extra
    assert (np.diff(values) <= 0).all()
    assert values.min() >= 1


@given(st.integers(2, 200), st.integers(0, 10**7), st.floats(0, 3))
def test_zipf_is_within_one_sample_of_the_exact_shares(num_classes: int, extra: int, exponent: float) -> None:
    shares = zipf_shares(num_classes, num_classes + extra, exponent)
    if shares[-1] >= 1:
        values = ClassCounts.zipf(num_classes=num_classes, num_samples=num_classes + extra, exponent=exponent).values
        assert np.abs(values - shares).max() < 1 + 1e-6


@given(st.integers(2, 300), st.integers(2**50, 2**53 + 2**52), st.floats(0, 2))
def test_zipf_is_exact_up_to_the_largest_counts(num_classes: int, num_samples: int, exponent: float) -> None:
    try:
        counts = ClassCounts.zipf(num_classes=num_classes, num_samples=num_samples, exponent=exponent)
    except InputError as error:
        assert "num_samples must be" in str(error)  # noqa: PT017
    else:
        assert counts.num_samples == num_samples
        assert (np.diff(counts.values) <= 0).all()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("num_classes", 1),
        ("num_samples", 9),
        ("num_samples", 0),
        ("num_samples", 10.5),
        pytest.param("num_samples", 10**400, id="num_samples-beyond float64"),
        ("exponent", -0.1),
        ("exponent", float("inf")),
        ("exponent", "one"),
    ],
)
def test_zipf_refuses_what_it_cannot_make(argument: str, value: object) -> None:
    valid = {"num_classes": 10, "num_samples": 100, "exponent": 1.0}
    with pytest.raises(InputError, match=argument):
        ClassCounts.zipf(**{**valid, argument: value})  # type: ignore[arg-type]


# From labels


class Labelled(Dataset):
    """A data set with ``targets``, as torchvision's have."""

    def __init__(self, targets: object) -> None:
        self.targets = targets

    def __len__(self) -> int:
        return len(self.targets)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[float, int]:
        return 0.0, self.targets[index]  # type: ignore[index]


LABELS = [0, 0, 1, 2, 2, 2]


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        tuple(LABELS),
        np.array(LABELS),
        np.array(LABELS, dtype=np.uint8),
        np.array(LABELS, dtype=np.uint64),
        np.array(LABELS, dtype=np.float32),
        torch.tensor(LABELS),
        torch.tensor(LABELS, dtype=torch.int32),
        torch.tensor(LABELS, dtype=torch.uint8),
        Labelled(LABELS),
        Labelled(np.array(LABELS)),
        Labelled(torch.tensor(LABELS)),
        Subset(Labelled([0, 9, 0, 1, 2, 2, 9, 2]), [0, 2, 3, 4, 5, 7]),
        Subset(Labelled(torch.tensor([0, 9, 0, 1, 2, 2, 9, 2])), torch.tensor([0, 2, 3, 4, 5, 7])),
        Subset(Subset(Labelled([9, *LABELS]), range(1, 7)), range(6)),
    ],
    ids=lambda labels: type(labels).__name__,
)
def test_labels_are_counted_wherever_they_come_from(labels: object) -> None:
    assert ClassCounts.from_labels(labels) == ClassCounts([2, 1, 3])


@given(count_lists(max_count=30), st.randoms(use_true_random=False))
def test_counting_labels_undoes_writing_them_out(counts: list[int], random: object) -> None:
    labels = [c for c, count in enumerate(counts) for _ in range(count)]
    random.shuffle(labels)  # type: ignore[attr-defined]
    assert ClassCounts.from_labels(labels).values.tolist() == counts


def test_the_number_of_classes_can_be_demanded() -> None:
    assert ClassCounts.from_labels(LABELS, num_classes=3) == ClassCounts([2, 1, 3])
    with pytest.raises(InputError, match=r"no sample of classes \[3, 4\]"):
        ClassCounts.from_labels(LABELS, num_classes=5)
    with pytest.raises(InputError, match=r"labels must lie in 0\.\.1, got 2"):
        ClassCounts.from_labels(LABELS, num_classes=2)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "labels.*non-empty"),
        ([[0, 1]], "labels.*one-dimensional"),
        (0, "labels.*one-dimensional"),
        ([0, 1, -1], "labels must be class indices, at least 0, got -1"),
        ([0, 2], r"labels must hold every class.*\[1\]"),
        ([0.5, 1.0], "labels must be whole numbers"),
        ([0.0, float("nan")], "labels must be whole numbers"),
        ("cat", "labels"),
        (None, "labels"),
        ({"cat": 0}, "labels"),
        (torch.tensor([[0, 1]]), "labels.*one-dimensional"),
        (Labelled([[1, 0], [0, 1]]), "labels.*one-dimensional"),
    ],
)
def test_labels_that_are_not_class_indices_are_refused(labels: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ClassCounts.from_labels(labels)


@pytest.mark.parametrize(
    "labels",
    [
        [0.0, 1.0, float("inf")],
        [0, 1, 10**12],
        [[0], [1, 2]],
        [0, 0],
        TensorDataset(torch.zeros(3, 2)),
        Subset(TensorDataset(torch.zeros(3, 2)), [0, 1]),
    ],
    ids=["infinite", "enormous", "ragged", "one class", "without targets", "subset without targets"],
)
def test_labels_that_cannot_be_counted_give_one_clear_message(labels: object) -> None:
    with pytest.raises(InputError, match="labels"):
        ClassCounts.from_labels(labels)
