"""What commands read from their arguments: class counts, a loss by name, values by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from implicit_geometry._files import read_regular_file
from implicit_geometry._validate import InputError
from implicit_geometry.counts import ClassCounts
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.rules import RULES, make_parameterization

COUNTS_HELP = (
    "Samples per class: a list '500,50,5', a file of whole numbers (JSON, or separated by commas or white space), "
    "'step:K,R[,rho]', 'exp:K,R' or 'zipf:K,N'."
)
LoggerName = Annotated[
    str | None,
    typer.Option(help="tensorboard or wandb, for every epoch, besides a run's own history.", show_default=False),
]
DataRoot = Annotated[Path | None, typer.Option(help="Folder of the torchvision data sets.", show_default="data")]
Download = Annotated[bool, typer.Option("--download", help="Fetch a torchvision data set that is not there.")]
LOSS_HELP = f"Loss: {', '.join(RULES)}, or one of another package (its name or MODULE:NAME)."
Gamma = Annotated[float | None, typer.Option(help="Exponent of weighted, cdt, ldt and vs.")]
Tau = Annotated[float | None, typer.Option(help="Strength of logit_adjusted and vs.")]
MaxMargin = Annotated[float | None, typer.Option(help="Largest margin of ldam.")]
Normalize = Annotated[str | None, typer.Option(help="Scales with 'mean' 1, 'max' 1, or 'none'.")]
LabelSmoothing = Annotated[float, typer.Option(help="Of the labels, in [0, 1).")]
Param = Annotated[
    list[str] | None,
    typer.Option(help="NAME=VALUE of any hyperparameter of the loss; may be given again.", show_default=False),
]


def parse_loss(counts: ClassCounts, loss: str, given: Mapping[str, Any]) -> Parameterization:
    """The loss of a name.

    Raises:
        InputError: an unknown loss, or a hyperparameter that it does not take or needs and lacks.
    """
    try:
        return make_parameterization(loss, counts, **given)
    except InputError as error:
        if error.argument != "rule":
            raise
        raise InputError("loss", error.expectation, error.given) from error


def hyperparameters(param: list[str] | None, **given: Any) -> dict[str, Any]:
    """The hyperparameters of a loss: those given by options of their own, and those of ``--param``.

    Args:
        param: ``NAME=VALUE`` texts.
        **given: values of options; None where one was left out.

    Raises:
        InputError: a text has another form, or a hyperparameter is given twice.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    for name, value in assignments("param", param or []).items():
        if name in chosen:
            raise InputError("param", f"must not give what --{name.replace('_', '-')} gives", f"{name}={value}")
        chosen[name] = value
    return chosen


def assignments(option: str, texts: list[str]) -> dict[str, Any]:
    """Names and values of ``NAME=VALUE`` texts; the last of a name counts.

    A value is ``true``, ``false``, ``null``, a number or other JSON, else the text as it is.

    Raises:
        InputError: a text has another form.

    Example:
        >>> assignments("option", ["width=16", "rate=1e-3", "norm=batch", "pretrained=True"])
        {'width': 16, 'rate': 0.001, 'norm': 'batch', 'pretrained': True}
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not (name and sign):
            raise InputError(option, "must have the form NAME=VALUE", repr(text))
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:
    constants = {"true": True, "false": False, "null": None}
    if text.lower() in constants:
        return constants[text.lower()]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def read_parameterization(path: Path) -> Parameterization:
    """A parameterization written by ``Parameterization.to_json``.

    Raises:
        InputError: the file is missing, or holds something else.
    """
    try:
        return Parameterization.from_json(read_regular_file(path).decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("parameters", "must be a readable JSON file", f"{path} ({error})") from error
