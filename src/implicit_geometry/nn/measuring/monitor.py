"""The live monitor: geometry, distances to theory and accuracies of a network, epoch by epoch, while Lightning trains.

By default embeddings, labels and logits are those of the training steps themselves, caught by a hook on the head: no
second pass over the data, and nearly no time. They are embeddings in training mode (batch statistics, dropout,
augmentation) of a network that moves during the epoch, beside the classifier at its end. Where that matters give a
loader, and the network is measured at rest, as :func:`~implicit_geometry.nn.measuring.two_passes.measure` does.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from implicit_geometry._validate import Floats, InputError, whole_number
from implicit_geometry.counts import ClassCounts
from implicit_geometry.measurement import Measurement, OnePass
from implicit_geometry.nn.measuring.head_hook import describe_batch, find_head, head_outputs, watched
from implicit_geometry.nn.measuring.metric import GeometryMetric
from implicit_geometry.nn.measuring.targets import Targets
from implicit_geometry.nn.measuring.two_passes import measure
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem
from implicit_geometry.summary import accuracy_summary

_NAN = float("nan")


class GeometryMonitor(L.Callback):
    """Records one row per epoch in ``history``, and logs it as ``geometry/...`` for loggers and other callbacks.

    A row holds ``epoch`` (finished ones), ``learning_rate``, ``train_loss`` (mean of the batches' losses, weighted by
    their sizes), the accuracies of :func:`~implicit_geometry.summary.accuracy_summary` as ``train_`` and ``test_``, the
    numbers of :func:`~implicit_geometry.summary.geometry_summary`, ``cdnv``, ``self_duality``, and the distances of the
    three blocks, such as ``classifier_etf_distance``: to the simplex ETF (``etf``), and with a problem to its limit
    (``limit``) and to its geometry at the ridge that explains the classifier best (``ridge``). That
    ``effective_ridge`` is the best of 32 ridges per decade, over the 12 decades below the one from which on everything
    collapses; there is none where the head has a bias, or the classes are of more than 128 kinds.

    Nothing ends a training that has done its first step. An epoch whose geometry cannot be told (a class was not seen,
    the network diverged, the head changed) gives NaN, and so does a test accuracy that cannot be had, with one warning
    that says why; a target that theory does not give for this problem has no columns, with a warning at the start. Sums
    are over all processes, which all have the same history up to rounding.

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
        InputError: an argument has the wrong type, or ``every`` is not a positive whole number. At the start of a fit:
            no such head, a problem of other classes or bias than the head; in its first training step: a batch of
            another form, labels that are no classes, or a head that did not run.

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
        if problem is not None and not isinstance(problem, Problem):
            raise InputError("problem", "must be a Problem", type(problem).__name__)
        if not isinstance(head, str):
            raise InputError("head", "must be the dotted name of a module", type(head).__name__)
        for name, batches in (("loader", loader), ("test_loader", test_loader)):
            if batches is not None and not isinstance(batches, Iterable) and not hasattr(batches, "__getitem__"):
                raise InputError(name, "must be an iterable of batches (inputs, labels)", type(batches).__name__)
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
        self._warned: set[str] = set()
        self._rate = _NAN
        self._targets = Targets(self.problem, len(weight), has_bias=getattr(layer, "bias", None) is not None)
        for name, error in self._targets.missing.items():
            self._warn(trainer, name, f"no distances to the {name}", error)
        self._watch = _Watch(path, layer, weight, live=self.loader is None)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the labels."""
        if self._watch is not None and (self._records(trainer) or not self._watch.proven):
            self._rate = _learning_rate(trainer)
            self._watch.begin(batch)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the loss, which Lightning gives divided by the number of batches whose gradients it accumulates."""
        watch = self._watch
        if watch is not None and (self._records(trainer) or not watch.proven):
            loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
            watch.end(loss * trainer.accumulate_grad_batches if isinstance(loss, Tensor) else None, batch)
            if not self._records(trainer):
                watch.reset()

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

    def _warn(self, trainer: L.Trainer, what: str, message: str, error: Exception) -> None:
        """Say once in a fit why something is missing."""
        if trainer.is_global_zero and what not in self._warned:
            reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            warnings.warn(f"{message}: {reason}", stacklevel=2)
            self._warned.add(what)

    def _row(self, watch: _Watch, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, float]:
        epoch = f"epoch {trainer.current_epoch + 1} has no"
        hits, seen, loss = watch.totals(trainer)
        names = ["cdnv", "self_duality", *([] if self.loader is None else ["nc1"])]
        geometry: dict[str, float] = dict.fromkeys([*names, *chain(*self._targets.columns.values())], _NAN)
        try:
            measured = self._measure(watch, pl_module)
            if isinstance(measured, Measurement):
                seen = measured.counts.values.astype(np.float64)
                hits = measured.class_accuracy * seen
            found = measured.geometry
            geometry |= {name: float(getattr(measured, name)) for name in names}
        except Exception as error:  # whatever it is, the training goes on
            self._warn(trainer, "geometry", f"{epoch} geometry", error)
        else:
            counts = measured.counts if self.problem is None else self.problem.counts
            for name, part in self._targets.parts.items():
                try:
                    geometry |= part(found, counts)
                except Exception as error:
                    self._warn(trainer, name, f"{epoch} geometry over the {name}", error)
        row = {"epoch": trainer.current_epoch + 1, "learning_rate": self._rate, "train_loss": loss}
        counts = ClassCounts(np.maximum(np.nan_to_num(seen), 1)) if self.problem is None else self.problem.counts
        parts = {"train": (hits, seen)}
        if self.test_loader is not None:
            try:
                parts["test"] = _count_hits(*_network(pl_module, watch.path), self.test_loader)
            except Exception as error:
                self._warn(trainer, "test", f"{epoch} test accuracy", error)
                parts["test"] = np.full_like(hits, _NAN), np.full_like(hits, _NAN)
        for part_name, pair in parts.items():
            row |= {f"{part_name}_{name}": value for name, value in accuracy_summary(*pair, counts).items()}
        return row | geometry

    def _measure(self, watch: _Watch, pl_module: L.LightningModule) -> OnePass:
        loss = None if self.problem is None else self.problem.parameterization
        if self.loader is None:
            return watch.measured(loss)
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
        self.path, self.layer = path, layer
        self.home = torch.device("cpu") if weight.device.type == "mps" else weight.device  # mps has no float64
        self.metric = GeometryMetric(*weight.shape).to(self.home)
        self.hits = torch.zeros(len(weight), dtype=torch.float64, device=self.home)
        self.loss = torch.zeros(2, dtype=torch.float64, device=self.home)  # sum of loss * batch size, and of the sizes
        self.labels: Tensor | None = None  # of the training step that goes on, until the head has run
        self.proven = False  # whether a training step has been seen: what is wrong in the first is an error
        self.trouble: Exception | None = None  # what was wrong in a later one
        hook = torch.compiler.disable(self.observe)  # type: ignore[no-untyped-call]
        self.handle = layer.register_forward_hook(hook) if live else None

    def begin(self, batch: Any) -> None:
        with self._noting_trouble():
            self.labels = _labels(batch)

    def observe(self, layer: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        """The hook: add the batch of the training step that goes on."""
        if self.labels is None:
            return
        labels, self.labels = self.labels, None
        with self._noting_trouble():
            if not inputs:
                raise InputError("head", "must be called with the embedding as positional argument", "none")
            self._add(inputs[0].detach().to(self.home), labels.to(self.home), logits.detach())

    def _add(self, embeddings: Tensor, labels: Tensor, logits: Tensor) -> None:
        try:
            self.metric.update(embeddings, labels)
        except InputError as error:
            if embeddings.is_floating_point() and not embeddings.isfinite().all():
                self._spoil(error)
                return
            raise
        predicted = logits.argmax(-1).to(self.home)
        known = labels.long().clamp(0, len(self.hits) - 1)
        self.hits.index_add_(0, known, (predicted == labels).double())

    def end(self, loss: Tensor | None, batch: Any) -> None:
        with self._noting_trouble():
            if self.handle is not None and self.labels is not None:
                raise InputError(
                    "head",
                    "must run in every training step",
                    f"none of {self.path!r} (a hook on a network that was compiled and has run before is not seen)",
                )
            if loss is not None:
                total, size = loss.detach().to(self.home, torch.float64).reshape(()), len(_labels(batch))
                self.loss += torch.stack([total * size, torch.full_like(total, size)])
            self.proven = True
        self.labels = None

    @contextmanager
    def _noting_trouble(self) -> Iterator[None]:
        """After the first training step, let nothing that is wrong end the training: the epoch has no geometry."""
        try:
            yield
        except Exception as error:
            if not self.proven:
                raise
            self._spoil(error)

    def _spoil(self, error: Exception) -> None:
        """Make the sums of the epoch NaN, which all processes then see."""
        self.trouble = self.trouble or error
        for sums in (self.metric.class_squares, self.hits):
            sums.fill_(_NAN)

    def measured(self, loss: Parameterization | None) -> OnePass:
        """The geometry of the epoch's sums, over all processes, beside the weight of the head as it is."""
        weight: Any = self.layer.weight
        try:
            return self.metric.compute(weight, bias=getattr(self.layer, "bias", None), parameterization=loss)
        except InputError as error:
            raise self.trouble or error from None

    def totals(self, trainer: L.Trainer) -> tuple[Floats, Floats, float]:
        """Correct predictions and samples by class, and mean loss, over all processes."""
        local = torch.cat([self.hits, self.metric.counts[:-1].double(), self.loss])
        total: Floats = trainer.strategy.reduce(local, reduce_op="sum").cpu().numpy()
        hits, seen, (loss, size) = np.split(total, [len(self.hits), 2 * len(self.hits)])
        return hits, seen, float(loss / size) if size else _NAN

    def reset(self) -> None:
        self.trouble = None
        self.metric.reset()
        self.hits.zero_()
        self.loss.zero_()

    def close(self) -> None:
        if self.handle is not None:
            self.handle.remove()


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


def _labels(batch: Any) -> Tensor:
    if not isinstance(batch, (tuple, list)) or len(batch) < 2 or not isinstance(batch[1], Tensor):
        raise InputError("batch", "must be (inputs, labels, ...) with a tensor of labels", describe_batch(batch))
    return batch[1]


def _learning_rate(trainer: L.Trainer) -> float:
    try:
        return float(trainer.optimizers[0].param_groups[0]["lr"])
    except (IndexError, KeyError, AttributeError, TypeError, ValueError):  # an optimiser of another kind
        return _NAN


def _count_hits(network: nn.Module, head: str, loader: Iterable[Any]) -> tuple[Floats, Floats]:
    """Correct predictions and samples by class, in eval mode."""
    layer, weight = find_head(network, head)
    totals = torch.zeros(2, len(weight), dtype=torch.float64)
    with watched(network, layer) as calls:
        for _, labels, logits in head_outputs(network, loader, calls, weight.device, torch.device("cpu")):
            columns = torch.stack([(logits.argmax(1) == labels).double(), torch.ones(len(labels), dtype=torch.float64)])
            totals.index_add_(1, labels.long(), columns)
    return totals[0].numpy(), totals[1].numpy()
