"""The Hessian as a matrix against its products, which have tests of their own."""

import numpy as np
import pytest

from implicit_geometry import Parameterization, Problem
from implicit_geometry.groups import gather
from implicit_geometry.theory.ridge.bias.program import Biased
from implicit_geometry.theory.ridge.newton import Factored
from implicit_geometry.theory.ridge.reduce import Kinds, reduce_kinds
from implicit_geometry.theory.ridge.thresholds.dense import DenseBiased, DenseFactored


def random_reduced(draw, groups):
    kind = np.repeat(np.arange(groups), draw.integers(1, 4, groups))

    def scale():
        return 10 ** draw.uniform(-0.5, 0.5, groups)[kind]

    loss = Parameterization(
        weight=scale(),
        class_scale=scale(),
        label_scale=scale(),
        shift=draw.normal(0, 1, groups)[kind],
        margin=draw.normal(0, 1, groups)[kind],
    )
    counts = np.ceil(10 ** draw.uniform(0.1, 3, groups)).astype(int)[kind]
    problem = Problem(counts, loss)
    return reduce_kinds(Kinds.of(problem, gather(problem)), 2.0)


@pytest.mark.parametrize("groups", [2, 3, 9])
@pytest.mark.parametrize("decay", [None, 0.0, 0.7])
def test_the_matrix_has_the_products_of_the_hessian(groups, decay):
    draw = np.random.default_rng(groups)
    reduced = random_reduced(draw, groups)
    size = groups * (2 * groups - 1) + (0 if decay is None else groups)
    dense, plain = (
        (DenseFactored(reduced), Factored(reduced))
        if decay is None
        else (DenseBiased.of(reduced, decay), Biased.of(reduced, decay))
    )
    x, direction = draw.normal(0, 1, (2, size))
    point = plain.evaluate(x)
    wanted = plain.hessian(x, point)(direction)
    np.testing.assert_allclose(dense.hessian(x, point)(direction), wanted, rtol=1e-10, atol=1e-12 * abs(wanted).max())
