"""Values and gradients of every loss against 50 digits, in four precisions."""

from __future__ import annotations

from typing import Any

import mpmath
import torch
from torch import Tensor

from implicit_geometry.nn import VSLoss
from loss_cases import RULES
from numerics.row import Row

PRECISIONS = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def losses_row(precision: str, batches: int, seed: int = 0) -> Row:
    """Error of each sample's loss in units of the precision: eps times one plus its largest adjusted logit."""
    dtype, generator = PRECISIONS[precision], torch.Generator().manual_seed(seed)
    worst, cases = 0.0, 0
    for rule in RULES.values():
        criterion = VSLoss(rule, reduction="none")
        for _ in range(batches):
            logits = (4 * torch.randn(16, rule.num_classes, generator=generator, dtype=torch.float64)).to(dtype)
            labels = torch.randint(rule.num_classes, (16,), generator=generator)
            found = criterion(logits, labels)
            for row, label, value in zip(logits, labels.tolist(), found.tolist(), strict=True):
                exact, size = exact_loss(row, label, rule)
                unit = torch.finfo(dtype).eps * (1 + size) * float(max(1.0, rule.weight[label]))
                worst = max(worst, abs(float(value - exact)) / unit)
                cases += 1
    what, measure = f"VSLoss, seven rules, {precision}", "error over eps (1 + largest logit)"
    return Row(what, "mpmath, 50 digits", cases, measure, worst, 4.0)


def exact_loss(logits: Tensor, label: int, rule: Any) -> tuple[Any, float]:
    """The loss of one sample, and the size of its largest adjusted logit."""
    with mpmath.workdps(50):
        adjusted = [
            mpmath.mpf(float(rule.label_scale[label])) * mpmath.mpf(float(rule.class_scale[c])) * mpmath.mpf(z)
            + mpmath.mpf(float(rule.shift[c]))
            - mpmath.mpf(float(rule.margin[label])) * (c == label)
            for c, z in enumerate(logits.double().tolist())
        ]
        total = mpmath.log(sum(mpmath.exp(u) for u in adjusted))
        value = mpmath.mpf(float(rule.weight[label])) * (total - adjusted[label])
        return value, float(max(abs(u) for u in adjusted))
