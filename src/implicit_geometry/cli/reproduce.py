"""``igeom reproduce``: the paper's tables and figures, and the study of test accuracy that it leaves open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from implicit_geometry._files import dumps
from implicit_geometry._validate import InputError, choice, number, whole_number
from implicit_geometry.cli._inputs import DataRoot, Download

_FIGURES = ("fig1", "fig2", "fig3", "fig4", "fig5")
_ITEMS = ("tables", *_FIGURES, "accuracy")
_SEEDS = {"accuracy": 5}


def reproduce(
    item: Annotated[str, typer.Argument(help=f"One of {', '.join(_ITEMS)}.", show_default=False)],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="What is trained for a figure, repeated or separated by commas: ufm, mlp, resnet18.",
            show_default="all that the figure has",
        ),
    ] = None,
    scale: Annotated[str, typer.Option(help="Of networks: small, for two cores, or paper, as printed.")] = "small",
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Data set of the networks: digits, mnist, fashion_mnist or cifar10; several for accuracy.",
            show_default="digits; at paper scale mnist for mlp, cifar10 for resnet18",
        ),
    ] = None,
    data_root: DataRoot = None,
    download: Download = False,
    output: Annotated[
        Path, typer.Option(help="Folder of pictures, numbers and networks; finished networks are used again.")
    ] = Path("runs/reproduce"),
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the samples.", show_default="those of model and scale")
    ] = None,
    ridge: Annotated[float, typer.Option(help="Regularisation of the ufm; the paper has none.")] = 0.0,
    seeds: Annotated[int | None, typer.Option(help="Repetitions.", show_default="1; 5 for accuracy")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that train networks.", show_default="one a core")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows of the tables as JSON.")] = False,
) -> None:
    """Print the paper's numbers beside ours, or draw its figures: theory, regularised theory, trained models.

    A figure is written as PNG and SVG with its numbers as CSV. Networks are kept in OUTPUT/networks: the same command
    again, or another figure that needs them, trains only what is missing. The exit code is 1 if a network failed.

    Examples:

      igeom reproduce tables

      igeom reproduce fig3

      igeom reproduce fig4 --model ufm,mlp --output runs/quick

      igeom reproduce fig1 --model mlp --data mnist --data-root ~/data

      igeom reproduce fig5 --scale paper --data-root ~/data

      igeom reproduce accuracy --data digits,mnist --data-root ~/data
    """
    choice("item", item, _ITEMS)
    if item == "tables":
        _print_tables(as_json)
        return
    from implicit_geometry.experiments.training.train_run import Resources

    resources = Resources(data_root, download)
    names = _split(data)
    count = whole_number("seeds", _SEEDS.get(item, 1) if seeds is None else seeds, minimum=1)
    _make_folder(output)
    if item == "accuracy":
        from implicit_geometry.cli.accuracy import run_accuracy_study

        paths, failures = run_accuracy_study(
            names or ["digits"], output, seeds=count, resources=resources, workers=workers
        )
    else:
        from implicit_geometry.cli.figures import Request, draw_figure

        if len(names) > 1:
            raise InputError("data", "must be one data set for a figure", ", ".join(names))
        request = Request(
            item=item,
            models=tuple(_split(model)),
            scale=scale,
            data=names[0] if names else None,
            output=output,
            epochs=None if epochs is None else whole_number("epochs", epochs, minimum=1),
            ridge=number("ridge", ridge, minimum=0.0),
            seeds=range(count),
            workers=workers,
            resources=resources,
        )
        paths, failures = draw_figure(request)
    for path in paths:
        Console().print(str(path), soft_wrap=True)
    raise typer.Exit(1 if failures else 0)


def _split(values: list[str] | None) -> list[str]:
    """Names of a repeated option or of comma lists, each once."""
    return list(dict.fromkeys(name for value in values or [] for name in value.split(",")))


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("output", "must be a folder that can be written", f"{path} ({error.strerror})") from error


def _print_tables(as_json: bool) -> None:
    from dataclasses import asdict

    from implicit_geometry.paper.step_tables import balancing_rows, errata_rows, formula_rows, limit_rows

    sections = {
        "Printed formulas, k = 10, R = 10": formula_rows(),
        "Corollaries 1.1 and 1.2: temperature ratio sqrt R": balancing_rows(),
        "Corollaries 1.3 and 1.4, Tables 1 and 2: R -> infinity, ours at R = 1e12": limit_rows(),
        "Errata: what stands in print or in circulating code, and the theory": errata_rows(),
    }
    if as_json:
        print(dumps({title: [asdict(row) for row in rows] for title, rows in sections.items()}))
        return
    for title, rows in sections.items():
        table = Table("source", "loss", "γ", "quantity", "paper", "ours", title=title)
        for row in rows:
            gamma = "" if row.gamma is None else f"{row.gamma:g}"
            table.add_row(row.source, row.loss, gamma, row.quantity, f"{row.paper:.6g}", f"{row.ours:.6g}")
        Console().print(table)
