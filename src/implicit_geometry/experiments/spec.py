"""What one training run is: a frozen value whose content names the folder of its results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from implicit_geometry._validate import InputError, Ints, choice, number, shown, whole_number
from implicit_geometry.counts import ClassCounts
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem
from implicit_geometry.rules import make_parameterization

_RECORD_VERSION = 2
_CLASS_ORDER = 1  # besides the seed, so that the order is none of the other draws

SCHEDULES = ("cosine", "step", "constant")
CLASS_ORDERS = ("data", "seed")
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")


@dataclass(frozen=True)
class DataSpec:
    """Which samples per run sees; the training counts stand in the :class:`RunSpec`.

    Args:
        name: a name that :func:`implicit_geometry.data.load.load_source` takes.
        test_per_class: test samples of every class; ``None`` for the whole test part of the data set.
        validation_per_class: samples of every class held out from the training part.
        image_size: side to which an image folder is scaled; ``None`` for the data set's own.
        augment: train on randomly shifted (and, where that keeps the class, mirrored) images.
        class_order: which class has the first of the training counts, and so on: ``"data"`` as they come in the data
            set, ``"seed"`` in a random order that the run's seed draws. Over seeds the classes are exchangeable then.

    Raises:
        InputError: a value is out of range.
    """

    name: str = "digits"
    test_per_class: int | None = 50
    validation_per_class: int = 0
    image_size: int | None = None
    augment: bool = False
    class_order: str = "data"

    def __post_init__(self) -> None:
        _text("name", self.name)
        choice("class_order", self.class_order, CLASS_ORDERS)
        if not isinstance(self.augment, bool):
            raise InputError("augment", "must be true or false", shown(self.augment))
        for name, minimum in (("test_per_class", 1), ("validation_per_class", 0), ("image_size", 1)):
            if getattr(self, name) is not None:
                whole_number(name, getattr(self, name), minimum=minimum)


@dataclass(frozen=True)
class NetworkSpec:
    """Which network: a name and options that :func:`implicit_geometry.nn.networks.make_network` takes."""

    name: str = "mlp"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _text("name", self.name)
        object.__setattr__(self, "options", _named("options", self.options))


@dataclass(frozen=True)
class Optimization:
    """How to train: stochastic gradient descent with momentum, as the paper does.

    Args:
        epochs: passes over the training set.
        batch_size: samples per step; the last batch of an epoch may be smaller.
        learning_rate: initial rate.
        momentum: of the gradient.
        weight_decay: of all parameters, in the form of a mean loss + weight_decay / 2 * |parameters|^2.
        schedule: ``"cosine"`` decays to 0 over all epochs, ``"step"`` divides by 10 after a third and two thirds,
            ``"constant"`` keeps the rate.
        precision: of the arithmetic, as Lightning names it.

    Raises:
        InputError: a value is out of range.
    """

    epochs: int = 300
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    precision: str = "32-true"

    def __post_init__(self) -> None:
        whole_number("epochs", self.epochs, minimum=1)
        whole_number("batch_size", self.batch_size, minimum=2)
        number("learning_rate", self.learning_rate, minimum=0.0, exclusive=True)
        number("momentum", self.momentum, minimum=0.0, maximum=1.0)
        number("weight_decay", self.weight_decay, minimum=0.0)
        choice("schedule", self.schedule, SCHEDULES)
        choice("precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class RunSpec:
    """One training run, complete: the same spec gives the same result on the same software.

    Args:
        rule: a name that :func:`implicit_geometry.rules.find_rule` takes.
        hyperparameters: of the rule, such as ``{"gamma": 0.5}``.
        counts: training samples per class.
        data: which data set, and how much of it is held out.
        network: which network.
        optimization: how to train.
        seed: of the data split, the initial weights, the order of the batches and, where the data say so, the order of
            the classes.
        record_every: epochs between the rows of the run's history; 0 for none.
        label_smoothing: eps of the loss, as :class:`implicit_geometry.problem.Problem` has it.

    Raises:
        InputError: a value is out of range, or the rule does not take the hyperparameters.

    Example:
        >>> spec = RunSpec("cdt", {"gamma": 0.5}, counts=(100, 10))
        >>> spec == RunSpec.from_dict(spec.to_dict()), len(spec.key)
        (True, 16)
    """

    rule: str
    hyperparameters: dict[str, Any]
    counts: tuple[int, ...]
    data: DataSpec = field(default_factory=DataSpec)
    network: NetworkSpec = field(default_factory=NetworkSpec)
    optimization: Optimization = field(default_factory=Optimization)
    seed: int = 0
    record_every: int = 0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", tuple(int(n) for n in ClassCounts(self.counts).values))
        object.__setattr__(self, "hyperparameters", _named("hyperparameters", self.hyperparameters))
        for name in ("seed", "record_every"):
            whole_number(name, getattr(self, name), minimum=0)
        object.__setattr__(self, "label_smoothing", self.problem(bias=False).label_smoothing)

    def class_order(self) -> Ints:
        """The class of the data set that each training count is of, shape (k,).

        Example:
            >>> RunSpec("ce", {}, counts=(9, 5, 3)).class_order().tolist()
            [0, 1, 2]
            >>> drawn = DataSpec(class_order="seed")
            >>> [RunSpec("ce", {}, (9, 5, 3), drawn, seed=seed).class_order().tolist() for seed in (0, 2)]
            [[2, 0, 1], [0, 2, 1]]
        """
        k = len(self.counts)
        if self.data.class_order == "data":
            return np.arange(k)
        return np.random.default_rng((self.seed, _CLASS_ORDER)).permutation(k)

    def class_counts(self) -> ClassCounts:
        """The counts as a value."""
        return ClassCounts(self.counts)

    def parameterization(self) -> Parameterization:
        """The loss the rule gives for these counts."""
        return make_parameterization(self.rule, self.class_counts(), **self.hyperparameters)

    def problem(self, *, bias: bool) -> Problem:
        """What the run trains, in the limit of vanishing weight decay.

        Weight decay is on all parameters: the bias of a head with one has the ridge of the others.

        Args:
            bias: whether the head has a bias, which the network says.

        Example:
            >>> RunSpec("ce", {}, counts=(100, 10)).problem(bias=True)
            Problem(ClassCounts([100, 10]), loss with nothing set, bias_ridge=1, bias=True)
        """
        decayed = bias and self.optimization.weight_decay > 0
        return Problem(
            self.class_counts(),
            self.parameterization(),
            bias=bias,
            bias_ridge=float(decayed),
            label_smoothing=self.label_smoothing,
        )

    @property
    def key(self) -> str:
        """Hash of the content and of the version of the record it leads to, 16 hexadecimal digits."""
        text = json.dumps({"record": _RECORD_VERSION, **self.to_dict()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain JSON values; without what is as it was before later versions let it be set."""
        document = {**asdict(self), "counts": list(self.counts)}
        if not self.label_smoothing:
            del document["label_smoothing"]
        if self.data.class_order == DataSpec.class_order:
            del document["data"]["class_order"]
        return document

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> RunSpec:
        """Read what :meth:`to_dict` gave.

        Raises:
            InputError: a key is missing or unknown, or a value is out of range.
        """
        _exact_keys("spec", document, cls, optional="label_smoothing")
        parts: dict[str, Any] = {}
        for name, part in _PARTS.items():
            _exact_keys(name, document[name], part, optional="class_order")
            parts[name] = part(**document[name])
        return cls(**{**document, **parts})


_PARTS: dict[str, type[Any]] = {"data": DataSpec, "network": NetworkSpec, "optimization": Optimization}


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise InputError(name, "must be a text", shown(value))


def _named(name: str, values: Any) -> dict[str, Any]:
    if not (isinstance(values, Mapping) and all(isinstance(key, str) for key in values)):
        raise InputError(name, "must be names with values", shown(values))
    return dict(values)


def _exact_keys(name: str, document: Any, cls: type[Any], *, optional: str = "") -> None:
    expected = {item.name for item in fields(cls)} - {optional}
    found = set(document) - {optional} if isinstance(document, dict) else None
    if found != expected:
        raise InputError(name, f"must have the keys {sorted(expected)}", document if found is None else sorted(found))
