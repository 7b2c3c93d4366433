"""Reading files that somebody else may have put there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

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
