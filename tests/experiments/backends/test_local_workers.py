import os
import signal
import subprocess
import sys
import threading
import time
import uuid

import pytest
import torch

from implicit_geometry import InputError
from implicit_geometry.experiments import ends_with_parent as parent_program
from implicit_geometry.experiments.backends.execute import Ending, execute, say_waiting
from implicit_geometry.experiments.backends.local_workers import run_missing
from implicit_geometry.experiments.spec import NetworkSpec, Optimization, RunSpec
from implicit_geometry.experiments.store import open_store
from implicit_geometry.experiments.training.fit import Hardware
from implicit_geometry.experiments.training.train_run import NO_FILES, Resources
from processes import children_of, linux_only, marked, processes_of, seconds_until_none_is_left

PLAN = Optimization(epochs=2, batch_size=64)
SMALL = NetworkSpec("mlp", {"depth": 1, "width": 16})


def digits_spec(rule="ce", given=None, **changes):
    return RunSpec(rule, given or {}, (12,) * 5 + (4,) * 5, **{"network": SMALL, "optimization": PLAN, **changes})


GOOD = digits_spec()
TOO_BIG = RunSpec("ce", {}, (500,) * 10, network=SMALL, optimization=PLAN)
DIVERGING = digits_spec(optimization=Optimization(epochs=3, learning_rate=1e30, weight_decay=1.0, schedule="constant"))
LONG = digits_spec(optimization=Optimization(epochs=100_000, batch_size=64))


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "runs")


def comparable(run):
    return {name: value for name, value in run.record.items() if not name.endswith("seconds")}


def children():
    return children_of(os.getpid())


@pytest.mark.slow
def test_a_sweep_survives_its_failing_runs_and_repeats_only_what_may_succeed(store):
    seen = []
    first = run_missing(store, [TOO_BIG, DIVERGING, GOOD, GOOD], workers=1, on_done=seen.append)
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
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert [execute(alone.folder, spec, NO_FILES) for spec in specs] == [Ending.FINISHED] * 3
    finally:
        torch.set_num_threads(threads)
    for spec in specs:
        assert comparable(store.load(spec)) == comparable(alone.load(spec))
        assert store.history(spec).equals(alone.history(spec))


@linux_only
@pytest.mark.slow
def test_a_run_whose_process_is_killed_twice_is_recorded_and_the_sweep_goes_on(store):
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


@linux_only
@pytest.mark.slow
def test_an_interrupt_stops_at_once_and_keeps_what_is_finished(store):
    before = children()

    def stop(spec):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_missing(store, [GOOD, LONG], workers=1, on_done=stop)
    assert store.has(GOOD)
    assert children() == before


PARENT = """
import os, subprocess, sys, time
options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
if sys.argv[2] == "from a thread":
    import threading
    def start():
        subprocess.Popen([sys.executable, "-P", sys.argv[1], str(os.getpid())], **options)
        print("started", flush=True)
        time.sleep(60)
    threading.Thread(target=start).start()
else:
    subprocess.Popen([sys.executable, "-P", sys.argv[1], str(os.getpid())], **options)
    print("started", flush=True)
time.sleep(60)
"""


@linux_only
@pytest.mark.parametrize("start", ["from the main thread", "from a thread"])
@pytest.mark.parametrize("moment", [0.0, 0.02, 0.1, 0.5])
def test_a_worker_ends_with_a_parent_that_is_killed_however_early(start, moment):
    mark = uuid.uuid4().hex
    command = [sys.executable, "-c", PARENT, parent_program.__file__, start]
    parent = subprocess.Popen(command, env=marked(mark), stdout=subprocess.PIPE)
    try:
        assert parent.stdout.readline() == b"started\n"
        time.sleep(moment)
        assert len(processes_of(mark)) == 2
    finally:
        parent.kill()
        parent.communicate()
    seconds_until_none_is_left(mark, at_most=2.0)  # a second is promised; a busy machine starts Python slowly


@linux_only
def test_a_worker_whose_parent_was_gone_before_it_asked_does_nothing():
    """The number that is passed is compared: whoever has adopted the worker by then is not its parent."""
    done = subprocess.run(
        [sys.executable, "-P", parent_program.__file__, str(os.getpid() + 1)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_a_worker_that_is_asked_nothing_ends_in_silence():
    command = [sys.executable, "-P", parent_program.__file__, str(os.getpid())]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_worker_without_the_kernels_help_watches_its_parent():
    """What happens where there is no prctl: the worker looks at its parent's number every half second."""
    script = (
        "import os, sys, time\n"
        "sys.platform = 'elsewhere'\n"
        "from implicit_geometry.experiments.ends_with_parent import end_with\n"
        "end_with(int(sys.argv[1]))\n"
        "print('tied', flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script]
    between = "import subprocess, sys, os; subprocess.Popen([*sys.argv[1:], str(os.getpid())]).wait()"
    parent = subprocess.Popen([sys.executable, "-c", between, *command], stdout=subprocess.PIPE)
    assert parent.stdout.readline() == b"tied\n"
    parent.kill()
    started = time.monotonic()
    assert parent.stdout.read() == b""  # the worker has the other end of the pipe until it ends
    assert time.monotonic() - started < 5
    parent.communicate()


def test_resources_reach_a_worker_as_they_are(tmp_path):
    for resources in (NO_FILES, Resources(tmp_path, True, Hardware("cpu", 2), "tensorboard")):
        assert Resources.from_dict(resources.to_dict()) == resources


@pytest.mark.slow
def test_a_run_that_another_process_has_in_hand_comes_last_and_is_said_to_be_waited_for(store):
    waited_for = []
    with store.claim(GOOD):
        release = threading.Event()

        def hold_on(spec):
            waited_for.append(spec)
            release.set()

        other = digits_spec("cdt", {"gamma": 0.5})
        ended = []
        sweep = threading.Thread(
            target=lambda: ended.append(
                run_missing(store, [GOOD, other], workers=1, on_done=done.append, on_wait=hold_on)
            )
        )
        done = []
        sweep.start()
        assert release.wait(120)
        end = time.monotonic() + 120
        while not store.has(other):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert not store.has(GOOD)
    sweep.join(120)
    assert waited_for == [GOOD]
    assert done == [other, GOOD]
    assert ended[0].failures == ()


def test_who_waits_for_a_claim_is_told_for_which_run(store, capsys, monkeypatch):
    monkeypatch.setattr("implicit_geometry.experiments.store._PATIENCE", 0.05)
    with store.claim(GOOD):
        assert execute(store.folder, GOOD, NO_FILES) == Ending.CLAIMED
    say_waiting(GOOD)
    assert capsys.readouterr().err == f"waiting for run {GOOD.key} (ce, seed 0), which another process has in hand\n"


def test_a_finished_run_is_not_run_again(store, monkeypatch):
    assert execute(store.folder, GOOD, NO_FILES) == Ending.FINISHED
    monkeypatch.setattr(
        "implicit_geometry.experiments.backends.execute.train_run", lambda *a, **k: pytest.fail("ran again")
    )
    assert execute(store.folder, GOOD, NO_FILES) == Ending.FINISHED
    assert run_missing(store, [GOOD]).ran == 0


def test_any_error_of_a_run_is_recorded_with_its_kind(store, monkeypatch):
    def crash(*args, **kwargs):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("implicit_geometry.experiments.backends.execute.train_run", crash)
    assert execute(store.folder, GOOD, NO_FILES) == Ending.FAILED
    assert store.failure(GOOD).reason == "ZeroDivisionError: division by zero"


def test_a_bad_number_of_workers_is_refused(store):
    with pytest.raises(InputError, match="workers"):
        run_missing(store, [GOOD], workers=0)
