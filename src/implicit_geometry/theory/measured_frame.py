"""A predicted geometry in the frame in which that of a network is measured."""

from __future__ import annotations

import numpy as np

from implicit_geometry._validate import Floats
from implicit_geometry.counts import ClassCounts
from implicit_geometry.geometry import Geometry
from implicit_geometry.gram import Gram
from implicit_geometry.lowrank import LowRank
from implicit_geometry.problem import Solution


def in_measured_frame(solution: Solution) -> Geometry:
    """The geometry of a solution as a network's is measured: for a head with a bias, about the mean over the samples.

    The optimum of a free bias has that mean at zero already. A ridge on the bias moves it, little at any ridge of
    practice, where the bias costs next to nothing; in the limit, whose geometry is that of a head without bias, a lot.

    Args:
        solution: of any problem.

    Example:
        >>> from implicit_geometry.problem import Problem
        >>> from implicit_geometry.theory.predict import predict
        >>> limit = predict(Problem([6, 3], bias=True, bias_ridge=1.0))
        >>> limit.geometry.embedding.norms().round(3), in_measured_frame(limit).embedding.norms().round(3)
        (array([0.485, 0.485]), array([0.324, 0.647]))
    """
    problem = solution.problem
    if not problem.bias or problem.free_bias:
        return solution.geometry
    return _about_sample_mean(solution.geometry, problem.counts)


def _about_sample_mean(geometry: Geometry, counts: ClassCounts) -> Geometry:
    """The geometry of H - 1 m^T, with m = sum_c n_c h_c / N."""
    share = counts.values / counts.num_samples
    logits, inner = _row_means(geometry.cross, share), _row_means(geometry.embedding, share)  # W m and H m
    cross, embedding = geometry.cross, geometry.embedding
    one = np.ones_like(inner)
    rest = inner - float(share @ inner[embedding.group])
    return Geometry(
        geometry.classifier,
        Gram(
            np.maximum(embedding.diagonal - inner - rest, 0.0),
            np.column_stack([embedding.left, -inner, -one]),
            np.column_stack([embedding.right, one, rest]),
            embedding.group,
        ),
        LowRank(
            cross.diagonal - logits,
            np.column_stack([cross.left, -logits]),
            np.column_stack([cross.right, np.ones_like(logits)]),
            cross.group,
        ),
    )


def _row_means(block: LowRank, share: Floats) -> Floats:
    """Means of the rows of a block, weighted with shares that are equal within each of its groups, shape (G,)."""
    of_group = np.bincount(block.group, weights=share)
    apart = np.einsum("ij,ij->i", block.left, block.right)  # what the factors hold on the diagonal
    return np.asarray(
        block.left @ (block.right.T @ of_group) + of_group / block.multiplicity * (block.diagonal - apart)
    )
