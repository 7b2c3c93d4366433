"""The loss of some of the classes: that of all where all are there, and on average its partition function where not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from implicit_geometry._validate import InputError
from implicit_geometry.nn.losses.vs_loss import vs_loss
from loss_cases import draw_labels, draw_logits, draw_vectors, every_reduction

N, C = 6, 9
LOGITS, LABELS = draw_logits((N, C), 0), draw_labels((N, C), 1)
VECTORS = draw_vectors(C, seed=2)
CERTAIN = torch.ones(C, dtype=torch.float64)


@every_reduction
@pytest.mark.parametrize("vectors", [{}, VECTORS], ids=["plain", "all vectors"])
@pytest.mark.parametrize("probability", [None, CERTAIN], ids=["none given", "certain"])
def test_all_classes_with_certainty_are_the_full_loss_bit_for_bit(
    reduction: str, vectors: dict[str, Tensor], probability: Tensor | None
) -> None:
    options = {**vectors, "reduction": reduction}
    found = vs_loss(LOGITS, LABELS, classes=torch.arange(C), sampling_probability=probability, **options)
    assert torch.equal(found, vs_loss(LOGITS, LABELS, **options))


@pytest.mark.parametrize("shape", [(C,), (N, C), (N, C, 2, 3)], ids=str)
def test_the_order_of_the_columns_does_not_matter(shape: tuple[int, ...]) -> None:
    logits, labels = draw_logits(shape, 0), draw_labels(shape, 1)
    order = torch.randperm(C, generator=torch.Generator().manual_seed(0))
    columns = logits.index_select(0 if len(shape) == 1 else 1, order)
    found = vs_loss(columns, labels, classes=order, **VECTORS)
    torch.testing.assert_close(found, vs_loss(logits, labels, **VECTORS), rtol=1e-13, atol=0)


def test_classes_that_are_not_there_do_not_count() -> None:
    classes = torch.cat([LABELS.unique(), torch.tensor([c for c in range(C) if c not in LABELS.tolist()][:1])])
    without = torch.full_like(LOGITS, -torch.inf)
    without[:, classes] = LOGITS[:, classes]
    found = vs_loss(LOGITS[:, classes], LABELS, classes=classes)
    torch.testing.assert_close(found, F.cross_entropy(without, LABELS), rtol=1e-13, atol=0)


@pytest.mark.parametrize("ignored", [-100, 0, 4])
def test_ignored_samples_need_no_column(ignored: int) -> None:
    labels = LABELS.clone()
    labels[::2] = ignored
    others = labels[labels != ignored].unique()
    found = vs_loss(LOGITS[:, others], labels, classes=others, ignore_index=ignored)
    kept = labels != ignored
    expected = vs_loss(LOGITS[kept][:, others], labels[kept], classes=others)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)


def draws() -> tuple[Tensor, Tensor]:
    """All subsets of the classes that are no label of a batch of one, and the chance of each; independent draws."""
    chance = torch.linspace(0.2, 0.9, C, dtype=torch.float64)
    masks = torch.cartesian_prod(*[torch.tensor([False, True])] * C)
    masks = masks[masks[:, LABELS[0]]]
    others = torch.arange(C) != LABELS[0]
    of_subset = torch.where(masks, chance, 1 - chance)[:, others].prod(1)
    return masks, of_subset


@pytest.mark.parametrize("vectors", [{}, VECTORS], ids=["plain", "all vectors"])
def test_the_partition_function_of_the_classes_drawn_is_right_on_average(vectors: dict[str, Tensor]) -> None:
    """Over all that can be drawn: the loss of a sample is log Z - z_y, so exp(loss) is Z / exp(z_y)."""
    logits, label, plain = LOGITS[:1], LABELS[:1], {name: v for name, v in vectors.items() if name != "weight"}
    chance = torch.linspace(0.2, 0.9, C, dtype=torch.float64)
    masks, of_subset = draws()
    losses = [
        vs_loss(logits[:, mask], label, classes=mask.nonzero()[:, 0], sampling_probability=chance[mask], **plain)
        for mask in masks
    ]
    assert of_subset.sum() == pytest.approx(1)
    mean = (of_subset * torch.stack(losses).exp()).sum()
    torch.testing.assert_close(mean, vs_loss(logits, label, **plain).exp(), rtol=1e-12, atol=0)


def test_labels_of_other_samples_are_certain_whatever_their_probability() -> None:
    classes = torch.cat([LABELS.unique(), torch.tensor([c for c in range(C) if c not in LABELS.tolist()])])
    chance = torch.full((C,), 0.25, dtype=torch.float64)
    found = vs_loss(LOGITS[:, classes], LABELS, classes=classes, sampling_probability=chance, reduction="none")
    drawn = torch.ones(C, dtype=torch.float64)
    drawn[[c for c in range(C) if c not in LABELS.tolist()]] = 0.25
    expected = F.cross_entropy(LOGITS - drawn.log(), LABELS, reduction="none")
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)


def test_gradients_are_those_of_finite_differences() -> None:
    classes = torch.cat([LABELS.unique(), torch.tensor([c for c in range(C) if c not in LABELS.tolist()][:2])])
    chance = torch.full((len(classes),), 0.3, dtype=torch.float64)
    logits = LOGITS[:, classes].clone().requires_grad_()
    shift = VECTORS["shift"].clone().requires_grad_()

    def loss(z: Tensor, iota: Tensor) -> Tensor:
        return vs_loss(z, LABELS, shift=iota, classes=classes, sampling_probability=chance)

    assert torch.autograd.gradcheck(loss, (logits, shift))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_loss_has_the_dtype_of_cross_entropy(dtype: torch.dtype) -> None:
    chance = torch.full((C,), 0.5)
    found = vs_loss(LOGITS.to(dtype), LABELS, classes=torch.arange(C), sampling_probability=chance)
    assert found.dtype == F.cross_entropy(LOGITS.to(dtype), LABELS).dtype


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"target": torch.tensor([0, 3])}, r"^classes must hold every label of target, got none that is 3"),
        ({"classes": torch.tensor([0, 1, 1])}, "^classes must be distinct, got 1 twice"),
        ({"classes": torch.tensor([0, 1])}, r"^classes must hold the class of each of the 3 columns, got \(2,\)"),
        ({"classes": torch.tensor([0.0, 1.0, 2.0])}, "^classes must hold class indices"),
        ({"classes": [0, 1, 2]}, "^classes must be a torch.Tensor, got list"),
        ({"classes": torch.tensor([-1, 0, 1])}, "^classes must be class indices, 0 or more, got -1"),
        ({"shift": torch.zeros(2)}, r"^classes must be indices of shift, .* got 0 to 4 beside shape \(2,\)"),
        ({"target": torch.full((2, 3), 1 / 3)}, "^target must hold class indices where classes are given"),
        ({"label_smoothing": 0.1}, "^label_smoothing must be 0 where classes are given"),
        ({"classes": None}, "^sampling_probability must come with the classes"),
        ({"sampling_probability": torch.ones(2)}, "^sampling_probability must hold one for each of the 3 columns"),
        (
            {"sampling_probability": torch.tensor([1.0, 0.0, 1.0])},
            r"^sampling_probability must lie in \(0, 1\], got 0 to 1",
        ),
        (
            {"sampling_probability": torch.tensor([1.0, 1.5, 1.0])},
            r"^sampling_probability must lie in \(0, 1\], got 1 to",
        ),
        ({"sampling_probability": torch.tensor([1.0, torch.nan, 1.0])}, "^sampling_probability must lie in"),
    ],
)
def test_bad_input_is_named(changed: dict[str, Any], message: str) -> None:
    given = {
        "logits": torch.zeros(2, 3),
        "target": torch.tensor([0, 4]),
        "classes": torch.tensor([0, 4, 1]),
        "sampling_probability": torch.ones(3),
    }
    if "classes" in changed and isinstance(changed["classes"], Tensor):
        given["target"] = torch.tensor([0, 1])
    with pytest.raises(InputError, match=message):
        vs_loss(**(given | changed))
