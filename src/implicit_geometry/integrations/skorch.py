"""A skorch network: the class counts of each fold for its loss, and its geometry in its history."""

from __future__ import annotations

from typing import Any

from implicit_geometry._extras import explained
from implicit_geometry._validate import InputError
from implicit_geometry.counts import ClassCounts
from implicit_geometry.problem import Problem

with explained(__name__, "integrations"):
    from skorch.callbacks import Callback
    from skorch.utils import to_device

    from implicit_geometry.nn.measuring.batches import labels_of
    from implicit_geometry.nn.measuring.watch import GeometryWatch


class FoldCounts(Callback):  # type: ignore[misc]
    """A callback of ``skorch.NeuralNetClassifier`` that gives the loss the counts of the labels in ``fit(X, y)``.

    Cross-validation fits a network on the samples of each fold, whose class counts are its own. The network has a
    criterion that takes ``counts``, such as ``criterion=VSLoss.from_rule``, and ``criterion__counts``, those of all
    data. Before training this callback puts those of the fold in their place, and makes the criterion anew; the
    optimizer stays as it is.

    Raises:
        InputError: when training begins, the network has no ``criterion__counts``, ``y`` is missing, or a class has no
            sample in the fold.

    Example:
        >>> import numpy as np
        >>> import torch
        >>> from skorch import NeuralNetClassifier
        >>> from implicit_geometry.nn import VSLoss
        >>> X, y = np.eye(2, dtype=np.float32)[[0] * 9 + [1]], np.array([0] * 9 + [1])
        >>> net = NeuralNetClassifier(
        ...     torch.nn.Linear, module__in_features=2, module__out_features=2, train_split=None, verbose=0,
        ...     criterion=VSLoss.from_rule, criterion__rule="cdt", criterion__gamma=0.5, criterion__counts=[1, 1],
        ...     callbacks=[FoldCounts()],
        ... )
        >>> net.fit(X, y).criterion__counts
        ClassCounts([9, 1])
    """

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Count the labels and make the criterion anew."""
        if not hasattr(net, "criterion__counts"):
            raise InputError(
                "criterion__counts", "must be given to the network, for a criterion such as VSLoss.from_rule"
            )
        if y is None:
            raise InputError("y", "must be given to fit: its classes are counted", "None")
        num_classes = ClassCounts(net.criterion__counts).num_classes
        net.criterion__counts = ClassCounts.from_labels(y, num_classes=num_classes)
        net.initialize_criterion()
        net.criterion_ = net.torch_compile(to_device(net.criterion_, net.device), name="criterion")


class GeometryCallback(Callback):  # type: ignore[misc]
    """A callback of a skorch network that watches it train, and adds ``geometry_...`` to its history.

    Args:
        problem: counts and loss of the training, as for :class:`~implicit_geometry.nn.GeometryWatch`.
        **options: its other options.

    Attributes:
        history: its rows, one per epoch.

    Raises:
        InputError: when training begins, as :class:`~implicit_geometry.nn.GeometryWatch`.

    Example:
        >>> GeometryCallback(early_warning=False).history
        []
    """

    def __init__(self, problem: Problem | None = None, **options: Any) -> None:
        self.problem = problem
        self.options = options
        self.history: list[dict[str, float]] = []
        self._watch: GeometryWatch | None = None

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Find the head and solve the problem."""
        self._watch = GeometryWatch(net.module_, self.problem, **self.options)
        self._watch.history = self.history

    def on_batch_begin(self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any) -> None:
        """Note the labels."""
        if self._watch is not None and training:
            with self._watch.noting_trouble():
                self._watch.begin(labels_of(batch))

    def on_batch_end(self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any) -> None:
        """Add the loss."""
        if self._watch is not None and training:
            self._watch.end(kwargs.get("loss"), len(labels_of(batch)))

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Record a row."""
        if self._watch is not None:
            for name, value in self._watch.end_epoch(epoch=len(net.history)).items():
                net.history.record(f"geometry_{name}", value)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Let go of the network."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
