"""The question (class counts, loss, ridge, head) and the answer (geometry, certificate)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from implicit_geometry._validate import (
    Floats,
    InputError,
    choice,
    class_vector,
    flag,
    frozen,
    instance,
    number,
    numeric_array,
)
from implicit_geometry.certificate import Certificate, NormError
from implicit_geometry.counts import ClassCounts
from implicit_geometry.geometry import Geometry
from implicit_geometry.parameterization import Parameterization

FEATURES = ("free", "nonnegative")
"""What embeddings may be."""

_NUMBERS = ("ridge", "bias_ridge", "label_smoothing")
_LARGEST_COST = 1e100
_LEAST_SHARE = 1e-100  # of a label on a class; below, shares times weights leave float64
_SUMS_TO_ONE = 1e-6  # but for rounding in float32


@dataclass(frozen=True, eq=False, repr=False)
class Problem:
    """A training problem of the unconstrained-features model.

    Args:
        counts: samples per class.
        parameterization: the loss; plain cross-entropy by default.
        ridge: lambda >= 0 of ``lambda / 2 * (|W|_F^2 + |H|_F^2)`` beside the sum of the losses; 0 is the limit
            lambda -> 0. A mean loss with weight decay ``wd`` on W and H has ``ridge = num_samples * wd``.
        bias: whether the head has a bias b, added to W h.
        bias_ridge: beta >= 0 of ``beta / 2 * |b|^2`` beside the sum of the losses; 0 leaves the bias free. Weight decay
            ``wd`` on the bias too is ``bias_ridge = ridge``.
        label_smoothing: eps of the smoothed labels, 1 - eps + eps / k for the label and eps / k for every other class,
            in [0, 1). As in torch, ``weight`` then multiplies each class's term of the loss, and label scales and
            margins are those of the hard label.
        label_distribution: any distributions of the labels in place of smoothed ones: row y has the shares, all
            positive, that the labels of the samples of class y have on every class, shape (k, k). Rows are divided by
            their sums.
        features: ``"free"``, or ``"nonnegative"`` for embeddings that cannot be negative, as those behind a ReLU.
        count_exponent: a of the effective counts n_c^a that the embeddings of a class cost: the regulariser is
            ``lambda / 2 * (|W|_F^2 + sum_c n_c^a |h_c|^2)``. 1 is one price per sample; 0, where weight decay acts on
            the map that makes the features, the same price for every class.
        embedding_cost: any prices m_c > 0 in place of n_c^a, shape (k,).

    Raises:
        InputError: counts and parameters differ in length, a ridge is negative or not finite, a head without bias has a
            ridge on it, labels are smoothed by less than 0, by 1 and more, or by less than 1e-100 but not 0, a label
            distribution is not k x k, has shares below 1e-100, rows that do not sum to 1, or stands beside smoothed
            labels, prices are not positive, beyond 1e100 or below its inverse, both prices and a count exponent are
            given, or features are neither.

    Source: Behnia et al. (2023), Section 2, whose embeddings cost n_c |h_c|^2.

    Example:
        >>> Problem(ClassCounts([50, 5])).parameterization
        Parameterization.neutral(2)
    """

    counts: ClassCounts
    parameterization: Parameterization
    ridge: float
    bias: bool
    bias_ridge: float
    label_smoothing: float
    features: str
    embedding_cost: Floats
    label_distribution: Floats | None

    def __init__(
        self,
        counts: ClassCounts | ArrayLike,
        parameterization: Parameterization | None = None,
        ridge: float = 0.0,
        bias: bool = False,
        bias_ridge: float = 0.0,
        label_smoothing: float = 0.0,
        features: str = "free",
        count_exponent: float = 1.0,
        embedding_cost: ArrayLike | None = None,
        label_distribution: ArrayLike | None = None,
    ) -> None:
        values = ClassCounts(counts)
        parameters = Parameterization.neutral(values.num_classes) if parameterization is None else parameterization
        instance("parameterization", parameters, Parameterization, "a rule of the counts, such as cdt, returns one")
        if parameters.num_classes != values.num_classes:
            raise InputError(
                "parameterization", f"must cover the {values.num_classes} classes of counts", parameters.num_classes
            )
        object.__setattr__(self, "counts", values)
        object.__setattr__(self, "parameterization", parameters)
        object.__setattr__(self, "ridge", number("ridge", ridge, minimum=0.0))
        object.__setattr__(self, "bias", flag("bias", bias))
        object.__setattr__(self, "bias_ridge", number("bias_ridge", bias_ridge, minimum=0.0))
        if self.bias_ridge > 0 and not self.bias:
            raise InputError("bias_ridge", "must be 0 for a head without bias", f"{self.bias_ridge:g}")
        smoothing = number("label_smoothing", label_smoothing, minimum=0.0, maximum=1.0)
        if smoothing == 1:
            raise InputError("label_smoothing", "must be below 1, where labels say nothing", "1")
        if 0 < smoothing < _LEAST_SHARE:
            raise InputError("label_smoothing", f"must be 0 or at least {_LEAST_SHARE:g}", f"{smoothing:g}")
        if smoothing and label_distribution is not None:
            raise InputError("label_smoothing", "must be 0 beside a label_distribution", f"{smoothing:g}")
        object.__setattr__(self, "label_smoothing", smoothing)
        object.__setattr__(self, "features", choice("features", features, FEATURES))
        object.__setattr__(self, "embedding_cost", _prices(values, count_exponent, embedding_cost))
        object.__setattr__(self, "label_distribution", _distribution(values.num_classes, label_distribution))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[Any, ...]:
        numbers = self.ridge, self.bias, self.bias_ridge, self.label_smoothing, self.features
        labels = None if self.label_distribution is None else self.label_distribution.tobytes()
        return self.counts, self.parameterization, *numbers, self.embedding_cost.tobytes(), labels

    def __repr__(self) -> str:
        parts = [repr(self.counts), f"loss with {', '.join(self.parameterization.effects()) or 'nothing set'}"]
        parts += [f"{name}={getattr(self, name):g}" for name in _NUMBERS if getattr(self, name)]
        parts += ["bias=True"] if self.bias else []
        parts += [] if self.label_distribution is None else ["label_distribution given"]
        parts += [] if self.features == "free" else [f"features={self.features!r}"]
        parts += [] if self.pays_per_sample else ["embedding_cost not the counts"]
        return f"Problem({', '.join(parts)})"

    @property
    def num_classes(self) -> int:
        """Number of classes k."""
        return self.counts.num_classes

    @property
    def pays_per_sample(self) -> bool:
        """Whether the embeddings of a class cost as much as it has samples."""
        return bool((self.embedding_cost == self.counts.values).all())

    @property
    def soft_labels(self) -> bool:
        """Whether every label has a share on every class, so that logits of smallest loss are finite."""
        return self.label_smoothing > 0 or self.label_distribution is not None

    @property
    def free_bias(self) -> bool:
        """Whether the head has a bias without ridge."""
        return self.bias and self.bias_ridge == 0

    @property
    def relative_bias_ridge(self) -> float:
        """The ridge of the bias over that of the rest: ``bias_ridge / ridge``, or 1 where only the former is positive.

        It is what stays where one looks for a ridge: 0 for a free bias, 1 for the same weight decay on all.
        """
        return self.bias_ridge / self.ridge if self.ridge else float(self.bias_ridge > 0)

    def at_ridge(self, ridge: float) -> Problem:
        """The same at a positive ridge; that of the bias keeps :attr:`relative_bias_ridge`.

        Example:
            >>> Problem([50, 5], bias=True, bias_ridge=1.0).at_ridge(0.1)
            Problem(ClassCounts([50, 5]), loss with nothing set, ridge=0.1, bias_ridge=0.1, bias=True)
        """
        return replace(self, ridge=ridge, bias_ridge=self.relative_bias_ridge * ridge)

    def at_count_exponent(self, count_exponent: float) -> Problem:
        """The same with embeddings that cost n^a.

        Example:
            >>> Problem([9, 4]).at_count_exponent(0.5).embedding_cost.tolist()
            [3.0, 2.0]
        """
        return replace(self, embedding_cost=_prices(self.counts, count_exponent, None))


def _prices(counts: ClassCounts, exponent: float, cost: ArrayLike | None) -> Floats:
    """The price m_c of the embeddings of each class."""
    power = number("count_exponent", exponent)
    if cost is None:
        with np.errstate(over="ignore", under="ignore"):
            prices = counts.values.astype(np.float64) if power == 1 else counts.values.astype(np.float64) ** power
        name, given = "count_exponent", f"{power:g}"
    elif power != 1:
        raise InputError("count_exponent", "must be left out where embedding_cost is given", f"{power:g}")
    else:
        prices = class_vector("embedding_cost", cost, positive=True)
        if prices.size != counts.num_classes:
            raise InputError("embedding_cost", f"must have {counts.num_classes} entries", prices.size)
        name, given = "embedding_cost", f"{prices.min():g} to {prices.max():g}"
    if not (prices.min() >= 1 / _LARGEST_COST and prices.max() <= _LARGEST_COST):
        raise InputError(name, f"must keep the prices within {1 / _LARGEST_COST:g} and {_LARGEST_COST:g}", given)
    return frozen(prices)


def _distribution(num_classes: int, rows: ArrayLike | None) -> Floats | None:
    """The shares of the labels of every class, one row per class."""
    if rows is None:
        return None
    name, k = "label_distribution", num_classes
    shares = numeric_array(name, rows)
    if shares.shape != (k, k):
        raise InputError(name, f"must have shape ({k}, {k}), one row per class", shares.shape)
    if not shares.min() >= _LEAST_SHARE:
        row, column = np.unravel_index(int(shares.argmin()), shares.shape)
        raise InputError(
            name,
            f"must be at least {_LEAST_SHARE:g} everywhere, as without full support no finite logits have the "
            "smallest loss",
            f"{shares.min():g} for class {column} in row {row}",
        )
    sums = shares.sum(axis=1, keepdims=True)
    if not (np.abs(sums - 1) <= _SUMS_TO_ONE).all():
        worst = int(np.abs(sums - 1).argmax())
        raise InputError(name, "must have rows that sum to 1", f"{sums[worst, 0]:g} in row {worst}")
    return frozen(shares / sums)


def as_problem(counts: ClassCounts | ArrayLike | Problem, parameterization: Parameterization | None) -> Problem:
    """The problem that is given, or that of counts and a loss."""
    if not isinstance(counts, Problem):
        return Problem(counts, parameterization)
    if parameterization is not None:
        raise InputError("parameterization", "must be left out where a Problem is given, which has one", "one")
    return counts


def require_problem(value: Any) -> None:
    """Refuse what is no :class:`Problem`, such as bare counts."""
    instance("problem", value, Problem, "Problem(counts) makes one of class counts")


def require_free_features(problem: Problem, where: str) -> None:
    """Refuse nonnegative features for a method that knows free ones only."""
    if problem.features != "free":
        raise InputError("features", f"must be 'free' for {where}", repr(problem.features))


def require_hard_labels(problem: Problem, where: str) -> None:
    """Refuse soft labels for a method that knows hard ones only."""
    if problem.label_smoothing:
        raise InputError("label_smoothing", f"must be 0 for {where}", f"{problem.label_smoothing:g}")
    require_no_distribution(problem, where)


def require_no_distribution(problem: Problem, where: str) -> None:
    """Refuse label distributions for a method that knows hard and smoothed labels only."""
    if problem.label_distribution is not None:
        raise InputError("label_distribution", f"must be left out for {where}", "one")


@dataclass(frozen=True, repr=False)
class Solution:
    """The geometry a problem leads to, and the certificate that says how far it is proven.

    Attributes:
        problem: what was solved.
        geometry: classifiers, class-mean embeddings and mean logits.
        certificate: bounds of the optimum, their gap and the status.
        bias: b of a head with one, shape (k,), ``None`` without. The mean logits of a class are those of
            ``geometry.cross`` plus b. Of all b of equal loss it is the one with sum_c b_c / class_scale_c = 0.
        norm_proof: what :attr:`norm_error` is computed by.

    With soft labels the bounds of the certificate are those of the objective less the entropy of the labels, and
    the limit has an absolute scale: the mean logits are those of the smallest loss.

    Example:
        >>> from implicit_geometry.theory.predict import predict
        >>> predict(Problem([50, 5])).certificate.status.value
        'optimal'
    """

    problem: Problem
    geometry: Geometry
    certificate: Certificate
    bias: Floats | None = field(default=None, compare=False)
    norm_proof: Callable[[], NormError] | None = field(default=None, compare=False)

    @cached_property
    def norm_error(self) -> NormError | None:
        """How far the squared norms can be from those of the optimum at a positive ridge of hard labels, else None."""
        return None if self.norm_proof is None else self.norm_proof()

    def __repr__(self) -> str:
        problem, certificate = self.problem, self.certificate
        return (
            f"Solution(num_classes={problem.num_classes}, ridge={problem.ridge:g}, bias={problem.bias}, "
            f"status={certificate.status.value!r}, relative_gap={certificate.relative_gap:.1e})"
        )
