"""Named losses: functions of the class counts that return a :class:`Parameterization`.

Positive exponents favour minority classes in every rule. Temperatures are powers of the relative count,
``(n_c / n_max) ** gamma``, then normalised: ``"mean"`` makes their mean 1 (the paper's experiments: they sum to k),
``"max"`` their largest 1, ``"none"`` leaves them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from implicit_geometry._validate import Floats, InputError, choice, flag, instance, number, shown, user_object
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


@dataclass(frozen=True, repr=False)
class Rule:
    """A loss that has a name, and everything that is known of it.

    A package of its own can define one: under an entry point of the group ``implicit_geometry.rules``, or named as
    ``MODULE:NAME``. Specs, sweeps, reports and the command line take it like those of :data:`RULES`.

    Args:
        function: from class counts and hyperparameters, which have annotations, to a :class:`Parameterization`.
        label: short name in tables and figures.
        exponent: the hyperparameter that the loss is plotted against; None for a loss without.
        symbol: of that hyperparameter.
        color: of its lines and markers, as hexadecimal digits.
        marker: Matplotlib's.
        axis: what that hyperparameter is called along an axis; "exponent" and its symbol where left out.
        equals_ce_at_zero: whether the loss is plain cross-entropy where that hyperparameter is 0.
        has_limit_of_ce: whether its geometry in the limit of vanishing ridge is that of plain cross-entropy.
        nonnegative: whether that hyperparameter must not be negative.

    Raises:
        InputError: ``exponent`` is no hyperparameter of the function.

    Example:
        >>> RULES["cdt"].label, RULES["cdt"].exponent, RULES["cdt"].hyperparameter_defaults()
        ('CDT', 'gamma', {'normalize': 'mean'})
        >>> def halved(counts, strength: float = 1.0) -> Parameterization:
        ...     return cdt(counts, gamma=strength / 2)
        >>> Rule(halved, "half", exponent="strength", symbol="s").value({})
        1.0
    """

    function: Callable[..., Parameterization]
    label: str
    exponent: str | None = None
    symbol: str = ""
    color: str = "#882255"
    marker: str = "X"
    axis: str = ""
    equals_ce_at_zero: bool = False
    has_limit_of_ce: bool = False
    nonnegative: bool = False

    def __post_init__(self) -> None:
        for name in ("label", "symbol", "color", "marker", "axis"):
            instance(name, getattr(self, name), str)
        for name in ("equals_ce_at_zero", "has_limit_of_ce", "nonnegative"):
            flag(name, getattr(self, name))
        if not callable(self.function):
            raise InputError(
                "function", "must be callable: it takes class counts and hyperparameters", shown(self.function)
            )
        try:
            self.hyperparameters()
        except (TypeError, ValueError, NameError) as error:
            given = f"{shown(self.function)} ({error})"
            raise InputError("function", "must take class counts and hyperparameters", given) from error
        if self.exponent is not None:
            choice("exponent", self.exponent, self.hyperparameters())
        if not self.axis:
            object.__setattr__(self, "axis", f"exponent {self.symbol or self.exponent or 0}")

    def __repr__(self) -> str:
        return f"Rule({self.label!r}, exponent={self.exponent!r})"

    def hyperparameters(self) -> dict[str, inspect.Parameter]:
        """The hyperparameters of the function, by name."""
        _, *parameters = inspect.signature(self.function, eval_str=True).parameters.values()
        return {parameter.name: parameter for parameter in parameters}

    def hyperparameter_defaults(self) -> dict[str, Any]:
        """The hyperparameters that may be left out, with their values."""
        return {
            name: parameter.default
            for name, parameter in self.hyperparameters().items()
            if parameter.default is not parameter.empty
        }

    def value(self, hyperparameters: Mapping[str, Any]) -> float:
        """The value of the hyperparameter that the loss is plotted against; 0 where there is none."""
        if self.exponent is None:
            return 0.0
        return float({**self.hyperparameter_defaults(), **hyperparameters}[self.exponent])

    def at(self, value: float, **fixed: Any) -> dict[str, Any]:
        """The hyperparameters that place the loss at a value of the one it is plotted against."""
        return fixed if self.exponent is None else {**fixed, self.exponent: value}


RULES: dict[str, Rule] = {
    "ce": Rule(ce, "CE", None, "", "#000000", "o", has_limit_of_ce=True),
    "weighted": Rule(weighted, "wCE", "gamma", "γ", "#E69F00", "v", equals_ce_at_zero=True, has_limit_of_ce=True),
    "logit_adjusted": Rule(
        logit_adjusted, "LA", "tau", "τ", "#56B4E9", "^", equals_ce_at_zero=True, has_limit_of_ce=True
    ),
    "cdt": Rule(cdt, "CDT", "gamma", "γ", "#0072B2", "o", equals_ce_at_zero=True),
    "ldt": Rule(ldt, "LDT", "gamma", "γ", "#D55E00", "s", equals_ce_at_zero=True),
    "vs": Rule(vs, "VS", "gamma", "γ", "#009E73", "D"),
    "ldam": Rule(ldam, "LDAM", "max_margin", "largest margin", "#CC79A7", "P", axis="largest margin", nonnegative=True),
}
"""The losses of this package, in the order in which tables and legends list them; Okabe and Ito's colours."""

ENTRY_POINTS = "implicit_geometry.rules"
"""Group of the entry points under which other packages define rules."""


def find_rule(name: str) -> Rule:
    """The rule of a name: one of :data:`RULES`, of an entry point, or ``MODULE:NAME``.

    Raises:
        InputError: an unknown rule (the message suggests the nearest), or a module that has none of this name.

    Example:
        >>> find_rule("cdt") is RULES["cdt"]
        True
        >>> find_rule("implicit_geometry.rules:cdt")
        Traceback (most recent call last):
        implicit_geometry._validate.InputError: rule must name a Rule of module implicit_geometry.rules, got 'cdt'
    """
    if isinstance(name, str) and name in RULES:
        return RULES[name]
    module, _, attribute = name.partition(":") if isinstance(name, str) else ("", "", "")
    if attribute:
        return user_object("rule", module, attribute, Rule, "a Rule")
    others = _entry_points()
    chosen = others[choice("rule", name, (*RULES, *others))]
    try:
        found = chosen.load()
    except Exception as error:  # whatever another package raises
        raise InputError("rule", "must be one whose package can be imported", f"{name!r} ({error})") from error
    return instance("rule", found, Rule, f"entry point {chosen.value}")


@cache
def _entry_points() -> dict[str, EntryPoint]:
    """By name; reading them costs milliseconds."""
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def in_order(rules: Iterable[str]) -> list[str]:
    """Names of rules, each once, in the order in which tables and legends list them; others after those of here.

    Example:
        >>> in_order(["vs", "ce", "vs", "cdt"])
        ['ce', 'cdt', 'vs']
    """
    known = list(RULES)
    return sorted(set(rules), key=lambda name: (known.index(name) if name in known else len(known), name))


def make_parameterization(rule: str, counts: ClassCounts | ArrayLike, **hyperparameters: Any) -> Parameterization:
    """Apply a rule by name, as specs and the command line do.

    Raises:
        InputError: an unknown rule (the message suggests the nearest), or a hyperparameter the rule does not take.

    Example:
        >>> make_parameterization("cdt", [100, 25], gamma=0.5) == cdt([100, 25], gamma=0.5)
        True
    """
    found = find_rule(rule)
    try:
        made = found.function(counts, **hyperparameters)
    except TypeError as error:
        raise InputError(
            "hyperparameters", f"must be those of rule {rule!r}", f"{hyperparameters} ({error})"
        ) from error
    return instance(f"what rule {rule!r} returns", made, Parameterization)


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
