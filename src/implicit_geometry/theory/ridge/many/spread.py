"""An operator on bins of kinds of classes as one on the kinds, never held whole."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from implicit_geometry._validate import Floats, Ints


@dataclass(frozen=True)
class Spread:
    """On the normalised means of kinds: what treats the classes of a bin alike, and a thin remainder.

    With D = diag(sqrt(size)), the matrix is D core[place, place] D + diag(within) + left right.

    Attributes:
        core: what a class of a bin does to another one beyond ``within``, shape (B, B).
        within: what the differences within a bin are multiplied by, shape (G,).
        place: bin of every kind, shape (G,).
        size: classes of every kind, shape (G,).
        left: columns of the remainder, shape (G, r).
        right: its rows, shape (r, G).
    """

    core: Floats
    within: Floats
    place: Ints
    size: Floats
    left: Floats
    right: Floats

    @classmethod
    def of(cls, within: Floats, mean: Floats, place: Ints, size: Floats) -> Spread:
        """Without a remainder, from what it does within bins and on their means, shapes (B,) and (B, B)."""
        root = np.sqrt(np.bincount(place, weights=size))
        core = (mean - np.diag(within)) / root / root[:, None]
        return cls(core, within[place], place, size, np.zeros((place.size, 0)), np.zeros((0, place.size)))

    @property
    def transposed(self) -> Spread:
        """Rows for columns."""
        return replace(self, core=self.core.T, left=self.right.T, right=self.left.T)

    def along(self, vector: Floats) -> Floats:
        """The row that a vector from the left makes, shape (G,)."""
        root = np.sqrt(self.size)
        by_bin = np.bincount(self.place, weights=root * vector, minlength=len(self.core))
        thin = vector @ self.left @ self.right
        return np.asarray(root * (by_bin @ self.core)[self.place] + self.within * vector + thin)

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

    def by_class(self, labels: Ints) -> Floats:
        """What one class of each kind has of one of a label's kind, but for ``within`` of its own, (G, labels)."""
        root = np.sqrt(self.size)
        core = self.core[:, self.place[labels]][self.place]
        return np.asarray(core + (self.left / root[:, None]) @ (self.right / root)[:, labels])

    @property
    def whole(self) -> Floats:
        """The matrix, shape (G, G)."""
        root = np.sqrt(self.size)
        whole = self.by_class(np.arange(self.size.size)) * root * root[:, None]
        whole[np.diag_indices_from(whole)] += self.within
        return np.asarray(whole)


def turned(vector: Floats, old: Floats, new: Floats) -> Floats:
    """A vector turned by the rotation that takes one unit vector to another and moves nothing orthogonal to both."""
    middle = old + new
    return np.asarray(vector - middle * (middle @ vector) / (1 + old @ new) + 2 * new * (old @ vector))
