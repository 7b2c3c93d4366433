"""Least nuclear norm over excess margins, by an interior-point method with conjugate gradients.

Every X and bias b whose cost-sensitive margins are at least 1 satisfy X + b sqrt(n)^T = S - E - v a^T for some vector a
and some E >= 0 with zero diagonal (v the unit vector along 1/class_scale, S = diag(s)). Given E, |X|_* is least at
X = P (S - E) P_r, where P removes v on the left and P_r removes r = sqrt(n) / sqrt(N) on the right (the identity for a
head without bias). What is left is to minimise |P (S - E) P_r|_* over E >= 0, a smooth barrier problem once singular
values are smoothed at the scale of the barrier: sigma -> max over 0 <= b < 1 of sigma b + mu log(1 - b^2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from implicit_geometry._validate import Floats
from implicit_geometry.theory.numerics.balance import balancing_weights
from implicit_geometry.theory.numerics.rounding import EPS

_MAX_STEPS = 1000
_MAX_PRODUCTS = 1000
_SHRINK = 0.1
_START = 0.01  # E at the start over the natural scales
_WIDE = 1e-3  # relative gap of the central path at the start
_NOISE = 1e-14


@dataclass(frozen=True)
class ExcessProgram:
    """Minimise |P (S - E) P_r|_* over E >= 0 with zero diagonal.

    Attributes:
        natural: s > 0, shape (k,).
        left_null: unit vector v > 0, shape (k,).
        right_null: unit vector r > 0, or zeros for a head without bias, shape (k,).
    """

    natural: Floats
    left_null: Floats
    right_null: Floats

    def logits(self, excess: Floats) -> Floats:
        """P (S - E) P_r."""
        return self.project(np.diag(self.natural) - excess)

    def project(self, matrix: Floats) -> Floats:
        """P M P_r."""
        left = matrix - np.outer(self.left_null, self.left_null @ matrix)
        return left - np.outer(left @ self.right_null, self.right_null)

    def shift(self, excess: Floats) -> Floats:
        """P (S - E) r: sqrt(N) times the bias that goes with the logits (zero for a head without)."""
        pulled = self.natural * self.right_null - excess @ self.right_null
        return np.asarray(pulled - self.left_null * (self.left_null @ pulled))

    def dual_value(self, polar: Floats) -> float:
        """Lower bound of the optimum, its rounding deducted, from any matrix near the optimal polar factor, (k, k).

        Dual points are the B with v^T B = 0, B r = 0, no positive entry off the diagonal and operator norm at most 1;
        their value is tr(B S). The entries of ``polar`` off the diagonal are clipped, balanced and scaled to be one.
        What is computed differs from such a B by a small share of each entry.
        """
        overlap = np.maximum(-polar, 0.0)
        np.fill_diagonal(overlap, 0.0)
        share = 4 * (len(overlap) + 8) * EPS
        if self.right_null.any():
            border = np.outer(self.left_null, self.right_null)
            flow, imbalance = balanced(border * overlap)
            overlap, share = flow / border, share + imbalance
        diagonal = (self.left_null @ overlap) / self.left_null
        matrix = np.diag(diagonal) - overlap
        if not (share < 0.5 and np.isfinite(matrix).all() and diagonal.any()):
            return 0.0
        size = float(np.linalg.norm(matrix, 2)) + share * float(np.linalg.norm(matrix))
        return float(self.natural @ diagonal) * (1 - share) / size


def balanced(flow: Floats) -> tuple[Floats, float]:
    """The flow with columns weighted so that as much flows into every class as out of it.

    Args:
        flow: from class c to class y, >= 0, shape (k, k).

    Returns:
        The flow, and the share of an entry by which an exactly balanced one may differ from it (infinite where none
        was found).
    """
    weight = balancing_weights(flow)
    if not weight.min() > 0:
        return flow, math.inf
    flow = flow * weight
    again = balancing_weights(flow)  # all ones but for rounding
    return flow, 4 * float(again.max() / again.min() - 1) + 8 * len(flow) * EPS


@dataclass(frozen=True)
class _Spectrum:
    """The smoothed nuclear norm at one X: its value, slope and curvature."""

    left: Floats  # P U      (k, k)
    right: Floats  # P_r V   (k, k)
    share: Floats  # b       (k,)
    value: float
    nuclear_norm: float
    straight: Floats  # curvature weights of an entry and of its mirror image, (k, k)
    crossed: Floats

    @property
    def polar(self) -> Floats:
        return np.asarray((self.left * self.share) @ self.right.T)

    def curvature(self, direction: Floats) -> Floats:
        inner = self.left.T @ direction @ self.right
        return np.asarray(self.left @ (self.straight * inner + self.crossed * inner.T) @ self.right.T)

    def diagonal(self) -> Floats:
        return np.asarray(self.left**2 @ self.straight @ (self.right**2).T)


def _spectrum(program: ExcessProgram, excess: Floats, mu: float) -> _Spectrum:
    left, sigma, right = np.linalg.svd(program.logits(excess))
    left, right = left - np.outer(program.left_null, program.left_null @ left), right.T
    right = right - np.outer(program.right_null, program.right_null @ right)
    # the maximum of sigma b + mu log(1 - b^2) is at b = sigma / smoothed, 1 - b^2 = 2 mu / smoothed
    smoothed = mu + np.hypot(mu, sigma)
    share = sigma / smoothed
    rest = 2 * mu / smoothed / (1 + share)  # 1 - share
    scale = 2 * mu / np.outer(smoothed, smoothed)
    symmetric, antisymmetric = scale / (1 + np.outer(share, share)), scale / (rest[:, None] + np.outer(share, rest))
    value = float(sigma @ share + mu * np.log(2 * mu / smoothed).sum())
    weights = 0.5 * (symmetric + antisymmetric), 0.5 * (symmetric - antisymmetric)
    return _Spectrum(left, right, share, value, float(sigma.sum()), *weights)


@dataclass(frozen=True)
class _Iterate:
    """Entries of E off the diagonal, their multipliers and the spectrum there."""

    excess: Floats
    multiplier: Floats
    spectrum: _Spectrum

    def objective(self, mu: float) -> float:
        return self.spectrum.value - mu * float(np.log(self.excess).sum())


def minimise_excess(program: ExcessProgram, tolerance: float) -> tuple[Floats, Floats]:
    """Minimise to a relative gap of about ``tolerance``, or until the steps run out.

    Returns:
        The optimal E and its smoothed polar factor, from which :meth:`ExcessProgram.dual_value` bounds the optimum;
        both of shape (k, k).
    """
    k = program.natural.size
    off = ~np.eye(k, dtype=bool)
    excess = _START * np.minimum.outer(program.natural, program.natural)[off]
    mu = _WIDE * float(np.linalg.norm(program.logits(np.zeros((k, k))), "nuc")) / excess.size
    now = _Iterate(excess, mu / excess, _spectrum(program, _embed(excess, off), mu))
    for _ in range(_MAX_STEPS):
        step, decrement = _newton_step(now, off, mu)
        now, length = _move(program, now, off, step, decrement, mu)
        if decrement > mu or length < 0.5:
            continue
        if _converged(program, now.spectrum, mu * (excess.size + 2 * k), tolerance):
            break
        mu *= _SHRINK
        now = _Iterate(now.excess, now.multiplier, _spectrum(program, _embed(now.excess, off), mu))
    return _embed(now.excess, off), now.spectrum.polar


def _converged(program: ExcessProgram, spectrum: _Spectrum, gap: float, tolerance: float) -> bool:
    """Whether the gap of the central path is small and that of the certificate too, or lost in rounding."""
    value = spectrum.nuclear_norm
    if gap > 0.1 * tolerance * value:
        return False
    return value - program.dual_value(spectrum.polar) <= tolerance * value or gap < _NOISE * value


def _embed(entries: Floats, off: NDArray[np.bool_]) -> Floats:
    matrix = np.zeros(off.shape)
    matrix[off] = entries
    return matrix


def _newton_step(now: _Iterate, off: NDArray[np.bool_], mu: float) -> tuple[Floats, float]:
    """The primal-dual Newton direction in E, and the decrease it promises (twice over)."""
    barrier = now.multiplier / now.excess
    downhill = mu / now.excess + now.spectrum.polar[off]

    def product(direction: Floats) -> Floats:
        return np.asarray(now.spectrum.curvature(_embed(direction, off))[off] + barrier * direction)

    step = _conjugate_gradients(product, now.spectrum.diagonal()[off] + barrier, downhill, mu)
    return step, float(downhill @ step)


def _conjugate_gradients(product: Callable[[Floats], Floats], diagonal: Floats, target: Floats, unit: float) -> Floats:
    """Solve to a tenth in the norm of the diagonal preconditioner, better where the target is below ``unit``."""
    solution, residual = np.zeros_like(target), target
    direction = residual / diagonal
    squared = float(residual @ direction)
    goal = squared * min(0.01, squared / unit)
    for _ in range(_MAX_PRODUCTS):
        if squared <= goal:
            break
        image = product(direction)
        length = squared / float(direction @ image)
        solution, residual = solution + length * direction, residual - length * image
        fresh = float(residual @ (residual / diagonal))
        direction, squared = residual / diagonal + fresh / squared * direction, fresh
    return solution


def _move(
    program: ExcessProgram, now: _Iterate, off: NDArray[np.bool_], step: Floats, decrement: float, mu: float
) -> tuple[_Iterate, float]:
    """Backtrack on the barrier objective, from the longest step that keeps E positive."""
    start = now.objective(mu)
    dual_step = mu / now.excess - now.multiplier - now.multiplier / now.excess * step
    multiplier = now.multiplier + _longest(now.multiplier, dual_step) * dual_step
    length = _longest(now.excess, step)
    while True:
        excess = now.excess + length * step
        centre = mu / excess
        bounded = np.clip(multiplier, 1e-4 * centre, 1e4 * centre)
        trial = _Iterate(excess, bounded, _spectrum(program, _embed(excess, off), mu))
        if trial.objective(mu) <= start - 1e-4 * length * decrement + _NOISE * abs(start) or length < _NOISE:
            return trial, length
        length *= 0.5


def _longest(values: Floats, step: Floats) -> float:
    """Longest step, at most 1, that leaves every value at least a hundredth of itself."""
    shrinking = step < 0
    return float(min(1.0, 0.99 * (values[shrinking] / -step[shrinking]).min(initial=np.inf)))
