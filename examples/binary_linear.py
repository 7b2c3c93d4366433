"""Two classes and a linear model: gradient descent turns towards a cost-sensitive SVM that only the label scale moves.

Behnia et al. (2023), Proposition 1 and Lemma 3.1, on separable data and without intercept: the binary VS loss (one
vector w) and LDT (two vectors, decided by w_1 - w_0) lead in the direction of the SVM whose margins are in the ratio of
1 / label_scale. CDT leads where plain cross-entropy does, to equal margins, whatever its class scales.

Plain gradient descent turns at a rate of 1 / log(iterations), too slow to watch. Here every gradient is divided by the
sum of the samples' slopes. Each step keeps its direction and the limit is the same, at a rate of 1 / iterations.

    python examples/binary_linear.py --output binary_linear.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import log_expit

import implicit_geometry as ig
from implicit_geometry.report.figures.style import FIGURE_STYLE
from implicit_geometry.rules import RULES
from implicit_geometry.solvers.binary_svm import cost_sensitive_svm

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COUNTS = ig.ClassCounts([50, 5])
LABELS = {"ce": "CE", "cdt": "CDT", "ldt": "LDT", "vs": "VS, one vector"}
DASHED = ("cdt", "vs")
CHECKPOINTS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)


@dataclass(frozen=True)
class LinearLoss:
    """The sum over samples of weight * log(1 + exp(offset - rows @ theta)), and the decision vector theta stands for.

    Attributes:
        rows: shape (n, q).
        offset: shape (n,).
        weight: shape (n,).
        decision: a sample x gets label 1 where theta @ decision @ x > 0, shape (q, p).
    """

    rows: Floats
    offset: Floats
    weight: Floats
    decision: Floats


def two_vectors(inputs: Floats, labels: Ints, loss: ig.Parameterization) -> LinearLoss:
    """A loss of the family on the logits w_0 . x and w_1 . x; theta is w_0 followed by w_1."""
    sample, other, dim = np.arange(len(labels)), 1 - labels, inputs.shape[1]
    slope = np.zeros((len(labels), 2))  # of the margin by the two logits
    slope[sample, labels] = loss.label_scale[labels] * loss.class_scale[labels]
    slope[sample, other] = -loss.label_scale[labels] * loss.class_scale[other]
    rows = (slope[:, :, None] * inputs[:, None, :]).reshape(len(labels), 2 * dim)
    offset = loss.shift[other] - loss.shift[labels] + loss.margin[labels]
    return LinearLoss(rows, offset, loss.weight[labels], np.vstack([-np.eye(dim), np.eye(dim)]))


def one_vector(inputs: Floats, labels: Ints, label_scale: Floats, shift: Floats) -> LinearLoss:
    """The binary VS loss log(1 + exp(shift_y - label_scale_y sign_y w . x)); theta is w."""
    rows = inputs * (label_scale[labels] * np.where(labels == 1, 1.0, -1.0))[:, None]
    return LinearLoss(rows, shift[labels], np.ones(len(labels)), np.eye(inputs.shape[1]))


def step_direction(loss: LinearLoss, theta: Floats) -> Floats:
    """The negative gradient divided by the sum of the slopes, in logarithms because slopes underflow."""
    slopes = np.log(loss.weight) + log_expit(loss.offset - loss.rows @ theta)
    shares = np.exp(slopes - slopes.max())
    return np.asarray(shares / shares.sum() @ loss.rows)


def descend(loss: LinearLoss, checkpoints: Sequence[int] = CHECKPOINTS) -> list[Floats]:
    """The decision vectors after the given numbers of iterations from theta = 0."""
    theta, found = np.zeros(loss.rows.shape[1]), []
    rate = 1.0 / float((loss.rows**2).sum(axis=1).max())
    for iteration in range(1, checkpoints[-1] + 1):
        theta = theta + rate * step_direction(loss, theta)
        if iteration in checkpoints:
            found.append(theta @ loss.decision)
    return found


def angle(a: Floats, b: Floats) -> float:
    """The angle between two vectors in radians, accurate also where it is small."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    return float(2 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b)))


def make_data(seed: int, noise: float) -> tuple[Floats, Ints]:
    """A majority and a minority cloud in the plane, on either side of the origin."""
    labels = np.repeat([0, 1], COUNTS.values)
    centres = np.array([[-2.0, -0.6], [1.0, 1.6]])
    return centres[labels] + noise * np.random.default_rng(seed).standard_normal((len(labels), 2)), labels


def compare_losses(inputs: Floats, labels: Ints) -> dict[str, tuple[list[Floats], Floats]]:
    """For each loss, its decision vectors at the checkpoints and the SVM the theory names."""
    temperature = ig.ldt(COUNTS, gamma=0.5)
    equal, sensitive = (cost_sensitive_svm(inputs, labels, scale) for scale in ([1.0, 1.0], temperature.label_scale))
    shift = ig.logit_adjusted(COUNTS).shift
    return {
        "ce": (descend(two_vectors(inputs, labels, ig.ce(COUNTS))), equal),
        "cdt": (descend(two_vectors(inputs, labels, ig.cdt(COUNTS, gamma=0.5))), equal),
        "ldt": (descend(two_vectors(inputs, labels, temperature)), sensitive),
        "vs": (descend(one_vector(inputs, labels, temperature.label_scale, shift)), sensitive),
    }


def draw(inputs: Floats, labels: Ints, results: dict[str, tuple[list[Floats], Floats]]) -> Figure:
    """The data with the boundary of each loss, and the angle to the SVM by iteration."""
    reach = 1.1 * float(np.abs(inputs).max())
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(9.5, 4.0), layout="constrained")
        plane, angles = figure.subplots(1, 2)
        for label, kind, marker in ((0, "majority", "o"), (1, "minority", "^")):
            plane.scatter(*inputs[labels == label].T, s=20, marker=marker, color="#888888", label=kind)
        for name, (vectors, target) in results.items():
            line: dict[str, Any] = {"color": RULES[name].color, "linestyle": "--" if name in DASHED else "-"}
            x, y = vectors[-1]
            plane.axline((0.0, 0.0), (-y / np.hypot(x, y), x / np.hypot(x, y)), linewidth=1.8, **line)
            series = [angle(vector, target) for vector in vectors]
            angles.loglog(CHECKPOINTS, series, label=LABELS[name], linewidth=1.8, **line)
        plane.set(title="Decision boundaries", xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
        plane.set(xlim=(-reach, reach), ylim=(-reach, reach))
        angles.set(title="Angle to the SVM of the theory", xlabel="iteration", ylabel="radians")
        for axes in (plane, angles):
            axes.legend()
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, print the angles and write the picture."""
    parser = argparse.ArgumentParser(description="Directions of binary linear losses against cost-sensitive SVMs.")
    parser.add_argument("--output", type=Path, default=Path("binary_linear.png"), help="picture to write")
    parser.add_argument("--seed", type=int, default=0, help="of the data")
    parser.add_argument("--noise", type=float, default=0.55, help="standard deviation of the clouds")
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error(f"--seed must be at least 0, got {options.seed}")
    inputs, labels = make_data(options.seed, options.noise)
    try:
        results = compare_losses(inputs, labels)
    except ig.InputError as error:
        parser.error(str(error))
    shown = CHECKPOINTS[::2]
    print("radians between gradient descent and the SVM of the theory after iterations")
    print(f"{'loss':16}" + "".join(f"{iteration:>10}" for iteration in shown))
    for name, (vectors, target) in results.items():
        print(f"{LABELS[name]:16}" + "".join(f"{angle(vector, target):10.1e}" for vector in vectors[::2]))
    try:
        draw(inputs, labels, results).savefig(options.output, dpi=150)
    except (OSError, ValueError) as error:
        parser.error(f"--output must be a picture that can be written, got {options.output} ({error})")
    print(f"picture: {options.output}")


if __name__ == "__main__":
    main()
