"""Weights under which what flows into every group of classes is what flows out of it."""

from __future__ import annotations

import numpy as np

from implicit_geometry._validate import Floats

BLOCK = 32
"""Groups that an elimination without a subtraction carries out before it goes on with all others at once."""


def balancing_weights(flow: Floats) -> Floats:
    """Weights of the columns, the largest 1, after which every group receives what it sends (zeros if none exist).

    They are the stationary distribution of a Markov chain. Elimination without a subtraction gives each to a relative
    error of a few units in the last place per group, however far apart the flows are.

    Args:
        flow: what g receives from h, >= 0, zero on the diagonal, shape (G, G).

    Source: Grassmann, Taksar and Heyman (1985); O'Cinneide (1993) for the accuracy.

    Example:
        >>> balancing_weights(np.array([[0.0, 2.0], [1.0, 0.0]]))
        array([1. , 0.5])
    """
    size = len(flow)
    flow, weight = flow.copy(), np.zeros(size)
    sent = np.zeros(size)
    for last in range(size, 0, -BLOCK):
        first = max(last - BLOCK, 0)
        for index in range(last - 1, max(first, 1) - 1, -1):
            sent[index] = flow[:index, index].sum()
            if not sent[index] > 0:
                return weight
            share = flow[:index, index] / sent[index]
            flow[:index, first:index] += np.outer(share, flow[index, first:index])
            if first:
                flow[first:index, :first] += np.outer(share[first:], flow[index, :first])
        if first:
            flow[:first, :first] += (flow[:first, first:last] / sent[first:last]) @ flow[first:last, :first]
    weight[0] = 1.0
    for index in range(1, size):
        weight[index] = flow[index, :index] @ weight[:index] / sent[index]
    largest = weight.max()
    return np.asarray(weight / largest) if np.isfinite(largest) else np.zeros(size)
