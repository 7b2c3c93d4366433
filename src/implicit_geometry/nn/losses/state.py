"""The state of a loss: the same keys whatever its values, and what tells that a state is of another loss.

Beside the five vectors, in full, a state holds ``counts`` (the class counts, empty where the loss was not made of a
rule), and ``identity``: a JSON text of the rule, its hyperparameters, the class names and a checksum of the vectors
that the loss was made with. All are tensors, so that safetensors takes them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from implicit_geometry.counts import ClassCounts
from implicit_geometry.parameterization import NEUTRAL, Parameterization

STATE = ("counts", "identity")
"""Keys of a state besides the vectors."""


@dataclass(frozen=True)
class Identity:
    """What a loss was made of.

    Attributes:
        checksum: of the vectors it was made with.
        rule: its name; empty where it was made of vectors.
        hyperparameters: of the rule.
        counts: class counts; None where it was made of vectors.
    """

    checksum: str
    rule: str = ""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    counts: ClassCounts | None = None

    @classmethod
    def of(cls, parameterization: Parameterization) -> Identity:
        """That of a loss that is made of vectors."""
        vectors = b"".join(getattr(parameterization, name).tobytes() for name in NEUTRAL)
        return cls(hashlib.sha256(vectors).hexdigest()[:16])

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of the counts; empty where there are none."""
        return () if self.counts is None else self.counts.class_names

    def to_tensors(self) -> dict[str, Tensor]:
        """The entries of a state."""
        content = {
            "checksum": self.checksum,
            "rule": self.rule,
            "hyperparameters": dict(self.hyperparameters),
            "class_names": list(self.class_names),
        }
        text = json.dumps(content, sort_keys=True)
        counts = [] if self.counts is None else self.counts.values.tolist()
        return {
            "counts": torch.tensor(counts, dtype=torch.int64),
            "identity": torch.tensor(list(text.encode()), dtype=torch.uint8),
        }

    def difference(self, counts: Tensor, identity: Tensor) -> str:
        """How the loss of a state differs from this one, in words; empty where it does not."""
        try:
            text = json.loads(bytes(identity.cpu().tolist()).decode())
            checksum, rule, hyperparameters = text["checksum"], text["rule"], text["hyperparameters"]
            names = tuple(text["class_names"])
        except (ValueError, KeyError, TypeError):
            return "its identity cannot be read"
        if names and self.class_names and names != self.class_names:
            return f"its classes are {_shown(names)}, and those of this loss {_shown(self.class_names)}"
        if checksum == self.checksum:
            return ""
        theirs, own = counts.cpu().tolist(), [] if self.counts is None else self.counts.values.tolist()
        given, mine = _described(rule, hyperparameters), _described(self.rule, self.hyperparameters)
        if given != mine:
            return f"it is of {given}, and this loss of {mine}"
        if theirs != own:
            order = "class order" if sorted(theirs) == sorted(own) else "class counts"
            return f"it has other {order}, {_shown(theirs)}, and this loss {_shown(own)}"
        return "it was made with other vectors"


@dataclass(frozen=True)
class ReadableState:
    """The part of a state dict that a loss can load.

    Attributes:
        vectors: by name, without those that are neutral in the state and in the loss.
        differences: in words, what is not as it should be.
        tells_its_loss: whether it says which loss it is of, as states of earlier versions do not.
    """

    vectors: dict[str, Any]
    differences: list[str]
    tells_its_loss: bool


def readable_state(loss: Any, state_dict: Mapping[str, Any], prefix: str) -> ReadableState:
    """Read a loss's entries of a state dict, without changing either.

    Args:
        loss: a :class:`~implicit_geometry.nn.VSLoss`.
        state_dict: of a model that holds the loss.
        prefix: of the loss's keys.
    """
    state = {name: state_dict[prefix + name] for name in (*NEUTRAL, *STATE) if prefix + name in state_dict}
    counts, identity = (state.pop(name, None) for name in STATE)
    vectors = {
        name: vector
        for name, vector in state.items()
        if not (getattr(loss, name) is None and _is_neutral(name, vector, loss.num_classes))
    }
    if not (isinstance(counts, Tensor) and isinstance(identity, Tensor)):
        old = "the state is of an earlier version, which does not say of which loss it is"
        return ReadableState(vectors, [old] if state else [], False)
    difference = loss.identity.difference(counts, identity)
    return ReadableState(vectors, [f"the state is of another loss: {difference}"] if difference else [], True)


def _is_neutral(name: str, vector: Any, num_classes: int) -> bool:
    return isinstance(vector, Tensor) and vector.shape == (num_classes,) and bool((vector == NEUTRAL[name]).all())


def _described(rule: str, hyperparameters: Mapping[str, Any]) -> str:
    given = ", ".join(f"{name}={value!r}" for name, value in hyperparameters.items())
    return f"rule {rule!r} ({given})" if rule else "vectors given one by one"


def _shown(items: Sequence[object]) -> str:
    return f"[{', '.join(map(str, items[:5]))}{', ...' if len(items) > 5 else ''}]" if items else "none"
