"""Accuracies under label imbalance, as a metric."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, recall_score
from torch import Tensor

import implicit_geometry as ig
from implicit_geometry.nn import LongTailAccuracy

COUNTS = [900, 90, 40, 10]


def draw(n: int, seed: int, k: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(k, (n,), generator=generator)
    logits = torch.randn(n, k, generator=generator)
    logits[torch.arange(n), labels] += 1
    return logits, labels


def computed(logits: Tensor, labels: Tensor, **options: Any) -> dict[str, float]:
    metric = LongTailAccuracy(COUNTS, **options)
    metric.update(logits, labels)
    return {name: value.item() for name, value in metric.compute().items()}


@given(n=st.integers(1, 60), seed=st.integers(0, 2**32 - 1))
def test_the_numbers_are_those_of_scikit_learn(n: int, seed: int) -> None:
    logits, labels = draw(n, seed)
    predicted = logits.argmax(1).numpy()
    found = computed(logits, labels, num_bootstraps=0)
    recalls = recall_score(labels, predicted, labels=range(4), average=None, zero_division=np.nan)
    assert found["overall"] == pytest.approx(np.mean(predicted == labels.numpy()))
    assert found["balanced"] == pytest.approx(np.nanmean(recalls))
    assert found["worst"] == pytest.approx(np.nanmin(recalls))
    for name, recall in zip(("many", "few"), (recalls[0], recalls[3]), strict=True):
        assert found[name] == pytest.approx(recall, nan_ok=True)
    for c, recall in enumerate(recalls):
        assert found[f"class/{c}"] == pytest.approx(recall, nan_ok=True)
    if not np.isnan(recalls).any():
        assert found["balanced"] == pytest.approx(balanced_accuracy_score(labels, predicted))
        assert found["medium"] == pytest.approx(recalls[1:3].mean())


@given(n=st.integers(2, 40), split=st.integers(1, 39), seed=st.integers(0, 2**32 - 1))
def test_batches_sum_up(n: int, split: int, seed: int) -> None:
    logits, labels = draw(n, seed)
    metric = LongTailAccuracy(COUNTS, num_bootstraps=50)
    for part in (slice(0, min(split, n)), slice(min(split, n), n)):
        metric.update(logits[part], labels[part])
    whole = computed(logits, labels, num_bootstraps=50)
    assert {name: value.item() for name, value in metric.compute().items()} == pytest.approx(whole, nan_ok=True)


def test_maps_and_ignored_pixels() -> None:
    logits = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(4, (2, 3, 5), generator=torch.Generator().manual_seed(1))
    labels[0, 0] = 255
    some = labels != 255
    flat = logits.movedim(1, -1)[some], labels[some]
    assert computed(logits, labels, ignore_index=255) == pytest.approx(computed(*flat))


def test_the_shots_are_those_asked_for() -> None:
    logits, labels = draw(200, 0)
    found = computed(logits, labels, many=50, few=30, num_bootstraps=0)
    recalls = recall_score(labels, logits.argmax(1), average=None)
    assert found["many"] == pytest.approx(recalls[:2].mean())
    assert found["medium"] == pytest.approx(recalls[2])


def test_a_class_that_does_not_occur_is_left_out() -> None:
    logits, labels = draw(100, 0)
    some = labels != 3
    found = computed(logits[some], labels[some])
    assert math.isnan(found["few"])
    assert math.isnan(found["class/3"])
    assert not math.isnan(found["balanced"])


def test_without_a_sample_all_is_undefined() -> None:
    found = computed(*draw(0, 0))
    assert all(map(math.isnan, found.values()))


def test_intervals_are_those_of_drawing_the_samples_of_each_class_again() -> None:
    logits, labels = draw(120, 0)
    found = computed(logits, labels, num_bootstraps=20_000, confidence=0.9)
    hit = (logits.argmax(1) == labels).numpy()
    rng = np.random.default_rng(1)
    groups = [hit[labels.numpy() == c] for c in range(4)]
    draws = [np.mean([rng.choice(group, group.size).mean() for group in groups]) for _ in range(4000)]
    low, high = np.percentile(draws, [5, 95])
    assert (found["balanced/low"], found["balanced/high"]) == pytest.approx((low, high), abs=0.01)
    assert found["balanced/low"] <= found["balanced"] <= found["balanced/high"]


def test_names_of_classes_are_keys() -> None:
    found = computed(*draw(50, 0), class_names=["cat", "dog", "owl", "elk"])
    assert {"class/cat", "class/dog", "class/owl", "class/elk"} <= set(found)


def test_states_of_two_processes_merge() -> None:
    first, second, both = (LongTailAccuracy(COUNTS) for _ in range(3))
    for seed, metric in enumerate((first, second)):
        metric.update(*draw(30, seed))
        both.update(*draw(30, seed))
    first.merge_state(second)
    assert torch.equal(first.hits, both.hits)
    assert torch.equal(first.seen, both.seen)


def test_it_can_be_reset() -> None:
    metric = LongTailAccuracy(COUNTS)
    metric.update(*draw(30, 0))
    metric.reset()
    assert int(metric.seen.sum()) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"counts": [5, 0]}, r"^counts must be at least 1"),
        ({"many": -1}, r"^many must be a whole number"),
        ({"many": 10, "few": 20}, r"^few must be a whole number between 0 and 11, got 20"),
        ({"confidence": 1.0}, r"^confidence must be a finite number strictly between 0 and 1"),
        ({"num_bootstraps": 0.5}, r"^num_bootstraps must be a whole number"),
        ({"class_names": ["a", "b"]}, r"^class_names must be 4 different names, one per class, got \['a', 'b'\]"),
        ({"colour": 1}, r"^kwargs must be options of torchmetrics.Metric"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ig.InputError, match=words):
        LongTailAccuracy(**{"counts": COUNTS, **options})


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        (torch.zeros(3, 2), torch.zeros(3, dtype=torch.long), r"^logits must have 4 classes in dimension 1"),
        (torch.zeros(4), torch.tensor(0), r"^logits must have 4 classes in dimension 1"),
        (torch.zeros(3, 4), torch.zeros(2, dtype=torch.long), r"^labels must hold class indices of shape \(3,\)"),
        (torch.zeros(3, 4), torch.zeros(3), r"^labels must hold class indices"),
        (torch.zeros(1, 4), torch.tensor([4]), r"^labels must lie in 0..3 or be -100, got 4"),
        ([[0.0] * 4], torch.tensor([0]), r"^logits must be a torch.Tensor"),
    ],
)
def test_bad_batches(logits: Any, labels: Any, words: str) -> None:
    with pytest.raises(ig.InputError, match=words):
        LongTailAccuracy(COUNTS).update(logits, labels)
