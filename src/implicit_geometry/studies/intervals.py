"""Means over seeds with Student's intervals: what every study tabulates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t


def means_with_intervals(groups: Any, names: Iterable[str]) -> pd.DataFrame:
    """One row per group: ``runs``, and of each column its mean and ``_half``, half the width of the 95 % interval.

    Args:
        groups: rows of runs, grouped (``DataFrame.groupby``).
        names: of the columns.

    Returns:
        A table with the groups as index; the intervals of single runs are NaN.

    Example:
        >>> rows = pd.DataFrame({"rule": ["ce", "ce"], "accuracy": [0.8, 0.9]})
        >>> means_with_intervals(rows.groupby("rule"), ["accuracy"]).round(2).to_dict("records")
        [{'runs': 2, 'accuracy': 0.85, 'accuracy_half': 0.64}]
    """
    table: pd.DataFrame = groups.size().to_frame("runs")
    quantile = t.ppf(0.975, np.maximum(table["runs"] - 1, 1))
    for name in names:
        table[name] = groups[name].mean()
        table[f"{name}_half"] = quantile * groups[name].std() / np.sqrt(table["runs"])
    return table
