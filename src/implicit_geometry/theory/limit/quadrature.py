"""A rational rule for the inverse square root, with its error measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from implicit_geometry._validate import Floats

_SMALLEST_SPREAD = 16.0
_DIGITS = 37.0  # natural logarithm of 1 / the wanted relative error
_SERIES = np.arange(7)


@dataclass(frozen=True)
class InverseSquareRoot:
    """Nodes and weights with sum_q weight[q] / (x + node[q]^2) = x^(-1/2) on an interval.

    Attributes:
        node: t_q > 0, shape (q,).
        weight: u_q > 0, shape (q,).
        lowest: smallest value of x^(1/2) * sum_q weight[q] / (x + node[q]^2) on the interval (1 up to rounding).
        highest: largest value of the same.
    """

    node: Floats
    weight: Floats
    lowest: float
    highest: float


def inverse_square_root(smallest: float, largest: float) -> InverseSquareRoot:
    """Rule for x in [smallest^2, largest^2]: (2/pi) * integral_0^inf dt / (x + t^2), exact to machine precision.

    The substitution t = smallest * sc(u | 1 - (smallest/largest)^2) makes the integrand periodic and analytic, so the
    midpoint rule converges geometrically: about 30 nodes for largest / smallest = 1e3, 450 for 1e50. The Jacobi
    functions come from their theta series, which stay accurate where the modulus rounds to 1.

    Source: Hale, Higham, Trefethen (2008), Section 3 (method 3).

    Example:
        >>> rule = inverse_square_root(1.0, 100.0)
        >>> abs(float((rule.weight / (49.0 + rule.node**2)).sum()) - 1 / 7) < 1e-15
        True
    """
    centre = np.sqrt(smallest) * np.sqrt(largest)
    spread = max(largest / smallest, _SMALLEST_SPREAD)
    quarter, conjugate = (
        _complete_integral(np.sqrt((1 - 1 / spread) * (1 + 1 / spread))),
        _complete_integral(1 / spread),
    )
    count = int(np.ceil(_DIGITS * conjugate / (2 * np.pi * quarter))) + 1
    u = (np.arange(count) + 0.5) * conjugate / count
    sc, slope = _tangent_and_slope(u * np.pi / (2 * quarter), -np.pi * conjugate / quarter)
    low = centre / np.sqrt(spread)
    node, weight = low * sc, low * slope * (2 / np.pi) * conjugate / count
    x = np.geomspace(smallest**2 / centre**2, largest**2 / centre**2, 16 * count)
    ripple = np.sqrt(x) * ((weight / centre) / (x[:, None] + (node / centre) ** 2)).sum(axis=1)
    return InverseSquareRoot(node, weight, float(ripple.min()), float(ripple.max()))


def _complete_integral(complementary_modulus: float) -> float:
    """Complete elliptic integral of the first kind, K = pi / (2 * agm(1, k')), for any k' in (0, 1]."""
    a, b = 1.0, complementary_modulus
    while a - b > 1e-15 * a:
        a, b = (a + b) / 2, np.sqrt(a * b)
    return float(np.pi / (a + b))


def _tangent_and_slope(y: Floats, log_nome: float) -> tuple[Floats, Floats]:
    """sc(u) and its derivative nc(u) dc(u), with y = pi u / (2 K) and the nome of the complementary modulus."""
    n = _SERIES[:, None]
    sign = (-1.0) ** n
    half, whole = (n + 0.5) ** 2 * log_nome, n[1:] ** 2 * log_nome
    odd_plus, odd_minus = np.exp(half + (2 * n + 1) * y), np.exp(half - (2 * n + 1) * y)
    even = np.exp(whole + 2 * n[1:] * y) + np.exp(whole - 2 * n[1:] * y)
    theta_1, theta_2 = (sign * (odd_plus - odd_minus)).sum(axis=0), (odd_plus + odd_minus).sum(axis=0)
    theta_3, theta_4 = 1 + even.sum(axis=0), 1 + (sign[1:] * even).sum(axis=0)
    at_zero_2 = 2 * np.exp(half).sum()
    at_zero_3 = 1 + 2 * np.exp(whole).sum()
    at_zero_4 = 1 + 2 * (sign[1:] * np.exp(whole)).sum()
    sc = at_zero_3 / at_zero_2 * theta_1 / theta_4
    slope = at_zero_4**2 / (at_zero_2 * at_zero_3) * (theta_2 / theta_4) * (theta_3 / theta_4)
    return sc, slope
