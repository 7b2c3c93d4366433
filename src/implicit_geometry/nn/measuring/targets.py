"""What a network in training is compared with: the simplex ETF, the limit of its problem, the ridge that fits best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np

from implicit_geometry._validate import InputError, Ints
from implicit_geometry.certificate import Status
from implicit_geometry.comparison import compare
from implicit_geometry.counts import ClassCounts
from implicit_geometry.geometry import Geometry, simplex_etf
from implicit_geometry.groups import group_classes, varying_vectors
from implicit_geometry.problem import Problem
from implicit_geometry.summary import geometry_summary
from implicit_geometry.theory.collapse import CollapseThresholds, collapse_thresholds
from implicit_geometry.theory.effective_ridge import ridge_search
from implicit_geometry.theory.measured_frame import in_measured_frame
from implicit_geometry.theory.predict import predict

_MOST_KINDS = 128  # of classes, by counts and parameters: with more, a ridge takes too long and too much memory
_MOST_KINDS_WITH_BIAS = 12  # then half a hundred ridges take seconds
_Columns = dict[str, float]
_Part = Callable[[Geometry, ClassCounts, Ints], _Columns]


def reason(error: Exception) -> str:
    """Why something is missing, in words."""
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


class Targets:
    """The columns of a measured geometry, part by part: its summary, and the distances to every target.

    Args:
        problem: counts and loss of the training; without it the only target is the simplex ETF.
        num_classes: of the head.
        has_bias: whether the head has a bias.

    Attributes:
        parts: the columns by what they are of, such as ``"etf"``, as functions of a geometry, the counts and the
            numbers of its classes, which may be some of all.
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
            "summary": lambda geometry, counts, classes: geometry_summary(geometry, counts),
            "etf": lambda geometry, counts, classes: _distances("etf", geometry, etf, classes),
        }
        self.missing: dict[str, Exception] = {}
        counts = ClassCounts(np.ones(num_classes)) if problem is None else problem.counts
        everything = np.arange(num_classes)
        self.columns = {name: list(part(etf, counts, everything)) for name, part in self.parts.items()}
        self._problem = problem
        self._thresholds: CollapseThresholds | None = None
        if problem is not None:
            self._add("limit", lambda: _to_limit(problem), etf, counts)
            self._add("ridge", lambda: _to_nearest_ridge(problem), etf, counts)

    def beyond_threshold(self, groups: list[list[int]], fitted_ridge: float) -> str:
        """What the theory says of merging classes at the ridge that was fitted to the network, as a clause."""
        if self._problem is None or not np.isfinite(fitted_ridge):
            return ""
        if self._thresholds is None:
            self._thresholds = collapse_thresholds(self._problem)
        classes = [c for group in groups for c in group]
        beyond = int(np.count_nonzero(self._thresholds.ridge[classes] <= fitted_ridge))
        fitted = f"the ridge fitted to the network, {fitted_ridge:.2g}"
        return f"; {fitted}, is beyond the collapse threshold of {beyond} of these {len(classes)} classes"

    def _add(self, name: str, prepare: Callable[[], _Part], etf: Geometry, counts: ClassCounts) -> None:
        try:
            part = prepare()
            names = list(part(etf, counts, np.arange(counts.num_classes)))
        except Exception as error:  # whatever it is, a network can be trained without this target
            self.missing[name] = error
        else:
            self.parts[name], self.columns[name] = part, names


def _to_limit(problem: Problem) -> _Part:
    solution = predict(replace(problem, ridge=0.0))
    if solution.certificate.status not in (Status.OPTIMAL, Status.COLLAPSED):
        gap = solution.certificate.relative_gap
        raise InputError("problem", "must have a limit that can be computed accurately", f"a relative gap of {gap:.1e}")
    limit = in_measured_frame(solution)

    def columns(geometry: Geometry, counts: ClassCounts, classes: Ints) -> _Columns:
        found = _distances("limit", geometry, limit, classes)
        if problem.label_smoothing:  # the limit of hard labels has no scale
            size = _of_classes(limit, classes).cross.frobenius_norm()
            found["cross_limit_scale"] = geometry.cross.frobenius_norm() / size
        return found

    return columns


def _to_nearest_ridge(problem: Problem) -> _Part:
    kinds = group_classes(*varying_vectors(problem)).size.size
    most = _MOST_KINDS_WITH_BIAS if problem.bias else _MOST_KINDS
    if kinds > most:
        head = "with a bias" if problem.bias else "without bias"
        raise InputError("problem", f"must have at most {most} kinds of classes for a ridge of a head {head}", kinds)
    search = ridge_search(problem)

    def columns(geometry: Geometry, counts: ClassCounts, classes: Ints) -> _Columns:
        if len(classes) < problem.num_classes:
            missing = np.setdiff1d(np.arange(problem.num_classes), classes)[:10].tolist()
            raise InputError("labels", "must hold every class for a ridge to be fitted", f"none of classes {missing}")
        fitted = search.nearest(geometry)
        optimum = in_measured_frame(fitted.solution)
        return {"effective_ridge": fitted.ridge, **_distances("ridge", geometry, optimum, classes)}

    return columns


def _distances(name: str, geometry: Geometry, target: Geometry, classes: Ints) -> _Columns:
    found = asdict(compare(geometry, _of_classes(target, classes)))
    return {f"{block}_{name}_distance": value for block, value in found.items()}


def _of_classes(target: Geometry, classes: Ints) -> Geometry:
    return target if len(classes) == target.num_classes else target.subset(classes)
