import multiprocessing
import os
import signal
import threading
import time

import pytest

from implicit_geometry import InputError
from implicit_geometry.experiments.execute import execute
from implicit_geometry.experiments.local import run_missing
from implicit_geometry.experiments.spec import NetworkSpec, Optimization, TrialSpec
from implicit_geometry.experiments.store import open_store
from implicit_geometry.experiments.trial import NO_FILES

PLAN = Optimization(epochs=2, batch_size=64)
SMALL = NetworkSpec("mlp", {"depth": 1, "width": 16})


def digits_spec(rule="ce", given=None, **changes):
    return TrialSpec(rule, given or {}, (12,) * 5 + (4,) * 5, **{"network": SMALL, "optimization": PLAN, **changes})


GOOD = digits_spec()
TOO_BIG = TrialSpec("ce", {}, (500,) * 10, network=SMALL, optimization=PLAN)
DIVERGING = digits_spec(optimization=Optimization(epochs=3, learning_rate=1e30, weight_decay=1.0, schedule="constant"))
LONG = digits_spec(optimization=Optimization(epochs=100_000, batch_size=64))


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "runs")


def comparable(run):
    return {name: value for name, value in run.record.items() if not name.endswith("seconds")}


def children():
    return {child.pid for child in multiprocessing.active_children()}


@pytest.mark.slow
def test_a_sweep_survives_its_failing_trials_and_repeats_only_what_may_succeed(store):
    seen = []
    first = run_missing(store, [TOO_BIG, DIVERGING, GOOD, GOOD], workers=2, on_done=seen.append)
    assert first.ran == 1
    assert sorted(spec.key for spec in seen) == sorted(spec.key for spec in (TOO_BIG, DIVERGING, GOOD))
    reasons = {failure.spec.key: failure for failure in first.failures}
    assert "class 0" in reasons[TOO_BIG.key].reason
    assert "diverged in epoch" in reasons[DIVERGING.key].reason
    assert (reasons[TOO_BIG.key].final, reasons[DIVERGING.key].final) == (False, True)
    assert store.has(GOOD)

    seen.clear()
    again = run_missing(store, [TOO_BIG, DIVERGING, GOOD], workers=1, on_done=seen.append)
    assert seen == [TOO_BIG]
    assert (again.ran, len(again.failures)) == (0, 2)


@pytest.mark.slow
def test_the_number_of_processes_does_not_change_results(store, tmp_path):
    specs = [digits_spec("cdt", {"gamma": gamma}, record_every=1) for gamma in (0.25, 0.5, 0.75)]
    run_missing(store, specs, workers=2)
    alone = open_store(tmp_path / "alone")
    run_missing(alone, specs, workers=1)
    for spec in specs:
        assert comparable(store.load(spec)) == comparable(alone.load(spec))
        assert store.history(spec).equals(alone.history(spec))


@pytest.mark.slow
def test_a_trial_whose_process_is_killed_twice_is_recorded_and_the_sweep_goes_on(store):
    before = children()

    checkpoint = store.folder / "working" / LONG.key / "checkpoint.safetensors"

    def kill_whoever_runs_the_long_trial():
        for _ in range(2):
            while not checkpoint.exists():
                time.sleep(0.05)
            (victim,) = children() - before
            os.kill(victim, signal.SIGKILL)
            while victim in children():
                time.sleep(0.05)
            checkpoint.unlink()

    killer = threading.Thread(target=kill_whoever_runs_the_long_trial, daemon=True)
    killer.start()
    result = run_missing(store, [LONG, GOOD], workers=1)
    killer.join()
    assert result.ran == 1
    assert [failure.reason for failure in result.failures] == ["its process was killed 2 times"]
    assert children() == before


@pytest.mark.slow
def test_an_interrupt_stops_at_once_and_keeps_what_is_finished(store):
    before = children()

    def stop(spec):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_missing(store, [GOOD, LONG], workers=1, on_done=stop)
    assert store.has(GOOD)
    assert children() == before


def test_a_finished_trial_is_not_run_again(store, monkeypatch):
    assert execute(store.folder, GOOD, NO_FILES)
    monkeypatch.setattr("implicit_geometry.experiments.execute.run_trial", lambda *a, **k: pytest.fail("ran again"))
    assert execute(store.folder, GOOD, NO_FILES)
    assert run_missing(store, [GOOD]).ran == 0


def test_any_error_of_a_trial_is_recorded_with_its_kind(store, monkeypatch):
    def crash(*args, **kwargs):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("implicit_geometry.experiments.execute.run_trial", crash)
    assert not execute(store.folder, GOOD, NO_FILES)
    assert store.failure(GOOD).reason == "ZeroDivisionError: division by zero"


def test_a_bad_number_of_workers_is_refused(store):
    with pytest.raises(InputError, match="workers"):
        run_missing(store, [GOOD], workers=0)
