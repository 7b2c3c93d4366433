"""One item of the paper, from plan to picture: train what is missing, tabulate, draw, write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from implicit_geometry._validate import InputError, choice, number, whole_number
from implicit_geometry.experiments.run import Failure
from implicit_geometry.experiments.training.train_run import NO_FILES, Resources
from implicit_geometry.frames import FRAMES, Frame
from implicit_geometry.report.figures.paper import convergence as convergence_drawing
from implicit_geometry.reproduce.convergence import run_convergence
from implicit_geometry.reproduce.paper_figures import FIGURE_DRAWINGS
from implicit_geometry.reproduce.studies import STUDIES, run_study
from implicit_geometry.reproduce.write import made_folder, write_pictures, write_table
from implicit_geometry.studies.figure_plans import FIGURES, UFM_EPOCHS, figure_plan
from implicit_geometry.studies.figure_runs import PAPER_FRAME, FigureRequest, trained_networks
from implicit_geometry.studies.training import QUIET, Watch

ITEMS = (*FIGURES, "convergence", *STUDIES)
"""What :func:`reproduce` makes: the paper's figures, and studies of what it leaves open.

``"convergence"`` is its Appendix E, how fast the unconstrained-features model nears its limit, and how near it comes
to the global minimum; ``"accuracy"`` compares the losses by their test accuracy, ``"logits"`` what to read off a
network at test time, ``"laws"`` what theory predicts of networks by its laws of labels, features and costs.
"""

_FRAMES: dict[Frame, str] = {
    "centred": "Embeddings are centred as in the paper's Remark 2.",
    "projected": "Of the embeddings it shows what the logits see: their projection on the classifiers' row space.",
}


@dataclass(frozen=True)
class Reproduction:
    """What was made.

    Attributes:
        caption: of the figure.
        files: pictures and tables that were written.
        tables: the numbers, by the stem of their file.
        failures: networks that did not finish.
    """

    caption: str
    files: tuple[Path, ...]
    tables: dict[str, pd.DataFrame]
    failures: tuple[Failure, ...] = ()


def reproduce(
    item: str,
    output: str | Path,
    *,
    models: Sequence[str] = (),
    frame: Frame = PAPER_FRAME,
    scale: str = "small",
    data: Sequence[str] = (),
    epochs: int | None = None,
    ridge: float = 0.0,
    seeds: int | None = None,
    workers: int | None = None,
    resources: Resources = NO_FILES,
    watch: Watch = QUIET,
) -> Reproduction:
    """Make one item of the paper: plan it, train what is missing, tabulate, draw, and write pictures and numbers.

    Args:
        item: one of :data:`ITEMS`.
        output: folder of pictures and numbers; networks are kept in ``networks`` in it, and used again.
        models: what is trained for a figure: ``"ufm"``, ``"mlp"``, ``"resnet18"``; all that it has where empty. For
            ``"fig3"`` also ``"mlp-6x2048"``, the paper's MLP and training on the data of the small scale.
        frame: in which a figure shows embeddings: ``"centred"``, as the paper does, or ``"projected"``, what the logits
            see of them (:mod:`implicit_geometry.frames`).
        scale: of networks: ``"small"``, for two cores, or ``"paper"``, as printed, where ``"fig4"`` has the paper's
            losses and imbalance ratios too.
        data: data set of the networks, several for a study; the scale's own where empty.
        epochs: passes over the samples; those of model and scale where left out.
        ridge: of the unconstrained-features model; the paper has none.
        seeds: repetitions; 1 where left out, those of the study (5, fewer for large networks) for one.
        workers: processes that train networks; by default one for each core.
        resources: data folder and hardware.
        watch: told of the progress.

    Raises:
        InputError: an argument is wrong, a data set is missing, or no network finished.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     made = reproduce("fig4", folder, models=["ufm"], epochs=20)
        >>> [path.name for path in made.files]
        ['fig4-ufm.png', 'fig4-ufm.svg', 'fig4-ufm.csv']
    """
    choice("item", item, ITEMS)
    choice("frame", frame, FRAMES)
    folder = made_folder(Path(output))
    if item in STUDIES:
        study = STUDIES[item]
        paths, found, failures = run_study(
            study, data or ["digits"], folder, seeds=seeds, workers=workers, resources=resources, watch=watch
        )
        return Reproduction(study.caption, tuple(paths), found, failures)
    repeated = whole_number("seeds", 1 if seeds is None else seeds, minimum=1)
    passes = None if epochs is None else whole_number("epochs", epochs, minimum=1)
    if item == "convergence":
        paths, found = run_convergence(folder, epochs=passes or UFM_EPOCHS, seeds=repeated, watch=watch)
        return Reproduction(convergence_drawing.CAPTION, tuple(paths), found)
    if len(data) > 1:
        raise InputError("data", "must be one data set for a figure", ", ".join(data))
    plan = figure_plan(item, scale)
    chosen = models or plan.models
    for model in chosen:
        choice("model", model, plan.choices)
    request = FigureRequest(
        item=item,
        models=tuple(dict.fromkeys(chosen)),
        frame=frame,
        scale=scale,
        data=data[0] if data else None,
        output=folder,
        epochs=passes,
        ridge=number("ridge", ridge, minimum=0.0),
        seeds=range(repeated),
        workers=workers,
        resources=resources,
        watch=watch,
    )
    networks = trained_networks(request)
    tables, files = {}, []
    module, make = FIGURE_DRAWINGS[item]
    for models_drawn, figure, numbers in make(request, networks):
        stem = f"{item}-{request.suffix(models_drawn)}"
        tables[stem] = numbers
        files += [*write_pictures(figure, folder, stem), write_table(numbers, folder, stem)]
    caption = f"{module.CAPTION} {_FRAMES[frame]}" if request.plan.shows_embeddings else module.CAPTION
    return Reproduction(caption, tuple(files), tables, networks.failures)
