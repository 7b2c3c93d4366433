"""Kinds of classes that are nearly alike, taken for one."""

from __future__ import annotations

from dataclasses import replace
from heapq import heapify, heappop, heappush

import numpy as np

from implicit_geometry._validate import Floats, Ints
from implicit_geometry.counts import ClassCounts
from implicit_geometry.groups import gather
from implicit_geometry.parameterization import Pairwise, Parameterization
from implicit_geometry.problem import Problem
from implicit_geometry.theory.ridge.reduce import Kinds

_NEAR = 0.3  # distance to the centre within which bins are equally narrow


def coarser(kinds: Kinds, number: int) -> tuple[Kinds, Ints]:
    """Bins of kinds, each with the mean vectors of its classes (of the logarithms of what is positive).

    The bin that is widest, in logarithms of scales or in shifts, is halved until there are as many as asked for.

    Args:
        kinds: what to gather.
        number: of bins.

    Returns:
        The bins, and the bin of every kind, shape (G,).
    """
    place = _halved(_features(kinds), [np.arange(kinds.number)], number)
    return _bins(kinds, place), place


def around(kinds: Kinds, centre: int, number: int) -> Kinds:
    """One kind as it is, the first, and bins of all others, narrow near it and wide far from it.

    All samples of a bin weigh what they did, and all its embeddings cost as much: of a few wide bins, that says more
    about the kinds elsewhere than the means of logarithms do, above all under a bias.

    No bin has kinds that lose their direction at larger ridges than that one and others that do so at smaller ones: at
    its threshold some of them would be alive and some not, which no average says.

    Args:
        kinds: what to gather.
        centre: the kind that is kept.
        number: of bins, at least two.
    """
    others = np.delete(np.arange(kinds.number), centre)
    features, scale = _features(kinds), kinds.strength * kinds.pairs.class_scale
    stronger = scale[others] > scale[centre]
    parts = [part for part in (np.flatnonzero(stronger), np.flatnonzero(~stronger)) if part.size]
    place = np.zeros(kinds.number, dtype=np.int64)
    place[others] = 1 + _halved(features[:, others], parts, number, features[:, centre])
    return _with_totals(_bins(kinds, place), kinds, place)


def _features(kinds: Kinds) -> Floats:
    """What tells kinds apart, in logarithms of what is positive, shape (features, G)."""
    pairs = kinds.pairs
    return np.stack(
        [
            np.log(kinds.strength),
            np.log(pairs.label_scale) - 0.5 * np.log(kinds.cost),
            np.log(pairs.class_scale),
            pairs.shift,
            pairs.margin,
        ]
    )


def _bins(kinds: Kinds, place: Ints) -> Kinds:
    """The bins that a place for every kind makes."""
    pairs = kinds.pairs
    size = np.bincount(place, weights=kinds.size).astype(np.float64)

    def mean(values: Floats) -> Floats:
        return np.asarray(np.bincount(place, weights=kinds.size * values) / size)

    def geometric(values: Floats) -> Floats:
        return np.asarray(np.exp(mean(np.log(values))))

    coarse = Pairwise(
        weight=geometric(pairs.weight),
        shift=mean(pairs.shift),
        class_scale=geometric(pairs.class_scale),
        label_scale=geometric(pairs.label_scale),
        margin=mean(pairs.margin),
    )
    return Kinds(size, geometric(kinds.count), geometric(kinds.cost), coarse)


def _with_totals(bins: Kinds, kinds: Kinds, place: Ints) -> Kinds:
    """Bins with the weight of all their samples and the price of all their embeddings.

    Prices count beside the squared label scale: embeddings that are longer by a factor do what a scale does.
    """

    def mean(values: Floats) -> Floats:
        return np.asarray(np.bincount(place, weights=kinds.size * values) / bins.size)

    weight = mean(kinds.count * kinds.pairs.weight) / bins.count
    cost = bins.pairs.label_scale**2 * mean(kinds.cost / kinds.pairs.label_scale**2)
    return replace(bins, cost=cost, pairs=replace(bins.pairs, weight=weight))


def with_fewer_kinds(problem: Problem, number: int) -> Problem:
    """A problem like the given one, its classes in the same order, with at most ``number`` kinds of classes."""
    groups = gather(problem)
    coarse, place = coarser(Kinds.of(problem, groups), number)
    row, vectors = place[groups.group], coarse.pairs
    count = np.maximum(np.rint(coarse.count), 1)
    loss = Parameterization(
        weight=(vectors.weight * coarse.count / count)[row],
        shift=vectors.shift[row],
        class_scale=vectors.class_scale[row],
        label_scale=vectors.label_scale[row],
        margin=vectors.margin[row],
    )
    counts = ClassCounts(count[row].astype(np.int64))
    return replace(problem, counts=counts, parameterization=loss, embedding_cost=coarse.cost[row])


def _halved(features: Floats, parts: list[Ints], number: int, centre: Floats | None = None) -> Ints:
    """The bin of every column, bins in the order of their first columns; widths count by the distance to a centre.

    Args:
        features: of the columns.
        parts: the bins to begin with.
        number: of bins in the end.
        centre: features near which bins are to be narrow.
    """

    def entry(columns: Ints) -> tuple[float, int, int, Ints]:
        width = np.ptp(features[:, columns], axis=1)
        widest = int(width.argmax())
        away = 1.0 if centre is None else _NEAR + float(np.abs(features[:, columns].T - centre).max(axis=1).min())
        return -float(width[widest]) / away, int(columns[0]), widest, columns

    heap = [entry(part) for part in parts]
    heapify(heap)
    while len(heap) < number and heap[0][0] < 0:
        _, _, widest, columns = heappop(heap)
        values = features[widest, columns]
        low = values <= 0.5 * (values.min() + values.max())
        heappush(heap, entry(columns[low]))
        heappush(heap, entry(columns[~low]))
    place = np.empty(features.shape[1], dtype=np.int64)
    for index, (_, _, _, columns) in enumerate(sorted(heap, key=lambda bin_: bin_[1])):
        place[columns] = index
    return place
