"""One number for how far training has gone: the ridge whose predicted geometry is nearest to a measured one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.polynomial import Polynomial
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_array

from implicit_geometry._validate import Floats, InputError, Ints, choice, instance
from implicit_geometry.certificate import TOLERANCE
from implicit_geometry.comparison import Comparison, compare, gram_distance
from implicit_geometry.geometry import Geometry
from implicit_geometry.groups import gather
from implicit_geometry.lowrank import LowRank
from implicit_geometry.problem import Problem, Solution, require_problem
from implicit_geometry.theory.collapse import total_threshold
from implicit_geometry.theory.predict import predict
from implicit_geometry.theory.ridge.many.coarser import with_fewer_kinds
from implicit_geometry.theory.ridge.many.plain import EXACT
from implicit_geometry.theory.ridge_path import ridge_path

_BLOCKS = ("classifier", "embedding", "cross")
_AS_NEAR = 1e-6  # difference of distances that does not count
_FEW_KINDS = 48  # kinds of classes up to which all ridges are solved as they are
_ROUGH_KINDS = 8
_MANY_KINDS = 256  # of a head with a bias, whose highest ridge is that of so many
_ROUGH_TOLERANCE = 2e-8  # relative gap of a solution on the way, for hundreds of kinds
_APART = 4  # steps between the first ridges of many kinds
_APART_EXACT = 1.0  # the same where fewer kinds say how distances bend, and the ridge is to be known well
_KNOWN = {True: 0.01, False: 0.03}  # steps to which the ridge of many kinds is known, where exact or not
_VERTICES = 8
_AROUND = 2  # steps of a lattice on both sides of its best that the curve of distances is drawn through
_POINTS, _DISTINCT = 4, 0.05  # of the curve whose lowest point is next, and steps between them, at least


class _Fit(NamedTuple):
    """A nearest solution, whether an edge is as near, and the squared distance by steps from it if it is inside."""

    solution: Solution
    at_edge: bool
    curve: Polynomial | None


@dataclass(frozen=True, repr=False)
class EffectiveRidge:
    """The ridge that explains a measured geometry best.

    Attributes:
        ridge: lambda; over num_samples, it is the weight decay of a mean loss.
        distance: of the block that was fitted, at this ridge.
        comparison: distances of all three blocks, at this ridge.
        solution: the predicted geometry at this ridge.
        at_edge: whether a ridge at the edge of the searched range is as near (to 1e-6); ``ridge`` is then one of many
            that explain the geometry alike. At the lower edge the limit is reached; at the upper one whole groups of
            classes have collapsed, and what is left changes no more but for its scale.

    Example:
        >>> from implicit_geometry.counts import ClassCounts
        >>> problem = Problem(ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50), ridge=0.5)
        >>> found = effective_ridge(predict(problem).geometry, problem)
        >>> round(found.ridge, 3), found.at_edge
        (0.5, False)
    """

    ridge: float
    distance: float
    comparison: Comparison
    solution: Solution
    at_edge: bool

    def __repr__(self) -> str:
        return f"EffectiveRidge(ridge={self.ridge:.4g}, distance={self.distance:.4g}, at_edge={self.at_edge})"


def effective_ridge(measured: Geometry, problem: Problem, *, block: str = "classifier") -> EffectiveRidge:
    """Find the ridge at which the predicted geometry is nearest to a measured one.

    Searched from 1e-12 to 0.99 times the ridge from which on everything collapses to zero (with a bias and more than
    256 kinds of classes, that of 256, which is about a per cent less).

    Args:
        measured: geometry of a network, over the problem's classes in their order.
        problem: counts and loss that it was trained with; its ridge plays no part. A bias is free, or, where it has a
            ridge of its own, keeps the quotient of the two (1 where the problem's ridge is 0: weight decay on all).
        block: ``"classifier"``, ``"embedding"`` or ``"cross"``, the one to fit.

    Returns:
        The ridge, the distances there, and the predicted solution.

    Raises:
        InputError: the numbers of classes differ, the measured block is zero, or an unknown block.

    Example:
        >>> from implicit_geometry.geometry import simplex_etf
        >>> found = effective_ridge(simplex_etf(4), Problem([50, 50, 5, 5]))
        >>> found.distance == found.comparison.classifier
        True
    """
    instance("measured", measured, Geometry)
    return RidgeSearch(problem, block=block).nearest(measured, exact=True)


@lru_cache(maxsize=1)
def ridge_search(problem: Problem) -> RidgeSearch:
    """The search of a problem; that of the last problem is kept, so that a run's history and record share it."""
    return RidgeSearch(problem)


class RidgeSearch:
    """The search of :func:`effective_ridge` for many geometries of one problem, which keeps what it has solved.

    On a lattice of ridges, evenly spaced on a logarithmic scale: the best of the coarse steps, then of halved ones
    around it, then the vertex of a parabola or, where that is asked for, Brent's method. Runs are fitted by the
    parabola, their records and every epoch of their histories alike.

    Many kinds of classes are searched where fewer have led. Their squared distances differ by next to nothing but a
    line from those of the fewer, which tell how they bend: two ridges say where the lowest one is.

    Args:
        problem: as for :func:`effective_ridge`.
        block: likewise.

    Raises:
        InputError: ``problem`` is none, or an unknown block.

    Example:
        >>> problem = Problem([50, 50, 5, 5], ridge=0.5)
        >>> search = RidgeSearch(problem)
        >>> round(search.nearest(predict(problem).geometry).ridge, 2)
        0.5
    """

    STEPS, DECADES, COARSE, FINE = 32, 12, 8, 1  # steps per decade, decades, steps of the first and of the last search
    _HIGHEST = 0.99  # times the ridge from which on everything collapses

    def __init__(self, problem: Problem, *, block: str = "classifier") -> None:
        require_problem(problem)
        self.block = choice("block", block, _BLOCKS)
        self.problem = problem
        self.coarse = range(-self.STEPS * self.DECADES, 1, self.COARSE)
        self.group = gather(problem).group
        kinds = int(self.group.max()) + 1
        bounded = with_fewer_kinds(problem, _MANY_KINDS) if problem.bias and kinds > _MANY_KINDS else problem
        self.highest = self._HIGHEST * total_threshold(bounded)
        self.tolerance = TOLERANCE if self.group.max() < EXACT else _ROUGH_TOLERANCE
        self.solved: dict[int, tuple[Solution, Floats]] = {}
        self.rough: RidgeSearch | None = None
        if kinds > _FEW_KINDS and problem.label_distribution is None:  # with one no two classes are alike
            if kinds <= EXACT:
                self.rough = _RoughSearch(with_fewer_kinds(problem, _ROUGH_KINDS), block=block)
            else:
                self.rough = RidgeSearch(with_fewer_kinds(problem, EXACT), block=block)
            return
        ridges = [self.ridge(step) for step in self.coarse]
        path = ridge_path(problem, None, ridges)
        self.solved = {step: (each, self._unit_entries(each)) for step, each in zip(self.coarse, path, strict=True)}

    def ridge(self, step: float) -> float:
        """The ridge of a step from the highest, which is step 0."""
        return float(self.highest * 10 ** (step / self.STEPS))

    def _step(self, solution: Solution) -> float:
        """The step of a solution's ridge, within what is searched."""
        step = self.STEPS * math.log10(solution.problem.ridge / self.highest)
        return min(max(step, float(self.coarse[0])), 0.0)

    def nearest(self, measured: Geometry, *, exact: bool = False) -> EffectiveRidge:
        """The ridge at which the predicted geometry is nearest to a measured one.

        Args:
            measured: geometry of a network.
            exact: solve until the ridge is known to about 1e-6, or for more than 48 kinds of classes to a thousandth;
                otherwise the vertex of the parabola through three steps is taken, which is known to better than a per
                cent.

        Raises:
            InputError: the numbers of classes differ, or the measured block is zero.
        """
        if measured.num_classes != self.problem.num_classes:
            expected = f"must have the {self.problem.num_classes} classes of problem"
            raise InputError("measured", expected, measured.num_classes)
        wanted = getattr(measured, self.block)
        if wanted.frobenius_norm() == 0:
            raise InputError("measured", f"must have a {self.block} block that is not zero", "only zeros")
        found = self._fitted(wanted, exact)
        solution, comparison = found.solution, compare(measured, found.solution.geometry)
        return EffectiveRidge(
            ridge=solution.problem.ridge,
            distance=getattr(comparison, self.block),
            comparison=comparison,
            solution=solution,
            at_edge=found.at_edge,
        )

    def _fitted(self, wanted: LowRank, exact: bool) -> _Fit:
        """The solution whose block is nearest to a measured one."""
        sums = _group_sums(wanted, self.group) / wanted.frobenius_norm()

        def squared_distance(entries: Floats) -> float:
            return 2.0 - 2.0 * float(entries @ sums)  # |A - B|^2 of unit norms

        if self.rough is not None:
            return self._fitted_beside(self.rough._fitted(wanted, False), squared_distance, exact)

        def at(step: int) -> float:
            return squared_distance(self._at(step)[1])

        best, halved = min(self.coarse, key=at), self.COARSE
        while halved > self.FINE:
            halved //= 2
            around = (step for step in (best, best - halved, best + halved) if self.coarse[0] <= step <= 0)
            best = min(around, key=at)
        inside = self.coarse[0] < best < 0
        solution = self._between(best, at, squared_distance, exact) if inside else self._at(best)[0]
        distance = gram_distance(wanted, getattr(solution.geometry, self.block))
        edges = (self._at(step)[0] for step in (self.coarse[0], 0))
        nearest_edge = min(gram_distance(wanted, getattr(edge.geometry, self.block)) for edge in edges)
        return _Fit(solution, nearest_edge <= distance + _AS_NEAR, self._curve(best, solution, at) if inside else None)

    def _curve(self, best: int, solution: Solution, at: Callable[[int], float]) -> Polynomial:
        """The squared distance by steps from a solution, through those of the lattice around its best."""
        around = range(best - _AROUND * self.FINE, best + _AROUND * self.FINE + 1, self.FINE)
        steps = [step for step in around if self.coarse[0] <= step <= 0]
        away = np.array(steps) - self._step(solution)
        return Polynomial.fit(away, [at(step) for step in steps], len(steps) - 1).convert()

    def _fitted_beside(self, fewer: _Fit, squared_distance: Callable[[Floats], float], exact: bool) -> _Fit:
        """The nearest solution for many kinds of classes, from that of fewer."""
        distances = _Distances(self._step(fewer.solution), fewer.curve or Polynomial([0.0]), {})
        first, squared, found = distances.first, distances.squared, dict[float, Solution]()

        def look(step: float) -> float:
            if step not in found:
                on_lattice = step == int(step) and not exact  # where others of the problem may want it
                found[step] = (
                    self._at(int(step))[0] if on_lattice else self._solve(step, TOLERANCE if exact else self.tolerance)
                )
                squared[step] = squared_distance(self._unit_entries(found[step]))
            return squared[step]

        inside = True
        if fewer.curve is not None:
            apart = _APART_EXACT if exact else float(_APART)
            below = first if exact else apart * math.floor(first / apart)
            for step in (below, below + (apart if below <= -apart else -apart)):
                look(step)
        if fewer.curve is None or math.isnan(distances.lowest()):
            distances = replace(distances, bend=Polynomial([0.0]))
            inside = self._bracketed(first, look)
        nearest = min(squared, key=squared.__getitem__)
        for _ in range(_VERTICES if inside else 0):
            step = distances.lowest()
            if not abs(step - nearest) > _KNOWN[exact]:
                break
            look(step)
            nearest = min(squared, key=squared.__getitem__)
        return _Fit(found[nearest], fewer.at_edge, distances.curve(nearest) if inside else None)

    def _bracketed(self, first: float, look: Callable[[float], float]) -> bool:
        """Look at steps of the lattice until one is lower than both its neighbours; whether there is one."""
        lowest, apart = self.coarse[0], _APART
        middle = min(max(apart * round(first / apart), lowest + apart), -apart)
        while (best := min((middle - apart, middle, middle + apart), key=look)) != middle and lowest < best < 0:
            middle = best
        return best == middle

    def _between(
        self, best: int, at: Callable[[int], float], squared_distance: Callable[[Floats], float], exact: bool
    ) -> Solution:
        """The best solution between the neighbours of a step of the lattice, where that is better than both."""
        apart = self.FINE
        before, here, after = at(best - apart), at(best), at(best + apart)
        if not here < min(before, after):
            return self._at(best)[0]
        found: dict[float, Solution] = {}

        def between(step: float) -> float:
            if step == int(step):
                return at(int(step))
            found[step] = self._solve(step, TOLERANCE)
            return squared_distance(self._unit_entries(found[step]))

        # the vertex of the parabola through the three
        step = best + 0.5 * apart * (before - after) / (before - 2 * here + after)
        if exact:
            bracket = (best - 1.0, float(best), best + 1.0)
            step = minimize_scalar(between, bracket=bracket, method="brent", options={"xtol": 1e-7, "maxiter": 20}).x
        return found[step] if between(step) < here and step in found else self._at(best)[0]

    def _at(self, step: int) -> tuple[Solution, Floats]:
        """The solution at a step of the lattice, and the entries of its block."""
        if step not in self.solved:
            solution = self._solve(step, self.tolerance)
            self.solved[step] = solution, self._unit_entries(solution)
        return self.solved[step]

    def _solve(self, step: float, tolerance: float) -> Solution:
        return predict(self.problem.at_ridge(self.ridge(step)), tolerance=tolerance)

    def _unit_entries(self, solution: Solution) -> Floats:
        """Entries of a predicted block of unit norm: of all pairs of groups, then on the diagonal."""
        block = getattr(solution.geometry, self.block)
        return np.append(block.left @ block.right.T, block.diagonal) / (block.frobenius_norm() or 1.0)


class _RoughSearch(RidgeSearch):
    """One ridge in two decades will do at first, and eight per decade in the end."""

    COARSE, FINE = 2 * RidgeSearch.STEPS, RidgeSearch.STEPS // 8


@dataclass(frozen=True)
class _Distances:
    """Squared distances at some steps, and how those of fewer kinds of classes bend by the steps from the first."""

    first: float
    bend: Polynomial
    squared: dict[float, float]

    def curve(self, centre: float) -> Polynomial:
        """The squared distance by steps from a centre, through the smallest ones that are not too near each other."""
        near: list[float] = []
        for step in sorted(self.squared, key=self.squared.__getitem__):
            if len(near) < _POINTS and all(abs(step - other) >= _DISTINCT for other in near):
                near.append(step)
        away, bend = np.array(near) - centre, self.bend(Polynomial([centre - self.first, 1.0]))
        rest = [self.squared[step] for step in near] - bend(away)
        return bend + Polynomial.fit(away, rest, len(near) - 1).convert()

    def lowest(self) -> float:
        """Where the curve is lowest between the steps or, where its bend is known, near them; NaN where nowhere."""
        curve, reach = self.curve(self.first), _APART if self.bend.degree() else 0
        flat = [self.first + float(root.real) for root in curve.deriv().roots() if not root.imag]
        inside = [step for step in flat if min(self.squared) - reach < step < max(self.squared) + reach]
        return min(inside, key=lambda step: float(curve(step - self.first)), default=float("nan"))


def _group_sums(block: LowRank, group: Ints) -> Floats:
    """Sums of a measured block over what a predicted one holds once: their product is the inner product."""
    classes = csr_array((np.ones(group.size), (group, block.group)), shape=(group.max() + 1, block.diagonal.size))
    apart = np.einsum("ij,ij->i", block.left, block.right)  # what the factors hold on the diagonal
    sums = (classes @ block.left) @ (classes @ block.right).T - np.diag(classes @ apart)
    return np.append(sums, classes @ block.diagonal)
