"""One kind of error for every missing or damaged file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from implicit_geometry._validate import InputError


@contextmanager
def reading(what: str, hint: str = "") -> Iterator[None]:
    """Turn whatever a reader raises on a missing or damaged file into one InputError that names the file.

    Args:
        what: the file or data set.
        hint: how to put it right, appended to the message.

    Raises:
        InputError: the block raised an exception.

    Example:
        >>> with reading("labels.gz"):
        ...     raise EOFError("ends too early")
        Traceback (most recent call last):
        implicit_geometry._validate.InputError: labels.gz cannot be read: ends too early
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # decoders raise anything: SyntaxError, struct.error, zlib.error, AssertionError
        raise InputError(what, f"cannot be read: {str(error) or type(error).__name__}{hint}") from error
