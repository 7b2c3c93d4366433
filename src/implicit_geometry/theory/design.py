"""Losses designed backwards: a wanted geometry in, the scales of the loss that leads there out.

With delta = ``class_scale``, Delta = ``label_scale`` and s_c = sqrt(n_c) / (delta_c Delta_c), the limit of vanishing
weight decay is X* = (I - v v^T) diag(s), v along 1 / delta. Constant s makes X* symmetric, which aligns every
classifier with its class mean; constant delta as well makes the classifiers a simplex ETF. That settles some targets
for any counts; the others are searched for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq, least_squares, minimize_scalar

from implicit_geometry._validate import Floats, InputError, choice, number
from implicit_geometry.counts import ClassCounts
from implicit_geometry.geometry import simplex_etf
from implicit_geometry.gram import Gram
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem, group_classes
from implicit_geometry.rules import ldt, logit_adjusted
from implicit_geometry.theory.limit import limit_solution
from implicit_geometry.theory.ridge import ridge_from_weight_decay

TARGETS = ("etf", "equal_norms", "equal_angles", "alignment", "norm_ratio", "minority_cosine", "no_collapse")
"""What can be asked for."""

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

_VALUED = ("norm_ratio", "minority_cosine")
_POINTS = 25
_FREE_STEPS = 20  # of one local search
_FREE_EVALUATIONS = 1500  # beyond which no further local search is begun
_TIE = 1e-12
_SOLVED = 1e-10  # residual at which a search ends
_MET = 1e-6  # residual up to which a target counts as reached
_CLEAR = 1e-9  # relative distance kept from a collapse threshold
_WIDEST_FREE = np.log(1e4)  # a free scale over that of class 0 and its inverse are at most this, in logarithms
_WIDE = 1e3  # ratio of scales that is warned of


@dataclass(frozen=True)
class Design:
    """A loss, and how near it comes to what was asked for.

    Attributes:
        parameterization: the loss.
        target: what was asked for, one of :data:`TARGETS`.
        family: the loss's family, one of :data:`FAMILIES`.
        exponent: gamma of the scales ``(n_c / n_max) ** gamma``; ``None`` where they are no power of the counts.
        reached: the quantity of the target. ``etf``: Frobenius distance of the classifiers' unit-norm Gram matrix to
            that of a simplex ETF. ``equal_norms``: standard deviation of log |w_c|. ``equal_angles``: root mean
            square deviation of the classifiers' cosines from -1 / (k - 1). ``alignment``: smallest cos(w_c, h_c).
            ``norm_ratio`` and ``minority_cosine``: as in :class:`BlockSummary`. ``no_collapse``: smallest collapse
            threshold over the ridge.
        residual: distance of ``reached`` from the target, 0 where exact; of logarithms for ``norm_ratio``.
        exact: whether theory gives the loss in closed form.
        reachable: smallest and largest quantity over the searched exponents; ``None`` where nothing was searched.
        warnings: sentences on what stands against the loss.

    Example:
        >>> design([500, 50, 5], target="etf").exponent
        0.5
    """

    parameterization: Parameterization
    target: str
    family: str
    exponent: float | None
    reached: float
    residual: float
    exact: bool
    reachable: tuple[float, float] | None
    warnings: tuple[str, ...]


def design(
    counts: ClassCounts | ArrayLike,
    *,
    target: str,
    family: str = "ldt",
    value: float | None = None,
    free: bool = False,
    weight_decay: float | None = None,
) -> Design:
    """Find the scales of a loss family that lead to a wanted geometry in the limit of vanishing weight decay.

    Scales have mean 1. Exact for any counts: ``label_scale`` proportional to sqrt(n) makes the classifiers a simplex
    ETF, and so their norms and their angles equal; ``class_scale * label_scale`` proportional to sqrt(n) aligns
    classifiers and class means perfectly. Otherwise the exponent of smallest size in [-3, 3] that reaches the target,
    or the one that comes nearest; free vectors by least squares from there and from random starts.

    Args:
        counts: samples a class, shape (k,).
        target: ``"etf"`` (classifiers are a simplex ETF), ``"equal_norms"`` and ``"equal_angles"`` (of classifiers),
            ``"alignment"`` (cos(w_c, h_c) = 1), ``"norm_ratio"`` (mean squared classifier norm, majority over
            minority), ``"minority_cosine"`` (mean cosine of two minority classifiers), or ``"no_collapse"`` (every
            class's collapse threshold weight * class_scale * label_scale * sqrt(n) above num_samples * weight_decay).
        family: ``"ldt"``, ``"cdt"``, ``"vs"`` (CDT with logit adjustment, tau = 1) or ``"cdt+ldt"`` (both scales, with
            one exponent).
        value: the wanted number of ``norm_ratio`` (> 0) and ``minority_cosine`` (-1 to 1).
        free: one free scale for each distinct count, in each vector of the family, instead of one exponent.
        weight_decay: of a mean loss on classifiers and embeddings; needed by ``no_collapse``, else for a warning.

    Returns:
        The loss with what it reaches; where the target is out of reach, the nearest loss found and a warning.

    Raises:
        InputError: an unknown target or family, a value missing, superfluous or out of range, balanced counts (or, for
            ``minority_cosine``, a single minority class) where the target compares majority and minority,
            ``no_collapse`` without weight decay or with free scales (which reach no further than an exponent).

    Source: Behnia et al. (2023), Corollaries 1.1 and 1.2, extended to any counts.

    Example:
        >>> counts = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)
        >>> design(counts, target="etf").parameterization == ldt(counts, gamma=0.5)
        True
        >>> round(design(counts, target="norm_ratio", value=1.2, family="cdt").exponent, 3)
        0.5
    """
    values = ClassCounts(counts)
    choice("target", target, TARGETS)
    choice("family", family, FAMILIES)
    ridge = None if weight_decay is None else ridge_from_weight_decay(weight_decay, values.num_samples)
    question = _Question(values, target, family, _wanted(values, target, value), ridge)
    if target == "no_collapse":
        if ridge is None or free:
            raise InputError(
                "target 'no_collapse' must have a weight_decay, and free=False (free scales reach no further), "
                f"got weight_decay={weight_decay} and free={free}"
            )
        return _without_collapse(question, ridge)
    exact = _exact(question, free)
    if exact is not None:
        return _design(question, exact, reached=question.wanted, residual=0.0, exact=True)
    return _by_vectors(question) if free else _by_exponent(question)


@dataclass(frozen=True)
class _Question:
    """What is asked for, and how far a loss is from it."""

    counts: ClassCounts
    target: str
    family: str
    wanted: float
    ridge: float | None

    def reached(self, loss: Parameterization) -> float:
        """The quantity of the target."""
        gram, majority = self._classifier(loss), self.counts.majority
        if self.target == "minority_cosine":
            return float(gram.block_cosines(majority)[0, 0])
        if self.target == "norm_ratio":
            squared = gram.squared_norms()
            return float(squared[majority].mean() / squared[~majority].mean())
        return _DEVIATIONS[self.target](gram).frobenius_norm()

    def gap(self, reached: float) -> float:
        """Signed distance from the target."""
        return float(np.log(reached / self.wanted)) if self.target == "norm_ratio" else reached - self.wanted

    def residuals(self, loss: Parameterization) -> Floats:
        """Vector whose Euclidean norm is the size of the gap."""
        if self.target in _DEVIATIONS:
            return _entries(_DEVIATIONS[self.target](self._classifier(loss)))
        return np.array([self.gap(self.reached(loss))])

    def power_loss(self, exponent: float) -> Parameterization:
        scale = ldt(self.counts, gamma=exponent).label_scale
        return self.loss(np.tile(scale, (len(self.vectors), 1)))

    def loss(self, scales: Floats) -> Parameterization:
        """The family's loss with the given scales, one row a vector."""
        shift = logit_adjusted(self.counts).shift if self.family == "vs" else None
        return Parameterization(shift=shift, **dict(zip(self.vectors, scales, strict=True)))

    @property
    def vectors(self) -> tuple[str, ...]:
        """Names of the vectors that the family scales."""
        return _VECTORS[self.family]

    def _classifier(self, loss: Parameterization) -> Gram:
        return limit_solution(Problem(self.counts, loss)).geometry.classifier


def _wanted(counts: ClassCounts, target: str, value: float | None) -> float:
    if target not in _VALUED:
        if value is not None:
            raise InputError(f"value must be left out for target {target!r}, got {value}")
        return 1.0 if target in ("alignment", "no_collapse") else 0.0
    if value is None:
        raise InputError(f"value must be given for target {target!r}, got None")
    minorities = int(np.count_nonzero(~counts.majority))
    needed = 2 if target == "minority_cosine" else 1
    if minorities < needed:
        raise InputError(f"counts must have at least {needed} minority classes for target {target!r}, got {minorities}")
    if target == "norm_ratio":
        return number("value", value, minimum=0, exclusive=True)
    return number("value", value, minimum=-1, maximum=1)


def _exact(question: _Question, free: bool) -> float | Parameterization | None:
    """The exponent or the loss that theory gives."""
    if question.target not in (*_DEVIATIONS, "alignment"):
        return None
    if question.counts.imbalance_ratio == 1:
        return 0.0
    if question.target == "alignment":
        return 0.5 / len(question.vectors)
    if question.family == "ldt":
        return 0.5
    return ldt(question.counts, gamma=0.5) if question.family == "cdt+ldt" and free else None


def _by_exponent(question: _Question) -> Design:
    """The root of smallest size, else the exponent that comes nearest."""

    def gap(exponent: float) -> float:
        return question.gap(question.reached(question.power_loss(exponent)))

    grid = np.linspace(-LARGEST_EXPONENT, LARGEST_EXPONENT, _POINTS)
    scanned = np.array([_reached_or_nan(question, exponent) for exponent in grid.tolist()])
    gaps = np.array([question.gap(reached) for reached in scanned])
    crossings = np.flatnonzero(gaps[:-1] * gaps[1:] <= 0).tolist()
    if crossings:
        exponent = min((float(brentq(gap, grid[i], grid[i + 1], xtol=1e-14)) for i in crossings), key=abs)
    else:
        exponent = _nearest(gap, grid, gaps)
    reached = question.reached(question.power_loss(exponent))
    reachable = float(np.nanmin([*scanned, reached])), float(np.nanmax([*scanned, reached]))
    return _design(question, exponent, reached=reached, residual=abs(question.gap(reached)), reachable=reachable)


def _reached_or_nan(question: _Question, exponent: float) -> float:
    """The quantity of the target, NaN where float64 does not hold the geometry."""
    try:
        return question.reached(question.power_loss(exponent))
    except InputError:
        return float("nan")


def _nearest(gap: Callable[[float], float], grid: Floats, gaps: Floats) -> float:
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


def _by_vectors(question: _Question) -> Design:
    """Least squares in the logarithms of the scales, relative to class 0's (the gauge).

    It has local minima: the best exponent is the first start, seeded random scales are the others.
    """
    rows, groups = len(question.vectors), group_classes(question.counts.values)
    nearest = _by_exponent(question)
    best, best_reached, smallest = nearest.parameterization, nearest.reached, nearest.residual

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
    return _design(question, best, reached=best_reached, residual=smallest)


def _without_collapse(question: _Question, ridge: float) -> Design:
    """The exponent of smallest size that lifts the smallest collapse threshold above the ridge.

    The smallest threshold rises from exponent 0 down to where all are equal, and no scales of mean 1 lift it further.
    """
    level = -0.5 / len(question.vectors)

    def lowest(exponent: float) -> float:
        return float(_thresholds(question.counts, question.power_loss(exponent)).min()) / ridge

    def clearance(exponent: float) -> float:
        return float(np.log(lowest(exponent))) - _CLEAR

    if clearance(0.0) > 0:
        exponent = 0.0
    elif clearance(level) <= 0:
        exponent = level
    else:
        exponent = float(brentq(clearance, level, 0.0, xtol=1e-14))
    reached = lowest(exponent)
    return _design(
        question,
        exponent,
        reached=reached,
        residual=max(question.wanted - reached, 0.0),
        exact=exponent == 0,
        reachable=(min(lowest(-LARGEST_EXPONENT), lowest(LARGEST_EXPONENT)), lowest(level)),
    )


def _design(
    question: _Question,
    answer: float | Parameterization,
    *,
    reached: float,
    residual: float,
    exact: bool = False,
    reachable: tuple[float, float] | None = None,
) -> Design:
    """The answer, an exponent or a loss, with its warnings."""
    exponent = None if isinstance(answer, Parameterization) else answer
    loss = answer if isinstance(answer, Parameterization) else question.power_loss(answer)
    design = Design(loss, question.target, question.family, exponent, reached, residual, exact, reachable, ())
    return replace(design, warnings=tuple(_warnings(question, design)))


def _warnings(question: _Question, design: Design) -> Iterator[str]:
    if design.residual > _MET:
        goal = f"{design.target} {question.wanted:g}" if design.target in _VALUED else design.target
        if design.exponent is None or design.reachable is None:
            yield f"No free scales of {design.family} found reach {goal}: the nearest give {design.reached:.4g}."
        else:
            low, high = design.reachable
            yield (
                f"No exponent of {design.family} in [{-LARGEST_EXPONENT:g}, {LARGEST_EXPONENT:g}] reaches {goal}: "
                f"{design.exponent:.4g}, the nearest, gives {design.reached:.4g} (reachable: {low:.4g} to {high:.4g})."
            )
    for name in question.vectors:
        scale = getattr(design.parameterization, name)
        if scale.max() > _WIDE * scale.min():
            yield f"{name} spans a factor of {scale.max() / scale.min():.2g}, above {_WIDE:g}: expect slow training."
    if question.ridge is not None:
        collapsed = int(np.count_nonzero(_thresholds(question.counts, design.parameterization) <= question.ridge))
        if collapsed:
            yield (
                f"The weight decay (ridge {question.ridge:.4g}) is at or above the collapse threshold "
                f"of {collapsed} of {question.counts.num_classes} classes."
            )


def _thresholds(counts: ClassCounts, loss: Parameterization) -> Floats:
    """Ridge from which on each class of a loss without margin collapses, shape (k,)."""
    return np.asarray(loss.weight * loss.class_scale * loss.label_scale * np.sqrt(counts.values))


def _etf_deviation(gram: Gram) -> Gram:
    etf = simplex_etf(gram.num_classes).classifier
    return gram.scaled(1 / gram.frobenius_norm()).minus(etf.scaled(1 / etf.frobenius_norm()))


def _norm_deviation(gram: Gram) -> Gram:
    logs = np.log(gram.diagonal) / 2
    centred = logs - gram.multiplicity @ logs / gram.num_classes
    nothing = np.zeros((logs.size, 0))
    return Gram(centred / np.sqrt(gram.num_classes), nothing, nothing, gram.group)


def _angle_deviation(gram: Gram) -> Gram:
    k, norms = gram.num_classes, np.sqrt(gram.diagonal)[:, None]
    cosines = Gram(np.ones_like(gram.diagonal), gram.left / norms, gram.right / norms, gram.group)
    return cosines.minus(simplex_etf(k).classifier).scaled(1 / np.sqrt(k * (k - 1)))


_DEVIATIONS: dict[str, Callable[[Gram], Gram]] = {
    "etf": _etf_deviation,
    "equal_norms": _norm_deviation,
    "equal_angles": _angle_deviation,
}
"""Matrices whose Frobenius norm says how far the classifiers are from a target."""


def _entries(gram: Gram) -> Floats:
    """Vector with the Euclidean norm of a matrix: its entries, those of equal classes once, weighted."""
    size = gram.multiplicity
    weight = np.sqrt(np.outer(size, size) - np.diag(size))
    return np.concatenate([(gram.left @ gram.right.T * weight).ravel(), np.sqrt(size) * gram.diagonal])
