"""The rational rule for the inverse square root: exact on its interval, and honest about its error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from implicit_geometry.theory.limit.quadrature import InverseSquareRoot, inverse_square_root

EPS = np.finfo(np.float64).eps


def relative_values(rule: InverseSquareRoot, roots: np.ndarray) -> np.ndarray:
    """sqrt(x) * sum_q weight[q] / (x + node[q]^2) at x = roots^2, in extended precision."""
    x, node, weight = (np.asarray(part, dtype=np.longdouble) for part in (roots, rule.node, rule.weight))
    return (x[:, None] * weight / (x[:, None] ** 2 + node**2)).sum(axis=1).astype(np.float64)


@pytest.mark.parametrize("smallest", [1e-40, 1.0, 3e30])
@pytest.mark.parametrize("spread", [1.0, 1.5, 16.0, 17.0, 1e3, 1e9, 1e30, 1e60])
def test_the_rule_is_exact_to_machine_precision_on_its_whole_interval(smallest: float, spread: float) -> None:
    rule = inverse_square_root(smallest, smallest * spread)
    roots = smallest * np.geomspace(1, spread, 1237) if spread > 1 else np.array([smallest])
    np.testing.assert_allclose(relative_values(rule, roots), 1, rtol=40 * EPS)


@given(st.floats(-60, 60), st.floats(0, 60))
def test_the_reported_error_encloses_the_error_everywhere(log_smallest: float, decades: float) -> None:
    smallest, largest = 10.0**log_smallest, 10.0 ** (log_smallest + decades)
    rule = inverse_square_root(smallest, largest)
    values = relative_values(rule, np.geomspace(smallest, largest, 501))
    assert rule.lowest - 16 * EPS <= values.min() <= values.max() <= rule.highest + 16 * EPS
    assert rule.highest - rule.lowest < 100 * EPS


@given(st.floats(-60, 60), st.floats(0, 60))
def test_nodes_and_weights_are_positive_and_rise(log_smallest: float, decades: float) -> None:
    rule = inverse_square_root(10.0**log_smallest, 10.0 ** (log_smallest + decades))
    assert (rule.node > 0).all()
    assert (rule.weight > 0).all()
    assert (np.diff(rule.node) > 0).all()
    assert (np.diff(rule.weight) > 0).all()


@given(st.floats(0, 30), st.floats(-30, 30))
def test_scaling_the_interval_scales_nodes_and_weights(decades: float, log_scale: float) -> None:
    plain = inverse_square_root(1.0, 10.0**decades)
    scaled = inverse_square_root(10.0**log_scale, 10.0**log_scale * 10.0**decades)
    np.testing.assert_allclose(scaled.node, 10.0**log_scale * plain.node, rtol=1e-12)
    np.testing.assert_allclose(scaled.weight, 10.0**log_scale * plain.weight, rtol=1e-12)


@pytest.mark.parametrize(("spread", "most"), [(1e3, 35), (1e6, 65), (1e50, 450)])
def test_few_nodes_are_enough(spread: float, most: int) -> None:
    assert inverse_square_root(1.0, spread).node.size <= most
