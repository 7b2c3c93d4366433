"""How rules and figures look: short names, Okabe and Ito's colours for colour-blind readers, markers, fonts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RuleStyle:
    """How one rule is named and drawn.

    Attributes:
        label: short name.
        exponent: name of the hyperparameter the rule is plotted against.
        color: as hexadecimal digits.
        marker: Matplotlib's.
    """

    label: str
    exponent: str
    color: str
    marker: str


RULE_STYLES: dict[str, RuleStyle] = {
    "ce": RuleStyle("CE", "exponent 0", "#000000", "o"),
    "weighted": RuleStyle("wCE", "exponent γ", "#E69F00", "v"),
    "logit_adjusted": RuleStyle("LA", "exponent τ", "#56B4E9", "^"),
    "cdt": RuleStyle("CDT", "exponent γ", "#0072B2", "o"),
    "ldt": RuleStyle("LDT", "exponent γ", "#D55E00", "s"),
    "vs": RuleStyle("VS", "exponent γ", "#009E73", "D"),
    "ldam": RuleStyle("LDAM", "largest margin", "#CC79A7", "P"),
}
"""One style a rule, in the order in which tables and legends list them."""

ETF_COLOR = "#666666"

FIGURE_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.labelcolor": "#222222",
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.color": "#888888",
    "ytick.color": "#888888",
    "xtick.minor.size": 2.5,
    "xtick.labelcolor": "#222222",
    "ytick.labelcolor": "#222222",
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "figure.facecolor": "white",
}
"""Matplotlib settings of this package's figures; panels on a caller's axes follow the caller's."""
