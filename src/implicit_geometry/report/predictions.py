"""What the theory says of finished runs, as data for figures and pages, which compute none of it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from implicit_geometry.experiments.run import Run
from implicit_geometry.frames import FramedGeometry
from implicit_geometry.report.page.setting import Setting
from implicit_geometry.rules import find_rule
from implicit_geometry.studies.curves import theory_curves
from implicit_geometry.theory.measured_frame import in_both_frames
from implicit_geometry.theory.predict import predict

POINTS = 61
"""Exponents at which a line of the theory is computed."""

_REACH = 1.5


def limit_geometry(run: Run) -> FramedGeometry:
    """The limit of vanishing ridge of a run, in the frames of its measurement."""
    return in_both_frames(predict(run.problem))


def predicted_geometries(run: Run) -> dict[str, FramedGeometry]:
    """The limit of a run and the optimum at its effective ridge, by name; each where the run was compared with it."""
    limit = {} if "limit" in run.not_compared else {"limit": limit_geometry(run)}
    ridge = run.record["effective_ridge"]
    optimum = {"optimum": in_both_frames(predict(run.problem.at_ridge(ridge)))} if ridge else {}
    return {**limit, **optimum}


def setting_curves(setting: Setting, rule: str, variant: str, ridge: float) -> pd.DataFrame:
    """Theory along the exponents of a rule and variant of a setting, in the limit and at a ridge where positive."""
    chosen = (setting.records["rule"] == rule) & (setting.records["variant"] == variant)
    run = setting.runs[int(np.flatnonzero(chosen)[0])]
    spec, problem = run.spec, run.problem
    fixed = {name: value for name, value in spec.hyperparameters.items() if name != find_rule(rule).exponent}
    reach = max(_REACH, setting.records.loc[chosen, "exponent"].abs().max())
    exponents = np.linspace(0.0 if find_rule(rule).nonnegative else -reach, reach, POINTS)
    return theory_curves(
        problem.counts,
        [rule],
        exponents,
        ridges={rule: ridge} if ridge > 0 else None,
        bias=problem.bias,
        bias_ridge=problem.bias_ridge,
        label_smoothing=problem.label_smoothing,
        **fixed,
    )
