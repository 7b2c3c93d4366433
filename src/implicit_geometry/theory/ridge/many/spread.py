"""An operator on bins of kinds of classes as one on the kinds, never held whole."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from implicit_geometry._validate import Floats, Ints


@dataclass(frozen=True)
class Spread:
    """On the normalised means of kinds: what treats the classes of a bin alike, and a thin remainder.

    The matrix is diag(share) core[place, place] diag(share) + diag(within) + left right.

    Attributes:
        core: what bins do to each other, beyond ``within``, shape (B, B).
        within: what the differences within a bin are multiplied by, shape (G,).
        place: bin of every kind, shape (G,).
        share: entry of each kind in the unit vector along its bin's classes, shape (G,).
        left: columns of the remainder, shape (G, r).
        right: its rows, shape (r, G).
    """

    core: Floats
    within: Floats
    place: Ints
    share: Floats
    left: Floats
    right: Floats

    @classmethod
    def of(cls, within: Floats, mean: Floats, place: Ints, share: Floats) -> Spread:
        """Without a remainder, from what it does within bins and on their means, shapes (B,) and (B, B)."""
        return cls(
            mean - np.diag(within), within[place], place, share, np.zeros((place.size, 0)), np.zeros((0, place.size))
        )

    @property
    def transposed(self) -> Spread:
        """Rows for columns."""
        return replace(self, core=self.core.T, left=self.right.T, right=self.left.T)

    def along(self, vector: Floats) -> Floats:
        """The row that a vector from the left makes, shape (G,)."""
        by_bin = np.bincount(self.place, weights=self.share * vector, minlength=len(self.core))
        return np.asarray(
            self.share * (by_bin @ self.core)[self.place] + self.within * vector + vector @ self.left @ self.right
        )

    def turned(self, old: Floats, new: Floats) -> Spread:
        """Columns turned by the rotation that takes one unit vector to another and moves nothing orthogonal to both."""
        middle = old + new
        return self.plus(-middle / (1 + old @ new), self.along(middle)).plus(2 * new, self.along(old))

    def without(self, unit: Floats) -> Spread:
        """Columns without their part along a unit vector."""
        return self.plus(-unit, self.along(unit))

    def plus(self, column: Floats, row: Floats) -> Spread:
        """With their outer product."""
        return replace(self, left=np.column_stack([self.left, column]), right=np.vstack([self.right, row]))

    def columns(self, labels: Ints) -> Floats:
        """Some columns of the matrix, shape (G, labels)."""
        part = self.core[np.ix_(self.place, self.place[labels])] * self.share[labels] * self.share[:, None]
        part[labels, np.arange(labels.size)] += self.within[labels]
        return np.asarray(part + self.left @ self.right[:, labels])

    @property
    def whole(self) -> Floats:
        """The matrix, shape (G, G)."""
        return self.columns(np.arange(self.place.size))


def turned(vector: Floats, old: Floats, new: Floats) -> Floats:
    """A vector turned by the rotation that takes one unit vector to another and moves nothing orthogonal to both."""
    middle = old + new
    return np.asarray(vector - middle * (middle @ vector) / (1 + old @ new) + 2 * new * (old @ vector))
