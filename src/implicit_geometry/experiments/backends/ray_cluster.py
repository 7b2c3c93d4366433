"""Training runs on a Ray cluster: one task each, results through a store on a path that all nodes share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from implicit_geometry._validate import InputError
from implicit_geometry.data.load import Source
from implicit_geometry.experiments.backends.execute import (
    Ending,
    OnRun,
    Outcome,
    execute,
    missing_runs,
    outcome,
    say_waiting,
)
from implicit_geometry.experiments.run import Failure
from implicit_geometry.experiments.spec import DataSpec, RunSpec
from implicit_geometry.experiments.store import RunStore
from implicit_geometry.experiments.training.fit import Hardware
from implicit_geometry.experiments.training.train_run import NO_FILES, Resources

_RETRIES = 3


def run_missing_on_ray(
    store: RunStore,
    specs: Sequence[RunSpec],
    *,
    resources: Resources = NO_FILES,
    ray_address: str | None = None,
    on_done: OnRun = lambda spec: None,
    on_wait: OnRun = say_waiting,
) -> Outcome:
    """Run the specs that are not finished as Ray tasks; failures and runs in other hands as in ``run_missing``.

    A task takes one core, and one GPU where the cluster has some and the accelerator is not ``"cpu"``.

    Every data set is read here, once, and reaches the tasks by reference. A task whose process or node dies is
    started again, up to three times, from its last checkpoint where the store is on a path that survives.

    Args:
        store: where results go: a folder that every node sees under the same path.
        specs: wanted runs.
        resources: data folder and hardware of every run.
        ray_address: of the cluster, as ``ray.init`` takes it; a cluster on this machine where left out. Ray that is
            connected already is used as it is.
        on_done: called in this process after each run, finished or failed.
        on_wait: called in this process for each run that another process has in hand, the first time that is seen;
            says so on standard error where left out.

    Raises:
        InputError: Ray is not installed or not reached, the cluster has no GPU and the accelerator is ``"gpu"``, or a
            data set cannot be read.
    """
    ray = _connected(ray_address)
    gpus = _gpus_a_task(ray, resources.hardware)
    queue = missing_runs(store, specs)
    sources = {_source_key(spec.data): spec.data for spec in queue}
    references = {key: ray.put(resources.source(data)) for key, data in sources.items()}
    task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=_RETRIES)(_run)

    def submit(spec: RunSpec) -> Any:
        return task.remote(store.folder.resolve(), spec.to_dict(), resources, references[_source_key(spec.data)])

    pending = {submit(spec): spec for spec in queue}
    waited_for: set[str] = set()
    ran = 0
    while pending:
        (done,), _ = ray.wait(list(pending), num_returns=1)
        spec = pending.pop(done)
        try:
            ending = ray.get(done)
            if ending == Ending.CLAIMED:
                pending[submit(spec)] = spec
                if spec.key not in waited_for:
                    waited_for.add(spec.key)
                    on_wait(spec)
                continue
            ran += ending == Ending.FINISHED
        except ray.exceptions.RayError as error:
            reason = f"its process or node died {_RETRIES + 1} times ({type(error).__name__})"
            store.fail(Failure(spec, reason, final=False))
        on_done(spec)
    return outcome(store, specs, ran)


def _gpus_a_task(ray: Any, hardware: Hardware) -> int:
    has_some = ray.cluster_resources().get("GPU", 0) >= 1
    if hardware.accelerator == "gpu" and not has_some:
        raise InputError("accelerator", "must be one that the cluster has", "'gpu' and no node of it has a GPU")
    return int(has_some and hardware.accelerator != "cpu")


def _source_key(data: DataSpec) -> tuple[str, int | None]:
    return data.name, data.image_size


def _run(folder: Path, document: dict[str, Any], resources: Resources, source: Source) -> Ending:
    """The task: one run on one torch thread, in a process of Ray's."""
    import torch

    torch.set_num_threads(1)
    return execute(folder, RunSpec.from_dict(document), resources, source)


def _connected(address: str | None) -> Any:
    """The module ``ray``, connected."""
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "backend ray", "must be installed", "no module ray; pip install 'implicit-geometry[ray]'"
        ) from error
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError("ray-address", "must be that of a running cluster", f"{address!r} ({error})") from error
    return ray
