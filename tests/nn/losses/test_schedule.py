"""Losses that change while a network trains."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import implicit_geometry as ig
from implicit_geometry.nn import DeferredLoss, VSLoss
from loss_cases import RULES, draw_labels, draw_logits


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    return draw_logits((6, 4), dtype=torch.float32), draw_labels((6, 4))


def test_it_is_cross_entropy_bit_for_bit_until_the_epoch_and_the_loss_from_then_on(
    batch: tuple[Tensor, Tensor],
) -> None:
    criterion = DeferredLoss(RULES["vs"], start=3)
    for epoch in range(6):
        criterion.set_epoch(epoch)
        expected = F.cross_entropy(*batch) if epoch < 3 else VSLoss(RULES["vs"])(*batch)
        assert torch.equal(criterion(*batch), expected)


def test_it_starts_with_another_loss_where_one_is_given(batch: tuple[Tensor, Tensor]) -> None:
    criterion = DeferredLoss(RULES["weighted"], start=1, early=RULES["ldam"])
    assert torch.equal(criterion(*batch), VSLoss(RULES["ldam"])(*batch))


def test_along_a_ramp_scales_are_geometric_and_shifts_linear() -> None:
    criterion = DeferredLoss(RULES["vs"], start=2, ramp=4)
    shares = []
    for epoch in range(8):
        criterion.set_epoch(epoch)
        now, last = criterion.criterion().parameterization, RULES["vs"]
        shares.append(criterion.progress)
        np.testing.assert_allclose(now.class_scale, last.class_scale**criterion.progress, rtol=1e-14)
        np.testing.assert_allclose(now.shift, last.shift * criterion.progress, rtol=1e-14)
    assert shares == [0, 0, 0, 0.25, 0.5, 0.75, 1, 1]


def test_a_training_that_is_taken_up_again_has_the_loss_it_had(batch: tuple[Tensor, Tensor]) -> None:
    before, after = (DeferredLoss(RULES["vs"], start=2, ramp=4, reduction="sum") for _ in range(2))
    before.set_epoch(5)
    after.load_state_dict(before.state_dict())
    assert after.progress == 0.75
    assert torch.equal(after(*batch), before(*batch))


def test_a_state_of_another_loss_is_refused() -> None:
    with pytest.warns(UserWarning, match="another loss"), pytest.raises(RuntimeError, match="another loss"):
        DeferredLoss(RULES["cdt"], start=1).load_state_dict(DeferredLoss(RULES["ldt"], start=1).state_dict())


@pytest.mark.parametrize("epoch", [0, 3, 9])
def test_it_follows_its_module(epoch: int) -> None:
    criterion = DeferredLoss(RULES["vs"], start=2, ramp=4).double()
    criterion.set_epoch(epoch)
    loss = criterion(draw_logits((6, 4)), draw_labels((6, 4)))
    assert loss.dtype == torch.float64


def test_it_learns(batch: tuple[Tensor, Tensor]) -> None:
    criterion = DeferredLoss(RULES["ldt"], start=1, ramp=2)
    criterion.set_epoch(2)
    logits = batch[0].requires_grad_()
    criterion(logits, batch[1]).backward()
    assert logits.grad is not None


def test_bad_input() -> None:
    with pytest.raises(ig.InputError, match=r"^start must be a whole number between 0 and 1000000000, got -1"):
        DeferredLoss(RULES["cdt"], start=-1)
    with pytest.raises(ig.InputError, match=r"^ramp must be a whole number"):
        DeferredLoss(RULES["cdt"], start=1, ramp=0.5)  # type: ignore[arg-type]
    with pytest.raises(ig.InputError, match=r"^early must cover the 4 classes of the loss, got 2"):
        DeferredLoss(RULES["cdt"], start=1, early=ig.ce([5, 4]))
    with pytest.raises(ig.InputError, match=r"^epoch must be a whole number"):
        DeferredLoss(RULES["cdt"], start=1).set_epoch(-1)
