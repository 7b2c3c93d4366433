"""Classes that are alike, gathered: what makes ten classes and a million the same problem."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from implicit_geometry._validate import Floats, InputError, Ints
from implicit_geometry.counts import ClassCounts
from implicit_geometry.parameterization import NEUTRAL
from implicit_geometry.problem import Problem


@dataclass(frozen=True)
class ClassGroups:
    """Classes that no quantity of a problem tells apart, gathered.

    Attributes:
        size: classes of each group, shape (G,).
        group: group of each class, shape (k,).
        first: one class of each group, shape (G,); index any per-class vector with it.
    """

    size: Floats
    group: Ints
    first: Ints

    @property
    def all_differ(self) -> bool:
        """Whether no two classes are alike."""
        return self.size.size == self.group.size


def group_classes(*vectors: Floats | Ints) -> ClassGroups:
    """Gather the classes that agree in every given per-class vector (groups in order of first appearance).

    Neighbours that agree in everything count once, which makes sorted profiles cheap.
    """
    number = len(vectors[0])
    changes = np.zeros(max(number - 1, 0), dtype=bool)
    for vector in vectors:
        changes |= vector[1:] != vector[:-1]
    start = np.concatenate([[0], np.flatnonzero(changes) + 1])[:number]
    group = np.zeros(start.size, dtype=np.int64)
    for vector in vectors:
        code = np.unique(vector[start], return_inverse=True)[1]
        group = group * np.int64(code.max() + 1) + code
        group = np.unique(group, return_inverse=True)[1]
    first = np.unique(group, return_index=True)[1]
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    length = np.diff(np.append(start, number))
    size = np.bincount(rank[group], weights=length).astype(np.float64)
    group = np.repeat(rank[group], length)
    group.setflags(write=False)
    return ClassGroups(size, group, start[first[order]])


def varying_vectors(problem: Problem, names: tuple[str, ...] = tuple(NEUTRAL)) -> list[Floats | Ints]:
    """What can tell classes apart: counts, prices of embeddings and the named parameters that are not constant.

    Classes with label distributions of their own are all different.
    """
    parameters = [getattr(problem.parameterization, name) for name in names]
    if not problem.pays_per_sample:
        parameters.append(problem.embedding_cost)
    if problem.label_distribution is not None:
        parameters.append(np.arange(problem.num_classes))
    return [problem.counts.values, *(vector for vector in parameters if vector.min() != vector.max())]


def gather(problem: Problem) -> ClassGroups:
    """Group the classes that nothing in a problem tells apart."""
    return group_classes(*varying_vectors(problem))


def exchangeable_classes(name: str, given: Problem | ClassCounts | ArrayLike) -> ClassGroups:
    """Group the classes of equal counts or, of a problem, of equal counts and equal vectors of the loss.

    Args:
        name: of the argument, for errors.
        given: a problem, or class counts in any form.

    Raises:
        InputError: neither is given.

    Example:
        >>> exchangeable_classes("groups", [50, 5, 5]).group
        array([0, 1, 1])
    """
    if isinstance(given, Problem):
        return gather(given)
    try:
        counts = ClassCounts(given)
    except InputError as error:
        raise InputError(name, f"must be a Problem or class counts, which {error.expectation}", error.given) from error
    return group_classes(counts.values)
