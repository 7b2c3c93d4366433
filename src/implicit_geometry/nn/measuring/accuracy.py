"""Accuracies under label imbalance as one metric: per class, balanced, worst class and shots, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torchmetrics import Metric

from implicit_geometry._validate import Floats, InputError, Ints, names_of_classes, number, whole_number
from implicit_geometry.counts import ClassCounts
from implicit_geometry.nn import check
from implicit_geometry.summary import FEW, MANY


class LongTailAccuracy(Metric):
    """Per-class, overall, balanced, worst-class and many-, medium- and few-shot accuracy, each with an interval.

    Hits and samples of every class are summed over batches and processes. :meth:`compute` gives a flat dict of scalars,
    as ``self.log_dict`` takes. Classes without a sample are left out of every mean; a group of such classes is NaN.

    Intervals are those of a bootstrap over the samples of each class, whose number stays as it is.

    Args:
        counts: samples per class of the training set.
        many: classes with more training samples are many-shot.
        few: classes with fewer are few-shot.
        class_names: names of the classes in the keys, one per class; their numbers where left out.
        ignore_index: label of samples that do not count.
        confidence: of the intervals.
        num_bootstraps: draws behind an interval; 0 for no intervals.
        seed: of the draws.
        **kwargs: options of :class:`torchmetrics.Metric`.

    Raises:
        InputError: counts or an option are out of range, or names are not one per class.

    Source: the shots are those of Liu et al. (2019), Large-Scale Long-Tailed Recognition in an Open World.

    Example:
        >>> metric = LongTailAccuracy([900, 50, 10], num_bootstraps=0)
        >>> metric.update(torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), torch.tensor([0, 1, 2]))
        >>> {name: round(value.item(), 2) for name, value in metric.compute().items()}["balanced"]
        0.67
        >>> sorted(metric.compute())[:4]
        ['balanced', 'class/0', 'class/1', 'class/2']
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    hits: Tensor
    seen: Tensor

    def __init__(
        self,
        counts: ClassCounts | ArrayLike,
        *,
        many: int = MANY,
        few: int = FEW,
        class_names: Sequence[str] = (),
        ignore_index: int = -100,
        confidence: float = 0.95,
        num_bootstraps: int = 1000,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        try:
            super().__init__(**kwargs)
        except ValueError as error:
            raise InputError("kwargs", "must be options of torchmetrics.Metric", f"{kwargs} ({error})") from error
        self.class_counts = ClassCounts(counts)
        self.many = whole_number("many", many)
        self.few = whole_number("few", few, maximum=self.many + 1)
        self.ignore_index = whole_number("ignore_index", ignore_index, minimum=-(2**63), maximum=2**63 - 1)
        self.confidence = number("confidence", confidence, minimum=0, maximum=1, exclusive=True)
        self.num_bootstraps = whole_number("num_bootstraps", num_bootstraps, maximum=10**6)
        self.seed = whole_number("seed", seed)
        k = self.class_counts.num_classes
        self.class_names = names_of_classes(class_names, k) or tuple(str(c) for c in range(k))
        self.add_state("hits", torch.zeros(k, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("seen", torch.zeros(k, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            logits: scores of the classes, corrected or not, shape (N, k) or (N, k, d1, ...).
            labels: class indices, the shape of ``logits`` without k.

        Raises:
            InputError: shapes or dtypes do not fit; on the CPU also labels out of range.
        """
        check.tensor("logits", logits)
        check.tensor("labels", labels)
        k = self.class_counts.num_classes
        if logits.ndim < 2 or logits.shape[1] != k:
            raise InputError("logits", f"must have {k} classes in dimension 1", f"shape {tuple(logits.shape)}")
        wanted = (logits.shape[0], *logits.shape[2:])
        if tuple(labels.shape) != wanted or labels.is_floating_point() or labels.is_complex():
            given = f"{labels.dtype} of shape {tuple(labels.shape)}"
            raise InputError("labels", f"must hold class indices of shape {wanted}", given)
        check.same_place("labels", labels, "logits", logits)
        right = logits.argmax(1) == labels
        index = labels.to(torch.int64)
        if index.device.type == "cpu":
            wrong = index[(index != self.ignore_index) & ((index < 0) | (index >= k))]
            if wrong.numel():
                raise InputError("labels", f"must lie in 0..{k - 1} or be {self.ignore_index}", int(wrong[0]))
        counted = (index != self.ignore_index) & (index >= 0) & (index < k)
        index = torch.where(counted, index, 0).flatten()
        self.seen.index_add_(0, index, counted.flatten().long())
        self.hits.index_add_(0, index, (right & counted).flatten().long())

    def compute(self) -> dict[str, Tensor]:
        """The accuracies in [0, 1], as float32 scalars.

        Returns:
            ``overall``, ``balanced``, ``worst``, ``many``, ``medium``, ``few`` and ``class/NAME`` of every class; with
            intervals also each of the first six with ``/low`` and ``/high``.
        """
        hits, seen = (state.cpu().numpy().astype(np.float64) for state in (self.hits, self.seen))
        found = {name: float(value[0]) for name, value in self._accuracies(hits[None], seen).items()}
        for name, intervals in self._intervals(hits, seen).items():
            found[f"{name}/low"], found[f"{name}/high"] = intervals
        with np.errstate(invalid="ignore"):
            per_class = hits / seen
        found |= {f"class/{name}": float(value) for name, value in zip(self.class_names, per_class, strict=True)}
        device = self.hits.device
        return {name: torch.tensor(value, dtype=torch.float32, device=device) for name, value in found.items()}

    def _accuracies(self, hits: Floats, seen: Floats) -> dict[str, Floats]:
        """For hits of several draws, shape (draws, k), the accuracies of each, shape (draws,)."""
        some = seen > 0
        many, few = self.class_counts.values > self.many, self.class_counts.values < self.few
        groups = {"balanced": some, "many": many, "medium": ~(many | few), "few": few}
        recall = hits[:, some] / seen[some]
        found = {name: np.full(len(hits), np.nan) for name in ("overall", "balanced", "worst", *groups)}
        if some.any():
            found |= {"overall": hits.sum(1) / seen.sum(), "worst": recall.min(1)}
        for name, group in groups.items():
            if group[some].any():
                found[name] = recall[:, group[some]].mean(1)
        return found

    def _intervals(self, hits: Floats, seen: Floats) -> dict[str, tuple[float, float]]:
        if not self.num_bootstraps:
            return {}
        # samples of one class are hits or not: drawing them with replacement draws a binomial number of hits
        generator = np.random.default_rng(self.seed)
        rate = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
        draws: Ints = generator.binomial(seen.astype(np.int64), rate, (self.num_bootstraps, len(hits)))
        tail = 50 * (1 - self.confidence)
        ends = {
            name: np.percentile(values, [tail, 100 - tail])
            for name, values in self._accuracies(draws.astype(np.float64), seen).items()
        }
        return {name: (float(low), float(high)) for name, (low, high) in ends.items()}
