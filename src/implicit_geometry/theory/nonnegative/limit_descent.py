"""The limit with nonnegative features where embeddings are not orthogonal: descent on features, and what bounds it.

With Y the mean logits (rows are labels, times sqrt(m)) and V = diag(sqrt(m)) H >= 0, the head of least length that
gives them is W^T = V^T K^-1 Y with K = V V^T. So the limit is the least of

    (tr(Y^T Q Y) + tr K) / 2   over V >= 0,   Q = K^-1,   or K^-1 - K^-1 r r^T K^-1 / (r^T K^-1 r) with a free bias,

which may add multiples of r = sqrt(m) to the columns of Y. Soft labels say what Y is; hard ones ask for margins of at
least 1, so that Y may have excess margins. T = Q Y is the multiplier of Y = V W^T: any T with r^T T = 0, and for hard
labels without pull on wrong classes, bounds the optimum from below by <T, Y> where 1 - T T^T - N has no negative
eigenvalue for some N >= 0. At an optimum (1 - T T^T) V = N V, as for a ridge.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator, minres

from implicit_geometry._validate import Floats, InputError
from implicit_geometry.certificate import TOLERANCE, Certificate
from implicit_geometry.geometry import Geometry
from implicit_geometry.parameterization import Pairwise
from implicit_geometry.problem import Problem, Solution, require_problem
from implicit_geometry.theory.nonnegative.descent import OPTIONS, multipliers, require_few_classes
from implicit_geometry.theory.numerics.rounding import EPS, ROUNDINGS
from implicit_geometry.theory.smoothed_labels import least_loss_logits

_STARTS = 6
_NEWTON = 8
_SETTLED = 1e-9
_BLURS = (1e-7, 1e-10, 1e-13)  # added to K, over the size of the logits
_DUST = 1e-4  # squared length of the features of a class without any, over the mean
_FLAT = 1e-3  # eigenvalue of K that counts as none, over the mean
_STIFFNESS = 30.0  # of the penalty on what features have along a direction of none
_ROUNDS = 20


def descended_limit_solution(problem: Problem) -> Solution:
    """Descend on nonnegative features in the limit of vanishing ridge, and bound what is left.

    Args:
        problem: with nonnegative features and at most 30 classes; its ridge is taken as 0.

    Returns:
        The best geometry found, scaled as :func:`implicit_geometry.theory.limit.nonnegative.nonnegative_limit_solution`
        has it, the bias, and a certificate whose dual value is a lower bound of the optimum. Status DESCENDED where the
        bounds leave more than the tolerance.

    Raises:
        InputError: features are free, there are more classes, or scales leave float64.

    Example:
        >>> found = descended_limit_solution(Problem([100, 10, 10, 10], bias=True, features="nonnegative"))
        >>> round(found.geometry.embedding.entry(0, 0), 6), round(found.geometry.embedding.cosine(1, 2), 3)
        (0.0, 0.25)
        >>> found.certificate.status.value
        'optimal'
    """
    require_problem(problem)
    if problem.features == "free":
        raise InputError("features", "must be 'nonnegative' here", "'free'")
    require_few_classes(problem)
    program = _Program.of(problem)
    found = program.solve()
    geometry = Geometry.from_factors(found.head, found.features / program.root_cost[:, None])
    certificate = Certificate(found.primal, found.dual, smallest_margin=found.margin, descended=True)
    return Solution(problem, geometry, certificate, found.bias if problem.bias else None)


@dataclass(frozen=True)
class _Found:
    """Factors with Y = V W^T, scaled to margins of at least 1 where labels are hard, and what they prove."""

    head: Floats
    features: Floats
    bias: Floats
    margin: float | None
    primal: float
    dual: float

    def or_better(self, other: _Found | None) -> _Found:
        """The one of the smaller objective, with the better of both lower bounds."""
        if other is None:
            return self
        return replace(min(self, other, key=lambda each: each.primal), dual=max(self.dual, other.dual))


class _Flat(NamedTuple):
    """A direction that V is held orthogonal to, where K would be singular along it.

    Attributes:
        direction: unit vector u with u^T Y = 0, shape (k,).
        pull: multipliers of V^T u = 0, shape (d,).
    """

    direction: Floats
    pull: Floats


@dataclass(frozen=True)
class _Program:
    """The limit in x = (V, excess margins of hard labels), flattened; rows of matrices are labels, (k, k).

    Attributes:
        logits: Y without excess margins.
        opening: by how much a unit of excess margin lowers the logit of a wrong class; None for soft labels.
        null: unit vector of logits that change no loss, shape (k,).
        along_bias: r of a free bias, a unit vector; None without one.
        root_cost: sqrt(m), shape (k,).
        blur: what is added to K.
        silent: the class whose features are zero; the others have no bias then, which it needs.
        flat: what V is held orthogonal to; None for nothing.
    """

    logits: Floats
    opening: Floats | None
    null: Floats
    along_bias: Floats | None
    root_cost: Floats
    blur: float
    silent: int | None = None
    flat: _Flat | None = None

    @classmethod
    def of(cls, problem: Problem) -> _Program:
        pairs, root_cost = Pairwise.of(problem.parameterization), np.sqrt(problem.embedding_cost)
        null = pairs.null / np.linalg.norm(pairs.null)
        opening = None
        with np.errstate(all="ignore"):
            if problem.soft_labels:
                logits = least_loss_logits(problem, pairs).T
            else:
                opening = (root_cost / pairs.slopes).T * (1 - np.eye(root_cost.size))
                logits = -opening
        logits = logits - np.outer(logits @ null, null)
        if not np.isfinite(np.array([np.abs(logits).max(), 1 / np.abs(logits).max(), 1 / null.min()]) ** 4).all():
            raise InputError("parameterization", "must keep its scales and shifts within float64's range", "others")
        along_bias = root_cost / np.linalg.norm(root_cost) if problem.free_bias else None
        return cls(logits, opening, null, along_bias, root_cost, 0.0)

    @property
    def classes(self) -> int:
        return len(self.logits)

    @property
    def dimension(self) -> int:
        """Of V, twice the number of classes: its Gram matrix may need more rays than it has rows."""
        return 2 * self.classes

    @property
    def size(self) -> float:
        """Of the logits, and so of K."""
        return float(np.linalg.norm(self.logits, 2))

    def solve(self) -> _Found:
        """The best of descents from all starts, or the first that is proven optimal."""
        best = None
        for start in self.starts():
            best = self.refined(start).or_better(best)
            if best.primal - best.dual <= TOLERANCE * best.primal:
                break
        assert best is not None
        return best

    def starts(self) -> list[Floats]:
        """Orthogonal embeddings, then random ones."""
        k, d = self.classes, self.dimension
        rng = np.random.default_rng(0)
        own = np.hstack([np.diag(np.sqrt(np.linalg.norm(self.logits, axis=1))), np.zeros((k, d - k))])
        size = np.sqrt(self.size)
        random = [size * np.abs(rng.normal(size=(k, d))) / np.sqrt(d) for _ in range(_STARTS - 1)]
        excess = np.zeros(0 if self.opening is None else k * k)
        return [np.concatenate([v.ravel(), excess]) for v in (own + 1e-2 * size / k, *random)]

    def refined(self, x: Floats) -> _Found:
        """Descents with less and less added to K, with the class left out that has no features."""
        best = None
        program = self
        for blur in _BLURS:
            program = replace(program, blur=blur * self.size)
            x = program.polished(program.descend(x))
            best = program.judged(x).or_better(best)
            v = program.split(x)[0]
            lengths = (v**2).sum(axis=1)
            if self.along_bias is not None and program.silent is None and lengths.min() < _DUST * lengths.mean():
                program = replace(program, silent=int(lengths.argmin()))
            if self.along_bias is None:
                u = self.without_logits(x)
                if ((u @ v) ** 2).sum() < _FLAT * lengths.mean():
                    best = self.flattened(x, u).or_better(best)
                    break
        assert best is not None
        return best

    def without_logits(self, x: Floats) -> Floats:
        """The unit vector u with u^T Y = 0, shape (k,)."""
        return np.asarray(np.linalg.svd(self.wanted(self.split(x)[1])[0])[0][:, -1])

    def flattened(self, x: Floats, u: Floats) -> _Found:
        """What is found from a point on with V held orthogonal to a direction u."""
        flat = _Flat(u, np.zeros(self.dimension))
        program = replace(self, blur=_BLURS[-1] * self.size, flat=flat)
        for _ in range(_ROUNDS):
            x = program.descend(x)
            along = u @ program.split(x)[0]
            flat = flat._replace(pull=flat.pull + _STIFFNESS * along)
            program = replace(program, flat=flat)
            if np.abs(along).max() <= _SETTLED * np.sqrt(self.size):
                break
        return program.judged(program.polished(x))

    def descend(self, x: Floats) -> Floats:
        """A local minimum."""
        v_size, k = self.classes * self.dimension, self.classes
        most = np.full((k, self.dimension), np.inf)
        if self.silent is not None:
            most[self.silent] = 0.0
        excess = np.where(np.eye(k) > 0, 0.0, np.inf).ravel()[: x.size - v_size]
        bounds = np.column_stack([np.zeros_like(x), np.concatenate([most.ravel(), excess])])
        start = np.minimum(x, bounds[:, 1])
        return np.asarray(
            minimize(self.value_and_gradient, start, jac=True, method="L-BFGS-B", bounds=bounds, options=OPTIONS).x
        )

    def polished(self, x: Floats) -> Floats:
        """Newton steps in what is not at its bound, as long as they shorten the gradient there."""
        value, gradient = self.value_and_gradient(x)
        for _ in range(_NEWTON):
            free = x > np.maximum(gradient, 0.0)
            hessian = LinearOperator((x.size, x.size), lambda v, at=x, free=free: free * self.curvature(at, free * v))
            step, _ = minres(hessian, free * gradient, rtol=1e-12, maxiter=4 * x.size)
            trial = np.where(free, np.maximum(x - step, 0.0), x)
            trial_value, trial_gradient = self.value_and_gradient(trial)
            shorter = np.linalg.norm(free * trial_gradient) < 0.5 * np.linalg.norm(free * gradient)
            if not (shorter and trial_value <= value * (1 + 1e-12)):
                break
            x, value, gradient = trial, trial_value, trial_gradient
        return x

    def split(self, x: Floats) -> tuple[Floats, Floats]:
        """V, and the excess margins."""
        v_size, k = self.classes * self.dimension, self.classes
        excess = x[v_size:].reshape(k, k) if self.opening is not None else np.zeros((k, k))
        return x[:v_size].reshape(k, self.dimension), excess

    def wanted(self, excess: Floats) -> tuple[Floats, Floats]:
        """Y, and the part of the bias that the silent class needs, shape (k,)."""
        y = self.logits
        if self.opening is not None:
            y = y - self.opening * excess
            y = y - np.outer(y @ self.null, self.null)
        if self.silent is None or self.along_bias is None:
            return y, np.zeros(self.classes)
        needed = y[self.silent] / self.along_bias[self.silent]
        return y - np.outer(self.along_bias, needed), needed

    def inverse(self, v: Floats) -> tuple[Floats, Floats]:
        """K^-1, or its inverse across u, and Q."""
        if self.flat is not None:
            u = self.flat.direction
            across = v - np.outer(u, u @ v)
            q = np.linalg.inv(across @ across.T + self.blur * np.eye(self.classes) + self.size * np.outer(u, u))
            q = q - np.outer(u, u @ q)
            q = q - np.outer(q @ u, u)
            return q, q
        k_inverse = np.linalg.inv(v @ v.T + self.blur * np.eye(self.classes))
        k_inverse = 0.5 * (k_inverse + k_inverse.T)
        if self.along_bias is None or self.silent is not None:
            return k_inverse, k_inverse
        along = k_inverse @ self.along_bias
        return k_inverse, k_inverse - np.outer(along, along) / (self.along_bias @ along)

    def value_and_gradient(self, x: Floats) -> tuple[float, Floats]:
        """The objective with K blurred, and its gradient."""
        v, excess = self.split(x)
        y, _ = self.wanted(excess)
        _, q = self.inverse(v)
        t = q @ y
        value = 0.5 * float((t * y).sum() + (v**2).sum())
        by_v = v - t @ (t.T @ v)
        if self.flat is not None:
            u, pull = self.flat
            along = u @ v
            value += float(pull @ along + 0.5 * _STIFFNESS * (along @ along))
            by_v = by_v + np.outer(u, pull + _STIFFNESS * along)
        return value, np.concatenate([by_v.ravel(), self.by_excess(t).ravel()[: x.size - v.size]])

    def by_excess(self, t: Floats) -> Floats:
        """The derivative by excess margins where that by Y is t."""
        if self.opening is None:
            return np.zeros_like(t)
        t = self.without_bias(t)
        return np.asarray(-self.opening * (t - np.outer(t @ self.null, self.null)))

    def without_bias(self, t: Floats) -> Floats:
        """The derivative by the logits before the silent class's need is taken off them."""
        if self.silent is None or self.along_bias is None:
            return t
        t = t.copy()
        t[self.silent] = 0.0
        t[self.silent] = -(self.along_bias @ t) / self.along_bias[self.silent]
        return t

    def curvature(self, x: Floats, direction: Floats) -> Floats:
        """The Hessian of the objective times a direction."""
        (v, excess), (dv, d_excess) = self.split(x), self.split(direction)
        y, _ = self.wanted(excess)
        dy = self.wanted(d_excess)[0] - self.wanted(np.zeros_like(excess))[0]
        _, q = self.inverse(v)
        t = q @ y
        dk = v @ dv.T + dv @ v.T
        dt = q @ (dy - dk @ t)
        by_v = dv - t @ (t.T @ dv) - dt @ (t.T @ v) - t @ (dt.T @ v)
        if self.flat is not None:
            u = self.flat.direction
            by_v = by_v + _STIFFNESS * np.outer(u, u @ dv)
        return np.concatenate([by_v.ravel(), self.by_excess(dt).ravel()[: x.size - v.size]])

    def judged(self, x: Floats) -> _Found:
        """The factors at a point, and rigorous bounds of the optimum."""
        v, excess = self.split(x)
        y, needed = self.wanted(excess)
        k_inverse, q = self.inverse(v)
        added = np.zeros(self.classes)
        if self.along_bias is not None and self.silent is None:
            along = k_inverse @ self.along_bias
            added = -(along @ y) / (self.along_bias @ along)
            y = y + np.outer(self.along_bias, added)
        head = (v.T @ (k_inverse @ y)).T
        rest = y - v @ head.T
        bias = (needed - added) / np.linalg.norm(self.root_cost)
        squares = 0.5 * float((head**2).sum() + (v**2).sum())
        rounding = ROUNDINGS * EPS * self.classes
        t = self.without_bias(q @ self.wanted(excess)[0])
        if self.flat is not None:
            u, pull = self.flat
            t = t - np.outer(u, np.linalg.lstsq(head.T, pull, rcond=1e-9)[0])
        if self.opening is None:  # features and heads of their own make up for what is left
            more = float(np.linalg.norm(rest, axis=1).sum()) + rounding * squares
            return _Found(head, v, bias, None, squares + more, self.lower_bound(v, t, squares + more))
        margin = self.smallest_margin(v, head, bias)
        scale = np.sqrt(margin) if margin > 0 else 1.0
        primal = squares / margin * (1 + rounding) if margin > 0 else np.inf
        dual = self.lower_bound(v, t, primal)
        return _Found(head / scale, v / scale, bias / scale**2, min(margin, 1.0), primal, dual)

    def smallest_margin(self, v: Floats, head: Floats, bias: Floats) -> float:
        """What the margins of hard labels are at least, whatever rounding."""
        assert self.opening is not None
        error = ROUNDINGS * EPS * self.dimension
        size = np.abs(v) @ np.abs(head.T) + np.outer(self.root_cost, np.abs(bias))
        logits = v @ head.T + np.outer(self.root_cost, bias)
        true, wrong = (logits - error * size).diagonal() / self.null, (logits + error * size) / self.null
        wrong_classes = self.opening > 0
        reach = np.where(wrong_classes, self.opening / self.null, 1.0)
        return float(np.where(wrong_classes, (true[:, None] - wrong) / reach, np.inf).min())

    def lower_bound(self, v: Floats, t: Floats, primal: float) -> float:
        """Dual value of multipliers, made feasible, less rounding; the optimum is at most ``primal``."""
        k, error = self.classes, ROUNDINGS * self.classes * EPS
        t = t - np.outer(t @ self.null, self.null)
        if self.opening is not None:
            t = np.where(np.eye(k) > 0, 0.0, np.minimum(t, 0.0))
            t = t - np.diag(t @ self.null / self.null)
        if self.along_bias is not None and self.opening is None:
            t = t - np.outer(self.along_bias, self.along_bias @ t)
        products = t @ t.T
        allowed = multipliers(products, v)
        largest = max(1.0, float(np.linalg.eigvalsh(products + allowed)[-1]) * (1 + error))
        t = t / np.sqrt(largest)
        aligned = float((t * self.logits).sum())
        slack = error * float((np.abs(t) * np.abs(self.logits)).sum())
        if self.along_bias is not None:
            unbalanced = np.abs(self.root_cost @ t) + error * (self.root_cost @ np.abs(t))
            slack += float(unbalanced @ self.largest_bias(primal))
        return max(aligned - slack, 0.0) if np.isfinite(slack) else 0.0

    def largest_bias(self, primal: float) -> Floats:
        """What the bias of the optimum does not exceed, shape (k,), but for multiples of 1 / class_scale.

        No entry of the logits V W^T is larger than the optimum. With hard labels every class leads every other one in
        its own samples, which bounds the difference of two classes' biases from both sides.
        """
        if self.opening is None:
            return np.full(self.classes, (np.linalg.norm(self.logits) + primal) / np.linalg.norm(self.root_cost))
        return np.asarray(2 * self.null / self.null.min() * primal / self.root_cost.min())
