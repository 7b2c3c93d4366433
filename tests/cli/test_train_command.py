import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from implicit_geometry import Problem, compare, predict
from implicit_geometry.experiments.store import open_store
from implicit_geometry.experiments.sweep_file.read import sweep_specs
from implicit_geometry.geometry import Geometry
from processes import linux_only, processes_of, seconds_until_none_is_left

COUNTS = (30, 20, 10)


@pytest.fixture
def features(tmp_path):
    """Three classes that a linear network learns in no time."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 60)
    path = tmp_path / "features.npz"
    np.savez(path, embeddings=generator.normal(size=(180, 4)) + 3 * np.eye(4)[labels], labels=labels)
    return path


@pytest.fixture
def linear(features):
    return (
        *("train", "--data", f"features:{features}", "--test-per-class", 20, "--counts", "30,20,10"),
        *("--network", "linear", "--loss", "vs", "--gamma", 0.5, "--tau", 1),
        *("--epochs", 4, "--batch-size", 16, "--accelerator", "cpu"),
    )


@pytest.fixture
def arguments(linear, tmp_path):
    """With a network of more than a head, into a folder."""
    return (
        *(*linear, "--network", "mlp", "--option", "depth=1", "--option", "width=8"),
        *("--output", tmp_path / "runs"),
    )


def same_run_in_a_sweep(features):
    (spec,) = sweep_specs(
        {
            "data": {"name": f"features:{features}", "test_per_class": 20},
            "counts": list(COUNTS),
            "network": {"name": "mlp", "depth": 1, "width": 8},
            "losses": {"rule": "vs", "gamma": 0.5, "tau": 1},
            "optimization": {"epochs": 4, "batch_size": 16},
        }
    )
    return spec


def test_a_run_is_shown_kept_where_a_sweep_finds_it_and_not_trained_again(features, arguments, tmp_path, igeom):
    code, out, _ = igeom(*arguments)
    assert code == 0
    for part in ("balanced accuracy", "squared norm ratio", "distance to limit", "effective ridge"):
        assert part in out
    store, spec = open_store(tmp_path / "runs"), same_run_in_a_sweep(features)
    (run,) = store.contents().runs
    assert run.spec == spec
    assert store.history(spec)["epoch"].tolist() == [1, 2, 3, 4]
    assert f"{run.record['test_balanced']:.1%}" in out

    code, out, err = igeom(*arguments, "--json")
    assert code == 0
    assert json.loads(out) == {**run.record, "spec": spec.to_dict()}
    assert "finished before" in err


def test_smoothed_labels_are_said_and_compared_with_their_own_theory(features, arguments, tmp_path, igeom):
    code, out, err = igeom(*arguments, "--label-smoothing", 0.1)
    assert code == 0, err
    assert "vs gamma=0.5, tau=1, labels smoothed by 0.1" in " ".join(out.split())
    assert "W Hᵀ over limit" in out
    store, spec = open_store(tmp_path / "runs"), replace(same_run_in_a_sweep(features), label_smoothing=0.1)
    (run,) = store.contents().runs
    assert run.spec == spec
    code, out, _ = igeom(*arguments, "--label-smoothing", 0.1, "--json")
    document = json.loads(out)
    assert document["spec"]["label_smoothing"] == 0.1
    measured = Geometry.from_factors(*(store.load(spec).arrays[name] for name in ("classifier", "embedding")))
    limit = predict(Problem(COUNTS, spec.parameterization(), label_smoothing=0.1)).geometry
    assert document["cross_limit_distance"] == pytest.approx(compare(measured, limit).cross)
    code, _, err = igeom("report", tmp_path / "runs")
    assert code == 0, err
    assert "labels smoothed by 0.1" in (tmp_path / "runs" / "report.html").read_text(encoding="utf-8")


def test_a_logger_gets_the_rows_of_the_history(features, arguments, tmp_path, igeom):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    code, _, err = igeom(*arguments, "--logger", "tensorboard", "--json")
    assert code == 0, err
    spec = same_run_in_a_sweep(features)
    events = EventAccumulator(str(tmp_path / "runs" / "logs" / spec.key))
    events.Reload()
    history = open_store(tmp_path / "runs").history(spec)
    logged = {name: [event.value for event in events.Scalars(name)] for name in events.Tags()["scalars"]}
    (cdnv,) = (values for name, values in logged.items() if name.endswith("cdnv"))
    assert cdnv == pytest.approx(history["cdnv"].tolist(), rel=1e-5)


@pytest.mark.filterwarnings("ignore:epoch 1 has no geometry")
def test_a_run_that_diverges_is_recorded_and_told_by_the_exit_code(arguments, tmp_path, igeom):
    code, _, err = igeom(*arguments, "--learning-rate", 1e30)
    assert code == 1
    assert "it diverged in epoch 1 of 4" in " ".join(err.split())
    (failure,) = open_store(tmp_path / "runs").failures()
    assert failure.final
    code, out, err = igeom(*arguments, "--learning-rate", 1e30)
    assert (code, out) == (1, "")
    assert "(not tried again)" in " ".join(err.split())


def test_where_classes_are_equal_distances_are_shown_with_their_parts(arguments, tmp_path, igeom):
    code, out, _ = igeom(*arguments, "--counts", "30,15,15", "--class-order", "seed")
    assert code == 0
    (run,) = open_store(tmp_path / "runs").contents().runs
    assert run.spec.data.class_order == "seed"
    rows = {line.strip().rsplit(None, 2)[0]: line.split()[-2:] for line in out.splitlines() if len(line.split()) > 2}
    shown = {"systematic part of it": "ridge_systematic", "heterogeneity of equal classes": "heterogeneity"}
    for title, key in shown.items():
        assert rows[title] == [f"{run.record[f'{block}_{key}']:.3f}" for block in ("classifier", "embedding")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--option", "depth"), "option must have the form NAME=VALUE, got 'depth'"),
        (("--option", "depht=1"), "did you mean 'depth'?"),
        (("--option", "depth=0"), "network.depth must be"),
        (("--loss", "vs2"), "losses.rule must be one of"),
        (("--max-margin", 1), "key must be one of rule, gamma, tau, normalize"),
        (("--label-smoothing", 1), "losses.label_smoothing must be below 1"),
        (("--label-smoothing", "nan"), "losses.label_smoothing must be a finite number"),
        (("--label-smoothing", "x"), "--label-smoothing"),
        (("--epochs", 0), "optimization.epochs must be"),
        (("--counts", "step:3"), "counts must have the form step:K,R"),
        (("--counts", "50,20,10"), "class 0 has 60 samples"),
        (("--devices", 0), "devices must be"),
        (("--accelerator", "tpu"), "accelerator must be one of"),
        (("--precision", "16-mixed"), "precision must be '32-true' or 'bf16-mixed' on a CPU"),
        (("--logger", "tensorbord"), "did you mean 'tensorboard'?"),
        (("--data", "features:nowhere.npz"), "nowhere.npz"),
        (("--class-order", "random"), "data.class_order must be one of data, seed, got 'random'"),
    ],
)
def test_bad_input(change, message, arguments, igeom):
    code, _, err = igeom(*arguments, *change)
    assert code == 2
    assert message in " ".join(err.split())


def test_a_logger_that_is_not_installed_is_named_with_its_extra(arguments, igeom, monkeypatch):
    monkeypatch.setattr("implicit_geometry.experiments.training.loggers.find_spec", lambda name: None)
    code, _, err = igeom(*arguments, "--logger", "wandb")
    assert code == 2
    assert "pip install 'implicit-geometry[loggers]'" in " ".join(err.split())


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_of_a_user", raising=False)
    (tmp_path / "own_of_a_user.py").write_text(
        "from torch import nn\n"
        "def build(input_shape, num_classes):\n"
        "    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, num_classes))\n"
        "def narrow(input_shape, num_classes):\n"
        "    return nn.Sequential(nn.Linear(4, num_classes - 1))\n"
        "def cosine(input_shape, num_classes):\n"
        "    return nn.Sequential(nn.Linear(4, 8), nn.Bilinear(8, 8, num_classes))\n"
        "def text(input_shape, num_classes):\n"
        "    return 'text'\n"
    )


@pytest.mark.usefixtures("own")
def test_a_network_of_the_users_may_have_a_head_with_a_bias(linear, tmp_path, igeom):
    arguments = (*linear, "--network", "own_of_a_user:build", "--output", tmp_path / "runs")
    code, out, err = igeom(*arguments)
    assert code == 0, err
    assert "head with a bias" in " ".join(out.split())
    (run,) = open_store(tmp_path / "runs").contents().runs
    assert run.bias
    code, out, _ = igeom(*arguments, "--json")
    assert json.loads(out)["bias"] is True
    code, _, err = igeom("report", tmp_path / "runs")
    assert code == 0, err
    assert "own_of_a_user:build, head with a bias" in (tmp_path / "runs" / "report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            "own_of_a_user:narrow",
            "head of own_of_a_user:narrow must be a linear layer or 1 x 1 convolution with 3 outputs",
        ),
        (
            "own_of_a_user:cosine",
            "head of own_of_a_user:cosine must be a linear layer or 1 x 1 convolution with 3 outputs",
        ),
        ("own_of_a_user:text", "own_of_a_user:text must return an nn.Module, got a str"),
        ("own_of_a_user:biuld", "did you mean 'build'?"),
        ("own_of_nobody:build", "network must name a module that can be imported (from here or PYTHONPATH)"),
    ],
)
def test_a_network_without_a_linear_head_is_refused_in_a_sentence(network, message, linear, tmp_path, igeom):
    code, _, err = igeom(*linear, "--network", network, "--output", tmp_path / "runs")
    assert code == 2
    assert message in " ".join(err.split())
    assert "Traceback" not in err


@pytest.mark.slow
def test_ctrl_c_keeps_the_epochs_that_are_done(arguments, tmp_path, start):
    process = start(*arguments, "--epochs", 100000)
    end = time.monotonic() + 240
    while not list(tmp_path.glob("runs/working/*/checkpoint.safetensors")):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "igeom train --data features:" in out
    assert "Traceback" not in out


@linux_only
@pytest.mark.slow
@pytest.mark.parametrize("moment", ["as soon as there is a helper", "in training"])
def test_no_helper_outlives_a_first_process_that_is_killed(moment, arguments, tmp_path, start):
    process = start(*arguments, "--devices", 2, "--epochs", 100000)
    end = time.monotonic() + 240

    def reached():
        if moment == "in training":
            return list(tmp_path.glob("runs/working/*/checkpoint.safetensors"))
        return len(processes_of(process.mark)) > 1

    while not reached():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    seconds_until_none_is_left(process.mark, at_most=5.0)  # the helper has typer to import before it is tied


def test_a_run_that_another_process_has_in_hand_is_waited_for_and_said_so(features, arguments, tmp_path, igeom):
    store, spec = open_store(tmp_path / "runs"), same_run_in_a_sweep(features)
    claimed, waited = threading.Event(), threading.Event()

    def hold():
        with store.claim(spec):
            claimed.set()
            waited.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert claimed.wait(60)
    threading.Timer(2.0, waited.set).start()
    code, _, err = igeom(*arguments)
    holder.join()
    assert code == 0
    assert err == f"waiting for run {spec.key} (vs, seed 0), which another process has in hand\n"


@pytest.mark.slow
def test_two_processes_come_to_the_result_of_one(linear, tmp_path, igeom):
    code, out, err = igeom(*linear, "--json", "--output", tmp_path / "runs-1")
    assert code == 0, err
    command = [sys.executable, "-m", "implicit_geometry", *linear, "--devices", 2, "--json"]
    command += ["--output", tmp_path / "runs-2"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    one, two = json.loads(out), json.loads(done.stdout)
    assert one["spec"] == two["spec"]
    for name, value in one.items():
        if isinstance(value, float) and "seconds" not in name:
            assert two[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
