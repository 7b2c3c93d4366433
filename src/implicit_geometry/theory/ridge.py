"""The geometry at a positive ridge: certified global optimum of the regularised unconstrained-features model.

With X the class-mean logits times diag(sqrt(n)), the model min sum_i loss(W h_i, y_i) + ridge / 2 (|W|^2 + |H|^2) is
the convex program min_X losses(X) + ridge |X|_*; W W^T = (X X^T)^(1/2), and the class-mean embeddings' Gram matrix is
(X^T X)^(1/2) divided by sqrt(n) on both sides. ``weight``, ``shift`` and ``margin``, invisible in the limit, matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import ArrayLike

from implicit_geometry._validate import Floats, InputError, class_vector, number, whole_number
from implicit_geometry.certificate import Certificate
from implicit_geometry.counts import ClassCounts
from implicit_geometry.geometry import Geometry
from implicit_geometry.gram import Gram
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import ClassGroups, Problem, Solution
from implicit_geometry.theory.interior import central_path
from implicit_geometry.theory.newton import descend
from implicit_geometry.theory.reduced import Bounds, Logits, Reduced, gather, reduce_problem, rough_start

_GOAL = 1e-9  # relative gap that ends the search
_CLOSED = 1e-12  # relative gap at which Newton's method stops
_STEEP = 1e-6  # steepness from which on the gap is looked at
_QUICK_STEPS = 25
_STEPS = 40
_PATH_STEPS = 80
_HAND_OVER = (1e-3, 1e-6, 1e-9)  # relative gaps at which the interior point hands over to Newton's method
_STRICT = 1e-6  # distance to 1 of a singular value of the gradient that proves the logits zero there

Optimum = tuple[Logits, Bounds]


def ridge_solution(problem: Problem) -> Solution:
    """Solve the regularised problem to a relative gap of 1e-8, with any counts, scales, weights, shifts and margins.

    Args:
        problem: with ridge > 0 and bias=False.

    Returns:
        The geometry in absolute scale, and a certificate whose primal and dual values are those of the sum-form
        objective. Status COLLAPSED where the optimum is zero; INACCURATE where rounding stops before the tolerance.

    Raises:
        InputError: the ridge is not positive, the head has a bias, or scales leave float64.

    Source: Thrampoulidis et al. (2022), Section 5 (the convex program); Behnia et al. (2023), Section 2 (the losses).

    Example:
        >>> from implicit_geometry.counts import ClassCounts
        >>> counts = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)
        >>> solution = ridge_solution(Problem(counts, ridge=1e-3))
        >>> squared = solution.geometry.classifier.squared_norms()
        >>> round(float(squared[0] / squared[9]), 2), solution.certificate.relative_gap < 1e-8
        (3.14, True)
    """
    if problem.ridge <= 0 or problem.bias:
        raise InputError(
            f"problem must have ridge > 0 and bias=False, got ridge={problem.ridge:g} and bias={problem.bias}"
        )
    groups = gather(problem)
    reduced = reduce_problem(problem, groups)
    return _solution(problem, reduced, groups, _optimum(reduced, None))


def ridge_path(
    counts: ClassCounts | ArrayLike, parameterization: Parameterization | None, ridges: ArrayLike
) -> tuple[Solution, ...]:
    """Solve one problem at many ridges, each started from its neighbour.

    Args:
        counts: samples a class, shape (k,).
        parameterization: the loss; None for plain cross-entropy.
        ridges: positive, in any order, shape (r,).

    Returns:
        One solution a ridge, in the order given.

    Raises:
        InputError: a ridge is not positive and finite, or as :class:`Problem`.

    Example:
        >>> path = ridge_path([50, 50, 5, 5], None, [1e-3, 10.0])
        >>> [solution.certificate.status.value for solution in path]
        ['optimal', 'collapsed']
    """
    values = class_vector("ridges", ridges, positive=True)
    base = Problem(counts, parameterization)
    groups = gather(base)
    solutions: dict[int, Solution] = {}
    warm: Logits | None = None
    for index in np.argsort(values, kind="stable").tolist():
        problem = Problem(base.counts, base.parameterization, ridge=float(values[index]))
        reduced = reduce_problem(problem, groups)
        optimum = _optimum(reduced, warm)
        warm = optimum[0]
        solutions[index] = _solution(problem, reduced, groups, optimum)
    return tuple(solutions[index] for index in range(values.size))


def ridge_from_weight_decay(
    weight_decay: float, num_samples: int, *, embedding_weight_decay: float | None = None
) -> float:
    """Ridge of the sum-form problem that a mean loss with weight decay amounts to.

    The mean loss plus ``weight_decay / 2 * |W|^2 + embedding_weight_decay / 2 * |H|^2`` times N is the sum-form problem
    with ridges N a and N b; it has the logits of the one ridge N sqrt(a b), with classifiers (b / a)^(1/4) times and
    embeddings (a / b)^(1/4) times as long.

    Args:
        weight_decay: a, of the classifiers (coefficient of |W|^2 / 2, as in torch.optim.SGD), > 0.
        num_samples: N, over which the loss is averaged, >= 1.
        embedding_weight_decay: b, of the embeddings; the same by default.

    Raises:
        InputError: an argument is out of range.

    Example:
        >>> round(ridge_from_weight_decay(5e-4, 50_000), 9)
        25.0
    """
    decay = number("weight_decay", weight_decay, minimum=0, exclusive=True)
    other = decay
    if embedding_weight_decay is not None:
        other = number("embedding_weight_decay", embedding_weight_decay, minimum=0, exclusive=True)
    return whole_number("num_samples", num_samples, minimum=1) * float(np.sqrt(decay) * np.sqrt(other))


def _optimum(reduced: Reduced, warm: Logits | None) -> Optimum:
    """The best of: zero, Newton from a quick start, Newton from points nearer and nearer to the optimum."""
    zero = Logits(np.zeros_like(reduced.size), np.zeros_like(reduced.reach))
    at_zero = reduced.evaluate(zero)
    if reduced.gradient_norm(at_zero.wrong) <= 1:
        return zero, reduced.bounds(zero, at_zero)
    best: Optimum | None = None
    for candidate in _candidates(reduced, warm):
        if best is None or candidate[1].gap < best[1].gap:
            best = candidate
        if best[1].gap <= _GOAL:
            break
    assert best is not None
    return _trimmed(reduced, best)


def _candidates(reduced: Reduced, warm: Logits | None) -> Iterator[Optimum]:
    yield _newton(reduced, rough_start(reduced) if warm is None else warm, _QUICK_STEPS)
    path = islice(central_path(reduced), _PATH_STEPS)
    for gap in _HAND_OVER:
        reached = next((optimum for optimum in path if optimum[1].gap <= gap), None)
        if reached is None:
            return
        yield reached
        yield _newton(reduced, reached[0], _STEPS)


def _newton(reduced: Reduced, start: Logits, budget: int) -> Optimum:
    """Newton's method until the gap is closed or has stopped falling."""
    best: Optimum | None = None
    stalls = 0
    for iterate in islice(descend(reduced, start), budget):
        last = iterate
        if iterate.steepness > _STEEP:
            continue
        bounds = reduced.bounds(iterate.logits, iterate.point)
        stalls = stalls + 1 if best and bounds.gap > 0.5 * best[1].gap else 0
        if best is None or bounds.gap < best[1].gap:
            best = iterate.logits, bounds
        if bounds.gap <= _CLOSED or stalls == 3:
            break
    return best or (last.logits, reduced.bounds(last.logits, last.point))


def _trimmed(reduced: Reduced, optimum: Optimum) -> Optimum:
    """Set to exactly zero what the gradient proves to be zero."""
    x, bounds = optimum
    point = reduced.evaluate(x)
    u, sigma, vt = np.linalg.svd(x.mean)
    tension = -np.einsum("gi,gh,ih->i", u, point.mean_gradient, vt)
    mean = (u * np.where(tension < 1 - _STRICT, 0.0, sigma)) @ vt
    trimmed = Logits(np.where(-point.own_gradient < 1 - _STRICT, 0.0, x.own), mean)
    renewed = reduced.bounds(trimmed, reduced.evaluate(trimmed))
    return (trimmed, renewed) if renewed.gap <= max(bounds.gap, _GOAL) else optimum


def _solution(problem: Problem, reduced: Reduced, groups: ClassGroups, optimum: Optimum) -> Solution:
    x, bounds = optimum
    certificate = Certificate(
        primal=bounds.primal * problem.ridge,
        dual=bounds.dual * problem.ridge,
        smallest_margin=None,
        collapsed=not (x.own.any() or x.mean.any()),
    )
    return Solution(problem, _geometry(reduced, groups, x), certificate)


def _geometry(reduced: Reduced, groups: ClassGroups, x: Logits) -> Geometry:
    """The three blocks from balanced factors of X, one row a group."""
    u, sigma, vt = np.linalg.svd(x.mean)
    root_size = np.sqrt(reduced.size)[:, None]
    classifier, embedding = (factor * np.sqrt(sigma) / root_size for factor in (u, vt.T))
    embedding = embedding / reduced.root_count[:, None]
    apart = np.diag(np.sqrt(x.own / reduced.size))[:, x.own > 0]
    rows, columns = apart, apart / reduced.root_count[:, None]
    own = x.own * (1 - 1 / reduced.size)

    def block(left: Floats, right: Floats, left_apart: Floats, right_apart: Floats, scale: Floats) -> Gram:
        diagonal = np.einsum("gi,gi->g", left, right) + own / scale
        return Gram(diagonal, np.hstack([left, -left_apart]), np.hstack([right, right_apart]), groups.group)

    return Geometry(
        block(classifier, classifier, rows, rows, np.ones_like(own)),
        block(embedding, embedding, columns, columns, reduced.root_count**2),
        block(classifier, embedding, rows, columns, reduced.root_count),
    )
