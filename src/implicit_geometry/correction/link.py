"""The link of a loss: from a network's logits to the class probabilities that it has learnt.

At the minimum of the expected loss at one input, with p the probabilities of the labels there and t_y the target of
label y (one-hot, or smoothed),

    sum over y of p_y Delta_y [ W_y S_cy - omega_c t_cy ] = 0  for every class c,   W_y = sum over c of omega_c t_cy,

where column y of S is the softmax of ``Delta_y (delta z) + iota - m_y e_y``. Classes of one Delta share their softmax s
before the margin, so that the equations have as many unknowns as there are different Delta:

    S_cy = s_c / D_y,  S_yy = s_y exp(-m_y) / D_y,   D_y = 1 - s_y (1 - exp(-m_y)).

Without smoothing, ``p_c Delta_c omega_c = D_c sum over g of s_gc A_g`` with A the stationary vector of the chain that
goes from group g to group g' with the probability that s_g gives to the classes of g'.

The functions take NumPy arrays or torch tensors, whose functions of one name do the same here.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from scipy.special import logsumexp

from implicit_geometry._validate import Floats, InputError
from implicit_geometry.groups import group_classes
from implicit_geometry.parameterization import NEUTRAL, Parameterization

Array = Any
"""A NumPy array or a torch tensor."""

_MOST_GROUPS = 2_000  # of classes with one label scale
_MOST_ENTRIES = 2**22  # of samples times groups times classes that are held at once
_LEAST_OUTFLOW = 1e-290  # a group that is never left in float64 gets this, instead of a division by zero


VECTORS = (*NEUTRAL, "groups")
"""The arrays of a link, in their order."""


@dataclass(frozen=True, eq=False)
class Link:
    """The five vectors of a loss, its smoothing, and which classes share a label scale.

    Attributes:
        weight: omega, shape (k,); the other vectors of :class:`Parameterization` likewise.
        shift: iota.
        class_scale: delta.
        label_scale: Delta.
        margin: m.
        groups: 1 where a class belongs to a group of one label scale, shape (k, G).
        label_smoothing: the share of a target that is spread evenly over the classes.
    """

    weight: Array
    shift: Array
    class_scale: Array
    label_scale: Array
    margin: Array
    groups: Array
    label_smoothing: float

    @classmethod
    def of(cls, parameterization: Parameterization, label_smoothing: float) -> Link:
        """The link of a loss, in NumPy.

        Raises:
            InputError: too many different label scales: the equations of one sample take the cube of their number.
        """
        found = group_classes(parameterization.label_scale)
        if found.size.size > _MOST_GROUPS:
            expected = f"must have at most {_MOST_GROUPS:,} different label scales for its probabilities to be found"
            raise InputError("parameterization", expected, f"{found.size.size:,}")
        groups: Floats = (found.group[:, None] == np.arange(found.size.size)).astype(np.float64)
        vectors = {name: getattr(parameterization, name) for name in NEUTRAL}
        return cls(**vectors, groups=groups, label_smoothing=label_smoothing)


def log_posterior(logits: Array, link: Link, xp: ModuleType) -> Array:
    """Logarithms of the label probabilities, up to a constant of each sample; -inf where undoing the smoothing gives 0.

    Args:
        logits: shape (..., k), of a dtype that the link's vectors have too.
        link: in arrays of the same library.
        xp: that library, ``numpy`` or ``torch``.
    """
    rows = logits.reshape(-1, logits.shape[-1])
    if len(rows) == 0:
        return logits
    size = max(1, _MOST_ENTRIES // (link.groups.shape[0] * link.groups.shape[1]))
    with np.errstate(divide="ignore", under="ignore"):  # a probability of 0 is one
        parts = [_unlinked(rows[start : start + size], link, xp) for start in range(0, len(rows), size)]
    return xp.concatenate(parts).reshape(logits.shape)


def _unlinked(logits: Array, link: Link, xp: ModuleType) -> Array:
    # s of every group: shape (n, G, k)
    scale = (link.groups * link.label_scale[:, None]).sum(0) / link.groups.sum(0)
    exponents = (link.class_scale * logits)[:, None, :] * scale[:, None] + link.shift
    log_softmax = exponents - _log_sum_exp(exponents, -1, xp)[..., None]
    softmax = xp.exp(log_softmax)
    # that of the class's own group, and D = (1 - s) + s exp(-m): shape (n, k)
    log_own = xp.where(link.groups.T > 0, log_softmax, 0.0).sum(-2)
    removed = -xp.expm1(log_own) + xp.exp(log_own - link.margin)
    if link.label_smoothing > 0:
        return xp.log(_smoothed(softmax, xp.exp(log_own), removed, link, xp) / link.label_scale)
    flow = _stationary(softmax @ link.groups, xp)
    mixed = _log_sum_exp(log_softmax + xp.log(flow)[..., None], -2, xp)
    return mixed + xp.log(removed) - xp.log(link.weight * link.label_scale)


def _stationary(chain: Array, xp: ModuleType) -> Array:
    """The stationary vector of a chain with rows that sum to 1, by elimination without subtractions (GTH).

    Every entry has its full relative precision. Source: Grassmann, Taksar and Heyman (1985).
    """
    entries = []
    for last in range(chain.shape[-1] - 1, 0, -1):
        outflow = chain[..., last, :last].sum(-1)[..., None]
        into = chain[..., :last, last] / xp.where(outflow > _LEAST_OUTFLOW, outflow, _LEAST_OUTFLOW)
        entries.append(into)
        chain = chain[..., :last, :last] + into[..., :, None] * chain[..., None, last, :last]
    vector = xp.ones_like(chain[..., 0, :1])
    for into in reversed(entries):
        vector = xp.concatenate([vector, (vector * into).sum(-1)[..., None]], -1)
        vector = vector / vector.sum(-1)[..., None]
    return vector


def _smoothed(softmax: Array, own: Array, removed: Array, link: Link, xp: ModuleType) -> Array:
    """The products p Delta where labels were smoothed, clipped at 0, shape (n, k).

    With v = p Delta, V its sum and A_g the sum of W v / D over group g, the equations of the module's text are

        v_c [ (1 - eps) omega_c + (1 - exp(-m_c)) s_c W_c / D_c ] = sum over g of s_gc A_g - omega_c eps V / k,

    homogeneous in (A, V). One of them follows from the others; the sum of A being 1 takes its place.
    """
    eps, k = link.label_smoothing, link.weight.shape[0]
    total = (1 - eps) * link.weight + eps * link.weight.mean()  # W
    divisor = (1 - eps) * link.weight - xp.expm1(-link.margin) * own * total / removed
    per_unknown = xp.concatenate([softmax, -xp.ones_like(softmax[:, :1]) * link.weight * (eps / k)], 1)
    per_unknown = per_unknown / divisor[:, None, :]  # v = per_unknown^T (A, V)
    sums = xp.concatenate(
        [link.groups.T * (total / removed)[:, None, :], xp.ones_like(per_unknown[:, :1])], 1
    )  # (A, V) = sums v
    size = sums.shape[1]
    equations = xp.eye(size, dtype=sums.dtype, **_place(sums)) - sums @ per_unknown.swapaxes(-1, -2)
    of_norm = xp.ones_like(equations[0, 0])
    of_norm[-1] = 0
    equations[:, 0] = of_norm
    right = xp.zeros_like(equations[..., :1])
    right[:, 0] = 1
    unknown = xp.linalg.solve(equations, right)
    return (per_unknown.swapaxes(-1, -2) @ unknown)[..., 0].clip(0.0, None)


def _place(array: Array) -> dict[str, Any]:
    return {} if isinstance(array, np.ndarray) else {"device": array.device}


def _log_sum_exp(values: Array, axis: int, xp: ModuleType) -> Array:
    return logsumexp(values, axis) if xp is np else xp.logsumexp(values, axis)
