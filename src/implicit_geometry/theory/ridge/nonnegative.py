"""The optimum at a positive ridge with nonnegative features: one convex problem of one vector per class.

With p the probabilities and t the labels, z_y is zero where |class_scale (t - p)| <= 1 / kappa at z = 0, kappa =
n weight label_scale / (ridge sqrt(m)). Otherwise z_c = -rho class_scale_c (p_c - t_c) for the rho > 0 at which that
length is 1 / kappa. At a given rho and logarithm L of the softmax's sum each entry solves
u + A e^(u + iota - L) = A t with u = label_scale class_scale z and A = label_scale rho class_scale^2, which is
p = omega(log A + A t + iota - L) / A with Wright's omega function; L makes the probabilities sum to 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize.elementwise import find_root
from scipy.special import wrightomega, xlog1py, xlogy

from implicit_geometry._validate import Floats, InputError, Ints
from implicit_geometry.groups import ClassGroups, gather
from implicit_geometry.parameterization import Pairwise
from implicit_geometry.problem import Problem, Solution, require_problem
from implicit_geometry.theory.nonnegative.orthogonal import (
    Columns,
    NotOrthogonal,
    orthogonal_geometry,
    require_no_bias,
    require_orthogonal,
)
from implicit_geometry.theory.numerics.rounding import EPS, ROUNDINGS
from implicit_geometry.theory.ridge.program import Bounds, proven, within_float64
from implicit_geometry.theory.smoothed_labels import SmoothedLabels, weighted_labels

_SMALLEST = 1e-300  # a rho at which the logits are zero
_NEWTON = 100
_JOINT_NEWTON = 40
_SETTLED_JOINTLY = 1e-7  # a step of log(rho), twice
_LONGEST_STEP = 3.0
_SMALLEST_MARGIN = 0.1
_SETTLED = 4 * EPS
_BEYOND = 1e-9  # a threshold, where a class is known to have collapsed


def nonnegative_ridge_solution(problem: Problem) -> Solution:
    """Solve the regularised problem with embeddings that cannot be negative, where they are orthogonal.

    Args:
        problem: with ridge > 0.

    Returns:
        The geometry in absolute scale, and a certificate whose primal and dual values are those of the sum-form
        objective (less the entropy of smoothed labels).

    Raises:
        InputError: the ridge is not positive, the head has a bias, the embeddings are not known to be orthogonal, or
            what float64 does not hold.

    Example:
        >>> solution = nonnegative_ridge_solution(Problem([50, 50, 5, 5], ridge=0.1, features="nonnegative"))
        >>> solution.geometry.embedding.cosine(0, 1), solution.certificate.relative_gap < 1e-10
        (0.0, True)
    """
    require_problem(problem)
    require_no_bias(problem)
    if problem.ridge <= 0:
        raise InputError("problem", "must have ridge > 0", f"{problem.ridge:g}")
    groups = gather(problem)
    with within_float64(problem):
        program = _Program.of(problem, groups)
        wrong, logits = program.solve()
        gradients = program.columns(program.kappa, wrong)
        largest = require_orthogonal(gradients)
        geometry = orthogonal_geometry(groups, logits, program.root_cost)
        bounds = program.bounds(wrong, logits, largest)
        certificate = proven(problem, bounds, not logits.norms().any())
    return Solution(problem, geometry, certificate)


def nonnegative_thresholds(problem: Problem) -> tuple[Floats, NDArray[np.bool_]]:
    """The ridge from which on the embedding of each class is zero; the problem's own plays no part.

    Returns:
        sqrt(n) weight label_scale |class_scale (e_y - softmax(shift))| for hard labels and one price per sample, shape
        (k,), and whether the embeddings are known to be orthogonal there, without which it only marks a scale.

    Raises:
        InputError: the head has a bias.

    Example:
        >>> ridges, exact = nonnegative_thresholds(Problem([40, 10], features="nonnegative"))
        >>> ridges.round(3), exact
        (array([4.472, 2.236]), array([ True,  True]))
    """
    require_no_bias(problem)
    groups = gather(problem)
    with within_float64(problem):
        at_one = _Program.of(replace(problem, ridge=1.0), groups)
        ridges = 1 + at_one.excess(at_one.at_zero(), np.arange(groups.size.size))
        exact = np.array([_is_orthogonal(problem, groups, float(ridge) * (1 + _BEYOND)) for ridge in ridges])
    return np.asarray(ridges[groups.group]), exact[groups.group]


def _is_orthogonal(problem: Problem, groups: ClassGroups, ridge: float) -> bool:
    program = _Program.of(replace(problem, ridge=ridge), groups)
    wrong, _ = program.solve()
    try:
        require_orthogonal(program.columns(program.kappa, wrong))
    except NotOrthogonal:
        return False
    return True


@dataclass(frozen=True)
class _Program:
    """The problems of one label of each group of equal classes: rows are classes, columns labels, (G, G) or (G,).

    A row stands for one class of its group that is not the label's own; ``others`` says how many there are.
    """

    pairs: Pairwise
    size: Floats
    others: Floats
    root_cost: Floats
    sample_weight: Floats  # n weight / ridge
    shift: Floats  # iota, that of the label's own class less its margin
    own_shift: Floats
    label: Floats  # t of a class that is not the label's own
    own_label: Floats
    kappa: Floats

    @classmethod
    def of(cls, problem: Problem, groups: ClassGroups) -> _Program:
        pairs, size = Pairwise.of(problem.parameterization, groups.first), groups.size
        weight, label, own_label = pairs.weight, np.zeros((size.size, size.size)), np.ones_like(size)
        if problem.label_smoothing:
            labels = SmoothedLabels.of(problem.label_smoothing, pairs, size)
            weight, own_label = labels.weight, labels.hard_share
            label = labels.each[:, None] / labels.weight
        elif problem.soft_labels:
            weight, shares = weighted_labels(problem)
            label, own_label = shares.T, shares.diagonal()
        root_cost = np.sqrt(problem.embedding_cost[groups.first])
        sample_weight = problem.counts.values[groups.first] * weight / problem.ridge
        kappa = sample_weight * pairs.label_scale / root_cost
        if not (np.isfinite(kappa).all() and (kappa > 0).all()):
            raise FloatingPointError
        return cls(
            pairs,
            size,
            size[:, None] - np.eye(size.size),
            root_cost,
            sample_weight,
            pairs.shift[:, None] * np.ones_like(size),
            pairs.shift - pairs.margin,
            label,
            own_label,
            kappa,
        )

    @property
    def symmetric(self) -> bool:
        """Whether nothing tells the wrong classes of a label apart."""
        return all(bool((rows == rows[:1]).all()) for rows in (self.pairs.class_scale[:, None], self.shift, self.label))

    def solve(self) -> tuple[Floats, Columns]:
        """Probabilities of wrong classes and the mean logits."""
        return self.solve_symmetric() if self.symmetric else self.solve_any()

    def solve_symmetric(self) -> tuple[Floats, Columns]:
        """Every wrong class gets x more than its label: |p - t| = x sqrt(k (k - 1)), and z is along e_y - 1 / k."""
        k, scale = float(self.size.sum()), self.pairs.true_slope
        own_offset = self.own_shift - self.shift[0]
        at_zero = 1 / (k - 1 + np.exp(own_offset))  # the probability of a wrong class
        wrong = np.minimum(self.label[0] + 1 / (self.kappa * self.pairs.class_scale * np.sqrt(k * (k - 1))), at_zero)
        rise = (np.log1p(-(k - 1) * wrong) - np.log(wrong) - own_offset) / scale
        rise = np.where(wrong < at_zero, np.maximum(rise, 0.0), 0.0)
        base = np.tile(-rise / k, (self.size.size, 1))
        return np.tile(wrong, (self.size.size, 1)), Columns(self.size, base, rise)

    def solve_any(self) -> tuple[Floats, Columns]:
        """The rho of every label, 0 where its logits are zero."""
        labels = np.arange(self.size.size)
        rho, wrong = np.zeros(labels.size), self.at_zero()
        alive = labels[self.excess(wrong, labels) > 0]
        rho[alive], wrong[:, alive], settled = self.descend(alive)
        rest = alive[~settled]
        if rest.size:
            rho[rest] = self.bracketed(rest)
            wrong[:, rest] = self.probabilities(rho[rest], rest)
        return wrong, self.columns(rho, wrong)

    def at_zero(self) -> Floats:
        """The probabilities of wrong classes without logits."""
        top = np.maximum(self.shift.max(axis=0), self.own_shift)
        odds = np.exp(self.shift - top)
        return np.asarray(odds / ((self.others * odds).sum(axis=0) + np.exp(self.own_shift - top)))

    def descend(self, labels: Ints) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Newton's method in log(rho) and L together, from where wrong classes are alike.

        Returns:
            The rho, the probabilities of wrong classes, and whether these are settled, for the labels.
        """
        delta, scale, others = self.pairs.class_scale, self.pairs.label_scale[labels], self.others[:, labels]
        kappa, label, shift = self.kappa[labels], self.label[:, labels], self.shift[:, labels]
        own_delta, own_label, own_shift = delta[labels], self.own_label[labels], self.own_shift[labels]
        log_rho, log_sum = self.alike(labels)
        settled, wrong = np.zeros(labels.size, dtype=bool), np.zeros_like(label)
        for _ in range(_JOINT_NEWTON):
            at = scale * np.exp(log_rho)
            a, own_a = at * delta[:, None] ** 2, at * own_delta**2
            omega = wrightomega(np.log(a) + a * label + shift - log_sum)
            own_omega = wrightomega(np.log(own_a) + own_a * own_label + own_shift - log_sum)
            wrong, right = omega / a, own_omega / own_a
            rise = wrong - label
            own_rise = -(others * rise).sum(axis=0)
            by_sum, own_by_sum = -wrong / (1 + omega), -right / (1 + own_omega)
            by_rho, own_by_rho = by_sum * a * rise, own_by_sum * own_a * own_rise
            pull, own_pull = others * delta[:, None] ** 2 * rise, own_delta**2 * own_rise
            length = (pull * rise).sum(axis=0) + own_pull * own_rise
            total = (others * wrong).sum(axis=0) + right - 1, 0.5 * np.log(length * kappa**2)
            total_by = (others * by_rho).sum(axis=0) + own_by_rho, (others * by_sum).sum(axis=0) + own_by_sum
            length_by = (
                ((pull * by_rho).sum(axis=0) + own_pull * own_by_rho) / length,
                ((pull * by_sum).sum(axis=0) + own_pull * own_by_sum) / length,
            )
            determinant = total_by[0] * length_by[1] - total_by[1] * length_by[0]
            step = (length_by[1] * total[0] - total_by[1] * total[1]) / determinant
            log_sum = log_sum - (total_by[0] * total[1] - length_by[0] * total[0]) / determinant
            log_rho = log_rho - np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
            settled, before = np.abs(step) <= _SETTLED_JOINTLY, settled
            if (settled & before).all():
                break
        return np.exp(log_rho), wrong, settled & np.isfinite(log_rho)

    def alike(self, labels: Ints) -> tuple[Floats, Floats]:
        """log(rho) and L of each label as if its wrong classes were alike."""
        k, scale = float(self.size.sum()), self.pairs.class_scale[labels]
        rise = np.minimum(1 / (self.kappa[labels] * scale * np.sqrt(k * (k - 1))), 0.5 / k)
        right = np.maximum(self.own_label[labels] - (k - 1) * rise, 0.5 * self.own_label[labels])
        margin = np.log(right / (1 - right)) + np.log(k - 1)
        rho = np.maximum(margin, _SMALLEST_MARGIN) / (k * self.pairs.label_scale[labels] * scale**2 * rise)
        return np.log(rho), self.own_shift[labels] + margin * (k - 1) / k - np.log(right)

    def bracketed(self, alive: Ints) -> Floats:
        """The rho of labels whose logits are not zero, by root finding."""
        high = np.ones(alive.size)
        while (growing := self.excess(self.probabilities(high, alive), alive) > 0).any():
            high = np.where(growing, high * 16, high)
        found = find_root(
            lambda log_rho, columns: self.excess(self.probabilities(np.exp(log_rho), columns), columns),
            (np.full(alive.size, np.log(_SMALLEST)), np.log(high)),
            args=(alive,),
            tolerances={"xatol": 4 * EPS, "xrtol": 4 * EPS, "fatol": 0.0, "frtol": 0.0},
        )
        return np.asarray(np.exp(found.x))

    def own_rise(self, wrong: Floats, labels: Ints) -> Floats:
        """The probability of the label's own class less its label, by what the others have too much."""
        return -np.asarray((self.others[:, labels] * (wrong - self.label[:, labels])).sum(axis=0))

    def excess(self, wrong: Floats, labels: Ints) -> Floats:
        """Length of class_scale (p - t) times kappa, less 1, for the given labels."""
        off = (self.pairs.class_scale[:, None] * (wrong - self.label[:, labels])) ** 2
        on_label = (self.pairs.class_scale[labels] * self.own_rise(wrong, labels)) ** 2
        return np.asarray(np.sqrt((self.others[:, labels] * off).sum(axis=0) + on_label) * self.kappa[labels] - 1)

    def probabilities(self, rho: Floats, labels: Ints) -> Floats:
        """Those of wrong classes at z = -rho class_scale (p - t), for the given labels."""
        delta, scale, others = self.pairs.class_scale, self.pairs.label_scale[labels] * rho, self.others[:, labels]
        label, own_label = self.label[:, labels], self.own_label[labels]
        shift, own_shift = self.shift[:, labels], self.own_shift[labels]
        a, own_a = scale * delta[:, None] ** 2, scale * delta[labels] ** 2
        rise, own_rise = np.log(a) + a * label + shift, np.log(own_a) + own_a * own_label + own_shift
        # p = 1 for one class gives an L below the right one; the sum is convex and falling in L
        present = np.where(others > 0, a * (label - 1) + shift, -np.inf)
        log_sum = np.maximum(present.max(axis=0), own_a * (own_label - 1) + own_shift)
        for _ in range(_NEWTON):
            omega, own_omega = wrightomega(rise - log_sum), wrightomega(own_rise - log_sum)
            wrong, right = omega / a, own_omega / own_a
            total = (others * wrong).sum(axis=0) + right
            step = (total - 1) / ((others * wrong / (1 + omega)).sum(axis=0) + right / (1 + own_omega))
            log_sum = log_sum + step
            if (np.abs(step) <= _SETTLED * (1 + np.abs(log_sum))).all():
                break
        return np.asarray(wrong)

    def columns(self, factor: Floats, wrong: Floats) -> Columns:
        """Factor class_scale (t - p): the logits with rho, with kappa the gradients B_y, of norm at most 1."""
        base = factor * self.pairs.class_scale[:, None] * (self.label - wrong)
        on_label = -factor * self.pairs.class_scale * self.own_rise(wrong, np.arange(self.size.size))
        return Columns(self.size, base, on_label - base.diagonal())

    def bounds(self, wrong: Floats, logits: Columns, largest: float) -> Bounds:
        """Values, in units of the ridge, that enclose the optimum.

        Args:
            wrong: probabilities of wrong classes.
            logits: z_y.
            largest: eigenvalue of :func:`require_orthogonal`; above 1, the probabilities are moved to the labels.
        """
        own_logit = logits.base.diagonal() + logits.own
        scale = self.pairs.label_scale
        seen = scale * self.pairs.class_scale[:, None] * logits.base + self.shift
        own_seen = scale * self.pairs.class_scale * own_logit + self.own_shift
        odds = np.where(self.others > 0, seen - own_seen, -np.inf)  # against the label
        losses = np.log1p((self.others * np.exp(odds)).sum(axis=0))
        smoothed = np.where(self.label > 0, self.others * self.label, 0.0)
        losses = losses - (smoothed * np.where(self.others > 0, odds, 0.0)).sum(axis=0)
        entropy = -(self.others * xlogy(self.label, self.label)).sum(axis=0) - xlogy(self.own_label, self.own_label)
        norms = self.root_cost * logits.norms()
        primal = self.sample_weight * (losses - entropy) + norms
        shrink = 1 / max(1.0, np.sqrt(largest) * (1 + ROUNDINGS * EPS))
        moved = self.label + shrink * (wrong - self.label)
        rest = (self.others * moved).sum(axis=0)
        surprise = -(self.others * xlogy(moved, moved)).sum(axis=0) - xlog1py(1 - rest, -rest)
        tilt = (self.others * (moved - self.label) * np.where(self.others > 0, self.shift - self.own_shift, 0.0)).sum(
            axis=0
        )
        dual = self.sample_weight * (surprise - entropy + tilt)
        sizes = self.sample_weight * (1 + np.abs(losses) + np.abs(surprise) + entropy + np.abs(tilt)) * EPS * ROUNDINGS
        error = self.size @ (sizes + norms * EPS * ROUNDINGS * self.size.size)
        return Bounds(float(self.size @ primal + error), float(self.size @ dual - error), float(error))
