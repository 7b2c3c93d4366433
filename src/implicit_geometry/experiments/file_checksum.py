"""Files that carry their own checksum: the SHA-256 of the file, taken with 64 zeros in its place."""

from __future__ import annotations

import hashlib

BLANK = "0" * 64
"""What stands in the place of the checksum until the file is sealed."""


def sealed(data: bytes, mark: bytes) -> bytes:
    r"""The file with its checksum.

    Args:
        data: its bytes, with :data:`BLANK` after the first ``mark``.
        mark: what stands before the checksum.

    Example:
        >>> file = sealed(b'{"checksum": "' + BLANK.encode() + b'"}', b'"checksum": "')
        >>> check_seal(file, b'"checksum": "')
        >>> try:
        ...     check_seal(file.replace(b"}", b"]"), b'"checksum": "')
        ... except ValueError as error:
        ...     print(error)
        its content is not what its checksum says
    """
    start = data.index(mark) + len(mark)
    return data[:start] + checksum(data).encode() + data[start + len(BLANK) :]


def check_seal(data: bytes, mark: bytes) -> None:
    """Refuse a file of which a single bit has changed since it was sealed.

    Raises:
        ValueError: it has changed, or was never sealed.
    """
    place = data.find(mark)
    if place < 0:
        raise ValueError("it has no checksum")
    start, end = place + len(mark), place + len(mark) + len(BLANK)
    if data[start:end] != checksum(data[:start] + BLANK.encode() + data[end:]).encode():
        raise ValueError("its content is not what its checksum says")


def checksum(data: bytes) -> str:
    """The SHA-256 of some bytes, as ``sha256sum`` prints it."""
    return hashlib.sha256(data).hexdigest()
