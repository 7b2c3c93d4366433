"""The ``igeom`` command: one file per command, imported when it runs."""

from __future__ import annotations

import sys

from implicit_geometry._extras import MissingExtra, require

__all__ = ["main"]


def main() -> None:
    """Run the command line; one sentence and exit code 2 where a package that it needs is not installed."""
    try:
        require("igeom", "cli")
        from implicit_geometry.cli._app import main as run

        run()
    except MissingExtra as error:
        print(error, file=sys.stderr)
        sys.exit(2)
