"""``python -m implicit_geometry`` is ``igeom``."""

from implicit_geometry.cli import main

if __name__ == "__main__":
    main()
