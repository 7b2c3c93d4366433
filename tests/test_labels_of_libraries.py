"""Class counts from what pandas, Arrow, torch, torchvision and Hugging Face hold; what reads in two ways is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import (
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from implicit_geometry import ClassCounts, InputError

datasets = pytest.importorskip("datasets")

LABELS = [0, 2, 1, 2, 0, 2]
NAMES = ["owl", "cat", "owl", "dog", "owl", "dog"]
COUNTS = ClassCounts([2, 1, 3])
ONE_HOT = np.eye(3, dtype=int)[LABELS]
FRAME = pd.DataFrame({"weight": np.ones(6), "species": NAMES, "label": LABELS})
PAIRS = TensorDataset(torch.zeros(6, 2), torch.tensor(LABELS))
TRIPLES = TensorDataset(torch.zeros(6, 2), torch.tensor(LABELS), torch.arange(6))
MASKS = torch.tensor([[[0, 2], [255, 1]], [[2, 0], [2, 255]]])


class Samples(Dataset[Any]):
    """A data set that has its labels in its samples alone."""

    def __init__(self, samples: list[Any]) -> None:
        self.samples, self.read = samples, 0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        self.read += 1
        return self.samples[index]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([(torch.zeros(2), label) for label in LABELS])


class Folder:
    """What the data sets of torchvision offer."""

    def __init__(self, targets: list[int], classes: list[str], target_transform: Any = None) -> None:
        self.targets, self.classes, self.target_transform = targets, classes, target_transform

    def __len__(self) -> int:
        return len(self.targets)


def hugging_face(column: str = "label", **options: Any) -> Any:
    features = datasets.Features({"text": datasets.Value("string"), column: datasets.ClassLabel(names=["a", "b", "c"])})
    return datasets.Dataset.from_dict({"text": ["x"] * 6, column: LABELS}, features=features, **options)


def tagged_words() -> Any:
    labels = datasets.Sequence(datasets.ClassLabel(names=["O", "B", "I"]))
    return datasets.Dataset.from_dict({"labels": [[0, 2], [1], [2, 0, 2]]}, features=datasets.Features(labels=labels))


def samples(key: str | int) -> list[Any]:
    if isinstance(key, str):
        return [{"pixels": torch.zeros(2), key: label} for label in LABELS]
    return [tuple(label if place == key else "none" for place in range(3)) for label in LABELS]


FOUND: dict[str, tuple[Any, dict[str, Any]]] = {
    "Series": (FRAME.label, {}),
    "nullable Series": (FRAME.label.astype("Int64"), {}),
    "Series of objects": (FRAME.label.astype(object), {}),
    "Categorical of numbers": (pd.Categorical(LABELS, categories=[2, 0, 1]), {}),
    "DataFrame": (FRAME, {}),
    "DataFrame by place": (FRAME, {"column": -1}),
    "DataFrame of one column": (FRAME[["label"]].rename(columns={"label": "kind"}), {}),
    "dictionary of columns": ({"x": [0] * 6, "kind": LABELS}, {"column": "kind"}),
    "Arrow table": (pa.table({"x": LABELS[::-1], "label": LABELS}), {}),
    "Arrow array": (pa.chunked_array([LABELS[:2], LABELS[2:]]), {}),
    "generator": ((label for label in LABELS), {}),
    "map": (map(int, "021202"), {}),
    "iterator of batches": (iter(torch.tensor(LABELS).split(4)), {}),
    "iterator of pairs": (((None, label) for label in LABELS), {"column": 1}),
    "iterator of dictionaries": (iter(samples("kind")), {"column": "kind"}),
    "list of samples": (samples(2), {"column": 2}),
    "column of labels, shape (n, 1)": (np.array(LABELS)[:, None], {}),
    "one-hot": (ONE_HOT, {"one_hot": True}),
    "one-hot floats": (torch.tensor(ONE_HOT).float(), {"one_hot": True}),
    "one-hot maps": (torch.tensor(ONE_HOT).view(2, 1, 3, 3).movedim(-1, 1), {"one_hot": True}),
    "one-hot samples": (Samples([(0, row) for row in ONE_HOT]), {"one_hot": True}),
    "iterator of one-hot": (iter(ONE_HOT), {"one_hot": True}),
    "loader of one-hot": (DataLoader(TensorDataset(torch.zeros(6), torch.tensor(ONE_HOT)), 4), {"one_hot": True}),
    "maps without an ignored label": ([[0, 2, 1], [2, 0, 2]], {"one_hot": False}),
    "maps of different shapes": ([np.zeros((1, 2)), np.full((3,), 2), np.array([[-9], [1]])], {"ignore_index": -9}),
    "masks of a subset": (Subset(TensorDataset(torch.zeros(4), MASKS.repeat(2, 1, 1)), [1, 2]), {"ignore_index": 255}),
    "tensors by place": (TRIPLES, {"column": 1}),
    "loader by place": (DataLoader(TRIPLES, 4), {"column": -2}),
    "loader by name": (DataLoader(Samples(samples("kind")), 4), {"column": "kind"}),
    "loader without batches": (DataLoader(PAIRS, batch_size=None), {}),
    "loader of a stream": (DataLoader(Stream(), 4), {}),
    "loader that drops nothing": (DataLoader(PAIRS, 3, shuffle=True, drop_last=True), {}),
    "stream": (Stream(), {}),
    "chain": (ChainDataset([Stream()]), {}),
    "samples": (Samples([(0.0, label) for label in LABELS]), {}),
    "samples that are labels": (Samples(LABELS), {}),
    "samples that are labels, as tensors": (Samples(list(torch.tensor(LABELS))), {}),
    "masked array without a masked entry": (np.ma.array(LABELS), {}),
    "samples by name": (Samples(samples("kind")), {"column": "kind"}),
    "samples by place": (Samples(samples(0)), {"column": 0}),
    "stacked columns": (StackDataset(torch.arange(6), torch.tensor(LABELS)), {}),
    "stacked columns with names": (StackDataset(x=torch.arange(6), label=torch.tensor(LABELS)), {}),
    "subset of a concatenation": (Subset(ConcatDataset([PAIRS, Subset(PAIRS, [4, 1])]), [0, 6, 2, 7, 3, 5]), {}),
    "concatenation of other kinds": (ConcatDataset([Subset(PAIRS, [0, 1]), Samples([(0, c) for c in LABELS[2:]])]), {}),
    "data set that transforms its targets": (Folder([0, 4, 2, 4, 0, 4], list("abcde"), lambda y: y // 2), {}),
    "Hugging Face by place": (hugging_face("kind"), {"column": 1}),
    "Hugging Face as tensors": (hugging_face().with_format("torch"), {}),
    "Hugging Face in a loader": (DataLoader(hugging_face("kind").with_format("torch"), 4), {"column": "kind"}),
    "Hugging Face in a subset": (Subset(hugging_face("kind"), range(6)), {"column": "kind"}),
    "Hugging Face, streamed": (hugging_face("kind").to_iterable_dataset(), {"column": "kind"}),
    "tagged words": (tagged_words(), {"one_hot": False}),
    "tagged words of a subset": (Subset(tagged_words(), [0, 1, 2]), {"ignore_index": -100}),
    "dictionary with an ignored label": ({0: 2, 1: 1, 2: 3, 255: 9}, {"ignore_index": 255}),
}


@pytest.mark.parametrize("source", FOUND)
def test_labels_are_counted_wherever_they_come_from(source: str) -> None:
    labels, options = FOUND[source]
    assert ClassCounts.from_labels(labels, **options) == COUNTS


@pytest.mark.parametrize("labels", [[False, True, True], np.array([False, True, True]), pd.Series([False, True, True])])
def test_false_is_class_0_and_true_class_1(labels: Any) -> None:
    assert ClassCounts.from_labels(labels) == ClassCounts([1, 2])
    assert ClassCounts.from_labels(torch.tensor([False, True, True])) == ClassCounts([1, 2])
    assert ClassCounts.from_labels({False: 1, True: 2}) == ClassCounts([1, 2])


class TestNames:
    @pytest.mark.parametrize(
        "labels",
        [
            FRAME.species,
            np.array(NAMES, dtype="S"),
            np.array(NAMES, dtype=np.dtypes.StringDType()),
            pa.array(NAMES).dictionary_encode(),
            iter(NAMES),
            DataLoader(Samples([(0, name) for name in NAMES]), 4),
        ],
        ids=["Series", "bytes", "StringDType", "Arrow", "iterator", "DataLoader"],
    )
    def test_labels_that_are_names_keep_them(self, labels: Any) -> None:
        found = ClassCounts.from_labels(labels)
        assert dict(zip(found.class_names, found.values.tolist(), strict=True)) == {"cat": 1, "dog": 2, "owl": 3}

    def test_categories_have_an_order_and_may_be_empty(self) -> None:
        kinds = pd.CategoricalDtype(["owl", "elk", "dog", "cat"])
        for labels in (FRAME.species.astype(kinds), pd.Categorical(NAMES, dtype=kinds)):
            found = ClassCounts.from_labels(labels, zeros="smooth")
            assert (found.class_names, found.values.tolist()) == (("owl", "elk", "dog", "cat"), [3, 1, 2, 1])
            with pytest.raises(InputError, match=r"no sample of classes \['elk'\]"):
                ClassCounts.from_labels(labels)

    @pytest.mark.parametrize(
        ("labels", "options"),
        [
            (hugging_face("kind"), {"column": "kind"}),
            (hugging_face("kind").to_iterable_dataset(), {"column": "kind"}),
            (DataLoader(hugging_face("kind").with_format("torch"), 4), {"column": "kind"}),
            (Subset(hugging_face(), range(6)), {}),
            (ConcatDataset([Folder(LABELS, ["a", "b", "c"]), Folder(LABELS, ["a", "b", "c"])]), {}),
        ],
    )
    def test_those_of_the_data_set_are_kept(self, labels: Any, options: dict[str, Any]) -> None:
        assert ClassCounts.from_labels(labels, **options).class_names == ("a", "b", "c")

    def test_those_of_words(self) -> None:
        assert ClassCounts.from_labels(tagged_words(), one_hot=False).class_names == ("O", "B", "I")

    def test_a_wrapper_may_give_other_labels_than_what_it_wraps(self) -> None:
        wrapper = Samples([(0, label) for label in LABELS])
        wrapper.dataset = Folder([0, 1, 2, 3], ["a", "b", "c", "d"])  # type: ignore[attr-defined]
        found = ClassCounts.from_labels(wrapper)
        assert (found, found.class_names) == (COUNTS, ())

    def test_targets_that_are_transformed_have_other_names(self, tmp_path: Path) -> None:
        folder = pytest.importorskip("torchvision.datasets").ImageFolder
        for number, name in enumerate(NAMES):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("L", (2, 2)).save(tmp_path / name / f"{number}.png")
        found = ClassCounts.from_labels(folder(tmp_path, target_transform=lambda label: int(label > 0)))
        assert (found.values.tolist(), found.class_names) == ([1, 5], ())


@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=40).map(lambda found: [*range(4), *found]),
    seed=st.integers(0, 100),
)
def test_every_form_of_the_same_labels_has_the_same_counts(labels: list[int], seed: int) -> None:
    expected = np.bincount(labels).tolist()
    order = np.random.default_rng(seed).permutation(len(labels) + 3)
    padded = TensorDataset(torch.zeros(len(labels) + 3), torch.tensor([*labels, 0, 0, 0]))
    chosen = Subset(ConcatDataset([Subset(padded, range(3)), Subset(padded, range(3, len(padded)))]), order)
    kept = Subset(chosen, np.flatnonzero(order < len(labels)))
    for form in (pd.Series(labels), iter(labels), kept, DataLoader(kept, 5), Samples([(0, c) for c in labels])):
        assert ClassCounts.from_labels(form).values.tolist() == expected
    assert ClassCounts.from_labels(np.eye(4)[labels], one_hot=True).values.tolist() == expected


class TestWhatReadsInTwoWays:
    @pytest.mark.parametrize(
        "labels",
        [
            ONE_HOT,
            ONE_HOT.astype(bool),
            torch.tensor(ONE_HOT).view(2, 1, 3, 3).movedim(-1, 1),
            torch.tensor(ONE_HOT).view(2, 1, 3, 3),
            Subset(TensorDataset(torch.zeros(6), torch.tensor(ONE_HOT)), [0, 1, 2]),
            DataLoader(TensorDataset(torch.zeros(6), torch.tensor(ONE_HOT)), 4),
            Samples([(0, row) for row in ONE_HOT]),
        ],
    )
    def test_one_hot_labels_are_no_maps(self, labels: Any) -> None:
        with pytest.raises(InputError, match=r"^labels must read in one way.*one_hot=True or False decides"):
            ClassCounts.from_labels(labels, ignore_index=255)
        with pytest.raises(InputError, match=r"^labels must be one-dimensional.*one_hot=True for one-hot labels"):
            ClassCounts.from_labels(labels)

    def test_the_whole_pass_tells_maps_from_one_hot_labels(self) -> None:
        masks = TensorDataset(torch.zeros(2), torch.tensor([[[0, 1], [1, 0]], [[0, 1], [1, 1]]]))
        assert ClassCounts.from_labels(DataLoader(masks, 1), ignore_index=255) == ClassCounts([3, 5])

    def test_the_option_decides(self) -> None:
        assert ClassCounts.from_labels(ONE_HOT, one_hot=False) == ClassCounts([12, 6])
        assert ClassCounts.from_labels(ONE_HOT, one_hot=True) == COUNTS

    def test_an_iterator_of_one_hot_labels_is_none_of_batches(self) -> None:
        with pytest.raises(InputError, match=r"^labels must read in one way"):
            ClassCounts.from_labels(row for row in ONE_HOT)

    @pytest.mark.parametrize(
        ("labels", "options", "words"),
        [
            (
                torch.eye(3)[LABELS] * 0.9 + 0.1 / 3,
                {},
                r"^labels must be whole numbers, got 0.93.*before they are mixed",
            ),
            (torch.full((4, 3), 1 / 3), {"ignore_index": 255}, r"^labels must be whole numbers, got 0.33"),
            (np.ones((4, 3)), {"one_hot": True}, r"^labels must hold one 1 and else 0 along axis 1"),
            (LABELS, {"one_hot": True}, r"^labels must hold one 1 and else 0 along axis 1.*got shape \(6,\)"),
            (ONE_HOT, {"one_hot": True, "num_classes": 4}, r"^labels must be one-hot of 4 classes along axis 1, got 3"),
            (TRIPLES, {}, r"^column must say which of the 3 items of tensors holds the labels"),
            (DataLoader(TRIPLES, 4), {}, r"^column must say which of the 3 items of batches holds the labels"),
            (Samples(samples(1)), {}, r"^column must say which of the 3 items of samples holds the labels"),
            (iter([(0, 1), (1, 0)]), {}, r"^column must say which item of each sample is its label"),
            (Samples([{"label": 0, "target": 1}]), {}, r"^column must say which of them .*; there are label, target"),
            (FRAME.assign(y=LABELS), {}, r"^column must name the column .*, got None; there are weight, species"),
            (FRAME.species.value_counts(), {}, r"^labels must be labels, not counts of them .*\.to_dict\(\)"),
            ({0, 1}, {}, r"^labels must be one class per sample: a set holds each class once"),
            ([str(label) for label in range(11)], {}, r"^labels must have an order.*class_names= decides"),
            ({str(label): 5 for label in range(11)}, {}, r"^labels must have an order.*class_names= decides"),
            ([0, 2], {"zeros": "smooth"}, r"^num_classes must be given for zeros='smooth'"),
            (pd.Categorical([10, 20]), {}, r"^labels must have categories that are names, or all of 0\.\.k-1"),
            (
                ConcatDataset([Folder([0, 1], ["cat", "dog"]), Folder([0, 1], ["cat", "owl"])]),
                {},
                r"^labels must be data sets of the same classes in the same order",
            ),
        ],
    )
    def test_else_it_is_refused(self, labels: Any, options: dict[str, Any], words: str) -> None:
        with pytest.raises(InputError, match=words):
            ClassCounts.from_labels(labels, **options)


class TestLoaders:
    @pytest.mark.parametrize(
        ("loader", "words"),
        [
            (DataLoader(PAIRS, 4, drop_last=True), "drop_last=True"),
            (DataLoader(Stream(), 4, drop_last=True), "drop_last=True"),
            (DataLoader(PAIRS, 2, sampler=WeightedRandomSampler([1.0] * 6, 6)), "draws with replacement"),
            (DataLoader(PAIRS, 2, sampler=DistributedSampler(PAIRS, 2, 0)), "the share of one process"),
        ],
    )
    def test_one_that_does_not_give_every_sample_once_is_refused(self, loader: Any, words: str) -> None:
        with pytest.raises(InputError, match=rf"^labels must be a loader that gives every sample once.*{words}"):
            ClassCounts.from_labels(loader)

    def test_a_line_tells_how_far_it_is(self, capsys: pytest.CaptureFixture[str]) -> None:
        ClassCounts.from_labels(DataLoader(PAIRS, 2), progress=True)
        assert capsys.readouterr().err == "\rcounting labels: 3 of 3 batches, 0 s left\n"
        ClassCounts.from_labels(DataLoader(PAIRS, 2), progress=False)
        assert capsys.readouterr().err == ""

    def test_samples_are_told_too(self) -> None:
        told: list[int] = []
        ClassCounts.from_labels(ConcatDataset([Samples([(0, c) for c in LABELS])] * 2), progress=told.append)
        assert told == list(range(1, 13))

    def test_a_subset_reads_its_own_samples_only(self) -> None:
        whole = Samples([(0, label) for label in LABELS])
        ClassCounts.from_labels(Subset(whole, [0, 2]))
        assert whole.read == 2

    def test_an_error_of_the_data_set_stays_its_own(self) -> None:
        with pytest.raises(KeyError, match="gone"):
            ClassCounts.from_labels(Broken([(0, 1)]))


class Broken(Samples):
    def __getitem__(self, index: int) -> Any:
        raise KeyError("gone")


@pytest.mark.parametrize(
    ("labels", "options", "words"),
    [
        ([0, 1, -1], {}, r"^labels must be class indices, at least 0, got -1 \(ignore_index=-1 leaves it out\)"),
        ([0, 1, 255], {"num_classes": 2}, r"^labels must lie in 0\.\.1, got 255 \(ignore_index=255 leaves it out\)"),
        (
            [[0, -7], [1, 255]],
            {"ignore_index": 255},
            r"^labels must be class indices, .* or be ignore_index 255, got -7",
        ),
        (pd.Series([0, 1, None]), {}, r"^labels must be whole numbers, got nan"),
        (pd.Series([0, 1, None], dtype=object), {}, r"^labels must have no missing entries, got None at position 2"),
        (pd.Series(["a", None, "b"]), {}, r"^labels must have no missing entries, got nan at position 1"),
        (["a", float("nan")], {}, r"^labels must have no missing entries, got nan at position 1"),
        ([0.0, 1.5], {}, r"^labels must be whole numbers, got 1.5"),
        ([0.0, float("inf")], {}, r"^labels must be whole numbers, got inf"),
        (np.array([2**64 - 1], dtype=np.uint64), {"ignore_index": -1}, r"^labels must be class indices below 2\*\*63"),
        ([0, "a"], {}, r"^labels must be class indices, class names or a data set"),
        (
            datasets.DatasetDict(train=hugging_face()),
            {},
            r"^labels must be counts by class.*, got a Dataset for 'train'",
        ),
        (FRAME, {"column": "kind"}, r"^column must name the column .*, got 'kind'; there are weight, species, label"),
        ({"x": LABELS}, {"column": "y"}, r"^column must name the column .*, got 'y'; there are x"),
        (
            DataLoader(PAIRS, 4),
            {"column": "y"},
            r"^column must name the item of the labels, got 'y'; there are 2 items",
        ),
        (Samples(samples("kind")), {"column": "y"}, r"^column must name .*, got 'y'; there are 'pixels', 'kind'"),
        (FRAME, {"column": True}, r"^column must be the name or the place of the labels, got True"),
        (np.ma.array([0, 1, 1], mask=[0, 0, 1]), {}, r"^labels must have no missing entries, got masked entries"),
        (NAMES, {"one_hot": True}, r"^labels must be one-hot, as one_hot=True says, got names"),
        (Samples([torch.zeros(2)]), {}, r"^labels must give samples \(inputs, labels\)"),
        (LABELS, {"one_hot": 1}, r"^one_hot must be True or False"),
        (LABELS, {"progress": "yes"}, r"^progress must be True or False"),
        ({0: 1, 1: 2**60}, {}, r"^labels must be a whole number between 0 and 9007199254740992"),
        (Folder([0, 3], ["a", "b"]), {}, r"^labels must lie in 0\.\.1, got 3"),
        (np.array([b"\xff", b"a"]), {}, r"^labels must be one class per sample"),
        (ConcatDataset([PAIRS, Samples([(0, "a")])]), {}, r"^labels must be class indices or names, not both"),
    ],
)
def test_bad_input(labels: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ClassCounts.from_labels(labels, **options)
