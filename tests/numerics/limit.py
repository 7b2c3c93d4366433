"""The limit without bias, and the losses designed for it, against matrix roots in 400 digits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

import oracles
from implicit_geometry.problem import Problem
from implicit_geometry.theory.design import design
from implicit_geometry.theory.predict import predict
from numerics.bias_limit import draw
from numerics.row import Row

Floats = NDArray[np.float64]


def limit_row(cases: int, seed: int = 0) -> Row:
    """Squared norms of classifiers and embeddings."""
    random, worst = np.random.default_rng(seed), 0.0
    violations = []
    for _ in range(cases):
        problem = _without_bias(draw(random, 1e9, 5.0))
        solution, exact = predict(problem), exact_geometry(problem)
        for block in ("classifier", "embedding"):
            found = getattr(solution.geometry, block).squared_norms()
            worst = max(worst, float(np.abs(found / np.diag(getattr(exact, block)) - 1).max()))
        true = float(np.trace(exact.classifier))
        if not solution.certificate.dual <= true <= solution.certificate.primal:
            violations.append(f"bounds miss {true!r}: {problem!r}")
    return Row(
        "limit, no bias: norms, R to 1e9, gamma in +-5",
        "mpmath, 400 digits",
        cases,
        "relative error",
        worst,
        1e-12,
        violations=tuple(violations),
    )


def design_row(cases: int, seed: int = 0) -> Row:
    """What a designed loss is said to reach, against the geometry of that loss."""
    random, worst = np.random.default_rng(seed), 0.0
    quantities: dict[str, Callable[[oracles.DenseGeometry], float]] = {
        "etf": _distance_to_etf,
        "equal_norms": lambda g: float(np.std(np.log(np.diag(g.classifier)) / 2)),
        "alignment": lambda g: float(
            (np.diag(g.cross) / np.sqrt(np.diag(g.classifier)) / np.sqrt(np.diag(g.embedding))).min()
        ),
    }
    targets = list(quantities)
    for case in range(cases):
        k = int(random.integers(3, 7))
        counts = np.maximum(np.round(10 ** random.uniform(0, 5, k)), 1).astype(np.int64)
        target = targets[case % len(targets)]
        found = design(counts, target=target, family=str(random.choice(["ldt", "cdt"])))
        exact = exact_geometry(Problem(counts, found.parameterization))
        worst = max(worst, abs(found.reached - quantities[target](exact)))
    return Row("design: the quantity reached", "mpmath, 400 digits", cases, "absolute error", worst, 1e-10)


def exact_geometry(problem: Problem) -> oracles.DenseGeometry:
    parameters = problem.parameterization
    return oracles.precise_limit_geometry(problem.counts.values, parameters.class_scale, parameters.label_scale)


def _without_bias(problem: Problem) -> Problem:
    return Problem(problem.counts, problem.parameterization)


def _distance_to_etf(geometry: oracles.DenseGeometry) -> float:
    k = len(geometry.classifier)
    etf = np.eye(k) - 1 / k
    unit = [matrix / np.linalg.norm(matrix) for matrix in (geometry.classifier, etf)]
    return float(np.linalg.norm(unit[0] - unit[1]))
