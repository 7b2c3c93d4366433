"""A loss, metrics and a watch for ``transformers.Trainer``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from implicit_geometry._extras import explained
from implicit_geometry._validate import InputError, flag, instance, number, shown
from implicit_geometry.counts import ClassCounts
from implicit_geometry.integrations.tokens import IGNORED, next_labels
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem
from implicit_geometry.summary import FEW, MANY

with explained(__name__, "integrations"):
    import torch
    from torch import Tensor

    from implicit_geometry.nn import check
    from implicit_geometry.nn.losses.criterion import VSLoss
    from implicit_geometry.nn.measuring.accuracy import LongTailAccuracy

if TYPE_CHECKING:
    from implicit_geometry.integrations.trainer_callback import GeometryCallback as GeometryCallback


def compute_loss_func(
    counts: ClassCounts | ArrayLike,
    parameterization: Parameterization,
    *,
    label_smoothing: float = 0.0,
    shift_labels: bool = False,
) -> Callable[..., Tensor]:
    """A loss for ``Trainer(compute_loss_func=...)``, right under gradient accumulation and on several devices.

    It is the sum of the weighted losses of the items over the number of items, where the weights have mean 1 over the
    training set. An item is a label other than -100: a sample, or a token. The Trainer counts the items of all the
    batches that make one step, so that they may be cut in any way. Evaluation has the same loss.

    Args:
        counts: items per class of the training set, without those labelled -100.
        parameterization: the per-class vectors, as a rule of :mod:`implicit_geometry.rules` returns them.
        label_smoothing: share in [0, 1] of the target spread evenly over the classes.
        shift_labels: True for causal language models, whose logits at a position are for the label of the next one.

    Returns:
        A function of ``(outputs, labels, num_items_in_batch=None)``. Outputs hold ``"logits"`` or are a tuple that
        begins with them, shape (N, C) or (B, T, C); labels have the shape of the logits without C. Where
        ``num_items_in_batch`` is None, the labels of this batch are counted. The loss is float32 or better, whatever
        the dtype of the logits. Labels that do not fit, or no item at all, are an :class:`InputError`.

    Raises:
        InputError: counts do not fit ``parameterization``, or an argument is out of range.

    Example:
        >>> from implicit_geometry.rules import logit_adjusted
        >>> loss = compute_loss_func([75, 25], logit_adjusted([75, 25]))
        >>> loss({"logits": torch.zeros(2, 2)}, torch.tensor([0, 1]), num_items_in_batch=4)
        tensor(0.4185)
    """
    vectors = instance("parameterization", parameterization, Parameterization, "a rule of the counts returns one")
    values = Problem(counts, vectors).counts
    weight = vectors.weight * (values.num_samples / float(values.values @ vectors.weight))
    criterion = VSLoss(
        replace(vectors, weight=weight), reduction="sum", ignore_index=IGNORED, label_smoothing=label_smoothing
    )
    return partial(_mean_loss, criterion=criterion, shift_labels=flag("shift_labels", shift_labels))


def long_tail_metrics(
    counts: ClassCounts | ArrayLike,
    *,
    shift_labels: bool = False,
    many: int = MANY,
    few: int = FEW,
    confidence: float = 0.95,
    num_bootstraps: int = 1000,
    seed: int = 0,
) -> Callable[..., dict[str, float]]:
    """Accuracies for ``Trainer(compute_metrics=...)``, with ``batch_eval_metrics`` or without.

    Args:
        counts: items per class of the training set, without those labelled -100.
        shift_labels: as in :func:`compute_loss_func`.
        many: classes with more training items are many-shot.
        few: classes with fewer are few-shot.
        confidence: of the intervals.
        num_bootstraps: draws behind an interval; 0 for no intervals.
        seed: of the draws.

    Returns:
        A function of an ``EvalPrediction``. It gives ``overall``, ``balanced``, ``worst``, ``many``, ``medium`` and
        ``few`` in [0, 1], NaN for a group without a class, each also with ``/low`` and ``/high``: those of
        :class:`~implicit_geometry.nn.measuring.accuracy.LongTailAccuracy`, without its single classes.

    Raises:
        InputError: counts or an option are out of range.

    Example:
        >>> from types import SimpleNamespace
        >>> logits, labels = [[2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], [0, 1, 2]
        >>> metrics = long_tail_metrics([900, 50, 10], num_bootstraps=0)
        >>> metrics(SimpleNamespace(predictions=torch.tensor(logits), label_ids=torch.tensor(labels)))["many"]
        1.0
    """
    metric = LongTailAccuracy(
        counts,
        many=many,
        few=few,
        ignore_index=IGNORED,
        confidence=confidence,
        num_bootstraps=num_bootstraps,
        seed=seed,
        sync_on_compute=False,  # the Trainer has gathered the predictions of all processes
    )
    return partial(_accuracies, metric=metric, shift_labels=flag("shift_labels", shift_labels))


def _mean_loss(
    outputs: Any, labels: Any, num_items_in_batch: Any = None, *, criterion: VSLoss, shift_labels: bool
) -> Tensor:
    logits = _logits(outputs)
    _check_labels(logits, labels, shift_labels)
    labels = labels.to(logits.device)
    if shift_labels:
        labels = next_labels(labels)  # spares a copy of the logits
    if num_items_in_batch is None:
        items = float((labels != IGNORED).sum())
        if items == 0:
            raise InputError("labels", f"must hold an item that counts, a label other than {IGNORED}")
    else:
        # with DataParallel one entry per device, and the Trainer multiplies by their number, or has divided by it
        total = num_items_in_batch.sum() if isinstance(num_items_in_batch, Tensor) else num_items_in_batch
        items = number("num_items_in_batch", total, minimum=0, exclusive=True)
    if any(buffer.device != logits.device for buffer in criterion.buffers()):
        criterion.to(logits.device)
    rows = logits.flatten(0, -2).to(torch.promote_types(logits.dtype, torch.float32))
    loss: Tensor = criterion(rows, labels.flatten())
    return loss / items


def _accuracies(
    prediction: Any, compute_result: bool = True, *, metric: LongTailAccuracy, shift_labels: bool
) -> dict[str, float]:
    """The accuracies of all batches since the last result; empty until ``compute_result``."""
    predictions = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    logits, labels = (_tensor(*named) for named in (("predictions", predictions), ("label_ids", prediction.label_ids)))
    _check_labels(logits, labels, shift_labels)
    if shift_labels:
        logits, labels = logits[..., :-1, :], labels[..., 1:]
    metric.to(logits.device)
    metric.update(logits.movedim(-1, 1), labels)
    if not compute_result:
        return {}
    found = {name: float(value) for name, value in metric.compute().items() if not name.startswith("class/")}
    metric.reset()
    return found


def __getattr__(name: str) -> Any:
    """``GeometryCallback``, which needs Transformers, loads when it is asked for."""
    if name == "GeometryCallback":
        return import_module("implicit_geometry.integrations.trainer_callback").GeometryCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _logits(outputs: Any) -> Tensor:
    if isinstance(outputs, Mapping):
        if "logits" not in outputs:
            raise InputError("outputs", 'must hold "logits"', ", ".join(map(str, outputs)) or "nothing")
        logits = outputs["logits"]
    elif isinstance(outputs, tuple) and outputs:
        logits = outputs[0]
    else:
        raise InputError("outputs", 'must hold "logits" or be a tuple that begins with them', type(outputs).__name__)
    check.tensor("logits", logits)
    return instance("logits", logits, Tensor)


def _tensor(name: str, values: Any) -> Tensor:
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(name, "must be one array of all batches", f"{shown(values)} ({error})") from error


def _check_labels(logits: Tensor, labels: Any, shift_labels: bool) -> None:
    check.tensor("labels", labels)
    if logits.ndim < (3 if shift_labels else 2):
        wanted = "(B, T, C), for labels that are shifted" if shift_labels else "(N, C) or (B, T, C)"
        raise InputError("logits", f"must have shape {wanted}", f"shape {tuple(logits.shape)}")
    if labels.shape != logits.shape[:-1]:
        raise InputError(
            "labels", f"must have shape {tuple(logits.shape[:-1])}, that of logits", f"shape {tuple(labels.shape)}"
        )
