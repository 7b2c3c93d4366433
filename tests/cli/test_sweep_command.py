import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open

from implicit_geometry.experiments.store import open_store
from implicit_geometry.experiments.sweep_file.read import read_sweep
from processes import linux_only, seconds_until_none_is_left

SWEEP = """
counts: [24, 24, 24, 24, 24, 6, 6, 6, 6, 6]
network: {name: mlp, depth: 1, width: 16}
losses: [ce, {rule: vs, gamma: 0.5, tau: [0.5, 1]}]
optimization: {epochs: 2, batch_size: 32, learning_rate: 0.1}
seeds: 2
"""


@pytest.fixture
def write(tmp_path):
    def write(text, **changes):
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "sweep.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def epochs_done(folder):
    """Finished epochs of every unfinished run, by its checkpoint."""
    found = {}
    for path in folder.glob("working/*/checkpoint.safetensors"):
        with suppress(FileNotFoundError), safe_open(path, framework="np") as file:
            found[path.parent.name] = json.loads(file.metadata()["state"])["epoch"]
    return {name: epoch for name, epoch in found.items() if not (folder / "trials" / name).exists()}


def wait_until(condition, seconds=240):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
    return value


def comparable(run):
    return {name: value for name, value in run.record.items() if not name.endswith("seconds")}


@pytest.mark.slow
def test_a_sweep_trains_reports_failures_and_is_done_only_once(write, tmp_path, igeom):
    runs = tmp_path / "runs"
    path = write(SWEEP, **{"learning_rate: 0.1": "learning_rate: [0.1, 1e30]"})
    code, out, _ = igeom("sweep", path, "--output", runs, "--workers", 2, "--accelerator", "cpu")
    text = " ".join(out.split())
    assert code == 1
    assert text.count("failed:") == 6
    assert text.count("it diverged in epoch 1 of 2 (not tried again)") == 6
    assert "6 of 12 runs are finished" in text
    assert text.count("VS 0.5 2 ") == 2
    records = pd.read_parquet(runs / "records.parquet")
    assert len(records) == records["run"].nunique() == 6

    code, out, err = igeom("sweep", path, "--output", runs, "--json")
    document = json.loads(out)
    assert code == 1
    assert "6 of 12 runs were finished before" in " ".join(err.split())
    assert (document["wanted"], document["ran"], document["finished"], len(document["failures"])) == (12, 0, 6, 6)
    assert {row["run"] for row in document["records"]} == set(records["run"])
    assert all(row["spec"]["optimization"]["learning_rate"] == 0.1 for row in document["records"])

    code, out, _ = igeom("sweep", path, "--output", runs, "--dry-run", "--json")
    assert code == 0
    states = [row["state"] for row in json.loads(out)]
    assert (states.count("finished"), states.count("failed")) == (6, 6)

    (runs / "trials" / "holidays").mkdir()
    code, _, err = igeom("sweep", write(SWEEP), "--output", runs, "--json")
    assert code == 1
    assert "holidays" in err

    (runs / "trials" / document["records"][0]["run"] / "record.json").write_text("{")
    code, _, err = igeom("sweep", path, "--output", runs)
    assert code == 2
    assert document["records"][0]["run"] in err


def test_worker_processes_train_a_users_network_with_a_bias(write, tmp_path, igeom, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_of_a_sweep.py").write_text(
        "from torch import nn\n"
        "def build(input_shape, num_classes, bias):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, num_classes, bias=bias))\n"
    )
    network = 'network: {name: "own_of_a_sweep:build", bias: [true, false]}'
    old = "network: {name: mlp, depth: 1, width: 16}"
    path = write(SWEEP, **{old: network, "losses: [ce, {rule: vs, gamma: 0.5, tau: [0.5, 1]}]": "losses: ce"})
    code, out, err = igeom("sweep", path, "--output", tmp_path / "runs", "--workers", 2, "--accelerator", "cpu")
    assert code == 0, err
    assert "4 of 4 runs are finished" in " ".join(out.split())
    records = pd.read_parquet(tmp_path / "runs" / "records.parquet")
    assert records["bias"].value_counts().to_dict() == {True: 2, False: 2}
    biased = records[records["bias"]]
    assert biased["network"].unique().tolist() == ["own_of_a_sweep:build (bias), head with a bias"]
    store = open_store(tmp_path / "runs")
    for run in store.contents().runs:
        assert ("bias" in store.load(run.spec).arrays) == run.bias == run.spec.network.options["bias"]
    code, _, err = igeom("report", tmp_path / "runs")
    assert code == 0, err
    html = (tmp_path / "runs" / "report.html").read_text(encoding="utf-8")
    assert html.count("<article") == 4


@linux_only
@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, *(pytest.param(kills, marks=pytest.mark.exhaustive) for kills in (3, 10))])
def test_kill_9_at_any_moment_loses_no_run_and_doubles_none(kills, write, tmp_path, start, kill_group):
    epochs = 25 * kills
    path = write(SWEEP, **{"epochs: 2": f"epochs: {epochs}"})
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    arguments = ("--workers", 2, "--accelerator", "cpu")
    reference = start("sweep", path, "--output", whole, *arguments)
    out, _ = reference.communicate(timeout=300)
    assert reference.returncode == 0, out

    moments = random.Random(0)
    epochs_before = {}
    for attempt in range(kills):
        process = start("sweep", path, "--output", killed, *arguments)
        if epochs_before:
            again, epoch = max(epochs_before.items(), key=lambda item: item[1])
            wait_until(lambda again=again, epoch=epoch: epochs_done(killed).get(again) != epoch)
            assert epochs_done(killed).get(again, epochs) > epoch, "it began anew"
        else:
            wait_until(lambda: any(epochs_done(killed).values()))
        time.sleep(moments.uniform(0, 1.5))
        if attempt % 2:
            os.kill(process.pid, signal.SIGKILL)  # the workers end by themselves
            process.wait()
            seconds_until_none_is_left(process.mark, at_most=2.0)
        kill_group(process)
        epochs_before = epochs_done(killed)

    last = start("sweep", path, "--output", killed, *arguments, "--json")
    out, _ = last.communicate(timeout=300)
    assert last.returncode == 0, out

    specs = read_sweep(path)
    stores = open_store(whole), open_store(killed)
    for store in stores:
        assert sorted(run.spec.key for run in store.contents().runs) == sorted(spec.key for spec in specs)
        assert not store.failures()
        assert not epochs_done(store.folder)
    assert pd.read_parquet(killed / "records.parquet")["run"].is_unique
    for spec in specs:
        one, other = (store.load(spec) for store in stores)
        assert comparable(one) == comparable(other)
        assert all(np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays)
        weights, others = (store.weights(spec) for store in stores)
        assert all(np.array_equal(weights[name], others[name]) for name in weights)
        history, same = (store.history(spec) for store in stores)
        assert history["epoch"].tolist() == list(range(1, epochs + 1))
        pd.testing.assert_frame_equal(
            *(frame.drop(columns=[name for name in frame if name.endswith("seconds")]) for frame in (history, same))
        )


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_prints_how_to_go_on(write, tmp_path, start):
    path = write(SWEEP, **{"epochs: 2": "epochs: 100000"})
    process = start("sweep", path, "--output", tmp_path / "my runs", "--workers", 2, "--accelerator", "cpu")
    wait_until(lambda: epochs_done(tmp_path / "my runs"))
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "0 of 6 runs are finished and kept" in out
    command = f"igeom sweep {path} --output '{tmp_path / 'my runs'}' --workers 2 --accelerator cpu"
    assert out.rstrip().endswith(command)
    assert "Traceback" not in out
    assert epochs_done(tmp_path / "my runs")


def test_what_the_data_cannot_give_is_one_error_before_any_work(write, tmp_path, igeom):
    text = SWEEP.replace("counts: [24, 24, 24, 24, 24, 6, 6, 6, 6, 6]", 'counts: ["step:10,2", "exp:10,2", "step:5,2"]')
    code, out, err = igeom(
        "sweep", write("data: [digits, mnist]\nmax_count: 400" + text), "--output", tmp_path / "runs"
    )
    assert (code, out) == (2, "")
    text = " ".join(err.split())
    assert "3 mistakes" in text
    assert "class 0 has 178 samples, got a training count of 400" in text
    assert "counts must cover the 10 classes of digits, got 5" in text
    assert "mnist must lie in" in text
    assert "--download" in text
    assert not list((tmp_path / "runs" / "trials").iterdir())


def test_a_dry_run_lists_the_runs_and_trains_nothing(write, tmp_path, igeom):
    path = write(SWEEP)
    code, out, _ = igeom("sweep", path, "--output", tmp_path / "runs", "--dry-run")
    assert code == 0
    assert out.count("missing") == 6
    assert all(spec.key in out for spec in read_sweep(path))
    assert not list((tmp_path / "runs" / "trials").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--backend", "rai"), "did you mean 'ray'?"),
        (("--accelerator", "tpu"), "accelerator must be one of auto, cpu, gpu"),
        (("--backend", "ray", "--workers", 2), "workers must be left out with --backend ray"),
        (("--ray-address", "auto"), "ray-address must be left out with --backend local"),
        (("--workers", 0), "workers must be"),
    ],
)
def test_bad_flags(arguments, message, write, tmp_path, igeom):
    code, _, err = igeom("sweep", write(SWEEP), "--output", tmp_path / "runs", *arguments)
    assert code == 2
    assert message in " ".join(err.split())


def test_bad_files_are_refused(write, tmp_path, igeom):
    code, _, err = igeom("sweep", write(SWEEP, gamma="gama"), "--output", tmp_path / "runs")
    assert code == 2
    assert "losses[1]" in err
    assert "did you mean 'gamma'?" in " ".join(err.split())
    assert not (tmp_path / "runs").exists()


def test_a_missing_ray_is_named_with_its_extra(write, tmp_path, igeom, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = igeom("sweep", write(SWEEP), "--output", tmp_path / "runs", "--backend", "ray")
    assert code == 2
    assert "pip install 'implicit-geometry[ray]'" in " ".join(err.split())


@pytest.mark.parametrize("command", ["sweep", "train", "demo"])
def test_help_needs_no_torch(command):
    code = (
        "import sys; from implicit_geometry.cli import main\n"
        f"sys.argv = ['igeom', '{command}', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print({'torch', 'pandas', 'lightning', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("set()")
