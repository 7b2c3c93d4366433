"""What the theory says of finished runs, as data for figures and pages, which compute none of it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from implicit_geometry.experiments.run import Run
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.geometry import Geometry
from implicit_geometry.problem import Problem
from implicit_geometry.report.page.setting import Setting
from implicit_geometry.rules import find_rule
from implicit_geometry.studies.curves import theory_curves
from implicit_geometry.theory.predict import predict

POINTS = 61
"""Exponents at which a line of the theory is computed."""

_REACH = 1.5


def limit_geometry(spec: RunSpec) -> Geometry:
    """The limit of vanishing ridge of a run."""
    return predict(Problem(spec.class_counts(), spec.parameterization())).geometry


def predicted_geometries(run: Run) -> dict[str, Geometry]:
    """The limit of a run, and the optimum at its effective ridge where it has one, by name."""
    problem = Problem(run.spec.class_counts(), run.spec.parameterization(), ridge=run.record["effective_ridge"] or 0.0)
    optimum = {"optimum": predict(problem).geometry} if problem.ridge else {}
    return {"limit": limit_geometry(run.spec), **optimum}


def setting_curves(setting: Setting, rule: str, variant: str, ridge: float) -> pd.DataFrame:
    """Theory along the exponents of a rule and variant of a setting, in the limit and at a ridge where positive."""
    chosen = (setting.records["rule"] == rule) & (setting.records["variant"] == variant)
    spec = setting.runs[int(np.flatnonzero(chosen)[0])].spec
    fixed = {name: value for name, value in spec.hyperparameters.items() if name != find_rule(rule).exponent}
    reach = max(_REACH, setting.records.loc[chosen, "exponent"].abs().max())
    exponents = np.linspace(0.0 if find_rule(rule).nonnegative else -reach, reach, POINTS)
    return theory_curves(spec.class_counts(), [rule], exponents, ridges={rule: ridge} if ridge > 0 else None, **fixed)
