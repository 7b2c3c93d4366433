"""JSON that every reader accepts: NaN and infinity become null."""

from __future__ import annotations

import json
from typing import Any


def dumps(document: Any) -> str:
    r"""The document as indented JSON.

    Example:
        >>> dumps({"a": float("nan")})
        '{\n "a": null\n}'
    """
    return json.dumps(_finite(document), indent=1, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value
