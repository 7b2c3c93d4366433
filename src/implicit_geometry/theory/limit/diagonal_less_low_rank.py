"""Polar factors of a diagonal matrix less one of low rank, in time linear in its size.

With X = D - A B^T invertible, D = diag(d) > 0 and E = (D^2 + t^2)^-1, the rational rule
x^(1/2) = sum_q u_q x / (x + t_q^2) and Woodbury's identity give

    (X X^T)^(1/2) = D + sum_q u_q t_q^2 (E U C U^T E)_q,   U = [D B, A],

    C^-1 = [[-t^2 B^T E B, B^T D E A - 1], [A^T E D B - 1, A^T E A]].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from implicit_geometry._validate import Floats
from implicit_geometry.theory.limit.quadrature import InverseSquareRoot


@dataclass(frozen=True)
class DiagonalLessLowRank:
    """An invertible X = D - A B^T, one row per group of equal classes.

    Attributes:
        size: classes of each group, shape (G,).
        diagonal: d > 0, shape (G,).
        left: A, shape (G, m).
        right: B, shape (G, m).
    """

    size: Floats
    diagonal: Floats
    left: Floats
    right: Floats

    @property
    def transposed(self) -> DiagonalLessLowRank:
        """X^T."""
        return DiagonalLessLowRank(self.size, self.diagonal, self.right, self.left)

    def modulus(self, rule: InverseSquareRoot) -> tuple[Floats, Floats, Floats]:
        """(X X^T)^(1/2) as its diagonal, shape (G,), and factors of what is off it, two of shape (G, 2 m q).

        Args:
            rule: for all singular values of X.
        """
        scaled = self.diagonal[:, None] * self.right
        basis = np.hstack([scaled, self.left])  # U      (G, 2 m)
        rank, nodes = self.left.shape[1], rule.node.size
        left, right = np.zeros((2, self.size.size, nodes, 2 * rank))
        for place, (node, weight) in enumerate(zip(rule.node.tolist(), rule.weight.tolist(), strict=True)):
            damped = self.size / (self.diagonal**2 + node**2)
            inverse = np.zeros((2 * rank, 2 * rank))
            inverse[:rank, :rank] = -(node**2) * (self.right.T * damped) @ self.right
            inverse[:rank, rank:] = (scaled.T * damped) @ self.left - np.eye(rank)
            inverse[rank:, :rank] = inverse[:rank, rank:].T
            inverse[rank:, rank:] = (self.left.T * damped) @ self.left
            unit = 1 / np.sqrt(np.abs(inverse).max(axis=0))
            core = np.linalg.inv(inverse * unit * unit[:, None]) * unit * unit[:, None]
            right[:, place] = basis / (self.diagonal**2 + node**2)[:, None]
            left[:, place] = right[:, place] @ (0.5 * (core + core.T)) * (weight * node**2)
        left, right = left.reshape(len(left), -1), right.reshape(len(right), -1)
        return self.diagonal + np.einsum("gi,gi->g", left, right), left, right
