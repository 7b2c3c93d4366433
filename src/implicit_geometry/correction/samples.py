"""Samples that users give: their logits and their labels, of NumPy or torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from implicit_geometry._validate import Floats, InputError, Ints, numeric_array, shown


def finite_logits(logits: Any) -> Floats:
    """Logits of samples as an array, shape (n, k).

    Raises:
        InputError: another shape, no sample, or an entry that is not finite.
    """
    values = numeric_array("logits", _on_host("logits", logits))
    if values.ndim != 2 or len(values) == 0:
        raise InputError("logits", "must have shape (n, k) with at least one sample", f"shape {values.shape}")
    if not np.isfinite(values).all():
        raise InputError("logits", "must be finite", f"{np.count_nonzero(~np.isfinite(values))} entries that are not")
    return values


def whole_labels(labels: Any, num_samples: int, num_classes: int) -> Ints:
    """Classes of samples as an array, shape (n,).

    Raises:
        InputError: another shape, or an entry that is no whole number in 0..num_classes-1.
    """
    values = numeric_array("labels", _on_host("labels", labels))
    if values.shape != (num_samples,):
        raise InputError("labels", f"must have shape ({num_samples},), as logits has samples", f"shape {values.shape}")
    wrong = values[~((values >= 0) & (values < num_classes) & (values == np.floor(values)))]
    if wrong.size:
        raise InputError("labels", f"must be whole numbers in 0..{num_classes - 1}", f"{wrong[0]:g}")
    return values.astype(np.int64)


def _on_host(name: str, values: Any) -> Any:
    """A tensor of any device as one of float64 on the host; anything else as it is."""
    if not hasattr(values, "detach"):
        return values
    try:
        return values.detach().cpu().double()
    except RuntimeError as error:  # of a device without memory
        raise InputError(name, "must hold numbers", f"{shown(values)} ({error})") from error
