"""The state of an unfinished training run: one safetensors file with its checksum, replaced as a whole."""

from __future__ import annotations

import json
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from implicit_geometry._files import LARGE, dumps, read_regular_file, write_atomically
from implicit_geometry.experiments.file_checksum import BLANK, check_seal, sealed

_MARK = b'"checksum":"'


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
    state = dumps({"epoch": checkpoint.epoch, "history": checkpoint.history})
    data = sealed(save(tensors, metadata={"checksum": BLANK, "state": state}), _MARK)
    write_atomically(path, lambda part: part.write_bytes(data))


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Read what :func:`write_checkpoint` wrote; None where there is nothing that is whole.

    A file of which a bit has changed is not used: training starts anew, and a warning says so.
    """
    if not path.exists():
        return None
    try:
        data = read_regular_file(path, at_most=LARGE)
        check_seal(data, _MARK)
        document = json.loads(_metadata(data)["state"])
        return Checkpoint(int(document["epoch"]), load(data), list(document["history"]))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, struct.error, MemoryError) as error:
        warnings.warn(f"checkpoint {path} is damaged ({error}): training starts anew", stacklevel=2)
        return None


def _metadata(data: bytes) -> dict[str, str]:
    """What a safetensors file says of itself: its header is JSON, after its length in eight bytes."""
    (length,) = struct.unpack_from("<Q", data)
    return dict(json.loads(data[8 : 8 + length])["__metadata__"])


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
