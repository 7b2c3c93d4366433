"""The unconstrained-features model as networks meet it: classifiers and embeddings, found by gradients alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator, cg
from scipy.special import xlog1py, xlogy

from implicit_geometry._validate import Floats, InputError, whole_number
from implicit_geometry.certificate import TOLERANCE, Certificate
from implicit_geometry.geometry import Geometry
from implicit_geometry.parameterization import Pairwise
from implicit_geometry.problem import Problem, Solution, require_free_features, require_hard_labels, require_problem
from implicit_geometry.theory.numerics.balance import balancing_weights

_ROUNDS = 5
_MAX_ITERATIONS = 20_000
_MEMORY = 50
_NUDGE = 1e-3
_NEWTON_STEPS = 4
_MAX_PRODUCTS = 1000
_DIFFERENCE = 1e-5
_CLOSED = 1e-12  # relative gap at which Newton's method stops
_STRICT = 1e-6  # distance to 1 of the gradient's norm that proves the logits zero


def solve_factored(problem: Problem, feature_dim: int | None = None) -> Solution:
    """Minimise sum_i loss(W h_i + b, y_i) + ridge / 2 (|W|^2 + |H|^2) + bias_ridge / 2 |b|^2 over W, H and b by L-BFGS.

    By convexity the samples of a class share one embedding, so H has one row per class, weighted by its count. The
    certificate tells the global minimum from a saddle point, which a perturbation leaves.

    Args:
        problem: with ridge > 0; any counts, loss and head.
        feature_dim: d, at least k - 1; k by default.

    Returns:
        The geometry in absolute scale, the bias where the head has one, and a certificate from the Fenchel dual.

    Raises:
        InputError: the ridge is not positive, or the features are too few.

    Source: Behnia et al. (2023), Section 2.

    Example:
        >>> solution = solve_factored(Problem([50, 50, 5, 5], ridge=0.1))
        >>> round(solution.geometry.classifier.cosine(0, 3), 4), solution.certificate.status.value
        (-0.367, 'optimal')
    """
    require_problem(problem)
    require_free_features(problem, "this solver")
    require_hard_labels(problem, "this solver")
    if problem.ridge <= 0:
        raise InputError("problem", "must have ridge > 0", f"{problem.ridge:g}; the limit is solved by solve_margin")
    model = _Model(problem, _feature_dim(problem, feature_dim))
    rng = np.random.default_rng(0)
    x = model.start(rng)
    optima = []
    for _ in range(_ROUNDS):
        options = {"maxiter": _MAX_ITERATIONS, "maxfun": 2 * _MAX_ITERATIONS, "maxcor": _MEMORY, "ftol": 0, "gtol": 0}
        x = minimize(model.value_and_gradient, x, jac=True, method="L-BFGS-B", options=options).x
        optima.append(_polished(model, x))
        if _gap(optima[-1]) <= TOLERANCE:
            break
        x = x + _NUDGE * max(1.0, np.abs(x).max()) * rng.standard_normal(x.size)
    return Solution(problem, *min(optima, key=_gap))


def _polished(model: _Model, x: Floats) -> _Optimum:
    """The best of a point and what a few Newton steps, with differences of gradients for the Hessian, make of it.

    A line search sees the objective to sixteen digits and hence the point to eight; these steps do not look at it.
    """
    best = model.optimum(x)
    for _ in range(_NEWTON_STEPS):
        if _gap(best) <= _CLOSED:
            break
        x = x + cg(_hessian(model, x), -model.value_and_gradient(x)[1], rtol=1e-3, maxiter=_MAX_PRODUCTS)[0]
        best = min(best, model.optimum(x), key=_gap)
    return best


def _hessian(model: _Model, x: Floats) -> LinearOperator:
    step_length = _DIFFERENCE * float(np.linalg.norm(x))

    def product(direction: Floats) -> Floats:
        size = float(np.linalg.norm(direction))
        step = step_length / size * direction
        ahead, behind = model.value_and_gradient(x + step)[1], model.value_and_gradient(x - step)[1]
        return np.asarray((ahead - behind) * (size / (2 * step_length)))

    return LinearOperator((x.size, x.size), matvec=product, dtype=np.float64)


def _feature_dim(problem: Problem, feature_dim: int | None) -> int:
    needed = problem.num_classes - 1
    wanted = problem.num_classes if feature_dim is None else whole_number("feature_dim", feature_dim, minimum=1)
    if wanted < needed:
        raise InputError(
            "feature_dim",
            f"must be at least num_classes - 1 = {needed}",
            f"{wanted}: the convex program that certifies the optimum needs so many features; what fewer "
            "lead to is not known",
        )
    return wanted


class _Optimum(NamedTuple):
    geometry: Geometry
    certificate: Certificate
    bias: Floats | None


def _gap(optimum: _Optimum) -> float:
    return optimum.certificate.relative_gap


@dataclass(frozen=True)
class _Model:
    """The objective in x = (W, sqrt(n) H, b), flattened and without b for a head without bias, divided by the ridge."""

    problem: Problem
    feature_dim: int

    @cached_property
    def pairs(self) -> Pairwise:
        """The loss."""
        return Pairwise.of(self.problem.parameterization)

    @cached_property
    def root_count(self) -> Floats:
        return np.sqrt(self.problem.embedding_cost)

    @cached_property
    def class_weight(self) -> Floats:
        """n_y weight_y / ridge, shape (k,)."""
        return np.asarray(self.problem.counts.values * self.pairs.weight / self.problem.ridge)

    @property
    def num_factors(self) -> int:
        """Number of entries of W and H."""
        return 2 * self.problem.num_classes * self.feature_dim

    def start(self, rng: np.random.Generator) -> Floats:
        return rng.standard_normal(self.num_factors + self.problem.num_classes * self.problem.bias)

    def split(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        k = self.problem.num_classes
        bias = x[self.num_factors :] if self.problem.bias else np.zeros(k)
        classifier, embedding = x[: self.num_factors].reshape(2, k, self.feature_dim)
        return classifier, embedding, bias

    def wrong(self, x: Floats) -> tuple[Floats, Floats]:
        """Loss of a sample of each class without its weight, (k,), and its probabilities of wrong classes, (k, k)."""
        classifier, embedding, bias = self.split(x)
        exponents = self.pairs.exponents(classifier @ embedding.T / self.root_count + bias[:, None])
        loss = np.logaddexp.reduce(exponents, axis=0)
        probability = np.exp(exponents - loss)
        np.fill_diagonal(probability, 0.0)
        return loss, probability

    def logit_gradient(self, wrong: Floats) -> Floats:
        """Derivative of the loss part by the mean logits from probabilities of wrong classes, shape (k, k)."""
        return np.asarray(self.class_weight * self.pairs.slopes * (wrong - np.diag(wrong.sum(axis=0))))

    def value_and_gradient(self, x: Floats) -> tuple[float, Floats]:
        classifier, embedding, bias = self.split(x)
        loss, wrong = self.wrong(x)
        # the logits are W (sqrt(n) H)^T / sqrt(n) + b
        by_logits = self.logit_gradient(wrong)
        by_scaled = by_logits / self.root_count
        penalty = self.problem.bias_ridge / self.problem.ridge
        value = self.class_weight @ loss + 0.5 * ((classifier**2).sum() + (embedding**2).sum() + penalty * bias @ bias)
        by_classifier = classifier + by_scaled @ embedding
        by_embedding = embedding + by_scaled.T @ classifier
        by_bias = (penalty * bias + by_logits.sum(axis=1))[: bias.size * self.problem.bias]
        return float(value), np.concatenate([by_classifier.ravel(), by_embedding.ravel(), by_bias])

    def optimum(self, x: Floats) -> _Optimum:
        collapsed = self.gradient_norm(self.wrong(x)[1]) < 1 - _STRICT
        x = np.where(np.arange(x.size) < self.num_factors, 0.0, x) if collapsed else x
        classifier, embedding, bias = self.split(x)
        null = self.pairs.null
        bias = bias - null * (null @ bias) / (null @ null)  # changes no loss
        certificate = Certificate(
            primal=self.value_and_gradient(x)[0] * self.problem.ridge,
            dual=self.dual_value(self.wrong(x)[1]) * self.problem.ridge,
            smallest_margin=None,
            collapsed=collapsed,
        )
        geometry = Geometry.from_factors(classifier, embedding / self.root_count[:, None])
        return _Optimum(geometry, certificate, bias if self.problem.bias else None)

    def gradient_norm(self, wrong: Floats) -> float:
        """Operator norm of the derivative of the loss part by the logits times sqrt(n)."""
        return float(np.linalg.norm(self.logit_gradient(wrong) / self.root_count, 2))

    def dual_value(self, wrong: Floats) -> float:
        """Fenchel dual at probabilities of wrong classes, balanced for a free bias and scaled into the unit ball."""
        if self.problem.free_bias:
            weight = balancing_weights(self.class_weight * self.pairs.label_scale * wrong)
            if not weight.any():
                return -np.inf
            wrong = wrong * weight
        total = float(wrong.sum(axis=0).max()) * (1 + len(wrong) * np.finfo(np.float64).eps)
        wrong = wrong / max(1.0, total, self.gradient_norm(wrong))
        # sum_y class_weight[y] (sum_c p[c, y] (offset[c, y] - log p[c, y]) - (1 - t[y]) log(1 - t[y])), t = sum_c p
        rest = wrong.sum(axis=0)
        surprise = (wrong * self.pairs.offsets - xlogy(wrong, wrong)).sum(axis=0) - xlog1py(1 - rest, -rest)
        value = float(self.class_weight @ surprise)
        if self.problem.bias_ridge > 0:
            by_bias = self.logit_gradient(wrong).sum(axis=1)
            value -= float(by_bias @ by_bias) * self.problem.ridge / (2 * self.problem.bias_ridge)
        return value
