"""The paper's figures, drawn from theory and networks, with their numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType

import pandas as pd
from matplotlib.figure import Figure

from implicit_geometry.report.figures.paper import (
    fig1_norm_ratios,
    fig2_vectors,
    fig3_all_numbers,
    fig4_distances,
    fig5_training_accuracy,
)
from implicit_geometry.studies.figure_runs import (
    FigureNetworks,
    FigureRequest,
    rows_by_epoch,
    theory_and_runs,
    vectors_of_three_classes,
)

Drawing = tuple[Sequence[str], Figure, pd.DataFrame]  # models, picture, numbers


def _norm_ratios(request: FigureRequest, networks: FigureNetworks) -> list[Drawing]:
    curves, records = theory_and_runs(request, networks)
    figure = fig1_norm_ratios.norm_ratio_figure(curves, records, networks.names(request.models))
    return [(request.models, figure, records)]


def _vectors(request: FigureRequest, networks: FigureNetworks) -> list[Drawing]:
    table = vectors_of_three_classes(request, networks)
    return [(request.models, fig2_vectors.vectors_figure(table, networks.names(request.models)), table)]


def _all_numbers(request: FigureRequest, networks: FigureNetworks) -> list[Drawing]:
    curves, records = theory_and_runs(request, networks)
    figure = fig3_all_numbers.four_by_four_figure(curves, records, networks.names(request.models), frame=request.frame)
    return [(request.models, figure, records)]


def _distances(request: FigureRequest, networks: FigureNetworks) -> list[Drawing]:
    return _by_epoch(request, networks, partial(fig4_distances.distance_figure, frame=request.frame))


def _accuracies(request: FigureRequest, networks: FigureNetworks) -> list[Drawing]:
    return _by_epoch(request, networks, fig5_training_accuracy.training_accuracy_figure)


def _by_epoch(
    request: FigureRequest, networks: FigureNetworks, draw: Callable[[pd.DataFrame, str], Figure]
) -> list[Drawing]:
    """One picture for each model."""
    drawings: list[Drawing] = []
    for model, name in networks.names(request.models).items():
        rows = rows_by_epoch(request, networks, model)
        drawings.append(([model], draw(rows, name), rows))
    return drawings


FIGURE_DRAWINGS: dict[str, tuple[ModuleType, Callable[[FigureRequest, FigureNetworks], list[Drawing]]]] = {
    "fig1": (fig1_norm_ratios, _norm_ratios),
    "fig2": (fig2_vectors, _vectors),
    "fig3": (fig3_all_numbers, _all_numbers),
    "fig4": (fig4_distances, _distances),
    "fig5": (fig5_training_accuracy, _accuracies),
}
"""For every figure the module that draws it, and how."""
