"""The commands, and what a user sees of a mistake: one line and exit code 2."""

from __future__ import annotations

import sys

import typer
from rich.console import Console
from rich.markup import escape

from implicit_geometry._validate import InputError
from implicit_geometry._version import __version__
from implicit_geometry.cli._streams import safe_streams
from implicit_geometry.cli.demo import demo
from implicit_geometry.cli.design import design
from implicit_geometry.cli.predict import predict
from implicit_geometry.cli.report import report
from implicit_geometry.cli.reproduce import reproduce
from implicit_geometry.cli.sweep import sweep
from implicit_geometry.cli.train import train

app = typer.Typer(
    name="igeom",
    help="Predict, train towards and measure the geometry that cross-entropy losses learn on label-imbalanced data.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command()(demo)
app.command()(design)
app.command()(predict)
app.command()(report)
app.command()(reproduce)
app.command()(train)
app.command()(sweep)


@app.callback(invoke_without_command=True)
def version(show: bool = typer.Option(False, "--version", help="Show the version and exit.", is_eager=True)) -> None:
    """Show the version."""
    if show:
        typer.echo(__version__)
        raise typer.Exit()


def main() -> None:
    """Run the command line."""
    with safe_streams():
        try:
            app()
        except InputError as error:
            Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
            sys.exit(2)
