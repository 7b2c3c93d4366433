"""Class counts, sums and squared norms of embeddings, streamed: the one-pass measurement of a network's geometry."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torchmetrics import Metric

from implicit_geometry._validate import InputError, whole_number
from implicit_geometry.frames import Frame
from implicit_geometry.measurement import ClassMeans, OnePass, measurement_from_moments, refuses_replaced_arguments
from implicit_geometry.nn.check import dimension, refuse_too_many_entries
from implicit_geometry.parameterization import Parameterization

_LARGEST_LABEL = 2**63 - 1  # that int64 holds


class GeometryMetric(Metric):
    """The geometry of the classes seen so far, in one pass and O(k d) memory.

    A sum over batches: independent of their order and split up to float64 rounding, mergeable (``merge_state``),
    reduced over processes at :meth:`compute`. The sums are float64 whatever the embeddings are and whatever dtype the
    module is cast to. On the CPU a bad batch is refused at once; on an accelerator, where looking at the values would
    halt it, they are checked at :meth:`compute`.

    One pass gives ``cdnv`` but not ``nc1``: that needs the within-class scatter in the directions between the classes,
    which are known only after the pass, or a d x d second moment, which costs 15 times as much as the class sums.
    :func:`implicit_geometry.nn.measuring.two_passes.measure` takes a second pass.

    Args:
        num_classes: k >= 2.
        feature_dim: embedding dimension d.
        ignore_index: label of samples that do not count; None for no such label.
        **kwargs: options of :class:`torchmetrics.Metric`.

    Raises:
        InputError: a size is out of range, the sums take more than 64 GiB, or an option is none of torchmetrics.

    Example:
        >>> metric = GeometryMetric(num_classes=2, feature_dim=2)
        >>> metric.update(torch.tensor([[3.0, 5.0], [1.0, 5.0], [-2.0, 5.0]]), torch.tensor([0, 0, 1]))
        >>> metric.compute(classifier=torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).embedding.tolist()
        [[2.0, 0.0], [-2.0, 0.0]]
    """

    is_differentiable = False
    full_state_update = False

    counts: Tensor
    class_sums: Tensor
    class_squares: Tensor

    def __init__(self, num_classes: int, feature_dim: int, *, ignore_index: int | None = None, **kwargs: Any) -> None:
        try:
            super().__init__(**kwargs)
        except ValueError as error:
            raise InputError("kwargs", "must be options of torchmetrics.Metric", f"{kwargs} ({error})") from error
        self.num_classes = dimension("num_classes", num_classes, minimum=2)
        self.feature_dim = dimension("feature_dim", feature_dim)
        ignored = None if ignore_index is None else whole_number("ignore_index", ignore_index, minimum=-(2**63))
        self.ignore_index = ignored
        refuse_too_many_entries("class sums (num_classes x feature_dim)", self.num_classes * self.feature_dim)
        rows = self.num_classes + 1  # the last row takes the labels out of range that no check has seen
        self.add_state("counts", torch.zeros(rows, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("class_sums", torch.zeros(rows, self.feature_dim, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("class_squares", torch.zeros(rows, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, embeddings: Tensor | NDArray[Any], labels: Tensor | NDArray[Any]) -> None:
        """Add a batch.

        Args:
            embeddings: any floating dtype, shape (batch, feature_dim). A NumPy array moves to the metric's device.
            labels: class indices, any integer dtype, shape (batch,); likewise.

        Raises:
            InputError: wrong shapes, dtypes or device; on the CPU also labels out of range or embeddings not finite.
        """
        if isinstance(embeddings, np.ndarray):
            embeddings = tensor_of("embeddings", embeddings).to(self.class_sums.device)
        if isinstance(labels, np.ndarray):
            labels = tensor_of("labels", labels).to(self.class_sums.device)
        self._check_form(embeddings, labels)
        index = labels.to(torch.int64)
        rows = embeddings.detach().to(torch.float64)
        one = torch.ones_like(index)
        if self.ignore_index is not None:
            counted = index != self.ignore_index
            index, one = torch.where(counted, index, 0), counted.long()
            rows = torch.where(counted[:, None], rows, 0.0)
        squares = torch.linalg.vector_norm(rows, dim=1).square()
        if rows.device.type == "cpu":
            self._check_values(index, squares)
        else:
            index = torch.where((index >= 0) & (index < self.num_classes), index, self.num_classes)
        self.counts.index_add_(0, index, one)
        self.class_sums.index_add_(0, index, rows)
        self.class_squares.index_add_(0, index, squares)

    @overload
    def compute(
        self,
        classifier: None = None,
        *,
        parameterization: Parameterization | None = None,
        frame: Literal["centred"] | None = None,
        leave_out_unseen: bool = False,
    ) -> ClassMeans: ...

    @overload
    def compute(
        self,
        classifier: Tensor | ArrayLike,
        *,
        bias: Tensor | ArrayLike | None = None,
        parameterization: Parameterization | None = None,
        frame: Frame | None = None,
        leave_out_unseen: bool = False,
    ) -> OnePass: ...

    @refuses_replaced_arguments
    def compute(
        self,
        classifier: Tensor | ArrayLike | None = None,
        *,
        bias: Tensor | ArrayLike | None = None,
        parameterization: Parameterization | None = None,
        frame: Frame | None = None,
        leave_out_unseen: bool = False,
    ) -> ClassMeans | OnePass:
        """Measure all that was added, over all processes. Nothing is cached: another classifier gives another answer.

        Args:
            classifier: W, shape (num_classes, feature_dim); without it there is no geometry, only class means.
            bias: bias of the head, shape (num_classes,), where it has one.
            parameterization: the training loss, whose scales say what of the embeddings it sees; plain cross-entropy
                where left out.
            frame: of the class means (:mod:`implicit_geometry.frames`): ``"projected"``, what the logits see of them
                and the default, or ``"centred"``, as the paper compares them and the only one without a classifier.
            leave_out_unseen: measure the classes that were seen, at least two, where others were not.

        Raises:
            InputError: a class without samples, labels out of range, embeddings not finite, a wrong shape, no such
                frame, or none without a classifier.
        """
        with self.sync_context(
            dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync, should_unsync=self._should_unsync
        ):
            states = self.counts.cpu(), self.class_sums.cpu(), self.class_squares.cpu()
        counts, sums, squares = (state[:-1].numpy() for state in states)
        if outside := int(states[0][-1]):
            raise InputError("labels", f"must lie in 0..{self.num_classes - 1}", f"{outside} outside this range")
        found: ClassMeans | OnePass = cast(Any, measurement_from_moments)(  # which of the two, the classifier decides
            counts,
            sums,
            squares,
            classifier=host_array("classifier", classifier),
            bias=host_array("bias", bias),
            parameterization=parameterization,
            frame=frame,
            leave_out_unseen=leave_out_unseen,
        )
        return found

    def forward(self, embeddings: Tensor | NDArray[Any], labels: Tensor | NDArray[Any]) -> None:
        """Add a batch, as :meth:`update`: a single batch has no value, since it need not hold every class."""
        self.update(embeddings, labels)

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        """Leave :meth:`compute` as it is: it synchronises itself, and its answer, which has arguments, is not kept."""
        return compute

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> torch.nn.Module:
        """Follow a module's moves between devices, never its casts: the sums stay float64."""
        device = fn(torch.zeros(1, device=self.device)).device
        _refuse_without_float64(device)
        return super()._apply(lambda tensor: tensor.to(device), exclude_state)

    def _check_form(self, embeddings: Tensor, labels: Tensor) -> None:
        for name, value in (("embeddings", embeddings), ("labels", labels)):
            if not isinstance(value, Tensor):
                raise InputError(name, "must be a torch.Tensor or a NumPy array", type(value).__name__)
            _refuse_without_float64(value.device)
            if value.device != self.class_sums.device:
                raise InputError(name, f"must be on the metric's device {self.class_sums.device}", value.device)
        if not embeddings.is_floating_point():
            raise InputError("embeddings", "must have a floating dtype", embeddings.dtype)
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise InputError("labels", "must have an integer dtype", labels.dtype)
        if embeddings.ndim != 2 or embeddings.shape[1] != self.feature_dim:
            raise InputError("embeddings", f"must have shape (batch, {self.feature_dim})", tuple(embeddings.shape))
        if labels.shape != embeddings.shape[:1]:
            raise InputError(
                "labels", f"must have one entry per embedding, shape ({len(embeddings)},)", tuple(labels.shape)
            )

    def _check_values(self, labels: Tensor, squares: Tensor) -> None:
        if not labels.numel():
            return
        for label in labels.aminmax():
            if not 0 <= int(label) < self.num_classes:
                raise InputError("labels", f"must lie in 0..{self.num_classes - 1}", int(label))
        if not math.isfinite(squares.sum()):
            row = int(squares.argmax())  # NaN counts as largest
            raise InputError("embeddings", "must be finite", f"NaN, infinity or overflow in row {row}")


def tensor_of(name: Literal["embeddings", "labels"], array: NDArray[Any]) -> Tensor:
    """A copy of embeddings in float64, or of labels in int64.

    Raises:
        InputError: embeddings that are no floating numbers, or labels that are no whole numbers.

    Example:
        >>> tensor_of("labels", np.array([3, 1], dtype=np.uint8))
        tensor([3, 1])
    """
    kinds, expected = {"embeddings": ("f", "a floating dtype"), "labels": ("iu", "an integer dtype")}[name]
    if array.dtype.kind not in kinds:
        raise InputError(name, f"must have {expected}", array.dtype)
    if name == "labels" and array.size and int(array.max()) > _LARGEST_LABEL:
        raise InputError(name, f"must be at most {_LARGEST_LABEL}", int(array.max()))
    with np.errstate(over="ignore"):  # of longer floats: infinity is refused by name
        return torch.from_numpy(np.array(array, dtype=np.float64 if name == "embeddings" else np.int64))


def host_array(name: str, values: Tensor | ArrayLike | None) -> ArrayLike | None:
    """A tensor of any device and dtype as a float64 array, read-only where it is a copy; anything else as it is."""
    if not isinstance(values, Tensor):
        return values
    if values.is_complex():
        raise InputError(name, "must hold real numbers", values.dtype)
    if values.is_meta or values.layout != torch.strided:
        raise InputError(name, "must be a dense tensor", f"one of layout {values.layout} on {values.device}")
    array = values.detach().cpu().to(torch.float64).numpy()
    if values.device.type != "cpu" or values.dtype != torch.float64:
        array.setflags(write=False)
    return array


def _refuse_without_float64(device: torch.device) -> None:
    if device.type == "mps":
        raise InputError(
            "embeddings", "must be on a device with float64 for their sums", "mps; move them and the metric to cpu"
        )
