import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from implicit_geometry import InputError
from implicit_geometry._files import write_atomically
from implicit_geometry.experiments.record_columns import records_frame, write_records
from implicit_geometry.experiments.run import Failure, TrainedRun
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.store import open_store

SPEC = RunSpec("cdt", {"gamma": 0.5}, counts=(20, 2))
OTHER = RunSpec("ce", {}, counts=(20, 2))
RUN = TrainedRun(
    SPEC,
    {"run": SPEC.key, "nc1": 0.1 + 0.2, "versions": {"torch": "2"}},
    {"classifier": np.array([[1.0, 2.0]]) / 3, "train_indices": np.array([3, 1])},
    history=[{"epoch": 1, "train_loss": 0.5, "nc1": None}, {"epoch": 2, "train_loss": 0.25, "nc1": 3.0}],
    weights={"fc.weight": np.array([[0.5, -0.5]], dtype=np.float32)},
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
    for name, array in RUN.arrays.items():
        assert back.arrays[name].dtype == array.dtype
        assert np.array_equal(back.arrays[name], array)


def test_history_and_weights_read_back(store):
    store.save(RUN)
    expected = pd.DataFrame({"epoch": [1, 2], "train_loss": [0.5, 0.25], "nc1": [np.nan, 3.0]})
    pd.testing.assert_frame_equal(store.history(SPEC), expected)
    assert np.array_equal(store.weights(SPEC)["fc.weight"], RUN.weights["fc.weight"])
    assert store.weights(SPEC)["fc.weight"].dtype == np.float32


def test_a_run_without_recorded_epochs_has_an_empty_history(store):
    store.save(TrainedRun(SPEC, RUN.record, RUN.arrays))
    assert store.history(SPEC).empty


def test_a_damaged_history_or_network_is_reported(store):
    store.save(RUN)
    for name, read in (("history.parquet", store.history), ("weights.safetensors", store.weights)):
        (store.place(SPEC) / name).write_bytes(b"junk")
        with pytest.raises(InputError, match=SPEC.key):
            read(SPEC)


def test_all_finished_runs_are_found_without_their_specs(store):
    store.save(RUN)
    store.save(TrainedRun(OTHER, RUN.record, RUN.arrays))
    (store.folder / "trials" / ".partial-left-by-a-killed-process").mkdir()
    contents = store.contents()
    assert [run.spec.key for run in contents.runs] == sorted([SPEC.key, OTHER.key])
    assert not contents.damaged


def test_damaged_and_foreign_folders_are_all_named(store):
    store.save(RUN)
    (store.place(SPEC) / "record.json").write_text("{")
    (store.folder / "trials" / "holidays").mkdir()
    contents = store.contents()
    assert not contents.runs
    assert len(contents.damaged) == 2
    assert all(name in " ".join(contents.damaged) for name in (SPEC.key, "holidays"))


def test_a_failure_is_kept_until_the_run_is_saved(store):
    assert store.failure(SPEC) is None
    store.fail(Failure(SPEC, "disk full", final=False))
    store.fail(Failure(SPEC, "it diverged", final=True))
    assert store.failure(SPEC) == Failure(SPEC, "it diverged", final=True)
    assert store.failures() == [store.failure(SPEC)]
    store.save(RUN)
    assert store.failure(SPEC) is None


def test_a_claimed_run_has_a_folder_for_its_state_until_it_is_saved(store):
    with store.claim(SPEC) as working:
        (working / "checkpoint.safetensors").write_bytes(b"state")
    with store.claim(SPEC) as working:
        assert (working / "checkpoint.safetensors").exists()
        store.save(RUN)
        assert not working.exists()
    assert not list(working.parent.iterdir())


def test_what_a_killed_process_left_half_written_is_removed_when_its_run_is_claimed(store):
    mine, other = (store.folder / "trials" / f".partial-{spec.key}-x1" for spec in (SPEC, OTHER))
    for folder in (mine, other):
        folder.mkdir()
    with store.claim(SPEC):
        assert not mine.exists()
    assert other.exists()


def test_a_run_is_claimed_by_one_process_at_a_time(store):
    script = (
        "import sys, time\n"
        "from implicit_geometry.experiments.spec import RunSpec\n"
        "from implicit_geometry.experiments.store import open_store\n"
        "with open_store(sys.argv[1]).claim(RunSpec('cdt', {'gamma': 0.5}, counts=(20, 2))):\n"
        "    print('claimed', flush=True)\n"
        "    time.sleep(60)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", script, store.folder], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "claimed\n"
        claimed = threading.Event()

        def claim():
            with store.claim(SPEC):
                claimed.set()

        threading.Thread(target=claim, daemon=True).start()
        assert not claimed.wait(0.3)
        other.kill()
        assert claimed.wait(10)
    finally:
        other.kill()
        other.communicate()


def test_everybody_may_read_what_is_saved(store):
    store.save(RUN)
    assert {path.stat().st_mode & 0o777 for path in store.place(SPEC).iterdir()} == {0o644}


def test_damaged_runs_that_are_wanted_are_all_named_with_the_remedy(store):
    store.save(RUN)
    store.save(TrainedRun(OTHER, RUN.record, RUN.arrays))
    (store.place(SPEC) / "weights.safetensors").unlink()
    (store.place(OTHER) / "geometry.safetensors").write_bytes(b"junk")
    with pytest.raises(InputError, match="remove the folders") as error:
        store.load_all([SPEC, OTHER])
    assert all(
        f"{spec.key} must hold a finished run, got a damaged {name}" in str(error.value)
        for spec, name in ((SPEC, "weights.safetensors"), (OTHER, "geometry.safetensors"))
    )


def test_a_full_disk_is_reported_and_leaves_nothing(store, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="No space left"):
        store.save(RUN)
    assert list((store.folder / "trials").iterdir()) == []


def test_saving_twice_keeps_the_first_and_leaves_no_litter(store):
    store.save(RUN)
    store.save(TrainedRun(SPEC, {**RUN.record, "nc1": 9.0}, RUN.arrays))
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
    other = RunSpec("ce", {}, counts=(20, 2))
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


def test_records_are_one_row_per_run_and_survive_parquet(tmp_path):
    runs = [RUN, TrainedRun(RunSpec("logit_adjusted", {"tau": 1.5}, counts=(20, 2), seed=2), RUN.record, RUN.arrays)]
    frame = records_frame(runs)
    assert frame["exponent"].tolist() == [0.5, 1.5]
    assert frame["seed"].tolist() == [0, 2]
    assert RunSpec.from_dict(json.loads(frame.loc[0, "spec"])) == SPEC
    write_records(frame, tmp_path / "records.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "records.parquet"), frame)
