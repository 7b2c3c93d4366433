import pytest

from implicit_geometry import InputError
from implicit_geometry.experiments.backends.execute import execute
from implicit_geometry.experiments.spec import NetworkSpec, Optimization, RunSpec
from implicit_geometry.experiments.store import open_store
from implicit_geometry.experiments.training.fit import Hardware
from implicit_geometry.experiments.training.loggers import check_logger
from implicit_geometry.experiments.training.train_run import Resources

SPECS = [
    RunSpec(
        "ldt",
        {"gamma": gamma},
        (12,) * 5 + (4,) * 5,
        network=NetworkSpec("mlp", {"depth": 1, "width": 16}),
        optimization=Optimization(epochs=4, batch_size=64),
        record_every=2,
    )
    for gamma in (0.25, 0.5)
]


@pytest.fixture
def run_all(tmp_path):
    """Run the specs one after another in this process, as a worker does; the store."""

    def run_all(logger):
        for spec in SPECS:
            assert execute(tmp_path / "runs", spec, Resources(hardware=Hardware("cpu"), logger=logger))
        return open_store(tmp_path / "runs")

    return run_all


def test_tensorboard_gets_the_rows_of_every_run_at_their_steps(run_all):
    pytest.importorskip("tensorboard", reason="needs the extra loggers")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    store = run_all("tensorboard")
    for spec in SPECS:
        events = EventAccumulator(str(store.folder / "logs" / spec.key)).Reload().Scalars("geometry/cdnv")
        assert [event.value for event in events] == pytest.approx(store.history(spec)["cdnv"].tolist(), rel=1e-5)
        assert [event.step for event in events] == [3, 7]  # two steps per epoch, counted from 0


def test_every_run_is_one_of_weights_and_biases(run_all, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="needs the extra loggers")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    store = run_all("wandb")
    assert wandb.run is None
    for spec in SPECS:
        (folder,) = store.folder.glob(f"wandb/offline-run-*-{spec.key}")
        assert next(folder.glob("*.wandb")).stat().st_size > 0


def test_an_unknown_logger_and_one_that_is_not_installed_are_refused(monkeypatch):
    check_logger(None)
    with pytest.raises(InputError, match="did you mean 'wandb'"):
        check_logger("wandbb")
    monkeypatch.setattr("implicit_geometry.experiments.training.loggers.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'implicit-geometry\[loggers\]'"):
        check_logger("tensorboard")
