"""Everything that is wrong with a document, with the path to each place, in one error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from implicit_geometry._validate import InputError, choice


class Mistakes:
    """What is wrong with a document, one line each.

    Example:
        >>> mistakes = Mistakes()
        >>> with mistakes.at("network.depth"):
        ...     raise InputError("depth must be a whole number at least 1, got 0")
        >>> mistakes.lines
        ['network.depth must be a whole number at least 1, got 0']
    """

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        """Note a mistake, once."""
        if line not in self.lines:
            self.lines.append(line)

    @contextmanager
    def at(self, path: str, keys: Iterable[str] = ()) -> Iterator[None]:
        """Note an InputError of the block; what it says of the value at ``path`` or of a key below gets the path."""
        try:
            yield
        except InputError as error:
            subject, _, rest = str(error).partition(" ")
            if subject == path.rpartition(".")[2].partition("[")[0]:
                self.add(f"{path} {rest}")
            elif subject in keys:
                self.add(f"{key_path(path, subject)} {rest}")
            else:
                self.add(f"{path}: {error}" if path else str(error))

    def items(self, path: str, value: Any) -> list[tuple[str, Any]]:
        """The values of a list with their paths, or the one value."""
        if not isinstance(value, list):
            return [(path, value)]
        if not value:
            self.add(f"{path} must not be empty")
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
                self.add(f"{place} must be {expected}, got {item!r}")
        return found

    def unknown_keys(self, path: str, found: Iterable[str], allowed: Iterable[str]) -> bool:
        """Note keys that mean nothing; whether there are any."""
        before, names = len(self.lines), list(allowed)
        for key in found:
            with self.at(path):
                choice("key", key, names)
        return len(self.lines) > before

    def raise_any(self) -> None:
        """Raise what was noted."""
        lines = list(dict.fromkeys(self.lines))
        if len(lines) == 1:
            raise InputError(lines[0])
        if lines:
            raise InputError("\n  ".join((f"{len(lines)} mistakes", *lines)))


def key_path(path: str, key: str) -> str:
    """The path to a key.

    Example:
        >>> key_path("losses[1]", "gamma"), key_path("", "seeds")
        ('losses[1].gamma', 'seeds')
    """
    return f"{path}.{key}" if path else key
