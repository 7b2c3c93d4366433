"""The reduced problem's loss is the pairwise form: class by class, and gathered in groups."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from implicit_geometry.groups import ClassGroups, group_classes
from implicit_geometry.parameterization import Pairwise, Parameterization
from implicit_geometry.problem import Problem
from implicit_geometry.theory.ridge.program import Logits
from implicit_geometry.theory.ridge.reduce import reduce_problem
from strategies import Floats, count_lists, parameterizations, seeds

RIDGE = 0.5


def losses(problem: Problem, groups: ClassGroups, x: Logits) -> Floats:
    return np.asarray(RIDGE * reduce_problem(problem, groups).evaluate(x).losses)


def pairwise_losses(problem: Problem, x: Floats) -> Floats:
    """Loss of all samples of each class, at logits X whose columns are scaled by sqrt(n)."""
    pairs, counts = Pairwise.of(problem.parameterization), problem.counts.values
    return np.asarray(counts * pairs.weight * np.logaddexp.reduce(pairs.exponents(x / np.sqrt(counts)), axis=0))


@given(count_lists(), st.data(), seeds)
@settings(max_examples=50, deadline=None)
def test_class_by_class_it_is_the_pairwise_form(counts: list[int], data: st.DataObject, seed: int) -> None:
    size = len(counts)
    problem = Problem(counts, data.draw(parameterizations(size)), ridge=RIDGE)
    x = np.random.default_rng(seed).standard_normal((size, size)) * 3 * np.sqrt(counts)
    found = losses(problem, group_classes(np.arange(size)), Logits(np.zeros(size), x))
    expected = pairwise_losses(problem, x)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * expected.max())


@given(st.data(), seeds)
@settings(max_examples=30, deadline=None)
def test_gathered_it_is_the_pairwise_form_of_the_logits_it_stands_for(data: st.DataObject, seed: int) -> None:
    """``own`` acts within a group, ``mean`` on the normalised means: X = sum of both on all classes."""
    group = np.array([0, 0, 0, 1, 2, 2])
    kinds = data.draw(parameterizations(3))
    counts = np.array([40, 7, 3])[group]
    loss = Parameterization(**{name: np.array(values)[group] for name, values in kinds.to_dict().items()})
    problem = Problem(counts, loss, ridge=RIDGE)
    draw, groups = np.random.default_rng(seed), group_classes(group)
    own, mean = 5 * draw.random(3) * (groups.size > 1), 5 * draw.standard_normal((3, 3))
    means = (group[:, None] == np.arange(3)) / np.sqrt(groups.size)
    x = (np.eye(6) - means @ means.T) * own[group] + means @ mean @ means.T
    expected = np.bincount(group, weights=pairwise_losses(problem, x))
    found = losses(problem, groups, Logits(own, mean))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * expected.max())
