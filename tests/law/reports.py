"""Attacks on figures and tables: the table of runs that they read, and what they draw."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import implicit_geometry as ig
from implicit_geometry.data.load import load_source
from implicit_geometry.data.split import make_split
from implicit_geometry.report.figures.images import save_figure
from implicit_geometry.report.figures.prediction import geometry_picture
from implicit_geometry.report.figures.runs_over_theory import accuracy_figure, geometry_figure, gram_figure
from implicit_geometry.report.frames import require_columns
from implicit_geometry.summary import accuracy_summary, geometry_summary
from law.attack import HELD, ORACLE, Attack
from law.cases import asks, close
from law.nonsense import nonsense_for
from law.theory import blocks

COLUMNS = [
    f"{block}_{name}"
    for block in ("classifier", "embedding")
    for name in ("norm_ratio", "cos_majority", "cos_minority", "cos_between")
]


def _table(**more: Any) -> pd.DataFrame:
    rows = [{"rule": "cdt", "exponent": gamma, "seed": 0} | dict.fromkeys(COLUMNS, 1.0) | more for gamma in (0.0, 0.5)]
    return pd.DataFrame(rows)


def check_picture(ask: Any) -> str:
    """The picture of a prediction shows the cosines and norms of its dense matrices."""
    geometry = ask.predict().geometry
    drawn = geometry_picture(ig.ClassCounts(ask.counts), geometry).axes
    dense = blocks(geometry)
    for ax, matrix in zip(drawn[:2], (dense.classifier, dense.embedding), strict=True):
        norms = np.sqrt(np.diag(matrix))
        expected = matrix / np.outer(norms, norms)
        shown = np.ma.filled(ax.images[0].get_array().astype(float), np.nan)
        apart = ~np.eye(len(norms), dtype=bool)
        assert close(shown[apart], expected[apart], 1e-9, 1e-9)
    return ORACLE


def check_summary(ask: Any) -> str:
    """The eight numbers of a prediction, from its dense matrices."""
    counts = ig.ClassCounts(ask.counts)
    geometry = ask.predict().geometry
    found = geometry_summary(geometry, counts)
    if counts.majority.all():
        assert all(value != value for value in found.values())
        return HELD
    for name, matrix in zip(("classifier", "embedding"), blocks(geometry)[:2], strict=True):
        squared, mask = np.diag(matrix), counts.majority
        assert close(found[f"{name}_norm_ratio"], squared[mask].mean() / squared[~mask].mean(), 1e-9)
        cosines = matrix / np.sqrt(np.outer(squared, squared))
        assert close(found[f"{name}_cos_between"], cosines[np.ix_(mask, ~mask)].mean(), 1e-8, 1e-9)
    return ORACLE


def _save(**given: Any) -> None:
    with tempfile.TemporaryDirectory() as place:
        save_figure(**{"path": Path(place) / "figure.svg"} | given)


TABLES = {"records": _table}
COUNTS = {"counts": lambda: ig.ClassCounts([50, 5])}
ATTACKS = [
    Attack("geometry_picture", ("report figures",), asks(most_classes=5), check_picture, 2),
    Attack("geometry_summary", ("geometry_summary",), asks(most_classes=8), check_summary, 15),
    nonsense_for(
        "geometry_summary",
        geometry_summary,
        {"geometry": lambda: ig.simplex_etf(2)} | COUNTS,
        share=3,
        may_hold_nan=True,
    ),
    nonsense_for(
        "accuracy_summary",
        accuracy_summary,
        {"hits": lambda: [1, 1], "seen": lambda: [2, 2]} | COUNTS,
        share=3,
        may_hold_nan=True,
    ),
    nonsense_for(
        "geometry_picture",
        geometry_picture,
        {"geometry": lambda: ig.simplex_etf(2)} | COUNTS,
        share=1,
        covers=("report figures",),
    ),
    nonsense_for(
        "require_columns",
        lambda frame: require_columns("frame", frame, ["rule"]),
        {"frame": _table},
        share=2,
        covers=("report figures",),
    ),
    nonsense_for("accuracy_figure", accuracy_figure, TABLES, share=1, covers=("report figures",)),
    nonsense_for(
        "geometry_figure",
        lambda **given: geometry_figure("cdt", num_classes=2, **given),
        {"curves": lambda: _table(kind="limit"), "records": _table},
        share=1,
        covers=("report figures",),
    ),
    nonsense_for(
        "gram_figure",
        lambda matrix: gram_figure({"W": np.eye(2)}, {"W": matrix}),
        {"matrix": lambda: np.eye(2)},
        share=1,
        covers=("report figures",),
    ),
    nonsense_for(
        "save_figure",
        _save,
        {"figure": Figure, "path": lambda: Path("/does/not/exist/figure.png")},
        share=1,
        covers=("report figures",),
        names=("suffix of path", "output"),
    ),
    nonsense_for(
        "make_split",
        lambda **given: len(make_split(**given).train_labels),
        {
            "source": lambda: load_source("digits"),
            "counts": lambda: [5] * 10,
            "test_per_class": lambda: 2,
            "validation_per_class": lambda: 0,
            "seed": lambda: 0,
            "augment": lambda: False,
        },
        share=2,
        covers=("data splits",),
    ),
]
