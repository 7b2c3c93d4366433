"""One run in the process that asks for it, which may be the first of several that share every batch."""

from __future__ import annotations

import os
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException

from implicit_geometry._validate import InputError
from implicit_geometry.experiments.backends.execute import say_waiting
from implicit_geometry.experiments.backends.preflight import check_hardware
from implicit_geometry.experiments.run import Failure, MeasuredRun, TrainedRun
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.store import RunStore
from implicit_geometry.experiments.training.fit import Diverged
from implicit_geometry.experiments.training.loggers import run_logger
from implicit_geometry.experiments.training.train_run import Resources, train_run


def run_here(
    store: RunStore, spec: RunSpec, resources: Resources, *, progress: bool = False
) -> MeasuredRun | Failure | None:
    """Train a run unless it is finished, and keep it.

    Args:
        store: where it is kept.
        spec: the run.
        resources: data folder and hardware.
        progress: show a progress bar.

    Returns:
        The run from the store; why there is none, where training diverged now or before; None in a process that only
        helps another to train.

    Raises:
        InputError: the machine has not what is asked for, a data set is missing, or results cannot be written.
    """
    check_hardware([spec], resources.hardware)
    failure = store.failure(spec)
    if failure is not None and failure.final:
        return failure

    def trained(working: Path) -> TrainedRun | None:
        with run_logger(resources.logger, store.folder, spec) as logger:
            return train_run(spec, resources=resources, working=working, progress=progress, logger=logger)

    try:
        if os.environ.get("LOCAL_RANK", "0") != "0":  # one of several processes; the first has the claim
            return None if store.has(spec) else trained(store.folder / "working" / spec.key)
        with store.claim(spec, on_wait=lambda: say_waiting(spec)) as working:
            if not store.has(spec):
                run = trained(working)
                if run is not None:  # the first process has the result
                    store.save(run)
    except MisconfigurationException as error:
        raise InputError("accelerator, devices and precision", "must be what this machine has", error) from error
    except Diverged as error:
        failure = Failure(spec, str(error), final=True)
        store.fail(failure)
        return failure
    return store.load(spec)
