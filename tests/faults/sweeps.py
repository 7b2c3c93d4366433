"""A small sweep of digits, started, disturbed and looked at from outside."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from faults.stores import differences
from processes import children_of, marked, processes_of

SWEEP = """
counts: [24, 24, 24, 24, 24, 6, 6, 6, 6, 6]
network: {name: mlp, depth: 1, width: 16}
losses: [ce, {rule: vs, gamma: 0.5, tau: [0.5, 1]}]
optimization: {epochs: 100, batch_size: 32}
record_every: 10
seeds: 2
"""
ALLOWED_SECONDS = 1.0
"""How long a worker may outlive its parent."""

PATIENCE = 600.0
"""Seconds after which a sweep that has not ended is a violation."""


@dataclass
class Result:
    """What a scenario did and found.

    Attributes:
        name: of the scenario.
        done: faults and checks, in words.
        violations: what must not be.
        skipped: why this machine cannot do it; empty where it was done.
    """

    name: str
    done: str = ""
    violations: list[str] = field(default_factory=list)
    skipped: str = ""

    def say(self, text: str) -> None:
        """One line of progress."""
        print(f"{time.strftime('%H:%M:%S')} {self.name}: {text}", flush=True)

    def violated(self, text: str) -> None:
        """Note what must not be."""
        self.violations.append(text)
        self.say(f"VIOLATION: {text}")


@dataclass(frozen=True)
class Ground:
    """What all scenarios start from.

    Attributes:
        folder: for stores and files.
        sweep: the YAML file.
        reference: store of an undisturbed sweep.
        seconds: what that sweep took.
    """

    folder: Path
    sweep: Path
    reference: Path
    seconds: float

    @property
    def longest_wait(self) -> float:
        """Seconds from the start of a sweep within which a kill falls: all of it, unless the machine is slow."""
        return min(self.seconds, 20.0)

    def new_store(self, name: str) -> Path:
        """A folder that is not there yet."""
        return self.folder / f"{name}-{uuid.uuid4().hex[:8]}"

    def check(self, result: Result, store: Path, *, complete: bool) -> None:
        """Compare a store with the undisturbed one."""
        if complete or store.exists():
            for text in differences(store, self.reference, complete=complete):
                result.violated(text)


class Sweep:
    """The command ``igeom sweep`` on the small sweep, in a process group of its own.

    Args:
        ground: what to run.
        store: where.
        workers: how many.
        arguments: further ones of the command.
        environment: further variables.
    """

    started: ClassVar[list[Sweep]] = []

    def __init__(
        self,
        ground: Ground,
        store: Path,
        *,
        workers: int = 2,
        arguments: Sequence[str] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.mark = uuid.uuid4().hex
        more = ["--workers", str(workers)] if arguments is None else arguments
        command = ["sweep", str(ground.sweep), "--output", str(store), "--accelerator", "cpu", *more]
        self.log = ground.folder / f"log-{self.mark[:8]}.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "implicit_geometry", *command],
                env={**marked(self.mark), **(environment or {})},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started.append(self)

    def wait(self, seconds: float = PATIENCE) -> int | None:
        """The exit code; None where it does not end in time."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def processes(self) -> dict[int, str]:
        """It and all that it has started, with their command lines."""
        return processes_of(self.mark, session=self.process.pid)

    def workers(self) -> list[int]:
        """The processes that it has started itself."""
        return sorted(children_of(self.process.pid) & processes_of(self.mark).keys())

    def kill_parent(self) -> None:
        """``kill -9`` of the command alone."""
        self.process.kill()
        self.process.wait()

    def kill_group(self) -> None:
        """``kill -9`` of the command and its workers, unless it has ended."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def kill_worker(self, moments: random.Random) -> bool:
        """``kill -9`` of one worker; whether there was one."""
        workers = self.workers()
        if workers:
            with suppress(ProcessLookupError):
                os.kill(moments.choice(workers), signal.SIGKILL)
        return bool(workers)

    def check_nothing_left(self, result: Result, *, allowed: float = ALLOWED_SECONDS) -> float:
        """See that no process of it lives on; those that do are named, then ended. Gives the seconds they took."""
        start = time.monotonic()
        while left := self.processes():
            if time.monotonic() - start > allowed:
                result.violated(f"{allowed:g} s later there still are {left}")
                for number in left:
                    with suppress(ProcessLookupError):
                        os.kill(number, signal.SIGKILL)
                break
            time.sleep(0.005)
        return time.monotonic() - start

    def check_ended_well(self, result: Result, *, codes: Sequence[int] = (0,)) -> None:
        """See that it ends, with a code that is expected, without a traceback and with nothing left."""
        code = self.wait()
        output = self.log.read_text(encoding="utf-8", errors="replace")
        if code is None:
            result.violated(f"it did not end within {PATIENCE:g} s: {output[-500:]}")
            self.kill_group()
        elif code not in codes:
            result.violated(f"exit code {code}: {output[-500:]}")
        if "Traceback" in output:
            result.violated(f"a traceback: {output[-1500:]}")
        self.check_nothing_left(result)
