"""A spec in words: one function for each text that tables, figures, pages and messages show of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import lru_cache
from typing import Any

import numpy as np

from implicit_geometry._validate import InputError
from implicit_geometry.counts import ClassCounts
from implicit_geometry.experiments.spec import DataSpec, NetworkSpec, Optimization, RunSpec
from implicit_geometry.rules import find_rule


def exponent(spec: RunSpec) -> float:
    """The value of the hyperparameter a rule is plotted against; 0 for plain cross-entropy."""
    return find_rule(spec.rule).value(spec.hyperparameters)


def variant(spec: RunSpec) -> str:
    """The other hyperparameters of a rule where they differ from their defaults.

    Example:
        >>> variant(RunSpec("vs", {"gamma": 0.5, "tau": 0.25}, counts=(100, 10)))
        'tau 0.25'
        >>> variant(RunSpec("vs", {"gamma": 0.5, "tau": 1.0}, counts=(100, 10)))
        ''
    """
    rule = find_rule(spec.rule)
    usual = rule.hyperparameter_defaults()
    given = {
        name: value
        for name, value in spec.hyperparameters.items()
        if name != rule.exponent and value != usual.get(name)
    }
    return ", ".join(f"{name} {_short(value)}" for name, value in sorted(given.items()))


@lru_cache
def profile_text(counts: tuple[int, ...]) -> str:
    """Class counts in a few words.

    Example:
        >>> profile_text((120, 120, 12, 12)), profile_text((5,) * 10), profile_text((90, 30, 10))
        ('step:4,10 of 120', '10 x 5', 'exp:3,9 of 90')
    """
    values = ClassCounts(counts).values
    k, largest, smallest = values.size, int(values[0]), int(values[-1])
    ratio = largest / smallest
    if (values == largest).all():
        return f"{k} x {largest}"
    minorities = int(np.count_nonzero(values == smallest))
    if (np.sort(values)[::-1] == values).all() and minorities + np.count_nonzero(values == largest) == k:
        fraction = "" if 2 * minorities == k else f",{minorities / k:.3g}"
        return f"step:{k},{ratio:.4g}{fraction} of {largest}"
    if _is_exponential(values, ratio, largest):
        return f"exp:{k},{ratio:.4g} of {largest}"
    return f"{k} classes of {values.min()} to {values.max()}"


def data_text(data: DataSpec) -> str:
    """A data set and what is not as usual about it.

    Example:
        >>> data_text(DataSpec()), data_text(DataSpec("mnist", test_per_class=None, augment=True))
        ('digits', 'mnist (augment)')
    """
    return _with_options(data.name, _unusual(data))


def network_text(network: NetworkSpec, *, bias: bool = False) -> str:
    """A network and its options, and whether its head has a bias, which a user's own network alone can tell.

    Example:
        >>> network_text(NetworkSpec("mlp", {"depth": 6, "width": 2048}))
        'mlp (depth 6, width 2048)'
        >>> network_text(NetworkSpec("my_networks:build"), bias=True)
        'my_networks:build, head with a bias'
    """
    return _with_options(network.name, network.options) + (", head with a bias" if bias else "")


def optimization_text(plan: Optimization) -> str:
    """How a run was trained.

    Example:
        >>> optimization_text(Optimization())
        '300 epochs, batch 128, rate 0.1 (cosine), momentum 0.9, weight decay 0.0005'
    """
    precision = "" if plan.precision == "32-true" else f", {plan.precision}"
    return (
        f"{plan.epochs} epochs, batch {plan.batch_size}, rate {plan.learning_rate:g} ({plan.schedule}), "
        f"momentum {plan.momentum:g}, weight decay {plan.weight_decay:g}{precision}"
    )


def loss_text(spec: RunSpec) -> str:
    """A loss as one writes it: rule, hyperparameters and smoothing.

    Example:
        >>> loss_text(RunSpec("vs", {"gamma": 0.5, "tau": 1.0}, counts=(20, 2)))
        'vs gamma=0.5, tau=1'
        >>> loss_text(RunSpec("ce", {}, counts=(20, 2), label_smoothing=0.1))
        'ce, labels smoothed by 0.1'
    """
    given = ", ".join(f"{name}={_short(value)}" for name, value in spec.hyperparameters.items())
    return f"{spec.rule} {given}".strip() + _after_comma(smoothing_text(spec))


def smoothing_text(spec: RunSpec) -> str:
    """That the labels are smoothed; empty where they are not.

    Example:
        >>> smoothing_text(RunSpec("ce", {}, counts=(20, 2), label_smoothing=0.1))
        'labels smoothed by 0.1'
    """
    return labels_text(spec.label_smoothing) if spec.label_smoothing else ""


def labels_text(label_smoothing: float) -> str:
    """What kind of labels a smoothing makes.

    Example:
        >>> labels_text(0.0), labels_text(0.1)
        ('hard labels', 'labels smoothed by 0.1')
    """
    return f"labels smoothed by {label_smoothing:g}" if label_smoothing else "hard labels"


def loss_name(rule: str, value: float) -> str:
    """A loss at a value of its exponent, as figures call it.

    Example:
        >>> loss_name("ce", 0.0), loss_name("cdt", -0.5)
        ('CE', 'CDT −0.5')
    """
    label = find_rule(rule).label
    return label if rule == "ce" else f"{label} {value:g}".replace("-", "−")


def series_title(rule: str, variant: str) -> str:
    """A rule and its variant as a legend shows them.

    Example:
        >>> series_title("vs", "tau 0.5"), series_title("cdt", "")
        ('VS (tau 0.5)', 'CDT')
    """
    label = find_rule(rule).label
    return f"{label} ({variant})" if variant else label


def run_title(spec: RunSpec) -> str:
    """A run among those of its setting, as a heading.

    Example:
        >>> run_title(RunSpec("ldt", {"gamma": 0.5}, counts=(90, 10), seed=3))
        'LDT, γ = 0.5, seed 3'
    """
    rule = find_rule(spec.rule)
    value = f", {rule.symbol or rule.exponent} = {exponent(spec):g}" if rule.exponent else ""
    smoothing = _after_comma(smoothing_text(spec))
    return f"{series_title(spec.rule, variant(spec))}{value}{smoothing}, seed {spec.seed}"


def run_text(spec: RunSpec) -> str:
    """A run among any others, in a message: loss, seed, data, network and key.

    Example:
        >>> run_text(RunSpec("ce", {}, counts=(20, 2))).startswith("ce, seed 0, digits, mlp (")
        True
    """
    return f"{loss_text(spec)}, seed {spec.seed}, {spec.data.name}, {spec.network.name} ({spec.key})"


def varying_settings(specs: Sequence[RunSpec]) -> list[str]:
    """Names of the settings in which specs differ, besides loss and seed."""
    rows = [_settings(spec) for spec in specs]
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if len({str(row.get(name)) for row in rows}) > 1]


def setting_texts(spec: RunSpec, names: Sequence[str]) -> list[str]:
    """Some settings of a spec, by the names that :func:`varying_settings` gives."""
    settings = _settings(spec)
    return [str(settings.get(name, "")) for name in names]


def _settings(spec: RunSpec) -> dict[str, Any]:
    data, plan = asdict(spec.data), asdict(spec.optimization)
    network = {"network": spec.network.name, **spec.network.options}
    described = {"data": data.pop("name"), "counts": profile_text(spec.counts), **data, **network, **plan}
    return {**described, "label smoothing": spec.label_smoothing}


def _is_exponential(values: Any, ratio: float, largest: int) -> bool:
    try:
        same = ClassCounts.exponential(num_classes=values.size, imbalance_ratio=ratio, max_count=largest)
    except InputError:
        return False
    return bool((same.values == values).all())


def _unusual(data: DataSpec) -> dict[str, Any]:
    """The options that are set and differ from their defaults."""
    options = {item.name: (getattr(data, item.name), item.default) for item in fields(data) if item.name != "name"}
    return {name: value for name, (value, usual) in options.items() if value is not None and value != usual}


def _with_options(name: str, options: dict[str, Any]) -> str:
    texts = [option if value is True else f"{option} {_short(value)}" for option, value in options.items()]
    return f"{name} ({', '.join(texts)})" if texts else name


def _after_comma(text: str) -> str:
    return f", {text}" if text else ""


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
