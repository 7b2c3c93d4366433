"""The live monitor for Lightning: geometry, distances to theory and accuracies of a network, epoch by epoch.

By default the network is watched in its training steps (:mod:`implicit_geometry.nn.measuring.watch`). Where it matters
that these are not at rest give a loader, and the network is measured as
:func:`~implicit_geometry.nn.measuring.two_passes.measure` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from implicit_geometry._validate import Floats, InputError, flag, whole_number
from implicit_geometry.measurement import Measurement
from implicit_geometry.nn.measuring.batches import labels_of
from implicit_geometry.nn.measuring.head_hook import Head, find_head, head_outputs, watched
from implicit_geometry.nn.measuring.history_plot import history_figure
from implicit_geometry.nn.measuring.two_passes import measure
from implicit_geometry.nn.measuring.watch import GeometryWatch
from implicit_geometry.problem import Problem
from implicit_geometry.summary import accuracy_summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAN = float("nan")


class GeometryMonitor(L.Callback):
    """Records one row per epoch in ``history``, and logs it as ``geometry/...`` for loggers and other callbacks.

    A row holds ``epoch`` (finished ones), ``learning_rate``, ``train_loss`` (mean of the batches' losses, weighted by
    their sizes), the accuracies of :func:`~implicit_geometry.summary.accuracy_summary` as ``train_`` and ``test_``, the
    numbers of :func:`~implicit_geometry.summary.geometry_summary`, ``cdnv``, ``self_duality``, and the distances of the
    three blocks, such as ``classifier_etf_distance``: to the simplex ETF (``etf``), and with a problem to its limit
    (``limit``) and to its geometry at the ridge that explains the classifier best (``ridge``), with the systematic
    parts, heterogeneities and numbers of H as centred that
    :class:`~implicit_geometry.nn.measuring.watch.GeometryWatch` lists. That
    ``effective_ridge`` is the best of 32 ridges per decade, over the 12 decades below the one from which on everything
    collapses; there is none where the classes are of more than 600 kinds, or of more than 128 for a head with a bias.
    With smoothed labels ``cross_limit_scale`` is the size of the mean logits over that of their limit.

    Nothing ends a training that has done its first step. An epoch whose geometry cannot be told (a class was not seen,
    the network diverged, the head changed) gives NaN, and so does a test accuracy that cannot be had, with one warning
    that says why; a target that theory does not give for this problem has no columns, with a warning at the start. Sums
    are over all processes, which all have the same history up to rounding.

    Args:
        problem: counts and loss of the training, for the distances to theory and for what a majority is; its ridge
            plays no part. Without it, majorities are those of the labels seen.
        head: dotted name of the last linear layer or 1 x 1 convolution in the LightningModule, or its end where that is
            unique (``"fc"`` for ``model.fc``); where left out it is found by itself. Its input is the embedding, its
            output the logits of a batch ``(inputs, labels, ...)`` or of a dictionary with ``"labels"``. Where it runs
            several times in a training step, the first run counts.
        every: epochs between rows.
        loader: batches ``(inputs, labels)`` on which the network is measured at rest, in place of the training steps;
            adds ``nc1``. Every process reads all of it.
        test_loader: batches ``(inputs, labels)`` for the test accuracies. Every process reads all of them.
        ignore_index: label of samples that do not count.
        early_warning: warn of classes that are merging, once for each set of them.

    Raises:
        InputError: an argument has the wrong type, or ``every`` is not a positive whole number. At the start of a fit:
            no such head, a problem of other classes or bias than the head; in its first training step: a batch of
            another form, labels that are no classes, or a head that did not run.

    Example:
        >>> from implicit_geometry.rules import cdt
        >>> counts = [500, 50]
        >>> monitor = GeometryMonitor(Problem(counts, cdt(counts, gamma=0.5)), every=5)
        >>> monitor.history  # filled by L.Trainer(callbacks=[monitor]).fit(...)
        []
    """

    history: list[dict[str, float]]

    def __init__(
        self,
        problem: Problem | None = None,
        *,
        head: str | None = None,
        every: int = 1,
        loader: Iterable[Any] | None = None,
        test_loader: Iterable[Any] | None = None,
        ignore_index: int = -100,
        early_warning: bool = True,
    ) -> None:
        if problem is not None and not isinstance(problem, Problem):
            raise InputError("problem", "must be a Problem", type(problem).__name__)
        if head is not None and not isinstance(head, str):
            raise InputError("head", "must be the dotted name of a module", type(head).__name__)
        for name, batches in (("loader", loader), ("test_loader", test_loader)):
            if batches is not None and not isinstance(batches, Iterable) and not hasattr(batches, "__getitem__"):
                raise InputError(name, "must be an iterable of batches (inputs, labels)", type(batches).__name__)
        self.problem = problem
        self.head = head
        self.every = whole_number("every", every, minimum=1)
        self.loader = loader
        self.test_loader = test_loader
        self.ignore_index = whole_number("ignore_index", ignore_index, minimum=-(2**63), maximum=2**63 - 1)
        self.early_warning = flag("early_warning", early_warning)
        self.history = []
        self._watch: GeometryWatch | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find the head and solve the problem."""
        self._rate = _NAN
        self._watch = GeometryWatch(
            pl_module,
            self.problem,
            head=self.head,
            ignore_index=self.ignore_index,
            early_warning=self.early_warning,
        )
        self._watch.history = self.history

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the labels."""
        watch = self._watch
        if watch is not None and (self._records(trainer) or not watch.proven):
            self._rate = _learning_rate(trainer)
            if self.loader is None:
                with watch.noting_trouble():
                    watch.begin(labels_of(batch))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the loss, which Lightning gives divided by the number of batches whose gradients it accumulates."""
        watch = self._watch
        if watch is not None and (self._records(trainer) or not watch.proven):
            loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
            with watch.noting_trouble():
                whole = loss * trainer.accumulate_grad_batches if isinstance(loss, Tensor) else None
                watch.end(whole, len(labels_of(batch)))
            if not self._records(trainer):
                watch.reset()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record a row and log it."""
        watch = self._watch
        if watch is None or not self._records(trainer):
            return

        def at_rest() -> Measurement:
            network, head = _network(pl_module, watch.head.name)
            loss = None if self.problem is None else self.problem.parameterization
            return measure(network, self.loader or (), head=head, parameterization=loss, ignore_index=self.ignore_index)

        number = trainer.current_epoch + 1
        row = watch.end_epoch(
            epoch=number,
            at_rest=None if self.loader is None else at_rest,
            learning_rate=self._rate,
            **self._test_accuracies(watch, pl_module, number),
        )
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

    def plot(self) -> Figure:
        """Distances, accuracies and the closest classes over the epochs.

        Raises:
            InputError: there is no row yet.
            MissingExtra: Matplotlib is not installed.
        """
        return history_figure(self.history)

    def _records(self, trainer: L.Trainer) -> bool:
        return (trainer.current_epoch + 1) % self.every == 0

    def _release(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _test_accuracies(self, watch: GeometryWatch, pl_module: L.LightningModule, number: int) -> dict[str, float]:
        if self.test_loader is None:
            return {}
        try:
            hits, seen = _count_hits(*_network(pl_module, watch.head.name), self.test_loader, self.ignore_index)
        except Exception as error:  # whatever it is, the training goes on
            watch.warn("test", f"epoch {number} has no test accuracy", error)
            hits = seen = np.zeros(len(watch.head.weight))
        counts = watch.counts_of(seen)
        return {f"test_{name}": value for name, value in accuracy_summary(hits, seen, counts).items()}


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


def _learning_rate(trainer: L.Trainer) -> float:
    try:
        return float(trainer.optimizers[0].param_groups[0]["lr"])
    except (IndexError, KeyError, AttributeError, TypeError, ValueError):  # an optimiser of another kind
        return _NAN


def _count_hits(network: nn.Module, name: str, loader: Iterable[Any], ignore_index: int) -> tuple[Floats, Floats]:
    """Correct predictions and samples by class, in eval mode."""
    head: Head = find_head(network, name)
    place, home = head.weight.device, torch.device("cpu")
    totals = torch.zeros(2, len(head.weight), dtype=torch.float64)
    with watched(network, head.layer) as calls:
        for _, labels, logits in head_outputs(network, head, loader, calls, place, home, ignore_index):
            columns = torch.stack([(logits.argmax(1) == labels).double(), torch.ones(len(labels), dtype=torch.float64)])
            totals.index_add_(1, labels.long(), columns)
    return totals[0].numpy(), totals[1].numpy()
