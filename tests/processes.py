"""Which processes are there, from /proc: those of a command, whoever their parent is by now."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

MARK = "IGEOM_TEST_MARK"

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def marked(mark: str) -> dict[str, str]:
    """The environment of a command whose processes, and theirs, are to be found again."""
    return {**os.environ, MARK: mark}


def processes_of(mark: str, *, session: int | None = None) -> dict[int, str]:
    """Processes that carry a mark, or are of a session, with their command lines; those that have ended do not count.

    The session is for those that write their title over their environment, as some of Ray's do.
    """
    wanted = f"{MARK}={mark}".encode()
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if _session(place) == session or wanted in (place / "environ").read_bytes().split(b"\0"):
                found[int(place.name)] = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return {number: line for number, line in found.items() if line}


def _session(place: Path) -> int:
    return int((place / "stat").read_text().rpartition(")")[2].split()[3])


def children_of(parent: int) -> set[int]:
    """Processes that a process started and that have not ended."""
    found = set()
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, above = (place / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(above) == parent and state not in "ZX":
                found.add(int(place.name))
    return found


def seconds_until_none_is_left(mark: str, *, at_most: float) -> float:
    """How long processes with a mark stay; raises AssertionError where some stay longer."""
    start = time.monotonic()
    while left := processes_of(mark):
        assert time.monotonic() - start < at_most, f"left behind: {left}"
        time.sleep(0.01)
    return time.monotonic() - start
