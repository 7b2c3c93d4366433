"""A convolutional network with a biased head in a plain torch loop: loss, watch, and the right logits at test time.

Trains on long-tailed digits of scikit-learn in a few seconds.

    python examples/torch_cnn.py
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import implicit_geometry as ig
from implicit_geometry.nn import GeometryWatch, LongTailAccuracy, VSLoss, calibration

torch.manual_seed(0)
digits = load_digits()
images, labels = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, torch.tensor(digits.target)
wanted = ig.ClassCounts.exponential(num_classes=10, imbalance_ratio=20, max_count=110)
parts = [(labels == c).nonzero().flatten() for c in range(10)]
train = torch.cat([part[:n] for part, n in zip(parts, wanted.values.tolist(), strict=True)])
held_out = torch.cat([part[110:125] for part in parts])
test = torch.cat([part[125:170] for part in parts])

counts = ig.ClassCounts.from_labels(labels[train])
loss = ig.logit_adjusted(counts, tau=1.0)
criterion = VSLoss(loss)
model = nn.Sequential(
    *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)),
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
watch = GeometryWatch(model, ig.Problem(counts, loss, bias=True))  # finds the head by its ten outputs
for _ in range(15):
    for batch in train[torch.randperm(len(train))].split(32):
        with watch.batch(labels[batch]):
            logits = model(images[batch])
        optimizer.zero_grad()
        criterion(logits, labels[batch]).backward()
        optimizer.step()
    row = watch.end_epoch()
print("W is {classifier_limit_distance:.2f} from its limit, {classifier_etf_distance:.2f} from the ETF".format(**row))

model.eval()
with torch.no_grad():
    on_held_out, on_test = model(images[held_out]), model(images[test])
correction = ig.fit_logit_correction(on_held_out, labels[held_out], counts, parameterization=loss)
for name, chosen in (("plain", None), ("link", ig.logit_correction(counts, loss)), ("fitted", correction)):
    found = calibration(on_test, labels[test], chosen)
    print(f"{name:7s} balanced accuracy {found.balanced_accuracy:.3f}, calibration error {found.ece:.3f}")
accuracy = LongTailAccuracy(counts)
accuracy.update(correction.apply(on_test), labels[test])
found = accuracy.compute()
print({name: round(found[name].item(), 3) for name in ("many", "medium", "few", "worst")})
