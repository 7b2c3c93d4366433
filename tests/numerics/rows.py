"""The rows of the table of numerics, each with the number of cases of a full run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from numerics.bias_limit import bias_limit_row
from numerics.collapse import collapse_row
from numerics.limit import design_row, limit_row
from numerics.losses import PRECISIONS, losses_row
from numerics.ridge import norm_error_row, ridge_row
from numerics.row import Row

ROWS: list[tuple[int, Callable[[int], Row]]] = [
    (500, limit_row),
    (5000, partial(bias_limit_row, largest_ratio=1e4, largest_gamma=1.0)),
    (5000, partial(bias_limit_row, largest_ratio=1e9, largest_gamma=3.0)),
    (300, partial(ridge_row, bias=False)),
    (600, partial(ridge_row, bias=True)),
    (150, norm_error_row),
    (100, partial(collapse_row, margins=False)),
    (100, partial(collapse_row, margins=True)),
    (60, design_row),
    *((10, partial(losses_row, precision)) for precision in PRECISIONS),
]
