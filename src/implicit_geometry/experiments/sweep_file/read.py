"""Sweeps as people write them: a YAML file, or the same keys as a dictionary, to one spec per run.

Every list of values is a grid, and the runs are all combinations::

    data: {name: mnist, test_per_class: 200}     # or just: mnist; class_order: seed draws which class has which count
    counts: "step:10,10"                         # what `igeom predict` takes, or a list of numbers, or a list of these
    max_count: 500
    network: {name: mlp, depth: 6, width: 2048}  # or just: mlp
    losses:
      - ce
      - {rule: [cdt, ldt], gamma: [-0.5, 0.5], label_smoothing: [0, 0.1]}
    optimization: {epochs: 50, learning_rate: 0.1, weight_decay: 5e-4}
    seeds: 3                                     # 0, 1, 2; or a list
    record_every: 1
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from implicit_geometry._validate import InputError, choice, number, shown, whole_number
from implicit_geometry.counts import ClassCounts
from implicit_geometry.data.load import SOURCES
from implicit_geometry.experiments.spec import DataSpec, NetworkSpec, Optimization, RunSpec
from implicit_geometry.experiments.sweep_file.mistakes import Mistakes, key_path
from implicit_geometry.experiments.sweep_file.yaml_file import read_yaml
from implicit_geometry.nn.networks import check_network
from implicit_geometry.problem import Problem
from implicit_geometry.profiles import parse_counts
from implicit_geometry.rules import find_rule, make_parameterization

MAX_RUNS = 100_000

_KEYS = ("data", "counts", "max_count", "network", "losses", "optimization", "seeds", "record_every")
_REQUIRED = ("counts", "losses")
_ANY_SIZE = 10**6  # for the other mistakes, where max_count is one
_SOME_COUNTS = ClassCounts([2, 1])

T = TypeVar("T")
Loss = tuple[str, dict[str, Any], float]


def read_sweep(path: Path) -> list[RunSpec]:
    """The runs that a YAML file describes.

    Raises:
        InputError: the file is missing or no YAML, or :func:`sweep_specs` refuses its content.
    """
    document = read_yaml(path)
    try:
        return sweep_specs(document)
    except InputError as error:
        raise InputError(f"{path}: {error.argument}", error.expectation, error.given) from error


def sweep_specs(document: Mapping[str, Any]) -> list[RunSpec]:
    """The runs that a document describes, each once, all runs of the first seed first.

    Left out: ``data`` is digits, ``network`` the MLP, ``seeds`` 1, ``record_every`` 1, ``max_count`` 5000,
    ``test_per_class`` 50 for digits and else the whole test part of the data set, the rest as in
    :mod:`implicit_geometry.experiments.spec`.

    Args:
        document: keys and values as this module's description shows them.

    Raises:
        InputError: keys or values are wrong; the message has one line for each of them.

    Example:
        >>> grid = {"counts": [50, 5], "losses": ["ce", {"rule": "cdt", "gamma": [-0.5, 0.5]}], "seeds": 2}
        >>> specs = sweep_specs(grid)
        >>> len(specs), specs[2].rule, specs[2].hyperparameters
        (6, 'cdt', {'gamma': 0.5})
    """
    if not isinstance(document, Mapping):
        raise InputError("the sweep", f"must have the keys {', '.join(_KEYS)}", shown(document))
    mistakes = Mistakes()
    mistakes.unknown_keys("", document, _KEYS)
    for key in _REQUIRED:
        if key not in document:
            mistakes.add(key, "must be given")
    record_every = 1
    with mistakes.at("record_every"):
        record_every = whole_number("record_every", document.get("record_every", 1))
    seeds = _seeds(document.get("seeds", 1), mistakes)
    counts = _counts(document.get("counts", [2, 1]), document.get("max_count", 5000), mistakes)
    data = _data(document.get("data", "digits"), mistakes)
    networks = _networks(document.get("network", "mlp"), mistakes)
    plans = _plans(document.get("optimization", {}), mistakes)
    losses = _losses(document.get("losses", "ce"), counts or [_SOME_COUNTS], mistakes)
    mistakes.raise_any("the sweep")
    axes = (seeds, counts, data, networks, plans, losses)
    total = math.prod(len(axis) for axis in axes)
    if total > MAX_RUNS:
        raise InputError("the sweep", f"must have at most {MAX_RUNS:,} runs", f"{total:,}")
    specs = (
        RunSpec(rule, given, tuple(profile.values.tolist()), samples, network, plan, seed, record_every, smoothing)
        for seed, profile, samples, network, plan, (rule, given, smoothing) in product(*axes)
    )
    return list({spec.key: spec for spec in specs}.values())


def _combinations(axes: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """All ways to take one value of every axis."""
    if math.prod(len(axis) for axis in axes.values()) > MAX_RUNS:
        raise InputError("a grid", f"must have at most {MAX_RUNS:,} runs")
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def _seeds(given: Any, mistakes: Mistakes) -> list[int]:
    seeds: list[int] = []
    if not isinstance(given, list):
        with mistakes.at("seeds"):
            seeds += range(whole_number("seeds", given, minimum=1, maximum=MAX_RUNS))
        return seeds
    for path, item in mistakes.items("seeds", given):
        with mistakes.at(path):
            seeds.append(whole_number("seeds", item))
    return seeds


def _counts(given: Any, max_count: Any, mistakes: Mistakes) -> list[ClassCounts]:
    sizes = []
    for path, size in mistakes.items("max_count", max_count):
        with mistakes.at(path):
            sizes.append(whole_number("max_count", size, minimum=1))
    is_profile = isinstance(given, list) and given and not any(isinstance(item, (str, list)) for item in given)
    found = []
    for path, item in [("counts", given)] if is_profile else mistakes.items("counts", given):
        for largest in (sizes or [_ANY_SIZE]) if isinstance(item, str) else [_ANY_SIZE]:
            with mistakes.at(path):
                found.append(parse_counts(item, max_count=largest) if isinstance(item, str) else ClassCounts(item))
    return found


def _data(given: Any, mistakes: Mistakes) -> list[DataSpec]:
    found = []
    for path, mapping in mistakes.mappings("data", given, "name"):
        for place, name in mistakes.items(f"{path}.name", mapping.get("name", DataSpec.name)):
            with mistakes.at(place):
                _check_data_name(name)
            whole_test_part = {} if name == DataSpec.name else {"test_per_class": None}
            found += _grid(path, {**whole_test_part, **mapping, "name": name}, DataSpec, mistakes)
    return found


def _check_data_name(name: Any) -> None:
    kind, _, path = str(name).partition(":")
    if not (path and kind in ("folder", "features", "gaussian")):
        choice("name", name, (*SOURCES, "folder:PATH", "features:FILE.npz", "gaussian:K"))


def _networks(given: Any, mistakes: Mistakes) -> list[NetworkSpec]:
    found = []
    for path, mapping in mistakes.mappings("network", given, "name"):
        axes = {"name": [NetworkSpec.name]} | {
            key: [item for _, item in mistakes.items(key_path(path, key), value)] for key, value in mapping.items()
        }
        for options in _combinations(axes):
            name = options.pop("name")
            with mistakes.at(path, options):
                check_network(name, options)
                found.append(NetworkSpec(name, options))
    return found


def _plans(given: Any, mistakes: Mistakes) -> list[Optimization]:
    return [
        plan
        for path, mapping in mistakes.mappings("optimization", given)
        for plan in _grid(path, mapping, Optimization, mistakes)
    ]


def _grid(path: str, given: Mapping[str, Any], cls: type[T], mistakes: Mistakes) -> list[T]:
    """All combinations of the values of a dataclass, each value checked by itself."""
    kinds = get_type_hints(cls)
    mistakes.unknown_keys(path, given, kinds)
    axes: dict[str, list[Any]] = {key: [] for key in given if key in kinds}
    for key, values in axes.items():
        for place, item in mistakes.items(key_path(path, key), given[key]):
            with mistakes.at(place):
                values.append(_field(cls, key, item, kinds[key]))
    return [cls(**values) for values in _combinations(axes)]


def _field(cls: type[Any], key: str, value: Any, kind: Any) -> Any:
    """A value of one field, in the one form in which specs with equal values have equal hashes."""
    if kind is bool and not isinstance(value, bool):
        raise InputError(key, "must be true or false", shown(value))
    if kind is str and not isinstance(value, str):
        raise InputError(key, "must be a name", shown(value))
    if value is None:
        if type(None) in get_args(kind):
            return None
        raise InputError(key, "must have a value", "none")
    cls(**{key: value})
    return {bool: bool, str: str, float: float}.get(kind, int)(value)


def _losses(given: Any, counts: Sequence[ClassCounts], mistakes: Mistakes) -> list[Loss]:
    found: list[Loss] = []
    for path, mapping in mistakes.mappings("losses", given, "rule"):
        if "rule" not in mapping:
            mistakes.add(f"{path}.rule", "must be given")
            continue
        smoothings = _smoothings(f"{path}.label_smoothing", mapping.pop("label_smoothing", 0.0), mistakes)
        for place, rule in mistakes.items(f"{path}.rule", mapping.pop("rule")):
            with mistakes.at(place):
                find_rule(rule)
                combinations = _rule_grid(path, rule, mapping, counts, mistakes)
                found += [(rule, values, smoothing) for values, smoothing in product(combinations, smoothings)]
    return found


def _smoothings(path: str, given: Any, mistakes: Mistakes) -> list[float]:
    found = []
    for place, item in mistakes.items(path, given):
        with mistakes.at(place):
            found.append(Problem(_SOME_COUNTS, label_smoothing=item).label_smoothing)
    return found


def _rule_grid(
    path: str, rule: str, given: Mapping[str, Any], counts: Sequence[ClassCounts], mistakes: Mistakes
) -> list[dict[str, Any]]:
    """All combinations of the hyperparameters of a rule, each tried on all counts."""
    parameters = find_rule(rule).hyperparameters()
    kinds = {name: parameter.annotation for name, parameter in parameters.items()}
    required = [name for name, item in parameters.items() if item.default is item.empty and name not in given]
    if mistakes.unknown_keys(path, given, ("rule", *kinds, "label_smoothing")) or required:
        for name in required:
            mistakes.add(key_path(path, name), f"must be given: {rule} needs it")
        return []
    axes: dict[str, list[Any]] = {key: [] for key in given}
    for key, values in axes.items():
        for place, item in mistakes.items(key_path(path, key), given[key]):
            with mistakes.at(place):
                values.append(number(key, item) if kinds[key] is float else item)
    combinations = _combinations(axes)
    for values, profile in product(combinations, counts):
        with mistakes.at(path, given):
            make_parameterization(rule, profile, **values)
    return combinations
