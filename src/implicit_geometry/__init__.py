"""Predict, train towards, measure and explain the geometry that cross-entropy losses learn on label-imbalanced data.

Names load on first use, so that importing the package costs next to nothing and never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from implicit_geometry._version import __version__

if TYPE_CHECKING:
    from implicit_geometry._validate import InputError as InputError
    from implicit_geometry.certificate import Certificate as Certificate
    from implicit_geometry.certificate import Status as Status
    from implicit_geometry.comparison import Comparison as Comparison
    from implicit_geometry.comparison import compare as compare
    from implicit_geometry.counts import ClassCounts as ClassCounts
    from implicit_geometry.geometry import Cross as Cross
    from implicit_geometry.geometry import Geometry as Geometry
    from implicit_geometry.geometry import simplex_etf as simplex_etf
    from implicit_geometry.gram import BlockSummary as BlockSummary
    from implicit_geometry.gram import Gram as Gram
    from implicit_geometry.lowrank import LowRank as LowRank
    from implicit_geometry.parameterization import Parameterization as Parameterization
    from implicit_geometry.problem import Problem as Problem
    from implicit_geometry.problem import Solution as Solution
    from implicit_geometry.rules import cdt as cdt
    from implicit_geometry.rules import ce as ce
    from implicit_geometry.rules import ldam as ldam
    from implicit_geometry.rules import ldt as ldt
    from implicit_geometry.rules import logit_adjusted as logit_adjusted
    from implicit_geometry.rules import make_parameterization as make_parameterization
    from implicit_geometry.rules import vs as vs
    from implicit_geometry.rules import weighted as weighted
    from implicit_geometry.theory.collapse import CollapseThresholds as CollapseThresholds
    from implicit_geometry.theory.collapse import collapse_thresholds as collapse_thresholds
    from implicit_geometry.theory.design import Design as Design
    from implicit_geometry.theory.design import design as design
    from implicit_geometry.theory.effective import EffectiveRidge as EffectiveRidge
    from implicit_geometry.theory.effective import effective_ridge as effective_ridge
    from implicit_geometry.theory.predict import predict as predict
    from implicit_geometry.theory.ridge import ridge_from_weight_decay as ridge_from_weight_decay
    from implicit_geometry.theory.ridge import ridge_path as ridge_path

_HOME = {
    "InputError": "_validate",
    "Certificate": "certificate",
    "Status": "certificate",
    "Comparison": "comparison",
    "compare": "comparison",
    "ClassCounts": "counts",
    "Cross": "geometry",
    "Geometry": "geometry",
    "simplex_etf": "geometry",
    "BlockSummary": "gram",
    "Gram": "gram",
    "LowRank": "lowrank",
    "Parameterization": "parameterization",
    "Problem": "problem",
    "Solution": "problem",
    "cdt": "rules",
    "ce": "rules",
    "ldam": "rules",
    "ldt": "rules",
    "logit_adjusted": "rules",
    "make_parameterization": "rules",
    "vs": "rules",
    "weighted": "rules",
    "CollapseThresholds": "theory.collapse",
    "collapse_thresholds": "theory.collapse",
    "Design": "theory.design",
    "design": "theory.design",
    "EffectiveRidge": "theory.effective",
    "effective_ridge": "theory.effective",
    "predict": "theory.predict",
    "ridge_from_weight_decay": "theory.ridge",
    "ridge_path": "theory.ridge",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value  # also replaces a submodule of the same name by the function
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
