"""A loss of some of the classes: which column is whose, and what makes up for the classes that were not drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from implicit_geometry._validate import InputError
from implicit_geometry.nn import check

IGNORED = -100
"""Column of samples that do not count."""


class Subset(NamedTuple):
    """What the loss of all classes becomes on the columns of some."""

    target: Tensor
    """Column of each sample's label; :data:`IGNORED` where it does not count."""
    vectors: dict[str, Tensor | None]
    """The vectors of the loss, one entry per column."""


def subset_of(
    target: Tensor,
    classes: Tensor,
    sampling_probability: Tensor | None,
    vectors: Mapping[str, Tensor | None],
    *,
    num_columns: int,
    ignore_index: int,
) -> Subset:
    """Labels and vectors for logits of some classes, corrected for how these were drawn.

    Args:
        target: class indices of any shape.
        classes: class of each column, shape (m,).
        sampling_probability: that of each column's class to be drawn, shape (m,).
        vectors: of all classes, by name.
        num_columns: m.
        ignore_index: class index of samples that do not count.

    Raises:
        InputError: an argument has the wrong type, dtype, shape or device; on the CPU also a label without a column,
            a class that has two, is negative or beyond the vectors, or a probability outside (0, 1].

    Example:
        >>> subset_of(torch.tensor([7, 2]), torch.tensor([2, 5, 7]), None, {}, num_columns=3, ignore_index=-100).target
        tensor([2, 0])
    """
    _check_columns(target, classes, num_columns)
    order = classes.long().argsort()
    ordered = classes.long()[order]
    place = torch.searchsorted(ordered, target.long().contiguous()).clamp(max=num_columns - 1)
    counted, found = target != ignore_index, ordered[place] == target
    if classes.is_cpu:
        _check_classes(ordered, target[counted & ~found], vectors)
    column = torch.where(counted, torch.where(found, order[place], num_columns), IGNORED)
    taken = {name: None if vector is None else vector[classes.long()] for name, vector in vectors.items()}
    if sampling_probability is not None:
        _check_probability(sampling_probability, classes)
        is_label = torch.isin(classes, target[counted])
        precise = sampling_probability.to(torch.promote_types(sampling_probability.dtype, torch.float32))
        correction = -torch.where(is_label, 1.0, precise).log()
        shift = taken.get("shift")
        taken["shift"] = correction if shift is None else shift + correction
    return Subset(column, taken)


def _check_columns(target: Tensor, classes: Tensor, num_columns: int) -> None:
    for name, value in (("target", target), ("classes", classes)):
        check.tensor(name, value)
        if value.dtype not in (torch.int64, torch.int32, torch.uint8):
            raise InputError(name, "must hold class indices where classes are given", value.dtype)
    if classes.shape != (num_columns,) or not num_columns:
        raise InputError("classes", f"must hold the class of each of the {num_columns} columns", tuple(classes.shape))
    check.same_place("classes", classes, "target", target)


def _check_classes(ordered: Tensor, missing: Tensor, vectors: Mapping[str, Tensor | None]) -> None:
    if missing.numel():
        raise InputError("classes", "must hold every label of target", f"none that is {int(missing[0])}")
    if (repeated := ordered[1:][ordered.diff() == 0]).numel():
        raise InputError("classes", "must be distinct", f"{int(repeated[0])} twice")
    for name, vector in vectors.items():
        check.tensor(name, vector, optional=True)
        if vector is not None and not (vector.ndim == 1 and 0 <= int(ordered[0]) <= int(ordered[-1]) < len(vector)):
            given = f"{int(ordered[0])} to {int(ordered[-1])} beside shape {tuple(vector.shape)}"
            raise InputError("classes", f"must be indices of {name}, which has one entry for every class", given)
    if int(ordered[0]) < 0:
        raise InputError("classes", "must be class indices, 0 or more", int(ordered[0]))


def _check_probability(probability: Tensor, classes: Tensor) -> None:
    check.tensor("sampling_probability", probability)
    check.same_place("sampling_probability", probability, "classes", classes)
    if not probability.is_floating_point() or probability.shape != classes.shape:
        given = f"{probability.dtype} of shape {tuple(probability.shape)}"
        raise InputError("sampling_probability", f"must hold one for each of the {len(classes)} columns", given)
    if probability.is_cpu and not bool(((probability > 0) & (probability <= 1)).all()):
        given = f"{float(probability.min()):g} to {float(probability.max()):g}"
        raise InputError("sampling_probability", "must lie in (0, 1]", given)
