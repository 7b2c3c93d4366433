"""``igeom design``: the loss that leads to a wanted geometry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from implicit_geometry._files import dumps, write_atomically
from implicit_geometry.cli._inputs import COUNTS_HELP, LabelSmoothing
from implicit_geometry.cli._tables import add_rows
from implicit_geometry.cli._waiting import waiting
from implicit_geometry.counts import ClassCounts
from implicit_geometry.groups import group_classes
from implicit_geometry.profiles import parse_counts
from implicit_geometry.theory.design import Design
from implicit_geometry.theory.design import design as find

_VECTORS = ("class_scale", "label_scale", "shift")
_REACHED = {
    "etf": "distance of the classifiers to an ETF",
    "equal_norms": "spread of log |w|",
    "equal_angles": "spread of cos(w, w')",
    "alignment": "smallest cos(w, h)",
    "norm_ratio": "|w_maj|² / |w_min|²",
    "minority_cosine": "cos(w_min, w_min')",
    "no_collapse": "smallest collapse threshold / weight decay",
}


def design(
    counts: Annotated[str, typer.Argument(help=COUNTS_HELP, show_default=False)],
    target: Annotated[
        str,
        typer.Option(
            help="etf, equal_norms, equal_angles, alignment, norm_ratio, minority_cosine (these two with --value) "
            "or no_collapse (with --weight-decay)."
        ),
    ] = "etf",
    family: Annotated[str, typer.Option(help="ldt, cdt, vs or cdt+ldt.")] = "ldt",
    value: Annotated[float | None, typer.Option(help="Wanted norm_ratio or minority_cosine.")] = None,
    free: Annotated[bool, typer.Option("--free", help="A free scale for each count, not one exponent.")] = False,
    weight_decay: Annotated[
        float | None, typer.Option(help="Of a mean loss; for no_collapse, and to be warned of collapse.")
    ] = None,
    bias: Annotated[bool, typer.Option("--bias", help="The head has a free bias.")] = False,
    label_smoothing: LabelSmoothing = 0.0,
    max_count: Annotated[int, typer.Option(help="Largest class of step: and exp: profiles.")] = 5000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Write the loss as JSON, for igeom predict --parameters.", show_default=False)
    ] = None,
) -> None:
    """Find the loss whose geometry, in the limit of vanishing weight decay, is the one asked for.

    It says where training leads, not which loss classifies best: for that see igeom reproduce accuracy and logits.

    Examples:

      igeom design 5000,500,50 --target etf --family ldt

      igeom design step:10,100 --target norm_ratio --value 1 --family cdt --output loss.json

      igeom design exp:10,100 --target equal_norms --family cdt --free

      igeom design exp:10,100 --target no_collapse --weight-decay 5e-3 --json

      igeom design step:10,100 --target equal_norms --family cdt --bias
    """
    class_counts = parse_counts(counts, max_count=max_count)
    with waiting("searching"):
        found = find(
            class_counts,
            target=target,
            family=family,
            value=value,
            free=free,
            weight_decay=weight_decay,
            bias=bias,
            label_smoothing=label_smoothing,
        )
    if output is not None:
        write_atomically(output, lambda part: part.write_text(found.parameterization.to_json(), encoding="utf-8"))
    if as_json:
        print(dumps({**_document(class_counts, found), "bias": bias, "label_smoothing": label_smoothing}))
    else:
        _print_tables(class_counts, found, bias)


def _document(counts: ClassCounts, found: Design) -> dict[str, Any]:
    return {
        "counts": counts.values.tolist(),
        "target": found.target,
        "family": found.family,
        "exponent": found.exponent,
        "reached": found.reached,
        "residual": found.residual,
        "exact": found.exact,
        "reachable": found.reachable,
        "warnings": list(found.warnings),
        "parameterization": found.parameterization.to_dict(),
    }


def _print_tables(counts: ClassCounts, found: Design, bias: bool) -> None:
    console = Console()
    head = ", head with a free bias" if bias else ""
    result = Table(show_header=False, title=f"{found.target} by {found.family}, {counts.num_classes:,} classes{head}")
    result.add_row("exponent", "none (free scales)" if found.exponent is None else f"{found.exponent:.6g}")
    result.add_row(_REACHED[found.target], f"{found.reached:.6g}")
    unit = ", in logarithms" if found.target == "norm_ratio" else ""
    result.add_row(f"distance from target{unit}", "0 (exact)" if found.exact else f"{found.residual:.2g}")
    if found.reachable is not None:
        result.add_row("reachable", "{:.4g} to {:.4g}".format(*found.reachable))
    console.print(result)
    names = [name for name in _VECTORS if not found.parameterization.is_neutral(name)]
    if names:
        console.print("\nThe loss (the vectors left out are neutral):")
        console.print(_scale_table(counts, found, names))
    else:
        console.print("\nThe loss: plain cross-entropy.")
    for warning in found.warnings:
        console.print(f"[yellow]warning:[/] {warning}", highlight=False, soft_wrap=True)


def _scale_table(counts: ClassCounts, found: Design, names: list[str]) -> Table:
    loss = found.parameterization
    table = Table("classes", "samples each", *names)
    for column in table.columns:
        column.justify = "right"
    groups = group_classes(counts.values)
    rows = list(zip(groups.size.astype(int).tolist(), groups.first.tolist(), strict=True))

    def cells(row: tuple[int, int]) -> list[str]:
        size, first = row
        scales = (f"{getattr(loss, name)[first]:.4g}" for name in names)
        return [f"{first}" if size == 1 else f"{size:,} like {first}", f"{counts.values[first]:,}", *scales]

    add_rows(table, rows, cells)
    return table
