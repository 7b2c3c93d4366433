"""A correction as a module, and a head with normalised rows."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import implicit_geometry as ig
from implicit_geometry.nn import CorrectedLogits, tau_normalized

COUNTS = [900, 90, 10]
LOSSES = {"affine": ig.vs(COUNTS, gamma=0.2), "label scales": ig.ldt(COUNTS, gamma=0.5), "margins": ig.ldam(COUNTS)}


@pytest.mark.parametrize("loss", LOSSES)
class TestCorrectedLogits:
    @pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 3, 5), (2, 3, 4, 5)], ids=str)
    def test_it_is_the_correction_along_the_class_dimension(self, loss: str, shape: tuple[int, ...]) -> None:
        correction = ig.logit_correction(COUNTS, LOSSES[loss])
        logits = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        axis = 0 if len(shape) == 1 else 1
        torch.testing.assert_close(CorrectedLogits(correction)(logits), correction.apply(logits, axis=axis))

    def test_it_adds_nothing_to_the_state_of_a_network(self, loss: str) -> None:
        network = nn.Linear(4, 3)
        corrected = nn.Sequential(network, CorrectedLogits(ig.logit_correction(COUNTS, LOSSES[loss])))
        assert list(corrected.state_dict()) == ["0.weight", "0.bias"]
        assert not list(corrected[1].parameters())

    def test_it_is_copied_and_trained_through(self, loss: str) -> None:
        module = CorrectedLogits(ig.logit_correction(COUNTS, LOSSES[loss]))
        logits = torch.randn(5, 3, requires_grad=True)
        expected = module(logits)
        torch.testing.assert_close(copy.deepcopy(module)(logits), expected)
        expected.sum().backward()
        assert logits.grad is not None

    def test_half_precision_becomes_float32(self, loss: str) -> None:
        module = CorrectedLogits(ig.logit_correction(COUNTS, LOSSES[loss]))
        assert module(torch.randn(5, 3).bfloat16()).dtype == torch.float32

    def test_logits_of_other_classes_are_refused(self, loss: str) -> None:
        module = CorrectedLogits(ig.logit_correction(COUNTS, LOSSES[loss]))
        with pytest.raises(ig.InputError, match=r"^logits must have 3 classes along axis 1"):
            module(torch.zeros(2, 4))
        with pytest.raises(ig.InputError, match=r"^logits must be a torch.Tensor"):
            module([[0.0, 0.0, 0.0]])


def test_an_affine_one_compiles_without_a_graph_break() -> None:
    module = CorrectedLogits(ig.logit_correction(COUNTS, LOSSES["affine"]))
    logits = torch.randn(5, 3)
    torch.testing.assert_close(torch.compile(module, backend="eager", fullgraph=True)(logits), module(logits))


def test_a_correction_is_needed() -> None:
    with pytest.raises(ig.InputError, match=r"^correction must be a LogitCorrection"):
        CorrectedLogits(ig.ce(COUNTS))  # type: ignore[arg-type]


class TestTauNormalized:
    @pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, -1.0])
    def test_rows_are_divided_by_their_norm_to_the_power_tau(self, tau: float) -> None:
        head = nn.Linear(4, 3)
        found = tau_normalized(head, tau)
        for before, after in zip(head.weight, found.weight, strict=True):
            torch.testing.assert_close(after, before / before.norm() ** tau)
        assert found.bias is None

    def test_the_head_stays_as_it_was(self) -> None:
        head = nn.Linear(4, 3)
        before = copy.deepcopy(head.state_dict())
        tau_normalized(head, 0.5)(torch.zeros(2, 4)).sum().backward()
        torch.testing.assert_close(dict(head.state_dict()), dict(before))
        assert head.weight.grad is None

    @pytest.mark.parametrize(
        ("head", "tau", "words"),
        [
            (nn.ReLU(), 1.0, r"^head must be a Linear"),
            (nn.Linear(4, 3), float("nan"), r"^tau must be a finite number"),
        ],
    )
    def test_bad_input(self, head: Any, tau: float, words: str) -> None:
        with pytest.raises(ig.InputError, match=words):
            tau_normalized(head, tau)

    def test_a_row_of_zeros_has_no_direction(self) -> None:
        head = nn.Linear(4, 3)
        with torch.no_grad():
            head.weight[1] = 0
        with pytest.raises(ig.InputError, match=r"^head must have no row that is zero, got row 1"):
            tau_normalized(head)
