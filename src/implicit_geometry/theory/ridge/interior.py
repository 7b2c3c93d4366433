"""The optimum for a few kinds of classes, by an interior-point method in the probabilities of wrong classes.

In the factors of X a step of relative length t bends the exponents by t^2 times their largest terms. These cancel where
label scales are far apart (a free bias then outgrows the exponents a hundred thousand times): the descent creeps. The
dual program over these probabilities p, t[h] = sum_g p[g, h],

    max sum_h group_weight[h] (sum_g p[g, h] (offset[g, h] - log p[g, h]) - (1 - t[h]) log(1 - t[h]))
        - penalty(balance p)

subject to a loss gradient M(p) of operator norm at most 1, has the self-concordant barrier
-log p - log(1 - t) - log det(1 - M^T M): Newton's method gets there whatever the scales. The levels of the bias are the
multipliers of the balance. The systems are dense.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from implicit_geometry._validate import Floats, Ints
from implicit_geometry.theory.numerics.singular_values import operator_norm, svd
from implicit_geometry.theory.ridge.bias.levels import Levels
from implicit_geometry.theory.ridge.program import Logits, Reduced

_SHARP = 1e-9  # the barrier's share of the objective at the end
_SHRINK = 0.1
_STEPS = 400
_CENTRED = 0.3  # Newton decrement that ends a stage
_SHORTEST = 1e-6
_LAST_STEPS = 4
_DAMPING = (0.0, 1e-15, 1e-14, 1e-13, 1e-12, 1e-10)  # of the Hessian with unit diagonal


@dataclass(frozen=True)
class DualProgram:
    """The dual program in the probabilities that can be positive, n of them.

    Attributes:
        reduced: the problem.
        levels: what its bias does.
    """

    reduced: Reduced
    levels: Levels

    @cached_property
    def place(self) -> tuple[Ints, Ints]:
        """Rows and columns of the unknowns, shapes (n,)."""
        row, column = np.nonzero(np.isfinite(self.reduced.offset))
        return row, column

    @cached_property
    def offset(self) -> Floats:
        """Exponents at X = 0, shape (n,)."""
        return self.reduced.offset[self.place]

    @cached_property
    def column_weight(self) -> Floats:
        """Weight of the column's group, shape (n,)."""
        return self.reduced.group_weight[self.place[1]]

    @cached_property
    def sums(self) -> Floats:
        """Sums over columns, shape (G, n)."""
        return np.asarray((np.arange(self.reduced.size.size)[:, None] == self.place[1]).astype(np.float64))

    @cached_property
    def own(self) -> Floats:
        """Loss gradient within the groups of several classes, shape (groups, n)."""
        strength = (self.reduced.own_slope / self.reduced.copies * self.reduced.group_weight)[self.place]
        return np.asarray((self.sums * strength)[self.reduced.size > 1])

    @cached_property
    def mean(self) -> Floats:
        """Loss gradient on group means, shape (G, G, n)."""
        groups, (row, column) = self.reduced.size.size, self.place
        mean = np.zeros((groups, groups, row.size))
        unknown = np.flatnonzero(row != column)
        row, column, column_weight = row[unknown], column[unknown], self.column_weight[unknown]
        mean[row, column, unknown] = self.reduced.logit_slope[row, column] * column_weight
        mean[column, column, unknown] = -self.reduced.logit_slope[column, column] * column_weight
        return mean

    @cached_property
    def balance(self) -> Floats:
        """What each group receives beyond what it sends, shape (G, n)."""
        row, column = self.place
        balance, index = np.zeros((self.reduced.size.size, row.size)), np.arange(row.size)
        flow = self.levels.label[column] * self.column_weight * (row != column)
        balance[row, index] = flow
        balance[column, index] -= flow
        return balance

    def start(self) -> Floats:
        """Equal flows between all groups, well inside."""
        label = np.where(self.levels.label > 0, self.levels.label, 1.0)
        p = 1 / (label[self.place[1]] * self.column_weight)
        largest = max((self.sums @ p).max(), operator_norm(self.mean @ p), (self.own @ p).max(initial=0.0))
        return np.asarray(p / (2 * largest))

    def objective(self, p: Floats, rest: Floats) -> float:
        """Negative of what is to be maximal; ``rest`` is 1 - t."""
        net, decay = self.balance @ p, self.levels.decay
        penalty = float((net * net / (2 * decay)).sum()) if decay.all() else 0.0
        surprise = (self.column_weight * p) @ (np.log(p) - self.offset)
        return float(surprise + self.reduced.group_weight @ (rest * np.log(rest))) + penalty

    def smoothed(self, p: Floats, mu: float) -> float:
        """The objective with mu times the barrier; infinite outside."""
        rest, own = 1 - self.sums @ p, 1 - self.own @ p
        if min(p.min(), rest.min(), own.min(initial=1.0)) <= 0:
            return np.inf
        sigma = svd(self.mean @ p)[1]
        if not sigma.max() < 1:
            return np.inf
        # log det(1 - M^T M) = sum log(1 - sigma^2)
        barrier = np.log(p).sum() + np.log(rest).sum() + np.log(own).sum() + np.log1p(-sigma * sigma).sum()
        return self.objective(p, rest) - mu * float(barrier)

    def step(self, p: Floats, mu: float) -> tuple[Floats, Floats, float]:
        """Newton's step over p, the levels that go with it and the squared decrement over mu."""
        rest, own = 1 - self.sums @ p, 1 - self.own @ p
        spectrum = _Spectrum.of(self.mean @ p)
        slope = self.column_weight * (np.log(p) - self.offset - np.log(rest) @ self.sums)
        slope = slope + mu * (-1 / p + (1 / rest) @ self.sums + (1 / own) @ self.own + spectrum.slope(self.mean))
        sums, within, balance = self.sums * p, self.own * p / own[:, None], self.balance * p
        hessian = mu * (spectrum.curvature(self.mean * p) + within.T @ within)
        hessian += sums.T @ ((self.reduced.group_weight / rest + mu / rest**2)[:, None] * sums)
        hessian[np.diag_indices_from(hessian)] += self.column_weight * p + mu
        # x and m of hessian x + balance^T m = -slope p and balance (1 + x) = decay m: m first
        solve = _definite(hessian)
        free, through = -solve(slope * p), solve(balance.T)
        schur = balance @ through + np.diag(self.levels.decay)
        multiplier = _least_squares(schur, self.balance @ p + balance @ free)
        relative = free - through @ multiplier
        return relative, -multiplier, float(relative @ hessian @ relative) / mu

    def logits(self, p: Floats, level: Floats, mu: float) -> Logits:
        """Those whose exponents p answers to: more accurate than the multipliers of the norm, which rounding blurs."""
        reduced, several = self.reduced, self.reduced.size > 1
        rest = (1 - self.sums @ p)[self.place[1]]
        change = np.zeros_like(reduced.logit_slope)
        change[self.place] = np.log(p / rest) - self.offset + mu / self.column_weight * (1 / rest - 1 / p)
        own = np.zeros_like(reduced.size)
        own[several] = np.maximum(-(change.diagonal()[several] / reduced.own_slope.diagonal()[several]), 0.0)
        change += reduced.own_slope * own - self.levels.change(level)
        np.fill_diagonal(change, 0.0)
        # change[g, h] = logit_slope[g, h] mean[g, h] - across[h], across[h] = logit_slope[h, h] mean[h, h]
        weight, diagonal = reduced.null[:, None] / reduced.logit_slope, reduced.logit_slope.diagonal()
        across = -(weight * change).sum(axis=0) / weight.sum(axis=0)  # null^T mean = 0
        mean = (change + across) / reduced.logit_slope
        mean[np.diag_indices_from(mean)] = across / diagonal
        return Logits(own, mean)


def interior_optimum(program: DualProgram) -> tuple[Logits, Floats]:
    """Follow the central path to near the optimum.

    Returns:
        Logits, and the levels of the bias, shape (G,).
    """
    p, reduced = program.start(), program.reduced
    mu = max(float(reduced.group_weight @ np.logaddexp.reduce(reduced.offset, axis=0, initial=0.0)), 1.0) / p.size
    centred = p, mu
    for _ in range(_STEPS):
        relative, _, squared = program.step(p, mu)
        length = _length(program, p, relative, mu, squared) if squared > _CENTRED**2 else 1.0
        if not length > _SHORTEST:
            break
        p = p * (1 + length * relative)
        if squared <= _CENTRED**2:
            centred = p, mu
            if mu * p.size <= _SHARP * abs(program.objective(p, 1 - program.sums @ p)):
                break
            mu *= _SHRINK
    p, mu = centred
    for _ in range(_LAST_STEPS):
        relative, level, squared = program.step(p, mu)
        if not squared < 1:
            break
        p = p * (1 + relative)
    level = level - reduced.null**2 @ level
    return program.logits(p, level, mu), level


def _length(program: DualProgram, p: Floats, relative: Floats, mu: float, squared: float) -> float:
    """Longest step, at most 1, that stays inside and lowers the smoothed objective; 0 where rounding hides the fall."""
    start = program.smoothed(p, mu)
    length = min(1.0, 0.99 / max(-float(relative.min()), 0.99))
    while not program.smoothed(p * (1 + length * relative), mu) <= start - 1e-4 * length * mu * squared:
        length *= 0.5
        if length <= _SHORTEST:
            return 0.0
    return length


@dataclass(frozen=True)
class _Spectrum:
    """Singular values of the loss gradient M, for derivatives of -log det(1 - M^T M)."""

    left: Floats
    sigma: Floats
    right: Floats

    @classmethod
    def of(cls, mean: Floats) -> _Spectrum:
        left, sigma, right = svd(mean)
        return cls(left, sigma, right.T)

    def slope(self, changes: Floats) -> Floats:
        """Derivatives along directions, shapes (n,) and (G, G, n)."""
        # f = -log(1 - sigma^2) has the slope f' = 2 sigma / (1 - sigma^2)
        outward = (self.left * (2 * self.sigma / (1 - self.sigma) / (1 + self.sigma))) @ self.right.T
        return np.asarray(np.einsum("ab,abn->n", outward, changes))

    def curvature(self, changes: Floats) -> Floats:
        """Second derivatives along directions, shapes (n, n) and (G, G, n)."""
        # even: (f'(a) - f'(b)) / (a - b), for the symmetric part; odd: (f'(a) + f'(b)) / (a + b)
        low, high = 1 / (1 - self.sigma), 1 / (1 + self.sigma)
        even, odd = np.outer(low, low) + np.outer(high, high), np.outer(low, high) + np.outer(high, low)
        inner = np.tensordot(self.left, np.tensordot(changes, self.right, axes=(1, 0)), axes=(0, 0)).transpose(0, 2, 1)
        mirrored = inner.transpose(1, 0, 2)
        total = np.zeros((changes.shape[2], changes.shape[2]))
        for part, weight in ((inner + mirrored, even), (inner - mirrored, odd)):
            flat = (0.5 * np.sqrt(weight)[:, :, None] * part).reshape(-1, changes.shape[2])
            total += flat.T @ flat
        return total


def _definite(matrix: Floats) -> Callable[[Floats], Floats]:
    """Solver of a positive definite system, its diagonal scaled to one and raised where rounding asks for it."""
    unit = 1 / np.sqrt(matrix.diagonal())
    scaled = matrix * unit * unit[:, None]
    for damping in _DAMPING:
        try:
            factor = cho_factor(scaled + damping * np.eye(unit.size))
            break
        except LinAlgError:
            continue

    def solve(target: Floats) -> Floats:
        return np.asarray((unit * cho_solve(factor, (unit * target.T).T).T).T)

    return solve


def _least_squares(matrix: Floats, target: Floats) -> Floats:
    """Solution of a symmetric system that may be singular, its diagonal scaled to one."""
    unit = 1 / np.sqrt(matrix.diagonal())
    return np.asarray(unit * np.linalg.lstsq(matrix * unit * unit[:, None], unit * target, rcond=1e-14)[0])
