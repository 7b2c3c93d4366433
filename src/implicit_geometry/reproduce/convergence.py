"""The unconstrained-features model on its way to the limit: trained at several ratios, tabulated, drawn."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from implicit_geometry.report.figures.paper.convergence import convergence_figure, gap_figure
from implicit_geometry.reproduce.write import write_pictures, write_table
from implicit_geometry.studies.convergence import RATIOS, convergence_history, fitted_rates
from implicit_geometry.studies.training import Watch


def run_convergence(
    folder: Path, *, epochs: int, seeds: int, watch: Watch
) -> tuple[list[Path], dict[str, pd.DataFrame]]:
    """Train, fit, draw and write: paths, and tables by the stem of their file."""
    parts = []
    for ratio in RATIOS:
        with watch.epochs(epochs) as on_epoch:
            parts.append(convergence_history(ratio, epochs=epochs, seeds=range(seeds), on_epoch=on_epoch))
    history = pd.concat(parts, ignore_index=True)
    rates = fitted_rates(history)
    files = write_pictures(convergence_figure(history, rates), folder, "convergence")
    files += write_pictures(gap_figure(rates), folder, "convergence-gap")
    tables = {"convergence": history, "convergence-rates": rates}
    return files + [write_table(table, folder, stem) for stem, table in tables.items()], tables
