import json
import os

import numpy as np
import pandas as pd
import pytest

from implicit_geometry import InputError
from implicit_geometry.experiments.records import records_frame, write_records
from implicit_geometry.experiments.spec import TrialSpec
from implicit_geometry.experiments.store import Run, open_store, write_atomically

SPEC = TrialSpec("cdt", {"gamma": 0.5}, counts=(20, 2))
RUN = Run(
    SPEC, {"run": SPEC.key, "nc1": 0.1 + 0.2, "versions": {"torch": "2"}}, {"classifier": np.array([[1.0, 2.0]]) / 3}
)


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "runs")


def test_a_saved_run_reads_back_exactly(store):
    assert not store.has(SPEC)
    store.save(RUN)
    assert store.has(SPEC)
    back = open_store(store.folder).load(SPEC)
    assert back.spec == SPEC
    assert back.record == RUN.record
    assert np.array_equal(back.arrays["classifier"], RUN.arrays["classifier"])


def test_saving_twice_keeps_the_first_and_leaves_no_litter(store):
    store.save(RUN)
    store.save(Run(SPEC, {**RUN.record, "nc1": 9.0}, RUN.arrays))
    assert store.load(SPEC).record["nc1"] == RUN.record["nc1"]
    assert [path.name for path in (store.folder / "trials").iterdir()] == [SPEC.key]


def test_an_interrupted_save_leaves_nothing_under_the_final_name(store, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        store.save(RUN)
    assert list((store.folder / "trials").iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: (place / "record.json").write_text("{"),
        lambda place: (place / "record.json").unlink(),
        lambda place: (place / "geometry.safetensors").write_bytes(b"junk"),
        lambda place: (place / "record.json").write_text(json.dumps({"spec": {}, "record": {}})),
    ],
)
def test_a_damaged_run_is_reported_with_its_folder(store, damage):
    store.save(RUN)
    damage(store.folder / "trials" / SPEC.key)
    with pytest.raises(InputError, match=SPEC.key):
        store.load(SPEC)


def test_a_run_under_a_foreign_name_is_refused(store):
    store.save(RUN)
    other = TrialSpec("ce", {}, counts=(20, 2))
    (store.folder / "trials" / SPEC.key).rename(store.folder / "trials" / other.key)
    with pytest.raises(InputError, match="another spec"):
        store.load(other)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        open_store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(InputError, match="output must be a folder"):
        open_store(tmp_path / "runs")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_write_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="can be written"):
        open_store(tmp_path / "runs")


def test_a_damaged_or_foreign_marker_is_refused(store):
    marker = store.folder / "igeom-runs.json"
    marker.write_text("{")
    with pytest.raises(InputError, match="damaged"):
        open_store(store.folder)
    marker.write_text('{"format": "other"}')
    with pytest.raises(InputError, match="other"):
        open_store(store.folder)


def test_atomic_write_keeps_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(part):
        part.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]
    with pytest.raises(InputError, match="can be written"):
        write_atomically(tmp_path / "no" / "a.txt", lambda part: part.write_text("x"))


def test_records_are_one_row_a_run_and_survive_parquet(tmp_path):
    runs = [RUN, Run(TrialSpec("logit_adjusted", {"tau": 1.5}, counts=(20, 2), seed=2), RUN.record, RUN.arrays)]
    frame = records_frame(runs)
    assert frame["exponent"].tolist() == [0.5, 1.5]
    assert frame["seed"].tolist() == [0, 2]
    assert TrialSpec.from_dict(json.loads(frame.loc[0, "spec"])) == SPEC
    write_records(frame, tmp_path / "records.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "records.parquet"), frame)
