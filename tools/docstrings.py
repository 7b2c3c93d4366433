"""Griffe extension: docstrings as Markdown.

The docstrings have Sphinx's roles and Google's section ``Example:``. Here a role becomes a link where its target stands
in the API reference, else code, and an example becomes a block of code.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import griffe

_PAGES = Path(__file__).parents[1] / "docs" / "api"
_ROLE = re.compile(r":(?:func|class|meth|mod|data|attr):`(~?)([\w.]+)`")
_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)


class Markdown(griffe.Extension):
    """Rewrites every docstring as it is loaded."""

    def __init__(self) -> None:
        super().__init__()
        pages = (path.read_text(encoding="utf-8") for path in _PAGES.glob("*.md"))
        self._linked = {place for text in pages for place in re.findall(r"^::: (\S+)$", text, re.MULTILINE)}

    def on_object(self, *, obj: griffe.Object, **rest: Any) -> None:
        """Rewrite one docstring."""
        del rest
        if obj.docstring is not None:
            text = _ROLE.sub(lambda role: self._link(obj, role), obj.docstring.value)
            obj.docstring.value = _EXAMPLE.sub("Examples:", text)

    def _link(self, obj: griffe.Object, role: re.Match[str]) -> str:
        short, target = role.groups()
        shown = target.rpartition(".")[2] if short or target.startswith("implicit_geometry.") else target
        home = obj if obj.is_module or obj.is_class else obj.parent
        candidates = [target, *(f"{scope}.{target}" for scope in _scopes(home))]
        path = next((one for one in candidates if one in self._linked), None)
        return f"`{shown}`" if path is None else f"[`{shown}`][{path}]"


def _scopes(obj: griffe.Object | None) -> list[str]:
    """The paths of an object and of all that it stands in."""
    return [] if obj is None else [obj.path, *_scopes(obj.parent)]
