"""Which networks the study of laws trains: normalisations, labels, losses and imbalance, with everything else equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from implicit_geometry._validate import InputError
from implicit_geometry.counts import ClassCounts
from implicit_geometry.experiments.spec import DataSpec, NetworkSpec, Optimization, RunSpec

SMOOTHINGS = (0.0, 0.1)
"""Of the labels."""

_Loss = tuple[str, dict[str, float]]
MAIN_LOSSES: tuple[_Loss, ...] = (("ce", {}), ("ldt", {"gamma": 0.5}), ("cdt", {"gamma": 0.5}))
"""Those that are trained at every imbalance ratio and with every seed."""

_OTHER_LOSSES: tuple[_Loss, ...] = (
    *((rule, {"gamma": gamma}) for rule in ("ldt", "cdt") for gamma in (-0.5, 1.0)),
    ("logit_adjusted", {"tau": 1.0}),
    ("weighted", {"gamma": 1.0}),
    ("vs", {"gamma": 0.5, "tau": 1.0}),
)
_OTHER_SEEDS = 3


@dataclass(frozen=True)
class StudyNetwork:
    """A network of the study.

    Attributes:
        normalization: ``"batch"``, ``"layer"`` or ``"none"``.
        features: of its embeddings, as :class:`implicit_geometry.problem.Problem` has them: ``"nonnegative"`` where
            they are outputs of a ReLU.
        network: what is trained.
        optimization: how.
    """

    normalization: str
    features: str
    network: NetworkSpec
    optimization: Optimization


@dataclass(frozen=True)
class Bench:
    """A data set of the study, and what is trained on it.

    Attributes:
        data: test samples of every class included; every seed gives the counts to the classes in an order of its own.
        max_count: samples of a majority class; fewer where they are no multiple of the imbalance ratio.
        networks: by their normalisation.
        main_ratio: imbalance ratio at which all losses are trained.
        other_ratios: those of the main losses alone.
        losses: trained at ``main_ratio`` besides the main ones, with up to three seeds.
        seeds: repetitions of the main losses.
    """

    data: DataSpec
    max_count: int
    networks: tuple[StudyNetwork, ...]
    main_ratio: int = 10
    other_ratios: tuple[int, ...] = (2, 100)
    losses: tuple[_Loss, ...] = _OTHER_LOSSES
    seeds: int = 5

    def counts(self, ratio: int) -> ClassCounts:
        """Five majority and five minority classes, in whole samples."""
        whole = self.max_count // ratio * ratio
        return ClassCounts.step(num_classes=10, imbalance_ratio=ratio, max_count=whole)


def _mlps(optimization: Optimization) -> tuple[StudyNetwork, ...]:
    return tuple(
        StudyNetwork(name, "nonnegative", NetworkSpec("mlp", {"normalization": name}), optimization)
        for name in ("batch", "layer", "none")
    )


_ON_IMAGES = Optimization(epochs=60, batch_size=64, weight_decay=5e-4)
_TRANSFORMER = NetworkSpec(
    "timm:vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8, "embed_dim": 96, "depth": 4, "num_heads": 3}
)
_IMAGES = Bench(
    DataSpec("images", 100, class_order="seed"),
    500,
    (
        StudyNetwork("batch", "nonnegative", NetworkSpec("resnet18", {"width": 8}), _ON_IMAGES),
        StudyNetwork("layer", "free", _TRANSFORMER, replace(_ON_IMAGES, epochs=240, learning_rate=0.05)),
    ),
    other_ratios=(),
    losses=(("logit_adjusted", {"tau": 1.0}),),
    seeds=2,
)
_BENCHES = {
    "digits": Bench(
        DataSpec("digits", 50, class_order="seed"),
        120,
        _mlps(Optimization(epochs=400, batch_size=64, weight_decay=1e-3)),
    ),
    "mnist": Bench(
        DataSpec("mnist", 200, class_order="seed"),
        600,
        _mlps(Optimization(epochs=75, batch_size=64, weight_decay=1e-3)),
    ),
}


def bench_of(data: str) -> Bench:
    """What is trained on a data set.

    Args:
        data: ``"digits"``, ``"mnist"`` or ``"folder:PATH"``, images on which a thin ResNet18 and a small vision
            transformer are trained.

    Raises:
        InputError: another one.
    """
    if data.startswith("folder:"):
        return replace(_IMAGES, data=replace(_IMAGES.data, name=data))
    if data not in _BENCHES:
        raise InputError("data", f"must be one of {', '.join(_BENCHES)} or folder:PATH", repr(data))
    return _BENCHES[data]


def data_title(data: str) -> str:
    """The name of a data set, or of the folder that it lies in.

    Example:
        >>> data_title("mnist"), data_title("folder:pictures/birds")
        ('mnist', 'birds')
    """
    return PurePath(data.partition(":")[2] or data).name


def study_specs(data: str, *, seeds: int | None = None) -> list[RunSpec]:
    """All runs on one data set.

    Args:
        data: as :func:`bench_of` takes it.
        seeds: repetitions of the main losses; those of the data set where left out.

    Raises:
        InputError: another data set.

    Example:
        >>> runs = study_specs("digits")
        >>> len(runs), len({spec.key for spec in runs})
        (396, 396)
    """
    bench = bench_of(data)
    runs = []
    for seed in range(bench.seeds if seeds is None else seeds):
        for ratio in (bench.main_ratio, *bench.other_ratios):
            for rule, given in _losses(bench, ratio, seed):
                for smoothing in SMOOTHINGS:
                    runs += [_spec(bench, each, ratio, rule, given, seed, smoothing) for each in bench.networks]
    return runs


def _losses(bench: Bench, ratio: int, seed: int) -> Sequence[_Loss]:
    others = bench.losses if ratio == bench.main_ratio and seed < _OTHER_SEEDS else ()
    return (*MAIN_LOSSES, *others)


def _spec(
    bench: Bench, trained: StudyNetwork, ratio: int, rule: str, given: dict[str, float], seed: int, smoothing: float
) -> RunSpec:
    counts = tuple(bench.counts(ratio).values.tolist())
    return RunSpec(
        rule, given, counts, bench.data, trained.network, trained.optimization, seed, label_smoothing=smoothing
    )
