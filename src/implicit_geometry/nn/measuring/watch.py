"""Watching a network train, in any training loop: sums over the training steps, one row per epoch.

Embeddings, labels and logits are those of the training steps themselves, caught by a hook on the head: no second pass
over the data, and nearly no time. They are embeddings in training mode (batch statistics, dropout, augmentation) of a
network that moves during the epoch, beside the classifier at its end. The callbacks for Lightning, Hugging Face and
skorch are built on this.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchmetrics import Metric

from implicit_geometry._validate import Floats, InputError, Ints, flag, instance, names_of_classes, whole_number
from implicit_geometry.counts import ClassCounts
from implicit_geometry.measurement import Measurement, OnePass
from implicit_geometry.nn import check
from implicit_geometry.nn.measuring.batches import rows_of, samples
from implicit_geometry.nn.measuring.head_hook import find_head
from implicit_geometry.nn.measuring.history_plot import history_figure
from implicit_geometry.nn.measuring.merging import Closeness, closeness, crowded, merging_groups, warning_of
from implicit_geometry.nn.measuring.metric import GeometryMetric
from implicit_geometry.nn.measuring.targets import Observed, Targets, reason
from implicit_geometry.problem import Problem
from implicit_geometry.summary import accuracy_summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAN = float("nan")


class GeometryWatch:
    """Watches the head of a network while it trains, and makes one row per epoch, in ``history``.

    A row holds ``epoch``, ``train_loss`` (where losses are given), the accuracies of
    :func:`~implicit_geometry.summary.accuracy_summary` as ``train_``, the numbers of
    :func:`~implicit_geometry.summary.geometry_summary`, ``cdnv``, ``self_duality``, ``closest_cosine``, and the
    distances of the three blocks, such as ``classifier_etf_distance``: to the simplex ETF (``etf``), and with a problem
    to its limit (``limit``) and to its geometry at the ridge that explains the classifier best (``ridge``). There is no
    such ridge where the classes are of more than 600 kinds, or of more than 128 for a head with a bias. With smoothed
    labels ``cross_limit_scale`` is the size of the mean logits over that of their limit.

    Where the problem has equal classes, distances to theory come with their systematic part, such as
    ``classifier_limit_systematic``, and every block with its heterogeneity, such as ``classifier_heterogeneity``
    (:func:`~implicit_geometry.comparison.compare` says what they are). Embeddings are projected
    (:mod:`~implicit_geometry.frames`); the numbers of H as centred are those that begin with ``centred_embedding``.

    ``closest_cosine`` is the largest cosine of two classes, the smaller of that of their classifiers and that of their
    means. Where it says that classes are merging, a warning tells which, and what helps.

    Classes that were not seen in an epoch are left out of its row. Nothing ends a training that has done its first
    step: an epoch whose geometry cannot be told has NaN, with one warning that says why. Sums are over all processes.

    Labels may be of any shape that fits the head: one per sample, per token, or per pixel. Class probabilities, as
    mixup makes them, count as their most probable class.

    Args:
        model: the network, in which the head is found and hooked.
        problem: counts and loss of the training, for the distances to theory and for what a majority is; its ridge
            plays no part. Without it, majorities are those of the labels seen.
        head: dotted name of the last linear layer or 1 x 1 convolution, or its end where that is unique. Where left
            out it is the one with as many outputs as the problem has classes.
        ignore_index: label of samples that do not count.
        early_warning: warn of classes that are merging.
        class_names: for that warning; their numbers where left out.

    Raises:
        InputError: an argument has the wrong type, no such head, or a problem of other classes or bias than the head.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2, bias=False))
        >>> watch = GeometryWatch(model, Problem([60, 20]))
        >>> inputs, labels = torch.randn(80, 3), torch.tensor([0, 0, 0, 1] * 20)
        >>> with watch.batch(labels):
        ...     logits = model(inputs)
        >>> row = watch.end_epoch()
        >>> row["epoch"], sorted(row)[:2]
        (1, ['cdnv', 'centred_embedding_cos_between'])
    """

    history: list[dict[str, float]]

    def __init__(
        self,
        model: nn.Module,
        problem: Problem | None = None,
        *,
        head: str | None = None,
        ignore_index: int = -100,
        early_warning: bool = True,
        class_names: Sequence[str] = (),
    ) -> None:
        check.module("model", model)
        if problem is not None:
            instance("problem", problem, Problem)
        self.problem = problem
        self.head = find_head(model, head, None if problem is None else problem.num_classes)
        self.ignore_index = whole_number("ignore_index", ignore_index, minimum=-(2**63), maximum=2**63 - 1)
        self.early_warning = flag("early_warning", early_warning)
        self.history = []
        k, d = self.head.weight.shape
        self.class_names = names_of_classes(class_names, k)
        self._warned: set[str] = set()
        self._merging: list[list[int]] = []  # the groups of the last warning
        self._targets = Targets(problem, k, has_bias=self.head.bias is not None)
        for name, error in self._targets.missing.items():
            self.warn(name, f"no distances to the {name}", error)
        place = self.head.weight.device
        self._home = torch.device("cpu") if place.type == "mps" else place  # mps has no float64
        self._metric = GeometryMetric(k, d, ignore_index=self.ignore_index).to(self._home)
        self._sums = _Sums(k).to(self._home)
        self._waiting = False  # whether the training step that goes on still lacks its batch
        self._labels: Tensor | None = None  # of that step, where they are known before the head runs
        self._passed: tuple[Tensor, Tensor] | None = None  # embeddings and logits, where the head runs before
        self._proven = False  # whether a training step has been seen: what is wrong in the first is an error
        self._trouble: Exception | None = None  # what was wrong in a later one
        self._handle: Any = None

    def observe(self, embeddings: Tensor, labels: Tensor, logits: Tensor | None = None) -> None:
        """Add a batch that is at hand.

        Args:
            embeddings: what enters the head, shape (N, d), (N, ..., d), or (N, d, ...) where it is a convolution.
            labels: class indices or class probabilities.
            logits: what leaves the head, for the accuracies.

        Raises:
            InputError: in the first step, shapes or labels that do not fit.
        """
        with self.noting_trouble():
            self._add(embeddings, labels, logits)
            self._proven = True

    @contextmanager
    def batch(self, labels: Tensor) -> Iterator[None]:
        """Add what passes through the head inside of this context, the first time that it runs."""
        self.begin(labels)
        yield
        self.end()

    def begin(self, labels: Tensor | None = None) -> None:
        """A training step begins; its labels may also come later, by :meth:`give_labels`."""
        self._waiting, self._labels, self._passed = True, labels, None
        if self._handle is None:
            hook = torch.compiler.disable(self._hook)  # type: ignore[no-untyped-call]
            self._handle = self.head.layer.register_forward_hook(hook)

    def give_labels(self, labels: Tensor) -> None:
        """The labels of the training step that goes on."""
        with self.noting_trouble():
            if self._waiting and self._passed is not None:
                self._waiting = False
                self._add(self._passed[0], labels, self._passed[1])
            self._labels, self._passed = labels, None

    def end(self, loss: Tensor | None = None, size: int = 1) -> None:
        """The training step is done.

        Args:
            loss: of the step, a scalar.
            size: its weight in the epoch's mean, such as the number of samples.

        Raises:
            InputError: in the first step, that the head did not run, or that there were no labels.
        """
        with self.noting_trouble():
            if self._waiting and self._passed is not None:
                raise InputError("labels", "must be given in every training step", "none")
            if self._waiting:
                reason = "a hook on a network that was compiled and has run before is not seen"
                raise InputError("head", "must run in every training step", f"none of {self.head.name!r} ({reason})")
            if loss is not None:
                self._sums.add_loss(loss.detach().to(self._home, torch.float64).reshape(()), size)
            self._proven = True
        self._waiting, self._labels, self._passed = False, None, None

    @property
    def proven(self) -> bool:
        """Whether a training step has been seen."""
        return self._proven

    def end_epoch(
        self, *, epoch: int | None = None, at_rest: Callable[[], OnePass] | None = None, **columns: float
    ) -> dict[str, float]:
        """Make the row of the epoch, append it to the history, and start the next.

        Args:
            epoch: its number, from 1; by default that of the row.
            at_rest: measures the network, in place of what was observed.
            **columns: further columns.
        """
        number = len(self.history) + 1 if epoch is None else epoch
        hits, seen, loss = self._sums.totals()
        names = ["cdnv", "self_duality", *([] if at_rest is None else ["nc1"])]
        geometry: dict[str, float] = dict.fromkeys([*names, *chain(*self._targets.columns.values())], _NAN)
        geometry["closest_cosine"] = _NAN
        try:
            found, classes = self._observed(seen) if at_rest is None else _of_all_classes(at_rest())
            if isinstance(found, Measurement):
                seen = found.counts.values.astype(np.float64)
                hits = found.class_accuracy * seen
            framed = found.in_both_frames(self._label_scale()[classes])
            geometry |= {name: float(getattr(found, name)) for name in names}
        except Exception as error:  # whatever it is, the training goes on
            self.warn("geometry", f"epoch {number} has no geometry", error)
        else:
            counts = found.counts if self.problem is None else ClassCounts(self.problem.counts.values[classes])
            geometry |= self._compared(Observed(framed, counts, classes), f"epoch {number} has no")
        summary = accuracy_summary(hits, seen, self.counts_of(seen))
        accuracies = {f"train_{name}": value for name, value in summary.items()}
        row = {"epoch": number, **columns, "train_loss": loss, **accuracies, **geometry}
        self.history.append(row)
        self.reset()
        return row

    def plot(self) -> Figure:
        """Distances, accuracies and the closest classes over the epochs.

        Raises:
            InputError: there is no row yet.
            MissingExtra: Matplotlib is not installed.
        """
        return history_figure(self.history)

    def counts_of(self, seen: Floats) -> ClassCounts:
        """What says which classes are majorities: the counts of the problem, or the samples seen."""
        return ClassCounts(np.maximum(np.nan_to_num(seen), 1)) if self.problem is None else self.problem.counts

    def reset(self) -> None:
        """Forget what was observed since the last row."""
        self._trouble = None
        self._metric.reset()
        self._sums.reset()

    def close(self) -> None:
        """Let go of the network."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def warn(self, what: str, message: str, error: Exception) -> None:
        """Say once why something is missing."""
        if what not in self._warned and _is_first_process():
            warnings.warn(f"{message}: {reason(error)}", stacklevel=3)
            self._warned.add(what)

    def _hook(self, layer: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        """Add the batch of the training step that goes on, or keep it for its labels; of several runs the first."""
        if not self._waiting or self._passed is not None:
            return
        with self.noting_trouble():
            if not inputs:
                self._waiting = False
                raise InputError("head", "must be called with the embedding as positional argument", "none")
            if self._labels is None:
                self._passed = inputs[0].detach(), logits.detach()
            else:
                self._waiting = False
                self._add(inputs[0], self._labels, logits)

    def _add(self, embeddings: Tensor, labels: Tensor, logits: Tensor | None) -> None:
        first = self.head.channels_first
        rows, index = samples(embeddings.detach().to(self._home), labels.to(self._home), channels_first=first)
        try:
            self._metric.update(rows, index)
        except InputError as error:
            if embeddings.is_floating_point() and not embeddings.isfinite().all():
                self._spoil(error)
                return
            raise
        hit = torch.full_like(index, _NAN, dtype=torch.float64)
        if logits is not None:
            hit = (rows_of(logits.detach(), channels_first=first).argmax(-1).to(self._home) == index).double()
        self._sums.add(index, hit, index != self.ignore_index)

    @contextmanager
    def noting_trouble(self) -> Iterator[None]:
        """Let nothing that is wrong inside end the training after its first step: the epoch then has no geometry."""
        try:
            yield
        except Exception as error:
            if not self._proven:
                raise
            self._spoil(error)

    def _spoil(self, error: Exception) -> None:
        """Make the sums of the epoch NaN, which all processes then see."""
        self._trouble = self._trouble or error
        for sums in (self._metric.class_squares, self._sums.hits):
            sums.fill_(_NAN)

    def _observed(self, seen: Floats) -> tuple[OnePass, Ints]:
        """The geometry of what was observed, beside the weight of the head as it is, and the classes that it has."""
        loss = None if self.problem is None else self.problem.parameterization
        try:
            found = self._metric.compute(
                self.head.weight, bias=self.head.bias, parameterization=loss, leave_out_unseen=True
            )
        except InputError as error:
            raise self._trouble or error from None
        return found, np.flatnonzero(seen)

    def _label_scale(self) -> Floats:
        return np.ones(len(self.head.weight)) if self.problem is None else self.problem.parameterization.label_scale

    def _compared(self, seen: Observed, at: str) -> dict[str, float]:
        columns: dict[str, float] = {}
        for name, part in self._targets.parts.items():
            try:
                columns |= part(seen)
            except Exception as error:  # whatever it is, the others may be told
                self.warn(name, f"{at} geometry over the {name}", error)
        try:
            now = closeness(seen.framed.geometry, seen.classes, seen.counts.values)
            columns["closest_cosine"] = now.largest
            if self.early_warning and not crowded(*self.head.weight.shape):
                self._warn_of_merging(now, columns.get("effective_ridge", _NAN))
        except Exception as error:
            self.warn("merging", f"{at} cosine of its closest classes", error)
        return columns

    def _warn_of_merging(self, now: Closeness, fitted_ridge: float) -> None:
        before = self.history[-1].get("closest_cosine", _NAN) if self.history else _NAN
        groups = merging_groups(now, before)
        if not groups or groups == self._merging:
            return
        self._merging = groups
        clause = self._targets.beyond_threshold(groups, fitted_ridge)
        if _is_first_process():
            warnings.warn(warning_of(groups, now, before, names=self.class_names, clause=clause), stacklevel=5)


def _of_all_classes(measured: OnePass) -> tuple[OnePass, Ints]:
    return measured, np.arange(measured.num_classes)


def _is_first_process() -> bool:
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0


class _Sums(Metric):
    """Hits and samples by class, and the mean loss, over all processes."""

    full_state_update = False
    hits: Tensor
    seen: Tensor
    loss: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        for name, size in (("hits", num_classes), ("seen", num_classes), ("loss", 2)):
            self.add_state(name, torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self) -> None:
        """What torchmetrics asks for; it wraps it, which takes more time than the sums."""

    def add(self, labels: Tensor, hit: Tensor, counted: Tensor) -> None:
        """Add samples: their labels, 1 where they are hits, and which of them count."""
        known = torch.where(counted, labels, 0).long().clamp(0, len(self.hits) - 1)
        self.hits.index_add_(0, known, torch.where(counted, hit, 0.0))
        self.seen.index_add_(0, known, counted.double())

    def add_loss(self, loss: Tensor, size: int) -> None:
        """Add the mean loss of so many samples."""
        self.loss += torch.stack([loss * size, torch.full_like(loss, size)])

    def compute(self) -> None:
        """The sums are read by :meth:`totals`."""

    def totals(self) -> tuple[Floats, Floats, float]:
        """Hits and samples by class, and the mean loss."""
        with self.sync_context(
            dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync, should_unsync=self._should_unsync
        ):
            hits, seen, (loss, size) = (state.cpu().numpy() for state in (self.hits, self.seen, self.loss))
        return hits.copy(), seen.copy(), float(loss / size) if size else _NAN
