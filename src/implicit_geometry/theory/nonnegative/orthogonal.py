"""Features that cannot be negative, as those behind a ReLU: each class has a direction of its own.

With H >= 0 the model is convex in K = H^T H. Where no two classes' gradients point the same way its optimum has
orthogonal embeddings, and the classes decouple into one problem each for their mean logits z_y,

    min_z  n_y l(z, y) + ridge sqrt(m_y) |z|,  |h_y|^2 = |z_y| / sqrt(m_y),  W W^T = sum_y sqrt(m_y) z_y z_y^T / |z_y|,

m the price of the embeddings. With B_y = -n_y grad l(z_y) / (ridge sqrt(m_y)), of norm at most 1, that is the optimum
if B_y . B_c <= 0 for all c != y, or, with collapsed classes, if no eigenvalue of B^T B without what is negative off its
diagonal is above 1. Else, as with a shift at a larger ridge or with a free bias, no closed form is known
(:mod:`implicit_geometry.theory.nonnegative.descent`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from implicit_geometry._validate import Floats, InputError
from implicit_geometry.geometry import Geometry
from implicit_geometry.gram import Gram
from implicit_geometry.groups import ClassGroups
from implicit_geometry.lowrank import LowRank
from implicit_geometry.problem import Problem

_ABOVE = 1e-11  # what rounding leaves of an eigenvalue above 1


class NotOrthogonal(InputError):
    """A problem whose nonnegative embeddings are not known to be orthogonal."""


@dataclass(frozen=True)
class Columns:
    """One vector over all classes per label, for the labels of each group of equal classes alike, G groups.

    Attributes:
        size: classes of each group, shape (G,).
        base: entry of every class of group g for labels in group h, but for the label's own, shape (G, G).
        own: what the entry of the label's own class has besides, shape (G,).
    """

    size: Floats
    base: Floats
    own: Floats

    def norms(self) -> Floats:
        """Lengths of the vectors, shape (G,)."""
        on_label = self.base.diagonal() + self.own
        others = self.size[:, None] - np.eye(self.size.size)
        return np.asarray(np.sqrt((others * self.base**2).sum(axis=0) + on_label**2))

    def products(self) -> Floats:
        """Inner products of the vectors of two labels, shape (G, G); the diagonal is for two of one group."""
        mixed = self.own * self.base.T
        return np.asarray((self.base.T * self.size) @ self.base + mixed + mixed.T)

    def scaled(self, factor: Floats) -> Columns:
        """Each vector times a factor of its label, shape (G,)."""
        return Columns(self.size, self.base * factor, self.own * factor)


def orthogonal_geometry(groups: ClassGroups, logits: Columns, root_cost: Floats) -> Geometry:
    """The geometry of orthogonal embeddings with given mean logits.

    Args:
        groups: which classes are equal.
        logits: z_y.
        root_cost: sqrt(m), shape (G,).
    """
    norms = logits.norms()
    weight = np.where(norms > 0, root_cost / np.where(norms > 0, norms, 1.0), 0.0)
    # z_y = own e_y + base, summed over the labels of each group
    mixed = weight * logits.own * logits.base
    between = (logits.base * (weight * groups.size)) @ logits.base.T + mixed + mixed.T
    unit = np.eye(norms.size)
    nothing = np.zeros((norms.size, 0))
    return Geometry(
        Gram(between.diagonal() + weight * logits.own**2, between, unit, groups.group),
        Gram(norms / root_cost, nothing, nothing, groups.group),
        LowRank(logits.base.diagonal() + logits.own, logits.base, unit, groups.group),
    )


def require_orthogonal(gradients: Columns) -> float:
    """Refuse what is not known to have orthogonal embeddings.

    The gradients' Gram matrix with zero for what is negative off its diagonal must have no eigenvalue above 1. Among
    classes that have not collapsed, whose gradients have length 1, that is to say that none point the same way.

    Returns:
        The largest eigenvalue, 1 but for rounding where a class has not collapsed.

    Raises:
        NotOrthogonal: it is above 1.
    """
    products = gradients.products()
    inside = np.where(gradients.size > 1, products.diagonal(), 0.0)
    products[np.diag_indices_from(products)] = 0.0
    together = np.maximum(products, 0.0) * np.sqrt(np.outer(gradients.size, gradients.size))
    own = gradients.norms() ** 2 + (gradients.size - 1) * np.maximum(inside, 0.0)
    largest = float(np.linalg.eigvalsh(together + np.diag(own))[-1]) if together.any() else float(own.max())
    if not largest <= 1 + _ABOVE:
        raise NotOrthogonal(
            "features",
            "must be 'free' here: with this loss and ridge two classes' gradients point the same way, so that "
            "nonnegative embeddings are not orthogonal, and no closed form is known then",
            "'nonnegative'",
        )
    return largest


def require_no_bias(problem: Problem) -> None:
    """Refuse a head with a bias, for which no closed form is known."""
    if problem.bias:
        raise NotOrthogonal(
            "features", "must be 'free' for a head with a bias, for which no closed form is known", "'nonnegative'"
        )
