"""Nonnegative features where no closed form is known: bounded descent on heads and features, and what bounds it.

The objective in W, the scaled embeddings V = diag(sqrt(m)) H >= 0 and the bias is descended from several starts. A
lower bound holds whatever the descent found. With p any probabilities, t the labels and B = -(gradient of the loss by
the scaled mean logits) / ridge, one row per label, the dual value of p is a bound if x^T (1 - B B^T) x >= 0 for all
x >= 0; for that it is enough that 1 - B B^T - N has no negative eigenvalue for some N >= 0. At an optimum
(1 - B B^T) V = N V with N the multipliers of V >= 0, zero for pairs of classes whose embeddings are not orthogonal: the
N nearest to that is taken, and p is moved to the labels until no eigenvalue is negative. The bound is tight wherever
such an N exists, as it did in nearly all problems tried.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize, nnls
from scipy.sparse.linalg import LinearOperator, minres
from scipy.special import xlogy

from implicit_geometry._validate import Floats, InputError
from implicit_geometry.certificate import TOLERANCE, Certificate, Status
from implicit_geometry.geometry import Geometry
from implicit_geometry.parameterization import Pairwise
from implicit_geometry.problem import Problem, Solution, require_problem
from implicit_geometry.theory.numerics.rounding import EPS, ROUNDINGS
from implicit_geometry.theory.ridge.bias.solution import bias_ridge_solution
from implicit_geometry.theory.ridge.plain import ridge_solution
from implicit_geometry.theory.ridge.program import out_of_range, within_float64
from implicit_geometry.theory.ridge.smoothed_solution import smoothed_ridge_solution
from implicit_geometry.theory.smoothed_labels import weighted_labels

MOST_CLASSES = 30
"""Beyond, a problem without closed form is refused."""

_STARTS = 6
_NEWTON = 6
_DUST = 1e-7  # length of the features of a collapsed class, over the size of the problem's
_ORTHOGONAL = 1e-9  # cosine of features that counts as zero
OPTIONS = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-16, "gtol": 1e-11, "maxcor": 60}
"""Of SciPy's bounded descent."""


def descended_solution(problem: Problem) -> Solution:
    """Descend the regularised objective over W, H >= 0 and the bias from several starts, and bound what is left.

    Args:
        problem: with ridge > 0, nonnegative features and at most 30 classes.

    Raises:
        InputError: the ridge is not positive, features are free, there are more classes, or what float64 does not hold.

    Returns:
        The best geometry found, and a certificate whose dual value is a lower bound of the optimum. Status DESCENDED
        where the bounds leave more than the tolerance.

    Example:
        >>> found = descended_solution(Problem([100, 10, 10, 10], ridge=0.1, bias=True, features="nonnegative"))
        >>> found.geometry.embedding.entry(0, 0), round(found.geometry.embedding.cosine(1, 2), 2)
        (0.0, 0.26)
        >>> found.certificate.status.value
        'optimal'
    """
    _check(problem)
    with within_float64(problem):
        program = _Program.of(problem)
        found = program.solve()
        w, h, b = program.split(found)
        primal, dual = program.value(found) + program.rounding(found), program.lower_bound(found)
        bounds = primal * problem.ridge, dual * problem.ridge
        if not np.isfinite(bounds[0]):
            raise out_of_range(problem.ridge)
        collapsed = not (w.any() or h.any())
        certificate = Certificate(*bounds, smallest_margin=None, collapsed=collapsed, descended=True)
        if certificate.status is Status.DESCENDED:
            certificate = replace(certificate, dual=max(certificate.dual, _of_free_features(problem)))
        geometry = Geometry.from_factors(w, h / program.root_cost[:, None])
    return Solution(problem, geometry, certificate, program.centred(b) if problem.bias else None)


def _check(problem: Problem) -> None:
    require_problem(problem)
    if problem.ridge <= 0 or problem.features == "free":
        given = f"ridge={problem.ridge:g} and features={problem.features!r}"
        raise InputError("problem", "must have ridge > 0 and nonnegative features", given)
    require_few_classes(problem)


def require_few_classes(problem: Problem) -> None:
    """Refuse more classes than a descent takes."""
    if problem.num_classes > MOST_CLASSES:
        raise InputError("problem", f"must have at most {MOST_CLASSES} classes for a descent", problem.num_classes)


def _of_free_features(problem: Problem) -> float:
    """A lower bound of the optimum with free features."""
    free = replace(problem, features="free")
    if problem.soft_labels:
        return smoothed_ridge_solution(free).certificate.dual
    return (bias_ridge_solution if problem.bias else ridge_solution)(free).certificate.dual


@dataclass(frozen=True)
class _Program:
    """The objective over the ridge, in x = (W, H sqrt(m), b), flattened; rows of matrices are classes, (k, k) by label.

    Attributes:
        classes: k.
        dimension: d of W and H.
        bias_weight: ridge of the bias over that of the rest; None without a bias.
        root_cost: sqrt(m), shape (k,).
        sample_weight: n weight / ridge, shape (k,).
        class_scale: shape (k,).
        label_scale: shape (k,).
        shift: what is added to the logits of label y, row y.
        label: t of label y, row y.
    """

    classes: int
    dimension: int
    bias_weight: float | None
    root_cost: Floats
    sample_weight: Floats
    class_scale: Floats
    label_scale: Floats
    shift: Floats
    label: Floats

    @classmethod
    def of(cls, problem: Problem) -> _Program:
        k = problem.num_classes
        pairs = Pairwise.of(problem.parameterization, np.arange(k))
        weight, label = pairs.weight, np.eye(k)
        if problem.soft_labels:
            weight, label = weighted_labels(problem)
        return cls(
            k,
            2 * k,
            problem.relative_bias_ridge if problem.bias else None,
            np.sqrt(problem.embedding_cost),
            problem.counts.values * weight / problem.ridge,
            pairs.class_scale,
            pairs.label_scale,
            pairs.shift - np.diag(pairs.margin),
            label,
        )

    @property
    def slope(self) -> Floats:
        """Derivative of what label y sees of class c by the logit, row y, column c."""
        return np.outer(self.label_scale, self.class_scale)

    def starts(self) -> list[Floats]:
        """Orthogonal embeddings, then random ones, all of a size that the ridge lets grow."""
        k, d = self.classes, self.dimension
        rng = np.random.default_rng(0)
        own = np.hstack([np.eye(k), np.zeros((k, d - k))])
        apart = own - 1 / k * np.repeat([1.0, 0.0], [k, d - k])
        size = np.sqrt(np.log1p(self.sample_weight))[:, None]
        bias = np.zeros(0 if self.bias_weight is None else k)
        random = [
            np.concatenate([rng.normal(size=k * d), np.abs(rng.normal(size=k * d)), bias]) for _ in range(_STARTS - 1)
        ]
        return [np.concatenate([(apart * size).ravel(), (own * size + 1e-2).ravel(), bias]), *random]

    def solve(self) -> Floats:
        """The best of descents from all starts, or the first that is proven optimal."""
        best = None
        for start in self.starts():
            found = self.descend(start)
            if best is None or self.value(found) < self.value(best):
                best = self.polished(self.without_dust(found))
                if self.gap(best) <= TOLERANCE * self.value(best):
                    break
        assert best is not None
        return best

    def descend(self, start: Floats) -> Floats:
        """A local minimum."""
        size = self.classes * self.dimension
        rest = start.size - 2 * size
        bounds = [(None, None)] * size + [(0.0, None)] * size + [(None, None)] * rest
        return np.asarray(
            minimize(self.value_and_gradient, start, jac=True, method="L-BFGS-B", bounds=bounds, options=OPTIONS).x
        )

    def polished(self, x: Floats) -> Floats:
        """Newton steps from a local minimum on, in what is not at its bound, as long as they close the gap.

        The value is known to rounding there, its gradient is not yet.
        """
        features = slice(self.classes * self.dimension, 2 * self.classes * self.dimension)
        gap = self.gap(x)
        for _ in range(_NEWTON):
            _, gradient = self.value_and_gradient(x)
            free = np.ones_like(x)
            free[features] = x[features] > gradient[features]
            hessian = LinearOperator((x.size, x.size), lambda v, at=x, free=free: free * self.curvature(at, free * v))
            step, _ = minres(hessian, free * gradient, rtol=1e-10, maxiter=4 * x.size)
            trial = x - free * step
            trial[features] = np.where(free[features] > 0, np.maximum(trial[features], 0.0), 0.0)
            if not (closer := self.gap(trial)) < gap:
                break
            x, gap = trial, closer
        return x

    def without_dust(self, x: Floats) -> Floats:
        """Zero for features that descent leaves next to zero, and for heads where there are no features."""
        w, h, b = self.split(x)
        lengths = np.linalg.norm(h, axis=1, keepdims=True)
        kept = h * (lengths > _DUST * np.maximum(np.sqrt(self.sample_weight).max(), lengths.max()))
        return np.concatenate([(w * kept.any()).ravel(), kept.ravel(), b])

    def gap(self, x: Floats) -> float:
        """What its value has over the lower bound."""
        return self.value(x) + self.rounding(x) - self.lower_bound(x)

    def curvature(self, x: Floats, direction: Floats) -> Floats:
        """The Hessian of the objective times a direction."""
        (w, h, b), (dw, dh, db) = self.split(x), self.split(direction)
        probability, _ = _softmax_and_losses(self.seen(x), self.label)
        turned = (h @ dw.T + dh @ w.T) / self.root_cost[:, None]
        seen = self.slope * (turned + db if db.size else turned)
        change = probability * (seen - (probability * seen).sum(axis=1, keepdims=True))
        scale = self.sample_weight[:, None] * self.slope
        by_logits = scale * change
        by_scaled = by_logits / self.root_cost[:, None]
        old = scale * (probability - self.label) / self.root_cost[:, None]
        by_w, by_h = by_scaled.T @ h + old.T @ dh + dw, by_scaled @ w + old @ dw + dh
        by_bias = by_logits.sum(axis=0) + (self.bias_weight or 0.0) * db if b.size else b
        return np.concatenate([by_w.ravel(), by_h.ravel(), by_bias])

    def split(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """W, H sqrt(m), and b, empty without a bias."""
        size, shape = self.classes * self.dimension, (self.classes, self.dimension)
        return x[:size].reshape(shape), x[size : 2 * size].reshape(shape), x[2 * size :]

    def seen(self, x: Floats) -> Floats:
        """What the softmax of each label sees, row y."""
        w, h, b = self.split(x)
        logits = (h / self.root_cost[:, None]) @ w.T
        return np.asarray(self.slope * (logits + b if b.size else logits) + self.shift)

    def value(self, x: Floats) -> float:
        """The objective, less the entropy of the labels."""
        return float(self.value_and_gradient(x)[0])

    def value_and_gradient(self, x: Floats) -> tuple[float, Floats]:
        """The objective and its gradient."""
        w, h, b = self.split(x)
        seen = self.seen(x)
        probability, losses = _softmax_and_losses(seen, self.label)
        by_logits = self.sample_weight[:, None] * self.slope * (probability - self.label)
        by_scaled = by_logits / self.root_cost[:, None]
        beta = self.bias_weight or 0.0
        value = self.sample_weight @ losses + 0.5 * (x[: 2 * w.size] @ x[: 2 * w.size] + beta * (b @ b))
        by_bias = by_logits.sum(axis=0) + beta * b if b.size else b
        return float(value), np.concatenate([(by_scaled.T @ h + w).ravel(), (by_scaled @ w + h).ravel(), by_bias])

    def rounding(self, x: Floats) -> float:
        """By how much rounding may have lowered :meth:`value`."""
        size = np.abs(self.seen(x)).max(axis=1) + 1
        return float(ROUNDINGS * EPS * self.classes * (self.sample_weight @ size + x @ x))

    def lower_bound(self, x: Floats) -> float:
        """Dual value of the probabilities at a point, moved to the labels until they are feasible, less rounding."""
        probability, _ = _softmax_and_losses(self.seen(x), self.label)
        factor = self.sample_weight[:, None] * self.slope / self.root_cost[:, None]
        gradients = factor * (self.label - probability)  # B, row y
        products = gradients @ gradients.T
        allowed = multipliers(products, self.split(x)[1])
        largest = np.linalg.eigvalsh(products + allowed)[-1] * (1 + ROUNDINGS * self.classes * EPS)
        moved = self.label + (probability - self.label) / np.sqrt(max(1.0, float(largest)))
        surprise = xlogy(self.label, self.label).sum(axis=1) - xlogy(moved, moved).sum(axis=1)
        tilt = ((moved - self.label) * (self.shift - self.shift.diagonal()[:, None])).sum(axis=1)
        dual = self.sample_weight @ (surprise + tilt)
        if self.bias_weight is not None:
            by_bias = (self.sample_weight[:, None] * self.slope * (moved - self.label)).sum(axis=0)
            if self.bias_weight:
                dual -= by_bias @ by_bias / (2 * self.bias_weight)
            else:
                rounding = ROUNDINGS * EPS * self.classes * (self.sample_weight @ self.slope)
                dual -= float((np.abs(by_bias) + rounding) @ self.largest_bias(self.value(x) + self.rounding(x)))
        sizes = self.sample_weight @ (1 + np.abs(surprise) + np.abs(self.shift).max(axis=1))
        return float(dual - ROUNDINGS * EPS * self.classes * sizes)

    def largest_bias(self, value: float) -> Floats:
        """What no bias of a lower objective exceeds, shape (k,), but for multiples of 1 / class_scale, which are free.

        The loss of label y is at least t_y times what any class sees more than y does; |W| |H sqrt(m)| is at most the
        objective.
        """
        entropy = -xlogy(self.label, self.label).sum(axis=1)
        lead = (value + self.sample_weight @ entropy) / (self.sample_weight * self.label.diagonal())
        apart = (lead + np.ptp(self.shift, axis=1)) / self.label_scale
        apart = apart + 2 * self.class_scale.max() * value / self.root_cost
        return np.asarray(apart.max() / self.class_scale)

    def centred(self, b: Floats) -> Floats:
        """Of all biases of equal loss the one that solutions state: sum_c b_c / class_scale_c = 0."""
        if self.bias_weight:
            return b
        null = 1 / self.class_scale
        return np.asarray(b - (b @ null) / (null @ null) * null)


def multipliers(products: Floats, features: Floats) -> Floats:
    """N >= 0 of pairs of classes with orthogonal features, zero for others, for which N V is nearest to (1 - B B^T) V.

    Args:
        products: B B^T, shape (k, k).
        features: V >= 0, shape (k, d).
    """
    k, inner = len(products), features @ features.T
    lengths = np.sqrt(inner.diagonal())
    rows, columns = np.nonzero(np.tril(inner <= _ORTHOGONAL * np.outer(lengths, lengths), -1))
    pairs = np.arange(rows.size)
    by_pair = np.zeros((rows.size, k, features.shape[1]))
    by_pair[pairs, rows] += features[columns]
    by_pair[pairs, columns] += features[rows]
    wanted = features - products @ features
    found = np.zeros((k, k))
    if rows.size:
        found[rows, columns], _ = nnls(by_pair.reshape(rows.size, -1).T, wanted.ravel())
    return found + found.T


def _softmax_and_losses(seen: Floats, label: Floats) -> tuple[Floats, Floats]:
    """Probabilities, and the losses of labels less their entropy, row by row."""
    seen = seen - seen.max(axis=1, keepdims=True)
    log_p = seen - np.log(np.exp(seen).sum(axis=1, keepdims=True))
    return np.exp(log_p), np.asarray((xlogy(label, label) - label * log_p).sum(axis=1))
