"""What this project itself asks of networks: the demo, the paper's figures, and which loss generalises best.

The names, which ``__init__.pyi`` lists, load on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
