"""Newton's method on factors: its derivatives, its balance, and how little work the hardest scales are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
import pytest
from numpy.typing import NDArray

from implicit_geometry import ClassCounts, Problem, make_parameterization
from implicit_geometry.groups import gather
from implicit_geometry.theory.ridge.newton import Factored, descend
from implicit_geometry.theory.ridge.optimum import closest, optimum
from implicit_geometry.theory.ridge.program import Logits, Point, rough_start
from implicit_geometry.theory.ridge.reduce import reduce_problem
from ridge_oracles import random_problem

Floats = NDArray[np.float64]


def factored(problem: Problem) -> Factored:
    return Factored(reduce_problem(problem, gather(problem)))


def steep(rule: str, gamma: float, size: int) -> Factored:
    """As many different counts, from 50,000 to 50, with strong temperatures."""
    counts = ClassCounts(np.round(50_000 * 1000 ** (-np.arange(size) / (size - 1))).astype(int))
    return factored(Problem(counts, make_parameterization(rule, counts, gamma=gamma), ridge=1e-3))


def somewhere(problem: Factored, seed: int) -> Floats:
    x = problem.factors(rough_start(problem.reduced))
    return x * (1 + 0.1 * np.random.default_rng(seed).standard_normal(x.size))


@dataclass(frozen=True)
class Counted(Factored):
    """A problem that counts what is asked of it."""

    products: list[int] = field(default_factory=lambda: [0])

    def hessian(self, x: Floats, point: Point) -> Callable[[Floats], Floats]:
        product = super().hessian(x, point)

        def counting(direction: Floats) -> Floats:
            self.products[0] += 1
            return product(direction)

        return counting


@pytest.mark.parametrize("seed", range(5))
def test_gradient_and_hessian_are_the_derivatives_of_the_objective(seed: int) -> None:
    problem = factored(random_problem(seed, most_kinds=5))
    x = somewhere(problem, seed)
    point = problem.evaluate(x)
    gradient = problem.gradient(x, point)
    draw = np.random.default_rng(seed)
    for _ in range(3):
        direction = draw.standard_normal(x.size) * np.abs(x)

        def along(t: float, direction: Floats = direction) -> tuple[float, Floats]:
            moved = x + t * direction
            there = problem.evaluate(moved)
            return problem.value(moved, there), problem.gradient(moved, there)

        (low, down), (high, up) = along(-1e-6), along(1e-6)
        assert gradient @ direction == pytest.approx((high - low) / 2e-6, rel=1e-4, abs=1e-6 * abs(high))
        np.testing.assert_allclose(
            problem.hessian(x, point)(direction), (up - down) / 2e-6, rtol=1e-3, atol=1e-5 * np.abs(up).max()
        )


@pytest.mark.parametrize("seed", range(5))
def test_the_estimate_is_the_diagonal_of_the_hessian_where_it_can_be_told_beforehand(seed: int) -> None:
    """Exactly so, for rare wrong classes, in the rows of the classifiers; nowhere does it vanish."""
    problem = factored(random_problem(seed, most_kinds=5))
    rare = Factored(replace(problem.reduced, offset=problem.reduced.offset - 30))
    x = somewhere(rare, seed)
    point = rare.evaluate(x)
    groups = rare.reduced.size.size
    rows = slice(groups, groups * (1 + rare.rank))
    product, estimate = rare.hessian(x, point), rare.hessian_diagonal_estimate(x, point)
    diagonal = np.array([product(unit) @ unit for unit in np.eye(x.size)])
    np.testing.assert_allclose(estimate[rows], diagonal[rows], rtol=1e-6)
    assert (estimate >= 1).all()


def test_balancing_shortens_the_factors_and_leaves_the_logits() -> None:
    problem = steep("ldt", -1.5, 12)
    x = somewhere(problem, 0)
    x[:12] = np.abs(x[:12])
    balanced = problem.balanced(x)
    before, after = problem.logits(x), problem.logits(balanced)
    assert np.linalg.norm(balanced) < np.linalg.norm(x)
    np.testing.assert_allclose(after.own, before.own, rtol=1e-12)
    orthogonal = before.mean - np.outer(problem.reduced.null, problem.reduced.null @ before.mean)
    np.testing.assert_allclose(after.mean, orthogonal, atol=1e-12 * np.abs(before.mean).max())


@pytest.mark.parametrize(("rule", "gamma"), [("cdt", -1.5), ("cdt", 1.5), ("ldt", -1.5), ("ldt", 1.5)])
def test_counts_and_scales_far_apart_cost_few_steps_and_products(rule: str, gamma: float) -> None:
    """Steps of plain length take thousands of products, and end far from the optimum."""
    problem = Counted(steep(rule, gamma, 40).reduced)
    start = problem.factors(rough_start(problem.reduced))
    _, bounds = closest(problem, start, lambda x, point: problem.reduced.bounds(problem.logits(x), point))
    assert bounds.gap <= 1e-9
    assert problem.products[0] <= 600


def test_the_objective_never_rises() -> None:
    problem = steep("ldt", -1.5, 20)
    iterates = islice(descend(problem, somewhere(problem, 0)), 60)
    values = [problem.value(iterate.factors, iterate.point) for iterate in iterates]
    assert (np.diff(values) <= 1e-12 * np.abs(values[0])).all()


def test_a_start_from_which_nothing_moves_is_made_up_for() -> None:
    reduced = steep("cdt", 0.5, 6).reduced
    nothing = Logits(np.zeros(6), np.zeros((6, 6)))
    assert optimum(reduced, nothing).bounds.gap <= 1e-9
