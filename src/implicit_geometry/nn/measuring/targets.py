"""What a network in training is compared with: the simplex ETF, the limit of its problem, the ridge that fits best.

Where classes are equal in counts and loss, distances to theory have a systematic part, and a geometry its heterogeneity
(:mod:`implicit_geometry.comparison`); embeddings are compared in both frames (:mod:`implicit_geometry.frames`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from implicit_geometry._validate import InputError, Ints
from implicit_geometry.certificate import Status
from implicit_geometry.comparison import gram_distance, split_distance, systematic_distance
from implicit_geometry.counts import ClassCounts
from implicit_geometry.frames import FramedGeometry
from implicit_geometry.geometry import simplex_etf
from implicit_geometry.groups import gather
from implicit_geometry.problem import Problem
from implicit_geometry.summary import framed_summary
from implicit_geometry.theory.collapse import CollapseThresholds, collapse_thresholds
from implicit_geometry.theory.effective_ridge import ridge_search
from implicit_geometry.theory.measured_frame import in_both_frames
from implicit_geometry.theory.predict import predict

_MOST_KINDS = 600  # of classes, by counts and parameters: the first ridge takes some seconds, later ones two
_MOST_KINDS_WITH_BIAS = 128  # of half a second; of ten where counts and scales are extreme
_Columns = dict[str, float]


@dataclass(frozen=True)
class Observed:
    """A measured geometry.

    Attributes:
        framed: over the classes that were seen.
        counts: training samples of these classes.
        classes: their numbers.
    """

    framed: FramedGeometry
    counts: ClassCounts
    classes: Ints


_Part = Callable[[Observed], _Columns]


def reason(error: Exception) -> str:
    """Why something is missing, in words."""
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


class Targets:
    """The columns of a measured geometry, part by part: its summary, its distances to every target, its heterogeneity.

    Args:
        problem: counts and loss of the training; without it the only target is the simplex ETF.
        num_classes: of the head.
        has_bias: whether the head has a bias.

    Attributes:
        parts: the columns by what they are of, such as ``"etf"``, as functions of what was measured, which may be some
            of the classes.
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
        etf = FramedGeometry(simplex_etf(num_classes), simplex_etf(num_classes).embedding)
        self.parts: dict[str, _Part] = {
            "summary": lambda seen: framed_summary(seen.framed, seen.counts),
            "etf": lambda seen: _distances("etf", seen, etf),
        }
        self.missing: dict[str, Exception] = {}
        counts = ClassCounts(np.ones(num_classes)) if problem is None else problem.counts
        self._sample = Observed(etf, counts, np.arange(num_classes))
        self.columns = {name: list(part(self._sample)) for name, part in self.parts.items()}
        self._problem = problem
        self._thresholds: CollapseThresholds | None = None
        if problem is not None:
            groups = gather(problem)
            alike = None if groups.all_differ else groups.group
            self._add("limit", lambda: _to_limit(problem, alike))
            self._add("ridge", lambda: _to_nearest_ridge(problem, alike))
            if alike is not None:
                self._add("heterogeneity", lambda: lambda seen: _heterogeneity(seen, etf, alike))

    def beyond_threshold(self, groups: list[list[int]], fitted_ridge: float) -> str:
        """What the theory says of merging classes at the ridge that was fitted to the network, as a clause."""
        if self._problem is None or self._problem.label_distribution is not None or not np.isfinite(fitted_ridge):
            return ""  # label distributions have no thresholds
        if self._thresholds is None:
            self._thresholds = collapse_thresholds(self._problem)
        classes = [c for group in groups for c in group]
        beyond = int(np.count_nonzero(self._thresholds.ridge[classes] <= fitted_ridge))
        fitted = f"the ridge fitted to the network, {fitted_ridge:.2g}"
        return f"; {fitted}, is beyond the collapse threshold of {beyond} of these {len(classes)} classes"

    def _add(self, name: str, prepare: Callable[[], _Part]) -> None:
        try:
            part = prepare()
            names = list(part(self._sample))
        except Exception as error:  # whatever it is, a network can be trained without this target
            self.missing[name] = error
        else:
            self.parts[name], self.columns[name] = part, names


def _to_limit(problem: Problem, alike: Ints | None) -> _Part:
    solution = predict(replace(problem, ridge=0.0))
    if solution.certificate.status not in (Status.OPTIMAL, Status.COLLAPSED):
        gap = solution.certificate.relative_gap
        raise InputError("problem", "must have a limit that can be computed accurately", f"a relative gap of {gap:.1e}")
    limit = in_both_frames(solution)

    def columns(seen: Observed) -> _Columns:
        found = _split_distances("limit", seen, limit, alike)
        if problem.soft_labels:  # the limit of hard labels has no scale
            size = _of_classes(limit, seen.classes).geometry.cross.frobenius_norm()
            found["cross_limit_scale"] = seen.framed.geometry.cross.frobenius_norm() / size
        return found

    return columns


def _to_nearest_ridge(problem: Problem, alike: Ints | None) -> _Part:
    kinds = gather(problem).size.size
    most = _MOST_KINDS_WITH_BIAS if problem.bias else _MOST_KINDS
    if kinds > most:
        head = "with a bias" if problem.bias else "without bias"
        raise InputError("problem", f"must have at most {most} kinds of classes for a ridge of a head {head}", kinds)
    search = ridge_search(problem)

    def columns(seen: Observed) -> _Columns:
        if len(seen.classes) < problem.num_classes:
            missing = np.setdiff1d(np.arange(problem.num_classes), seen.classes)[:10].tolist()
            raise InputError("labels", "must hold every class for a ridge to be fitted", f"none of classes {missing}")
        fitted = search.nearest(seen.framed.geometry)
        optimum = in_both_frames(fitted.solution)
        return {"effective_ridge": fitted.ridge, **_split_distances("ridge", seen, optimum, alike)}

    return columns


def _distances(name: str, seen: Observed, target: FramedGeometry) -> _Columns:
    others = _of_classes(target, seen.classes).blocks()
    blocks = seen.framed.blocks()
    return {f"{block}_{name}_distance": gram_distance(gram, others[block]) for block, gram in blocks.items()}


def _split_distances(name: str, seen: Observed, target: FramedGeometry, alike: Ints | None) -> _Columns:
    """Distances with their systematic parts; those are NaN where no two of the classes seen are alike."""
    if alike is None:
        return _distances(name, seen, target)
    others, group = _of_classes(target, seen.classes).blocks(), alike[seen.classes]
    columns: _Columns = {}
    for block, gram in seen.framed.blocks().items():
        whole, systematic = systematic_distance(gram, others[block], group)
        columns[f"{block}_{name}_distance"] = whole
        columns[f"{block}_{name}_systematic"] = systematic if _have_equals(group) else float("nan")
    return columns


def _heterogeneity(seen: Observed, etf: FramedGeometry, alike: Ints) -> _Columns:
    """What of a geometry its averages over equal classes leave; the same whatever it is compared with."""
    others, group = _of_classes(etf, seen.classes).blocks(), alike[seen.classes]
    return {
        f"{block}_heterogeneity": split_distance(gram, others[block], group)[2] if _have_equals(group) else float("nan")
        for block, gram in seen.framed.blocks().items()
    }


def _have_equals(group: Ints) -> bool:
    return np.unique(group).size < group.size


def _of_classes(target: FramedGeometry, classes: Ints) -> FramedGeometry:
    return target if len(classes) == target.geometry.num_classes else target.subset(classes)
