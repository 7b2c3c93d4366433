"""Segmentation: pixels are the samples, most of them background, and some are ignored.

python examples/segmentation.py
"""

import torch
from torch import Tensor, nn

import implicit_geometry as ig
from implicit_geometry.nn import CorrectedLogits, GeometryWatch, LongTailAccuracy, VSLoss

IGNORED = 255


def pictures(number: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy pictures of rare bright squares and rarer dark ones, and their masks with an ignored border."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(number, 32, 32, dtype=torch.int64)
    for mask in masks:
        for label, side, times in ((1, 6, 1), (2, 3, 1)):
            for _ in range(times):
                top, left = torch.randint(2, 30 - side, (2,), generator=generator).tolist()
                mask[top : top + side, left : left + side] = label
    inputs = torch.tensor([0.0, 1.0, -1.0])[masks] + 0.7 * torch.randn(masks.shape, generator=generator)
    masks[:, :2] = IGNORED
    return inputs[:, None], masks


torch.manual_seed(0)
inputs, masks = pictures(48, seed=1)
counts = ig.ClassCounts.from_labels(masks, ignore_index=IGNORED)
model = nn.Sequential(
    nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 3, 1)
)
criterion = VSLoss.from_rule("weighted", counts, gamma=0.5, ignore_index=IGNORED)
problem = ig.Problem(counts, criterion.parameterization, bias=True)
watch = GeometryWatch(model, problem, ignore_index=IGNORED)  # the head is the 1 x 1 convolution
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(8):
    for batch in torch.randperm(len(inputs)).split(8):
        with watch.batch(masks[batch]):
            logits = model(inputs[batch])
        optimizer.zero_grad()
        criterion(logits, masks[batch]).backward()
        optimizer.step()
    row = watch.end_epoch()
print(f"{counts}: pixels per class; W is {row['classifier_limit_distance']:.2f} from its limit")

unseen, truth = pictures(16, seed=2)
corrected = nn.Sequential(model, CorrectedLogits(ig.logit_correction(counts, criterion.parameterization)))
for name, network in (("plain", model), ("balanced", corrected)):
    accuracy = LongTailAccuracy(counts, class_names=("background", "bright", "dark"), ignore_index=IGNORED)
    with torch.no_grad():
        accuracy.update(network(unseen), truth)
    found = {name: round(value.item(), 3) for name, value in accuracy.compute().items()}
    print(f"{name:9s}", {name: found[name] for name in ("overall", "balanced", "class/bright", "class/dark")})
