"""What VSLoss refuses, and in which words."""

from __future__ import annotations

import math

import pytest
import torch

from implicit_geometry._validate import InputError
from implicit_geometry.nn.losses.criterion import VSLoss
from implicit_geometry.nn.losses.vs_loss import vs_loss
from implicit_geometry.parameterization import NEUTRAL, Parameterization
from loss_cases import (
    RULES,
    draw_labels,
    draw_logits,
    every_rule,
)

# Bad input


@every_rule
@pytest.mark.parametrize("shape", [(4,), (5, 4), (3, 4, 2)], ids=str)
@pytest.mark.parametrize("label", [4, 10**6, -1, -5, -99])
def test_a_label_out_of_range_is_an_index_error_that_names_the_range(
    rule: str, shape: tuple[int, ...], label: int
) -> None:
    labels = draw_labels(shape)
    labels.view(-1)[-1] = label
    with pytest.raises(IndexError, match=rf"^target must .*0\.\.3.*ignore_index ?= ?-100.*{label}"):
        VSLoss(RULES[rule], dtype=torch.float64)(draw_logits(shape), labels)


@every_rule
def test_the_default_ignore_index_is_out_of_range_once_another_is_chosen(rule: str) -> None:
    with pytest.raises(IndexError, match=r"target.*0\.\.3.*ignore_index ?= ?255.*-100"):
        VSLoss(RULES[rule], ignore_index=255)(torch.zeros(2, 4), torch.tensor([0, -100]))


@every_rule
@pytest.mark.parametrize("shape", [(), (3,), (4, 5), (2, 5, 4)], ids=str)
def test_another_number_of_classes_is_refused(rule: str, shape: tuple[int, ...]) -> None:
    batch = shape[:1] + shape[2:] if len(shape) > 1 else ()
    with pytest.raises(InputError, match=rf"^logits must have 4 classes.*\({', '.join(map(str, shape))}"):
        VSLoss(RULES[rule])(torch.zeros(shape), torch.zeros(batch, dtype=torch.long))


@pytest.mark.parametrize("name", NEUTRAL)
@pytest.mark.parametrize("shape", [(3,), (5,), (1,), (), (1, 4), (4, 1)], ids=str)
def test_a_vector_without_one_entry_a_class_is_refused_by_name(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=name):
        vs_loss(torch.zeros(5, 4), torch.zeros(5, dtype=torch.long), **{name: torch.ones(shape)})


@every_rule
@pytest.mark.parametrize(
    ("logits_shape", "target_shape"),
    [
        ((1, 4), (5,)),
        ((5, 4), (3,)),
        ((5, 4), (1,)),
        ((5, 4), (5, 1)),
        ((5, 4), ()),
        ((4,), (4,)),
        ((1, 4, 2), (5, 2)),
    ],
    ids=str,
)
def test_labels_that_do_not_fit_the_logits_are_refused_not_broadcast(
    rule: str, logits_shape: tuple[int, ...], target_shape: tuple[int, ...]
) -> None:
    with pytest.raises(InputError, match=r"^target must hold class indices .*of shape .*got torch.int64 of shape "):
        VSLoss(RULES[rule])(torch.zeros(logits_shape), torch.zeros(target_shape, dtype=torch.long))


@every_rule
@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.bool])
def test_labels_of_another_kind_are_refused_as_in_cross_entropy(rule: str, dtype: torch.dtype) -> None:
    with pytest.raises(InputError, match=f"^target must hold class indices.*int64.*got {dtype}"):
        VSLoss(RULES[rule])(torch.zeros(2, 4), torch.zeros(2, dtype=dtype))


@every_rule
def test_logits_must_be_floating_point(rule: str) -> None:
    with pytest.raises(InputError, match=r"^logits must be floating-point.*got torch.int64"):
        VSLoss(RULES[rule])(torch.zeros(2, 4, dtype=torch.long), torch.zeros(2, dtype=torch.long))


@pytest.mark.parametrize("label_smoothing", [-0.1, 1.1, math.nan])
def test_a_share_outside_of_the_unit_interval_is_refused(label_smoothing: float) -> None:
    with pytest.raises(InputError, match=r"^label_smoothing must"):
        VSLoss(RULES["ce"], label_smoothing=label_smoothing)


def test_an_unknown_reduction_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"^reduction must be one of mean, sum, none.*did you mean 'mean'"):
        VSLoss(RULES["ce"], reduction="means")


@pytest.mark.parametrize(
    "vectors",
    [{"class_scale": [1.0, 1e-300]}, {"weight": [1.0, 1e300]}, {"shift": [0.0, -1e300]}, {"margin": [0.0, 1e300]}],
)
def test_vectors_that_the_dtype_cannot_hold_are_refused(vectors: dict[str, list[float]]) -> None:
    (name,) = vectors
    with pytest.raises(InputError, match=name):
        VSLoss(Parameterization(**vectors))
    assert VSLoss(Parameterization(**vectors), dtype=torch.float64).num_classes == 2
