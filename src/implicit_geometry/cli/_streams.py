"""Standard output that lacks characters, is full, or that nobody reads any more."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper

_HANDLER = "implicit_geometry.replace"
_lacking: set[str] = set()


@contextmanager
def safe_streams() -> Iterator[None]:
    """Run a command so that what standard output cannot take is one line on standard error, not a traceback.

    Characters that its encoding lacks become question marks. Where it cannot be written, the exit code is 1; where the
    reader has gone, as in ``igeom ... | head -1``, nothing is said of it.
    """
    codecs.register_error(_HANDLER, _question_marks)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        _give_up_on_output()
        sys.exit(1)
    except OSError as error:
        if error.filename is not None or isinstance(error, ConnectionError):
            raise
        _give_up_on_output()
        _say(f"error: output cannot be written: {error.strerror or error}")
        sys.exit(1)
    finally:
        if _lacking:
            _say(f"note: characters that {sys.stdout.encoding} lacks are shown as ?; PYTHONIOENCODING=utf-8 shows them")
            _lacking.clear()


def _question_marks(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    _lacking.update(text)
    return "?" * len(text), error.end


def _give_up_on_output() -> None:
    """Send what is left to nowhere, or Python would try it once more at its end."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _say(line: str) -> None:
    with suppress(OSError):  # standard error may be as full
        print(line, file=sys.stderr, flush=True)
