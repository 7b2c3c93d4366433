"""What a bias does to the exponents of the reduced problem, and the flow between groups that it balances.

A bias b (on normalised group means) adds ``label[h] * (level[g] - level[h])`` to the exponents, with level = b / null.
The loss's derivative by the level of group g is what g receives from the samples of other groups, less what its own
samples give away: at a free bias's best every group receives what it sends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from implicit_geometry._validate import Floats
from implicit_geometry.theory.ridge.program import Reduced


@dataclass(frozen=True)
class Levels:
    """The levels of a bias.

    Attributes:
        label: change of the exponents of group h by a unit of level (its label scale), shape (G,).
        decay: coefficient of half the squared levels, zero for a free bias, shape (G,).
    """

    label: Floats
    decay: Floats

    @classmethod
    def of(cls, reduced: Reduced, bias_decay: float) -> Levels:
        """Levels of a bias with a ridge, ``bias_decay`` times that of the logits."""
        root_group_count = np.sqrt(reduced.size) * reduced.root_count
        return cls(reduced.logit_slope[0] * root_group_count * reduced.null[0], bias_decay * reduced.null**2)

    @classmethod
    def none(cls, reduced: Reduced) -> Levels:
        """Those of a head without a bias: they change nothing."""
        return cls(np.zeros_like(reduced.size), np.ones_like(reduced.size))

    def change(self, level: Floats) -> Floats:
        """What levels add to the exponents, shape (G, G)."""
        return np.asarray(self.label * (level[:, None] - level))

    def flow(self, slope: Floats) -> Floats:
        """What group g receives from the samples of group h, zero on the diagonal, shape (G, G)."""
        flow = self.label * slope
        np.fill_diagonal(flow, 0.0)
        return np.asarray(flow)
