"""The question (class counts, loss, ridge, head) and the answer (geometry, certificate)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from implicit_geometry._validate import Floats, InputError, Ints, flag, instance, number
from implicit_geometry.certificate import Certificate
from implicit_geometry.counts import ClassCounts
from implicit_geometry.geometry import Geometry
from implicit_geometry.parameterization import NEUTRAL, Parameterization


@dataclass(frozen=True, repr=False)
class Problem:
    """A training problem of the unconstrained-features model.

    Args:
        counts: samples a class.
        parameterization: the loss; plain cross-entropy by default.
        ridge: lambda >= 0 of ``lambda / 2 * (|W|_F^2 + |H|_F^2)`` beside the sum of the losses; 0 is the limit
            lambda -> 0. A mean loss with weight decay ``wd`` on W and H has ``ridge = num_samples * wd``.
        bias: whether the head has a bias b, added to W h.
        bias_ridge: beta >= 0 of ``beta / 2 * |b|^2`` beside the sum of the losses; 0 leaves the bias free. Weight decay
            ``wd`` on the bias too is ``bias_ridge = ridge``.

    Raises:
        InputError: counts and parameters differ in length, a ridge is negative or not finite, or a head without bias
            has a ridge on it.

    Example:
        >>> Problem(ClassCounts([50, 5])).parameterization
        Parameterization.neutral(2)
    """

    counts: ClassCounts
    parameterization: Parameterization
    ridge: float
    bias: bool
    bias_ridge: float

    def __init__(
        self,
        counts: ClassCounts | ArrayLike,
        parameterization: Parameterization | None = None,
        ridge: float = 0.0,
        bias: bool = False,
        bias_ridge: float = 0.0,
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

    def __repr__(self) -> str:
        parts = [repr(self.counts), f"loss with {', '.join(self.parameterization.effects()) or 'nothing set'}"]
        parts += [f"{name}={getattr(self, name):g}" for name in ("ridge", "bias_ridge") if getattr(self, name)]
        return f"Problem({', '.join([*parts, 'bias=True'] if self.bias else parts)})"

    @property
    def num_classes(self) -> int:
        """Number of classes k."""
        return self.counts.num_classes

    @property
    def free_bias(self) -> bool:
        """Whether the head has a bias without ridge."""
        return self.bias and self.bias_ridge == 0


def require_problem(value: Any) -> None:
    """Refuse what is no :class:`Problem`, such as bare counts."""
    instance("problem", value, Problem, "Problem(counts) makes one of class counts")


@dataclass(frozen=True, eq=False)
class NormError:
    """Proven bounds of how far squared norms can be from those of the optimum, relative to what is stated.

    They are infinite where nothing is known: for classes whose norms are tiny beside the largest, with strong
    temperatures at a tiny ridge. Most errors are smaller by several digits.

    Args:
        classifier_rows: of the squared norms of the classifiers, one per kind of classes, shape (G,).
        embedding_rows: of those of the class-mean embeddings, shape (G,).
        group: row of each class, shape (k,).

    Example:
        >>> from implicit_geometry.theory.predict import predict
        >>> bool(predict(Problem([50, 5], ridge=1e-3)).norm_error.classifier.max() < 1e-4)
        True
    """

    classifier_rows: Floats
    embedding_rows: Floats
    group: Ints

    @property
    def classifier(self) -> Floats:
        """Of the squared norms of the classifiers, shape (k,)."""
        return self.classifier_rows[self.group]

    @property
    def embedding(self) -> Floats:
        """Of the squared norms of the class-mean embeddings, shape (k,)."""
        return self.embedding_rows[self.group]

    def uncertain(self, tolerance: float = 0.01) -> NDArray[np.bool_]:
        """Classes one of whose squared norms is not proven to the tolerance, shape (k,)."""
        return np.asarray(np.maximum(self.classifier_rows, self.embedding_rows) > tolerance)[self.group]


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
        """How far the squared norms can be from those of the optimum at a positive ridge; ``None`` in the limit."""
        return None if self.norm_proof is None else self.norm_proof()

    def __repr__(self) -> str:
        problem, certificate = self.problem, self.certificate
        return (
            f"Solution(num_classes={problem.num_classes}, ridge={problem.ridge:g}, bias={problem.bias}, "
            f"status={certificate.status.value!r}, relative_gap={certificate.relative_gap:.1e})"
        )


@dataclass(frozen=True)
class ClassGroups:
    """Classes that no quantity of a problem tells apart, gathered.

    Attributes:
        size: classes of each group, shape (G,).
        group: group of each class, shape (k,).
        first: one class of each group, shape (G,); index any per-class vector with it.
    """

    size: Floats
    group: Ints
    first: Ints


def group_classes(*vectors: Floats | Ints) -> ClassGroups:
    """Gather the classes that agree in every given per-class vector (groups in order of first appearance)."""
    group = np.zeros(len(vectors[0]), dtype=np.int64)
    for vector in vectors:
        code = np.unique(vector, return_inverse=True)[1]
        group = group * np.int64(code.max() + 1) + code
        group = np.unique(group, return_inverse=True)[1]
    first = np.unique(group, return_index=True)[1]
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    group = rank[group]
    group.setflags(write=False)
    return ClassGroups(np.bincount(group).astype(np.float64), group, first[order])


def varying_vectors(problem: Problem, names: tuple[str, ...] = tuple(NEUTRAL)) -> list[Floats | Ints]:
    """The counts and the named parameters that are not constant: what can tell classes apart."""
    parameters = [getattr(problem.parameterization, name) for name in names]
    return [problem.counts.values, *(vector for vector in parameters if vector.min() != vector.max())]
