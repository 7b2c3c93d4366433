"""``igeom train``: one run from flags, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from implicit_geometry import experiments
from implicit_geometry._extras import require
from implicit_geometry._files import dumps
from implicit_geometry._validate import choice, whole_number
from implicit_geometry.cli._inputs import (
    COUNTS_HELP,
    LOSS_HELP,
    DataRoot,
    Download,
    Gamma,
    LabelSmoothing,
    LoggerName,
    MaxMargin,
    Normalize,
    Param,
    Tau,
    assignments,
    hyperparameters,
)
from implicit_geometry.cli._progress import kept_on_interrupt, print_failures
from implicit_geometry.cli._tables import run_document, run_table
from implicit_geometry.cli.sweep import ACCELERATORS
from implicit_geometry.experiments.ends_with_parent import end_with_first_process
from implicit_geometry.experiments.run import Failure
from implicit_geometry.experiments.spec import PRECISIONS, SCHEDULES, DataSpec, NetworkSpec, Optimization


def train(
    counts: Annotated[str, typer.Option(help=COUNTS_HELP, show_default=False)],
    data: Annotated[
        str,
        typer.Option(
            help="digits, mnist, fashion_mnist, cifar10, cifar100, folder:PATH, features:FILE.npz or gaussian:K."
        ),
    ] = DataSpec.name,
    max_count: Annotated[int, typer.Option(help="Largest class of step: and exp: profiles.")] = 5000,
    test_per_class: Annotated[
        int | None, typer.Option(help="Test samples of every class.", show_default="50 for digits, else the test part")
    ] = None,
    validation_per_class: Annotated[int, typer.Option(help="Samples of every class held out from training.")] = 0,
    image_size: Annotated[int | None, typer.Option(help="Side of the images of a folder.", show_default="32")] = None,
    augment: Annotated[bool, typer.Option("--augment", help="Shift (and mirror) training images at random.")] = False,
    class_order: Annotated[
        str, typer.Option(help="Which class has which count: data, as they come, or seed, as the seed draws it.")
    ] = DataSpec.class_order,
    network: Annotated[
        str, typer.Option(help="mlp, resnet18, linear, timm:NAME, torchvision:NAME or MODULE:FUNCTION.")
    ] = NetworkSpec.name,
    option: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the network; may be given again.", show_default=False)
    ] = None,
    loss: Annotated[str, typer.Option(help=LOSS_HELP)] = "ce",
    gamma: Gamma = None,
    tau: Tau = None,
    max_margin: MaxMargin = None,
    normalize: Normalize = None,
    param: Param = None,
    label_smoothing: LabelSmoothing = 0.0,
    epochs: Annotated[int, typer.Option(help="Passes over the training set.")] = Optimization.epochs,
    batch_size: Annotated[int, typer.Option(help="Samples per step.")] = Optimization.batch_size,
    learning_rate: Annotated[float, typer.Option(help="Initial rate.")] = Optimization.learning_rate,
    momentum: Annotated[float, typer.Option(help="Of the gradient.")] = Optimization.momentum,
    weight_decay: Annotated[float, typer.Option(help="Of all parameters.")] = Optimization.weight_decay,
    schedule: Annotated[str, typer.Option(help=f"{', '.join(SCHEDULES)}.")] = Optimization.schedule,
    precision: Annotated[str, typer.Option(help=f"{', '.join(PRECISIONS)}.")] = Optimization.precision,
    seed: Annotated[int, typer.Option(help="Of data split, initial weights and batches.")] = 0,
    record_every: Annotated[int, typer.Option(help="Epochs between measurements; 0 for none.")] = 1,
    accelerator: Annotated[str, typer.Option(help=f"{', '.join(ACCELERATORS)}.")] = "auto",
    devices: Annotated[int, typer.Option(help="How many, one process each.")] = 1,
    logger: LoggerName = None,
    data_root: DataRoot = None,
    download: Download = False,
    output: Annotated[Path, typer.Option(help="Folder of the results, as igeom sweep has it.")] = Path("runs/train"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Train one network and compare its geometry with the theory's.

    The run is kept in a folder of results like those of igeom sweep. The same command again shows a finished run, and
    goes on with an interrupted one from its last epoch.

    Examples:

      igeom train --counts step:10,10 --max-count 120 --loss cdt --gamma 0.5

      igeom train --data mnist --data-root ~/data --counts exp:10,100 --network resnet18 --option width=16 --epochs 30

      igeom train --data features:embeddings.npz --counts 500,50,5 --network linear --logger tensorboard

      igeom train --counts step:10,10 --max-count 120 --label-smoothing 0.1
    """
    require("igeom train", "train")
    if devices > 1:
        end_with_first_process()
    choice("accelerator", accelerator, ACCELERATORS)
    experiments.check_logger(logger)
    document: dict[str, Any] = {
        "data": {
            "name": data,
            "validation_per_class": validation_per_class,
            "augment": augment,
            "class_order": class_order,
            **_given(test_per_class=test_per_class, image_size=image_size),
        },
        "counts": counts,
        "max_count": max_count,
        "network": {"name": network, **assignments("option", option or [])},
        "losses": {
            "rule": loss,
            **hyperparameters(param, gamma=gamma, tau=tau, max_margin=max_margin, normalize=normalize),
            "label_smoothing": label_smoothing,
        },
        "optimization": {
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "schedule": schedule,
            "precision": precision,
        },
        "seeds": [seed],
        "record_every": record_every,
    }
    (spec,) = experiments.sweep_specs(document)
    store = experiments.open_store(output)
    hardware = experiments.Hardware(accelerator, whole_number("devices", devices, minimum=1))
    resources = experiments.Resources(data_root, download, hardware, logger)
    console = Console(stderr=as_json)
    if store.has(spec):
        console.print("This run was finished before and is shown again.", style="dim")
    with kept_on_interrupt(store, [spec], console):
        run = experiments.run_here(store, spec, resources, progress=not as_json)
    if run is None:
        return
    if isinstance(run, Failure):
        print_failures([run], Console(stderr=True))
        raise typer.Exit(1)
    if as_json:
        print(dumps(run_document(run)))
        return
    console.print(run_table(run))
    console.print(f"[bold]Run:[/] {store.place(spec)}", soft_wrap=True)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
