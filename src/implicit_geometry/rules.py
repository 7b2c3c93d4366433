"""Named losses: functions of the class counts that return a :class:`Parameterization`.

Positive exponents favour minority classes in every rule. Temperatures are powers of the relative count,
``(n_c / n_max) ** gamma``, then normalised: ``"mean"`` makes their mean 1 (the paper's experiments: they sum to k),
``"max"`` their largest 1, ``"none"`` leaves them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from implicit_geometry._validate import Floats, InputError, choice, number
from implicit_geometry.counts import ClassCounts
from implicit_geometry.parameterization import Parameterization

_NORMALIZE = ("mean", "max", "none")


def ce(counts: ClassCounts | ArrayLike) -> Parameterization:
    """Plain cross-entropy.

    Example:
        >>> ce([90, 10])
        Parameterization.neutral(2)
    """
    return Parameterization.neutral(ClassCounts(counts).num_classes)


def weighted(counts: ClassCounts | ArrayLike, gamma: float = 1.0, *, normalize: str = "mean") -> Parameterization:
    """Weighted cross-entropy (wCE): ``weight = (n_c / n_max) ** -gamma``, normalised.

    ``gamma=1`` weights every class alike in total, ``gamma=0`` is plain cross-entropy.

    Raises:
        InputError: ``gamma`` is not finite, or a weight under- or overflows.

    Example:
        >>> weighted([90, 10], normalize="none").weight
        array([1., 9.])
    """
    return Parameterization(weight=_power(counts, -number("gamma", gamma), normalize))


def logit_adjusted(counts: ClassCounts | ArrayLike, tau: float = 1.0) -> Parameterization:
    """Logit adjustment (LA): ``shift = tau * log(n_c / N)``.

    Source: Menon et al. (2021), Eq. (10).

    Raises:
        InputError: ``tau`` is not finite.

    Example:
        >>> logit_adjusted([90, 10]).shift.round(3)
        array([-0.105, -2.303])
    """
    return Parameterization(shift=_log_prior(counts, tau))


def cdt(counts: ClassCounts | ArrayLike, gamma: float, *, normalize: str = "mean") -> Parameterization:
    """Class-dependent temperatures (CDT): ``class_scale = (n_c / n_max) ** gamma``, normalised.

    Source: Ye et al. (2020), Eq. (3), with a_c = 1 / class_scale; Behnia et al. (2023), Eq. (3).

    Raises:
        InputError: ``gamma`` is not finite, or a scale under- or overflows.

    Example:
        >>> cdt([100, 25], gamma=0.5, normalize="max").class_scale
        array([1. , 0.5])
    """
    return Parameterization(class_scale=_power(counts, number("gamma", gamma), normalize))


def ldt(counts: ClassCounts | ArrayLike, gamma: float, *, normalize: str = "mean") -> Parameterization:
    """Label-dependent temperatures (LDT): ``label_scale = (n_c / n_max) ** gamma``, normalised.

    At ``gamma=0.5`` the classifiers of a fully trained network form a simplex ETF whatever the imbalance.

    Source: Behnia et al. (2023), Eq. (3).

    Raises:
        InputError: ``gamma`` is not finite, or a scale under- or overflows.

    Example:
        >>> ldt([100, 25], gamma=0.5, normalize="max").label_scale
        array([1. , 0.5])
    """
    return Parameterization(label_scale=_power(counts, number("gamma", gamma), normalize))


def vs(counts: ClassCounts | ArrayLike, gamma: float, tau: float = 1.0, *, normalize: str = "mean") -> Parameterization:
    """Vector scaling (VS): CDT's ``class_scale`` with exponent ``gamma`` and LA's ``shift`` with ``tau``.

    Source: Kini et al. (2021), Eq. (2).

    Raises:
        InputError: ``gamma`` or ``tau`` is not finite, or a scale under- or overflows.

    Example:
        >>> vs([100, 25], gamma=0.5, tau=0.0, normalize="max") == cdt([100, 25], gamma=0.5, normalize="max")
        True
    """
    return Parameterization(
        class_scale=_power(counts, number("gamma", gamma), normalize), shift=_log_prior(counts, tau)
    )


def ldam(counts: ClassCounts | ArrayLike, max_margin: float = 0.5, *, scale: float = 1.0) -> Parameterization:
    """Label-distribution-aware margin (LDAM): margin proportional to ``n_c ** -0.25``, largest ``max_margin``.

    The loss is cross-entropy on ``scale * (z - m_y e_y)``. Cao et al. use ``scale=30`` with logits that are cosines;
    the default 1 suits an ordinary linear head.

    Source: Cao et al. (2019), Eqs. (12)-(13).

    Raises:
        InputError: ``max_margin`` is negative or not finite, or ``scale`` is not positive.

    Example:
        >>> ldam([16, 1], max_margin=0.5).margin
        array([0.25, 0.5 ])
    """
    values = ClassCounts(counts).values
    margin = number("max_margin", max_margin, minimum=0) * (values.min() / values) ** 0.25
    factor = number("scale", scale, minimum=0, exclusive=True)
    return Parameterization(margin=factor * margin, class_scale=np.full(values.size, factor))


RULES: dict[str, Callable[..., Parameterization]] = {
    "ce": ce,
    "weighted": weighted,
    "logit_adjusted": logit_adjusted,
    "cdt": cdt,
    "ldt": ldt,
    "vs": vs,
    "ldam": ldam,
}


def make_parameterization(rule: str, counts: ClassCounts | ArrayLike, **hyperparameters: Any) -> Parameterization:
    """Apply a rule by name, as specs and the command line do.

    Raises:
        InputError: an unknown rule (the message suggests the nearest), or a hyperparameter the rule does not take.

    Example:
        >>> make_parameterization("cdt", [100, 25], gamma=0.5) == cdt([100, 25], gamma=0.5)
        True
    """
    function = RULES[choice("rule", rule, RULES)]
    try:
        return function(counts, **hyperparameters)
    except TypeError as error:
        raise InputError(
            "hyperparameters", f"must be those of rule {rule!r}", f"{hyperparameters} ({error})"
        ) from error


def _power(counts: ClassCounts | ArrayLike, exponent: float, normalize: str) -> Floats:
    values = ClassCounts(counts).values
    log_scale = exponent * np.log(values / values.max())
    kind = choice("normalize", normalize, _NORMALIZE)
    if kind != "none":
        log_scale = log_scale - log_scale.max()
    with np.errstate(over="ignore", under="ignore"):
        scale = np.exp(log_scale)
    if kind == "mean":
        scale = scale / scale.mean()
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise InputError("gamma", "must keep (n_c / n_max) ** gamma within float64", f"an exponent of {exponent:g}")
    return np.asarray(scale)


def _log_prior(counts: ClassCounts | ArrayLike, tau: float) -> Floats:
    values = ClassCounts(counts).values
    return np.asarray(number("tau", tau) * np.log(values / values.sum()))
