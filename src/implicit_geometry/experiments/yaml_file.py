"""YAML as this package reads it: no key twice, and ``1e-4`` is a number."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from implicit_geometry._validate import InputError

_EXPONENT_FORM = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with the two differences above."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"found the key {key.value!r} twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT_FORM, list("-+0123456789"))


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        InputError: the file is missing, empty or no YAML; the message says in which line.
    """
    try:
        document = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("file", "must be a readable YAML file", f"{path} ({error})") from error
    except InputError as error:
        raise InputError(f"{path}: {error.argument}", error.expectation, error.given) from error
    if document is None:
        raise InputError(f"{path}: file", "must describe something", "an empty one")
    return document


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        InputError: it is no YAML; the message says in which line.

    Example:
        >>> parse_yaml("rate: 1e-4")
        {'rate': 0.0001}
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        place = "text" if error.problem_mark is None else f"line {error.problem_mark.line + 1}"
        hint = " (indent with spaces)" if "\\t" in str(error.problem) else ""
        raise InputError(
            place, "must be YAML", f"{', '.join(filter(None, (error.context, error.problem)))}{hint}"
        ) from error
    except yaml.YAMLError as error:
        raise InputError("text", "must be YAML", " ".join(str(error).split())) from error
