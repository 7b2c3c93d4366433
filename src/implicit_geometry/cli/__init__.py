"""The ``igeom`` command: one file per command, imported when it runs."""

from implicit_geometry.cli._app import main

__all__ = ["main"]
