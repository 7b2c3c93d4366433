"""What a network in training is compared with: the simplex ETF, the limit of its problem, the ridge that fits best."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np

from implicit_geometry._validate import Floats, InputError, Ints
from implicit_geometry.certificate import Status
from implicit_geometry.comparison import compare
from implicit_geometry.counts import ClassCounts
from implicit_geometry.geometry import Geometry, simplex_etf
from implicit_geometry.gram import Gram
from implicit_geometry.groups import group_classes, varying_vectors
from implicit_geometry.problem import Problem, Solution
from implicit_geometry.summary import geometry_summary
from implicit_geometry.theory.collapse import total_threshold
from implicit_geometry.theory.predict import predict
from implicit_geometry.theory.ridge.plain import ridge_path, ridge_solution

_Columns = dict[str, float]
_Part = Callable[[Geometry, ClassCounts], _Columns]


class Targets:
    """The columns of a measured geometry, part by part: its summary, and the distances to every target.

    Args:
        problem: counts and loss of the training; without it the only target is the simplex ETF.
        num_classes: of the head.
        has_bias: whether the head has a bias.

    Attributes:
        parts: the columns by what they are of, such as ``"etf"``, as functions of a geometry and the counts.
        columns: their names.
        missing: why a target has no columns.

    Raises:
        InputError: the problem has other classes or another bias than the head.
    """

    def __init__(self, problem: Problem | None, num_classes: int, *, has_bias: bool) -> None:
        if problem is not None and (problem.num_classes, problem.bias) != (num_classes, has_bias):
            raise InputError(
                "problem",
                f"must have the {num_classes} classes and bias={has_bias} of the head",
                f"{problem.num_classes} classes and bias={problem.bias}",
            )
        etf = simplex_etf(num_classes)
        self.parts: dict[str, _Part] = {
            "summary": geometry_summary,
            "etf": lambda geometry, counts: _distances("etf", geometry, etf),
        }
        self.missing: dict[str, Exception] = {}
        counts = ClassCounts(np.ones(num_classes)) if problem is None else problem.counts
        self.columns = {name: list(part(etf, counts)) for name, part in self.parts.items()}
        if problem is not None:
            self._add("limit", lambda: _to_limit(problem), etf, counts)
            few = group_classes(*varying_vectors(problem)).size.size <= RidgeLattice.MOST_KINDS
            if few and not has_bias:
                self._add("ridge", lambda: _to_nearest_ridge(problem), etf, counts)

    def _add(self, name: str, prepare: Callable[[], _Part], etf: Geometry, counts: ClassCounts) -> None:
        try:
            part = prepare()
            names = list(part(etf, counts))
        except Exception as error:  # whatever it is, a network can be trained without this target
            self.missing[name] = error
        else:
            self.parts[name], self.columns[name] = part, names


def _to_limit(problem: Problem) -> _Part:
    solution = predict(replace(problem, ridge=0.0))
    if solution.certificate.status not in (Status.OPTIMAL, Status.COLLAPSED):
        gap = solution.certificate.relative_gap
        raise InputError("problem", "must have a limit that can be computed accurately", f"a relative gap of {gap:.1e}")
    return lambda geometry, counts: _distances("limit", geometry, solution.geometry)


def _to_nearest_ridge(problem: Problem) -> _Part:
    ridges = RidgeLattice(problem)

    def columns(geometry: Geometry, counts: ClassCounts) -> _Columns:
        fitted = ridges.nearest(geometry.classifier)
        return {"effective_ridge": fitted.problem.ridge, **_distances("ridge", geometry, fitted.geometry)}

    return columns


def _distances(name: str, geometry: Geometry, target: Geometry) -> _Columns:
    return {f"{block}_{name}_distance": value for block, value in asdict(compare(geometry, target)).items()}


class RidgeLattice:
    """Solutions at ridges evenly spaced on a logarithmic scale, solved where asked for and kept for the next epochs.

    :func:`implicit_geometry.theory.effective.effective_ridge` finds the optimum to 1e-6, and solves anew every time.
    """

    STEPS, DECADES, COARSE = 32, 12, 8  # steps a decade, decades, steps of the first search
    MOST_KINDS = 128  # of classes, by counts and parameters: with more, a solution takes too long and too much memory

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.total = total_threshold(problem)
        self.coarse = range(-self.STEPS * self.DECADES, 0, self.COARSE)
        path = ridge_path(problem.counts, problem.parameterization, [self.ridge(index) for index in self.coarse])
        self.solved = {index: (each, _unit_entries(each)) for index, each in zip(self.coarse, path, strict=True)}

    def ridge(self, index: int) -> float:
        """The ridge of a step below ``total``, which is step 0."""
        return self.total * math.pow(10, index / self.STEPS)

    def solution(self, index: int) -> tuple[Solution, Floats]:
        """The solution at a step, and the entries of its classifier block."""
        if index not in self.solved:
            found = ridge_solution(replace(self.problem, ridge=self.ridge(index)))
            self.solved[index] = found, _unit_entries(found)
        return self.solved[index]

    def nearest(self, classifier: Gram) -> Solution:
        """The solution with the nearest classifier: the best of the coarse steps, then of halved ones around it."""
        sums = _group_sums(classifier, self.solved[self.coarse[0]][0].geometry.classifier.group)

        def closeness(index: int) -> float:
            return float(self.solution(index)[1] @ sums)

        best, step = max(self.coarse, key=closeness), self.COARSE
        while step > 1:
            step //= 2
            around = (index for index in (best, best - step, best + step) if self.coarse.start <= index < 0)
            best = max(around, key=closeness)
        return self.solution(best)[0]


def _unit_entries(solution: Solution) -> Floats:
    """Entries of a predicted classifier block of unit norm: of all pairs of groups, then on the diagonal."""
    gram = solution.geometry.classifier
    return np.append(gram.left @ gram.right.T, gram.diagonal) / gram.frobenius_norm()


def _group_sums(gram: Gram, group: Ints) -> Floats:
    """Sums of a measured block over what :func:`_unit_entries` holds once: their product is the inner product."""
    left, right = np.zeros((2, group.max() + 1, gram.left.shape[1]))
    np.add.at(left, group, gram.left[gram.group])
    np.add.at(right, group, gram.right[gram.group])
    own = np.bincount(group, weights=gram.squared_norms())
    return np.append(left @ right.T - np.diag(own), own)
