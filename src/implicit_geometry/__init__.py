"""Predict, train towards, measure and explain the geometry that cross-entropy losses learn on label-imbalanced data.

The names, which ``__init__.pyi`` lists, load on first use: importing the package costs next to nothing and never
imports torch.
"""

import lazy_loader

from implicit_geometry._version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
