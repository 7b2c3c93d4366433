"""How fast gradient descent on the unconstrained-features model nears its limit, and whether its value does too.

The paper's Appendix E asks for the speed against R, |gamma| and the scale of delta. Whether plain SGD reaches the
global minimum the paper leaves open. Without a ridge W and H grow for ever. Scaled to a smallest margin of 1 they are
a feasible point of the cost-sensitive SVM whose global minimum is the limit, so that

    gap = [(|W|^2 + sum_i |h_i|^2) / 2] / [the limit's certified value] - 1  >=  0,   0 at a global minimum only.

The scale of delta is no other question than the rate: gradient descent with scales s delta is that with delta, s
times the rate and initial values sqrt(s) times as large, up to the factor sqrt(s) on W and H.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from implicit_geometry._validate import Floats
from implicit_geometry.comparison import gram_distance
from implicit_geometry.counts import ClassCounts
from implicit_geometry.nn.ufm import train_ufm
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem
from implicit_geometry.studies.curves import rule_at
from implicit_geometry.studies.figure_plans import FIGURES, UFM_EPOCHS
from implicit_geometry.studies.ufm import measured
from implicit_geometry.theory.measured_frame import in_measured_frame
from implicit_geometry.theory.predict import predict

RATIOS = (2, 5, 20)
"""Imbalance ratios R."""

FITTED = 0.1
"""Rates are fitted to the epochs from this share of training on: one decade."""

QUANTITIES = ("classifier_distance", "embedding_distance", "gap")
"""Distance of W W^T and of the centred H H^T (unit Frobenius norm) from the limit, and the gap."""

_RUN = ["imbalance_ratio", "rule", "exponent", "scale", "seed"]


class Setting(NamedTuple):
    """A rule, its exponent, and the mean of the class scales (delta) or label scales (Delta)."""

    rule: str
    exponent: float
    scale: float = 1.0


SETTINGS = (
    Setting("ce", 0.0),
    *(Setting(rule, exponent) for rule in ("cdt", "ldt") for exponent in (-1.0, -0.5, 0.5, 1.0)),
    *(Setting("cdt", 0.5, scale) for scale in (0.5, 2.0)),
)
"""What is trained at every ratio."""


def convergence_history(
    imbalance_ratio: int,
    *,
    settings: Sequence[Setting] = SETTINGS,
    epochs: int = UFM_EPOCHS,
    seeds: Sequence[int] = (0,),
    on_epoch: Callable[[int], object] | None = None,
) -> pd.DataFrame:
    """Train the unconstrained-features model in the paper's set-up, and compare it with its limit as it goes.

    Returns:
        One row per setting, seed and recorded epoch: ``imbalance_ratio``, ``rule``, ``exponent``, ``scale``, ``seed``,
        ``epoch`` and the :data:`QUANTITIES`. The gap is infinite until every sample has a positive margin.

    Raises:
        InputError: an argument is out of range.
    """
    counts = FIGURES["fig4"].ufm_counts(imbalance_ratio)
    problems = [Problem(counts, _scaled(counts, setting)) for setting in settings]
    losses = [problem.parameterization for problem in problems]
    history = train_ufm(counts, losses, epochs=epochs, seeds=seeds, on_epoch=on_epoch)
    rows = []
    for p, (setting, problem) in enumerate(zip(settings, problems, strict=True)):
        solution = predict(problem)
        target = in_measured_frame(solution, "centred")
        gaps = history.unit_margin_objective[p] / solution.certificate.dual - 1
        for s, seed in enumerate(history.seeds):
            for t, epoch in enumerate(history.epochs):
                found = measured(history, p, s, t, "centred").geometry
                distances = (
                    gram_distance(found.classifier, target.classifier),
                    gram_distance(found.embedding, target.embedding),
                )
                run = (imbalance_ratio, *setting, seed, int(epoch))
                rows.append((*run, *distances, float(gaps[s, t])))
    return pd.DataFrame(rows, columns=[*_RUN, "epoch", *QUANTITIES])


def fitted_rates(history: pd.DataFrame) -> pd.DataFrame:
    """Straight lines through each quantity y of a run in its last decade of epochs t, against 1 / ln t and ln t.

    The first, y = y_inf + c / ln t, is what a margin that grows like ln t suggests. The second, y = a - b ln t, is
    there for its residual to be compared.

    Args:
        history: as :func:`convergence_history` makes it, of any ratios.

    Returns:
        One row per run, and for each of the :data:`QUANTITIES` the columns ``_end`` (its value at the last epoch),
        ``_slope`` (c), ``_at_infinity`` (y_inf), ``_residual`` (root mean square), ``_log_slope`` (-b) and
        ``_log_residual``; NaN where fewer than three finite values are there to be fitted.

    Example:
        >>> import numpy as np
        >>> t = np.array([300, 600, 1000, 3000])
        >>> rows = {"imbalance_ratio": 2, "rule": "ce", "exponent": 0.0, "scale": 1.0, "seed": 0, "epoch": t}
        >>> made = pd.DataFrame({**rows, **dict.fromkeys(QUANTITIES, 0.1 + 0.7 / np.log(t))})
        >>> fitted_rates(made)[["gap_slope", "gap_at_infinity"]].iloc[0].round(9).tolist()
        [0.7, 0.1]
    """
    rows = []
    for run, records in history.groupby(_RUN, sort=False):
        late = records[records["epoch"] >= FITTED * records["epoch"].max()]
        row = dict(zip(_RUN, run, strict=True))
        for quantity in QUANTITIES:
            finite = late[np.isfinite(late[quantity])]
            log, values = np.log(finite["epoch"].to_numpy(float)), finite[quantity].to_numpy(float)
            at_infinity, slope, residual = _line(1 / log, values)
            _, log_slope, log_residual = _line(log, values)
            row |= {
                f"{quantity}_end": records[quantity].iloc[-1],
                f"{quantity}_slope": slope,
                f"{quantity}_at_infinity": at_infinity,
                f"{quantity}_residual": residual,
                f"{quantity}_log_slope": log_slope,
                f"{quantity}_log_residual": log_residual,
            }
        rows.append(row)
    return pd.DataFrame(rows)


def _scaled(counts: ClassCounts, setting: Setting) -> Parameterization:
    """The rule with scales that sum to k, times the setting's."""
    loss = rule_at(setting.rule, counts, setting.exponent)
    if setting.rule == "ldt":
        return Parameterization(class_scale=loss.class_scale, label_scale=setting.scale * loss.label_scale)
    return Parameterization(class_scale=setting.scale * loss.class_scale, label_scale=loss.label_scale)


def _line(x: Floats, y: Floats) -> tuple[float, float, float]:
    """Intercept, slope and root mean square residual of the least-squares line."""
    if len(x) < 3:
        return float("nan"), float("nan"), float("nan")
    slope, intercept = np.polyfit(x, y, 1)
    return float(intercept), float(slope), float(np.sqrt(np.mean((intercept + slope * x - y) ** 2)))
