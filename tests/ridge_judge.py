"""A judge in many digits of what is stated about regularised optima: random problems, and the worst that was found.

Everything is computed anew on k x k matrices from the public solution alone: mean logits, bias and certificate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np

from implicit_geometry import (
    ClassCounts,
    Parameterization,
    Problem,
    Solution,
    cdt,
    collapse_thresholds,
    ldt,
    logit_adjusted,
    predict,
    vs,
    weighted,
)
from implicit_geometry.groups import gather
from implicit_geometry.theory.ridge.bias.program import Biased
from implicit_geometry.theory.ridge.optimum import optimum
from implicit_geometry.theory.ridge.reduce import reduce_problem

DIGITS = 50
RULES = ("ce", "weighted", "logit_adjusted", "cdt", "ldt", "vs", "all")


def few_kinds(seed: int, *, largest_exponent: float = 1.0, bias: bool | None = None) -> Problem:
    """2 to 8 classes, counts to 1e9, |gamma| <= 1, ridges over ten decades below collapse; most with a bias.

    Args:
        seed: of the draw.
        largest_exponent: bound of |gamma|.
        bias: whether the head has a bias; by default in two of three problems a free one, in one a bias with a ridge.
    """
    draw = np.random.default_rng(seed)
    size = int(draw.integers(2, 9))
    values = np.floor(10.0 ** draw.uniform(0, 9, size)).astype(np.int64)
    counts, gamma = ClassCounts(values), float(draw.uniform(-largest_exponent, largest_exponent))
    loss = _loss(str(draw.choice(RULES)), counts, gamma, draw)
    ridge = float(collapse_thresholds(counts, loss).total * 10 ** -draw.uniform(0, 10))
    free, bias_ridge = bool(draw.random() < 2 / 3), float(ridge * 10 ** draw.uniform(-3, 3))
    if bias is False:
        return Problem(counts, loss, ridge)
    return Problem(counts, loss, ridge, True, 0.0 if free else bias_ridge)


def _loss(rule: str, counts: ClassCounts, gamma: float, draw: np.random.Generator) -> Parameterization:
    size, tau = counts.num_classes, float(draw.uniform(-1, 2))
    if rule == "all":
        return Parameterization(
            weight=np.exp(draw.uniform(-3, 3, size)),
            shift=draw.uniform(-5, 5, size),
            class_scale=cdt(counts, gamma).class_scale,
            label_scale=np.exp(draw.uniform(-3, 3, size)),
            margin=draw.uniform(-2, 4, size),
        )
    made = {
        "ce": lambda: Parameterization.neutral(size),
        "weighted": lambda: weighted(counts, gamma),
        "logit_adjusted": lambda: logit_adjusted(counts, tau),
        "cdt": lambda: cdt(counts, gamma),
        "ldt": lambda: ldt(counts, gamma),
        "vs": lambda: vs(counts, gamma, tau),
    }
    return made[rule]()


@dataclass(frozen=True)
class Judgement:
    """What holds of one solution in many digits, relative to the primal value.

    Attributes:
        stated_gap: of the certificate.
        true_gap: objective at the returned logits and bias, less a lower bound of the optimum made from them.
        primal_short: by how much the stated primal value falls short of that objective (never, if negative).
        dual_over: by how much the stated dual value is above that objective (never, if negative).
    """

    stated_gap: float
    true_gap: float
    primal_short: float
    dual_over: float

    @property
    def violated(self) -> bool:
        """Whether a bound that was stated is wrong, or the true gap above the stated one, by more than 1e-12."""
        return not max(self.primal_short, self.dual_over, self.true_gap - self.stated_gap) <= 1e-12


def judge(solution: Solution) -> Judgement:
    """Objective at the public logits and bias, and lower bounds of the optimum, against what the certificate states.

    Any probabilities of wrong classes give a lower bound. Those at the public logits suffer from their rounding, so
    that the solver's own are tried too; the bound itself is computed anew in many digits for both.
    """
    with mp.workdps(DIGITS):
        primal, dual = _bounds(solution)
        dual = max(dual, dual_bound(solution.problem, solver_probabilities(solution.problem)))
        certificate = solution.certificate
        unit = abs(primal) if primal else mp.mpf(1)
        return Judgement(
            float((mp.mpf(certificate.primal) - mp.mpf(certificate.dual)) / unit),
            float((primal - dual) / unit),
            float((primal - mp.mpf(certificate.primal)) / unit),
            float((mp.mpf(certificate.dual) - primal) / unit),
        )


class _Exact:
    """A problem's vectors in many digits."""

    def __init__(self, problem: Problem) -> None:
        loss = problem.parameterization
        self.problem, self.size = problem, problem.num_classes
        self.ridge, self.bias_ridge = mp.mpf(problem.ridge), mp.mpf(problem.bias_ridge)
        self.count = [mp.mpf(int(n)) for n in problem.counts.values]
        self.root = [mp.sqrt(n) for n in self.count]
        self.weight, self.shift, self.class_scale, self.label_scale, self.margin = (
            [mp.mpf(float(value)) for value in getattr(loss, name)]
            for name in ("weight", "shift", "class_scale", "label_scale", "margin")
        )

    def offset(self, c: int, y: int) -> Any:
        """Logarithm of the odds of class c for a sample of class y where all logits are zero."""
        return self.shift[c] - self.shift[y] + self.margin[y]

    def pairs(self) -> list[tuple[int, int]]:
        """All (wrong class, label)."""
        return [(c, y) for c in range(self.size) for y in range(self.size) if c != y]


def _bounds(solution: Solution) -> tuple[Any, Any]:
    """Objective at the returned logits and bias; dual value at these logits with the bias that is best for them."""
    exact, size = _Exact(solution.problem), solution.problem.num_classes
    mean_logits = mp.matrix(solution.geometry.cross.dense().tolist())
    bias = mp.matrix([float(b) for b in (np.zeros(size) if solution.bias is None else solution.bias)])
    scaled = mp.matrix(size, size)
    for c in range(size):
        for y in range(size):
            scaled[c, y] = mean_logits[c, y] * exact.root[y]
    wrong, right = _probabilities(exact, mean_logits, bias)
    primal = -mp.fsum(exact.count[y] * exact.weight[y] * mp.log(right[y]) for y in range(size))
    primal += exact.ridge * mp.fsum(mp.svd_r(scaled, compute_uv=False))
    primal += exact.bias_ridge / 2 * mp.fsum(b * b for b in bias)
    if solution.problem.bias:
        for _ in range(4):
            bias += _bias_step(exact, wrong, right, bias)
            wrong, right = _probabilities(exact, mean_logits, bias)
    return primal, _dual_bound(exact, wrong)


def _probabilities(exact: _Exact, mean_logits: Any, bias: Any) -> tuple[Any, list[Any]]:
    odds, delta = mp.zeros(exact.size), exact.class_scale
    for c, y in exact.pairs():
        push = delta[c] * (mean_logits[c, y] + bias[c]) - delta[y] * (mean_logits[y, y] + bias[y])
        odds[c, y] = mp.exp(exact.offset(c, y) + exact.label_scale[y] * push)
    total = [1 + mp.fsum(odds[:, y]) for y in range(exact.size)]
    for c, y in exact.pairs():
        odds[c, y] /= total[y]
    return odds, [1 / t for t in total]


def _bias_step(exact: _Exact, wrong: Any, right: list[Any], bias: Any) -> Any:
    """Newton's step of the bias at fixed logits; a free one does not move along the direction that changes nothing."""
    size, delta = exact.size, exact.class_scale
    slope, hessian = exact.bias_ridge * bias, exact.bias_ridge * mp.eye(size)
    for y in range(size):
        strength = exact.count[y] * exact.weight[y] * exact.label_scale[y]
        share = [right[y] if c == y else wrong[c, y] for c in range(size)]
        for c in range(size):
            slope[c] += strength * delta[c] * (wrong[c, y] if c != y else -mp.fsum(wrong[:, y]))
            for d in range(size):
                bent = (share[c] if c == d else 0) - share[c] * share[d]
                hessian[c, d] += strength * exact.label_scale[y] * delta[c] * delta[d] * bent
    if exact.problem.free_bias:
        unit = max(hessian[c, c] for c in range(size)) * min(delta) ** 2
        for c in range(size):
            for d in range(size):
                hessian[c, d] += unit / (delta[c] * delta[d])
    return mp.lu_solve(hessian, -slope)


def solver_probabilities(problem: Problem) -> Any:
    """What the solver's optimum gives to wrong classes (rows) for each label, shape (k, k)."""
    groups = gather(problem)
    reduced = reduce_problem(problem, groups)
    if problem.bias:
        solver = Biased.of(reduced, problem.bias_ridge / problem.ridge)
        logits, bias, _ = solver.solve()
        wrong = solver.at(logits, bias).wrong
    else:
        wrong = reduced.evaluate(optimum(reduced).logits).wrong
    wrong = wrong / (reduced.size[:, None] - np.eye(reduced.size.size)).clip(1)
    whole = wrong[groups.group][:, groups.group]
    np.fill_diagonal(whole, 0.0)
    return whole


def dual_bound(problem: Problem, wrong: Any) -> Any:
    """Lower bound of the optimum by probabilities of wrong classes (rows) for each label, in many digits."""
    with mp.workdps(DIGITS):
        return _dual_bound(_Exact(problem), mp.matrix(wrong.tolist()))


def _dual_bound(exact: _Exact, wrong: Any) -> Any:
    """The conjugate where flows are balanced by weights of the columns and the gradient is scaled into the ball."""
    size, wrong = exact.size, wrong.copy()
    label_strength = [exact.count[y] * exact.weight[y] * exact.label_scale[y] for y in range(size)]
    if exact.problem.free_bias:
        balance, right = mp.zeros(size), mp.zeros(size, 1)
        for c, y in exact.pairs():
            balance[c, y] += label_strength[y] * wrong[c, y]
            balance[y, y] -= label_strength[y] * wrong[c, y]
        for y in range(size):
            balance[size - 1, y] = 1
        right[size - 1] = 1
        weights = mp.lu_solve(balance, right)
        largest = max(weights)
        for c, y in exact.pairs():
            wrong[c, y] *= weights[y] / largest
    gradient = mp.zeros(size)
    for c, y in exact.pairs():
        gradient[c, y] += label_strength[y] / exact.root[y] * exact.class_scale[c] * wrong[c, y]
        gradient[y, y] -= label_strength[y] / exact.root[y] * exact.class_scale[y] * wrong[c, y]
    excess = max(mp.mpf(1), max(mp.svd_r(gradient, compute_uv=False)) / exact.ridge)
    dual = mp.mpf(0)
    for y in range(size):
        share = [wrong[c, y] / excess for c in range(size)]
        rest = 1 - mp.fsum(share)
        surprise = mp.fsum(share[c] * (exact.offset(c, y) - mp.log(share[c])) for c in range(size) if share[c] > 0)
        dual += exact.count[y] * exact.weight[y] * (surprise - (rest * mp.log(rest) if rest > 0 else 0))
    if exact.bias_ridge > 0:
        by_bias = [mp.fsum(gradient[c, y] * exact.root[y] for y in range(size)) / excess for c in range(size)]
        dual -= mp.fsum(b * b for b in by_bias) / (2 * exact.bias_ridge)
    return dual


@dataclass(frozen=True)
class Verdict:
    """The worst over many problems.

    Attributes:
        problems: how many were drawn.
        optimal: share with a stated relative gap of 1e-8 or less.
        stated_gap: largest stated relative gap of these.
        true_gap: largest true relative gap of these (an upper bound of it, in many digits).
        excess: largest amount by which the true relative gap is above the stated one.
        violations: seeds of problems with a stated bound that is wrong.
    """

    problems: int
    optimal: float
    stated_gap: float
    true_gap: float
    excess: float
    violations: tuple[int, ...]


def worst_ridge_gaps(seeds: range, *, bias: bool) -> Verdict:
    """Solve random few-kinds problems at a positive ridge, with or without a bias, and judge every one."""
    judged = {seed: judge(predict(few_kinds(seed, bias=None if bias else False))) for seed in seeds}
    optimal = [one for one in judged.values() if one.stated_gap <= 1e-8]
    return Verdict(
        len(judged),
        len(optimal) / len(judged),
        max(one.stated_gap for one in optimal),
        max(one.true_gap for one in optimal),
        max(one.true_gap - one.stated_gap for one in judged.values()),
        tuple(seed for seed, one in judged.items() if one.violated),
    )


@dataclass(frozen=True)
class TrueNorms:
    """Squared norms of the optimum in many digits, rounded at the end, and how well they are known.

    Attributes:
        classifier: shape (k,).
        embedding: shape (k,).
        gap: relative duality gap of the many-digit solution.
    """

    classifier: Any
    embedding: Any
    gap: float


def true_norms(solution: Solution, digits: int = 60) -> TrueNorms:
    """Newton's method in many digits on factors W H of the logits (no bias), started from a solution.

    The factors have as many columns as the solution has directions; the gap says whether these were the right ones.
    """
    with mp.workdps(digits):
        exact = _Exact(solution.problem)
        size, one = exact.size, mp.mpf(1)
        root = np.array(exact.root, dtype=object)
        logit_slope = np.array(
            [[exact.label_scale[y] * exact.class_scale[c] / exact.root[y] for y in range(size)] for c in range(size)],
            dtype=object,
        )
        class_weight = np.array([exact.count[y] * exact.weight[y] / exact.ridge for y in range(size)], dtype=object)
        offset = np.array(
            [[exact.offset(c, y) if c != y else mp.mpf(0) for y in range(size)] for c in range(size)], dtype=object
        )
        scaled = solution.geometry.cross.dense() * np.sqrt(solution.problem.counts.values)
        left, sigma, right = np.linalg.svd(scaled)
        rank = int((sigma > 1e-11 * sigma[0]).sum())
        to_mp = np.vectorize(lambda value: mp.mpf(float(value)), otypes=[object])
        w, h = to_mp(left[:, :rank] * np.sqrt(sigma[:rank])), to_mp((right[:rank].T * np.sqrt(sigma[:rank])).T)
        unit = np.array([[one if a == b else mp.mpf(0) for b in range(size)] for a in range(size)], dtype=object)

        def wrong_at(x: Any) -> Any:
            push = logit_slope * x
            exponent = offset + push - np.diagonal(push)
            odds = np.vectorize(mp.exp, otypes=[object])(exponent) * (1 - unit)
            return odds / (1 + odds.sum(axis=0))

        def gradient_at(wrong: Any) -> Any:
            slope = class_weight * wrong
            return logit_slope * slope - unit * (np.diagonal(logit_slope) * slope.sum(axis=0))

        for _ in range(40):
            wrong = wrong_at(w @ h)
            by_x = gradient_at(wrong)
            slope = np.concatenate([(w + by_x @ h.T).ravel(), (h + w.T @ by_x).ravel()])
            jacobian = []  # of X by the factors
            for c in range(size):
                for i in range(rank):
                    d = np.full((size, size), mp.mpf(0), dtype=object)
                    d[c] = h[i]
                    jacobian.append(d)
            for i in range(rank):
                for y in range(size):
                    d = np.full((size, size), mp.mpf(0), dtype=object)
                    d[:, y] = w[:, i]
                    jacobian.append(d)
            curved = []
            for d in jacobian:
                push = logit_slope * d
                change = push - np.diagonal(push)
                bent = class_weight * wrong * (change - (wrong * change).sum(axis=0))
                curved.append((logit_slope * bent - unit * (np.diagonal(logit_slope) * bent.sum(axis=0))).ravel())
            flat = np.array([d.ravel() for d in jacobian], dtype=object)
            hessian = flat @ np.array(curved, dtype=object).T
            half = size * rank
            for c in range(size):
                for i in range(rank):
                    for y in range(size):
                        hessian[c * rank + i, half + i * size + y] += by_x[c, y]
                        hessian[half + i * size + y, c * rank + i] += by_x[c, y]
            for index in range(2 * half):
                hessian[index, index] += 1
                hessian[index, index] *= 1 + mp.mpf(10) ** (-digits // 2)  # turns of the factors change nothing
            step = mp.lu_solve(mp.matrix(hessian.tolist()), mp.matrix((-slope).tolist()))
            step = np.array([step[index] for index in range(2 * half)], dtype=object)
            w, h = w + step[:half].reshape(size, rank), h + step[half:].reshape(rank, size)
            if max(abs(value) for value in step) <= mp.mpf(10) ** (-digits * 2 // 3) * max(abs(v) for v in w.ravel()):
                break
        wrong = wrong_at(w @ h)
        by_x = mp.matrix(gradient_at(wrong).tolist())
        excess = max(one, max(mp.svd_r(by_x, compute_uv=False)))
        losses = class_weight @ np.array([-mp.log(1 - mp.fsum(wrong[:, y])) for y in range(size)], dtype=object)
        primal = losses + (mp.fsum(value**2 for value in w.ravel()) + mp.fsum(value**2 for value in h.ravel())) / 2
        dual = _dual_bound(exact, mp.matrix((wrong / excess).tolist())) / exact.ridge
        norms = [(w**2).sum(axis=1), (h**2).sum(axis=0) / root**2]
        return TrueNorms(*(np.array([float(v) for v in norm]) for norm in norms), float((primal - dual) / primal))
