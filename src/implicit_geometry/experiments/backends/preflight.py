"""What would make runs fail, found before any of them starts."""

from __future__ import annotations

from collections.abc import Sequence

from implicit_geometry._validate import InputError
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.sweep_file.mistakes import Mistakes
from implicit_geometry.experiments.training.fit import Hardware
from implicit_geometry.experiments.training.train_run import Resources, split_of
from implicit_geometry.nn.networks import make_network


def check_runs(specs: Sequence[RunSpec], resources: Resources) -> None:
    """Read every data set, draw every profile from it and build every network, each once.

    Args:
        specs: the runs to come.
        resources: their data folder.

    Raises:
        InputError: a data set is missing or damaged, a class has too few samples, or a network does not take the
            data; the message has one line for each of them.
    """
    mistakes = Mistakes()
    for data in dict.fromkeys(
        sorted((spec.data for spec in specs), key=lambda data: (data.name, data.image_size or 0))
    ):
        mine = [spec for spec in specs if spec.data == data]
        with mistakes.at(data.name):
            source = resources.source(data)
            for spec in {spec.counts: spec for spec in mine}.values():
                with mistakes.at(data.name):
                    split_of(spec, source)
            for network in {repr(spec.network): spec.network for spec in mine}.values():
                with mistakes.at(f"{network.name} on {data.name}"):
                    make_network(network.name, source.input_shape, source.num_classes, **network.options)
    mistakes.raise_any("the runs and their data")


def check_hardware(specs: Sequence[RunSpec], hardware: Hardware) -> None:
    """Refuse what needs a GPU where there is none.

    Raises:
        InputError: there is no GPU, and the accelerator or the precision of a spec asks for one.

    Example:
        >>> check_hardware([], Hardware(accelerator="cpu"))
    """
    from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator

    has_gpu = CUDAAccelerator.is_available() or MPSAccelerator.is_available()
    if hardware.accelerator == "gpu" and not has_gpu:
        raise InputError("accelerator", "must be one that this machine has", "'gpu' and no GPU was found")
    on_gpu = has_gpu and hardware.accelerator != "cpu"
    if not on_gpu and any(spec.optimization.precision == "16-mixed" for spec in specs):
        raise InputError("precision", "must be '32-true' or 'bf16-mixed' on a CPU", "'16-mixed'")
