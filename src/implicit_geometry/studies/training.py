"""Training what is missing of a study, and what is told while that goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from implicit_geometry.experiments.backends.execute import OnRun
from implicit_geometry.experiments.backends.local_workers import run_missing
from implicit_geometry.experiments.backends.preflight import check_runs
from implicit_geometry.experiments.run import Failure
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.store import RunStore
from implicit_geometry.experiments.training.train_run import Resources


@contextmanager
def _quiet(*args: object) -> Iterator[Callable[[Any], object]]:
    yield lambda step: None


@dataclass(frozen=True)
class Watch:
    """What is told while the work goes on.

    Attributes:
        networks: gets the store and the runs wanted; its context covers their training and gives what is called
            after each.
        epochs: gets the number of epochs of the unconstrained-features model; its context gives what is called after
            each.
        say: gets sentences.
        working: gets what is computed without telling how far it is; its context covers that.
    """

    networks: Callable[[RunStore, Sequence[RunSpec]], AbstractContextManager[OnRun]] = _quiet
    epochs: Callable[[int], AbstractContextManager[Callable[[int], object]]] = _quiet
    say: Callable[[str], object] = lambda text: None
    working: Callable[[str], AbstractContextManager[object]] = _quiet


QUIET = Watch()


def train_missing(
    store: RunStore,
    specs: Sequence[RunSpec],
    *,
    resources: Resources,
    workers: int | None,
    watch: Watch,
    before: Callable[[list[RunSpec]], object] = lambda waiting: None,
) -> tuple[Failure, ...]:
    """Train what is missing; what would make a run fail is found before any of them starts.

    Args:
        store: where the runs are kept.
        specs: wanted runs.
        resources: data folder and hardware.
        workers: processes; by default one for each core.
        watch: told of the progress.
        before: gets the runs that wait, before they start.

    Returns:
        The runs that did not finish.
    """
    with watch.networks(store, specs) as on_done:
        waiting = [spec for spec in specs if not store.has(spec)]
        check_runs(waiting, resources)
        before(waiting)
        return run_missing(store, specs, resources=resources, workers=workers, on_done=on_done).failures
