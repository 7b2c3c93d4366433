"""``VSLoss`` in the loops of torchvision's reference scripts and of timm's ``train.py``, on mixed targets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset, default_collate

from implicit_geometry import ClassCounts
from implicit_geometry.nn import LongTailAccuracy, VSLoss

COUNTS = ClassCounts([32, 20, 12])
BATCH = 16
RULES = {
    "ce": {},
    "weighted": {},
    "logit_adjusted": {},
    "cdt": {"gamma": 0.3},
    "ldt": {"gamma": 0.3},
    "vs": {"gamma": 0.3, "tau": 1.0},
    "ldam": {},
}
OF_THE_LABEL = ("ldt", "ldam")  # each label has a temperature or a margin of its own


def loss_of(rule: str, **options: object) -> VSLoss:
    return VSLoss.from_rule(rule, COUNTS, **RULES[rule], **options)


def pictures(seed: int = 0) -> TensorDataset:
    """Noise in three channels; the channel of the class is bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS.values))
    images = 0.5 * torch.randn(len(labels), 3, 32, 32, generator=generator)
    return TensorDataset(images + torch.eye(3)[labels][:, :, None, None], labels)


def batch() -> tuple[Tensor, Tensor]:
    images, labels = pictures().tensors
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))[:BATCH]
    return images[order], labels[order]


def torchvision_mixing(name: str) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    v2 = pytest.importorskip("torchvision.transforms.v2", reason="torchvision comes with the extra vision")
    return getattr(v2, name)(num_classes=3)


def timm_mixing(**options: object) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    data = pytest.importorskip("timm.data", reason="timm comes with the extra vision")
    np.random.seed(0)  # noqa: NPY002 (what timm draws from)
    return data.Mixup(num_classes=3, cutmix_alpha=1.0, **options)


def two_labels(target: Tensor, labels: Tensor, partners: Tensor) -> Tensor:
    """The share of each sample's own label, for targets that mix it with its partner's."""
    share = target.gather(1, labels[:, None])[:, 0]
    share = torch.where(labels == partners, 1.0, share)
    mixed = share[:, None] * F.one_hot(labels, 3) + (1 - share[:, None]) * F.one_hot(partners, 3)
    torch.testing.assert_close(target, mixed, rtol=0, atol=1e-6)
    assert ((share > 0.01) & (share < 0.99)).any(), "nothing was mixed"
    return share


def logits_of_a_batch() -> Tensor:
    return 3 * torch.randn(BATCH, 3, generator=torch.Generator().manual_seed(2))


@pytest.fixture(params=["MixUp", "CutMix", "timm by batch", "timm by pair", "timm by elem"])
def mixed(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor, Tensor]:
    """Targets as a library mixes them, the labels, and the labels that each was mixed with."""
    torch.manual_seed(0)
    images, labels = batch()
    if request.param in ("MixUp", "CutMix"):
        return torchvision_mixing(request.param)(images, labels)[1], labels, labels.roll(1)
    mode = request.param.rpartition(" ")[2]
    return timm_mixing(mode=mode, label_smoothing=0.0)(images, labels)[1], labels, labels.flip(0)


@pytest.mark.parametrize("rule", RULES)
def test_the_loss_of_a_mixture_is_the_mixture_of_two_losses(rule: str, mixed: tuple[Tensor, Tensor, Tensor]) -> None:
    target, labels, partners = mixed
    share, logits = two_labels(target, labels, partners), logits_of_a_batch()
    of_each = loss_of(rule, reduction="none")
    expected = share * of_each(logits, labels) + (1 - share) * of_each(logits, partners)
    torch.testing.assert_close(of_each(logits, target), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(loss_of(rule)(logits, target), expected.mean(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_smoothing_by_timm_gives_every_label_a_share_of_the_loss(rule: str) -> None:
    smoothing, (images, labels), logits = 0.1, batch(), logits_of_a_batch()
    plain = timm_mixing(label_smoothing=0.0)(images.clone(), labels)[1]
    smoothed = timm_mixing(label_smoothing=smoothing)(images.clone(), labels)[1]
    torch.testing.assert_close(smoothed, (1 - smoothing) * plain + smoothing / 3)
    criterion = loss_of(rule)
    of_all = torch.stack([criterion(logits, torch.full((BATCH,), label)) for label in range(3)])
    if rule == "weighted":  # whose mean over one label divides by that label's weight
        of_all = of_all * criterion.weight
    expected = (1 - smoothing) * criterion(logits, plain) + smoothing * of_all.mean()
    torch.testing.assert_close(criterion(logits, smoothed), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_it_is_the_smoothing_of_the_loss_unless_labels_have_temperatures_or_margins(rule: str) -> None:
    (images, labels), logits = batch(), logits_of_a_batch()
    plain = timm_mixing(label_smoothing=0.0)(images.clone(), labels)[1]
    smoothed = timm_mixing(label_smoothing=0.1)(images.clone(), labels)[1]
    by_timm, by_loss = loss_of(rule)(logits, smoothed), loss_of(rule, label_smoothing=0.1)(logits, plain)
    assert (abs(by_timm - by_loss) < 1e-6) == (rule not in OF_THE_LABEL)


def test_cross_entropy_of_mixtures_is_the_loss_that_timm_trains_with() -> None:
    loss = pytest.importorskip("timm.loss", reason="timm comes with the extra vision")
    (images, labels), logits = batch(), logits_of_a_batch()
    target = timm_mixing(label_smoothing=0.1)(images, labels)[1]
    torch.testing.assert_close(loss_of("ce")(logits, target), loss.SoftTargetCrossEntropy()(logits, target))


def balanced_accuracy(model: nn.Module, criterion: VSLoss, *, bfloat16: bool) -> tuple[float, float]:
    """Of unseen pictures, and their loss, as the scripts evaluate."""
    model.eval()
    images, labels = pictures(seed=1).tensors
    accuracy = LongTailAccuracy(COUNTS)
    with torch.inference_mode(), torch.amp.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        logits = model(images)
        loss = criterion(logits, labels)
    accuracy.update(logits, labels)
    return accuracy.compute()["balanced"].item(), loss.item()


@pytest.fixture
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.usefixtures("_seeded")
@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("rule", ["vs", "ldt", "ldam"])
def test_in_the_loop_of_torchvision(rule: str, bfloat16: bool) -> None:
    """Mixing in the collation, autocast, clipped gradients, a moving average of the weights and a resumed loss."""
    models = pytest.importorskip("torchvision.models", reason="torchvision comes with the extra vision")
    v2 = pytest.importorskip("torchvision.transforms.v2")
    mixing = v2.RandomChoice([torchvision_mixing("MixUp"), torchvision_mixing("CutMix")])
    loader = DataLoader(
        pictures(), batch_size=BATCH, shuffle=True, collate_fn=lambda samples: mixing(*default_collate(samples))
    )
    model = models.ShuffleNetV2([1, 1, 1], [8, 16, 32, 64, 64], num_classes=3)
    criterion = loss_of(rule)
    _, loss_before = balanced_accuracy(model, criterion, bfloat16=bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.8), use_buffers=True)
    for _ in range(12):
        model.train()
        for images, target in loader:
            with torch.amp.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
                logits = model(images)
                loss = criterion(logits, target)
            assert logits.dtype == (torch.bfloat16 if bfloat16 else torch.float32)
            torch.testing.assert_close(loss, criterion(logits.float(), target), rtol=1e-6, atol=0)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0, error_if_nonfinite=True)
            optimizer.step()
            average.update_parameters(model)
        schedule.step()
    resumed = loss_of(rule)
    resumed.load_state_dict(criterion.state_dict())
    for trained in (model, average):
        accuracy, loss_after = balanced_accuracy(trained, resumed, bfloat16=bfloat16)
        assert accuracy > 0.6
        assert loss_after < loss_before


@pytest.mark.usefixtures("_seeded")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("rule", ["vs", "ldt"])
def test_in_the_loop_of_timm(rule: str, smoothing: float) -> None:
    """Its mixup, optimizer, schedule, clipping and moving average, with accumulated steps under autocast."""
    timm = pytest.importorskip("timm", reason="timm comes with the extra vision")
    optim, scheduler, utils = (pytest.importorskip(f"timm.{name}") for name in ("optim", "scheduler", "utils"))
    model = timm.create_model("test_resnet", pretrained=False, num_classes=3)
    mixing = timm_mixing(mixup_alpha=0.2, label_smoothing=smoothing)
    criterion, accumulated, epochs = loss_of(rule), 2, 10
    _, loss_before = balanced_accuracy(model, criterion, bfloat16=True)
    optimizer = optim.create_optimizer_v2(model, opt="adamw", lr=3e-3, weight_decay=0.01)
    loader = DataLoader(pictures(), batch_size=BATCH, shuffle=True)
    updates = len(loader) // accumulated
    schedule, _ = scheduler.create_scheduler_v2(
        optimizer, num_epochs=epochs, warmup_epochs=1, step_on_epochs=False, updates_per_epoch=updates
    )
    average = utils.ModelEmaV3(model, decay=0.8)
    done = 0
    for epoch in range(epochs):
        model.train()
        for number, (images, labels) in enumerate(loader):
            mixed, target = mixing(images, labels)
            with torch.amp.autocast("cpu", dtype=torch.bfloat16):
                logits = model(mixed)
                loss = criterion(logits, target)
            torch.testing.assert_close(loss, criterion(logits.float(), target), rtol=1e-6, atol=0)
            (loss / accumulated).backward()
            if (number + 1) % accumulated:
                continue
            utils.dispatch_clip_grad(model.parameters(), value=1.0, mode="norm")
            optimizer.step()
            optimizer.zero_grad()
            done += 1
            average.update(model, step=done)
            schedule.step_update(num_updates=done)
        schedule.step(epoch + 1)
    for trained in (model, average.module):
        accuracy, loss_after = balanced_accuracy(trained, criterion, bfloat16=True)
        assert accuracy > 0.6
        assert loss_after < loss_before
