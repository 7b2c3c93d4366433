"""Files of runs that have changed since they were written, or were never files at all."""

import hashlib
import json
import os
import random

import numpy as np
import pytest

from implicit_geometry import InputError
from implicit_geometry.experiments.record_columns import checked_record
from implicit_geometry.experiments.run import Failure, TrainedRun
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.store import open_store

SPEC = RunSpec("cdt", {"gamma": 0.5}, counts=(20, 2))
RUN = TrainedRun(
    SPEC,
    {"run": SPEC.key, "nc1": 0.1 + 0.2, "terminal_phase": True, "versions": {"torch": "2"}},
    {"classifier": np.eye(2, 3) / 3, "embedding": np.ones((2, 3)), "train_indices": np.arange(22)},
    history=[{"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": 0.25}],
    weights={"fc.weight": np.ones((2, 3), dtype=np.float32)},
)
READERS = {
    "record.json": lambda store: store.load(SPEC),
    "geometry.safetensors": lambda store: store.load(SPEC),
    "weights.safetensors": lambda store: store.weights(SPEC),
    "history.parquet": lambda store: store.history(SPEC),
}


@pytest.fixture
def store(tmp_path):
    made = open_store(tmp_path / "runs")
    made.save(RUN)
    return made


def flipped(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("name", READERS)
def test_every_flipped_bit_is_noticed_and_its_file_named(name, store):
    path = store.place(SPEC) / name
    data = path.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(data)), 300):
        path.write_bytes(flipped(data, bit))
        with pytest.raises(InputError, match=f"{SPEC.key} must hold a finished run, got a damaged {name} "):
            READERS[name](store)
    path.write_bytes(data)
    READERS[name](store)


def test_every_flipped_bit_of_a_failure_is_noticed_and_its_file_named(store):
    store.fail(Failure(SPEC, "it diverged in epoch 3", final=True))
    path = store.folder / "failed" / f"{SPEC.key}.json"
    data = path.read_bytes()
    for bit in random.Random(1).sample(range(8 * len(data)), 300):
        path.write_bytes(flipped(data, bit))
        with pytest.raises(InputError, match=rf"{SPEC.key}\.json must describe a run that failed"):
            store.failure(SPEC)
        assert len(store.contents().damaged) == 1


def test_a_changed_record_is_damage_among_the_others(store):
    path = store.place(SPEC) / "record.json"
    path.write_text(path.read_text().replace("0.30000000000000004", "0.20000000000000004"))
    (text,) = store.contents().damaged
    assert "record.json (its content is not what its checksum says)" in text


def test_weights_of_another_size_are_noticed_without_reading_them(store):
    path = store.place(SPEC) / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"a damaged weights.safetensors \(it has \d+ bytes and had \d+\)"):
        store.load(SPEC)


def test_a_history_that_is_gone_is_noticed(store):
    (store.place(SPEC) / "history.parquet").unlink()
    with pytest.raises(InputError, match=r"a damaged history\.parquet"):
        store.history(SPEC)


def test_checksums_are_those_of_sha256sum(store):
    files = json.loads((store.place(SPEC) / "record.json").read_text())["files"]
    assert sorted(files) == sorted(set(READERS) - {"record.json"})
    for name, described in files.items():
        data = (store.place(SPEC) / name).read_bytes()
        assert described == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_runs_of_earlier_versions_are_read_and_known_to_be_unverified(store):
    assert store.contents().unverified == ()
    path = store.place(SPEC) / "record.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({"spec": document["spec"], "record": document["record"]}))
    contents = store.contents()
    assert (contents.unverified, contents.damaged) == ((SPEC.key,), ())
    assert store.load(SPEC).record == RUN.record
    assert store.history(SPEC)["epoch"].tolist() == [1, 2]
    assert store.weights(SPEC).keys() == RUN.weights.keys()
    (store.place(SPEC) / "history.parquet").unlink()
    assert store.history(SPEC).empty


@pytest.mark.parametrize("key", ["checksum", "files"])
def test_a_record_cannot_lose_one_of_its_checksums_and_pass_for_an_older_one(key, store):
    path = store.place(SPEC) / "record.json"
    document = json.loads(path.read_text())
    del document[key]
    path.write_text(json.dumps(document))
    assert len(store.contents().damaged) == 1


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def endless(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def huge(path):
    with path.open("r+b") as file:
        file.truncate(2**40)


def deep(path):
    path.write_text("[" * 100_000)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("make", [fifo, endless, huge, deep])
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_of_a_run_neither_hangs_nor_fills_the_memory(make, name, store):
    try:
        make(store.place(SPEC) / name)
    except OSError as error:
        pytest.skip(f"the file system has no such file ({error})")
    with pytest.raises(InputError, match=f"{SPEC.key} must hold a finished run, got a damaged {name}"):
        READERS[name](store)
    if name != "history.parquet":
        with pytest.raises(InputError, match=f"a damaged {name}"):
            store.load(SPEC)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nc1": "0.1"}, "nc1 must be a number or null, got '0.1'"),
        ({"nc1": [0.1]}, r"nc1 must be a number or null, got \[0.1\]"),
        ({"nc1": True}, "nc1 must be a number or null, got True"),
        ({"nc1": 10**400}, r"nc1 must be a number or null, got a whole number beyond 2\^53"),
        ({"nc1": float("inf")}, "nc1 must be a number or null, got inf"),
        ({"terminal_phase": None}, "terminal_phase must be true or false, got None"),
        ({"run": 3}, "run must be a text, got 3"),
        ({"versions": {"torch": 2}}, "versions must be names with texts"),
        ({"versions": "2"}, "versions must be names with texts"),
    ],
)
def test_every_column_of_a_record_has_its_type(change, message):
    with pytest.raises(ValueError, match=message):
        checked_record({**RUN.record, **change})
