"""From results folders to the page."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from implicit_geometry._validate import InputError
from implicit_geometry.experiments.run import Failure
from implicit_geometry.experiments.spec import DataSpec, RunSpec
from implicit_geometry.experiments.store import RunStore, open_store
from implicit_geometry.report.gather import find_stores, gather_runs
from implicit_geometry.report.page.document import PageFigure
from implicit_geometry.report.page.setting import NamedFigure
from implicit_geometry.report.write import make_page, write_report
from implicit_geometry.theory.predict import predict
from made_up_runs import made_up_run

COUNTS = (40, 40, 4, 4)
CE, CDT, LDT = (
    RunSpec(rule, given, COUNTS) for rule, given in (("ce", {}), ("cdt", {"gamma": 0.5}), ("ldt", {"gamma": 0.5}))
)
OTHER = RunSpec("ce", {}, (40, 40, 8, 8))
Fill = Callable[..., RunStore]


@pytest.fixture
def fill(tmp_path: Path) -> Fill:
    def make(name: str, *specs: RunSpec) -> RunStore:
        store = open_store(tmp_path / name)
        for spec in specs:
            store.save(made_up_run(spec))
        return store

    return make


@pytest.fixture(autouse=True)
def quick_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn is the business of other tests."""
    monkeypatch.setattr(NamedFigure, "rendered", lambda self: PageFigure(self.title, self.caption, "<svg></svg>"))


def articles(html: str) -> list[str]:
    return re.findall(r'<article class="run" id="run-([0-9a-f]+)"', html)


def test_runs_of_several_folders_stand_on_one_page_once(fill: Fill) -> None:
    first, second = fill("a", CE, CDT), fill("b", CDT, LDT, OTHER)
    page = write_report([first.folder, second.folder])
    html = (first.folder / "report.html").read_text(encoding="utf-8")
    assert sorted(articles(html)) == sorted(spec.key for spec in (CE, CDT, LDT, OTHER))
    assert re.findall(r'<th scope="row"[^>]*><a href="#run-([0-9a-f]+)"', html) == articles(html)
    assert sorted(len(setting.runs) for setting in page.settings) == [1, 3]
    assert not (second.folder / "report.html").exists()


def test_neighbours_are_linked_through_all_runs(fill: Fill) -> None:
    html = make_page(gather_runs([fill("a", CE, CDT, LDT, OTHER)]), title="t").html
    order = articles(html)
    steps = [re.findall(r'href="#run-([0-9a-f]+)" title', part) for part in re.findall(r"<nav.*?</nav>", html)]
    assert steps == [order[1:2], *([order[i - 1], order[i + 1]] for i in range(1, 3)), order[2:3]]


def test_seeds_that_draw_the_order_of_the_classes_are_averaged(fill: Fill) -> None:
    specs = [replace(CDT, data=DataSpec(class_order="seed"), seed=seed) for seed in range(4)]
    store = fill("a", *specs, OTHER)
    html = make_page(gather_runs([store]), title="t").html
    (found,) = re.findall(
        r"mean Gram matrices over them stand ([\d.]+) \(W\) and ([\d.]+) \(H\) from their limit, single networks "
        r"([\d.]+) and ([\d.]+)",
        html,
    )
    runs = [made_up_run(spec) for spec in specs]
    grams = [rows @ rows.T for rows in (run.arrays["embedding"] for run in runs)]
    mean = np.mean([gram / np.linalg.norm(gram) for gram in grams], axis=0)
    limit = predict(runs[0].problem).geometry.embedding.dense()
    distance = np.linalg.norm(mean / np.linalg.norm(mean) - limit / np.linalg.norm(limit))
    assert found[1] == f"{distance:.2f}"
    assert found[3] == f"{np.mean([run.record['embedding_limit_distance'] for run in runs]):.2f}"
    assert "class_order seed" in html
    assert "draw which class" not in make_page(gather_runs([fill("b", CE, CDT)]), title="t").html


def test_folders_of_folders_are_searched(fill: Fill, tmp_path: Path) -> None:
    fill("study/mnist", CE)
    fill("study/cifar", CDT)
    assert [store.folder.name for store in find_stores(tmp_path / "study")] == ["cifar", "mnist"]
    assert len(gather_runs(find_stores(tmp_path)).runs) == 2


def test_a_folder_that_is_no_results_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for folder in (tmp_path, tmp_path / "missing", tmp_path / "thesis.txt"):
        with pytest.raises(InputError, match=r"runs must be a .*folder"):
            write_report([folder])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_without_finished_runs_is_refused_with_the_reason(fill: Fill) -> None:
    store = fill("a")
    with pytest.raises(InputError, match=r"runs must hold finished runs, got \S*a without$"):
        write_report([store.folder])
    store.fail(Failure(CE, "it diverged", final=True))
    with pytest.raises(InputError, match="without: it diverged"):
        write_report([store.folder])


def without_checksums(place: Path, text: str | None = None, **changes: object) -> None:
    """Write a record as an earlier version did, with other values."""
    document = json.loads((place / "record.json").read_text())
    document = {"spec": document["spec"], "record": {**document["record"], **changes}}
    (place / "record.json").write_text(json.dumps(document) if text is None else text)


def vectors(place: Path, **arrays: np.ndarray) -> None:
    without_checksums(place)
    save_file(arrays, place / "geometry.safetensors")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


TWO = {"classifier": np.eye(4), "embedding": np.eye(4)}
DAMAGES: dict[str, Callable[[Path], object]] = {
    "a text for a number": lambda place: without_checksums(place, nc1="small"),
    "a list for a number": lambda place: without_checksums(place, nc1=[0.1]),
    "null for a distance": lambda place: without_checksums(place, classifier_limit_distance=None),
    "a number of 400 digits": lambda place: without_checksums(place, nc1=10**400),
    "a number for a flag": lambda place: without_checksums(place, terminal_phase=1),
    "a negative ridge": lambda place: without_checksums(place, effective_ridge=-1.0),
    "a record nested 100,000 deep": lambda place: without_checksums(place, "[" * 100_000),
    "a record nested 100,000 deep inside": lambda place: without_checksums(
        place, '{"spec": ' + "[" * 100_000 + "]" * 100_000 + ', "record": {}}'
    ),
    "a pipe for a record": lambda place: fifo(place / "record.json"),
    "a pipe for vectors": lambda place: fifo(place / "geometry.safetensors"),
    "a pipe for weights": lambda place: fifo(place / "weights.safetensors"),
    "a pipe for a history": lambda place: fifo(place / "history.parquet"),
    "an endless record": lambda place: endless(place / "record.json"),
    "endless vectors": lambda place: endless(place / "geometry.safetensors"),
    "no embedding": lambda place: vectors(place, classifier=np.eye(4)),
    "an embedding of other classes": lambda place: vectors(place, classifier=np.eye(4), embedding=np.eye(3, 4)),
    "an embedding of another length": lambda place: vectors(place, classifier=np.eye(4), embedding=np.eye(4, 5)),
    "an embedding of NaN": lambda place: vectors(place, classifier=np.eye(4), embedding=np.full((4, 4), np.nan)),
    "a bias of a head without": lambda place: vectors(place, **TWO, bias=np.ones(4)),
    "no bias of a head with one": lambda place: (vectors(place, **TWO), without_checksums(place, bias=True)),
    "a bias of other classes": lambda place: (
        vectors(place, **TWO, bias=np.ones(3)),
        without_checksums(place, bias=True),
    ),
    "a reason for no target": lambda place: without_checksums(
        place, not_compared={"": "x"}, classifier_limit_distance=None
    ),
    "a history of texts": lambda place: (
        without_checksums(place),
        pd.DataFrame({"epoch": [1], "nc1": ["small"]}).to_parquet(place / "history.parquet"),
    ),
    "a changed number": lambda place: (place / "record.json").write_text(
        (place / "record.json").read_text().replace('"nc1": 0.01', '"nc1": 0.02')
    ),
    "record": lambda place: (place / "record.json").write_text("{"),
    "record without columns": lambda place: (place / "record.json").write_text(
        re.sub(r'"classifier_limit_distance": [\d.e-]+,', "", (place / "record.json").read_text())
    ),
    "vectors": lambda place: (place / "geometry.safetensors").write_bytes(b"junk"),
    "no vectors": lambda place: (place / "geometry.safetensors").unlink(),
    "history": lambda place: (place / "history.parquet").write_bytes(b"junk"),
    "name": lambda place: place.rename(place.with_name("0" * 16)),
    "empty": lambda place: (shutil.rmtree(place), place.mkdir()),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_runs_are_named_and_the_others_shown(fill: Fill, damage: str) -> None:
    store = fill("a", CE, CDT)
    DAMAGES[damage](store.place(CDT))
    page = write_report([store.folder])
    (text,) = page.damaged
    assert ("0" * 16 if damage == "name" else CDT.key) in text
    assert articles(page.html) == [CE.key]
    assert "Damaged, and not in this report: 1" in page.html


def test_runs_without_checksums_are_shown_and_counted(fill: Fill) -> None:
    store = fill("a", CE, CDT)
    assert write_report([store.folder]).unverified == 0
    without_checksums(store.place(CDT))
    page = write_report([store.folder])
    assert (page.unverified, page.damaged) == (1, ())
    assert "<dt>without checksums</dt><dd>1</dd>" in page.html


def test_only_damaged_runs_make_no_page(fill: Fill) -> None:
    store = fill("a", CE)
    (store.place(CE) / "geometry.safetensors").write_bytes(b"junk")
    with pytest.raises(InputError, match=f"got only damaged ones: .*{CE.key}"):
        write_report([store.folder])
    assert not (store.folder / "report.html").exists()


def test_failures_are_listed_unless_another_folder_has_the_run(fill: Fill) -> None:
    first, second = fill("a", CE), fill("b", CDT)
    for spec in (CDT, LDT):
        first.fail(Failure(spec, f"{spec.rule} diverged", final=True))
    page = write_report([first.folder, second.folder])
    assert [failure.spec for failure in page.failures] == [LDT]
    assert "ldt diverged" in page.html
    assert "cdt diverged" not in page.html


def test_progress_is_told_for_runs_and_figures(fill: Fill) -> None:
    seen: list[tuple[str, int]] = []

    def track(items: object, description: str) -> object:
        seen.append((description, len(items)))  # type: ignore[arg-type]
        return items

    make_page(gather_runs([fill("a", CE, CDT)]), title="t", track=track)  # type: ignore[arg-type]
    assert seen == [("runs", 2), ("figures", 3)]


def test_the_page_of_the_same_runs_is_the_same(fill: Fill) -> None:
    store = fill("a", CE, CDT)
    assert write_report([store.folder]).html == write_report([store.folder]).html
