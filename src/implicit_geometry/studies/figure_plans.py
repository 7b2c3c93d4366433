"""Which trainings the paper's figures need: small enough for two cores, or the printed set-up to the letter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from implicit_geometry._validate import InputError, choice
from implicit_geometry.counts import ClassCounts
from implicit_geometry.experiments.spec import DataSpec, NetworkSpec, Optimization, RunSpec
from implicit_geometry.rules import find_rule
from implicit_geometry.studies.demo import PLAN

MODELS = ("ufm", "mlp", "resnet18")
PRINTED_MLP = "mlp-6x2048"
"""The paper's MLP and training to the letter, on the data of either scale."""
SCALES = ("small", "paper")
DATA = ("digits", "mnist", "fashion_mnist", "cifar10")
UFM_EPOCHS = 6000

_UFM_MIN_COUNT = 5
_LARGEST_OF_PRINTED_MLP = 1.0  # beyond, it would be many more hours


class Loss(NamedTuple):
    """A rule and the exponent it is plotted against: gamma, or tau for ``logit_adjusted``; 0 for plain CE."""

    rule: str
    exponent: float


@dataclass(frozen=True)
class FigurePlan:
    """What a figure compares.

    Attributes:
        models: of :data:`MODELS`, what is trained for it.
        rules: besides plain cross-entropy.
        exponents: other than 0, where a rule is plain cross-entropy.
        small_exponents: those of networks at small scale.
        imbalance_ratios: of the majority's to the minority's samples.
        num_classes: k.
        minority_fraction: share of the classes.
        shows_embeddings: whether it shows class-mean embeddings, in one of two frames.
        more_models: what is trained only where it is asked for.
        plain: whether plain cross-entropy stands beside the rules.
    """

    models: tuple[str, ...]
    rules: tuple[str, ...]
    exponents: tuple[float, ...]
    small_exponents: tuple[float, ...]
    imbalance_ratios: tuple[int, ...] = (10,)
    num_classes: int = 10
    minority_fraction: float = 0.5
    shows_embeddings: bool = True
    more_models: tuple[str, ...] = ()
    plain: bool = True

    @property
    def choices(self) -> tuple[str, ...]:
        """All models that can be asked for."""
        return (*self.models, *self.more_models)

    def losses(self, model: str, scale: str) -> list[Loss]:
        """Plain cross-entropy, then every rule at every exponent; the unconstrained-features model has all of them."""
        chosen = self.small_exponents if scale == "small" and model != "ufm" else self.exponents
        if model == PRINTED_MLP:
            chosen = tuple(exponent for exponent in self.small_exponents if abs(exponent) <= _LARGEST_OF_PRINTED_MLP)
        plain = [Loss("ce", 0.0)] if self.plain else []
        return [*plain, *(Loss(rule, exponent) for rule in self.rules for exponent in chosen)]

    def counts(self, imbalance_ratio: int, max_count: int) -> ClassCounts:
        """The profile of an imbalance ratio."""
        return ClassCounts.step(
            num_classes=self.num_classes,
            imbalance_ratio=imbalance_ratio,
            minority_fraction=self.minority_fraction,
            max_count=max_count,
        )

    def ufm_counts(self, imbalance_ratio: int) -> ClassCounts:
        """The profile of the unconstrained-features model: minorities of 5 samples (N = 275 for k = 10, R = 10)."""
        return self.counts(imbalance_ratio, _UFM_MIN_COUNT * imbalance_ratio)


_HALVES = (-1.5, -1.0, -0.5, 0.5, 1.0, 1.5)
_QUARTERS = tuple(step / 4 for step in range(-6, 7) if step)

FIGURES: dict[str, FigurePlan] = {
    "fig1": FigurePlan(
        MODELS,
        ("weighted", "logit_adjusted", "cdt", "ldt"),
        exponents=(-0.5, -0.25, 0.25, 0.5, 0.75, 1.0),
        small_exponents=(-0.5, 0.5, 1.0),
        shows_embeddings=False,
    ),
    "fig2": FigurePlan(
        ("ufm", "mlp"),
        ("ldt", "cdt"),
        exponents=(0.5,),
        small_exponents=(0.5,),
        num_classes=3,
        minority_fraction=2 / 3,
    ),
    "fig3": FigurePlan(MODELS, ("cdt", "ldt"), _QUARTERS, _HALVES, more_models=(PRINTED_MLP,)),
    "fig4": FigurePlan(MODELS, ("cdt", "ldt"), (-0.5, 0.5, 1.0), (-0.5, 0.5, 1.0), imbalance_ratios=(2, 10)),
    "fig5": FigurePlan(("mlp", "resnet18"), ("cdt", "ldt"), _HALVES, _HALVES, shows_embeddings=False),
}

_AS_PRINTED = {
    "fig4": FigurePlan(MODELS, ("cdt",), (0.5, 1.0), (0.5, 1.0), imbalance_ratios=(2, 20), plain=False),
}
"""Plans of the paper's scale that are other ones than those of the small scale."""


def figure_plan(item: str, scale: str) -> FigurePlan:
    """What a figure compares at a scale.

    Raises:
        InputError: a name is unknown.

    Example:
        >>> [figure_plan("fig4", scale).imbalance_ratios for scale in SCALES]
        [(2, 10), (2, 20)]
    """
    plan = FIGURES[choice("item", item, FIGURES)]
    return _AS_PRINTED.get(item, plan) if choice("scale", scale, SCALES) == "paper" else plan


_PAPER_OPTIMIZATION = Optimization(
    epochs=350, batch_size=128, learning_rate=0.1, momentum=0.9, weight_decay=1e-5, schedule="step"
)
_SMALL_RESNET = replace(PLAN, epochs=150, weight_decay=2e-3)
_EPOCHS_ON_MORE = {"mlp": 100, "resnet18": 20}  # at small scale on data sets with more samples than the digits


@dataclass(frozen=True)
class _Setup:
    data: str
    network: NetworkSpec
    optimization: Optimization


_PRINTED_MLP = NetworkSpec("mlp", {"depth": 6, "width": 2048})
_SETUPS: dict[tuple[str, str], _Setup] = {
    ("mlp", "small"): _Setup("digits", NetworkSpec("mlp", {"depth": 3, "width": 256}), PLAN),
    ("resnet18", "small"): _Setup("digits", NetworkSpec("resnet18", {"width": 8}), _SMALL_RESNET),
    (PRINTED_MLP, "small"): _Setup("digits", _PRINTED_MLP, _PAPER_OPTIMIZATION),
    ("mlp", "paper"): _Setup("mnist", _PRINTED_MLP, _PAPER_OPTIMIZATION),
    (PRINTED_MLP, "paper"): _Setup("mnist", _PRINTED_MLP, _PAPER_OPTIMIZATION),
    ("resnet18", "paper"): _Setup("cifar10", NetworkSpec("resnet18"), _PAPER_OPTIMIZATION),
}


def network_specs(
    item: str,
    model: str,
    *,
    scale: str = "small",
    data: str | None = None,
    epochs: int | None = None,
    seeds: Sequence[int] = (0,),
) -> list[RunSpec]:
    """The networks that a figure needs; figures share those they have in common.

    The paper prints no majority size: at paper scale it is 5000 samples per class, the size of CIFAR-10's classes.

    Args:
        item: a name in :data:`FIGURES`.
        model: ``"mlp"`` or ``"resnet18"``, for ``"fig3"`` also :data:`PRINTED_MLP`.
        scale: ``"small"`` or ``"paper"``.
        data: one of :data:`DATA`; the scale's own where left out.
        epochs: instead of the scale's.
        seeds: repetitions.

    Raises:
        InputError: a name is unknown, or the figure does not have the model.

    Example:
        >>> first = network_specs("fig3", "mlp", scale="paper")[0]
        >>> first.rule, first.data.name, first.network.options, first.optimization.weight_decay
        ('ce', 'mnist', {'depth': 6, 'width': 2048}, 1e-05)
    """
    plan = figure_plan(item, scale)
    choice("model", model, [name for name in plan.choices if name != "ufm"])
    setup = _SETUPS[model, scale]
    source = setup.data if data is None else data
    choice("data", source, DATA)
    if scale == "paper" and source == "digits":
        raise InputError("data", "must have 5000 samples per class at paper scale", "digits, which has at most 183")
    usual = setup.optimization.epochs
    if scale == "small" and source != "digits":
        usual = _EPOCHS_ON_MORE.get(model, usual)
    optimization = replace(setup.optimization, epochs=usual if epochs is None else epochs)
    return [
        RunSpec(
            loss.rule,
            _hyperparameters(loss),
            tuple(plan.counts(ratio, _max_count(source, scale)).values.tolist()),
            data=DataSpec(source, test_per_class=None if scale == "paper" else 50),
            network=setup.network,
            optimization=optimization,
            seed=seed,
            record_every=_record_every(optimization.epochs),
        )
        for ratio in plan.imbalance_ratios
        for loss in plan.losses(model, scale)
        for seed in seeds
    ]


def _max_count(data: str, scale: str) -> int:
    """Samples of a majority class."""
    if scale == "paper":
        return 5000
    return 120 if data == "digits" else 600


def _record_every(epochs: int) -> int:
    """About 30 rows per run, the last at its end."""
    return max(step for step in range(1, max(epochs // 30, 1) + 1) if epochs % step == 0)


def _hyperparameters(loss: Loss) -> dict[str, float]:
    return find_rule(loss.rule).at(loss.exponent)
