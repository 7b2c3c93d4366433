"""The comparison that ``make faults`` rests on finds what it is there to find."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from faults.stores import differences, tree_digest
from implicit_geometry.experiments.run import Failure, TrainedRun
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.store import open_store

SPECS = [RunSpec("cdt", {"gamma": gamma}, counts=(20, 2)) for gamma in (0.25, 0.5)]


def run(spec, seconds=1.0):
    history = [{"epoch": 1, "train_loss": 0.5, "seconds": seconds}]
    record = {"run": spec.key, "nc1": 0.1, "seconds": seconds, "training_seconds": seconds}
    arrays = {"classifier": np.eye(2), "embedding": np.eye(2)}
    return TrainedRun(spec, record, arrays, history, {"fc.weight": np.eye(2, dtype=np.float32)})


@pytest.fixture
def pair(tmp_path):
    stores = [open_store(tmp_path / name) for name in ("found", "reference")]
    for seconds, store in enumerate(stores):
        for spec in SPECS:
            store.save(run(spec, 1.0 + seconds))
    return stores


def found(pair, complete=True):
    return differences(pair[0].folder, pair[1].folder, complete=complete)


def test_only_seconds_may_differ(pair):
    assert found(pair) == []


def other(change):
    """Save the first run anew with a change."""

    def make(store):
        shutil.rmtree(store.place(SPECS[0]))
        store.save(change(run(SPECS[0])))

    return make


def half_of_the_weights(one):
    return replace(one, weights={"fc.weight": np.eye(2, dtype=np.float32) / 2})


CHANGES = {
    "weights.safetensors differs": other(half_of_the_weights),
    "geometry.safetensors differs": other(
        lambda one: replace(one, arrays={**one.arrays, "classifier": np.ones((2, 2))})
    ),
    "record differs": other(lambda one: replace(one, record={**one.record, "nc1": 0.2})),
    "history differs": other(lambda one: replace(one, history=[{**one.history[0], "train_loss": 0.4}])),
    "other files": other(lambda one: replace(one, history=[])),
    "is missing": lambda store: shutil.rmtree(store.place(SPECS[0])),
    "damaged": lambda store: (store.place(SPECS[0]) / "record.json").write_text("{"),
    "not one of the runs": lambda store: store.save(run(RunSpec("ce", {}, counts=(20, 2)))),
    "failed: it diverged": lambda store: store.fail(Failure(SPECS[0], "it diverged", final=True)),
    "left behind: working": lambda store: (store.folder / "working" / "x").mkdir(parents=True),
    "left behind: trials": lambda store: (store.folder / "trials" / ".partial-x").mkdir(),
    "has no checksums": lambda store: (store.place(SPECS[0]) / "record.json").write_text(
        json.dumps({"spec": SPECS[0].to_dict(), "record": run(SPECS[0]).record})
    ),
}


@pytest.mark.parametrize("text", CHANGES)
def test_a_difference_is_found(text, pair):
    CHANGES[text](pair[0])
    assert any(text in line for line in found(pair))


def test_an_unfinished_store_may_lack_runs_but_not_have_wrong_ones(pair):
    shutil.rmtree(pair[0].place(SPECS[1]))
    (pair[0].folder / "working" / "x").mkdir(parents=True)
    assert found(pair, complete=False) == []
    other(half_of_the_weights)(pair[0])
    assert found(pair, complete=False) == [f"{SPECS[0].key}: weights.safetensors differs"]


def test_a_digest_sees_every_byte_and_name(tmp_path):
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "a.parquet")
    before = tree_digest(tmp_path)
    assert tree_digest(tmp_path) == before
    (tmp_path / "a.parquet").rename(tmp_path / "b.parquet")
    assert tree_digest(tmp_path) != before
