"""How figures look: fonts, grids, the colour of the simplex ETF."""

from __future__ import annotations

from typing import Any

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
