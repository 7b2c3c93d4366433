"""The study of what to read off a trained network: its runs, its corrections, its table."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from scipy.special import softmax

import implicit_geometry as ig
from implicit_geometry.data.source import Source
from implicit_geometry.experiments.spec import DataSpec, NetworkSpec, Optimization, RunSpec
from implicit_geometry.experiments.store import open_store
from implicit_geometry.experiments.training.train_run import Resources, split_of, train_run
from implicit_geometry.nn import make_network
from implicit_geometry.rules import RULES
from implicit_geometry.studies import accuracy
from implicit_geometry.studies.logits_at_test import (
    LOSSES,
    MEASURES,
    METHODS,
    PRIORS,
    corrections,
    logit_rows,
    logit_table,
    samples_of_prior,
    study_specs,
)


class TestSpecs:
    def test_every_rule_and_seed(self):
        specs = study_specs("mnist")
        assert {spec.rule for spec in specs} == set(RULES)
        assert len({spec.key for spec in specs}) == len(specs) == len(LOSSES) * 5
        assert all(spec.data.validation_per_class > 0 for spec in specs)

    def test_they_are_among_the_runs_of_the_accuracy_study(self):
        known = {spec.key for spec in accuracy.study_specs("mnist")}
        assert {spec.key for spec in study_specs("mnist")} <= known

    def test_image_folders_are_learnt_by_a_residual_network(self):
        (spec, *_) = study_specs("folder:pictures", seeds=[0])
        assert (spec.data.name, spec.network.name) == ("folder:pictures", "resnet18")

    def test_another_data_set_is_refused(self):
        with pytest.raises(ig.InputError, match=r"^data must be one of digits, mnist, cifar10 or folder:PATH"):
            study_specs("imagenet")


def test_a_prior_is_drawn_from_balanced_samples():
    labels = np.repeat(np.arange(3), 50)
    chosen = samples_of_prior(labels, np.array([0.8, 0.16, 0.04]))
    assert np.bincount(labels[chosen]).tolist() == [50, 10, 2]
    assert len(set(chosen.tolist())) == len(chosen)
    assert len(samples_of_prior(labels, np.ones(3) / 3)) == 150


def spec_of(rule="vs", **given):
    return RunSpec(
        rule,
        given or {"gamma": 0.2},
        (60, 20, 6),
        DataSpec("three", 20, 20),
        NetworkSpec("mlp", {"depth": 1, "width": 8}),
        Optimization(epochs=3, batch_size=16),
    )


class TestCorrections:
    def test_each_method_is_the_correction_of_its_name(self):
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 3, 90)
        logits = 2 * np.eye(3)[labels] + 2 * rng.normal(size=(90, 3))
        spec = spec_of()
        counts, loss = spec.class_counts(), spec.parameterization()
        for prior in PRIORS:
            found = corrections(spec, logits, labels, prior)
            assert list(found) == list(METHODS)
            assert found["plain"] is None
            link = ig.logit_correction(counts, loss, prior)
            np.testing.assert_array_equal(found["link"].apply(logits), link.apply(logits))
            for method, parameterization in (("fitted plain", None), ("fitted link", loss)):
                fitted = ig.fit_logit_correction(logits, labels, counts, prior, parameterization=parameterization)
                assert (found[method].tau, found[method].temperature) == (fitted.tau, fitted.temperature)

    def test_what_cannot_be_fitted_is_left_out(self):
        found = corrections(spec_of(), 9 * np.eye(3), np.arange(3), "balanced")
        assert list(found) == ["plain", "link"]


class Sources(Resources):
    def source(self, spec):
        rng = np.random.default_rng(0)
        labels = np.repeat(np.arange(3), 120)
        pixels = 60 * np.eye(4)[labels] + 150 * rng.random((360, 4))
        return Source("three", pixels.reshape(360, 1, 2, 2).astype(np.uint8), labels, None, None, ("a", "b", "c"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    store, specs = open_store(tmp_path_factory.mktemp("runs")), [spec_of(), spec_of("ldt", gamma=0.5)]
    for spec in specs:
        store.save(train_run(spec, resources=Sources()))
    return store, specs


def test_rows_are_what_the_stored_networks_say_of_their_test_samples(trained):
    store, specs = trained
    rows = logit_rows(store, specs, Sources())
    assert len(rows) == len(specs) * len(PRIORS) * len(METHODS)
    spec = specs[0]
    data = split_of(spec, Sources().source(spec.data))
    network = make_network("mlp", data.input_shape, 3, depth=1, width=8)
    network.load_state_dict({name: torch.tensor(array) for name, array in store.weights(spec).items()})
    inputs = torch.stack([data.test[i][0] for i in range(len(data.test))])
    logits = network.eval()(inputs).detach().double().numpy()
    row = rows[(rows["rule"] == "vs") & (rows["prior"] == "balanced")].set_index("method")
    assert row.loc["plain", "accuracy"] == pytest.approx(np.mean(logits.argmax(1) == data.test_labels))
    linked = softmax(spec.parameterization().class_scale * logits, axis=1)  # VS with tau = 1, for balanced data
    likelihood = linked[np.arange(len(linked)), data.test_labels]
    assert row.loc["link", "nll"] == pytest.approx(-np.log(likelihood).mean(), rel=1e-6)
    assert np.isnan(row.loc["plain", "tau"])


def test_a_run_without_held_out_samples_is_refused(trained):
    store, (spec, _) = trained
    from dataclasses import replace

    bare = replace(spec, data=replace(spec.data, validation_per_class=0))
    store.save(train_run(bare, resources=Sources()))
    with pytest.raises(ig.InputError, match=r"^specs must hold out validation samples"):
        logit_rows(store, [bare], Sources())


def test_the_table_has_means_and_students_intervals():
    values = [0.8, 0.9, 0.7]
    rows = pd.DataFrame(
        {"data": "a", "prior": "balanced", "rule": "ce", "method": "link", "seed": seed, "tau": 1.0, "temperature": 2.0}
        | dict.fromkeys(MEASURES, value)
        for seed, value in enumerate(values)
    )
    (row,) = logit_table(rows).to_dict("records")
    interval = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    for name in MEASURES:
        assert row[name] == pytest.approx(0.8)
        assert row[f"{name}_half"] == pytest.approx((interval[1] - interval[0]) / 2)
    assert (row["runs"], row["tau"], row["temperature"]) == (3, 1.0, 2.0)
