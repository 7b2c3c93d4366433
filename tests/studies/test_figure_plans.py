"""What the paper's figures ask for: the printed set-up to the letter, and the same in small."""

from __future__ import annotations

import numpy as np
import pytest

from implicit_geometry._validate import InputError
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.training.fit import make_optimizer, make_schedule
from implicit_geometry.experiments.training.train_run import Resources
from implicit_geometry.nn.networks import make_network
from implicit_geometry.studies.figure_plans import (
    FIGURES,
    PRINTED_MLP,
    SCALES,
    UFM_EPOCHS,
    Loss,
    figure_plan,
    network_specs,
)

NETWORKS = [(item, model) for item, plan in FIGURES.items() for model in plan.models if model != "ufm"]


def keys(specs: list[RunSpec]) -> set[str]:
    return {spec.key for spec in specs}


def at_ratio(specs: list[RunSpec], ratio: float) -> list[RunSpec]:
    return [spec for spec in specs if spec.class_counts().imbalance_ratio == ratio]


def test_every_figure_has_the_models_of_the_paper() -> None:
    assert {item: plan.models for item, plan in FIGURES.items()} == {
        "fig1": ("ufm", "mlp", "resnet18"),
        "fig2": ("ufm", "mlp"),
        "fig3": ("ufm", "mlp", "resnet18"),
        "fig4": ("ufm", "mlp", "resnet18"),
        "fig5": ("mlp", "resnet18"),
    }


def test_the_ufm_is_the_papers() -> None:
    counts = FIGURES["fig3"].ufm_counts(10)
    assert (counts.num_samples, UFM_EPOCHS) == (275, 6000)
    assert counts.values.tolist() == [50] * 5 + [5] * 5
    assert FIGURES["fig2"].ufm_counts(10).values.tolist() == [50, 5, 5]


@pytest.mark.parametrize(("model", "data"), [("mlp", "mnist"), ("resnet18", "cifar10")])
def test_paper_scale_is_the_printed_set_up(model: str, data: str) -> None:
    for spec in network_specs("fig3", model, scale="paper"):
        plan = spec.optimization
        assert (plan.epochs, plan.batch_size, plan.learning_rate) == (350, 128, 0.1)
        assert (plan.momentum, plan.weight_decay, plan.schedule) == (0.9, 1e-5, "step")
        assert (spec.data.name, spec.data.augment, spec.network.name) == (data, False, model)
        assert spec.counts == (5000,) * 5 + (500,) * 5


def test_the_papers_rate_is_divided_by_ten_at_116_and_232() -> None:
    (plan,) = {spec.optimization for spec in network_specs("fig1", "mlp", scale="paper")}
    network = make_network("linear", (4,), 2)
    optimizer = make_optimizer(network, plan)
    schedule = make_schedule(optimizer, plan)
    rates = []
    for _ in range(plan.epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.1] * 116 + [0.01] * (232 - 116) + [0.001] * (350 - 232))


def test_the_papers_networks_have_their_sizes_and_a_head_without_bias() -> None:
    mlp, resnet = (
        make_network(spec.network.name, shape, 10, **spec.network.options)
        for spec, shape in (
            (network_specs("fig3", "mlp", scale="paper")[0], (1, 28, 28)),
            (network_specs("fig3", "resnet18", scale="paper")[0], (3, 32, 32)),
        )
    )
    hidden = [layer for layer in mlp.features if hasattr(layer, "in_features")]
    assert [layer.out_features for layer in hidden] == [2048] * 6
    assert (resnet.fc.in_features, mlp.fc.bias, resnet.fc.bias) == (512, None, None)
    assert 11.1e6 < sum(p.numel() for p in resnet.parameters()) < 11.3e6


def test_the_papers_exponents() -> None:
    specs = network_specs("fig3", "mlp", scale="paper")
    for rule in ("cdt", "ldt"):
        given = {spec.hyperparameters["gamma"] for spec in specs if spec.rule == rule} | {0.0}
        assert sorted(given) == np.linspace(-1.5, 1.5, 13).tolist()
    assert [spec.rule for spec in specs].count("ce") == 1
    shifts = [spec for spec in network_specs("fig1", "mlp", scale="paper") if spec.rule == "logit_adjusted"]
    assert {*shifts[0].hyperparameters} == {"tau"}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("item", "model"), NETWORKS)
def test_scales_sum_to_k_and_no_run_stands_twice(item: str, model: str, scale: str) -> None:
    specs = network_specs(item, model, scale=scale, seeds=(0, 1))
    assert len(keys(specs)) == len(specs)
    for spec in specs:
        loss = spec.parameterization()
        assert loss.class_scale.sum() == pytest.approx(FIGURES[item].num_classes)
        assert loss.label_scale.sum() == pytest.approx(FIGURES[item].num_classes)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("model", ["mlp", "resnet18"])
def test_figures_share_their_runs(model: str, scale: str) -> None:
    of = {item: network_specs(item, model, scale=scale) for item in ("fig1", "fig3", "fig4", "fig5")}
    third = keys(of["fig3"])
    assert keys(of["fig5"]) <= third
    assert keys(at_ratio(of["fig4"], 10)) <= third
    assert bool(at_ratio(of["fig4"], 10)) == (scale == "small")
    assert keys([spec for spec in of["fig1"] if spec.rule in ("ce", "cdt", "ldt")]) <= third


@pytest.mark.parametrize(("item", "model"), [pair for pair in NETWORKS if pair[0] != "fig2"])
def test_small_networks_fit_the_digits_and_end_with_a_record(item: str, model: str) -> None:
    source = Resources().source(network_specs(item, model)[0].data)
    there = np.bincount(source.train_labels)
    for spec in network_specs(item, model):
        assert (np.array(spec.counts) + spec.data.test_per_class <= there).all()
        assert spec.optimization.epochs % spec.record_every == 0


def test_other_data_epochs_and_seeds() -> None:
    specs = network_specs("fig5", "mlp", data="mnist", epochs=7, seeds=(3, 4))
    assert {(spec.data.name, max(spec.counts), spec.optimization.epochs) for spec in specs} == {("mnist", 600, 7)}
    assert {spec.seed for spec in specs} == {3, 4}
    assert {spec.record_every for spec in specs} == {1}


def test_more_data_means_fewer_epochs_at_small_scale_only() -> None:
    epochs = [
        {spec.optimization.epochs for spec in network_specs("fig3", "resnet18", scale=scale, data=data)}
        for scale, data in (("small", "digits"), ("small", "mnist"), ("paper", "mnist"))
    ]
    assert epochs == [{150}, {20}, {350}]


def test_fig4_at_paper_scale_is_the_printed_one() -> None:
    assert figure_plan("fig4", "small") == FIGURES["fig4"]
    plan = figure_plan("fig4", "paper")
    assert plan.losses("ufm", "paper") == plan.losses("mlp", "paper") == [Loss("cdt", 0.5), Loss("cdt", 1.0)]
    specs = network_specs("fig4", "resnet18", scale="paper")
    found = {(spec.class_counts().imbalance_ratio, spec.rule, spec.hyperparameters["gamma"]) for spec in specs}
    assert found == {(ratio, "cdt", gamma) for ratio in (2, 20) for gamma in (0.5, 1.0)}
    assert {max(spec.counts) for spec in specs} == {5000}
    assert plan.ufm_counts(20).values.tolist() == [100] * 5 + [5] * 5


def test_the_printed_mlp_on_the_data_of_the_small_one() -> None:
    small, printed = (network_specs("fig3", model, data="mnist") for model in ("mlp", PRINTED_MLP))
    (paper,) = {spec.optimization for spec in network_specs("fig3", "mlp", scale="paper")}
    for spec in printed:
        assert (spec.network.name, spec.network.options) == ("mlp", {"depth": 6, "width": 2048})
        assert spec.optimization == paper
        assert spec.counts == (600,) * 5 + (60,) * 5
    losses = {(spec.rule, spec.hyperparameters.get("gamma", 0.0)) for spec in printed}
    assert losses == {("ce", 0.0), *((rule, gamma) for rule in ("cdt", "ldt") for gamma in (-1.0, -0.5, 0.5, 1.0))}
    beside = {(spec.rule, spec.hyperparameters.get("gamma", 0.0), spec.counts) for spec in small}
    assert {(rule, gamma, printed[0].counts) for rule, gamma in losses} <= beside
    assert not keys(small) & keys(printed)
    assert FIGURES["fig3"].models == ("ufm", "mlp", "resnet18")  # trained only where it is asked for


def test_the_ufm_has_all_exponents_at_small_scale() -> None:
    plan = FIGURES["fig3"]
    assert len(plan.losses("ufm", "small")) == len(plan.losses("mlp", "paper")) == 25
    assert len(plan.losses("mlp", "small")) == 13
    assert plan.losses("ufm", "small")[0] == Loss("ce", 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"item": "fig6"}, "item must be one of"),
        ({"model": "resnet"}, "did you mean 'resnet18'"),
        ({"model": "ufm"}, "model must be one of mlp, resnet18"),
        ({"item": "fig1", "model": PRINTED_MLP}, "model must be one of mlp, resnet18"),
        ({"scale": "huge"}, "scale must be one of"),
        ({"data": "cifar100"}, "data must be one of"),
        ({"data": "digits", "scale": "paper"}, "5000 samples per class"),
        ({"epochs": 0}, "epochs must be"),
    ],
)
def test_mistakes(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        network_specs(**{"item": "fig3", "model": "mlp", **arguments})  # type: ignore[arg-type]
