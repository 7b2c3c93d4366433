"""A geometry and the accuracy of a classifier in a few numbers."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from numpy.typing import ArrayLike

from implicit_geometry._validate import InputError, instance, numeric_vector
from implicit_geometry.counts import ClassCounts
from implicit_geometry.frames import Frame, FramedGeometry
from implicit_geometry.geometry import Geometry
from implicit_geometry.gram import BlockSummary, Gram

QUANTITIES = {
    "norm_ratio": "squared norm ratio",
    "cos_majority": "cos majority–majority",
    "cos_minority": "cos minority–minority",
    "cos_between": "cos majority–minority",
}
"""What a block of a geometry is summarised by: the fields of a :class:`BlockSummary`, with their titles."""

BLOCKS = {"classifier": "W", "embedding": "H", "cross": "W Hᵀ"}
"""The blocks of a geometry, with their symbols; the first two have a summary."""

CENTRED = "centred_embedding"
FRAMED_BLOCKS = {**BLOCKS, CENTRED: "H centred"}
"""The same with the embeddings in the paper's frame, which have a summary too."""

SUMMARISED = ("classifier", "embedding", CENTRED)
"""The blocks that have a summary."""

VECTORS_IN: dict[Frame, tuple[str, str]] = {
    "projected": ("classifier", "embedding"),
    "centred": ("classifier", CENTRED),
}
"""The blocks of classifiers and embeddings in each frame."""

ACCURACIES = {
    "overall": "overall",
    "balanced": "balanced",
    "majority": "majority",
    "minority": "minority",
    "many": "many-shot",
    "medium": "medium-shot",
    "few": "few-shot",
    "worst": "worst-class",
}
"""The accuracies of :func:`accuracy_summary`, in words."""

MANY, FEW = 100, 20
"""Classes with more than 100 training samples count as many-shot, those with fewer than 20 as few-shot."""


def geometry_summary(geometry: Geometry, counts: ClassCounts) -> dict[str, float]:
    """The paper's eight numbers, keyed ``classifier_norm_ratio`` etc.; NaN where the counts are balanced.

    Args:
        geometry: measured or predicted.
        counts: they say which classes are majorities.

    Returns:
        For ``classifier`` and ``embedding``: ``_norm_ratio`` (squared), ``_cos_majority``, ``_cos_minority`` and
        ``_cos_between``.

    Raises:
        InputError: the geometry is none, or has other classes than the counts.

    Source: Behnia et al. (2023), Fig. 3.

    Example:
        >>> from implicit_geometry.geometry import simplex_etf
        >>> geometry_summary(simplex_etf(4), ClassCounts([9, 9, 1, 1]))["classifier_norm_ratio"]
        1.0
    """
    num_classes = instance("geometry", geometry, Geometry).num_classes
    counts = ClassCounts(counts)
    if counts.num_classes != num_classes:
        raise InputError("counts", f"must cover the {num_classes} classes of geometry", counts.num_classes)
    return {**_numbers("classifier", geometry.classifier, counts), **_numbers("embedding", geometry.embedding, counts)}


def framed_summary(framed: FramedGeometry, counts: ClassCounts) -> dict[str, float]:
    """The eight numbers of :func:`geometry_summary`, and those of the embeddings in the paper's frame."""
    centred = _numbers(CENTRED, framed.centred_embedding, counts)
    return {**geometry_summary(framed.geometry, counts), **centred}


def _numbers(block: str, gram: Gram, counts: ClassCounts) -> dict[str, float]:
    undefined = BlockSummary(*[float("nan")] * 4)
    summary = undefined if counts.majority.all() else gram.block_summary(counts.majority)
    return {f"{block}_{name}": value for name, value in asdict(summary).items()}


def accuracy_summary(hits: ArrayLike, seen: ArrayLike, counts: ClassCounts) -> dict[str, float]:
    """Overall, balanced, majority, minority, worst-class and many-, medium- and few-shot accuracy.

    Args:
        hits: correct predictions of each class, shape (k,).
        seen: samples of each class, shape (k,).
        counts: training samples per class, which say what a majority is.

    Returns:
        Fractions, in which every class of a group weighs the same. Classes that were not seen are left out; NaN for a
        group of which none was.

    Raises:
        InputError: ``hits`` or ``seen`` are not one number for each class.

    Source: the shots are those of Liu et al. (2019), Large-Scale Long-Tailed Recognition in an Open World.

    Example:
        >>> found = accuracy_summary([4, 1], [4, 2], ClassCounts([900, 10]))
        >>> found["balanced"], found["many"], found["medium"], found["few"]
        (0.75, 1.0, nan, 0.5)
    """
    counts = ClassCounts(counts)
    right, total = numeric_vector("hits", hits), numeric_vector("seen", seen)
    for name, vector in (("hits", right), ("seen", total)):
        if vector.size != counts.num_classes:
            raise InputError(name, f"must have one number for each of the {counts.num_classes} classes", vector.size)
    many, few = counts.values > MANY, counts.values < FEW
    groups = {
        "balanced": np.ones_like(many),
        "majority": counts.majority,
        "minority": ~counts.majority,
        "many": many,
        "medium": ~(many | few),
        "few": few,
    }
    some = total > 0
    if not some.any():
        return dict.fromkeys(ACCURACIES, float("nan"))
    recall = right[some] / total[some]
    means = {name: recall[group[some]] for name, group in groups.items()}
    return {
        "overall": float(right.sum() / total.sum()),
        **{name: float(values.mean()) if values.size else float("nan") for name, values in means.items()},
        "worst": float(recall.min()),
    }
