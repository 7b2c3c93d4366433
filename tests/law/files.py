"""Attacks on files: counts, features, sweeps, results folders, and the settings that they hold."""

from __future__ import annotations

import io
import json
import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

import implicit_geometry as ig
from implicit_geometry.data.draw import imbalanced_split
from implicit_geometry.data.features import load_features
from implicit_geometry.data.load import load_source
from implicit_geometry.experiments.spec import DataSpec, NetworkSpec, Optimization, RunSpec
from implicit_geometry.experiments.store import existing_store, open_store
from implicit_geometry.experiments.sweep_file.read import read_sweep, sweep_specs
from implicit_geometry.experiments.sweep_file.yaml_file import parse_yaml
from implicit_geometry.profiles import parse_counts
from implicit_geometry.report.write import write_report
from law.attack import HELD, ORACLE, Attack
from law.cases import VECTORS, seeds
from law.nonsense import nonsense_for

texts = st.text(max_size=60) | st.sampled_from(
    [
        "",
        "\0",
        "nan,1",
        "inf 3",
        "1e400,2",
        "5,,5",
        "[3, 2]",
        "step:4",
        "step:4,10,2",
        "step:,",
        "exp:1e9,10",
        "zipf:1e9,1e12",
        "step:nan,10",
        "step:4,inf",
        "zipf:10,5",
        "step:4,10,0.5,7",
        "zipf:2,1e300",
        "step:9223372036854775808,10",
        "ste:4,10",
        "0x10,3",
        "1_000,5",
    ]
)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    place = Path(tempfile.mkdtemp(prefix="law-"))
    try:
        yield place
    finally:
        shutil.rmtree(place)


# Class counts


def check_counts_text(text: str) -> str:
    found = parse_counts(text)
    assert found.num_classes >= 2
    assert int(found.values.min()) >= 1
    return HELD


def check_counts_file(case: tuple[list[int], str, bytes]) -> str:
    counts, separator, junk = case
    with folder() as place:
        file = place / "counts.txt"
        file.write_bytes(separator.join(map(str, counts)).encode() + junk)
        found = parse_counts(str(file))
    if not junk:
        assert found.values.tolist() == counts
        return ORACLE
    assert int(found.values.min()) >= 1
    return HELD


# Features


def draw_features(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    n, d, k = int(rng.integers(2, 9)), int(rng.integers(1, 5)), int(rng.integers(2, 4))
    arrays = {
        "embeddings": rng.normal(size=(n, d)).astype(rng.choice(["float32", "float64", "float16"])),
        "labels": np.arange(n) % k,
    }
    if rng.random() < 0.3:
        arrays |= {"test_embeddings": rng.normal(size=(k, d)), "test_labels": np.arange(k)}
    return arrays


WRONG_ARRAYS = [
    np.array([1.0]),
    np.zeros((0, 3)),
    np.zeros((3, 0)),
    np.full((2, 2), np.nan),
    np.array(["a", "b"]),
    np.array(3),
    np.array([2**62, 0]),
    np.array([-1, 0]),
    np.array([0.5, 1.0]),
    np.array([1j, 0]),
    np.array([True, False]),
    np.zeros((2, 2, 2)),
    np.array([1e300, 1.0]),
]


def check_features(case: tuple[int, str | None, int, bytes | None, int]) -> str:
    """A whole file is read back to the last bit; one with a wrong array or with junk is refused, or read as it is."""
    seed, wrong, index, junk, place_of_junk = case
    arrays = draw_features(seed)
    whole = wrong is None and junk is None
    if wrong is not None:
        arrays[wrong] = WRONG_ARRAYS[index]
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    content = buffer.getvalue()
    if junk is not None:
        cut = place_of_junk % len(content)
        content = content[:cut] + junk + content[cut + len(junk) :]
    with folder() as place:
        file = place / "features.npz"
        file.write_bytes(content)
        source = load_features(file)
    if not whole:
        assert np.isfinite(source.train).all()
        return HELD
    assert np.array_equal(source.train, arrays["embeddings"].astype(np.float32))
    assert np.array_equal(source.train_labels, arrays["labels"])
    assert (source.test is not None) == ("test_labels" in arrays)
    return ORACLE


# Losses as JSON


def check_json(case: tuple[dict[str, Any], str]) -> str:
    """A document with one value replaced, or cut."""
    changes, tail = case
    document = {"format": "implicit-geometry/parameterization", "version": 1} | {name: [1.0, 2.0] for name in VECTORS}
    document = json.loads(ig.cdt([4, 1], gamma=1.0).to_json()) | document | changes
    text = json.dumps(document)
    found = ig.Parameterization.from_json(text[: len(text) - len(tail)] if tail else text)
    assert found.num_classes >= 2
    assert all(np.isfinite(getattr(found, name)).all() for name in VECTORS)
    return HELD


# Sweeps

RULES: list[dict[str, Any] | str] = [
    "ce",
    {"rule": "cdt", "gamma": 0.5},
    {"rule": ["ldt", "weighted"], "gamma": [-0.5, 0.25]},
    {"rule": "ldam", "max_margin": 0.5, "label_smoothing": [0, 0.1, 0.25]},
]


def draw_sweep(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    document: dict[str, Any] = {
        "counts": [[50, 5], "step:4,10", ["step:4,10", "exp:4,20"]][rng.integers(3)],
        "losses": [RULES[i] for i in sorted(set(rng.integers(0, 4, 3).tolist()))],
    }
    if rng.random() < 0.5:
        document["seeds"] = [2, [3, 5]][rng.integers(2)]
    if rng.random() < 0.5:
        document["network"] = {"name": "mlp", "depth": [1, 2], "width": 8}
    if rng.random() < 0.5:
        document["optimization"] = {"epochs": int(rng.integers(1, 9)), "learning_rate": [0.1, 0.01]}
    return document


def check_sweep(seed: int) -> str:
    """As many runs as the grid has combinations, each of them once."""
    document = draw_sweep(seed)
    specs = sweep_specs(document)

    def size(value: Any) -> int:
        return len(value) if isinstance(value, list) else 1

    losses = sum(
        math.prod(size(loss.get(key)) for key in ("rule", "gamma", "label_smoothing")) if isinstance(loss, dict) else 1
        for loss in document["losses"]
    )
    profiles = (
        size(document["counts"]) if isinstance(document["counts"], str) or isinstance(document["counts"][0], str) else 1
    )
    seeds_given = document.get("seeds", 1)
    total = losses * profiles * (seeds_given if isinstance(seeds_given, int) else len(seeds_given))
    total *= 2 if "network" in document else 1
    total *= 2 if "optimization" in document else 1
    assert len({spec.key for spec in specs}) == len(specs) == total, (len(specs), total)
    for spec in specs:
        assert RunSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    return ORACLE


WRONG_VALUES = [
    None,
    True,
    -1,
    0,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "x",
    "größe",
    [],
    [[]],
    {},
    {"a": 1},
    [None],
    10**30,
    "step:1,1",
    [1, "a"],
    {"name": None},
    [{"rule": "cdt"}],
    1e300,
    "nan",
    "\ud800",
]


def check_wrong_sweep(case: tuple[int, dict[str, int]]) -> str:
    seed, changes = case
    specs = sweep_specs(draw_sweep(seed) | {key: WRONG_VALUES[index] for key, index in changes.items()})
    assert specs
    return HELD


def check_sweep_file(content: bytes) -> str:
    with folder() as place:
        file = place / "sweep.yaml"
        file.write_bytes(content)
        assert read_sweep(file)
    return HELD


yaml_texts = (
    st.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.binary(max_size=60)
    | st.sampled_from(
        [
            b"counts: [2, 1]\nlosses: ce\n",
            b"[" * 300,
            b"a: &a [1]\nb: *a\n",
            b"counts: !!python/object:os.system {}\n",
            b"? {a: 1}\n: 2\n",
            b"- 1\n- 2\n",
            b"counts: .nan\nlosses: ce\n",
            b"counts: [2, 1]\nlosses: {rule: ce, label_smoothing: .nan}\n",
            b"counts: 12:30:45\nlosses: ce\n",
            b"counts: 2020-01-01\nlosses: ce\n",
            b"<<: 3\n",
            b"\xff\xfe",
            b"counts: " + b"1" * 5000 + b"\nlosses: ce\n",
            b"counts: 0b\nlosses: ce",
            b"counts: 0x_\nlosses: ce",
            b"{[1]: 2}",
            b"counts: &x [*x]\nlosses: ce",
            b"a: !!float x",
            b"a: !!int ''",
            b"a: !!timestamp 2020-13-45",
            b"a: 2020-13-45",
            b"a: !!binary '*'",
            b"%YAML 9.9\n---\na: 1",
            b"=: 1\n",
            b"a: !!set {1, 2}",
        ]
    )
)


def check_yaml(content: bytes) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return HELD
    parse_yaml(text)
    return HELD


# Results folders


def check_results_folder(case: tuple[str, bytes]) -> str:
    """A folder with anything in the place of the marker or of a run is refused by name."""
    name, content = case
    with folder() as place:
        results = place / "results"
        open_store(results)
        target = results / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        existing_store(results)
        write_report([results])
    return HELD


# Splits


def check_split(case: tuple[list[int], list[int], int]) -> str:
    """As many samples of every class as asked for, none of them twice."""
    available, wanted, seed = case
    k = min(len(available), len(wanted))
    available, wanted = available[:k], wanted[:k]
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(k), available))
    fits = all(n + 1 <= there for n, there in zip(wanted, available, strict=True))
    try:
        split = imbalanced_split(labels, ig.ClassCounts(wanted), test_per_class=1, seed=seed)
    except ig.InputError:
        assert not fits
        raise
    assert fits
    assert np.bincount(labels[split.train], minlength=k).tolist() == wanted
    assert np.bincount(labels[split.test], minlength=k).tolist() == [1] * k
    assert not set(split.train.tolist()) & set(split.test.tolist())
    return ORACLE


KEYS = ("data", "counts", "max_count", "network", "losses", "optimization", "seeds", "record_every", "unknown")
MANIFEST = (
    "counts",
    "network",
    "optimization",
    "hyperparameters",
    "data",
    "network",
    "rule",
    "sweep",
    "grid",
    "options",
    "key",
    "runs",
    "gamma",
    "losses",
    "name",
    *KEYS,
)
SPEC = {
    "rule": lambda: "cdt",
    "hyperparameters": lambda: {"gamma": 0.5},
    "counts": lambda: (4, 2),
    "data": DataSpec,
    "network": NetworkSpec,
    "optimization": Optimization,
    "seed": lambda: 0,
    "record_every": lambda: 1,
    "label_smoothing": lambda: 0.1,
}
ATTACKS = [
    Attack(
        "counts as text",
        ("counts profiles",),
        texts,
        check_counts_text,
        8,
        ("counts", "num_classes", "imbalance_ratio", "num_samples", "minority_fraction"),
    ),
    Attack(
        "counts file",
        ("counts profiles",),
        st.tuples(
            st.lists(st.integers(1, 10**15), min_size=2, max_size=20),
            st.sampled_from([",", "\n", " ", ", "]),
            st.just(b"") | st.binary(min_size=1, max_size=5),
        ),
        check_counts_file,
        15,
        ("counts",),
    ),
    Attack(
        "feature file",
        ("feature files",),
        st.tuples(
            seeds,
            st.none() | st.sampled_from(["embeddings", "labels", "test_labels", "test_embeddings"]),
            st.integers(0, len(WRONG_ARRAYS) - 1),
            st.none() | st.none() | st.binary(min_size=1, max_size=4),
            st.integers(0, 10**6),
        ),
        check_features,
        12,
        ("features.npz", "labels", "test"),
    ),
    Attack(
        "Parameterization.from_json",
        ("Parameterization",),
        st.tuples(
            st.dictionaries(
                st.sampled_from([*VECTORS, "format", "version", "other"]),
                st.none()
                | st.booleans()
                | st.floats()
                | st.text(max_size=3)
                | st.lists(st.floats() | st.integers() | st.text(max_size=2) | st.none(), max_size=4),
                max_size=2,
            ),
            st.just("") | st.text(max_size=20),
        ),
        check_json,
        8,
        ("text", "parameters", *VECTORS),
    ),
    Attack("sweep", ("sweep files",), seeds, check_sweep, 4),
    Attack(
        "sweep: wrong values",
        ("sweep files",),
        st.tuples(
            seeds, st.dictionaries(st.sampled_from(KEYS), st.integers(0, len(WRONG_VALUES) - 1), min_size=1, max_size=2)
        ),
        check_wrong_sweep,
        5,
        MANIFEST,
    ),
    Attack("sweep file", ("sweep files",), yaml_texts, check_sweep_file, 6, None),
    Attack("YAML", ("sweep files",), yaml_texts, check_yaml, 6, ("line", "text", "YAML")),
    Attack(
        "results folder",
        ("results folders",),
        st.tuples(
            st.sampled_from(
                [
                    "igeom-results.json",
                    "results.json",
                    "trials/0123/record.json",
                    "trials/x",
                    "failed/x.json",
                    "working/x",
                    "other.txt",
                ]
            ),
            st.binary(max_size=40) | st.sampled_from([b"{}", b"[]", b"null", b'{"version": 1e400}', b"[" * 2000]),
        ),
        check_results_folder,
        1,
        None,
    ),
    Attack(
        "imbalanced_split",
        ("data splits",),
        st.tuples(
            st.lists(st.integers(1, 12), min_size=2, max_size=5),
            st.lists(st.integers(1, 8), min_size=2, max_size=5),
            st.integers(0, 10**6),
        ),
        check_split,
        12,
        ("counts", "labels"),
    ),
    nonsense_for(
        "RunSpec",
        lambda **given: RunSpec(**given).parameterization(),
        SPEC,
        share=4,
        covers=("sweep files",),
        names=("gamma",),
    ),
    nonsense_for(
        "Optimization",
        Optimization,
        {
            "epochs": lambda: 1,
            "batch_size": lambda: 1,
            "learning_rate": lambda: 0.1,
            "momentum": lambda: 0.0,
            "weight_decay": lambda: 0.0,
            "schedule": lambda: "cosine",
            "precision": lambda: "32-true",
        },
        share=3,
        covers=("sweep files",),
    ),
    nonsense_for(
        "DataSpec",
        DataSpec,
        {
            "name": lambda: "digits",
            "test_per_class": lambda: 1,
            "validation_per_class": lambda: 0,
            "image_size": lambda: None,
            "augment": lambda: False,
            "class_order": lambda: "seed",
        },
        share=3,
        covers=("sweep files",),
    ),
    nonsense_for(
        "NetworkSpec", NetworkSpec, {"name": lambda: "mlp", "options": dict}, share=2, covers=("sweep files",)
    ),
    nonsense_for(
        "sweep_specs",
        sweep_specs,
        {"document": lambda: {"counts": [2, 1], "losses": "ce"}},
        share=1,
        covers=("sweep files",),
        names=("sweep", "counts", "losses"),
    ),
    nonsense_for(
        "smoothing in a sweep",
        lambda **given: sweep_specs({"counts": [2, 1], "losses": {"rule": "ce", **given}}),
        {"label_smoothing": lambda: 0.1},
        share=2,
        covers=("sweep files",),
        names=("sweep",),
    ),
    nonsense_for(
        "load_features",
        load_features,
        {"path": lambda: Path("nothing.npz")},
        share=2,
        covers=("feature files",),
        names=("feature file",),
    ),
    nonsense_for(
        "load_source",
        lambda **given: load_source(**given, root=Path("/nowhere")),
        {"name": lambda: "none", "image_size": lambda: None},
        share=2,
        covers=("data splits",),
        names=("source", "data"),
    ),
    nonsense_for(
        "imbalanced_split",
        imbalanced_split,
        {
            "labels": lambda: [0, 0, 0, 1, 1, 1],
            "counts": lambda: ig.ClassCounts([2, 1]),
            "test_per_class": lambda: 1,
            "seed": lambda: 0,
        },
        share=4,
        covers=("data splits",),
    ),
    nonsense_for(
        "existing_store",
        existing_store,
        {"folder": lambda: "/does/not/exist"},
        share=1,
        covers=("results folders",),
        names=("results",),
    ),
]
