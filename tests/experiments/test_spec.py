import json
from dataclasses import replace

import pytest

from implicit_geometry import InputError, cdt
from implicit_geometry.experiments.spec import Optimization, TrialSpec

SPEC = TrialSpec("cdt", {"gamma": 0.5}, counts=(20, 2), seed=3)


def test_round_trip_through_json():
    assert TrialSpec.from_dict(json.loads(json.dumps(SPEC.to_dict()))) == SPEC


def test_key_names_the_content():
    assert SPEC.key == replace(SPEC).key
    others = [
        replace(SPEC, seed=4),
        replace(SPEC, counts=(20, 3)),
        replace(SPEC, hyperparameters={"gamma": 0.25}),
        replace(SPEC, rule="ldt"),
        replace(SPEC, optimization=Optimization(epochs=7)),
    ]
    assert len({SPEC.key, *(other.key for other in others)}) == 6


def test_parameterization_is_that_of_the_rule():
    assert SPEC.parameterization() == cdt([20, 2], gamma=0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "ctd"}, "did you mean 'cdt'"),
        ({"hyperparameters": {"gama": 1.0}}, "gama"),
        ({"counts": (20, 0)}, "counts must be at least 1"),
        ({"seed": -1}, "seed must be"),
        ({"depth": 0}, "depth must be"),
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
    "break_it", [lambda d: d.pop("seed"), lambda d: d.update(extra=1), lambda d: d.update(optimization=None)]
)
def test_documents_with_other_keys_are_refused(break_it):
    document = SPEC.to_dict()
    break_it(document)
    with pytest.raises(InputError, match="must have the keys"):
        TrialSpec.from_dict(document)
