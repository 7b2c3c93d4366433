"""Training runs on the cores of this machine, one process and one torch thread each.

Workers of the standard library's pools and of loky finish their task although the parent was killed, and the pool gives
up when one of them dies; here each worker ends with its parent, and a run whose worker was killed is tried once more.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO, cast

from implicit_geometry._validate import InputError, whole_number
from implicit_geometry.experiments import ends_with_parent
from implicit_geometry.experiments.backends.execute import Ending, OnRun, Outcome, missing_runs, outcome, say_waiting
from implicit_geometry.experiments.run import Failure
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.store import RunStore
from implicit_geometry.experiments.training.fit import uses_gpu
from implicit_geometry.experiments.training.train_run import NO_FILES, Resources

_ATTEMPTS = 2
_PROGRAM = "implicit_geometry.experiments.backends.worker_program"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def run_missing(
    store: RunStore,
    specs: Sequence[RunSpec],
    *,
    resources: Resources = NO_FILES,
    workers: int | None = None,
    on_done: OnRun = lambda spec: None,
    on_wait: OnRun = say_waiting,
) -> Outcome:
    """Run the specs that are not finished; every finished run is kept whatever happens to the rest.

    A run that fails is recorded with its reason and the others go on. A run whose process is killed is tried once
    more, from its last checkpoint. Runs that diverged before are not tried again. A run that another process has
    in hand comes after the others. No worker outlives this process, however it ends.

    Args:
        store: where results go.
        specs: wanted runs.
        resources: data folder and hardware of every run.
        workers: processes; by default one per core, or a single one where a GPU trains.
        on_done: called in this process after each run, finished or failed.
        on_wait: called in this process for each run that another process has in hand, the first time that is seen;
            says so on standard error where left out.

    Raises:
        InputError: workers is not a positive number, or results cannot be written.
    """
    queue = deque(missing_runs(store, specs))
    if workers is None:
        workers = 1 if uses_gpu(resources.hardware) else cores()
    count = whole_number("workers", workers, minimum=1)
    attempts: Counter[str] = Counter()
    waited_for: set[str] = set()
    answers: _Answers = SimpleQueue()
    team: list[_Worker] = []
    ran = 0
    try:
        while queue or any(worker.spec for worker in team):
            while queue and (free := _free_worker(team, count, store.folder, resources, answers)):
                free.give(queue.popleft())
            worker, answer = answers.get()
            spec, worker.spec = worker.spec, None
            if answer is None:
                team.remove(worker)
                worker.stop()
            if spec is None:  # it died before it was given a run
                continue
            if answer is None:
                attempts[spec.key] += 1
                if attempts[spec.key] < _ATTEMPTS:
                    queue.append(spec)
                    continue
                store.fail(Failure(spec, f"its process was killed {_ATTEMPTS} times", final=False))
            if isinstance(answer, InputError):
                raise answer
            if answer == Ending.CLAIMED:
                queue.append(spec)
                if spec.key not in waited_for:
                    waited_for.add(spec.key)
                    on_wait(spec)
                continue
            ran += answer == Ending.FINISHED
            on_done(spec)
    finally:
        for worker in team:
            worker.stop()
    return outcome(store, specs, ran)


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Worker:
    """A process that runs one run after another; ``spec`` is the one it has.

    Args:
        folder: of the results.
        resources: data folder and hardware of every run.
        answers: gets this worker with each of its answers, at last with None, when it has ended.
    """

    def __init__(self, folder: Path, resources: Resources, answers: _Answers) -> None:
        self.spec: RunSpec | None = None
        with _interrupts_held():
            self.process = subprocess.Popen(
                [sys.executable, "-P", ends_with_parent.__file__, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                env={**os.environ, **_ONE_THREAD},
            )
        self.requests, self.lines = cast(IO[str], self.process.stdin), cast(IO[str], self.process.stdout)  # pipes
        self._send({"path": sys.path, "program": _PROGRAM, "folder": str(folder), "resources": resources.to_dict()})
        self.listener = threading.Thread(target=self._listen, args=(answers,), daemon=True)
        self.listener.start()

    def give(self, spec: RunSpec) -> None:
        self.spec = spec
        self._send(spec.to_dict())

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.listener.join()
        for stream in (self.requests, self.lines):
            with suppress(OSError):  # what it was told and did not read
                stream.close()

    def _send(self, document: dict[str, object]) -> None:
        with suppress(OSError):  # it died; its listener says so
            self.requests.write(json.dumps(document) + "\n")
            self.requests.flush()

    def _listen(self, answers: _Answers) -> None:
        for line in self.lines:
            if not line.endswith("\n"):  # it died in the middle
                break
            kind, *words = json.loads(line)
            answers.put((self, InputError(*words) if kind == "refused" else Ending(*words)))
        answers.put((self, None))


_Answers = SimpleQueue[tuple[_Worker, Ending | InputError | None]]


def _free_worker(
    team: list[_Worker], count: int, folder: Path, resources: Resources, answers: _Answers
) -> _Worker | None:
    """A worker that has no run, a new one where there are fewer than wanted; None where all have one."""
    idle = next((worker for worker in team if worker.spec is None), None)
    if idle is None and len(team) < count:
        idle = _Worker(folder, resources, answers)
        team.append(idle)
    return idle


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
