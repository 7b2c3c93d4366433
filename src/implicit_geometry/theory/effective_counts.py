"""What the embeddings of a network cost: the count exponent, and the ridge, that explain a measured geometry best.

Embeddings that cost n^a (see :class:`implicit_geometry.problem.Problem`) are one family for networks whose weight decay
acts on every sample (a = 1, as behind a batch normalisation) and on the map that makes the features (a = 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares
from scipy.stats import t

from implicit_geometry._validate import Floats, InputError, flag, instance
from implicit_geometry.comparison import Comparison, compare
from implicit_geometry.geometry import Geometry
from implicit_geometry.problem import Problem, Solution, require_problem
from implicit_geometry.theory.collapse import total_threshold
from implicit_geometry.theory.predict import predict

LOWEST, HIGHEST = -1.0, 2.0
"""Exponents that are searched."""

_BOUNDS = np.array([[LOWEST, -8.0], [HIGHEST, -0.005]])  # of the exponent, and of decades below total collapse
_SCALE = np.array([0.3, 1.0])
_STARTS = (0.0, 0.5, 1.0)
_START_RIDGES = (-1.0, -2.5, -5.0)  # decades below total collapse
_EXACT = 1e-6  # relative, where the search ends
_STEP = 1e-4  # of difference quotients
_MOST_STEPS = 30
_FEWEST_CLASSES, _MOST_CLASSES = 3, 2000  # two classes have one limit whatever their embeddings cost


@dataclass(frozen=True, repr=False)
class EffectiveCounts:
    """The count exponent that explains a measured geometry best.

    Attributes:
        count_exponent: a; the mean over seeds where several geometries were given.
        interval: 95 % interval of it: Student's over the seeds, or the jackknife's over classes for one geometry.
        ridge: lambda at which the geometry fits best; 0 where the limit was fitted. The geometric mean over seeds.
        comparison: distances of the blocks at the fit; means over seeds.
        solution: predicted at ``count_exponent`` and ``ridge``.

    Example:
        >>> problem = Problem([50, 50, 5, 5], count_exponent=0.7, label_smoothing=0.1)
        >>> found = effective_counts(predict(problem).geometry, problem, fit_ridge=False)
        >>> round(found.count_exponent, 3), found.comparison.classifier < 1e-3
        (0.7, True)
    """

    count_exponent: float
    interval: tuple[float, float]
    ridge: float
    comparison: Comparison
    solution: Solution

    def __repr__(self) -> str:
        low, high = self.interval
        return (
            f"EffectiveCounts(count_exponent={self.count_exponent:.4g}, interval=({low:.3g}, {high:.3g}), "
            f"ridge={self.ridge:.4g})"
        )


def effective_counts(
    measured: Geometry | Sequence[Geometry], problem: Problem, *, fit_ridge: bool = True
) -> EffectiveCounts:
    """Find the count exponent, and the ridge, whose predicted geometry is nearest to a measured one.

    Nearest in the sum of the squared distances of classifiers and embeddings, with exponents from -1 to 2 and ridges of
    eight decades below the one from which on everything collapses.

    Args:
        measured: geometry of a network over the problem's classes in their order; or several, one per seed.
        problem: counts, loss, head and labels that it was trained with; its ridge and prices play no part. A ridge on
            the bias keeps its quotient by the ridge.
        fit_ridge: whether a ridge is fitted too; otherwise the limit is compared, as networks trained with smoothed
            labels are near it.

    Returns:
        The exponent with its interval, the ridge, and what is left of the distances.

    Raises:
        InputError: the numbers of classes differ, a measured block is zero, counts are balanced (every exponent then
            predicts the same), or there are not 3 to 2,000 classes.

    Example:
        >>> problem = Problem([100, 40, 10, 4], ridge=0.05, count_exponent=0.4)
        >>> found = effective_counts(predict(problem).geometry, problem)
        >>> round(found.count_exponent, 2), round(found.ridge, 2)
        (0.4, 0.05)
    """
    require_problem(problem)
    flag("fit_ridge", fit_ridge)
    several = list(measured) if isinstance(measured, Sequence) else [instance("measured", measured, Geometry)]
    _check(several, problem)
    fits = [_Fit.of(geometry, problem, fit_ridge) for geometry in several]
    exponents = np.array([fit.place[0] for fit in fits])
    exponent = float(exponents.mean())
    if len(fits) > 1:
        half = float(t.ppf(0.975, len(fits) - 1) * exponents.std(ddof=1) / np.sqrt(len(fits)))
    else:
        half = float(t.ppf(0.975, problem.num_classes - 1)) * fits[0].jackknife_error()
    place = np.mean([fit.place for fit in fits], axis=0)
    solution = fits[0].solve(place)
    distances = [compare(geometry, fit.solve(fit.place).geometry) for geometry, fit in zip(several, fits, strict=True)]
    names = ("classifier", "embedding", "cross")
    return EffectiveCounts(
        count_exponent=exponent,
        interval=(exponent - half, exponent + half),
        ridge=solution.problem.ridge,
        comparison=Comparison(*(float(np.mean([getattr(each, name) for each in distances])) for name in names)),
        solution=solution,
    )


def _check(several: list[Geometry], problem: Problem) -> None:
    if not several:
        raise InputError("measured", "must hold at least one geometry", "none")
    for geometry in several:
        instance("measured", geometry, Geometry)
        if geometry.num_classes != problem.num_classes:
            raise InputError(
                "measured", f"must have the {problem.num_classes} classes of problem", geometry.num_classes
            )
        if not min(geometry.classifier.frobenius_norm(), geometry.embedding.frobenius_norm()) > 0:
            raise InputError("measured", "must have classifiers and embeddings that are not zero", "only zeros")
    if problem.counts.imbalance_ratio == 1:
        raise InputError("counts", "must be imbalanced for the cost of embeddings to matter", "equal counts")
    if not _FEWEST_CLASSES <= problem.num_classes <= _MOST_CLASSES:
        expected = f"must have {_FEWEST_CLASSES} to {_MOST_CLASSES:,} classes"
        raise InputError("problem", expected, problem.num_classes)


@dataclass(frozen=True)
class _Fit:
    """The best place (exponent, decades of the ridge) of one geometry; the limit has an exponent only.

    Attributes:
        wanted: unit-norm classifiers and embeddings.
        problem: with any exponent and ridge.
        place: the best one, with the residuals there and their derivatives by the place.
    """

    wanted: tuple[Floats, Floats]
    problem: Problem
    place: Floats
    rest: Floats
    slopes: Floats

    @classmethod
    def of(cls, geometry: Geometry, problem: Problem, fit_ridge: bool) -> _Fit:
        nothing = np.zeros(0)
        empty = cls(_unit_blocks(geometry), problem, nothing, nothing, nothing)
        middle = np.array([_STARTS[1], _START_RIDGES[1]])[: 1 + fit_ridge]
        starts = [np.append(middle[:1], decades) for decades in _START_RIDGES] if fit_ridge else [middle]
        start = min(starts, key=empty.squared_distance)
        start = min([np.append(a, start[1:]) for a in _STARTS], key=empty.squared_distance)
        found = least_squares(
            empty.residuals,
            start,
            bounds=_BOUNDS[:, : start.size],
            x_scale=_SCALE[: start.size],
            diff_step=_STEP,
            xtol=_EXACT,
            ftol=_EXACT**2,
            gtol=1e-12,
            max_nfev=_MOST_STEPS,
        )
        return replace(empty, place=found.x, rest=found.fun, slopes=found.jac)

    def solve(self, place: Floats) -> Solution:
        """The prediction at a place."""
        problem = self.problem.at_count_exponent(float(place[0]))
        if place.size == 1:
            return predict(replace(problem, ridge=0.0, bias_ridge=float(problem.bias_ridge > 0)))
        return predict(problem.at_ridge(_total_collapse(problem) * 10 ** float(place[1])))

    def squared_distance(self, place: Floats) -> float:
        """Of classifiers and of embeddings together."""
        return float((self.residuals(place) ** 2).sum())

    def residuals(self, place: Floats) -> Floats:
        """Predicted less measured entries of both unit-norm blocks, one after the other."""
        classifier, embedding = _unit_blocks(self.solve(place).geometry)
        return np.concatenate([(classifier - self.wanted[0]).ravel(), (embedding - self.wanted[1]).ravel()])

    def jackknife_error(self) -> float:
        """Standard error of the exponent over classes: each is left out in turn, and the fit moves by a Newton step."""
        k = self.problem.num_classes
        rest, slopes = self.rest.reshape(2, k, k), self.slopes.T.reshape(-1, 2, k, k)
        rows = np.ones(k, dtype=bool)
        moved = []
        for left_out in range(k):
            rows[left_out] = False
            kept = np.ix_(np.arange(2), rows, rows)
            jacobian = np.stack([slope[kept].ravel() for slope in slopes], axis=1)
            moved.append(-np.linalg.lstsq(jacobian, rest[kept].ravel(), rcond=None)[0][0])
            rows[left_out] = True
        return float(np.sqrt((k - 1) * np.var(moved)))


def _total_collapse(problem: Problem) -> float:
    """The ridge from which on everything is zero: exact for free features, an upper bound for nonnegative ones."""
    return total_threshold(replace(problem, features="free"))


def _unit_blocks(geometry: Geometry) -> tuple[Floats, Floats]:
    blocks: list[Floats] = []
    for block in (geometry.classifier, geometry.embedding):
        dense = block.dense()
        blocks.append(np.asarray(dense / (np.linalg.norm(dense) or 1.0)))
    return blocks[0], blocks[1]
