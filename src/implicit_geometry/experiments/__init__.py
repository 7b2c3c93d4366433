"""Specs, sweeps, training and the store that keeps their records; knows nothing of figures.

The names, which ``__init__.pyi`` lists, load on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
