"""Flows between thousands of kinds of classes, and how to change them so that a bias is at its best."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from implicit_geometry._validate import Floats, Ints
from implicit_geometry.theory.ridge.bias.levels import Levels

TINY = 1e-300
"""Divisor where nothing flows."""


class Bias(NamedTuple):
    """A bias of the whole problem.

    Attributes:
        levels: what it does.
        level: where it stands, shape (G,).
        dual_level: where it holds the flows of the dual point, shape (G,).
    """

    levels: Levels
    level: Floats
    dual_level: Floats

    @property
    def penalty(self) -> float:
        """Half the squared levels times their decay."""
        return 0.5 * float(self.levels.decay @ self.level**2)


class Flows(NamedTuple):
    """What the samples of kinds give to others.

    Attributes:
        received: by each kind, shape (G,).
        sent: by each kind, shape (G,).
        between: bins (rows receive), with what stays within them, shape (B, B).
    """

    received: Floats
    sent: Floats
    between: Floats

    def target(self, bias: Bias) -> Floats:
        """How much more each kind should receive than it sends: what the bias holds, more where paying is cheaper."""
        decay = bias.levels.decay
        held = -decay * bias.dual_level
        if not decay.any():
            return held
        # d of a flow f costs about d^2 / (2 f label) if factors take it away and d^2 / (2 decay) if the penalty pays
        paid = decay / (decay + self.received * bias.levels.label)
        target = held + paid * (self.received - self.sent - held)
        return np.asarray(target - self.received * (target.sum() / max(self.received.sum(), TINY)))

    def change(self, target: Floats, place: Ints) -> Floats:
        """By which share more each kind should receive, nearly, so that all receive ``target`` more than they send.

        Within a bin, all flows count as the product of what one kind sends and what the other receives.
        """
        lacking = target - self.received + self.sent
        by_bin = self.between.sum(axis=1)
        share = self.between.T / np.where(by_bin > 0, by_bin, 1.0)
        fixed = np.eye(by_bin.size) - share + np.outer(by_bin / by_bin.sum(), np.ones_like(by_bin))
        sent = np.linalg.solve(fixed, share @ np.bincount(place, weights=lacking))
        per_bin = np.bincount(place, weights=self.sent)
        lacking = lacking + self.sent * (sent / np.where(per_bin > 0, per_bin, 1.0))[place]
        more = np.where(self.received > 0, lacking / np.where(self.received > 0, self.received, 1.0), 0.0)
        return np.asarray(more - lacking.sum() / self.received.sum())
