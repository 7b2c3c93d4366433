import json
from dataclasses import replace

import pytest

from implicit_geometry import InputError, cdt
from implicit_geometry.experiments.spec import DataSpec, NetworkSpec, Optimization, RunSpec
from implicit_geometry.experiments.spec_texts import loss_text, run_text, run_title, setting_texts, varying_settings

SPEC = RunSpec("cdt", {"gamma": 0.5}, counts=(20, 2), seed=3)


def test_round_trip_through_json():
    assert RunSpec.from_dict(json.loads(json.dumps(SPEC.to_dict()))) == SPEC


def test_key_names_the_content():
    assert SPEC.key == replace(SPEC).key
    others = [
        replace(SPEC, seed=4),
        replace(SPEC, counts=(20, 3)),
        replace(SPEC, hyperparameters={"gamma": 0.25}),
        replace(SPEC, rule="ldt"),
        replace(SPEC, optimization=Optimization(epochs=7)),
        replace(SPEC, data=DataSpec("mnist")),
        replace(SPEC, network=NetworkSpec("mlp", {"depth": 2})),
        replace(SPEC, record_every=1),
        replace(SPEC, label_smoothing=0.1),
        replace(SPEC, label_smoothing=0.2),
    ]
    assert len({SPEC.key, *(other.key for other in others)}) == 11


def test_keys_stay_what_they_were():
    """They name the folders of results on disks."""
    assert RunSpec("cdt", {"gamma": 0.5}, counts=(100, 10)).key == "f8bf2ce011dc5b25"
    wide = NetworkSpec("resnet18", {"width": 8})
    assert RunSpec("ce", {}, (40, 40, 4), network=wide, record_every=5).key == "284f39b9d15a8105"


@pytest.mark.parametrize("smoothing", [0, 0.0, -0.0])
def test_specs_of_hard_labels_are_what_they_were_before_labels_could_be_smoothed(smoothing):
    spec = RunSpec("cdt", {"gamma": 0.5}, counts=(100, 10), label_smoothing=smoothing)
    assert spec.key == "f8bf2ce011dc5b25"
    assert "label_smoothing" not in spec.to_dict()
    assert RunSpec.from_dict({**spec.to_dict(), "label_smoothing": smoothing}) == spec


def test_smoothed_labels_are_part_of_the_document_and_of_the_problem():
    spec = replace(SPEC, label_smoothing=0.1)
    assert spec.to_dict() == {**SPEC.to_dict(), "label_smoothing": 0.1}
    assert RunSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    for bias in (False, True):
        assert spec.problem(bias=bias) == replace(SPEC.problem(bias=bias), label_smoothing=0.1)


def test_texts_say_that_labels_are_smoothed():
    spec = replace(SPEC, label_smoothing=0.1)
    assert loss_text(spec) == "cdt gamma=0.5, labels smoothed by 0.1"
    assert run_title(spec) == "CDT, γ = 0.5, labels smoothed by 0.1, seed 3"
    assert "labels smoothed by 0.1" in run_text(spec)
    assert "smoothed" not in loss_text(SPEC) + run_title(SPEC) + run_text(SPEC)
    assert varying_settings([SPEC, spec]) == ["label smoothing"]
    assert setting_texts(spec, ["label smoothing"]) == ["0.1"]


def test_the_order_of_the_classes_is_in_the_key_where_the_seed_draws_it():
    drawn = replace(SPEC, counts=(20, 9, 5, 2), data=DataSpec(class_order="seed"))
    as_in_data = replace(drawn, data=DataSpec())
    assert "class_order" not in as_in_data.to_dict()["data"]
    assert drawn.key != as_in_data.key
    for spec in (drawn, as_in_data):
        assert RunSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert as_in_data.class_order().tolist() == [0, 1, 2, 3]
    orders = {tuple(replace(drawn, seed=seed).class_order().tolist()) for seed in range(200)}
    assert len(orders) == 24
    with pytest.raises(InputError, match="class_order must be one of data, seed"):
        DataSpec(class_order="random")


def test_parameterization_is_that_of_the_rule():
    assert SPEC.parameterization() == cdt([20, 2], gamma=0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "ctd"}, "did you mean 'cdt'"),
        ({"hyperparameters": [1]}, "hyperparameters must be names with values"),
        ({"hyperparameters": {"gama": 1.0}}, "gama"),
        ({"counts": (20, 0)}, "counts must be at least 1"),
        ({"seed": -1}, "seed must be"),
        ({"record_every": -1}, "record_every must be"),
        ({"label_smoothing": 1.0}, "label_smoothing must be below 1"),
        ({"label_smoothing": -0.1}, "label_smoothing must be a finite number"),
        ({"label_smoothing": float("nan")}, "label_smoothing must be a finite number"),
        ({"label_smoothing": "0.1"}, "label_smoothing must be a number"),
        ({"label_smoothing": None}, "label_smoothing must be a number"),
    ],
)
def test_bad_specs_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        replace(SPEC, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 1}, "batch_size"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"weight_decay": -1e-3}, "weight_decay"),
        ({"momentum": float("nan")}, "momentum"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
    ],
)
def test_bad_optimization_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        Optimization(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_per_class": 0}, "test_per_class"),
        ({"validation_per_class": -1}, "validation_per_class"),
        ({"image_size": 0}, "image_size"),
        ({"name": 5}, "name must be a text, got 5"),
        ({"augment": "yes"}, "augment must be true or false"),
    ],
)
def test_bad_data_specs_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        DataSpec(**change)


@pytest.mark.parametrize(
    "break_it", [lambda d: d.pop("seed"), lambda d: d.update(extra=1), lambda d: d.update(optimization=None)]
)
def test_documents_with_other_keys_are_refused(break_it):
    document = SPEC.to_dict()
    break_it(document)
    with pytest.raises(InputError, match="must have the keys"):
        RunSpec.from_dict(document)
