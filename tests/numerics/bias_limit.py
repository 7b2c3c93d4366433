"""The limit with a free bias, judged in 60 to 120 digits: norms where the closed form holds, bounds everywhere else."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import mpmath
import numpy as np
from numpy.typing import NDArray

from implicit_geometry.certificate import Status
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem, Solution
from implicit_geometry.rules import cdt, ldt, vs
from implicit_geometry.theory.limit.biased_closed_form import biased_limit
from implicit_geometry.theory.limit.nuclear_norm import ExcessProgram, minimise_excess
from implicit_geometry.theory.predict import predict
from numerics.row import Row

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Exact:
    """P S P_r and what follows from it, in many digits; columns of X scaled by sqrt(n)."""

    counts: Any
    class_scale: Any
    label_scale: Any
    left_null: Any
    right_null: Any
    natural: Any
    nuclear_norm: Any
    classifier: Any  # diagonal of (X X^T)^(1/2)
    embedding: Any  # diagonal of (X^T X)^(1/2)
    largest_off_diagonal: Any  # of the polar factor


@dataclass
class Verdict:
    """What a run over many problems found."""

    problems: int = 0
    closed: int = 0
    optimal: int = 0
    worst_norm_error: float = 0.0
    violations: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)


def draw(random: np.random.Generator, largest_ratio: float, largest_gamma: float, max_classes: int = 5) -> Problem:
    """Counts up to a ratio, and temperatures of a rule, of both kinds or free, with exponents up to a size."""
    k = int(random.integers(2, max_classes + 1))
    decades = np.log10(largest_ratio) * random.uniform(0.05, 1)
    counts = np.maximum(np.round(10 ** random.uniform(0, decades, k)), 1).astype(np.int64)
    gamma, other = random.uniform(-largest_gamma, largest_gamma, 2)
    free = 10 ** random.uniform(-largest_gamma / 3, largest_gamma / 3, (2, k))
    losses = {
        "cdt": lambda: cdt(counts, gamma),
        "ldt": lambda: ldt(counts, gamma),
        "vs": lambda: vs(counts, gamma, tau=1.0),
        "both": lambda: Parameterization(
            class_scale=cdt(counts, gamma).class_scale, label_scale=ldt(counts, other).label_scale
        ),
        "free": lambda: Parameterization(class_scale=free[0], label_scale=free[1]),
    }
    return Problem(counts, losses[str(random.choice(list(losses)))](), bias=True)


def exact_closed_form(problem: Problem, digits: int = 120) -> Exact:
    """By a singular value decomposition of the dense matrix."""
    with mpmath.workdps(digits):
        n, delta, label = (
            [mpmath.mpf(float(x)) for x in vector]
            for vector in (
                problem.counts.values,
                problem.parameterization.class_scale,
                problem.parameterization.label_scale,
            )
        )
        k = len(n)
        v, r = _unit([1 / d for d in delta]), _unit([mpmath.sqrt(x) for x in n])
        s = [mpmath.sqrt(n[c]) / delta[c] / label[c] for c in range(k)]
        x = _removed(v) * mpmath.diag(s) * _removed(r)
        left, sigma, right = mpmath.svd_r(x)
        left, right = left[:, : k - 1], right[: k - 1, :]
        values = [sigma[i] for i in range(k - 1)]
        polar = left * right
        return Exact(
            counts=n,
            class_scale=delta,
            label_scale=label,
            left_null=v,
            right_null=r,
            natural=s,
            nuclear_norm=sum(values),
            classifier=[sum(left[c, i] ** 2 * values[i] for i in range(k - 1)) for c in range(k)],
            embedding=[sum(right[i, c] ** 2 * values[i] for i in range(k - 1)) for c in range(k)],
            largest_off_diagonal=max(polar[i, j] for i in range(k) for j in range(k) if i != j),
        )


def judge(problem: Problem, verdict: Verdict) -> Solution:
    """Solve a problem, and note in the verdict what the solution claims and is not true."""
    solution, exact = predict(problem), exact_closed_form(problem)
    verdict.problems += 1
    status = solution.certificate.status
    verdict.statuses[status.value] += 1
    verdict.optimal += status is Status.OPTIMAL
    with mpmath.workdps(60):
        if exact.largest_off_diagonal <= mpmath.mpf(10) ** -60:
            verdict.closed += 1
            _judge_norms(solution, exact, verdict)
            value = exact.nuclear_norm
        else:
            value = _feasible_value(problem, exact)
        _judge_bounds(solution, exact, value, verdict)
    return solution


def _judge_norms(solution: Solution, exact: Exact, verdict: Verdict) -> None:
    geometry, n = solution.geometry, exact.counts
    pairs = [
        *zip(geometry.classifier.squared_norms(), exact.classifier, strict=True),
        *zip(geometry.embedding.squared_norms(), (h / x for h, x in zip(exact.embedding, n, strict=True)), strict=True),
    ]
    error = max(abs(float(found / true) - 1) for found, true in pairs)
    verdict.worst_norm_error = max(verdict.worst_norm_error, error)
    if not error <= 1e-10:
        verdict.violations.append(f"norms off by {error:.1e}: {solution.problem!r}")


def _judge_bounds(solution: Solution, exact: Exact, value: Any, verdict: Verdict) -> None:
    """The primal bound is reached by the returned factors, and the dual one is no higher than a feasible value."""
    certificate, problem = solution.certificate, solution.problem
    margin = _smallest_margin(solution, exact)
    if certificate.smallest_margin is not None and margin < certificate.smallest_margin:
        verdict.violations.append(f"margin {float(margin):.17g} < {certificate.smallest_margin:.17g}: {problem!r}")
    squares = sum(_exact(x) for x in solution.geometry.classifier.squared_norms())
    squares += sum(
        n * _exact(x) for n, x in zip(exact.counts, solution.geometry.embedding.squared_norms(), strict=True)
    )
    if mpmath.isfinite(certificate.primal) and certificate.primal < squares / 2 / margin:
        verdict.violations.append(f"primal {certificate.primal!r} below that of the factors: {problem!r}")
    if certificate.dual > value:
        verdict.violations.append(f"dual {certificate.dual!r} above {mpmath.nstr(value, 18)}: {problem!r}")
    if certificate.relative_gap < 0:
        verdict.violations.append(f"gap {certificate.relative_gap:.1e}: {problem!r}")


def _feasible_value(problem: Problem, exact: Exact) -> Any:
    """Nuclear norm of P (S - E) P_r, feasible whatever E >= 0; E from the interior-point method, the norm exact."""
    limit = biased_limit(problem)
    root = np.sqrt(limit.size)
    excess, _ = minimise_excess(ExcessProgram(limit.natural, limit.left_null * root, limit.right_null * root), 1e-11)
    kinds, size = limit.groups.group, limit.size
    k = problem.num_classes
    matrix = mpmath.matrix(k, k)
    for i in range(k):
        for j in range(k):
            a, b = kinds[i], kinds[j]
            if i == j:
                matrix[i, j] = exact.natural[i]
            elif a != b:
                matrix[i, j] = -_exact(excess[a, b]) / mpmath.sqrt(_exact(size[a]) * _exact(size[b]))
    x = _removed(exact.left_null) * matrix * _removed(exact.right_null)
    return sum(mpmath.svd_r(x, compute_uv=False))


def _smallest_margin(solution: Solution, exact: Exact) -> Any:
    cross, k = solution.geometry.cross, len(exact.counts)
    bias = [_exact(b) for b in solution.bias]
    rows = cross.group

    def logit(c: int, y: int) -> Any:
        if c == y:
            return _exact(cross.diagonal[rows[c]]) + bias[c]
        terms = zip(cross.left[rows[c]], cross.right[rows[y]], strict=True)
        return sum(_exact(a) * _exact(b) for a, b in terms) + bias[c]

    return min(
        exact.label_scale[y] * (exact.class_scale[y] * logit(y, y) - exact.class_scale[c] * logit(c, y))
        for y in range(k)
        for c in range(k)
        if c != y
    )


def _unit(vector: list[Any]) -> list[Any]:
    length = mpmath.sqrt(sum(x**2 for x in vector))
    return [x / length for x in vector]


def _removed(unit: list[Any]) -> Any:
    column = mpmath.matrix(unit)
    return mpmath.eye(len(unit)) - column * column.T


def _exact(value: Any) -> Any:
    return mpmath.mpf(float(value))


def bias_limit_row(cases: int, largest_ratio: float, largest_gamma: float, seed: int = 0) -> Row:
    """Norms where the closed form is optimal, bounds everywhere, and the share that is proven optimal."""
    random, verdict = np.random.default_rng(seed), Verdict()
    for _ in range(cases):
        judge(draw(random, largest_ratio, largest_gamma), verdict)
    share = verdict.optimal / verdict.problems
    return Row(
        f"limit, free bias: R to {largest_ratio:.0e}, gamma in +-{largest_gamma:g}",
        "mpmath, 120 digits",
        cases,
        "relative error of norms",
        verdict.worst_norm_error,
        1e-10,
        f"{verdict.closed} in closed form; {share:.1%} proven optimal",
        tuple(verdict.violations),
    )
