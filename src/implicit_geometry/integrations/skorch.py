"""The class counts of each fold for the loss of a skorch network."""

from __future__ import annotations

from typing import Any

from implicit_geometry._extras import explained
from implicit_geometry._validate import InputError
from implicit_geometry.counts import ClassCounts

with explained(__name__, "integrations"):
    from skorch.callbacks import Callback
    from skorch.utils import to_device


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
