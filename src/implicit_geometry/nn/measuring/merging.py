"""An early warning: which classes are merging, and what helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components

from implicit_geometry._validate import Floats, Ints
from implicit_geometry.geometry import Geometry
from implicit_geometry.gram import Gram

CLOSE = 0.8
"""Cosine from which on two classes count as merging, where it rises; both of their classifiers and of their means."""
MERGED = 0.95
"""Cosine from which on they do whether it rises or not."""
MOST_CLASSES = 1_000
"""Of the rarest classes, whose pairs are looked at."""
_MOST_NAMED = 8
_CHANCE = 0.05


@dataclass(frozen=True)
class Closeness:
    """How close the closest classes are.

    Attributes:
        classes: those that were looked at, the rarest first.
        cosines: of each pair of them the smaller of the cosines of classifiers and of means, -1 on the diagonal.
    """

    classes: Ints
    cosines: Floats

    @property
    def largest(self) -> float:
        """The largest entry of :attr:`cosines`."""
        return float(self.cosines.max())

    def groups(self, least: float) -> list[list[int]]:
        """Classes that are joined by pairs of at least this cosine, in groups of two and more."""
        _, of_class = connected_components(self.cosines >= least, directed=False)
        found = [np.sort(self.classes[of_class == number]).tolist() for number in np.unique(of_class)]
        return sorted((group for group in found if len(group) > 1), key=len, reverse=True)


def closeness(geometry: Geometry, classes: Ints, samples: Ints | Floats) -> Closeness:
    """Look at the pairs of the rarest classes.

    Args:
        geometry: measured, of the given classes.
        classes: what they are called, shape (m,).
        samples: of each of them in training, shape (m,).

    Example:
        >>> h = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.1], [0.0, 1.0, -0.1]]
        >>> close = closeness(Geometry.from_factors(h, h), np.arange(3), np.array([90, 5, 5]))
        >>> round(close.largest, 2), close.groups(0.9)
        (0.98, [[1, 2]])
    """
    rarest = np.argsort(samples, kind="stable")[:MOST_CLASSES]
    cosines = np.minimum(_cosines(geometry.classifier, rarest), _cosines(geometry.embedding, rarest))
    np.fill_diagonal(cosines, -1.0)
    return Closeness(np.asarray(classes)[rarest], cosines)


def _cosines(gram: Gram, classes: Ints) -> Floats:
    """Cosines of the given classes; -1 where a vector is zero."""
    dense = gram.subset(classes).dense()
    norms = np.sqrt(np.maximum(dense.diagonal(), 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines = dense / norms / norms[:, None]
    return np.where(np.isfinite(cosines), np.clip(cosines, -1, 1), -1.0)


def crowded(num_classes: int, feature_dim: int) -> bool:
    """Whether so many classes are close to one another in so few dimensions whatever the network learns.

    Of k random directions in d < k - 1 dimensions, k^2 / 2 times (1 - c^2)^((d - 1) / 2) bounds how many pairs have a
    cosine above c.
    """
    chance = num_classes**2 / 2 * (1 - CLOSE**2) ** ((feature_dim - 1) / 2)
    return feature_dim < num_classes - 1 and chance > _CHANCE


def merging_groups(now: Closeness, before: float) -> list[list[int]]:
    """The groups of classes that are merging.

    Args:
        now: of this epoch.
        before: the largest cosine of the epoch before; NaN where there was none.
    """
    return now.groups(CLOSE if now.largest > before else MERGED)


def warning_of(
    groups: list[list[int]], now: Closeness, before: float, *, names: Sequence[str] = (), clause: str = ""
) -> str:
    """One sentence on classes that are merging, and on what helps.

    Args:
        groups: what :func:`merging_groups` gave.
        now: of this epoch.
        before: the largest cosine of the epoch before; NaN where there was none.
        names: of the classes, where they have any.
        clause: what the theory says of them at the fitted ridge; empty where it says nothing.
    """
    listed = "; ".join(_listed(group, names) for group in groups[:3]) + ("; and others" if len(groups) > 3 else "")
    trend = f", after {before:.2f}" if now.largest > before else ""
    reached = f"the cosines of their classifiers and of their means reach {now.largest:.2f}{trend}{clause}"
    remedies = "less weight decay, logit adjustment (ig.logit_adjusted) or class scales (ig.cdt, ig.vs)"
    return f"classes are merging: {listed} ({reached}); {remedies} keep rare classes apart"


def _listed(group: list[int], names: Sequence[str]) -> str:
    shown = [names[c] if names else str(c) for c in group[:_MOST_NAMED]]
    more = f" and {len(group) - _MOST_NAMED} more" if len(group) > _MOST_NAMED else ""
    return ", ".join(shown) + more
