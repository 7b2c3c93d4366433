"""Rounding of float64, as certificates count it."""

from __future__ import annotations

import numpy as np

EPS = float(np.finfo(np.float64).eps)
"""Distance from 1 to the next number of float64."""

ROUNDINGS = 8
"""Of a term of a sum, beyond the sum itself."""
