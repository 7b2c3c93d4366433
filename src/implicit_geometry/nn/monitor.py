"""The live monitor: geometry, distances to theory and accuracies of a network, epoch by epoch, while Lightning trains.

By default embeddings, labels and logits are those of the training steps themselves, caught by a hook on the head: no
second pass over the data, and nearly no time. They are embeddings in training mode (batch statistics, dropout,
augmentation) of a network that moves during the epoch, beside the classifier at its end. Where that matters give a
loader, and the network is measured at rest, as :func:`~implicit_geometry.nn.measure.measure` does.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from implicit_geometry._validate import Floats, InputError, Ints, whole_number
from implicit_geometry.comparison import compare
from implicit_geometry.counts import ClassCounts
from implicit_geometry.geometry import Geometry, simplex_etf
from implicit_geometry.gram import Gram
from implicit_geometry.measurement import Measurement
from implicit_geometry.nn.measure import measure
from implicit_geometry.nn.metric import GeometryMetric
from implicit_geometry.nn.watch import describe_batch, find_head, head_outputs, watched
from implicit_geometry.problem import Problem, Solution, group_classes, varying_vectors
from implicit_geometry.summary import accuracy_summary, geometry_summary
from implicit_geometry.theory.collapse import total_threshold
from implicit_geometry.theory.predict import predict
from implicit_geometry.theory.ridge import ridge_path, ridge_solution

_NAN = float("nan")


class GeometryMonitor(L.Callback):
    """Records one row an epoch in ``history``, and logs it as ``geometry/...`` for loggers and other callbacks.

    A row holds ``epoch`` (finished ones), ``learning_rate``, ``train_loss`` (mean of the batches' losses, weighted by
    their sizes), the accuracies of :func:`~implicit_geometry.summary.accuracy_summary` as ``train_`` and ``test_``, the
    numbers of :func:`~implicit_geometry.summary.geometry_summary`, ``cdnv``, ``self_duality``, and the distances of the
    three blocks, such as ``classifier_etf_distance``: to the simplex ETF (``etf``), and with a problem to its limit
    (``limit``) and to its geometry at the ridge that explains the classifier best (``ridge``). That
    ``effective_ridge`` is the best of 32 ridges a decade, over the 12 decades below the one from which on everything
    collapses; there is none where the head has a bias, or the classes are of more than 128 kinds.

    An epoch whose geometry cannot be told (a class was not seen, the network diverged) gives NaN, with one warning that
    says why. Sums are over all processes, which all have the same history up to rounding.

    Args:
        problem: counts and loss of the training, for the distances to theory and for what a majority is; its ridge
            plays no part. Without it, majorities are those of the labels seen.
        head: dotted name of the last linear layer in the LightningModule, or its end where that is unique (``"fc"`` for
            ``model.fc``). Its input is the embedding, its output the logits of a batch ``(inputs, labels, ...)``. Where
            it runs several times in a training step, the first run counts.
        every: epochs between rows.
        loader: batches ``(inputs, labels)`` on which the network is measured at rest, in place of the training steps;
            adds ``nc1``. Every process reads all of it.
        test_loader: batches ``(inputs, labels)`` for the test accuracies. Every process reads all of them.

    Raises:
        InputError: ``every`` is not a positive whole number. At the start of a fit: no such head, a problem of other
            classes or bias than the head. In training: a batch of
            another form, or a head that did not run.

    Example:
        >>> from implicit_geometry.rules import cdt
        >>> counts = ClassCounts([500, 50])
        >>> monitor = GeometryMonitor(Problem(counts, cdt(counts, gamma=0.5)), every=5)
        >>> monitor.history  # filled by L.Trainer(callbacks=[monitor]).fit(...)
        []
    """

    history: list[dict[str, float]]

    def __init__(
        self,
        problem: Problem | None = None,
        *,
        head: str = "fc",
        every: int = 1,
        loader: Iterable[Any] | None = None,
        test_loader: Iterable[Any] | None = None,
    ) -> None:
        self.problem = problem
        self.head = head
        self.every = whole_number("every", every, minimum=1)
        self.loader = loader
        self.test_loader = test_loader
        self.history = []
        self._watch: _Watch | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find the head and solve the problem."""
        path = _head_path(pl_module, self.head)
        layer, weight = find_head(pl_module, path)
        self._targets = _Targets(self.problem, len(weight), has_bias=getattr(layer, "bias", None) is not None)
        self._watch = _Watch(path, layer, weight, live=self.loader is None)
        self._warned = False

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the labels."""
        if self._watch is not None and self._records(trainer):
            self._rate = float(trainer.optimizers[0].param_groups[0]["lr"]) if trainer.optimizers else _NAN
            self._watch.begin(batch)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the loss, which Lightning gives divided by the number of batches whose gradients it accumulates."""
        if self._watch is not None and self._records(trainer):
            loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
            self._watch.end(loss * trainer.accumulate_grad_batches if isinstance(loss, Tensor) else None, len(batch[1]))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record a row and log it."""
        if self._watch is None or not self._records(trainer):
            return
        row = self._row(self._watch, trainer, pl_module)
        self._watch.reset()
        self.history.append(row)
        values = {f"geometry/{name}": value for name, value in row.items() if name != "epoch"}
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
        for logger in trainer.loggers:  # a tenth of the time of pl_module.log_dict, which sums over steps and processes
            logger.log_metrics({**values, "epoch": trainer.current_epoch}, step=trainer.global_step - 1)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let go of the network."""
        self._release()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Let go of the network."""
        self._release()

    def state_dict(self) -> dict[str, Any]:
        """The history, as plain numbers."""
        return {"history": [dict(row) for row in self.history]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a history."""
        self.history[:] = [dict(row) for row in state_dict["history"]]

    def _records(self, trainer: L.Trainer) -> bool:
        return (trainer.current_epoch + 1) % self.every == 0

    def _release(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _row(self, watch: _Watch, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, float]:
        hits, seen, loss = watch.totals(trainer)
        names = ["cdnv", "self_duality", *([] if self.loader is None else ["nc1"])]
        try:
            measured = self._measure(watch, pl_module)
            geometry = {name: float(getattr(measured, name)) for name in names} | self._targets.compare(measured)
            if measured.class_accuracy is not None:
                seen = measured.counts.values.astype(np.float64)
                hits = measured.class_accuracy * seen
        except InputError as error:
            geometry = dict.fromkeys([*names, *self._targets.columns], _NAN)
            if trainer.is_global_zero and not self._warned:
                warnings.warn(f"epoch {trainer.current_epoch + 1} has no geometry: {error}", stacklevel=2)
                self._warned = True
        counts = ClassCounts(np.maximum(seen, 1)) if self.problem is None else self.problem.counts
        row = {"epoch": trainer.current_epoch + 1, "learning_rate": self._rate, "train_loss": loss}
        parts = {"train": (hits, seen)}
        if self.test_loader is not None:
            parts["test"] = _count_hits(*_network(pl_module, watch.path), self.test_loader)
        for part, found in parts.items():
            row |= {f"{part}_{name}": value for name, value in accuracy_summary(*found, counts).items()}
        return row | geometry

    def _measure(self, watch: _Watch, pl_module: L.LightningModule) -> Measurement:
        loss = None if self.problem is None else self.problem.parameterization
        if self.loader is None:
            bias = getattr(watch.layer, "bias", None)
            return watch.metric.compute(watch.weight, bias=bias, parameterization=loss)
        network, head = _network(pl_module, watch.path)
        return measure(network, self.loader, head=head, parameterization=loss)


class _Watch:
    """The head of a network in training, and the sums of an epoch in this process.

    Args:
        path: dotted name of the head.
        layer: the head.
        weight: of the head, shape (k, d).
        live: whether to sum what passes through the head in training steps.
    """

    def __init__(self, path: str, layer: nn.Module, weight: Tensor, *, live: bool) -> None:
        self.path, self.layer, self.weight = path, layer, weight
        self.home = torch.device("cpu") if weight.device.type == "mps" else weight.device  # mps has no float64
        self.metric = GeometryMetric(*weight.shape).to(self.home)
        self.hits = torch.zeros(len(weight), dtype=torch.float64, device=self.home)
        self.loss = torch.zeros(2, dtype=torch.float64, device=self.home)  # sum of loss * batch size, and of the sizes
        self.labels: Tensor | None = None  # of the training step that goes on, until the head has run
        hook = torch.compiler.disable(self.observe)  # type: ignore[no-untyped-call]
        self.handle = layer.register_forward_hook(hook) if live else None

    def begin(self, batch: Any) -> None:
        if not isinstance(batch, (tuple, list)) or len(batch) < 2 or not isinstance(batch[1], Tensor):
            raise InputError("batch", "must be (inputs, labels, ...) with a tensor of labels", describe_batch(batch))
        self.labels = batch[1]

    def observe(self, layer: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        """The hook: add the batch of the training step that goes on."""
        if self.labels is None:
            return
        labels, self.labels = self.labels.to(self.home), None
        embeddings, predicted = inputs[0].detach().to(self.home), logits.detach().argmax(-1).to(self.home)
        try:
            self.metric.update(embeddings, labels)
        except InputError:
            if embeddings.isfinite().all():
                raise
            self.metric.class_squares.fill_(_NAN)  # so that compute() refuses, in all processes
        else:
            known = labels.long().clamp(0, len(self.hits) - 1)
            self.hits.index_add_(0, known, (predicted == labels).double())

    def end(self, loss: Tensor | None, size: int) -> None:
        if self.handle is not None and self.labels is not None:
            raise InputError(
                "head",
                "must run in every training step",
                f"none of {self.path!r} (a hook on a network that was compiled and has run before is not seen)",
            )
        self.labels = None
        if loss is not None:
            total = loss.detach().to(self.home, torch.float64).reshape(())
            self.loss += torch.stack([total * size, torch.full_like(total, size)])

    def totals(self, trainer: L.Trainer) -> tuple[Floats, Floats, float]:
        """Correct predictions and samples by class, and mean loss, over all processes."""
        local = torch.cat([self.hits, self.metric.counts[:-1].double(), self.loss])
        total: Floats = trainer.strategy.reduce(local, reduce_op="sum").cpu().numpy()
        hits, seen, (loss, size) = np.split(total, [len(self.hits), 2 * len(self.hits)])
        return hits, seen, float(loss / size) if size else _NAN

    def reset(self) -> None:
        self.metric.reset()
        self.hits.zero_()
        self.loss.zero_()

    def close(self) -> None:
        if self.handle is not None:
            self.handle.remove()


class _Targets:
    """What a measured geometry is compared with."""

    def __init__(self, problem: Problem | None, num_classes: int, *, has_bias: bool) -> None:
        self.problem = problem
        self.known: dict[str, Geometry] = {"etf": simplex_etf(num_classes)}
        self.ridges: _RidgeLattice | None = None
        if problem is not None:
            if (problem.num_classes, problem.bias) != (num_classes, has_bias):
                raise InputError(
                    "problem",
                    f"must have the {num_classes} classes and bias={has_bias} of the head",
                    f"{problem.num_classes} classes and bias={problem.bias}",
                )
            self.known["limit"] = predict(replace(problem, ridge=0.0)).geometry
            few = group_classes(*varying_vectors(problem)).size.size <= _RidgeLattice.MOST_KINDS
            self.ridges = _RidgeLattice(problem) if few and not has_bias else None
        counts = ClassCounts(np.ones(num_classes)) if problem is None else problem.counts
        self.columns = list(self._compare(self.known["etf"], counts))

    def compare(self, measured: Measurement) -> dict[str, float]:
        """The columns of a measurement."""
        geometry = measured.geometry
        assert geometry is not None  # a head has a classifier
        return self._compare(geometry, measured.counts if self.problem is None else self.problem.counts)

    def _compare(self, geometry: Geometry, counts: ClassCounts) -> dict[str, float]:
        row, targets = geometry_summary(geometry, counts), dict(self.known)
        if self.ridges is not None:
            fitted = self.ridges.nearest(geometry.classifier)
            row["effective_ridge"], targets["ridge"] = fitted.problem.ridge, fitted.geometry
        for name, target in targets.items():
            row |= {f"{block}_{name}_distance": value for block, value in asdict(compare(geometry, target)).items()}
        return row


class _RidgeLattice:
    """Solutions at ridges evenly spaced on a logarithmic scale, solved where asked for and kept for the next epochs.

    :func:`implicit_geometry.theory.effective.effective_ridge` finds the optimum to 1e-6, and solves anew every time.
    """

    STEPS, DECADES, COARSE = 32, 12, 8  # steps a decade, decades, steps of the first search
    MOST_KINDS = 128  # of classes, by counts and parameters: with more, a solution takes too long and too much memory

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.total = total_threshold(problem)
        self.coarse = range(-self.STEPS * self.DECADES, 0, self.COARSE)
        path = ridge_path(problem.counts, problem.parameterization, [self.ridge(index) for index in self.coarse])
        self.solved = {index: (each, _unit_entries(each)) for index, each in zip(self.coarse, path, strict=True)}

    def ridge(self, index: int) -> float:
        return self.total * math.pow(10, index / self.STEPS)

    def solution(self, index: int) -> tuple[Solution, Floats]:
        if index not in self.solved:
            found = ridge_solution(replace(self.problem, ridge=self.ridge(index)))
            self.solved[index] = found, _unit_entries(found)
        return self.solved[index]

    def nearest(self, classifier: Gram) -> Solution:
        """The solution with the nearest classifier: the best of the coarse steps, then of halved ones around it."""
        sums = _group_sums(classifier, self.solved[self.coarse[0]][0].geometry.classifier.group)

        def closeness(index: int) -> float:
            return float(self.solution(index)[1] @ sums)

        best, step = max(self.coarse, key=closeness), self.COARSE
        while step > 1:
            step //= 2
            around = (index for index in (best, best - step, best + step) if self.coarse.start <= index < 0)
            best = max(around, key=closeness)
        return self.solution(best)[0]


def _unit_entries(solution: Solution) -> Floats:
    """Entries of a predicted classifier block of unit norm: of all pairs of groups, then on the diagonal."""
    gram = solution.geometry.classifier
    return np.append(gram.left @ gram.right.T, gram.diagonal) / gram.frobenius_norm()


def _group_sums(gram: Gram, group: Ints) -> Floats:
    """Sums of a measured block over what :func:`_unit_entries` holds once: their product is the inner product."""
    left, right = np.zeros((2, group.max() + 1, gram.left.shape[1]))
    np.add.at(left, group, gram.left[gram.group])
    np.add.at(right, group, gram.right[gram.group])
    own = np.bincount(group, weights=gram.squared_norms())
    return np.append(left @ right.T - np.diag(own), own)


def _head_path(module: nn.Module, head: str) -> str:
    """Full dotted name of a head given by its end."""
    names: list[str] = [name for name, _ in module.named_modules()]
    found = [name for name in names if name.endswith(f".{head}")]
    if head in names or not found:
        return head
    if len(found) > 1:
        raise InputError("head", "must name one module", f"{head!r}, which could be {' or '.join(found)}")
    return found[0]


def _network(module: nn.Module, path: str) -> tuple[nn.Module, str]:
    """The outermost module around the head that maps inputs to logits, and the head's name in it.

    A LightningModule need not; a compiled module does, but hides the head, so it is the one that it compiles.
    """
    names = path.split(".")
    for depth, name in enumerate(names):
        without = type(module).forward in (nn.Module.forward, L.LightningModule.forward)
        if not without and name != "_orig_mod":
            return module, ".".join(names[depth:])
        module = getattr(module, name)
    raise InputError("head", "must be part of a module that maps inputs to logits", f"{path!r}, which is in none")


def _count_hits(network: nn.Module, head: str, loader: Iterable[Any]) -> tuple[Floats, Floats]:
    """Correct predictions and samples by class, in eval mode."""
    layer, weight = find_head(network, head)
    totals = torch.zeros(2, len(weight), dtype=torch.float64)
    with watched(network, layer) as calls:
        for _, labels, logits in head_outputs(network, loader, calls, weight.device, torch.device("cpu")):
            columns = torch.stack([(logits.argmax(1) == labels).double(), torch.ones(len(labels), dtype=torch.float64)])
            totals.index_add_(1, labels.long(), columns)
    return totals[0].numpy(), totals[1].numpy()
