"""One function for each kind of fault."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from faults.stores import tree_digest
from faults.sweeps import PATIENCE, Ground, Result, Sweep
from processes import marked, processes_of

RAY_SECONDS = 10.0
"""How long Ray's processes that train may stay."""

RAY_AGENT_SECONDS = 180.0
"""How long Ray's idle agents may stay: they try to tell a cluster that is gone why they end."""

CLOCK = """
import random, time
_random, _time, _time_ns = random.Random(), time.time, time.time_ns
_YEARS = 10 * 365 * 86400
def _jump():
    return _random.uniform(-_YEARS, _YEARS) if _random.random() < 0.05 else 0.0
time.time = lambda: _time() + _jump()
time.time_ns = lambda: _time_ns() + int(1e9 * _jump())
"""


def killed(target: str, kills: int, ground: Ground, moments: random.Random) -> Result:
    """Kill -9 of the parent, the whole group or a worker, at random moments of sweeps that are started again."""
    result = Result(f"kill -9 of the {target}")
    longest, done, stores, store = 0.0, 0, 0, ground.new_store(target)
    while done < kills:
        sweep = Sweep(ground, store)
        if target == "worker":
            done += _kill_workers(sweep, kills - done, ground, moments)
        else:
            with_time = sweep.wait(moments.uniform(0.0, ground.longest_wait)) is None
            done += with_time
            (sweep.kill_parent if target == "parent" else sweep.kill_group)()
            longest = max(longest, sweep.check_nothing_left(result))
            ground.check(result, store, complete=False)
            result.say(f"{done} of {kills} kills, {_finished(store)} runs finished")
            if with_time:
                continue
        sweep.check_ended_well(result, codes=(0, 1) if target == "worker" else (0,))
        result.say(f"{done} of {kills} kills, a sweep ended")
        _finish(result, ground, store)
        stores, store = stores + 1, ground.new_store(target)
    if store.exists():
        _finish(result, ground, store)
        stores += 1
    result.done = f"{done} kills, {stores} stores compared"
    if target != "worker":
        result.done += f", processes gone after at most {longest:.2f} s"
    return result


def _finished(store: Path) -> int:
    return len(list(store.glob("trials/????????????????")))


def _kill_workers(sweep: Sweep, most: int, ground: Ground, moments: random.Random) -> int:
    done, start = 0, time.monotonic()
    while done < most and sweep.wait(moments.uniform(0.0, ground.longest_wait / 2)) is None:
        done += sweep.kill_worker(moments)
        if time.monotonic() - start > PATIENCE:
            break
    return done


def _finish(result: Result, ground: Ground, store: Path) -> None:
    """The same command again makes the store complete."""
    sweep = Sweep(ground, store)
    sweep.check_ended_well(result)
    ground.check(result, store, complete=True)
    shutil.rmtree(store, ignore_errors=True)


def several_at_once(ground: Ground, moments: random.Random) -> Result:
    """Three sweeps on one store; one of them is killed on the way."""
    result = Result("several sweeps on one store")
    store = ground.new_store("several")
    sweeps = [Sweep(ground, store, workers=1) for _ in range(3)]
    sweeps[0].wait(ground.seconds * moments.uniform(0.5, 1.0))
    sweeps[0].kill_parent()
    sweeps[0].check_nothing_left(result)
    result.say("one of three was killed")
    for sweep in sweeps[1:]:
        sweep.check_ended_well(result)
    waited = sum("waiting for run" in sweep.log.read_text() for sweep in sweeps)
    ground.check(result, store, complete=True)
    result.done = f"3 sweeps, 1 of them killed; {waited} said that they waited; store compared"
    return result


def full_disk(ground: Ground, moments: random.Random) -> Result:
    """A file system of memory that is too small, then large enough."""
    result = Result("full disk")
    needed = sum(path.stat().st_blocks * 512 for path in ground.reference.rglob("*") if path.is_file())
    sizes = [int(needed * share) for share in (0.2, 0.5, 0.8)]
    for size in sizes:
        try:
            with _mounted(ground.folder / "small", "-t", "tmpfs", "-o", f"size={size}", "tmpfs") as place:
                store = place / "runs"
                Sweep(ground, store).check_ended_well(result, codes=(1, 2))
                ground.check(result, store, complete=False)
                result.say(
                    f"{size:,} bytes were too few: {len(list(store.glob('trials/????????????????')))} runs finished"
                )
                subprocess.run(["mount", "-o", "remount,size=1g", place], check=True, capture_output=True)
                Sweep(ground, store).check_ended_well(result)
                ground.check(result, store, complete=True)
        except _CannotMount as error:
            result.skipped = str(error)
            return result
    result.done = f"file systems of {', '.join(f'{size:,}' for size in sizes)} bytes, then of 1 GB; stores compared"
    return result


def read_only(ground: Ground, moments: random.Random) -> Result:
    """A finished store that cannot be written is read, and refused for writing; not a byte of it changes."""
    result = Result("read-only store")
    store = ground.folder / "read-only"
    store.mkdir(exist_ok=True)
    before = tree_digest(ground.reference)
    try:
        with _mounted(store, "--bind", str(ground.reference)) as place:
            subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True, capture_output=True)
            page = ground.folder / "page.html"
            command = [sys.executable, "-m", "implicit_geometry", "report", str(place), "--output", str(page)]
            report = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
            if report.returncode or not page.exists():
                result.violated(f"igeom report ended with {report.returncode}: {report.stderr[-500:]}")
            sweep = Sweep(ground, place)
            sweep.check_ended_well(result, codes=(2,))
            lines = [line for line in sweep.log.read_text().splitlines() if line.strip()]
            if len(lines) != 1 or "folder that can be written" not in lines[0]:
                result.violated(f"not one line that says so: {lines}")
    except _CannotMount as error:
        result.skipped = str(error)
        return result
    if tree_digest(ground.reference) != before:
        result.violated("a file of the store changed")
    result.done = "1 report written elsewhere, 1 sweep refused with one line; all bytes compared"
    return result


def clock_jumps(ground: Ground, moments: random.Random) -> Result:
    """The wall clock of every process jumps by up to ten years; times of files are set at random between sweeps.

    Simulated in Python (``time.time`` and ``time_ns`` of every process): the machine's clock is left alone.
    """
    result = Result("clock jumps (simulated)")
    store, code = ground.new_store("clock"), ground.folder / "clock"
    code.mkdir(exist_ok=True)
    (code / "sitecustomize.py").write_text(CLOCK)
    paths = os.pathsep.join(filter(None, (str(code), os.environ.get("PYTHONPATH", ""))))
    changed = 0
    for _ in range(3):
        sweep = Sweep(ground, store, environment={"PYTHONPATH": paths})
        sweep.wait(moments.uniform(0.3, 0.9) * ground.seconds)
        sweep.kill_group()
        sweep.check_nothing_left(result)
        ground.check(result, store, complete=False)
        for path in store.rglob("*"):
            seconds = time.time() + moments.uniform(-1e8, 1e8)
            os.utime(path, (seconds, seconds))
            changed += 1
        result.say(f"times of {changed} files set")
    Sweep(ground, store, environment={"PYTHONPATH": paths}).check_ended_well(result)
    ground.check(result, store, complete=True)
    result.done = f"4 sweeps under a jumping clock, 3 killed, times of {changed} files changed; store compared"
    return result


def ray_node(ground: Ground, moments: random.Random) -> Result:
    """One of two nodes of a Ray cluster is killed while it trains."""
    result = Result("Ray node killed")
    if find_spec("ray") is None:
        result.skipped = "ray is not installed"
        return result
    store, mark = ground.new_store("ray"), uuid.uuid4().hex
    process = subprocess.Popen(
        [sys.executable, "-m", "faults.ray_node", str(ground.sweep), str(store)],
        env=marked(mark),
        cwd=Path(__file__).parents[1],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    _, error = process.communicate(timeout=PATIENCE)
    if process.returncode:
        result.violated(f"exit code {process.returncode}: {error[-1000:]}")
    training, agents = _gone(result, mark, process.pid)
    ground.check(result, store, complete=True)
    result.done = (
        f"1 of 2 nodes killed after the first result; at its end trainers gone after {training:.1f} s, agents after "
        f"{agents:.0f} s; store compared"
    )
    return result


def ray_driver(ground: Ground, moments: random.Random) -> Result:
    """``kill -9`` of a sweep that has started a Ray cluster of its own: its processes end, as Ray sees to it."""
    result = Result("Ray's driver killed")
    if find_spec("ray") is None:
        result.skipped = "ray is not installed"
        return result
    store, seconds = ground.new_store("driver"), []
    for kill in range(3):
        sweep = Sweep(ground, store, arguments=["--backend", "ray"])
        while not any("raylet" in line for line in sweep.processes().values()) and sweep.process.poll() is None:
            time.sleep(0.1)
        sweep.wait(moments.uniform(0.0, ground.longest_wait))
        sweep.kill_parent()
        seconds.append(_gone(result, sweep.mark, sweep.process.pid))
        ground.check(result, store, complete=False)
        result.say(f"{kill + 1} of 3 kills, {_finished(store)} runs finished")
    Sweep(ground, store).check_ended_well(result)
    ground.check(result, store, complete=True)
    training, agents = (max(times) for times in zip(*seconds, strict=True))
    result.done = f"3 kills, trainers gone after at most {training:.1f} s, agents after {agents:.0f} s; store compared"
    return result


def _gone(result: Result, mark: str, session: int) -> tuple[float, float]:
    """Seconds until Ray's processes have ended: those that train, and its agents."""
    start = time.monotonic()
    training = 0.0
    while left := processes_of(mark, session=session):
        seconds = time.monotonic() - start
        trainers = {number: line for number, line in left.items() if "Agent" not in line}
        training = seconds if trainers else training
        overdue = trainers if seconds < RAY_AGENT_SECONDS else left
        if overdue and seconds > RAY_SECONDS:
            result.violated(f"{seconds:.0f} s later there still are {overdue}")
            for number in left:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            break
        time.sleep(0.05)
    return training, time.monotonic() - start


class _CannotMount(Exception):
    """This machine does not let the harness mount."""


@contextmanager
def _mounted(place: Path, *options: str) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    if shutil.which("mount") is None:
        raise _CannotMount("there is no command mount")
    done = subprocess.run(["mount", *options, str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise _CannotMount(f"this machine does not mount: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True, capture_output=True)


Scenario = Callable[[Ground, random.Random], Result]
