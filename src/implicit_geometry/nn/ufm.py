"""Gradient descent on the unconstrained-features model, all runs at once.

Every run holds its own classifiers W (k, d) and one free embedding h_i (d) per sample. The runs of all losses and seeds
are the leading dimension of one program, with gradients in closed form. A step on a mini-batch B subtracts
``learning_rate`` times the gradient of

    mean over i in B of [ l(W h_i, y_i) + ridge/2 |h_i|^2 ]  +  ridge/(2 N) |W|_F^2

from W and from the h_i of the batch. On average over the batches that is 1/N of the objective of
:class:`implicit_geometry.problem.Problem`; without a ridge it is plain SGD on the mean loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import one_hot

from implicit_geometry._validate import Floats, InputError, Ints, choice, frozen, number, whole_number
from implicit_geometry.comparison import gram_distance
from implicit_geometry.counts import ClassCounts
from implicit_geometry.geometry import Geometry
from implicit_geometry.lowrank import LowRank
from implicit_geometry.nn import check
from implicit_geometry.nn.check import dimension, refuse_too_many_entries
from implicit_geometry.nn.losses.criterion import VSLoss
from implicit_geometry.parameterization import Pairwise, Parameterization
from implicit_geometry.problem import Problem

_BLOCKS = ("classifier", "embedding", "cross")
_ARRAYS = ("classifier", "embedding", "loss", "class_accuracy", "squared_norms", "smallest_margin")
_DTYPE = torch.float64
_NUM_RECORDS = 50
_LARGEST_SEED = 2**32 - 1
_MOST_EPOCHS = 10**9


@dataclass(frozen=True, eq=False, repr=False)
class UFMHistory:
    """What a training of P losses with S seeds went through, at T epochs.

    Arrays are read-only.

    Attributes:
        counts: samples per class.
        parameterizations: the P losses.
        seeds: the S seeds.
        label_smoothing: of all losses.
        epochs: when each record was taken, rising, shape (T,).
        classifier: W, shape (P, S, T, k, d).
        embedding: class means of the h_i, neither centred nor projected, shape (P, S, T, k, d).
        loss: mean over the samples of the parameterised loss, without the ridge terms, shape (P, S, T).
        class_accuracy: share of each class that the logits W h label rightly, shape (P, S, T, k).
        squared_norms: |W|^2 + sum_i |h_i|^2, shape (P, S, T).
        smallest_margin: of all samples, as the limit counts it: the least label_scale_y (class_scale_y z_y -
            class_scale_c z_c) over c other than the label y; not positive where the adjusted logits mistake a sample,
            shape (P, S, T).
    """

    counts: ClassCounts
    parameterizations: tuple[Parameterization, ...]
    seeds: tuple[int, ...]
    label_smoothing: float
    epochs: Ints
    classifier: Floats
    embedding: Floats
    loss: Floats
    class_accuracy: Floats
    squared_norms: Floats
    smallest_margin: Floats

    def __post_init__(self) -> None:
        for name in ("epochs", *_ARRAYS):
            object.__setattr__(self, name, frozen(getattr(self, name)))

    def __repr__(self) -> str:
        losses, seeds, records, k, d = self.classifier.shape
        return f"UFMHistory({losses} losses, {seeds} seeds, {records} records, num_classes={k}, feature_dim={d})"

    @property
    def accuracy(self) -> Floats:
        """Share of all samples that the logits label rightly, shape (P, S, T)."""
        return np.asarray(self.class_accuracy @ self.counts.values / self.counts.num_samples)

    @property
    def unit_margin_objective(self) -> Floats:
        """(|W|^2 + sum_i |h_i|^2) / 2 once W and H are scaled to a smallest margin of 1, shape (P, S, T).

        The certificate of the limit, :func:`implicit_geometry.theory.predict.predict` at ridge 0, encloses the least
        value that it can have. It is infinite where the smallest margin is not positive.
        """
        margin = np.where(self.smallest_margin > 0, self.smallest_margin, np.nan)
        return np.nan_to_num(self.squared_norms / 2 / margin, nan=np.inf)

    def geometry(self, parameterization: int = 0, seed: int = 0, record: int = -1) -> Geometry:
        """The geometry of one run at one record, each given by its position.

        Raises:
            IndexError: a position is out of range.
        """
        where = parameterization, seed, record
        return Geometry.from_factors(self.classifier[where], self.embedding[where])

    def distances(self, block: str, targets: Sequence[Geometry]) -> Floats:
        """How far a block is from the target of its loss, as :func:`implicit_geometry.comparison.compare` measures it.

        Args:
            block: ``"classifier"``, ``"embedding"`` or ``"cross"``.
            targets: one geometry per loss, such as its limit.

        Returns:
            Frobenius distances of the matrices scaled to unit norm, shape (P, S, T).

        Raises:
            InputError: an unknown block, or not one target per loss.
        """
        if len(targets) != len(self.parameterizations):
            raise InputError(
                "targets", f"must hold one geometry for each of {len(self.parameterizations)} losses", len(targets)
            )
        choice("block", block, _BLOCKS)
        aims: list[LowRank] = [getattr(target, block) for target in targets]
        found = [
            gram_distance(getattr(self.geometry(*index), block), aims[index[0]])
            for index in np.ndindex(self.loss.shape)
        ]
        return np.reshape(found, self.loss.shape)

    def summary(self, block: str) -> dict[str, Floats]:
        """Squared norm ratio and mean cosines of majority and minority classes, each of shape (P, S, T).

        Args:
            block: ``"classifier"`` or ``"embedding"``.

        Returns:
            Arrays by the names of :class:`implicit_geometry.gram.BlockSummary`.

        Raises:
            InputError: an unknown block, or balanced counts, which have no minority.
        """
        choice("block", block, ("classifier", "embedding"))
        grams = (getattr(self.geometry(*index), block) for index in np.ndindex(self.loss.shape))
        rows = [asdict(gram.block_summary(self.counts.majority)) for gram in grams]
        return {name: np.reshape([row[name] for row in rows], self.loss.shape) for name in rows[0]}


def train_ufm(
    counts: ClassCounts | ArrayLike,
    parameterizations: Sequence[Parameterization],
    *,
    feature_dim: int = 20,
    epochs: int = 6000,
    batch_size: int = 5,
    learning_rate: float = 1.0,
    ridge: float = 0.0,
    label_smoothing: float = 0.0,
    initial_scale: float = 0.03,
    seeds: Sequence[int] = (0,),
    record_epochs: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
    on_epoch: Callable[[int], object] | None = None,
) -> UFMHistory:
    """Train the unconstrained-features model by mini-batch gradient descent at a constant learning rate.

    Args:
        counts: samples n_c of each of k classes, N in all.
        parameterizations: the losses; each is trained with every seed.
        feature_dim: d >= k - 1.
        epochs: passes over the samples.
        batch_size: samples per step, at most N; the last batch of an epoch may be smaller.
        learning_rate: of the mean loss of a batch. In the paper's set-up (the defaults, with CDT and LDT of
            |gamma| <= 1.5) 2 is stable and 5 is not.
        ridge: lambda of :class:`implicit_geometry.problem.Problem`; 0 is training without regularisation.
        label_smoothing: eps of the same, of all losses.
        initial_scale: standard deviation of the initial entries of W and of the h_i.
        seeds: of the initial values and the batches, which all losses share.
        record_epochs: whole numbers in 0..epochs, 0 being the initial values; the last epoch is always recorded. By
            default about 50, evenly spaced on a logarithmic scale.
        device: where to compute; it must have float64. On the CPU one thread is used: the products are too small to
            share.
        on_epoch: called with the number of each finished epoch, for progress bars.

    Returns:
        The records. Random numbers are drawn on the CPU from each seed alone: a run does not depend on the device or on
        what is trained beside it, up to rounding, and is repeated exactly by the same call.

    Raises:
        InputError: an argument is out of range, a loss covers another number of classes, or training diverged.

    Source: Behnia et al. (2023), Section 5 (UFM). The defaults are theirs but for ``learning_rate`` and
        ``initial_scale``, which they do not print.

    Example:
        >>> history = train_ufm([4, 1], [Parameterization.neutral(2)], feature_dim=2, epochs=300, batch_size=1)
        >>> history.accuracy[0, 0, -1].item(), round(history.geometry().classifier.cosine(0, 1), 2)
        (1.0, -1.0)
    """
    values = ClassCounts(counts)
    for name, given in (("parameterizations", parameterizations), ("seeds", seeds)):
        if not isinstance(given, Iterable):
            raise InputError(name, "must be a sequence", type(given).__name__)
    if on_epoch is not None and not callable(on_epoch):
        raise InputError("on_epoch", "must be a function of the epoch", type(on_epoch).__name__)
    for loss in parameterizations:
        if not isinstance(loss, Parameterization):
            raise InputError("parameterizations", "must hold Parameterizations", type(loss).__name__)
    problems = [Problem(values, loss, label_smoothing=label_smoothing) for loss in parameterizations]
    streams = tuple(whole_number("seeds", seed, minimum=0, maximum=_LARGEST_SEED) for seed in seeds)
    if not problems or not streams:
        raise InputError(
            "parameterizations and seeds", "must hold at least one value each", f"{len(problems)} and {len(streams)}"
        )
    width = dimension("feature_dim", feature_dim, minimum=values.num_classes - 1)
    runs, samples = len(problems) * len(streams), values.num_samples
    refuse_too_many_entries(
        "runs (losses x seeds x samples x (feature_dim + num_classes))", runs * samples * (width + values.num_classes)
    )
    last = whole_number("epochs", epochs, minimum=1, maximum=_MOST_EPOCHS)
    size = whole_number("batch_size", batch_size, minimum=1, maximum=values.num_samples)
    rate = number("learning_rate", learning_rate, minimum=0.0, exclusive=True)
    decay = rate * number("ridge", ridge, minimum=0.0)
    scale = number("initial_scale", initial_scale, minimum=0.0, exclusive=True)
    recorded = _record_epochs(record_epochs, last)
    place = check.device("device", device)

    with torch.inference_mode(), _one_thread():
        descent = _Descent(problems, streams, width, size, scale, place)
        records = [descent.record()] if 0 in recorded else []
        for epoch in range(1, last + 1):
            descent.run_epoch(rate, decay)
            descent.refuse_divergence(epoch, rate)
            if epoch in recorded:
                records.append(descent.record())
            if on_epoch is not None:
                on_epoch(epoch)
    stacked = (np.stack(arrays, axis=2) for arrays in zip(*records, strict=True))
    losses = tuple(problem.parameterization for problem in problems)
    return UFMHistory(values, losses, streams, problems[0].label_smoothing, np.array(recorded), *stacked)


class _Batch(NamedTuple):
    """Views of one mini-batch in the buffers of an epoch, each of shape (runs, samples, ...).

    The gradient of the loss by the logits z is gradient_slope * softmax(slope * z + offset) + gradient_offset.
    """

    before: Tensor  # the h_i, (..., d)
    after: Tensor  # the same after the step
    slope: Tensor  # (..., k), as the next five
    offset: Tensor
    gradient_slope: Tensor
    gradient_offset: Tensor
    logits: Tensor
    column: Tensor  # (..., 1)


class _Descent:
    """W and the h_i of all runs: every seed of the first loss, then of the next.

    A row of a buffer is a sample in a run, in the order of the current epoch: by batch, run and place in the batch.
    """

    def __init__(
        self,
        problems: list[Problem],
        seeds: tuple[int, ...],
        width: int,
        size: int,
        scale: float,
        device: torch.device,
    ) -> None:
        counts, num_losses = problems[0].counts, len(problems)
        k, n = counts.num_classes, counts.num_samples
        self.counts, self.num_losses, self.seeds = counts, num_losses, seeds
        self.num_runs = num_losses * len(seeds)
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.rows = _rows(n, self.num_runs, size)
        self.criteria = [
            VSLoss(
                problem.parameterization,
                reduction="none",
                label_smoothing=problem.label_smoothing,
                device=device,
                dtype=_DTYPE,
            )
            for problem in problems
        ]
        self.tables = [table.to(device) for table in _tables(problems)]

        draws = [scale * torch.randn(k + n, width, generator=stream, dtype=_DTYPE) for stream in self.generators]
        self.classifier = torch.stack([draw[:k] for draw in draws]).repeat(num_losses, 1, 1).to(device)
        after = torch.empty(n * self.num_runs, width, dtype=_DTYPE)
        after[self.rows] = torch.stack([draw[k:] for draw in draws], 1).repeat(1, num_losses, 1)
        labels = torch.arange(k).repeat_interleave(torch.tensor(counts.values))
        code = torch.empty(n * self.num_runs, dtype=torch.int64)  # (loss, label), a row of the tables
        code[self.rows] = torch.arange(self.num_runs) // len(seeds) * k + labels[:, None]
        self.after, self.code = after.to(device), code.to(device)
        self.before = torch.empty_like(self.after)
        self.coefficients = [torch.empty(n * self.num_runs, k, dtype=_DTYPE, device=device) for _ in self.tables]
        self.batches = self._views(size)

    def _views(self, size: int) -> list[_Batch]:
        """All mini-batches; they share the scratch space of the largest."""
        logits, column = (self.after.new_empty(size * self.num_runs, depth) for depth in (self.counts.num_classes, 1))
        batches = []
        for start in range(0, self.counts.num_samples, size):
            length = min(size, self.counts.num_samples - start)
            rows = slice(start * self.num_runs, (start + length) * self.num_runs)
            buffers = [self.before[rows], self.after[rows], *(table[rows] for table in self.coefficients)]
            buffers += [logits[: length * self.num_runs], column[: length * self.num_runs]]
            batches.append(_Batch(*(buffer.view(self.num_runs, length, -1) for buffer in buffers)))
        return batches

    def run_epoch(self, rate: float, decay: float) -> None:
        """Shuffle the samples of every seed, then step through the batches."""
        n = self.counts.num_samples
        order = torch.stack([torch.randperm(n, generator=stream) for stream in self.generators], 1)
        source = torch.empty_like(self.code, device="cpu")
        source[self.rows] = self.rows.gather(0, order.repeat(1, self.num_losses))
        source = source.to(self.code.device)
        torch.index_select(self.after, 0, source, out=self.before)
        self.code = self.code[source]
        for table, coefficients in zip(self.tables, self.coefficients, strict=True):
            torch.index_select(table, 0, self.code, out=coefficients)
        for batch in self.batches:
            self._step(batch, rate, decay)

    def _step(self, batch: _Batch, rate: float, decay: float) -> None:
        length = batch.before.shape[1]
        z = torch.bmm(batch.before, self.classifier.mT, out=batch.logits)
        torch.addcmul(batch.offset, z, batch.slope, out=z)
        z.sub_(torch.amax(z, 2, keepdim=True, out=batch.column)).exp_()
        total = torch.sum(z, 2, keepdim=True, out=batch.column)
        gradient = torch.addcdiv(batch.gradient_offset, z.mul_(batch.gradient_slope), total, out=z)
        torch.baddbmm(
            batch.before, gradient, self.classifier, beta=1 - decay / length, alpha=-rate / length, out=batch.after
        )
        self.classifier.baddbmm_(
            gradient.mT, batch.before, beta=1 - decay / self.counts.num_samples, alpha=-rate / length
        )

    def refuse_divergence(self, epoch: int, rate: float) -> None:
        """Raise where the values of a run are no longer finite."""
        bad = ~torch.isfinite(self.classifier).all(2).all(1)
        if bad.any():
            loss, seed = divmod(int(bad.nonzero()[0, 0]), len(self.seeds))
            raise InputError(
                "learning_rate",
                "must be small enough for training to be stable",
                f"{rate:g}: parameterization {loss} with seed {self.seeds[seed]} diverged in epoch {epoch}",
            )

    def record(self) -> list[Floats]:
        """The arrays of a history, in its order, each of shape (P, S, ...)."""
        k, runs = self.counts.num_classes, (self.num_losses, len(self.seeds))
        samples, labels = self.after[self.rows.T], self.code[self.rows.T] % k  # (runs, n, d) and (runs, n)
        sizes = torch.tensor(self.counts.values, device=labels.device)[:, None]
        members = one_hot(labels, k).to(_DTYPE).mT  # (runs, k, n)
        logits = samples @ self.classifier.mT
        hits = (logits.argmax(2) == labels).to(_DTYPE)[..., None]
        by_loss = zip(self.criteria, logits.view(*runs, -1, k), labels.view(*runs, -1), strict=True)
        losses = torch.cat([criterion(z.mT, y).mean(1) for criterion, z, y in by_loss])
        squares = self.classifier.square().sum((1, 2)) + samples.square().sum((1, 2))
        adjusted = self.tables[0][self.code[self.rows.T]] * logits  # label_scale * class_scale * z
        own = adjusted.gather(2, labels[..., None])
        others = adjusted.scatter(2, labels[..., None], -torch.inf).amax(2, keepdim=True)
        margins = (own - others).amin((1, 2))
        accuracy = (members @ hits / sizes)[..., 0]
        found = self.classifier, members @ samples / sizes, losses, accuracy, squares, margins
        return [array.reshape(*runs, *array.shape[1:]).numpy(force=True).copy() for array in found]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch's CPU kernels on one thread for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _rows(num_samples: int, num_runs: int, size: int) -> Tensor:
    """Row of the sample at each place of an epoch, for each run: shape (n, runs)."""
    place = torch.arange(num_samples)
    start = place // size * size
    length = (num_samples - start).clamp(max=size)
    return (start * num_runs + place - start)[:, None] + torch.arange(num_runs) * length[:, None]


def _tables(problems: list[Problem]) -> list[Tensor]:
    """Slopes and offsets of :class:`_Batch` by (loss, label), each of shape (P k, k).

    The exponents of :class:`Pairwise` are slope * z + offset up to a constant, of which the softmax knows nothing. As
    in torch, the weight of each class is on its own share of a smoothed label.
    """
    rows = []
    for problem in problems:
        pairs, k, eps = Pairwise.of(problem.parameterization), problem.num_classes, problem.label_smoothing
        slope, offset = pairs.slopes.T, pairs.exponents(np.zeros_like(pairs.slopes)).T
        label = pairs.weight * ((1 - eps) * np.eye(k) + eps / k)
        rows.append((slope, offset, label.sum(axis=1, keepdims=True) * slope, -label * slope))
    return [torch.from_numpy(np.concatenate(table)) for table in zip(*rows, strict=True)]


def _record_epochs(given: Sequence[int] | None, last: int) -> list[int]:
    if given is None:
        given = np.geomspace(1, last, _NUM_RECORDS).round().astype(int).tolist()
    if not isinstance(given, Iterable):
        raise InputError("record_epochs", "must be a sequence of epochs", type(given).__name__)
    return sorted({whole_number("record_epochs", epoch, minimum=0, maximum=last) for epoch in given} | {last})
