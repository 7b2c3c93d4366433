"""What each law predicts of a network, from the theory of the paper to all laws together.

A law turns the problem that a network was trained on into the one whose geometry it says the network has. What is
fitted is fitted on networks of plain cross-entropy alone, and predicts those of the other losses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from implicit_geometry._validate import InputError
from implicit_geometry.frames import FramedGeometry
from implicit_geometry.geometry import Geometry
from implicit_geometry.problem import Problem
from implicit_geometry.theory.effective_counts import EffectiveCounts, effective_counts
from implicit_geometry.theory.measured_frame import in_both_frames
from implicit_geometry.theory.predict import predict
from implicit_geometry.theory.weight_decay import with_weight_decay

_LARGEST_GAP = 1e-3  # relative, of a prediction: far below the distances of networks


@dataclass(frozen=True)
class FittedCosts:
    """What the embeddings of networks of plain cross-entropy cost.

    Attributes:
        limit: count exponent whose limit fits best.
        ridge: count exponent and ridge that fit best together.
    """

    limit: EffectiveCounts
    ridge: EffectiveCounts


@dataclass(frozen=True)
class Trained:
    """What of a network's training a law may know.

    Attributes:
        problem: counts, loss and labels, in the limit.
        normalization: of the network.
        features: ``"nonnegative"`` where its embeddings are outputs of a ReLU, else ``"free"``.
        weight_decay: of all its parameters.
        fitted: on networks of plain cross-entropy that differ from it in their loss only; None where there are none.
    """

    problem: Problem
    normalization: str
    features: str
    weight_decay: float
    fitted: FittedCosts | None


@dataclass(frozen=True)
class Law:
    """The problem whose geometry a law predicts.

    Attributes:
        problem: of what was trained; None where nothing could be fitted.
        fit: the fit that it uses, for its interval.
    """

    problem: Callable[[Trained], Problem | None]
    fit: Callable[[FittedCosts], EffectiveCounts] | None = None


def _costs(trained: Trained, fit: Callable[[FittedCosts], EffectiveCounts]) -> Problem | None:
    if trained.fitted is None:
        return None
    found = fit(trained.fitted)
    return replace(trained.problem.at_count_exponent(found.count_exponent), ridge=found.ridge)


def _in_the_limit(fitted: FittedCosts) -> EffectiveCounts:
    return fitted.limit


def _at_a_ridge(fitted: FittedCosts) -> EffectiveCounts:
    return fitted.ridge


def _behind_relu(trained: Trained, problem: Problem | None) -> Problem | None:
    return None if problem is None else replace(problem, features=trained.features)


LAWS = {
    "paper": Law(lambda trained: replace(trained.problem, label_smoothing=0.0)),
    "labels": Law(lambda trained: trained.problem),
    "relu": Law(lambda trained: _behind_relu(trained, trained.problem)),
    "decay": Law(
        lambda trained: with_weight_decay(trained.problem, trained.weight_decay, normalization=trained.normalization),
    ),
    "counts": Law(lambda trained: _costs(trained, _in_the_limit), _in_the_limit),
    "counts_relu": Law(
        lambda trained: _behind_relu(trained, _costs(trained, _in_the_limit)),
        _in_the_limit,
    ),
    "counts_ridge": Law(lambda trained: _costs(trained, _at_a_ridge), _at_a_ridge),
}
"""By their names."""


def fitted_costs(measured: Sequence[Geometry], problem: Problem) -> FittedCosts:
    """Fit what embeddings cost to networks of plain cross-entropy, one geometry per seed."""
    return FittedCosts(
        effective_counts(measured, problem, fit_ridge=False), effective_counts(measured, problem, fit_ridge=True)
    )


@lru_cache(maxsize=4096)
def predicted(problem: Problem) -> FramedGeometry | None:
    """The geometry of a problem as networks are measured; None where theory refuses it or does not reach it."""
    try:
        solution = predict(problem)
    except InputError:
        return None
    return in_both_frames(solution) if solution.certificate.relative_gap <= _LARGEST_GAP else None
