"""The two frames in which embeddings are compared: what is taken away from class means, measured or predicted.

The theory's embeddings lie in the row space of the classifier W. A network's do not: their component orthogonal to it
(for a ReLU network most of their common mean) changes no logit.

``"projected"``: what the logits see of the class means, their projection on the row space of P W.

- The loss sees the logits only up to multiples of 1/class_scale, since softmax(class_scale * z) is blind to a
  constant. So only P W counts, P the projection orthogonal to 1/class_scale. P W has rank k - 1 (known, not
  estimated), also where W keeps a component along 1/class_scale from its initialisation, which gradients never touch.
- Without a bias nothing is subtracted besides: a common shift inside that space changes the logits. The optimal
  embeddings lie in it at every ridge.
- With a bias a common shift of the embeddings is undone by it: their mean over the samples is subtracted. In theory it
  is zero for a free bias at every ridge; :mod:`implicit_geometry.theory.measured_frame` subtracts it for others.

``"centred"``: the class means less their mean, as Behnia et al. (2023), Remark 2, compare them. It needs no classifier.

- Without a bias the mean is weighted with label_scale (it is the unweighted mean for CE, wCE, LA and CDT): the limit
  has sum_c label_scale_c * h_c = 0. At a ridge that sum is not zero, and a prediction is centred like a network.
- With a bias it is the mean over the samples, which is zero at the optimum of a free bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from implicit_geometry._validate import Floats, Ints
from implicit_geometry.geometry import Geometry
from implicit_geometry.gram import Gram
from implicit_geometry.lowrank import LowRank
from implicit_geometry.parameterization import Pairwise, Parameterization

Frame = Literal["projected", "centred"]

_TALL = 8  # rows per column
_ROWS_AT_ONCE = 4096
_WELL_CONDITIONED = 1e-5  # smallest over largest diagonal entry of a Cholesky factor

FRAMES: tuple[Frame, ...] = ("projected", "centred")
"""``"projected"`` (what the logits see) and ``"centred"`` (the paper's)."""


@dataclass(frozen=True)
class FramedGeometry:
    """A geometry with its embeddings in both frames.

    Attributes:
        geometry: as projected.
        centred_embedding: H H^T of the same class means as centred.

    Example:
        >>> from implicit_geometry.geometry import simplex_etf
        >>> list(FramedGeometry(simplex_etf(3), simplex_etf(3).embedding).blocks())
        ['classifier', 'embedding', 'cross', 'centred_embedding']
    """

    geometry: Geometry
    centred_embedding: Gram

    def blocks(self) -> dict[str, LowRank]:
        """All blocks by name."""
        geometry = self.geometry
        return {
            "classifier": geometry.classifier,
            "embedding": geometry.embedding,
            "cross": geometry.cross,
            "centred_embedding": self.centred_embedding,
        }

    def subset(self, classes: Ints) -> FramedGeometry:
        """Of some of the classes, in the order given."""
        return FramedGeometry(self.geometry.subset(classes), self.centred_embedding.subset(classes))


def centre_shares(label_scale: Floats, samples: Floats | Ints, *, bias: bool) -> Floats:
    """Share of each class in the mean of the class means that is subtracted, shape (k,).

    Args:
        label_scale: of the loss, shape (k,).
        samples: per class, shape (k,).
        bias: whether the head has a bias.

    Example:
        >>> centre_shares(np.array([1.0, 3.0]), np.array([9, 1]), bias=False).tolist()
        [0.25, 0.75]
        >>> centre_shares(np.array([1.0, 3.0]), np.array([9, 1]), bias=True).tolist()
        [0.9, 0.1]
    """
    weights = np.asarray(samples, dtype=np.float64) if bias else label_scale / label_scale.max()
    return np.asarray(weights / weights.sum())


def projected(vectors: Floats, classifier: Floats, loss: Parameterization) -> Floats:
    """What the loss sees of vectors: their projection on the row space of a classifier, shape (k, d).

    Example:
        >>> projected(np.array([[2.0, 1.0]]), np.array([[1.0, 0.0], [-1.0, 0.0]]), Parameterization.neutral(2)).tolist()
        [[2.0, 0.0]]
    """
    blind = Pairwise.of(loss).null
    blind = blind / np.linalg.norm(blind)
    if _certainly_spans(classifier, blind):
        return vectors
    basis = leading_rows(classifier - np.outer(blind, blind @ classifier), len(classifier) - 1)[1]
    return np.asarray(vectors @ basis.T @ basis)


def _certainly_spans(classifier: Floats, blind: Floats) -> bool:
    """Whether the rows of a tall classifier less what lies along a unit vector span all d dimensions, beyond doubt."""
    rows, columns = classifier.shape
    if rows < _TALL * columns:
        return False
    unit = max(float(classifier.max()), -float(classifier.min())) or 1.0
    along, gram = blind / unit @ classifier, np.zeros((columns, columns))
    for start in range(0, rows, _ROWS_AT_ONCE):
        scaled = classifier[start : start + _ROWS_AT_ONCE] / unit
        gram += scaled.T @ scaled
    smallest = np.linalg.eigvalsh(gram - np.outer(along, along))[0]
    return bool(smallest > _WELL_CONDITIONED**2 * gram.trace())


def leading_rows(matrix: Floats, known_rank: int) -> tuple[Floats, Floats]:
    """Singular values and an orthonormal basis of the row space of a matrix that is known to have at most a given rank.

    Args:
        matrix: shape (k, d).
        known_rank: singular values beyond it do not count, however large; within it, those at rounding level do not.

    Returns:
        The r singular values in falling order, shape (r,), and the basis, one vector per row, shape (r, d).

    Example:
        >>> singular, basis = leading_rows(np.array([[3.0, 0.0], [-3.0, 0.0]]), 1)
        >>> round(float(singular[0]) ** 2, 9), np.abs(basis).tolist()
        (18.0, [[1.0, 0.0]])
    """
    _, singular, rows = np.linalg.svd(_triangle(matrix), full_matrices=False)
    rounding = singular[0] * max(matrix.shape) * np.finfo(np.float64).eps
    rank = min(known_rank, int((singular > rounding).sum()))
    return singular[:rank], rows[:rank]


def _triangle(matrix: Floats) -> Floats:
    """R of a QR decomposition of a tall matrix, by two Cholesky decompositions where it is well conditioned.

    Such an R is as exact as Householder's; a matrix with dependent columns, or one that is not tall, is left as it is.
    """
    rows, columns = matrix.shape
    if rows < _TALL * columns:
        return matrix
    unit = float(np.abs(matrix).max()) or 1.0
    scaled = matrix / unit
    try:
        first = np.linalg.cholesky(scaled.T @ scaled).T
        if first.diagonal().min() < _WELL_CONDITIONED * first.diagonal().max():
            return matrix
        orthogonal = scaled @ np.linalg.inv(first)
        second = np.linalg.cholesky(orthogonal.T @ orthogonal).T
    except np.linalg.LinAlgError:
        return matrix
    return np.asarray(unit * (second @ first))
