"""Everything that is wrong with a document, with the path to each place, in one error.

A validation library such as pydantic knows types; here a value is checked by the very value object that it will be
(counts, a rule with its hyperparameters, a network's options), in every combination of a grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from implicit_geometry._validate import InputError, choice, shown

_MOST_LINES = 100


class Mistakes:
    """What is wrong with a document, one line each.

    Example:
        >>> mistakes = Mistakes()
        >>> with mistakes.at("network.depth"):
        ...     raise InputError("depth", "must be a whole number at least 1", 0)
        >>> mistakes.lines
        ['network.depth must be a whole number at least 1, got 0']
    """

    def __init__(self) -> None:
        self.found: dict[str, InputError] = {}

    @property
    def lines(self) -> list[str]:
        """The message of each mistake."""
        return list(self.found)

    def add(self, argument: str, expectation: str, given: object = "") -> None:
        """Note a mistake, once."""
        error = InputError(argument, expectation, given)
        self.found[str(error)] = error

    @contextmanager
    def at(self, path: str, keys: Iterable[str] = ()) -> Iterator[None]:
        """Note an InputError of the block; what it says of the value at ``path`` or of a key below gets the path."""
        try:
            yield
        except InputError as error:
            subject = error.argument
            if subject == path.rpartition(".")[2].partition("[")[0]:
                place = path
            elif subject in keys:
                place = key_path(path, subject)
            else:
                place = f"{path}: {subject}" if path else subject
            self.add(place, error.expectation, error.given)

    def items(self, path: str, value: Any) -> list[tuple[str, Any]]:
        """The values of a list with their paths, or the one value."""
        if not isinstance(value, list):
            return [(path, value)]
        if not value:
            self.add(path, "must not be empty")
        return [(f"{path}[{i}]", item) for i, item in enumerate(value)]

    def mappings(self, path: str, given: Any, short: str | None = None) -> list[tuple[str, dict[str, Any]]]:
        """Mappings with their paths, of one mapping or a list; a text stands for the value of the key ``short``."""
        found = []
        for place, item in self.items(path, given):
            if isinstance(item, Mapping):
                found.append((place, dict(item)))
            elif isinstance(item, str) and short:
                found.append((place, {short: item}))
            else:
                expected = f"a {short}, or keys with values" if short else "keys with values"
                self.add(place, f"must be {expected}", shown(item))
        return found

    def unknown_keys(self, path: str, found: Iterable[str], allowed: Iterable[str]) -> bool:
        """Note keys that mean nothing; whether there are any."""
        before, names = len(self.found), list(allowed)
        for key in found:
            with self.at(path):
                choice("key", key, names)
        return len(self.found) > before

    def raise_any(self, document: str) -> None:
        """Raise what was noted: one mistake as it is, several as one error of the document."""
        if len(self.found) == 1:
            raise next(iter(self.found.values()))
        if self.found:
            more = len(self.found) - _MOST_LINES
            last = (f"and {more} more",) if more > 0 else ()
            lines = (f"has {len(self.found)} mistakes", *self.lines[:_MOST_LINES], *last)
            raise InputError(document, "\n  ".join(lines))


def key_path(path: str, key: str) -> str:
    """The path to a key.

    Example:
        >>> key_path("losses[1]", "gamma"), key_path("", "seeds")
        ('losses[1].gamma', 'seeds')
    """
    return f"{path}.{key}" if path else key
