import json

import pandas as pd
import pytest

from implicit_geometry.experiments.backends.local_workers import run_missing
from implicit_geometry.experiments.store import open_store
from implicit_geometry.studies.demo import GRID, SMOOTHED, demo_specs

NUM_RUNS = len(GRID) + len(SMOOTHED)
EIGHT = [
    f"{block}_{name}"
    for block in ("classifier", "embedding")
    for name in ("norm_ratio", "cos_majority", "cos_minority", "cos_between")
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A demo whose networks trained for one epoch."""
    folder = tmp_path_factory.mktemp("demo") / "runs"
    assert run_missing(open_store(folder), demo_specs(epochs=1)).ran == NUM_RUNS
    return folder


@pytest.mark.slow
def test_demo_writes_records_figures_and_page_and_uses_finished_runs_again(finished, igeom, monkeypatch):
    monkeypatch.setattr("implicit_geometry.report.predictions.POINTS", 9)  # exponents of each line of theory
    code, out, _ = igeom("demo", "--output", finished, "--epochs", 1)
    assert code == 0
    assert f"{NUM_RUNS} of {NUM_RUNS} runs were finished before" in " ".join(out.split())
    assert out.count("•") == 4
    records = pd.read_parquet(finished / "records.parquet")
    assert len(records) == NUM_RUNS
    assert set(EIGHT) <= set(records.columns)
    assert records[EIGHT].notna().all(axis=None)
    assert {json.loads(spec)["optimization"]["epochs"] for spec in records["spec"]} == {1}
    assert (finished / "report.html").read_text(encoding="utf-8").count("<figure>") == 12
    assert len(list(finished.glob("*.png"))) == 12  # one epoch is too few for a history
    assert not list(finished.rglob(".partial-*"))


def test_demo_refuses_a_folder_of_something_else(tmp_path, igeom):
    (tmp_path / "thesis.txt").write_text("mine")
    code, _, err = igeom("demo", "--output", tmp_path)
    assert code == 2
    assert "holds something else" in err
