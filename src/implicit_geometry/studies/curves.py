"""The paper's eight numbers of the theory along an exponent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from implicit_geometry.counts import ClassCounts
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem
from implicit_geometry.rules import find_rule, make_parameterization
from implicit_geometry.summary import geometry_summary
from implicit_geometry.theory.predict import predict


def rule_at(rule: str, counts: ClassCounts, exponent: float, **fixed: Any) -> Parameterization:
    """A rule at a value of the hyperparameter it is plotted against, with others fixed, such as ``tau`` of ``vs``."""
    return make_parameterization(rule, counts, **find_rule(rule).at(exponent, **fixed))


def theory_curves(
    counts: ClassCounts,
    rules: Iterable[str],
    exponents: Iterable[float],
    *,
    ridges: dict[str, float] | None = None,
    **fixed: Any,
) -> pd.DataFrame:
    """The eight numbers in the limit, and at one ridge per rule where one is given.

    Args:
        counts: with minority classes.
        rules: names that :func:`implicit_geometry.rules.find_rule` takes.
        exponents: values of the hyperparameter that each rule is plotted against.
        ridges: rule to positive ridge; rules left out get their limit only.
        **fixed: other hyperparameters of the rules.

    Returns:
        Columns ``rule``, ``exponent``, ``kind`` (``"limit"`` or ``"ridge"``) and the eight numbers.
    """
    grid = [float(value) for value in exponents]
    rows = []
    for rule in rules:
        kinds = [("limit", 0.0)] + ([("ridge", ridges[rule])] if ridges and rule in ridges else [])
        for kind, ridge in kinds:
            for value in grid:
                geometry = predict(Problem(counts, rule_at(rule, counts, value, **fixed), ridge=ridge)).geometry
                rows.append({"rule": rule, "exponent": value, "kind": kind, **geometry_summary(geometry, counts)})
    return pd.DataFrame(rows)
