"""The paper's eight numbers of the theory along an exponent, and those of H in the paper's frame."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import pandas as pd

from implicit_geometry._validate import InputError
from implicit_geometry.counts import ClassCounts
from implicit_geometry.frames import FramedGeometry
from implicit_geometry.geometry import simplex_etf
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem
from implicit_geometry.rules import find_rule, make_parameterization
from implicit_geometry.summary import framed_summary
from implicit_geometry.theory.measured_frame import in_both_frames
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
    bias: bool = False,
    bias_ridge: float = 0.0,
    label_smoothing: float = 0.0,
    features: str = "free",
    **fixed: Any,
) -> pd.DataFrame:
    """The numbers of ``framed_summary`` in the limit, and at one ridge per rule where one is given.

    Points that theory does not give, such as those of a head with a bias and too many kinds of classes, are left out,
    and so are values that a rule does not take.

    Args:
        counts: with minority classes.
        rules: names that :func:`implicit_geometry.rules.find_rule` takes.
        exponents: values of the hyperparameter that each rule is plotted against.
        ridges: rule to positive ridge; rules left out get their limit only.
        bias: whether heads have a bias.
        bias_ridge: of the limit; where positive, the ridge on the bias is at every ridge equal to it.
        label_smoothing: of the labels.
        features: ``"free"``, or ``"nonnegative"`` for those behind a ReLU.
        **fixed: other hyperparameters of the rules.

    Returns:
        Columns ``rule``, ``exponent``, ``kind`` (``"limit"`` or ``"ridge"``) and the numbers.
    """
    grid = [float(value) for value in exponents]
    rows = []
    for rule in rules:
        kinds = [("limit", 0.0)] + ([("ridge", ridges[rule])] if ridges and rule in ridges else [])
        for kind, ridge in kinds:
            for value in grid:
                with suppress(InputError):
                    loss = rule_at(rule, counts, value, **fixed)
                    problem = Problem(
                        counts,
                        loss,
                        bias=bias,
                        bias_ridge=bias_ridge,
                        label_smoothing=label_smoothing,
                        features=features,
                    )
                    numbers = _numbers(problem, ridge)
                    rows.append({"rule": rule, "exponent": value, "kind": kind, **numbers})
    etf = simplex_etf(counts.num_classes)
    names = framed_summary(FramedGeometry(etf, etf.embedding), counts)
    return pd.DataFrame(rows, columns=["rule", "exponent", "kind", *names])


def _numbers(problem: Problem, ridge: float) -> dict[str, float]:
    """Those of a problem at a ridge, or in its limit where that is 0, in the frames of a measurement.

    Raises:
        InputError: theory does not give them.
    """
    solution = predict(problem.at_ridge(ridge) if ridge else problem)
    return framed_summary(in_both_frames(solution), problem.counts)
