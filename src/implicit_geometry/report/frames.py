"""What figures and tables ask of a table of runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from implicit_geometry._validate import InputError, instance
from implicit_geometry.rules import find_rule, in_order


def require_columns(name: str, frame: pd.DataFrame, columns: Iterable[str]) -> None:
    """Check that a table has the columns that are read.

    Raises:
        InputError: it is no table, or a column is missing.

    Example:
        >>> require_columns("records", pd.DataFrame({"rule": ["ce"]}), ["rule"])
    """
    instance(name, frame, pd.DataFrame)
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise InputError(name, f"must have the columns {', '.join(missing)}", ", ".join(map(str, frame.columns)))


def rule_runs(records: pd.DataFrame, rule: str) -> pd.DataFrame:
    """The runs of a rule, with those of plain cross-entropy where the rule at exponent 0 is plain cross-entropy.

    Args:
        records: one row per run, columns ``rule`` and ``exponent``.
        rule: a name of one.

    Returns:
        The rows in order of the exponent.

    Example:
        >>> records = pd.DataFrame({"rule": ["cdt", "ce", "vs"], "exponent": [0.5, 0.0, 0.5]})
        >>> rule_runs(records, "cdt")["rule"].tolist(), rule_runs(records, "vs")["rule"].tolist()
        (['ce', 'cdt'], ['vs'])
    """
    rules = [rule, "ce"] if find_rule(rule).equals_ce_at_zero else [rule]
    return records[records["rule"].isin(rules)].sort_values("exponent", kind="stable")


def series(records: pd.DataFrame) -> list[tuple[str, str]]:
    """The rules with their variants (other hyperparameters than the exponent), in the order of the rules.

    A table without the column ``variant`` has one variant per rule.

    Example:
        >>> series(pd.DataFrame({"rule": ["vs", "ce", "vs"], "variant": ["", "", "tau 0.5"]}))
        [('ce', ''), ('vs', ''), ('vs', 'tau 0.5')]
    """
    found = sorted(set(zip(records["rule"], variants(records), strict=True)))
    order = in_order(rule for rule, _ in found)
    return sorted(found, key=lambda pair: order.index(pair[0]))


def variants(records: pd.DataFrame) -> pd.Series:
    """The column ``variant``; empty texts where a table has none."""
    return records["variant"] if "variant" in records else pd.Series("", index=records.index)


def series_runs(records: pd.DataFrame, rule: str, variant: str) -> pd.DataFrame:
    """As :func:`rule_runs`, of one variant."""
    return rule_runs(records[(variants(records) == variant) | (records["rule"] == "ce")], rule)


def mean_over_seeds(records: pd.DataFrame, columns: Iterable[str], settings: Sequence[str] = ()) -> pd.DataFrame:
    """One row per rule, variant, exponent and setting: runs, those in the terminal phase, and means of columns.

    Args:
        records: one row per run, columns ``rule``, ``exponent``, ``terminal_phase``, those to average, and ``variant``
            where rules have several.
        columns: numeric columns to average; a run where one is NaN does not count in its mean.
        settings: columns in which runs differ besides their loss and seed.

    Returns:
        Columns ``rule``, ``variant``, ``exponent``, the settings, ``runs``, ``terminal_runs`` and the means, sorted by
        rule, variant and exponent, and settings as they come.

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
    require_columns("records", records, ["rule", "exponent", "terminal_phase", *settings, *wanted])
    order = in_order(records["rule"])
    for rule in order:
        find_rule(rule)
    keys = ["rule", "variant", "exponent"]
    groups = records.assign(variant=variants(records)).groupby([*keys, *settings], sort=False)
    table = groups[wanted].mean()
    table.insert(0, "terminal_runs", groups["terminal_phase"].sum().astype(int))
    table.insert(0, "runs", groups.size())
    return table.reset_index().sort_values(
        keys,
        key=lambda column: column.map(order.index) if column.name == "rule" else column,
        ignore_index=True,
        kind="stable",
    )
