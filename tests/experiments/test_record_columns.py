"""Runs as a table, and everything of a folder in one look."""

import json

import numpy as np
import pandas as pd
import pytest

from implicit_geometry import InputError
from implicit_geometry.experiments.record_columns import DESCRIPTION, records_frame
from implicit_geometry.experiments.run import Failure, TrainedRun
from implicit_geometry.experiments.spec import DataSpec, NetworkSpec, Optimization, RunSpec
from implicit_geometry.experiments.spec_texts import exponent, profile_text, variant
from implicit_geometry.experiments.store import existing_store, open_store

COUNTS = (20, 2)
SPEC = RunSpec("cdt", {"gamma": 0.5}, counts=COUNTS)


def finished(spec: RunSpec, **record) -> TrainedRun:
    return TrainedRun(spec, {"run": spec.key, "terminal_phase": True, **record}, {"classifier": np.eye(2)})


@pytest.mark.parametrize(
    ("rule", "given", "expected"),
    [
        ("ce", {}, (0.0, "")),
        ("weighted", {}, (1.0, "")),
        ("cdt", {"gamma": -0.5}, (-0.5, "")),
        ("cdt", {"gamma": 0.5, "normalize": "max"}, (0.5, "normalize max")),
        ("vs", {"gamma": 0.25}, (0.25, "")),
        ("vs", {"gamma": 0.25, "tau": 0.5}, (0.25, "tau 0.5")),
        ("ldam", {"max_margin": 0.3, "scale": 30.0}, (0.3, "scale 30")),
    ],
)
def test_a_loss_is_an_exponent_and_a_variant(rule, given, expected):
    spec = RunSpec(rule, given, counts=COUNTS)
    assert (exponent(spec), variant(spec)) == expected


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ((50, 50, 50), "3 x 50"),
        ((100, 100, 100, 10), "step:4,10,0.25 of 100"),
        ((500, 50, 5), "exp:3,100 of 500"),
        ((10, 100), "2 classes of 10 to 100"),
        ((100, 73, 10), "3 classes of 10 to 100"),
    ],
)
def test_class_counts_in_words(counts, text):
    assert profile_text(counts) == text


def test_runs_of_several_sweeps_can_be_told_apart():
    others = [
        RunSpec("cdt", {"gamma": 0.5}, counts=(30, 3)),
        RunSpec("cdt", {"gamma": 0.5}, counts=COUNTS, data=DataSpec("mnist", test_per_class=None)),
        RunSpec("cdt", {"gamma": 0.5}, counts=COUNTS, network=NetworkSpec("mlp", {"width": 64})),
        RunSpec("cdt", {"gamma": 0.5}, counts=COUNTS, optimization=Optimization(epochs=2)),
        RunSpec("cdt", {"gamma": 0.5}, counts=COUNTS, label_smoothing=0.1),
    ]
    table = records_frame([finished(spec) for spec in (SPEC, *others)])
    assert len(table[[*DESCRIPTION]].drop_duplicates()) == 6
    assert table.loc[0, ["num_classes", "num_samples", "imbalance_ratio"]].tolist() == [2, 22, 10.0]
    assert [RunSpec.from_dict(json.loads(text)) for text in table["spec"]] == [SPEC, *others]


def test_numbers_a_record_lacks_are_nan():
    other = RunSpec("ce", {}, counts=COUNTS)
    table = records_frame([finished(SPEC, test_few=None, test_many=0.5), finished(other, test_few=None)])
    assert table["test_few"].dtype == float
    assert table["test_few"].isna().all()
    assert table["test_many"].isna().tolist() == [False, True]


def test_a_look_at_a_folder_tells_good_failed_and_damaged_apart(tmp_path):
    store = open_store(tmp_path / "runs")
    damaged = RunSpec("ldt", {"gamma": 0.5}, counts=COUNTS)
    failed = RunSpec("ldt", {"gamma": 9.0}, counts=COUNTS)
    for spec in (SPEC, damaged):
        store.save(finished(spec))
    store.fail(Failure(failed, "it diverged", final=True))
    (store.place(damaged) / "record.json").write_text("{")
    (store.folder / "failed" / "torn.json").write_text("{")
    contents = existing_store(store.folder).contents()
    assert [run.spec for run in contents.runs] == [SPEC]
    assert [(failure.spec, failure.reason) for failure in contents.failures] == [(failed, "it diverged")]
    assert len(contents.damaged) == 2
    assert damaged.key in contents.damaged[0]
    assert "torn.json" in contents.damaged[1]


def test_looking_writes_nothing_and_refuses_other_folders(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match="results must be in a folder made by igeom, got"):
            existing_store(folder)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_gives_an_empty_table():
    assert records_frame([]).equals(pd.DataFrame())
