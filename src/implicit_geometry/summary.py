"""A geometry in the paper's eight numbers."""

from __future__ import annotations

from dataclasses import asdict

from implicit_geometry.counts import ClassCounts
from implicit_geometry.geometry import Geometry
from implicit_geometry.gram import BlockSummary


def geometry_summary(geometry: Geometry, counts: ClassCounts) -> dict[str, float]:
    """The paper's eight numbers, keyed ``classifier_norm_ratio`` etc.; NaN where the counts are balanced.

    Args:
        geometry: measured or predicted.
        counts: they say which classes are majorities.

    Returns:
        For ``classifier`` and ``embedding``: ``_norm_ratio`` (squared), ``_cos_majority``, ``_cos_minority`` and
        ``_cos_between``.

    Source: Behnia et al. (2023), Fig. 3.

    Example:
        >>> from implicit_geometry.geometry import simplex_etf
        >>> geometry_summary(simplex_etf(4), ClassCounts([9, 9, 1, 1]))["classifier_norm_ratio"]
        1.0
    """
    undefined = BlockSummary(*[float("nan")] * 4)
    summaries = {
        block: undefined if counts.majority.all() else getattr(geometry, block).block_summary(counts.majority)
        for block in ("classifier", "embedding")
    }
    return {f"{block}_{name}": value for block, summary in summaries.items() for name, value in asdict(summary).items()}
