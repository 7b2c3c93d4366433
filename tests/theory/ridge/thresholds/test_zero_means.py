"""Gradients without means against those of the G x G matrices they spare."""

import numpy as np
import pytest

from implicit_geometry import InputError, Parameterization, Problem, collapse_thresholds, logit_adjusted
from implicit_geometry.groups import gather
from implicit_geometry.theory.numerics.singular_values import operator_norm
from implicit_geometry.theory.ridge.program import Logits
from implicit_geometry.theory.ridge.reduce import Kinds, reduce_kinds
from implicit_geometry.theory.ridge.thresholds.zero_means import ZeroMeans


def random_problem(draw, groups, shift):
    kind = np.repeat(np.arange(groups), draw.integers(1, 4, groups))

    def scale():
        return 10 ** draw.uniform(-1, 1, groups)[kind]

    loss = Parameterization(
        weight=scale(),
        class_scale=scale(),
        label_scale=scale(),
        shift=draw.normal(0, shift, groups)[kind],
        margin=draw.normal(0, 2, groups)[kind],
    )
    counts = np.ceil(10 ** draw.uniform(0.1, 4, groups)).astype(int)[kind]
    return Problem(counts, loss, embedding_cost=scale())


def both(problem):
    kinds = Kinds.of(problem, gather(problem))
    several = kinds.size > 1
    return reduce_kinds(kinds, 3.0), ZeroMeans.of(kinds, 3.0, several), several


@pytest.mark.parametrize("shift", [1.0, 12.0])
@pytest.mark.parametrize("groups", [2, 5, 40, 230])
@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_those_of_the_whole_matrices(groups, shift, seed):
    draw = np.random.default_rng(seed)
    reduced, zero, several = both(random_problem(draw, groups, shift))
    own = draw.exponential(1, groups) * reduced.natural * several
    point = reduced.evaluate(Logits(own, np.zeros_like(reduced.offset)))
    assert zero.gradient_norm(own) == pytest.approx(operator_norm(point.mean_gradient), rel=1e-11)
    np.testing.assert_allclose(zero.own_logits.within(own)[several], -point.own_gradient[several], rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_best_own_has_a_gradient_of_one_or_is_zero(seed):
    reduced, zero, several = both(random_problem(np.random.default_rng(seed), 12, 1.0))
    own = zero.best_own()
    gradient = zero.own_logits.within(own)
    assert (own > 0).any()
    np.testing.assert_allclose(gradient[own > 0], 1.0, rtol=1e-9)
    assert (gradient[several & (own <= 1e-12 * reduced.natural)] <= 1 + 1e-9).all()


def test_a_class_that_takes_nearly_all_of_a_shift_loses_no_digits():
    counts = [10**8, 3, 2, 1]
    share = np.asarray(counts) / sum(counts)
    gradient = (share[:, None] - np.eye(4)) * np.sqrt(counts)
    gradient[np.diag_indices(4)] = -np.sqrt(counts) * [share[np.arange(4) != c].sum() for c in range(4)]
    found = collapse_thresholds(counts, logit_adjusted(counts)).total
    assert found == pytest.approx(np.linalg.norm(gradient, 2), rel=1e-13)


def test_quotients_beyond_float64_are_refused():
    with pytest.raises(InputError, match="within float64"):
        collapse_thresholds([50, 5], Parameterization(weight=[1e300, 1.0]))
