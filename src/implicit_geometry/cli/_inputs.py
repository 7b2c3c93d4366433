"""What commands read from their arguments: class counts, and a loss by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from implicit_geometry._files import read_regular_file
from implicit_geometry._validate import InputError, choice
from implicit_geometry.counts import ClassCounts
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.rules import RULES, make_parameterization

COUNTS_HELP = (
    "Samples a class: a list '500,50,5', a file of whole numbers (JSON, or separated by commas or white space), "
    "'step:K,R[,rho]', 'exp:K,R' or 'zipf:K,N'."
)
LoggerName = Annotated[
    str | None,
    typer.Option(help="tensorboard or wandb, for every epoch, besides a run's own history.", show_default=False),
]
DataRoot = Annotated[Path | None, typer.Option(help="Folder of the torchvision data sets.", show_default="data")]
Download = Annotated[bool, typer.Option("--download", help="Fetch a torchvision data set that is not there.")]
LOSS_HELP = f"Loss: {', '.join(RULES)}."


def parse_loss(counts: ClassCounts, loss: str, **given: Any) -> Parameterization:
    """The loss of a name and the hyperparameters that were given (``None`` leaves one at its default).

    Raises:
        InputError: an unknown loss, or a hyperparameter that it does not take or needs and lacks.
    """
    choice("loss", loss, RULES)
    return make_parameterization(loss, counts, **{name: value for name, value in given.items() if value is not None})


def read_parameterization(path: Path) -> Parameterization:
    """A parameterization written by ``Parameterization.to_json``.

    Raises:
        InputError: the file is missing, or holds something else.
    """
    try:
        return Parameterization.from_json(read_regular_file(path).decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("parameters", "must be a readable JSON file", f"{path} ({error})") from error
