"""How far a long pass over data has come, on one line of standard error."""

from __future__ import annotations

import sys
import time

_EVERY = 0.2  # seconds between two updates


class ProgressLine:
    """A line that says how many steps of a pass are done, and how long the rest may take.

    Args:
        total: number of steps, or None where it is not known.
        steps: what they are called.

    Example:
        >>> line = ProgressLine(total=200, steps="batches")
        >>> line.text(done=50, seconds=10)
        'counting labels: 50 of 200 batches, 30 s left'
    """

    def __init__(self, total: int | None, steps: str) -> None:
        self.total, self.steps = total, steps
        self._begin = self._shown = time.monotonic()
        self._width = 0

    def __call__(self, done: int) -> None:
        """Show the number of steps that are done, a few times per second at most."""
        now = time.monotonic()
        if now - self._shown >= _EVERY or done == self.total:
            self._shown = now
            self._write(self.text(done, now - self._begin))

    def text(self, done: int, seconds: float) -> str:
        """The line for a number of steps that took some seconds."""
        if self.total is None:
            return f"counting labels: {done} {self.steps}, {seconds:.0f} s"
        left = seconds / max(done, 1) * (self.total - done)
        return f"counting labels: {done} of {self.total} {self.steps}, {left:.0f} s left"

    def close(self) -> None:
        """End the line, where there is one."""
        if self._width:
            sys.stderr.write("\n")

    def _write(self, text: str) -> None:
        sys.stderr.write(f"\r{text:<{self._width}}")
        sys.stderr.flush()
        self._width = max(self._width, len(text))
