"""The state of an unfinished training run: one safetensors file, replaced as a whole after every epoch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from implicit_geometry._json import dumps
from implicit_geometry._validate import InputError
from implicit_geometry.experiments.store import write_atomically


@dataclass(frozen=True)
class Checkpoint:
    """Where training stands after an epoch.

    Attributes:
        epoch: finished epochs.
        tensors: of the model (``model.*``), the optimiser (``optimizer.*``) and torch's random generator.
        history: rows recorded so far.
    """

    epoch: int
    tensors: dict[str, Tensor]
    history: list[dict[str, Any]]

    def restore_model(self, model: nn.Module) -> None:
        """Load the weights and buffers."""
        model.load_state_dict(_under(self.tensors, "model."))

    def restore_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Load the optimiser's buffers; rates are those of the schedule."""
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under(self.tensors, "optimizer.").items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})

    def restore_random(self) -> None:
        """Set torch's random generator."""
        torch.set_rng_state(self.tensors["random"])


def take_checkpoint(
    epoch: int, model: nn.Module, optimizer: torch.optim.Optimizer, history: list[dict[str, Any]]
) -> Checkpoint:
    """The present state; the tensors are not copied."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, entries in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in entries.items() if isinstance(value, Tensor)}
    return Checkpoint(epoch, {**tensors, "random": torch.get_rng_state()}, history)


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    document = dumps({"epoch": checkpoint.epoch, "history": checkpoint.history})
    write_atomically(path, lambda part: save_file(tensors, part, metadata={"state": document}))


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Read what :func:`write_checkpoint` wrote; None where there is nothing.

    Raises:
        InputError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            document = json.loads(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        return Checkpoint(int(document["epoch"]), tensors, list(document["history"]))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "checkpoint",
            "must be one that training wrote",
            f"{path} with damaged content ({error}); remove its folder to start this run anew",
        ) from error


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
