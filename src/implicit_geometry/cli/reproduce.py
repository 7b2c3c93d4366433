"""``igeom reproduce``: the paper's tables and figures, and studies of what it leaves open."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich import box
from rich.console import Console
from rich.table import Column, Table

from implicit_geometry import experiments, studies
from implicit_geometry._extras import require
from implicit_geometry._files import dumps
from implicit_geometry._validate import choice
from implicit_geometry.cli._inputs import DataRoot, Download
from implicit_geometry.cli._progress import epoch_bar, kept_on_interrupt, print_failures, run_bar
from implicit_geometry.cli._waiting import waiting
from implicit_geometry.frames import FRAMES, Frame
from implicit_geometry.paper.errata import errata_rows
from implicit_geometry.paper.step_tables import balancing_rows, formula_rows, limit_rows, norm_rows
from implicit_geometry.rules import RULES

if TYPE_CHECKING:
    import pandas as pd

_FIGURES = ("fig1", "fig2", "fig3", "fig4", "fig5")
_ITEMS = ("tables", *_FIGURES, "convergence", "accuracy", "logits", "laws")


def reproduce(
    item: Annotated[str, typer.Argument(help=f"One of {', '.join(_ITEMS)}.", show_default=False)],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="What is trained for a figure, repeated or separated by commas: ufm, mlp, resnet18; for fig3 also "
            "mlp-6x2048, the paper's MLP and training on the data of the small scale.",
            show_default="all that the figure has",
        ),
    ] = None,
    frame: Annotated[
        str,
        typer.Option(
            help="In which a figure shows embeddings: centred, as the paper does, or projected, what the logits see."
        ),
    ] = "centred",
    scale: Annotated[
        str, typer.Option(help="Of networks: small, for two cores, or paper, as printed (fig4 with its losses).")
    ] = "small",
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Data set of the networks: digits, mnist, fashion_mnist or cifar10; several for accuracy, logits and "
            "laws, of which the last two also take folder:PATH.",
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
    seeds: Annotated[int | None, typer.Option(help="Repetitions.", show_default="1; those of a study")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that train networks.", show_default="one per core")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows of the tables as JSON.")] = False,
) -> None:
    """Print the paper's numbers beside ours, or draw its figures: theory, regularised theory, trained models.

    Item convergence is its Appendix E: how fast the unconstrained-features model nears the limit at several R, gamma
    and scales of delta, with fitted rates, and how near SGD comes to the global minimum. Three studies go beyond the
    paper: accuracy compares the losses by test accuracy, logits what to read off a trained network at test time, laws
    what theory predicts of networks by its laws of labels, features and costs.

    A figure is written as PNG and SVG with its numbers as CSV. Networks are kept in OUTPUT/networks: the same command
    again, or another figure that needs them, trains only what is missing. The exit code is 1 if a network failed.

    Examples:

      igeom reproduce tables

      igeom reproduce fig3

      igeom reproduce fig4 --model ufm,mlp --output runs/quick

      igeom reproduce fig1 --model mlp --data mnist --data-root ~/data

      igeom reproduce fig3 --model mlp,mlp-6x2048 --data mnist --data-root ~/data

      igeom reproduce fig4 --model ufm --scale paper

      igeom reproduce fig5 --scale paper --data-root ~/data

      igeom reproduce convergence

      igeom reproduce accuracy --data digits,mnist --data-root ~/data

      igeom reproduce logits --data mnist --data-root ~/data

      igeom reproduce laws --data digits
    """
    choice("item", item, _ITEMS)
    if item == "tables":
        _print_tables(as_json)
        return
    require("igeom reproduce", "train")
    from implicit_geometry.reproduce import reproduce as make

    console = Console()
    made = make(
        item,
        output,
        models=_split(model),
        frame=cast("Frame", choice("frame", frame, FRAMES)),
        scale=scale,
        data=_split(data),
        epochs=epochs,
        ridge=ridge,
        seeds=seeds,
        workers=workers,
        resources=experiments.Resources(data_root, download),
        watch=_watch(console),
    )
    print_failures(made.failures, console)
    for path in made.files:
        console.print(str(path), soft_wrap=True)
    console.print(made.caption)
    if item in _STUDY_TABLES:
        _STUDY_TABLES[item](made.tables, console)
    raise typer.Exit(1 if made.failures else 0)


def _watch(console: Console) -> studies.Watch:
    """Bars, and how to go on after Ctrl-C."""

    @contextmanager
    def networks(
        store: experiments.RunStore, specs: Sequence[experiments.RunSpec]
    ) -> Iterator[Callable[[experiments.RunSpec], object]]:
        with kept_on_interrupt(store, specs, console), run_bar(store, specs, console) as on_done:
            yield on_done

    def say(text: str) -> None:
        console.print(text, style="yellow", soft_wrap=True)

    return studies.Watch(networks, epoch_bar, say, waiting)


def _split(values: list[str] | None) -> list[str]:
    """Names of a repeated option or of comma lists, each once."""
    return list(dict.fromkeys(name for value in values or [] for name in value.split(",")))


def _print_tables(as_json: bool) -> None:
    with waiting("computing the tables"):
        sections = {
            "Printed formulas, k = 10, R = 10": formula_rows(),
            "Corollaries 1.1 and 1.2: temperature ratio sqrt R": balancing_rows(),
            "Corollaries 1.3 and 1.4, Tables 1 and 2: R -> infinity, ours at R = 1e12": limit_rows(),
            "Beside both tables: angles say nothing of norms, and can be far from their limit at any R": norm_rows(),
            "Errata: what stands in print or in circulating code, and the theory": errata_rows(),
        }
    if as_json:
        print(dumps({title: [asdict(row) for row in rows] for title, rows in sections.items()}))
        return
    for title, rows in sections.items():
        table = Table("source", "loss", "γ", Column("quantity", overflow="fold"), "paper", "ours", title=title)
        for row in rows:
            gamma = "" if row.gamma is None else f"{row.gamma:g}"
            table.add_row(row.source, row.loss, gamma, row.quantity, f"{row.paper:.6g}", f"{row.ours:.6g}")
        Console().print(table)


def _print_rates(tables: Mapping[str, pd.DataFrame], console: Console) -> None:
    """Every run at its end, slopes c against 1 / ln(epoch), and where the line of the gap ends, with its residual."""
    made = Table(box=box.SIMPLE_HEAD, padding=0, header_style="bold")
    for name in ("R", "loss", "γ", "mean δ", "W", "c", "H", "c", "gap", "c", "at ∞", "residual"):
        made.add_column(name, justify="left" if name == "loss" else "right", no_wrap=True)
    for row in tables["convergence-rates"].to_dict("records"):
        run = f"{row['imbalance_ratio']}", RULES[row["rule"]].label, f"{row['exponent']:g}", f"{row['scale']:g}"
        vectors = (
            f"{row[f'{quantity}_distance_{number}']:.3f}"
            for quantity in ("classifier", "embedding")
            for number in ("end", "slope")
        )
        gap = (f"{row[f'gap_{number}']:.3f}" for number in ("end", "slope", "at_infinity"))
        made.add_row(*run, *vectors, *gap, f"{row['gap_residual']:.4f}")
    console.print(made)


def _print_accuracy(tables: Mapping[str, pd.DataFrame], console: Console) -> None:
    for (source, profile, ratio), rows in tables["accuracy"].groupby(["data", "profile", "imbalance_ratio"]):
        console.print(_setting_table(f"{source}, {profile}, R = {ratio}", rows))
    console.print(_correlation_table(tables["accuracy-correlations"]))


def _setting_table(title: str, rows: pd.DataFrame) -> Table:
    """One setting of the study: one line per loss."""
    made = Table(box=box.SIMPLE_HEAD, padding=0, header_style="bold", title=title, title_justify="left")
    for name in ("loss", "exponent", "balanced", "minority", "worst class", "W to ETF", "W to limit", "ridge"):
        made.add_column(name, justify="left" if name == "loss" else "right", no_wrap=True)
    for row in rows.to_dict("records"):
        accuracies = (
            f"{100 * row[f'test_{name}']:.1f} ± {100 * row[f'test_{name}_half']:.1f}"
            for name in ("balanced", "minority", "worst")
        )
        distances = (f"{row[f'classifier_{target}_distance']:.2f}" for target in ("etf", "limit"))
        label = RULES[row["rule"]].label
        made.add_row(label, f"{row['exponent']:g}", *accuracies, *distances, f"{row['effective_ridge']:.1g}")
    return made


def _correlation_table(correlations: pd.DataFrame) -> Table:
    made = Table(box=box.SIMPLE_HEAD, padding=0, header_style="bold")
    for name in ("data", "profile", "R", "balanced test accuracy against", "Spearman", "p", "losses"):
        made.add_column(name, no_wrap=True)
    for row in correlations.to_dict("records"):
        quantity = row["quantity"].replace("_", " ")
        numbers = f"{row['correlation']:+.2f}", f"{row['p_value']:.2g}", str(row["losses"])
        made.add_row(row["data"], row["profile"], str(row["imbalance_ratio"]), quantity, *numbers)
    return made


def _print_logits(tables: Mapping[str, pd.DataFrame], console: Console) -> None:
    for (data, prior), rows in tables["logits"].groupby(["data", "prior"], sort=False):
        title = f"{data}, {'balanced test data' if prior == 'balanced' else 'test data with the prior of training'}"
        made = Table(box=box.SIMPLE_HEAD, padding=0, header_style="bold", title=title, title_justify="left")
        for name in ("loss", "logits", "accuracy", "balanced", "NLL", "ECE", "Brier", "tau", "temperature"):
            made.add_column(name, justify="left" if name in ("loss", "logits") else "right", no_wrap=True)
        for row in rows.to_dict("records"):
            percent = (f"{100 * row[name]:.1f} ± {100 * row[f'{name}_half']:.1f}" for name in _PERCENT)
            others = (f"{row[name]:.3f}" for name in ("nll", "ece", "brier"))
            fitted = ("" if math.isnan(row[name]) else f"{row[name]:.2f}" for name in ("tau", "temperature"))
            made.add_row(RULES[row["rule"]].label, row["method"], *percent, *others, *fitted)
        console.print(made)


def _print_laws(tables: Mapping[str, pd.DataFrame], console: Console) -> None:
    from implicit_geometry.studies.laws.table import law_summary

    for stem, numbers in tables.items():
        if stem.startswith("laws-runs-"):
            continue
        title = f"{stem.removeprefix('laws-')}: medians of plain CE, CDT and LDT at 1/2"
        made = Table(box=box.SIMPLE_HEAD, padding=0, header_style="bold", title=title, title_justify="left")
        for name in ("normalisation", "labels", "R", "law", "a", "ridge", "W", "H", "logits", "runs"):
            made.add_column(name, justify="left" if name in ("normalisation", "labels", "law") else "right")
        for row in law_summary(numbers).to_dict("records"):
            labels = f"smoothed {row['label_smoothing']:g}" if row["label_smoothing"] else "hard"
            parts = ("count_exponent", "ridge", "classifier_systematic", "embedding_systematic", "cross_systematic")
            cells = ("–" if math.isnan(row[name]) else f"{row[name]:.3g}" for name in parts)
            made.add_row(
                row["normalization"], labels, f"{row['imbalance_ratio']:g}", row["law"], *cells, str(row["runs"])
            )
        console.print(made)


_PERCENT = ("accuracy", "balanced_accuracy")
_STUDY_TABLES: dict[str, Callable[[Mapping[str, pd.DataFrame], Console], None]] = {
    "convergence": _print_rates,
    "accuracy": _print_accuracy,
    "logits": _print_logits,
    "laws": _print_laws,
}
