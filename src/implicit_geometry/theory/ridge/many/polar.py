"""The dual point that the polar factor of logits near the optimum makes.

At the optimum the loss gradient is minus the polar factor of X. Near it the gradient is off by the curvature of the
loss times the error of X, which is large along the small singular directions of X, and scaling it into the unit ball
lowers the dual value in the first order. The polar factor has norm 1 as it is; its dual value is off in the second.
"""

from __future__ import annotations

import numpy as np

from implicit_geometry._validate import Floats
from implicit_geometry.theory.numerics.rounding import EPS
from implicit_geometry.theory.numerics.singular_values import Spectrum, along_pairs, svd
from implicit_geometry.theory.ridge.program import Logits, Point, Reduced


def wrong_of_gradient(reduced: Reduced, within: Floats, mean: Floats) -> Floats:
    """Probabilities of wrong classes whose loss gradient is given, where that is one; at least zero, shape (G, G)."""
    return np.asarray(np.maximum(slope_of_gradient(reduced, within, mean) / reduced.group_weight, 0.0))


def slope_of_gradient(reduced: Reduced, within: Floats, mean: Floats) -> Floats:
    """Derivatives by the exponents that :meth:`Reduced.pull_back` takes to a gradient, shape (G, G).

    Args:
        reduced: the problem.
        within: gradient by one copy of ``own``, shape (G,).
        mean: on group means, orthogonal to the null vector, shape (G, G).
    """
    slope = mean / reduced.logit_slope
    np.fill_diagonal(slope, 0.0)
    rest = -within * reduced.copies - (reduced.own_slope * slope).sum(axis=0)
    several = reduced.size > 1
    np.fill_diagonal(slope, np.where(several, rest / np.where(several, reduced.own_slope.diagonal(), 1.0), 0.0))
    return np.asarray(slope)


def polar_wrong(
    reduced: Reduced, x: Logits, point: Point, null: Floats | None = None, spectrum: Spectrum | None = None
) -> Floats:
    """Probabilities whose loss gradient is minus the polar factor of X, where X is alive, shape (G, G).

    Args:
        reduced: the problem.
        x: logits near the optimum.
        point: loss and gradient there, those of a bias included; where X is zero, the gradient stays but for what it
            has beyond norm 1.
        null: a unit vector that the gradient takes to zero, under a free bias, shape (G,).
        spectrum: singular values of the mean logits, where they are known.
    """
    spectrum = svd(x.mean) if spectrum is None else spectrum
    left, sigma, right = spectrum
    tension = -along_pairs(spectrum, point.mean_gradient)
    usual = float(sigma.sum() + (reduced.size - 1) @ x.own) / float(reduced.size.sum())
    # a step of this length against the gradient would leave it alive
    alive = (sigma > EPS * sigma.size * sigma.max(initial=0.0)) & (sigma > usual * (1 - tension))
    mean = -left[:, alive] @ right[alive]
    if not alive.all():
        u, size, v = svd(left[:, ~alive].T @ point.mean_gradient @ right[~alive].T)
        mean = mean + left[:, ~alive] @ (u * np.minimum(size, 1.0)) @ v @ right[~alive]
    mean = mean - np.outer(reduced.null, reduced.null @ mean)
    if null is not None:
        mean = mean - np.outer(mean @ null, null)
    within = np.where(x.own > usual * (1 + point.own_gradient), -1.0, np.clip(point.own_gradient, -1.0, 1.0))
    return wrong_of_gradient(reduced, within, mean)
