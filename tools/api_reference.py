"""MkDocs hook: a place in the API reference for every public name and every command, or the build fails.

A line ``::: path.of.name`` is the place of a name, which mkdocstrings fills from its docstring. A line
``::: igeom NAME`` is that of a command, which is filled here from its help.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from typer.main import get_command

from implicit_geometry.cli._app import COMMANDS, app

FACADES = ("", ".nn", ".experiments", ".report", ".studies", ".reproduce")
"""The packages that users import names from, below the root; each lists its names in a stub."""

_PLACE = re.compile(r"^::: (.+?) *$", re.MULTILINE)
_COMMAND = re.compile(r"^::: igeom (\S+) *$", re.MULTILINE)


def public_names() -> set[str]:
    """Every public name by the path of the module that a stub takes it from, and ``igeom NAME`` for every command."""
    names = {path for facade in FACADES for path in _names_of_a_stub(f"implicit_geometry{facade}")}
    return names | {f"igeom {name}" for name in COMMANDS}


def _home(value: Any, path: str) -> str:
    """Where a class or function is defined; a constant is where it was found."""
    return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else path


def _names_of_a_stub(package: str) -> Iterator[str]:
    module = importlib.import_module(package)
    stub = Path(str(module.__file__)).with_suffix(".pyi")
    homes = {
        alias.name: f"{package}.{node.module}"
        for node in ast.parse(stub.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return (_home(getattr(module, name), f"{homes[name]}.{name}") for name in module.__all__)


def places(texts: Iterable[str]) -> list[str]:
    """What has a place in pages, given as their Markdown."""
    return [place for text in texts for place in _PLACE.findall(text)]


def mistakes(texts: Iterable[str]) -> list[str]:
    """One line for each public name without a place in the pages, and for each with several."""
    found = places(texts)
    missing = [f"{name} has no place" for name in sorted(public_names() - set(found))]
    return missing + [f"{name} has {found.count(name)} places" for name in sorted(set(found)) if found.count(name) > 1]


def command_page(name: str) -> str:
    """A command as Markdown: what it does, examples, arguments and options."""
    command: Any = get_command(app)
    command = command.get_command(None, name)
    if command is None:
        raise PluginError(f"the API reference has a place for igeom {name}, which is no command")
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    usage = " ".join(["igeom", name, *(one.name.upper() for one in arguments), "[OPTIONS]"])
    parts = [f"### igeom {name}", f"```\n{usage}\n```", _help_text(command.help)]
    for title, rows in (("argument", arguments), ("option", options)):
        if rows:
            parts.append("\n".join([f"| {title} | what it is | default |", "|---|---|---|", *map(_row, rows)]))
    return "\n\n".join(parts) + "\n"


def _help_text(text: str) -> str:
    """The help of a command, its indented lines gathered in one block of code."""
    paragraphs = re.sub(r"\n\n(?=  )", "\n", text)
    return re.sub(r"((?:\n  .*)+)", lambda lines: "\n\n```" + lines[1].replace("\n  ", "\n") + "\n```", paragraphs)


def _row(one: Any) -> str:
    name = ", ".join(one.opts) if one.param_type_name == "option" else one.name.upper()
    if isinstance(one.show_default, str):
        default = one.show_default
    elif one.required:
        default = "must be given"
    elif one.default is None or one.default is False:
        default = ""
    else:
        default = f"`{one.default}`"
    cells = (f"`{name}`", one.help, default)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def on_files(files: Any, config: Any) -> Any:
    """Fail where a public name or a command has no place, or more than one."""
    del config
    texts = [file.content_string for file in files.documentation_pages() if file.src_uri.startswith("api/")]
    if wrong := mistakes(texts):
        raise PluginError("the API reference (docs/api) is not complete:\n" + "\n".join(wrong))
    return files


def on_page_markdown(markdown: str, **page: Any) -> str:
    """Fill the places of commands."""
    del page
    return _COMMAND.sub(lambda place: command_page(place[1]), markdown)
