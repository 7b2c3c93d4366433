"""What figures and tables ask of a table of runs."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from implicit_geometry._validate import InputError
from implicit_geometry.report.style import RULE_STYLES

_EQUAL_CE_AT_ZERO = ("weighted", "logit_adjusted", "cdt", "ldt")


def require_columns(name: str, frame: pd.DataFrame, columns: Iterable[str]) -> None:
    """Check that a table has the columns that are read.

    Raises:
        InputError: a column is missing.

    Example:
        >>> require_columns("records", pd.DataFrame({"rule": ["ce"]}), ["rule"])
    """
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise InputError(f"{name} must have the columns {', '.join(missing)}, got {', '.join(map(str, frame.columns))}")


def rule_runs(records: pd.DataFrame, rule: str) -> pd.DataFrame:
    """The runs of a rule, with those of plain cross-entropy where the rule at exponent 0 is plain cross-entropy.

    Args:
        records: one row a run, columns ``rule`` and ``exponent``.
        rule: a name in :data:`implicit_geometry.report.style.RULE_STYLES`.

    Returns:
        The rows in order of the exponent.

    Example:
        >>> records = pd.DataFrame({"rule": ["cdt", "ce", "vs"], "exponent": [0.5, 0.0, 0.5]})
        >>> rule_runs(records, "cdt")["rule"].tolist(), rule_runs(records, "vs")["rule"].tolist()
        (['ce', 'cdt'], ['vs'])
    """
    rules = [rule, "ce"] if rule in _EQUAL_CE_AT_ZERO else [rule]
    return records[records["rule"].isin(rules)].sort_values("exponent", kind="stable")


def mean_over_seeds(records: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """One row a rule and exponent: how many runs, how many of them in the terminal phase, and means of columns.

    Args:
        records: one row a run, columns ``rule``, ``exponent``, ``terminal_phase`` and those to average.
        columns: numeric columns to average; a run where one is NaN does not count in its mean.

    Returns:
        Columns ``rule``, ``exponent``, ``runs``, ``terminal_runs`` and the means, sorted by rule and exponent.

    Raises:
        InputError: a column is missing, or a rule is unknown.

    Example:
        >>> row = {"rule": "cdt", "exponent": 0.5, "terminal_phase": True}
        >>> records = pd.DataFrame([{**row, "test_balanced": 0.8}, {**row, "test_balanced": 0.9}])
        >>> mean = mean_over_seeds(records, ["test_balanced"]).iloc[0]
        >>> int(mean["runs"]), round(float(mean["test_balanced"]), 6)
        (2, 0.85)
    """
    wanted = list(columns)
    require_columns("records", records, ["rule", "exponent", "terminal_phase", *wanted])
    unknown = sorted(set(records["rule"]) - set(RULE_STYLES))
    if unknown:
        raise InputError(f"records must hold rules among {', '.join(RULE_STYLES)}, got {', '.join(unknown)}")
    groups = records.groupby(["rule", "exponent"])
    table = groups[wanted].mean()
    table.insert(0, "terminal_runs", groups["terminal_phase"].sum().astype(int))
    table.insert(0, "runs", groups.size())
    order = {rule: position for position, rule in enumerate(RULE_STYLES)}
    return table.reset_index().sort_values(
        ["rule", "exponent"], key=lambda keys: keys.map(order) if keys.name == "rule" else keys, ignore_index=True
    )
