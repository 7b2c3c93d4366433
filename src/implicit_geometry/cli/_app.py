"""The commands, and what a user sees of a mistake: one line and exit code 2."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from implicit_geometry._validate import InputError
from implicit_geometry._version import __version__
from implicit_geometry.cli._streams import safe_streams

COMMANDS = ("demo", "predict", "design", "train", "sweep", "report", "reproduce")
"""Each is a function of a module of its name, which is imported when the command runs."""


class _Commands(TyperGroup):
    """The commands; only the one that runs is imported."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"implicit_geometry.cli.{cmd_name}"), cmd_name)
        one = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
        one.command(cmd_name)(command)
        return typer.main.get_command(one)


app = typer.Typer(
    cls=_Commands,
    name="igeom",
    help="Predict, train towards and measure the geometry that cross-entropy losses learn on label-imbalanced data.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


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
