"""A predicted geometry in the frame in which that of a network is measured (:mod:`implicit_geometry.frames`)."""

from __future__ import annotations

import numpy as np

from implicit_geometry._validate import Floats, choice
from implicit_geometry.frames import FRAMES, Frame, FramedGeometry, centre_shares
from implicit_geometry.geometry import Geometry
from implicit_geometry.gram import Gram
from implicit_geometry.lowrank import LowRank
from implicit_geometry.problem import Problem, Solution

_NEGLIGIBLE = 1e-12  # squared singular values of classifiers over the largest


def in_measured_frame(solution: Solution, frame: Frame = "projected") -> Geometry:
    """The geometry of a solution as a network's is measured in a frame.

    Predicted embeddings lie in the row space of the classifiers; what is left is the mean that a measurement subtracts:
    for a head with a bias in both frames, without one in that of the paper. It is zero already at the optimum of a free
    bias, and without a bias in the limit of hard labels, where embeddings cost one price per sample. Nonnegative
    embeddings do not lie there: they are projected. A ridge on the bias moves it little at any ridge of practice,
    where the bias costs next to nothing, and a lot in the limit, whose geometry is that of a head without bias.

    Args:
        solution: of any problem.
        frame: ``"projected"`` or ``"centred"``.

    Raises:
        InputError: there is no such frame.

    Example:
        >>> from implicit_geometry.problem import Problem
        >>> from implicit_geometry.theory.predict import predict
        >>> limit = predict(Problem([6, 3], bias=True, bias_ridge=1.0))
        >>> limit.geometry.embedding.norms().round(3), in_measured_frame(limit).embedding.norms().round(3)
        (array([0.485, 0.485]), array([0.324, 0.647]))
    """
    problem = solution.problem
    if choice("frame", frame, FRAMES) == "projected" and not problem.bias:
        return solution.geometry if problem.features == "free" else _on_row_space(solution.geometry)
    if _is_centred(problem):
        return solution.geometry
    shares = centre_shares(problem.parameterization.label_scale, problem.counts.values, bias=problem.bias)
    return _about_mean(solution.geometry, shares)


def _is_centred(problem: Problem) -> bool:
    """Whether the mean that a measurement subtracts is zero by theory."""
    if problem.features != "free":
        return False
    if problem.bias:
        return problem.free_bias and problem.pays_per_sample
    return not (problem.ridge or problem.soft_labels)


def in_both_frames(solution: Solution) -> FramedGeometry:
    """The geometry of a solution as it is measured, its embeddings in both frames."""
    return FramedGeometry(in_measured_frame(solution), in_measured_frame(solution, "centred").embedding)


def _on_row_space(geometry: Geometry) -> Geometry:
    """Embeddings projected on the row space of the classifiers, (W H^T)^T (W W^T)^+ (W H^T); dense."""
    cross = geometry.cross.dense()
    embedding = cross.T @ np.linalg.pinv(geometry.classifier.dense(), rcond=_NEGLIGIBLE, hermitian=True) @ cross
    unit = np.eye(len(cross))
    return Geometry(
        geometry.classifier,
        Gram(embedding.diagonal(), embedding, unit, np.arange(len(cross))),
        geometry.cross,
    )


def _about_mean(geometry: Geometry, share: Floats) -> Geometry:
    """The geometry of H - 1 m^T, with m = sum_c share_c h_c."""
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
