"""The value that theory, solvers and measurement all return: classifiers, class-mean embeddings and mean logits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from implicit_geometry._validate import Floats, InputError, class_index, class_number, instance
from implicit_geometry.gram import Gram
from implicit_geometry.lowrank import LowRank, factored, finite_array, refuse_lost_digits

_OF_A_GRAM = {
    "norms": "classifier_norms and embedding_norms are those of its rows and columns",
    "squared_norms": "classifier_norms and embedding_norms are those of its rows and columns",
    "block_cosines": "cosine(c, y) and alignment() are its angles",
    "block_summary": "summaries are of geometry.classifier and geometry.embedding",
}
_LARGEST_COSINE = 1 + 1e-6  # beyond, the mean logit is below the rounding of the logits


@dataclass(frozen=True, eq=False, repr=False)
class Cross(LowRank):
    """The mean logits W H^T: row c for the classifier w_c, column y for the class-mean embedding h_y.

    Args:
        diagonal: w_c . h_c, as in :class:`LowRank`, as are ``left``, ``right`` and ``group``.
        classifier_norms: norms of the w_c, shape (k,).
        embedding_norms: norms of the h_y, shape (k,).

    Raises:
        InputError: the parts are none of a matrix, or the norms are not one finite number >= 0 for each class.

    Example:
        >>> cross = Cross.from_factors([[3.0, 4.0], [0.0, 2.0]], [[5.0, 0.0], [0.0, 1.0]])
        >>> cross.entry(0, 1), cross.cosine(0, 1), cross.alignment()
        (4.0, 0.8, array([0.6, 1. ]))
    """

    classifier_norms: Floats
    embedding_norms: Floats

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("classifier_norms", "embedding_norms"):
            norms = finite_array(name, getattr(self, name))
            if norms.shape != self.group.shape or norms.min() < 0:
                raise InputError(name, f"must hold {self.num_classes} norms >= 0", f"shape {norms.shape}")
            object.__setattr__(self, name, norms)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Say what stands in the place of a Gram matrix's methods, which this block had once."""
            if name in _OF_A_GRAM:
                raise AttributeError(f"the cross block has no {name}: {_OF_A_GRAM[name]}")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @classmethod
    def from_factors(cls, classifier: ArrayLike, embedding: ArrayLike) -> Cross:
        """The mean logits of given vectors: classifiers (k, d) and class-mean embeddings (k, d).

        Raises:
            InputError: as :meth:`Geometry.from_factors`.
        """
        return Geometry.from_factors(classifier, embedding).cross

    def entry(self, c: int, y: int) -> float:
        """The mean logit of class ``c`` over the samples of class ``y``, w_c . h_y.

        Raises:
            InputError: a class is out of range.
        """
        return self._entry(*(class_index(name, index, self.num_classes) for name, index in (("c", c), ("y", y))))

    def cosine(self, c: int, y: int) -> float:
        """Cosine of the angle between w_c and h_y (NaN where one is zero).

        Raises:
            InputError: a class is out of range, or rounding leaves no six digits of the cosine.
        """
        inner = self.entry(c, y)
        norms = float(self.classifier_norms[c]), float(self.embedding_norms[y])
        if min(norms) == 0:
            return float("nan")
        cosine = inner / norms[0] / norms[1]
        if abs(cosine) > _LARGEST_COSINE:
            raise InputError("classes", "must have a mean logit that its norms allow", f"a cosine of {cosine:.3g}")
        if c != y:
            terms = float(np.abs(self.left[self.group[c]]) @ np.abs(self.right[self.group[y]]))
            refuse_lost_digits(terms / norms[0] / norms[1])
        return cosine

    def alignment(self) -> Floats:
        """Cosine of w_c and h_c for every class, shape (k,) (NaN where one is zero, or so small that it is lost)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            cosines = self.diagonal[self.group] / self.classifier_norms / self.embedding_norms
        return np.where(np.abs(cosines) <= _LARGEST_COSINE, cosines, np.nan)

    @property
    def _parts(self) -> tuple[NDArray[Any], ...]:
        return *super()._parts, self.classifier_norms, self.embedding_norms


@dataclass(frozen=True, repr=False)
class Geometry:
    """Three k x k blocks of inner products of the classifiers w_c and the class-mean embeddings h_c.

    Args:
        classifier: W W^T.
        embedding: H H^T, H one class mean per row.
        cross: W H^T; entry (c, y) is the mean logit of class c over the samples of class y. Any :class:`LowRank`; it
            becomes a :class:`Cross` with the norms of the other two blocks.

    Raises:
        InputError: a block is of another type, or they differ in their number of classes.

    Example:
        >>> etf = simplex_etf(10)
        >>> round(etf.classifier.cosine(0, 9), 6), round(float(etf.alignment()[0]), 6)
        (-0.111111, 1.0)
    """

    classifier: Gram
    embedding: Gram
    cross: Cross

    def __init__(self, classifier: Gram, embedding: Gram, cross: LowRank) -> None:
        for name, block, kind in (
            ("classifier", classifier, Gram),
            ("embedding", embedding, Gram),
            ("cross", cross, LowRank),
        ):
            instance(name, block, kind)
        sizes = {"classifier": classifier.num_classes, "embedding": embedding.num_classes, "cross": cross.num_classes}
        if len(set(sizes.values())) != 1:
            raise InputError("blocks", "must have one common number of classes", sizes)
        object.__setattr__(self, "classifier", classifier)
        object.__setattr__(self, "embedding", embedding)
        parts = cross.diagonal, cross.left, cross.right, cross.group
        object.__setattr__(self, "cross", Cross(*parts, classifier.norms(), embedding.norms()))

    def __repr__(self) -> str:
        return f"Geometry(num_classes={self.num_classes})"

    @classmethod
    def from_factors(cls, classifier: ArrayLike, embedding: ArrayLike) -> Geometry:
        """The geometry of given vectors: classifiers (k, d) and class-mean embeddings (k, d).

        Raises:
            InputError: a factor is not a finite matrix, their shapes differ, or a vector is neither zero nor of a size
                whose square float64 holds.
        """
        cross = LowRank(*factored(classifier, embedding, ("classifier", "embedding")))
        return cls(Gram.from_factors(cross.left), Gram.from_factors(cross.right), cross)

    @property
    def num_classes(self) -> int:
        """Number of classes k."""
        return self.classifier.num_classes

    def subset(self, classes: ArrayLike) -> Geometry:
        """The geometry of some of the classes, in the order given.

        Raises:
            InputError: ``classes`` are not class indices.

        Example:
            >>> simplex_etf(4).subset([0, 3]).num_classes
            2
        """
        return Geometry(*(getattr(self, name).subset(classes) for name in ("classifier", "embedding", "cross")))

    def alignment(self) -> Floats:
        """Cosine between classifier and class-mean embedding of every class, shape (k,) (NaN where one is zero)."""
        return self.cross.alignment()


def mean_geometry(geometries: Iterable[Geometry]) -> Geometry:
    """The mean of geometries over the same classes, each scaled so that W W^T and H H^T have unit Frobenius norm.

    Of networks whose seeds assign the classes to the counts in a random order it is what counts and loss make of a
    class; what a class itself adds averages out.

    Raises:
        InputError: there is none, one is no :class:`Geometry` or is zero, or the numbers of classes differ.

    Example:
        >>> round(mean_geometry([simplex_etf(4), simplex_etf(4)]).classifier.cosine(0, 1), 6)
        -0.333333
    """
    try:
        given = [instance("geometries", geometry, Geometry) for geometry in geometries]
    except TypeError as error:
        raise InputError("geometries", "must be geometries", type(geometries).__name__) from error
    if len({geometry.num_classes for geometry in given}) != 1:
        sizes = [geometry.num_classes for geometry in given][:10]
        raise InputError("geometries", "must be at least one, all with the same number of classes", sizes)
    scales = [_unit_scales(geometry) for geometry in given]
    classifier = _mean([g.classifier.scaled(w) for g, (w, _) in zip(given, scales, strict=True)])
    embedding = _mean([g.embedding.scaled(h) for g, (_, h) in zip(given, scales, strict=True)])
    cross = _mean([g.cross.scaled(np.sqrt(w) * np.sqrt(h)) for g, (w, h) in zip(given, scales, strict=True)])
    w, h = (Gram(block.diagonal, block.left, block.right, block.group) for block in (classifier, embedding))
    return Geometry(w, h, cross)


def _unit_scales(geometry: Geometry) -> tuple[float, float]:
    norms = geometry.classifier.frobenius_norm(), geometry.embedding.frobenius_norm()
    if min(norms) < np.finfo(np.float64).tiny:
        raise InputError("geometries", "must have classifiers and embeddings that are not zero", "zeros")
    return 1 / norms[0], 1 / norms[1]


def _mean(blocks: Sequence[LowRank]) -> LowRank:
    share = 1 / len(blocks)
    total = blocks[0].scaled(share)
    for block in blocks[1:]:
        total = total.minus(block.scaled(-share))
    return total


def simplex_etf(num_classes: int) -> Geometry:
    """The simplex equiangular tight frame: unit vectors, all cosines -1 / (k - 1), classifiers and embeddings aligned.

    Raises:
        InputError: fewer than two classes.

    Example:
        >>> simplex_etf(5).classifier.cosine(0, 1)
        -0.25
    """
    k = class_number("num_classes", num_classes)
    one = np.ones((1, 1))
    gram = Gram(np.ones(1), one, -one / (k - 1), np.zeros(k, dtype=np.int64))
    return Geometry(gram, gram, gram)
