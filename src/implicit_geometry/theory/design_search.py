"""What a design asks for, how far a loss is from it, and the search for the scales that come nearest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq, least_squares, minimize_scalar

from implicit_geometry._validate import Floats, InputError
from implicit_geometry.counts import ClassCounts
from implicit_geometry.geometry import simplex_etf
from implicit_geometry.gram import Gram
from implicit_geometry.groups import group_classes
from implicit_geometry.lowrank import LowRank
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem
from implicit_geometry.rules import ldt, logit_adjusted
from implicit_geometry.theory.predict import predict

LARGEST_EXPONENT = 3.0
"""Exponents are searched between minus and plus this."""

_VECTORS = {
    "ldt": ("label_scale",),
    "cdt": ("class_scale",),
    "vs": ("class_scale",),
    "cdt+ldt": ("class_scale", "label_scale"),
}
FAMILIES = tuple(_VECTORS)
"""Losses whose scales can be designed."""

_POINTS = 25
_FREE_STEPS = 20  # of one local search
_FREE_EVALUATIONS = 1500  # beyond which no further local search is begun
_TIE = 1e-12
_SOLVED = 1e-10  # residual at which a search ends
_WIDEST_FREE = np.log(1e4)  # a free scale over that of class 0 and its inverse are at most this, in logarithms


@dataclass(frozen=True)
class Question:
    """A geometry that is asked for: one number of a loss's limit, and its wanted value.

    Attributes:
        counts: samples per class.
        target: ``"norm_ratio"``, ``"minority_cosine"``, or a deviation that should vanish: ``"etf"``,
            ``"equal_norms"``, ``"equal_angles"``.
        family: one of :data:`FAMILIES`.
        wanted: the number.
        bias: whether the head has a free bias.
        label_smoothing: eps of smoothed labels.
        count_exponent: of the embeddings' cost.
    """

    counts: ClassCounts
    target: str
    family: str
    wanted: float
    bias: bool
    label_smoothing: float
    count_exponent: float

    @property
    def vectors(self) -> tuple[str, ...]:
        """Names of the vectors that the family scales."""
        return _VECTORS[self.family]

    def reached(self, loss: Parameterization) -> float:
        """The number for a loss."""
        gram, majority = self._classifier(loss), self.counts.majority
        if self.target == "minority_cosine":
            return float(gram.block_cosines(majority)[0, 0])
        if self.target == "norm_ratio":
            squared = gram.squared_norms()
            return float(squared[majority].mean() / squared[~majority].mean())
        return DEVIATIONS[self.target](gram).frobenius_norm()

    def gap(self, reached: float) -> float:
        """Signed distance from the wanted number."""
        return float(np.log(reached / self.wanted)) if self.target == "norm_ratio" else reached - self.wanted

    def residuals(self, loss: Parameterization) -> Floats:
        """Vector whose Euclidean norm is the size of the gap."""
        if self.target in DEVIATIONS:
            return _entries(DEVIATIONS[self.target](self._classifier(loss)))
        return np.array([self.gap(self.reached(loss))])

    def power_loss(self, exponent: float) -> Parameterization:
        """The family's loss with scales (n_c / n_max) ** exponent of mean 1."""
        scale = ldt(self.counts, gamma=exponent).label_scale
        return self.loss(np.tile(scale, (len(self.vectors), 1)))

    def loss(self, scales: Floats) -> Parameterization:
        """The family's loss with the given scales, one row per vector."""
        shift = logit_adjusted(self.counts).shift if self.family == "vs" else None
        return Parameterization(shift=shift, **dict(zip(self.vectors, scales, strict=True)))

    def problem(self, loss: Parameterization) -> Problem:
        """The limit of a loss."""
        return Problem(
            self.counts,
            loss,
            bias=self.bias,
            label_smoothing=self.label_smoothing,
            count_exponent=self.count_exponent,
        )

    def _classifier(self, loss: Parameterization) -> Gram:
        return predict(self.problem(loss)).geometry.classifier


class Found(NamedTuple):
    """A loss, the exponent that it is made of where there is one, what it reaches, and what others were seen to."""

    loss: Parameterization
    exponent: float | None
    reached: float
    reachable: tuple[float, float] | None


def nearest_exponent(question: Question) -> Found:
    """The exponent of smallest size that reaches the target, else the one that comes nearest."""

    def gap(exponent: float) -> float:
        return question.gap(question.reached(question.power_loss(exponent)))

    grid = np.linspace(-LARGEST_EXPONENT, LARGEST_EXPONENT, _POINTS)
    scanned = np.array([_reached_or_nan(question, exponent) for exponent in grid.tolist()])
    gaps = np.array([question.gap(reached) for reached in scanned])
    crossings = np.flatnonzero(gaps[:-1] * gaps[1:] <= 0).tolist()
    if crossings:
        exponent = min((float(brentq(gap, grid[i], grid[i + 1], xtol=1e-14)) for i in crossings), key=abs)
    else:
        exponent = _least(gap, grid, gaps)
    loss = question.power_loss(exponent)
    reached = question.reached(loss)
    reachable = float(np.nanmin([*scanned, reached])), float(np.nanmax([*scanned, reached]))
    return Found(loss, exponent, reached, reachable)


def _reached_or_nan(question: Question, exponent: float) -> float:
    """The quantity of the target, NaN where float64 does not hold the geometry."""
    try:
        return question.reached(question.power_loss(exponent))
    except InputError:
        return float("nan")


def _least(gap: Callable[[float], float], grid: Floats, gaps: Floats) -> float:
    """The exponent of smallest gap, refined between the neighbours of the best on the grid."""
    sizes = np.abs(gaps)
    ties = np.flatnonzero(sizes <= np.nanmin(sizes) + _TIE)
    best = int(ties[np.argmin(np.abs(grid[ties]))])
    near = [i for i in (best - 1, best, best + 1) if 0 <= i < grid.size and np.isfinite(sizes[i])]
    refined = minimize_scalar(
        lambda exponent: abs(gap(exponent)),
        bounds=(grid[near[0]], grid[near[-1]]),
        method="bounded",
        options={"xatol": 1e-12},
    )
    return float(refined.x) if refined.fun < sizes[best] - _TIE else float(grid[best])


def nearest_vectors(question: Question) -> Found:
    """Free scales by least squares in their logarithms, relative to class 0's (the gauge).

    It has local minima: the best exponent is the first start, seeded random scales are the others.
    """
    rows, groups = len(question.vectors), group_classes(question.counts.values)
    best, _, best_reached, _ = nearest_exponent(question)
    smallest = abs(question.gap(best_reached))

    def loss(unknowns: Floats) -> Parameterization:
        logs = np.column_stack([np.zeros(rows), unknowns.reshape(rows, -1)])
        scales = np.exp(logs)[:, groups.group]
        return question.loss(scales / scales.mean(axis=1, keepdims=True))

    logs = np.log([getattr(best, name)[groups.first] for name in question.vectors])
    start = (logs[:, 1:] - logs[:, :1]).ravel()
    random = np.random.default_rng(0)
    evaluations = last = 0
    while smallest > _SOLVED and evaluations + last <= _FREE_EVALUATIONS:
        solved = least_squares(
            lambda unknowns: question.residuals(loss(unknowns)),
            np.clip(start, -_WIDEST_FREE, _WIDEST_FREE),
            bounds=(-_WIDEST_FREE, _WIDEST_FREE),
            ftol=1e-12,
            xtol=1e-12,
            gtol=1e-12,
            max_nfev=_FREE_STEPS,
        )
        found = loss(solved.x)
        reached = question.reached(found)
        if abs(question.gap(reached)) < smallest:
            best, best_reached, smallest = found, reached, abs(question.gap(reached))
        last = int(solved.nfev + solved.njev * start.size)
        evaluations += last
        start = random.standard_normal(start.size)
    return Found(best, None, best_reached, None)


def _etf_deviation(gram: Gram) -> LowRank:
    etf = simplex_etf(gram.num_classes).classifier
    return gram.scaled(1 / gram.frobenius_norm()).minus(etf.scaled(1 / etf.frobenius_norm()))


def _norm_deviation(gram: Gram) -> LowRank:
    logs = np.log(gram.diagonal) / 2
    centred = logs - gram.multiplicity @ logs / gram.num_classes
    nothing = np.zeros((logs.size, 0))
    return LowRank(centred / np.sqrt(gram.num_classes), nothing, nothing, gram.group)


def _angle_deviation(gram: Gram) -> LowRank:
    k, norms = gram.num_classes, np.sqrt(gram.diagonal)[:, None]
    cosines = Gram(np.ones_like(gram.diagonal), gram.left / norms, gram.right / norms, gram.group)
    return cosines.minus(simplex_etf(k).classifier).scaled(1 / np.sqrt(k * (k - 1)))


DEVIATIONS: dict[str, Callable[[Gram], LowRank]] = {
    "etf": _etf_deviation,
    "equal_norms": _norm_deviation,
    "equal_angles": _angle_deviation,
}
"""Matrices whose Frobenius norm says how far the classifiers are from a target."""


def _entries(gram: LowRank) -> Floats:
    """Vector with the Euclidean norm of a matrix: its entries, those of equal classes once, weighted."""
    size = gram.multiplicity
    weight = np.sqrt(np.outer(size, size) - np.diag(size))
    return np.concatenate([(gram.left @ gram.right.T * weight).ravel(), np.sqrt(size) * gram.diagonal])
