"""vs_linear is the head followed by the adjustment of the loss, written out, and leaves the head as it is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from implicit_geometry._validate import InputError
from implicit_geometry.nn.losses.heads import vs_linear
from implicit_geometry.nn.losses.vs_loss import vs_loss

SCALE = torch.tensor([1.0, 0.5, 2.0, 0.1], dtype=torch.float64)
SHIFT = torch.tensor([0.0, -3.0, 1.0, -0.5], dtype=torch.float64)


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


@pytest.mark.parametrize("bias", [None, draw(4)], ids=["without bias", "with bias"])
@pytest.mark.parametrize("scale", [None, SCALE], ids=["without scale", "with scale"])
@pytest.mark.parametrize("shift", [None, SHIFT], ids=["without shift", "with shift"])
@pytest.mark.parametrize("batch", [(), (5,), (2, 3)], ids=str)
def test_logits_are_scaled_then_shifted(
    bias: Tensor | None, scale: Tensor | None, shift: Tensor | None, batch: tuple[int, ...]
) -> None:
    embeddings, weight = draw(*batch, 3), draw(4, 3)
    logits = vs_linear(embeddings, weight, bias, class_scale=scale, shift=shift)
    assert logits.shape == (*batch, 4)
    for row, h in zip(logits.reshape(-1, 4), embeddings.reshape(-1, 3), strict=True):
        for c in range(4):
            raw = sum(float(weight[c, i] * h[i]) for i in range(3)) + (0.0 if bias is None else float(bias[c]))
            scaled = raw if scale is None else float(scale[c]) * raw
            assert row[c].item() == pytest.approx(scaled if shift is None else scaled + float(shift[c]), abs=1e-12)


def test_without_vectors_it_is_the_head_bit_for_bit() -> None:
    head, embeddings = nn.Linear(3, 4), draw(5, 3).float()
    assert torch.equal(vs_linear(embeddings, head.weight, head.bias), head(embeddings))


def test_the_head_learns_as_with_the_adjustment_in_the_loss() -> None:
    embeddings, labels = draw(5, 3), torch.tensor([0, 1, 2, 3, 3])
    gradients = []
    for folded in (True, False):
        head = nn.Linear(3, 4, dtype=torch.float64)
        head.load_state_dict({"weight": draw(4, 3), "bias": draw(4)})
        if folded:
            logits = vs_linear(embeddings, head.weight, head.bias, class_scale=SCALE, shift=SHIFT)
            F.cross_entropy(logits, labels).backward()
        else:
            vs_loss(head(embeddings), labels, class_scale=SCALE, shift=SHIFT).backward()
        gradients.append([parameter.grad for parameter in head.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("name", ["class_scale", "shift"])
@pytest.mark.parametrize("shape", [(3,), (1,), (), (1, 4)], ids=str)
def test_a_vector_without_one_entry_a_class_is_refused_by_name(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=rf"^{name} must have one entry for each of the 4 classes.*got shape \("):
        vs_linear(torch.zeros(5, 3), torch.zeros(4, 3), **{name: torch.ones(shape)})
