"""Losses designed backwards: a wanted geometry in, the scales of the loss that leads there out.

With delta = ``class_scale``, Delta = ``label_scale`` and s_c = sqrt(n_c) / (delta_c Delta_c), the limit of vanishing
weight decay is X* = (I - v v^T) diag(s), v along 1 / delta. Constant s makes X* symmetric, which aligns every
classifier with its class mean; constant delta as well makes the classifiers a simplex ETF. With a free bias it is
X* = (I - v v^T) diag(s) (I - r r^T), r along sqrt(n) (where that is the optimum): v = r, that is delta proportional to
1 / sqrt(n), makes it symmetric for any Delta; no scales are known that make an ETF of unequal counts. That settles some
targets for any counts; the others are searched for in :mod:`implicit_geometry.theory.design_search`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from implicit_geometry._validate import Floats, InputError, choice, flag, number
from implicit_geometry.counts import ClassCounts
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem
from implicit_geometry.rules import ldt
from implicit_geometry.theory.collapse import class_thresholds
from implicit_geometry.theory.design_search import (
    DEVIATIONS,
    FAMILIES,
    LARGEST_EXPONENT,
    Found,
    Question,
    nearest_exponent,
    nearest_vectors,
)
from implicit_geometry.theory.ridge.plain import ridge_from_weight_decay

TARGETS = ("etf", "equal_norms", "equal_angles", "alignment", "norm_ratio", "minority_cosine", "no_collapse")
"""What can be asked for."""

_VALUED = ("norm_ratio", "minority_cosine")
_MET = 1e-6  # residual up to which a target counts as reached
_CLEAR = 1e-9  # relative distance kept from a collapse threshold
_WIDE = 1e3  # ratio of scales that is warned of


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        return (
            f"Design(target={self.target!r}, family={self.family!r}, exponent={self.exponent}, "
            f"reached={self.reached:.4g}, residual={self.residual:.1e}, exact={self.exact}, "
            f"{len(self.warnings)} warnings)"
        )


def design(
    counts: ClassCounts | ArrayLike,
    *,
    target: str,
    family: str = "ldt",
    value: float | None = None,
    free: bool = False,
    weight_decay: float | None = None,
    bias: bool = False,
    label_smoothing: float = 0.0,
    count_exponent: float = 1.0,
) -> Design:
    """Find the scales of a loss family that lead to a wanted geometry in the limit of vanishing weight decay.

    Scales have mean 1. Exact for any counts: ``label_scale`` proportional to sqrt(n) makes the classifiers a simplex
    ETF, and so their norms and their angles equal; ``class_scale * label_scale`` proportional to sqrt(n) aligns
    classifiers and class means perfectly. With a free bias, ``class_scale`` proportional to 1 / sqrt(n) does, and
    an ETF is searched for unless the counts are equal. Otherwise the exponent of smallest size in [-3, 3] that reaches
    the target, or the one that comes nearest; free vectors by least squares from there and from random starts.

    A symmetric geometry is not by itself one that generalises: in the study of test accuracy (docs/accuracy.md) the
    distance to the ETF has no clear correlation with it, and losses that shift the logits win under strong imbalance.

    Args:
        counts: samples per class, shape (k,).
        target: ``"etf"`` (classifiers are a simplex ETF), ``"equal_norms"`` and ``"equal_angles"`` (of classifiers),
            ``"alignment"`` (cos(w_c, h_c) = 1), ``"norm_ratio"`` (mean squared classifier norm, majority over
            minority), ``"minority_cosine"`` (mean cosine of two minority classifiers), or ``"no_collapse"`` (every
            class's ``ridge`` of :func:`collapse_thresholds` above num_samples * weight_decay, just: ask for a larger
            weight decay to stay clear of it).
        family: ``"ldt"``, ``"cdt"``, ``"vs"`` (CDT with logit adjustment, tau = 1) or ``"cdt+ldt"`` (both scales, with
            one exponent).
        value: the wanted number of ``norm_ratio`` (> 0) and ``minority_cosine`` (-1 to 1).
        free: one free scale for each distinct count, in each vector of the family, instead of one exponent.
        weight_decay: of a mean loss on classifiers and embeddings; needed by ``no_collapse``, else for a warning.
        bias: whether the head has a free bias (one with weight decay of its own has the limit of a head without).
        label_smoothing: eps of smoothed labels; what it changes are the ``"vs"`` family, whose shift no longer drops
            out, and the collapse thresholds.
        count_exponent: a where the embeddings of a class cost n^a (see :class:`Problem`); sqrt(n) is n^(a / 2) then.

    Returns:
        The loss with what it reaches; where the target is out of reach, the nearest loss found and a warning.

    Raises:
        InputError: an unknown target or family, a value missing, superfluous or out of range, balanced counts (or, for
            ``minority_cosine``, a single minority class) where the target compares majority and minority,
            ``no_collapse`` without weight decay or with free scales (which reach no further than an exponent),
            ``alignment`` by the family ``"ldt"`` for a head with a bias, which ``class_scale`` alone can align, or a
            head with a bias and more kinds of classes than its limit can be computed for.

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
    flag("free", free)
    if flag("bias", bias) and target == "alignment" and family == "ldt":
        raise InputError("family", "must scale classes (cdt, vs or cdt+ldt) to align a head with a bias", "ldt")
    smoothing = Problem(values, label_smoothing=label_smoothing).label_smoothing
    if smoothing and target == "alignment" and family == "vs":
        raise InputError("family", "must have no shift (ldt, cdt or cdt+ldt) to be aligned with smoothed labels", "vs")
    ridge = None if weight_decay is None else ridge_from_weight_decay(weight_decay, values.num_samples)
    wanted = _wanted(values, target, value)
    question = Question(values, target, family, wanted, bias, smoothing, number("count_exponent", count_exponent))
    if target == "no_collapse":
        if ridge is None or free:
            raise InputError(
                "target 'no_collapse'",
                "must have a weight_decay, and free=False (free scales reach no further)",
                f"weight_decay={weight_decay} and free={free}",
            )
        return _without_collapse(question, ridge)
    exact = _exact(question, free)
    if exact is not None:
        return _design(question, exact, ridge, residual=0.0, exact=True)
    found = nearest_vectors(question) if free else nearest_exponent(question)
    return _design(question, found, ridge, residual=abs(question.gap(found.reached)))


def _wanted(counts: ClassCounts, target: str, value: float | None) -> float:
    if target not in _VALUED:
        if value is not None:
            raise InputError("value", f"must be left out for target {target!r}", value)
        return 1.0 if target in ("alignment", "no_collapse") else 0.0
    if value is None:
        raise InputError("value", f"must be given for target {target!r}", "None")
    minorities = int(np.count_nonzero(~counts.majority))
    needed = 2 if target == "minority_cosine" else 1
    if minorities < needed:
        raise InputError("counts", f"must have at least {needed} minority classes for target {target!r}", minorities)
    if target == "norm_ratio":
        return number("value", value, minimum=0, exclusive=True)
    return number("value", value, minimum=-1, maximum=1)


def _exact(question: Question, free: bool) -> Found | None:
    """The loss that theory gives."""
    counts, family = question.counts, question.family
    if question.target not in (*DEVIATIONS, "alignment"):
        return None
    half = 0.5 * question.count_exponent  # the embeddings' price is sqrt(m) = n^half in s
    balanced = counts.imbalance_ratio == 1
    if question.label_smoothing and family == "vs" and not balanced:  # the shift does not drop out
        return None
    if balanced or half == 0:
        exponent = 0.0
    elif question.bias:
        if question.target != "alignment":
            return None
        exponent = -half
    elif question.target == "alignment":
        exponent = half / len(question.vectors)
    elif family == "ldt":
        exponent = half
    elif family == "cdt+ldt" and free:
        return Found(ldt(counts, gamma=half), None, question.wanted, None)
    else:
        return None
    return Found(question.power_loss(exponent), exponent, question.wanted, None)


def _without_collapse(question: Question, ridge: float) -> Design:
    """The exponent of smallest size that lifts the smallest collapse threshold above the ridge.

    The smallest threshold rises from exponent 0 down to where all are equal, and no scales of mean 1 lift it further.
    """
    level = -(1 - 0.5 * question.count_exponent) / len(question.vectors)

    def lowest(exponent: float) -> float:
        return float(_thresholds(question, question.power_loss(exponent)).min()) / ridge

    def clearance(exponent: float) -> float:
        return float(np.log(lowest(exponent))) - _CLEAR

    if clearance(0.0) > 0:
        exponent = 0.0
    elif clearance(level) <= 0:
        exponent = level
    else:
        exponent = float(brentq(clearance, level, 0.0, xtol=1e-14))
    reachable = min(lowest(-LARGEST_EXPONENT), lowest(LARGEST_EXPONENT)), lowest(level)
    found = Found(question.power_loss(exponent), exponent, lowest(exponent), reachable)
    return _design(question, found, ridge, residual=max(question.wanted - found.reached, 0.0), exact=exponent == 0)


def _thresholds(question: Question, loss: Parameterization) -> Floats:
    return class_thresholds(question.problem(loss))


def _design(question: Question, found: Found, ridge: float | None, *, residual: float, exact: bool = False) -> Design:
    """What was found, with its warnings."""
    loss, exponent, reached, reachable = found
    design = Design(loss, question.target, question.family, exponent, reached, residual, exact, reachable, ())
    return replace(design, warnings=tuple(_warnings(question, design, ridge)))


def _warnings(question: Question, design: Design, ridge: float | None) -> Iterator[str]:
    if design.residual > _MET:
        yield _out_of_reach(question, design)
    for name in question.vectors:
        scale = getattr(design.parameterization, name)
        if scale.max() > _WIDE * scale.min():
            yield f"{name} spans a factor of {scale.max() / scale.min():.2g}, above {_WIDE:g}: expect slow training."
    if ridge is not None:
        collapsed = int(np.count_nonzero(_thresholds(question, design.parameterization) <= ridge))
        if collapsed:
            yield (
                f"The weight decay (ridge {ridge:.4g}) is at or above the collapse threshold "
                f"of {collapsed} of {question.counts.num_classes} classes."
            )


def _out_of_reach(question: Question, design: Design) -> str:
    if design.target == "no_collapse":
        return (
            f"No scales of {design.family} with mean 1 keep every class apart at this weight decay: "
            f"they stand up to {design.reached:.4g} times it, with exponent {design.exponent:.4g}."
        )
    goal = f"{design.target} {question.wanted:g}" if design.target in _VALUED else design.target
    if design.exponent is None or design.reachable is None:
        return f"No free scales of {design.family} found reach {goal}: the nearest give {design.reached:.4g}."
    low, high = design.reachable
    return (
        f"No exponent of {design.family} in [{-LARGEST_EXPONENT:g}, {LARGEST_EXPONENT:g}] reaches {goal}: "
        f"{design.exponent:.4g}, the nearest, gives {design.reached:.4g} (reachable: {low:.4g} to {high:.4g})."
    )
