"""The value that theory, solvers and measurement all return: classifiers, class-mean embeddings and mean logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from implicit_geometry._validate import Floats, InputError, class_number
from implicit_geometry.gram import Gram


@dataclass(frozen=True)
class Geometry:
    """Three k x k blocks of inner products of the classifiers w_c and the class-mean embeddings h_c.

    Args:
        classifier: W W^T.
        embedding: H H^T, H one class mean a row.
        cross: W H^T; entry (c, y) is the mean logit of class c over the samples of class y.

    Raises:
        InputError: the blocks differ in their number of classes.

    Example:
        >>> etf = simplex_etf(10)
        >>> round(etf.classifier.cosine(0, 9), 6), round(float(etf.alignment()[0]), 6)
        (-0.111111, 1.0)
    """

    classifier: Gram
    embedding: Gram
    cross: Gram

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name).num_classes for name in ("classifier", "embedding", "cross")}
        if len(set(sizes.values())) != 1:
            raise InputError("blocks", "must have one common number of classes", sizes)

    @classmethod
    def from_factors(cls, classifier: ArrayLike, embedding: ArrayLike) -> Geometry:
        """The geometry of given vectors: classifiers (k, d) and class-mean embeddings (k, d).

        Raises:
            InputError: a factor is not a finite matrix, or their shapes differ.
        """
        return cls(
            Gram.from_factors(classifier), Gram.from_factors(embedding), Gram.from_factors(classifier, embedding)
        )

    @property
    def num_classes(self) -> int:
        """Number of classes k."""
        return self.classifier.num_classes

    def alignment(self) -> Floats:
        """Cosine between classifier and class-mean embedding of every class, shape (k,) (NaN where one is zero)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            cosines = self.cross.squared_norms() / (self.classifier.norms() * self.embedding.norms())
        return np.asarray(cosines)


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
