"""``igeom predict``: the geometry that a loss leads to on given class counts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from implicit_geometry import report
from implicit_geometry._extras import require
from implicit_geometry._files import dumps
from implicit_geometry._validate import InputError, choice
from implicit_geometry.certificate import TOLERANCE, Certificate, Status
from implicit_geometry.cli._inputs import (
    COUNTS_HELP,
    LOSS_HELP,
    Gamma,
    LabelSmoothing,
    MaxMargin,
    Normalize,
    Param,
    Tau,
    hyperparameters,
    parse_loss,
    read_parameterization,
)
from implicit_geometry.cli._tables import add_rows
from implicit_geometry.cli._waiting import waiting
from implicit_geometry.counts import ClassCounts
from implicit_geometry.groups import group_classes
from implicit_geometry.problem import Problem, Solution
from implicit_geometry.profiles import parse_counts
from implicit_geometry.theory.predict import predict as solve
from implicit_geometry.theory.ridge.plain import ridge_from_weight_decay
from implicit_geometry.theory.weight_decay import MEASURED_EXPONENTS, NORMALIZATIONS, with_weight_decay

_MAX_JSON_CLASSES = 1000
_CERTAIN = 0.01  # relative error of a squared norm beyond which it is marked
_TITLES = {
    "squared_norm_classifier": "|w|²",
    "squared_norm_embedding": "|h|²",
    "alignment": "cos(w, h)",
    "bias": "b",
}


def predict(
    counts: Annotated[str, typer.Argument(help=COUNTS_HELP, show_default=False)],
    loss: Annotated[str, typer.Option(help=LOSS_HELP)] = "ce",
    gamma: Gamma = None,
    tau: Tau = None,
    max_margin: MaxMargin = None,
    normalize: Normalize = None,
    param: Param = None,
    parameters: Annotated[Path | None, typer.Option(help="JSON of a Parameterization, in place of --loss.")] = None,
    ridge: Annotated[float | None, typer.Option(help="Sum-form ridge; 0, the default, is the limit.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of a mean loss, in place of --ridge.")] = None,
    bias: Annotated[bool, typer.Option("--bias", help="The head has a free bias.")] = False,
    label_smoothing: LabelSmoothing = 0.0,
    features: Annotated[str, typer.Option(help="free, or nonnegative for embeddings behind a ReLU.")] = "free",
    normalization: Annotated[
        str | None,
        typer.Option(
            help="Of the network: batch, layer or none. What its embeddings cost is then as measured, and the weight "
            "decay gives its ridge."
        ),
    ] = None,
    count_exponent: Annotated[
        float | None,
        typer.Option(
            help="a, where the embeddings of a class cost n^a; 1 is one price per sample.",
            show_default="1, or that of --normalization",
        ),
    ] = None,
    max_count: Annotated[int, typer.Option(help="Largest class of step: and exp: profiles.")] = 5000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Write a picture (PNG or SVG) of the predicted geometry.")] = None,
) -> None:
    """Predict norms and angles of classifiers and class-mean embeddings, at a weight decay or in its vanishing limit.

    Examples:

      igeom predict step:10,100

      igeom predict 5000,500,50 --loss cdt --gamma 0.5

      igeom predict step:10,100 --loss ldt --gamma 0.5 --weight-decay 5e-4

      igeom predict zipf:1000000,1000000000 --loss ldt --gamma 0.5 --json

      igeom predict exp:10,100 --loss vs --gamma 0.3 --tau 1 --plot geometry.png

      igeom predict exp:10,100 --loss logit_adjusted --label-smoothing 0.1

      igeom predict step:10,10 --loss cdt --gamma 0.5 --label-smoothing 0.1 --features nonnegative --count-exponent 0.8

      igeom predict step:10,10 --max-count 120 --normalization batch --weight-decay 1e-3 --label-smoothing 0.1

    The exit code is 1 where the geometry that is printed is not proven to be the optimum.
    """
    if plot is not None:
        require("igeom predict --plot", "train", "matplotlib", "PIL")
    class_counts = parse_counts(counts, max_count=max_count)
    given = hyperparameters(param, gamma=gamma, tau=tau, max_margin=max_margin, normalize=normalize)
    parameterization = (
        parse_loss(class_counts, loss, given) if parameters is None else read_parameterization(parameters)
    )
    problem = Problem(
        class_counts,
        parameterization,
        ridge=_ridge(class_counts, ridge, weight_decay),
        bias=bias,
        label_smoothing=label_smoothing,
        features=features,
        count_exponent=1.0 if count_exponent is None else count_exponent,
    )
    if normalization is not None:
        problem = _of_network(problem, normalization, weight_decay, count_exponent)
    with waiting("solving"):
        solution = solve(problem)
        _ = solution.norm_error  # computed where it is first asked for
    if plot is not None:
        _write_plot(solution, plot)
    if as_json:
        print(dumps(_document(solution)))
    else:
        _print_tables(solution, "custom" if parameters else loss)
        if normalization is not None:
            _print_normalization(normalization, count_exponent, weight_decay)
    _exit_unless_proven(solution.certificate)


def _exit_unless_proven(certificate: Certificate) -> None:
    """End with exit code 1, and say why, where the numbers printed are not proven to be the optimum."""
    if certificate.status in (Status.OPTIMAL, Status.COLLAPSED):
        return
    Console(stderr=True).print(
        f"[bold red]not proven:[/] status {certificate.status.value}, relative gap {certificate.relative_gap:.1e}, "
        f"above {TOLERANCE:g}. {certificate.status.remedy}",
        soft_wrap=True,
    )
    raise typer.Exit(1)


def _of_network(
    problem: Problem, normalization: str, weight_decay: float | None, count_exponent: float | None
) -> Problem:
    """At the prices that were measured with a normalisation, or those given, and the ridge of the weight decay."""
    choice("normalization", normalization, NORMALIZATIONS)
    exponent = MEASURED_EXPONENTS[normalization].middle if count_exponent is None else count_exponent
    if weight_decay is not None:
        return with_weight_decay(problem, weight_decay, normalization=normalization, count_exponent=exponent)
    return problem.at_count_exponent(exponent)


def _print_normalization(normalization: str, count_exponent: float | None, weight_decay: float | None) -> None:
    """What the prediction takes from the normalisation, with its evidence."""
    measured = MEASURED_EXPONENTS[normalization]
    layers = {"batch": "with batch-norm", "layer": "with LayerNorm", "none": "without normalisation"}[normalization]
    price = f"{measured.middle:g}, their median" if count_exponent is None else f"{count_exponent:g}, as given"
    text = (
        f"Networks {layers} were measured to pay n^{measured.low:g} to n^{measured.high:g} for an embedding (igeom "
        f"reproduce laws); the exponent here is {price}."
    )
    if weight_decay is not None:
        factor = "sqrt(N)" if normalization == "batch" else "N"
        text += (
            f" The ridge is {factor} times the weight decay, where that is part of the gradient; with decoupled decay "
            "(AdamW) fit it (implicit_geometry.effective_counts)."
        )
    Console().print(text, style="dim", soft_wrap=True, highlight=False)


def _ridge(counts: ClassCounts, ridge: float | None, weight_decay: float | None) -> float:
    if weight_decay is None:
        return ridge or 0.0
    if ridge is not None:
        raise InputError("ridge", "must be left out where weight_decay is given", f"{ridge:g} and {weight_decay:g}")
    return ridge_from_weight_decay(weight_decay, counts.num_samples)


def _groups(solution: Solution) -> list[dict[str, Any]]:
    """One row for the classes that theory cannot tell apart."""
    geometry = solution.geometry
    squared_w, squared_h = geometry.classifier.squared_norms(), geometry.embedding.squared_norms()
    groups = group_classes(solution.problem.counts.values, geometry.classifier.group)
    alignment = geometry.alignment()
    error = solution.norm_error
    return [
        {
            "classes": int(size),
            "first_class": int(first),
            "count": int(solution.problem.counts.values[first]),
            "squared_norm_classifier": float(squared_w[first]),
            "squared_norm_embedding": float(squared_h[first]),
            "alignment": float(alignment[first]),
            **({} if solution.bias is None else {"bias": float(solution.bias[first])}),
            **({} if error is None else {"norm_error": float(max(error.classifier[first], error.embedding[first]))}),
        }
        for size, first in zip(groups.size, groups.first, strict=True)
    ]


def _blocks(solution: Solution) -> dict[str, dict[str, float]] | None:
    majority = solution.problem.counts.majority
    if majority.all():
        return None
    geometry = solution.geometry
    return {
        "classifier": asdict(geometry.classifier.block_summary(majority)),
        "embedding": asdict(geometry.embedding.block_summary(majority)),
    }


def _document(solution: Solution) -> dict[str, Any]:
    counts, certificate = solution.problem.counts, solution.certificate
    document: dict[str, Any] = {
        "num_classes": counts.num_classes,
        "num_samples": counts.num_samples,
        "imbalance_ratio": counts.imbalance_ratio,
        "ridge": solution.problem.ridge,
        "label_smoothing": solution.problem.label_smoothing,
        "features": solution.problem.features,
        "bias": None if solution.bias is None or len(solution.bias) > _MAX_JSON_CLASSES else solution.bias.tolist(),
        "blocks": _blocks(solution),
        "certificate": {
            "primal": certificate.primal,
            "dual": certificate.dual,
            "relative_gap": certificate.relative_gap,
            "smallest_margin": certificate.smallest_margin,
            "status": certificate.status.value,
        },
    }
    groups = _groups(solution)
    if len(groups) <= _MAX_JSON_CLASSES:
        document["groups"] = groups
    if counts.num_classes <= _MAX_JSON_CLASSES:
        document["counts"] = counts.values.tolist()
        document["embedding_cost"] = solution.problem.embedding_cost.tolist()
        document["parameterization"] = solution.problem.parameterization.to_dict()
        document["classifier_gram"] = solution.geometry.classifier.dense().tolist()
        document["embedding_gram"] = solution.geometry.embedding.dense().tolist()
    return document


def _print_tables(solution: Solution, loss: str) -> None:
    console = Console()
    counts, certificate, smoothing = solution.problem.counts, solution.certificate, solution.problem.label_smoothing
    console.print(
        f"[bold]{counts.num_classes:,} classes, {counts.num_samples:,} samples, "
        f"imbalance ratio {counts.imbalance_ratio:,.4g}, loss {loss}, "
        f"{f'ridge {solution.problem.ridge:g}' if solution.problem.ridge else 'limit of vanishing ridge'}"
        f"{', head with a free bias' if solution.bias is not None else ''}"
        f"{f', labels smoothed by {smoothing:g}' if smoothing else ''}"
        f"{'' if solution.problem.features == 'free' else ', nonnegative features'}"
        f"{'' if solution.problem.pays_per_sample else ', embeddings at another price than one per sample'}[/]",
        soft_wrap=True,
    )
    groups = _groups(solution)
    console.print(_norm_table(groups))
    uncertain = sum(not row.get("norm_error", 0.0) <= _CERTAIN for row in groups)
    if uncertain:
        console.print(
            f"* squared norms, and so cosines, not proven to {_CERTAIN:.0%} ({uncertain:,} rows)", soft_wrap=True
        )
    blocks = _blocks(solution)
    if blocks is not None:
        console.print(_block_table(counts, blocks))
    console.print(
        f"Certificate: {certificate.status.value}, relative gap {certificate.relative_gap:.1e}. "
        f"{certificate.status.remedy}",
        style="dim",
        soft_wrap=True,
    )


def _norm_table(rows: list[dict[str, Any]]) -> Table:
    columns = {key: title for key, title in _TITLES.items() if key in rows[0]}
    table = Table("classes", "samples each", *columns.values(), title="Norms and alignment")
    for column in table.columns:
        column.justify = "right"

    def cells(row: dict[str, Any]) -> list[str]:
        name = f"{row['first_class']}" if row["classes"] == 1 else f"{row['classes']:,} like {row['first_class']}"
        name += "" if row.get("norm_error", 0.0) <= _CERTAIN else " *"
        return [name, f"{row['count']:,}", *(_text(row[key]) for key in columns)]

    add_rows(table, rows, cells)
    return table


def _block_table(counts: ClassCounts, blocks: dict[str, dict[str, float]]) -> Table:
    majority = int(np.count_nonzero(counts.majority))
    table = Table(
        "",
        "|maj|² / |min|²",
        "cos maj, maj",
        "cos min, min",
        "cos maj, min",
        title=f"Majority ({majority:,} classes) and minority ({counts.num_classes - majority:,})",
    )
    for name, block in (("classifiers W", blocks["classifier"]), ("embeddings H", blocks["embedding"])):
        table.add_row(name, *(_text(value) for value in block.values()))
    return table


def _text(value: float) -> str:
    """Four digits, or a dash where there is no number."""
    return "–" if np.isnan(value) else f"{value:.4g}"


def _write_plot(solution: Solution, path: Path) -> None:
    report.save_figure(report.geometry_picture(solution.problem.counts, solution.geometry), path)
