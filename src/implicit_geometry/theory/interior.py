"""Primal-dual interior points of the reduced problem: starts for Newton's method where counts or scales are far apart.

The nuclear norm asks that Z = [[I, gradient], [gradient^T, I]] be positive semidefinite; the multiplier of that holds
the logits in its corner, Y = [[rows, mean], [mean^T, columns]], and Z Y = mu I on the central path. Each ``own`` has a
2 x 2 analogue. Probabilities are unknowns beside the logits, tied to them by linearised softmax equations, so neither
exponentials nor vanishing singular values shorten the steps: 10 to 20 of them serve any counts and scales.

Source: Helmberg, Rendl, Vanderbei, Wolkowicz (1996) and Kojima, Shindoh, Hara (1997) for the direction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from implicit_geometry._validate import Floats
from implicit_geometry.theory.reduced import Bounds, Logits, Reduced, rough_start

_START = 10.0  # mu at the start over the largest logits expected
_EXPONENT = 5.0  # size of the exponents at the start
_LIGHT = 1e-2  # share of the gradient, and of the true class, below which a probability has no weight
_JUMP = 10.0  # logarithm of the largest change in a step of a probability without weight
_MISMATCH = 4.0  # logarithm of the ratio allowed between asked and held odds
_TO_BORDER = 0.95
_SHORTEST = 1e-3
_MAX_PRODUCTS = 3000


@dataclass(frozen=True)
class _State:
    """Probabilities of wrong classes and multipliers, or a direction of both."""

    wrong: Floats  # (G, G)
    rows: Floats  # (G, G)
    columns: Floats  # (G, G)
    mean: Floats  # (G, G)
    side: Floats  # diagonal of the 2 x 2 multipliers, whose corner is own (G,)
    own: Floats  # (G,)


@dataclass(frozen=True)
class _Slack:
    """The blocks of Z^-1 at given probabilities."""

    rows: Floats
    columns: Floats
    corner: Floats
    side: Floats
    own: Floats


def central_path(reduced: Reduced) -> Iterator[tuple[Logits, Bounds]]:
    """Points nearer and nearer to the optimum, with their bounds; ends where rounding does.

    The probabilities are a better dual point than the gradient at the logits, which oscillates until late.
    """
    state: _State | None = _start(reduced)
    centring = 0.1
    while state is not None:
        logits = Logits(np.maximum(state.own, 0.0), state.mean)
        primal = reduced.objective(logits, reduced.evaluate(logits))
        yield logits, Bounds(primal, reduced.dual_value(state.wrong))
        try:
            with np.errstate(divide="raise", invalid="raise", over="raise"):
                direction = _direction(reduced, state, centring * _complementarity(reduced, state))
                state, length = _step(reduced, state, direction)
        except (np.linalg.LinAlgError, FloatingPointError):
            return
        centring = 0.1 if length > 0.8 else 0.3 if length > 0.5 else 0.6


def _start(reduced: Reduced) -> _State:
    """On the central path of a large mu, with exponents of moderate size and probabilities well inside."""
    start = rough_start(reduced)
    mu = _START * float(max(start.own.max(), start.mean.max()))
    reach = reduced.reach
    bend = reduced.price * (reach**2 + reach.diagonal() ** 2 + reduced.pull**2 / reduced.copies)
    wrong = np.divide(_EXPONENT / mu, bend, out=np.zeros_like(bend), where=_possible(reduced))
    wrong = wrong * np.minimum(1.0, 0.25 / wrong.sum(axis=0))
    wrong = wrong * min(1.0, 0.5 / reduced.gradient_norm(wrong))
    slack = _slack(reduced, wrong)
    return _State(wrong, *(mu * getattr(slack, name) for name in ("rows", "columns", "corner", "side", "own")))


def _possible(reduced: Reduced) -> NDArray[np.bool_]:
    """Pairs of groups with a wrong class in the first for a label in the second."""
    return np.isfinite(reduced.offset)


def _slack(reduced: Reduced, wrong: Floats) -> _Slack:
    own, mean = reduced.pull_back(reduced.price * wrong)
    unit, size = np.eye(own.size), own.size
    inverse = np.linalg.inv(np.block([[unit, mean], [mean.T, unit]]))
    side = np.divide(1.0, (1 - own) * (1 + own), out=np.zeros_like(own), where=reduced.live)
    return _Slack(inverse[:size, :size], inverse[size:, size:], inverse[:size, size:], side, -own * side)


def _complementarity(reduced: Reduced, state: _State) -> float:
    """Mean eigenvalue of Z Y over all blocks."""
    own, mean = reduced.pull_back(reduced.price * state.wrong)
    matrix = np.trace(state.rows) + np.trace(state.columns) + 2 * (mean * state.mean).sum()
    pairs = 2 * (state.side + own * state.own).sum()
    return float(matrix + pairs) / (2 * (own.size + int(reduced.live.sum())))


def _direction(reduced: Reduced, state: _State, mu: float) -> _State:
    """Newton's direction towards the point of the central path at mu."""
    slack = _slack(reduced, state.wrong)
    own_response = state.own * slack.own + state.side * slack.side

    def response(mean: Floats) -> Floats:
        rows = (state.mean @ mean.T) @ slack.corner + (state.rows @ mean) @ slack.columns
        columns = (slack.corner @ mean.T) @ state.mean + (slack.rows @ mean) @ state.columns
        return np.asarray(0.5 * (rows + columns))

    def system(slope: Floats) -> Floats:
        own, mean = reduced.pull_back(slope)
        spread = inverse_price * slope.sum(axis=0) + reduced.exponent_change(own_response * own, response(mean))
        return np.asarray(inverse_slope * slope + possible * spread)

    possible, rest = _possible(reduced), 1 - state.wrong.sum(axis=0)
    inverse_slope = np.divide(1.0, reduced.price * state.wrong, out=np.zeros_like(state.wrong), where=possible)
    inverse_price = 1 / (reduced.price * rest)
    own_goal, mean_goal = mu * slack.own - state.own, mu * slack.corner - state.mean
    miss = _mismatch(reduced, state)
    asked = miss + possible * reduced.exponent_change(own_goal, mean_goal)
    diagonal = inverse_slope + inverse_price + _response_diagonal(reduced, state, slack, own_response)
    error = min(3e-3 * float(np.abs(asked).max()), max(0.3 * float(miss.max()), 1e-2))
    slope = _conjugate_gradients(system, asked, possible / diagonal, error)
    own, mean = reduced.pull_back(slope)
    rows = state.mean @ mean.T @ slack.rows + state.rows @ mean @ slack.corner.T
    columns = state.columns @ mean.T @ slack.corner + state.mean.T @ mean @ slack.columns
    return _State(
        wrong=slope / reduced.price,
        rows=mu * slack.rows - state.rows - _symmetric(rows),
        columns=mu * slack.columns - state.columns - _symmetric(columns),
        mean=mean_goal - response(mean),
        side=mu * slack.side - state.side - (state.own * slack.side + state.side * slack.own) * own,
        own=own_goal - own_response * own,
    )


def _response_diagonal(reduced: Reduced, state: _State, slack: _Slack, own_response: Floats) -> Floats:
    """Diagonal of the map from slopes to the exponents they cause."""
    p, q, a, b = (np.diagonal(m) for m in (state.rows, state.columns, slack.rows, slack.columns))
    alone = state.mean * slack.corner + 0.5 * (np.outer(p, b) + np.outer(a, q))
    mixed = state.mean * np.diagonal(slack.corner) + slack.corner * np.diagonal(state.mean)
    mixed = mixed + state.rows * b + slack.rows * q
    true = np.diagonal(reduced.reach)
    between = reduced.reach**2 * alone + true**2 * np.diagonal(alone) - reduced.reach * true * mixed
    np.fill_diagonal(between, 0.0)
    return np.asarray(between + reduced.pull**2 * (own_response / reduced.copies))


def _conjugate_gradients(
    system: Callable[[Floats], Floats], right: Floats, inverse_diagonal: Floats, error: float
) -> Floats:
    """Solution up to an error in every equation, each of which is an exponent."""
    solution, residual = np.zeros_like(right), right
    scaled = inverse_diagonal * residual
    direction, squared = scaled, float((residual * scaled).sum())
    for _ in range(_MAX_PRODUCTS):
        image = system(direction)
        length = squared / float((direction * image).sum())
        solution, residual = solution + length * direction, residual - length * image
        if not np.abs(residual).max() > error:
            break
        scaled = inverse_diagonal * residual
        fresh = float((residual * scaled).sum())
        direction, squared = scaled + fresh / squared * direction, fresh
    return solution


def _symmetric(matrix: Floats) -> Floats:
    return 0.5 * (matrix + matrix.T)


def _mismatch(reduced: Reduced, state: _State) -> Floats:
    """Logarithm of the odds of wrong classes that the logits ask for over those that the probabilities hold."""
    rest, possible = 1 - state.wrong.sum(axis=0), _possible(reduced)
    odds = np.divide(state.wrong, rest, out=np.ones_like(state.wrong), where=possible)
    return np.where(possible, reduced.exponents(Logits(state.own, state.mean)) - np.log(odds), 0.0)


def _step(reduced: Reduced, state: _State, direction: _State) -> tuple[_State | None, float]:
    """The longest step that keeps everything definite and the odds near what the logits ask for, if any."""
    length = _longest(reduced, state, direction)
    allowed = max(float(_mismatch(reduced, state).max()), _MISMATCH)
    while length > _SHORTEST:
        moved = _moved(reduced, state, direction, length)
        inside = moved.wrong.sum(axis=0).max() < 1 and reduced.gradient_norm(moved.wrong) < 1
        if inside and _mismatch(reduced, moved).max() <= allowed:
            return moved, length
        length *= 0.5
    return None, length


def _light(reduced: Reduced, wrong: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """Which wrong classes matter neither in the gradient nor beside the true class, and up to which probability."""
    ceiling = _LIGHT * np.minimum(1 / (reduced.price * reduced.reach), 1 - wrong.sum(axis=0))
    return _possible(reduced) & (wrong <= ceiling), ceiling


def _moved(reduced: Reduced, state: _State, direction: _State, length: float) -> _State:
    """A step along a direction, in which probabilities without weight change geometrically."""
    moved = _State(*(getattr(state, f.name) + length * getattr(direction, f.name) for f in fields(state)))
    light, ceiling = _light(reduced, state.wrong)
    change = np.divide(length * direction.wrong, state.wrong, out=np.zeros_like(ceiling), where=light)
    geometric = state.wrong * np.exp(np.clip(change, -_JUMP, _JUMP))
    wrong = np.where(light, np.minimum(geometric, np.maximum(ceiling, moved.wrong)), moved.wrong)
    return replace(moved, wrong=wrong)


def _longest(reduced: Reduced, state: _State, direction: _State) -> float:
    """Step towards the border of positive probabilities and definite matrices, at most 1."""
    (own, mean), (d_own, d_mean) = (reduced.pull_back(reduced.price * s.wrong) for s in (state, direction))
    live, unit, zero = reduced.live, np.eye(own.size), np.zeros_like(mean)
    heavy = _possible(reduced) & ~_light(reduced, state.wrong)[0]
    falls = [
        _fastest_fall(state.wrong[heavy], direction.wrong[heavy]),
        _fastest_fall(1 - state.wrong.sum(axis=0), -direction.wrong.sum(axis=0)),
        _steepest_fall(_block(unit, mean, unit), _block(zero, d_mean, zero)),
        _steepest_fall(
            _block(state.rows, state.mean, state.columns), _block(direction.rows, direction.mean, direction.columns)
        ),
    ]
    for sign in (1, -1):
        falls.append(_fastest_fall((1 + sign * own)[live], (sign * d_own)[live]))
        falls.append(
            _fastest_fall((state.side + sign * state.own)[live], (direction.side + sign * direction.own)[live])
        )
    return min(1.0, _TO_BORDER / max(*falls, _TO_BORDER))


def _block(rows: Floats, corner: Floats, columns: Floats) -> Floats:
    return np.block([[rows, corner], [corner.T, columns]])


def _fastest_fall(value: Floats, change: Floats) -> float:
    return float(np.max(-change / value, initial=0.0))


def _steepest_fall(matrix: Floats, change: Floats) -> float:
    """Rate at which the smallest eigenvalue of a definite matrix falls, measured in that matrix."""
    root = np.linalg.cholesky(matrix)
    half = np.linalg.solve(root, change)
    return -float(np.linalg.eigvalsh(_symmetric(np.linalg.solve(root, half.T)))[0])
