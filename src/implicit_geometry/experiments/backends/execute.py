"""One run of a sweep, in whatever process it happens: claim it, train it, keep the result or the reason."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from implicit_geometry._validate import InputError
from implicit_geometry.data.load import Source
from implicit_geometry.experiments.run import Failure
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.store import RunStore, open_store
from implicit_geometry.experiments.training.fit import Diverged
from implicit_geometry.experiments.training.loggers import run_logger
from implicit_geometry.experiments.training.train_run import Resources, train_run

OnRun = Callable[[RunSpec], object]


class Ending(StrEnum):
    """How an attempt at a run ended."""

    FINISHED = "finished"
    FAILED = "failed"
    CLAIMED = "claimed"  # by another process


class _ClaimedElsewhere(Exception):
    """Another process has the run in hand."""


@dataclass(frozen=True)
class Outcome:
    """What a sweep did.

    Attributes:
        ran: runs finished now.
        failures: of the wanted runs, those that did not finish, now or in an earlier sweep.
    """

    ran: int
    failures: tuple[Failure, ...]


def missing_runs(store: RunStore, specs: Sequence[RunSpec]) -> list[RunSpec]:
    """The specs, each once, that are not finished and that another attempt may finish."""
    wanted = {spec.key: spec for spec in specs}.values()
    return [spec for spec in wanted if not store.has(spec) and not _is_hopeless(store, spec)]


def outcome(store: RunStore, specs: Sequence[RunSpec], ran: int) -> Outcome:
    """What a sweep did, from what is in the store at its end."""
    wanted = {spec.key: spec for spec in specs}.values()
    failures = [store.failure(spec) for spec in wanted if not store.has(spec)]
    return Outcome(ran, tuple(failure for failure in failures if failure is not None))


def say_waiting(spec: RunSpec) -> None:
    """Say on standard error that a run is waited for."""
    print(
        f"waiting for run {spec.key} ({spec.rule}, seed {spec.seed}), which another process has in hand",
        file=sys.stderr,
        flush=True,
    )


def execute(folder: Path, spec: RunSpec, resources: Resources, source: Source | None = None) -> Ending:
    """Train a run unless it is finished, and save it; a failure is recorded in its place.

    Returns:
        How it ended: a run that another process has in hand is left to it.

    Raises:
        InputError: results cannot be written.
    """
    store = open_store(folder)
    try:
        with store.claim(spec, on_wait=_leave) as working:
            return _attempt(store, spec, resources, source, working)
    except _ClaimedElsewhere:
        return Ending.CLAIMED


def _leave() -> None:
    raise _ClaimedElsewhere


def _attempt(store: RunStore, spec: RunSpec, resources: Resources, source: Source | None, working: Path) -> Ending:
    if store.has(spec):
        return Ending.FINISHED
    try:
        with run_logger(resources.logger, store.folder, spec) as logger:
            run = train_run(spec, resources=resources, source=source, working=working, logger=logger)
        if run is None:  # this process only helped another, which has the result
            return Ending.CLAIMED
        store.save(run)
    except Exception as error:
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        store.fail(Failure(spec, reason, final=isinstance(error, Diverged)))
        return Ending.FAILED
    return Ending.FINISHED


def _is_hopeless(store: RunStore, spec: RunSpec) -> bool:
    failure = store.failure(spec)
    return failure is not None and failure.final
