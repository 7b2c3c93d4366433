"""All that touches a disk: reading what somebody else may have put there, writing whole or not at all, JSON."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from implicit_geometry._validate import InputError

SMALL = 64 * 2**20
"""Bytes that a file of text may have."""

LARGE = 64 * 2**30
"""Bytes that a file of arrays may have."""


def read_regular_file(path: Path, *, at_most: int = SMALL) -> bytes:
    """The bytes of a file; never waits for a pipe and never reads a device.

    Raises:
        OSError: it cannot be read, is no regular file or is larger than ``at_most``.

    Example:
        >>> try:
        ...     read_regular_file(Path("/dev/zero"))
        ... except OSError as error:
        ...     print(error)
        it is no regular file
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is no regular file")
        if status.st_size > at_most:
            raise OSError(f"it has {status.st_size:,} bytes, at most {at_most:,} are read")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(status.st_size + 1)
    finally:
        os.close(descriptor)
    if len(data) != status.st_size:
        raise OSError("it changed while it was read")
    return data


def size_of_regular_file(path: Path) -> int:
    """Its size in bytes.

    Raises:
        OSError: it is not there or no regular file.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is no regular file")
    return status.st_size


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file under a temporary name beside it, then rename; the suffix is kept for writers that look at it.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=".partial-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        part = Path(name)
        try:
            write(part)
            part.chmod(0o644)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise InputError("output", "must be a file that can be written", f"{path} ({reason})") from error


def dumps(document: Any) -> str:
    r"""The document as indented JSON that every reader accepts: NaN and infinity become null.

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
