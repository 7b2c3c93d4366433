"""The backends by name: a new one is a module of its own and one entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from implicit_geometry.experiments.backends.execute import Outcome
from implicit_geometry.experiments.backends.local_workers import run_missing
from implicit_geometry.experiments.backends.ray_cluster import run_missing_on_ray


@dataclass(frozen=True)
class Backend:
    """Where runs happen.

    Attributes:
        run: trains what is missing of specs; takes store, specs, ``resources``, ``on_done`` and the options.
        options: keywords of ``run`` that only this backend has.
        is_this_machine: whether the runs happen where the command runs, whose hardware can be checked before.
    """

    run: Callable[..., Outcome]
    options: tuple[str, ...]
    is_this_machine: bool


BACKENDS = {
    "local": Backend(run_missing, ("workers",), is_this_machine=True),
    "ray": Backend(run_missing_on_ray, ("ray_address",), is_this_machine=False),
}
"""Name to backend."""
