"""What makes a predicted geometry trustworthy: a primal and a dual value that enclose the optimum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from implicit_geometry._validate import Floats, Ints

TOLERANCE = 1e-8
"""Relative gap at or below which a solution counts as optimal, where none is asked for."""

ROUNDING = 1e-12
"""Relative amount by which rounding may lift the lower bound above the upper one."""


class Status(Enum):
    """How a solution ended, with a remedy where it is not proven optimal.

    Example:
        >>> Status.COLLAPSED.remedy
        'The ridge is above every collapse threshold, so the global optimum is zero: lower the ridge.'
    """

    OPTIMAL = "optimal"
    COLLAPSED = "collapsed"
    INACCURATE = "inaccurate"
    DESCENDED = "descended"
    INCONSISTENT = "inconsistent"

    @property
    def remedy(self) -> str:
        """One sentence that says what the status means and what to try."""
        return _REMEDIES[self]


_REMEDIES = {
    Status.OPTIMAL: "The relative gap is at or below the tolerance: no geometry has an objective lower by more.",
    Status.COLLAPSED: "The ridge is above every collapse threshold, so the global optimum is zero: lower the ridge.",
    Status.INACCURATE: (
        "The relative gap is above the tolerance: the geometry is an approximation; "
        "use milder temperatures, a smaller imbalance ratio or a larger ridge."
    ),
    Status.DESCENDED: (
        "The geometry is the best that descent from several starts has found; the relative gap bounds how much lower "
        "the objective of another can be."
    ),
    Status.INCONSISTENT: (
        "The lower bound is above the upper one by more than rounding, which no right computation does: do not use the "
        "geometry, and report the problem."
    ),
}


@dataclass(frozen=True)
class Certificate:
    """Bounds that prove how close a geometry is to the global optimum.

    Attributes:
        primal: objective at the returned solution, an upper bound of the optimum.
        dual: value of a feasible dual point, a lower bound of the optimum.
        smallest_margin: smallest cost-sensitive margin after scaling (1 in the limit); ``None`` where it has no
            meaning.
        tolerance: relative gap at or below which the solution counts as optimal.
        status: what the bounds prove.

    Example:
        >>> Certificate(primal=2.0, dual=2.0, smallest_margin=1.0).status
        <Status.OPTIMAL: 'optimal'>
    """

    primal: float
    dual: float
    smallest_margin: float | None
    collapsed: bool = False
    descended: bool = False
    tolerance: float = TOLERANCE

    @property
    def relative_gap(self) -> float:
        """(primal - dual) / |primal| (the absolute gap where the primal value is 0).

        Infinite where a bound is not a finite number, 0 where it is negative by no more than :data:`ROUNDING`.
        """
        if not (math.isfinite(self.primal) and math.isfinite(self.dual)):
            return math.inf
        gap = (self.primal - self.dual) / (abs(self.primal) or 1.0)
        return 0.0 if -ROUNDING <= gap <= 0 else gap

    @property
    def status(self) -> Status:
        """The strongest statement the bounds prove."""
        if self.relative_gap < 0:
            return Status.INCONSISTENT
        if self.relative_gap > self.tolerance:
            return Status.DESCENDED if self.descended else Status.INACCURATE
        return Status.COLLAPSED if self.collapsed else Status.OPTIMAL


@dataclass(frozen=True, eq=False)
class NormError:
    """Proven bounds of how far squared norms can be from those of the optimum, relative to what is stated.

    They are infinite where nothing is known: for classes whose norms are tiny beside the largest, with strong
    temperatures at a tiny ridge. Most errors are smaller by several digits.

    Args:
        classifier_rows: of the squared norms of the classifiers, one per kind of classes, shape (G,).
        embedding_rows: of those of the class-mean embeddings, shape (G,).
        group: row of each class, shape (k,).

    Example:
        >>> from implicit_geometry.problem import Problem
        >>> from implicit_geometry.theory.predict import predict
        >>> bool(predict(Problem([50, 5], ridge=1e-3)).norm_error.classifier.max() < 1e-4)
        True
    """

    classifier_rows: Floats
    embedding_rows: Floats
    group: Ints

    @property
    def classifier(self) -> Floats:
        """Of the squared norms of the classifiers, shape (k,)."""
        return self.classifier_rows[self.group]

    @property
    def embedding(self) -> Floats:
        """Of the squared norms of the class-mean embeddings, shape (k,)."""
        return self.embedding_rows[self.group]

    def uncertain(self, tolerance: float = 0.01) -> NDArray[np.bool_]:
        """Classes one of whose squared norms is not proven to the tolerance, shape (k,)."""
        return np.asarray(np.maximum(self.classifier_rows, self.embedding_rows) > tolerance)[self.group]
