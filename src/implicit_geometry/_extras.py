"""Optional dependencies: what each extra installs, and the one sentence that a user reads where it is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import lazy_loader

_TORCH = {"torch": "torch", "torchmetrics": "torchmetrics"}
_CLI = {"typer": "typer", "rich": "rich"}

EXTRAS: dict[str, dict[str, str]] = {
    "torch": _TORCH,
    "cli": _CLI,
    "train": {
        **_TORCH,
        **_CLI,
        "lightning": "lightning",
        "sklearn": "scikit-learn",
        "pandas": "pandas",
        "pyarrow": "pyarrow",
        "matplotlib": "matplotlib",
        "safetensors": "safetensors",
        "filelock": "filelock",
        "yaml": "PyYAML",
        "PIL": "pillow",
    },
    "integrations": {
        **_TORCH,
        "transformers": "transformers",
        "accelerate": "accelerate",
        "skorch": "skorch",
        "sklearn": "scikit-learn",
    },
}
"""Importable packages of the extras that whole parts of the library rest on, each with its name for ``pip``.

The extras ``vision``, ``ray`` and ``loggers`` serve one option each, whose own check names them.
"""


class MissingExtra(ModuleNotFoundError):
    """Raised where a package of an extra is not installed; the message says how to install it."""


def require(what: str, extra: str, *packages: str) -> None:
    """Return where the packages are installed, else say what lacks them.

    Args:
        what: what the user asked for; the sentence begins with it.
        extra: one of :data:`EXTRAS`.
        *packages: those of the extra that are needed; all of them where left out.

    Raises:
        MissingExtra: names every package that is missing, and the extra.

    Example:
        >>> require("a prediction", "cli")
    """
    missing = [package for package in packages or EXTRAS[extra] if not _is_installed(package)]
    if missing:
        raise _missing(what, extra, missing)


@contextmanager
def explained(what: str, extra: str) -> Iterator[None]:
    """Around imports: a package of an extra that is not installed raises :class:`MissingExtra`.

    Args:
        what: what the user asked for; the sentence begins with it.
        extra: the one that is named where it holds the package; else the first of :data:`EXTRAS` that does.
    """
    try:
        yield
    except MissingExtra:
        raise
    except ModuleNotFoundError as error:
        absent = (error.name or "").partition(".")[0]
        owner = next((one for one in (extra, *EXTRAS) if absent in EXTRAS[one]), None)
        if owner is None:
            raise
        raise _missing(what, owner, [absent]) from None


def attach(package: str, file: str, extra: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """The lazy ``__getattr__``, ``__dir__`` and ``__all__`` of a package whose names are listed in a stub beside it.

    A name whose module imports a package that is not installed raises :class:`MissingExtra`.

    Args:
        package: its ``__name__``.
        file: its ``__file__``.
        extra: what the package needs; a package of another extra names that one.
    """
    load, names, public = lazy_loader.attach_stub(package, file)

    def __getattr__(name: str) -> Any:
        with explained(f"{package}.{name}", extra):
            return load(name)

    return __getattr__, names, public


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ImportError:
        return False


def _missing(what: str, extra: str, packages: list[str]) -> MissingExtra:
    *others, last = [EXTRAS[extra][package] for package in packages]
    names = f"{', '.join(others)} and {last}" if others else last
    return MissingExtra(f"{what} needs {names}: pip install 'implicit-geometry[{extra}]'", name=packages[0])
