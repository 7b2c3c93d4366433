"""``VSLoss`` in loops that Accelerate and Lightning Fabric have prepared: the loss of the plain loop."""

import pytest
import torch
from accelerate import Accelerator
from lightning.fabric import Fabric

from implicit_geometry.nn import VSLoss
from implicit_geometry.rules import vs

COUNTS = [60, 30, 10]
LABELS = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
INPUTS = torch.eye(3)[LABELS] + torch.randn(100, 3, generator=torch.Generator().manual_seed(0))


def parts():
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 3)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(INPUTS, LABELS), batch_size=20, shuffle=False)
    return model, torch.optim.SGD(model.parameters(), lr=0.5), loader, VSLoss(vs(COUNTS, 0.5, 1.0))


def train(model, optimizer, loader, criterion, backward):
    """The losses of two epochs."""
    losses = []
    for _ in range(2):
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), labels)
            backward(loss)
            optimizer.step()
            losses.append(loss.item())
    return losses


@pytest.fixture(scope="module")
def plain():
    return train(*parts(), backward=lambda loss: loss.backward())


@pytest.mark.parametrize("prepared", [False, True], ids=["as it is", "prepared"])
def test_under_accelerate_the_losses_are_those_of_the_plain_loop(plain, prepared):
    accelerator = Accelerator(cpu=True)
    model, optimizer, loader, criterion = parts()
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    criterion = accelerator.prepare(criterion) if prepared else criterion
    assert train(model, optimizer, loader, criterion, accelerator.backward) == plain


@pytest.mark.parametrize("prepared", [False, True], ids=["as it is", "prepared"])
def test_under_fabric_the_losses_are_those_of_the_plain_loop(plain, prepared):
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    model, optimizer, loader, criterion = parts()
    model, optimizer = fabric.setup(model, optimizer)
    loader = fabric.setup_dataloaders(loader)
    criterion = fabric.setup_module(criterion) if prepared else criterion
    assert train(model, optimizer, loader, criterion, fabric.backward) == plain


def test_the_losses_fall(plain):
    assert sum(plain[5:]) < sum(plain[:5])
    assert len(plain) == 10
