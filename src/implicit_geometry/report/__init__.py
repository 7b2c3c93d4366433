"""Reports on finished runs: figures, tables and one page.

The names, which ``__init__.pyi`` lists, load on first use.
"""

from implicit_geometry._extras import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__, extra="train")
