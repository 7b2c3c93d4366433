"""Running trials on the cores of this machine, one process and one torch thread each."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

from implicit_geometry._validate import whole_number
from implicit_geometry.experiments.spec import TrialSpec
from implicit_geometry.experiments.store import RunStore, open_store


def run_missing(
    store: RunStore,
    specs: Sequence[TrialSpec],
    *,
    workers: int | None = None,
    on_done: Callable[[TrialSpec], None] = lambda spec: None,
) -> int:
    """Run the specs that are not finished yet; every finished run is kept whatever happens to the rest.

    Args:
        store: where results go.
        specs: wanted runs.
        workers: processes; by default one a core.
        on_done: called in this process after each run.

    Returns:
        How many were run.

    Raises:
        InputError: from the first trial that failed; runs already going finish first.
    """
    missing = [spec for spec in {spec.key: spec for spec in specs}.values() if not store.has(spec)]
    if not missing:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = min(len(missing), cores if workers is None else whole_number("workers", workers, minimum=1))
    pool = ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread)
    try:
        pending: dict[Future[None], TrialSpec] = {
            pool.submit(_run_and_save, store.folder, spec.to_dict()): spec for spec in missing
        }
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                spec = pending.pop(future)
                future.result()
                on_done(spec)
    finally:
        pool.shutdown(cancel_futures=True)
    return len(missing)


def _one_thread() -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    import torch

    torch.set_num_threads(1)


def _run_and_save(folder: Path, document: dict[str, object]) -> None:
    from implicit_geometry.experiments.trial import run_trial

    open_store(folder).save(run_trial(TrialSpec.from_dict(document)))
