"""How long trainings will take on this machine's CPU, from one step that is timed."""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch
from torch.nn.functional import cross_entropy

from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.training.train_run import Resources
from implicit_geometry.nn.networks import make_network

_BATCH = 16


def training_seconds(specs: Iterable[RunSpec], resources: Resources) -> float:
    """Estimated time of all trainings one after another, each on one core; measurements come on top.

    One step of 16 samples is timed for each network and data set.

    Raises:
        InputError: a data set is missing, or a network does not take its inputs.
    """
    seconds_a_sample: dict[str, float] = {}
    total = 0.0
    for spec in specs:
        kind = repr((spec.network, spec.data))
        if kind not in seconds_a_sample:
            seconds_a_sample[kind] = _seconds_a_sample(spec, resources)
        total += seconds_a_sample[kind] * sum(spec.counts) * spec.optimization.epochs
    return total


def _seconds_a_sample(spec: RunSpec, resources: Resources) -> float:
    shape, k = resources.source(spec.data).input_shape, len(spec.counts)
    network = make_network(spec.network.name, shape, k, **spec.network.options)
    inputs, labels = torch.zeros(_BATCH, *shape), torch.arange(_BATCH) % k
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        started = time.perf_counter()
        cross_entropy(network(inputs), labels).backward()  # type: ignore[no-untyped-call]
        return (time.perf_counter() - started) / _BATCH
    finally:
        torch.set_num_threads(threads)
