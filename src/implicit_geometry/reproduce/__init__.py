"""One item of the paper, or a study that it leaves open: planned, trained, tabulated and drawn.

The names, which ``__init__.pyi`` lists, load on first use.
"""

from implicit_geometry._extras import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__, extra="train")
