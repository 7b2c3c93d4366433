import threading
import time

import pytest

from implicit_geometry import InputError
from implicit_geometry.experiments.spec import NetworkSpec, Optimization, RunSpec
from implicit_geometry.experiments.store import open_store
from implicit_geometry.experiments.training.fit import Hardware
from implicit_geometry.experiments.training.train_run import Resources

ray = pytest.importorskip("ray", reason="needs the extra ray")
from ray.cluster_utils import Cluster  # noqa: E402

from implicit_geometry.experiments.backends.ray_cluster import run_missing_on_ray  # noqa: E402

SPECS = [
    RunSpec(
        "cdt",
        {"gamma": gamma},
        (12,) * 5 + (4,) * 5,
        network=NetworkSpec("mlp", {"depth": 1, "width": 16}),
        optimization=Optimization(epochs=40, batch_size=64),
    )
    for gamma in (-0.5, -0.25, 0.25, 0.5, 0.75, 1.0)
]
BROKEN = RunSpec("ce", {}, (500,) * 10)


@pytest.fixture
def cluster():
    """Two nodes of one core; the second does not hold the driver."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_every_run_ends_once_although_a_node_is_killed(cluster, tmp_path):
    store = open_store(tmp_path / "runs")
    victim = next(iter(cluster.worker_nodes))

    def kill_after_the_first_result():
        while not any(store.has(spec) for spec in SPECS):
            time.sleep(0.05)
        cluster.remove_node(victim, allow_graceful=False)

    killer = threading.Thread(target=kill_after_the_first_result, daemon=True)
    killer.start()
    seen = []
    result = run_missing_on_ray(store, [*SPECS, BROKEN], on_done=seen.append)
    killer.join()
    assert len(seen) == len(SPECS) + 1
    assert [failure.spec for failure in result.failures] == [BROKEN]
    assert "class 0" in result.failures[0].reason
    assert sorted(run.spec.key for run in store.contents().runs) == sorted(spec.key for spec in SPECS)
    assert run_missing_on_ray(store, SPECS).ran == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_gpu_that_no_node_has_is_asked_for_in_vain(cluster, tmp_path):
    resources = Resources(hardware=Hardware("gpu"))
    with pytest.raises(InputError, match="got 'gpu' and no node of it has a GPU"):
        run_missing_on_ray(open_store(tmp_path / "runs"), SPECS, resources=resources)


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_out_of_reach_is_named(tmp_path, monkeypatch):
    def out_of_reach(**options):
        raise ConnectionError("no cluster")

    monkeypatch.setattr(ray, "init", out_of_reach)
    with pytest.raises(InputError, match=r"ray-address must be that of a running cluster, got '10\.0\.0\.9:6379'"):
        run_missing_on_ray(open_store(tmp_path / "runs"), SPECS, ray_address="10.0.0.9:6379")
