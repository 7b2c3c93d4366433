"""Running trials on the cores of this machine, one process and one torch thread each."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from implicit_geometry._validate import whole_number
from implicit_geometry.experiments.execute import OnDone, Outcome, missing, outcome
from implicit_geometry.experiments.spec import TrialSpec
from implicit_geometry.experiments.store import Failure, RunStore
from implicit_geometry.experiments.training import uses_gpu
from implicit_geometry.experiments.trial import NO_FILES, Resources

_ATTEMPTS = 2
_WATCH_SECONDS = 0.5


def run_missing(
    store: RunStore,
    specs: Sequence[TrialSpec],
    *,
    resources: Resources = NO_FILES,
    workers: int | None = None,
    on_done: OnDone = lambda spec: None,
) -> Outcome:
    """Run the specs that are not finished; every finished run is kept whatever happens to the rest.

    A trial that fails is recorded with its reason and the others go on. A trial whose process is killed is tried once
    more, from its last checkpoint. Trials that diverged before are not tried again.

    Args:
        store: where results go.
        specs: wanted runs.
        resources: data folder and hardware of every trial.
        workers: processes; by default one a core, or a single one where a GPU trains.
        on_done: called in this process after each trial, finished or failed.

    Raises:
        InputError: workers is not a positive number.
    """
    queue = deque(missing(store, specs))
    if workers is None:
        workers = 1 if uses_gpu(resources.hardware) else cores()
    count = min(len(queue), whole_number("workers", workers, minimum=1))
    attempts: Counter[str] = Counter()
    team: list[_Worker] = []
    ran = 0
    try:
        team += [_Worker(store.folder, resources) for _ in range(count)]
        while queue or any(worker.spec for worker in team):
            for worker in team:
                if worker.spec is None and queue:
                    worker.give(queue.popleft())
            ready = wait([worker.connection for worker in team if worker.spec])
            for place, worker in enumerate(team):
                if worker.connection not in ready:
                    continue
                spec, finished = worker.take()
                if finished is None:
                    team[place] = _Worker(store.folder, resources)
                    attempts[spec.key] += 1
                    if attempts[spec.key] < _ATTEMPTS:
                        queue.append(spec)
                        continue
                    store.fail(Failure(spec, f"its process was killed {_ATTEMPTS} times", final=False))
                ran += bool(finished)
                on_done(spec)
    finally:
        for worker in team:
            worker.stop()
    return outcome(store, specs, ran)


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Worker:
    """A process that runs one trial after another; ``spec`` is the one it has."""

    def __init__(self, folder: Path, resources: Resources) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs, folder, resources), daemon=True)
        with _interrupts_held():
            self.process.start()
        theirs.close()
        self.spec: TrialSpec | None = None

    def give(self, spec: TrialSpec) -> None:
        self.spec = spec
        with suppress(OSError):  # it died idle; reading from it will say so
            self.connection.send(spec.to_dict())

    def take(self) -> tuple[TrialSpec, bool | None]:
        """The trial and whether it finished; None where the process died."""
        assert self.spec is not None
        spec, self.spec = self.spec, None
        try:
            return spec, bool(self.connection.recv())
        except (EOFError, OSError):
            return spec, None

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Keep Ctrl-C back until the block ends; processes that it starts never see it: the parent decides for them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, folder: Path, resources: Resources) -> None:
    """Run the trials that come in, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it could not be held back at the start
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    import torch

    from implicit_geometry.experiments.execute import execute

    torch.set_num_threads(1)
    gc.freeze()  # what is imported stays, so that a collection takes a millisecond, not half a second
    try:
        while True:
            connection.send(execute(folder, TrialSpec.from_dict(connection.recv()), resources))
            gc.collect()  # trainers are cycles that hold the samples of their trial
    except (EOFError, OSError):
        return


def _end_with(parent: int) -> None:
    """Leave nothing running when the parent is killed."""
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)
