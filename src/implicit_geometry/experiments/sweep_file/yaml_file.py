"""YAML as this package reads it: no key twice, ``1e-4`` is a number, and nothing that would fill memory or time."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from implicit_geometry._files import read_regular_file
from implicit_geometry._validate import InputError

MOST_BYTES = 2**20
MOST_VALUES = 30_000
MOST_LEVELS = 50
MOST_DIGITS = 100

_EXPONENT_FORM = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with the differences above."""

    level = nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        here = self.peek_event()  # type: ignore[no-untyped-call]
        if self.level == MOST_LEVELS:
            raise _refused(f"found more than {MOST_LEVELS} levels of nesting", here)
        if self.nodes == MOST_VALUES:
            raise _refused(f"found more than {MOST_VALUES:,} values", here)
        self.level += 1
        self.nodes += 1
        node = super().compose_node(parent, index)
        self.level -= 1
        return node

    def get_single_data(self) -> Any:
        node = self.get_single_node()
        if node is None:
            return None
        _count_values(node, {})
        return self.construct_document(node)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except _NO_VALUE as error:  # such as a date that is none
            raise _refused(f"found a value that cannot be read ({error})", node) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise _refused(f"found the key {key.value!r} twice", key)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _count_values(node: yaml.Node, counted: dict[int, int]) -> int:
    """Values below a node with every alias in full; refuses too many of them, and numbers that are too long."""
    known = counted.get(id(node))
    if known == 0:
        raise _refused("found an alias inside of what it stands for", node)
    if known is not None:
        return known
    counted[id(node)] = 0
    total = 1
    if isinstance(node, yaml.CollectionNode):
        for item in node.value:
            total += sum(_count_values(part, counted) for part in (item if isinstance(item, tuple) else (item,)))
            if total > MOST_VALUES:
                raise _refused(f"found more than {MOST_VALUES:,} values, every alias in full", node)
    elif node.tag in _NUMBERS and len(node.value) > MOST_DIGITS:
        raise _refused(f"found a number of {len(node.value):,} digits, at most {MOST_DIGITS} are read", node)
    counted[id(node)] = total
    return total


def _refused(problem: str, at: Any) -> yaml.MarkedYAMLError:
    """An error at the start of a node or an event."""
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


_NO_VALUE = (ValueError, OverflowError, KeyError, IndexError, AttributeError, TypeError)
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT_FORM, list("-+0123456789"))


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        InputError: the file is missing, empty, larger than a megabyte or not YAML; the message says in which line.
    """
    try:
        document = parse_yaml(read_regular_file(path, at_most=MOST_BYTES).decode("utf-8"))
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
        InputError: it is not YAML, or too large: more than 50 levels, 30,000 values (with every alias in full) or 100
            digits of a number; the message says in which line.

    Example:
        >>> parse_yaml("rate: 1e-4")
        {'rate': 0.0001}
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        place = "text" if error.problem_mark is None else f"line {error.problem_mark.line + 1}"
        problem = str(error.problem).removeprefix("found ")
        hint = " (indent with spaces)" if "\\t" in str(error.problem) else ""
        raise InputError(
            place, "must be valid YAML", f"{', '.join(filter(None, (error.context, problem)))}{hint}"
        ) from error
    except yaml.YAMLError as error:
        raise InputError("text", "must be valid YAML", " ".join(str(error).split())) from error
