"""Class counts from labels in every form that a training set has them."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

from implicit_geometry import ClassCounts, InputError

LABELS = [0, 2, 1, 2, 0, 2]
NAMES = ["owl", "cat", "owl", "dog", "owl", "dog"]
COUNTS = ClassCounts([2, 1, 3])


class Pictures(Dataset[dict[str, Any]]):
    """A data set that has its labels in its samples alone."""

    def __init__(self, key: str = "labels") -> None:
        self.key = key

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"pixels": torch.zeros(2), self.key: LABELS[index]}


def tensors(labels: list[int]) -> TensorDataset:
    return TensorDataset(torch.zeros(len(labels), 2), torch.tensor(labels))


SOURCES: dict[str, Any] = {
    "tuple": tuple(LABELS),
    "counter": Counter(LABELS),
    "dictionary of NumPy counts": {np.int64(c): np.int64(n) for c, n in Counter(LABELS).items()},
    "TensorDataset": tensors(LABELS),
    "Subset": Subset(tensors([1, *LABELS, 0]), range(1, 7)),
    "ConcatDataset": ConcatDataset([tensors(LABELS[:2]), Subset(tensors(LABELS), [2, 3, 4, 5])]),
    "DataLoader of pairs": DataLoader(tensors(LABELS), batch_size=4),
    "DataLoader of dictionaries": DataLoader(Pictures(), batch_size=4),
    "DataLoader with another key": DataLoader(Pictures("target"), batch_size=1),
}


@pytest.mark.parametrize("source", SOURCES)
def test_labels_are_counted_wherever_they_come_from(source: str) -> None:
    assert ClassCounts.from_labels(SOURCES[source]) == COUNTS


def test_a_loader_tells_how_many_batches_were_read() -> None:
    told: list[int] = []
    ClassCounts.from_labels(DataLoader(tensors(LABELS), batch_size=2), progress=told.append)
    assert told == [1, 2, 3]


class TestNames:
    def test_labels_that_are_names_are_in_the_order_of_the_alphabet(self) -> None:
        for labels in (NAMES, np.array(NAMES), np.array(NAMES, dtype=object), Counter(NAMES)):
            found = ClassCounts.from_labels(labels)
            assert found.class_names == ("cat", "dog", "owl")
            assert found.values.tolist() == [1, 2, 3]

    def test_or_in_the_order_given(self) -> None:
        found = ClassCounts.from_labels(NAMES, class_names=["owl", "dog", "cat"])
        assert dict(zip(found.class_names, found.values.tolist(), strict=True)) == Counter(NAMES)
        assert found.values.tolist() == [3, 2, 1]

    def test_an_image_folder_has_names_of_its_own(self, tmp_path: Path) -> None:
        folder = pytest.importorskip("torchvision.datasets").ImageFolder
        for number, name in enumerate(NAMES):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("L", (2, 2)).save(tmp_path / name / f"{number}.png")
        found = ClassCounts.from_labels(folder(tmp_path))
        assert (found.class_names, found.values.tolist()) == (("cat", "dog", "owl"), [1, 2, 3])
        assert ClassCounts.from_labels(Subset(folder(tmp_path), range(6))).class_names == found.class_names

    def test_so_has_a_data_set_of_hugging_face(self) -> None:
        datasets = pytest.importorskip("datasets")
        features = datasets.Features(
            {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b", "c"])}
        )
        table = datasets.Dataset.from_dict({"text": ["x"] * 6, "label": LABELS}, features=features)
        found = ClassCounts.from_labels(table)
        assert (found, found.class_names) == (COUNTS, ("a", "b", "c"))
        assert ClassCounts.from_labels(table["label"]) == COUNTS
        other = table.rename_column("label", "species")
        assert ClassCounts.from_labels(other, column="species") == COUNTS
        with pytest.raises(InputError, match=r"^column must name the column .*, got None; there are text, species"):
            ClassCounts.from_labels(other)

    def test_they_are_kept_and_take_no_part_in_comparisons(self) -> None:
        named = ClassCounts([2, 1, 3], class_names=["a", "b", "c"])
        assert named == COUNTS
        assert hash(named) == hash(COUNTS)
        assert repr(named) == repr(COUNTS)
        for same in (ClassCounts(named), copy.deepcopy(named), pickle.loads(pickle.dumps(named))):
            assert same.class_names == ("a", "b", "c")
        assert COUNTS.class_names == ()

    def test_they_may_be_an_array(self) -> None:
        assert ClassCounts.from_labels(LABELS, class_names=np.array(["a", "b", "c"])).class_names == ("a", "b", "c")

    @pytest.mark.parametrize("names", [{"cat", "dog", "owl"}, np.array("cat"), "cat", 3])
    def test_they_must_have_an_order(self, names: Any) -> None:
        with pytest.raises(InputError, match=r"^class_names must be"):
            ClassCounts.from_labels(NAMES, class_names=names)

    @pytest.mark.parametrize("names", [["a"], ["a", "a", "b"], ["a", "b", 3], "abc", None])
    def test_they_must_be_one_per_class(self, names: Any) -> None:
        with pytest.raises(InputError, match=r"^class_names must be 3 different names, one per class"):
            ClassCounts([2, 1, 3], class_names=names)


class TestMaps:
    masks = torch.tensor([[[0, 2], [255, 1]], [[2, 0], [2, 255]]])

    def test_pixels_are_samples_and_ignored_ones_do_not_count(self) -> None:
        for masks in (self.masks, self.masks.numpy(), self.masks.byte()):
            assert ClassCounts.from_labels(masks, ignore_index=255) == COUNTS
        loader = DataLoader(TensorDataset(torch.zeros(2, 3), self.masks), batch_size=1)
        assert ClassCounts.from_labels(loader, ignore_index=255) == COUNTS

    def test_maps_need_an_ignore_index_so_that_one_hot_labels_are_no_maps(self) -> None:
        with pytest.raises(InputError, match=r"^labels must be one-dimensional.*give ignore_index.*got shape \(3, 3\)"):
            ClassCounts.from_labels(np.eye(3, dtype=int))


class TestZeros:
    def test_a_class_without_a_sample_is_an_error_that_names_it(self) -> None:
        with pytest.raises(InputError, match=r"no sample of classes \[1, 3\]"):
            ClassCounts.from_labels([0, 2, 2], num_classes=4)
        with pytest.raises(InputError, match=r"no sample of classes \['elk'\]"):
            ClassCounts.from_labels(NAMES, class_names=["cat", "dog", "elk", "owl"])

    def test_or_counts_as_one_sample(self) -> None:
        assert ClassCounts.from_labels([0, 2, 2], num_classes=4, zeros="smooth") == ClassCounts([1, 1, 2, 1])
        assert ClassCounts.from_labels({"a": 3, "b": 0}, zeros="smooth") == ClassCounts([3, 1])

    def test_nothing_is_not_smoothed(self) -> None:
        with pytest.raises(InputError, match=r"^labels must be a non-empty sequence"):
            ClassCounts.from_labels([], num_classes=3, zeros="smooth")


@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=60).map(lambda found: [*range(6), *found]),
    random=st.randoms(use_true_random=False),
    size=st.integers(1, 20),
)
def test_order_and_batches_do_not_matter(labels: list[int], random: Any, size: int) -> None:
    expected = [Counter(labels)[c] for c in range(6)]
    shuffled = random.sample(labels, len(labels))
    assert ClassCounts.from_labels(shuffled).values.tolist() == expected
    assert ClassCounts.from_labels(DataLoader(tensors(shuffled), batch_size=size)).values.tolist() == expected
    assert ClassCounts.from_labels([f"class {c}" for c in shuffled]).values.tolist() == expected


@pytest.mark.parametrize(
    ("labels", "options", "words"),
    [
        ([0, "a"], {}, r"^labels must"),
        ({"a": 3, 1: 2}, {}, r"^labels must have class indices or names as keys"),
        ({0: 3, 1: -2}, {}, r"^labels must be a whole number between 0 and 9007199254740992, got -2"),
        ({-1: 3, 1: 2}, {}, r"^labels must lie in 0..1, got -1"),
        ({0: 3, 4: 2}, {"num_classes": 3}, r"^labels must lie in 0..2, got 4"),
        ({}, {}, r"^labels must have class indices or names as keys"),
        (NAMES, {"class_names": ["cat", "dog"]}, r"^labels must be among class_names, got 'owl'"),
        (NAMES, {"num_classes": 4}, r"^num_classes must be the number of class names, 3, got 4"),
        (LABELS, {"class_names": ["a", "b"]}, r"^class_names must be 3 different names"),
        (LABELS, {"zeros": "ignore"}, r"^zeros must be one of error, smooth"),
        (LABELS, {"ignore_index": 0.5}, r"^ignore_index must be a whole number"),
        (LABELS, {"column": "label"}, r"^column must be left out where labels are no table"),
        (DataLoader(torch.zeros(4, 2)), {}, r"^labels must give batches \(inputs, labels\) or dict"),
        (DataLoader(Pictures("names")), {}, r"^labels must give batches"),
        (Subset(tensors(LABELS), [7]), {}, r"^labels must be a subset of its data set"),
        (torch.tensor([0.2, 0.8]), {}, r"^labels must be whole numbers"),
    ],
)
def test_bad_input(labels: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ClassCounts.from_labels(labels, **options)
