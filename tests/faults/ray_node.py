"""A sweep on a Ray cluster of two nodes, of which one is killed after the first result: SWEEP.yaml STORE."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path


def main() -> None:
    """Run the sweep; exit code 1 where a run failed."""
    import ray
    from ray.cluster_utils import Cluster

    from implicit_geometry.experiments.backends.ray_cluster import run_missing_on_ray
    from implicit_geometry.experiments.store import open_store
    from implicit_geometry.experiments.sweep_file.read import read_sweep

    specs, store = read_sweep(Path(sys.argv[1])), open_store(sys.argv[2])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    victim = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)

    def kill_after_the_first_result() -> None:
        while not any(store.has(spec) for spec in specs):
            time.sleep(0.05)
        cluster.remove_node(victim, allow_graceful=False)

    threading.Thread(target=kill_after_the_first_result, daemon=True).start()
    outcome = run_missing_on_ray(store, specs)
    ray.shutdown()
    cluster.shutdown()
    sys.exit(1 if outcome.failures else 0)


if __name__ == "__main__":
    main()
