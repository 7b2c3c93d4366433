import math
import os
import re
from itertools import product
from pathlib import Path

import pytest

from implicit_geometry import ClassCounts, InputError
from implicit_geometry.experiments.spec import DataSpec, NetworkSpec, Optimization, RunSpec
from implicit_geometry.experiments.sweep_file.read import MAX_RUNS, read_sweep, sweep_specs
from implicit_geometry.experiments.sweep_file.yaml_file import parse_yaml

SMALL = {"counts": [20, 2], "losses": "ce"}
EXAMPLES = Path(__file__).parents[3] / "examples"

FULL = """
data: {name: mnist, test_per_class: 200, validation_per_class: 5, augment: true}
counts: "step:10,10"
max_count: 500
network: {name: mlp, depth: 6, width: 2048}
losses:
  - ce
  - {rule: cdt, gamma: [-0.5, 0.5]}
optimization: {epochs: 50, batch_size: 128, learning_rate: 0.1, weight_decay: 5e-4, schedule: step}
seeds: 3
record_every: 2
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "sweep.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def mistakes(document):
    """The lines of the error that a document leads to."""
    with pytest.raises(InputError) as raised:
        sweep_specs(document)
    first, *rest = str(raised.value).split("\n")
    assert not rest or first == f"the sweep has {len(rest)} mistakes"
    return [line.strip() for line in rest] or [first]


def test_a_whole_file_gives_every_combination(write):
    shared = {
        "counts": tuple([500] * 5 + [50] * 5),
        "data": DataSpec("mnist", test_per_class=200, validation_per_class=5, augment=True),
        "network": NetworkSpec("mlp", {"depth": 6, "width": 2048}),
        "optimization": Optimization(epochs=50, batch_size=128, learning_rate=0.1, weight_decay=5e-4, schedule="step"),
        "record_every": 2,
    }
    expected = [
        RunSpec(rule, given, seed=seed, **shared)
        for seed in range(3)
        for rule, given in (("ce", {}), ("cdt", {"gamma": -0.5}), ("cdt", {"gamma": 0.5}))
    ]
    assert read_sweep(write(FULL)) == expected


def test_what_is_left_out_has_the_documented_defaults():
    assert sweep_specs(SMALL) == [RunSpec("ce", {}, (20, 2), record_every=1)]


def test_only_digits_are_tested_on_fifty_samples_unless_asked():
    names = ["digits", "mnist", "folder:/some/where"]
    assert [spec.data for spec in sweep_specs({**SMALL, "data": names})] == [
        DataSpec("digits", test_per_class=50),
        DataSpec("mnist", test_per_class=None),
        DataSpec("folder:/some/where", test_per_class=None),
    ]
    (asked,) = sweep_specs({**SMALL, "data": {"name": "mnist", "test_per_class": 7}})
    assert asked.data.test_per_class == 7


def test_every_list_is_a_grid():
    document = {
        "counts": ["step:4,10", [9, 3, 3, 1]],
        "max_count": 50,
        "data": [{"name": "digits", "validation_per_class": [0, 5]}],
        "network": ["linear", {"name": "mlp", "width": [8, 16]}],
        "losses": {"rule": ["cdt", "ldt"], "gamma": [-0.5, 0.5], "normalize": ["mean", "max"]},
        "optimization": {"learning_rate": [0.1, 0.01]},
        "seeds": [7, 3],
    }
    specs = sweep_specs(document)
    assert len({spec.key for spec in specs}) == len(specs) == 2 * 2 * 3 * 8 * 2 * 2
    found = {
        (s.seed, s.counts, s.data.validation_per_class, s.network.options.get("width"), s.optimization.learning_rate)
        for s in specs
    }
    counts = ((50, 50, 5, 5), (9, 3, 3, 1))
    assert found == set(product((7, 3), counts, (0, 5), (None, 8, 16), (0.1, 0.01)))
    assert [spec.seed for spec in specs] == [7] * 192 + [3] * 192


def test_the_smoothing_of_labels_is_an_axis_of_a_loss():
    losses = ["ce", {"rule": ["cdt", "ldt"], "gamma": [0.25, 0.5], "label_smoothing": [0, 0.1]}]
    specs = sweep_specs({**SMALL, "losses": losses})
    found = [(spec.rule, spec.hyperparameters.get("gamma"), spec.label_smoothing) for spec in specs]
    assert found == [("ce", None, 0.0), *product(("cdt", "ldt"), (0.25, 0.5), (0.0, 0.1))]
    (alone,) = sweep_specs({**SMALL, "losses": {"rule": "ce", "label_smoothing": 0.1}})
    assert alone == RunSpec("ce", {}, (20, 2), record_every=1, label_smoothing=0.1)


def test_runs_that_are_the_same_are_one():
    assert len(sweep_specs({**SMALL, "losses": ["ce", "ce"], "seeds": [1, 1]})) == 1


def test_a_run_has_one_name_however_its_numbers_are_written():
    names = {
        sweep_specs(
            {
                "counts": [20, 2],
                "losses": {"rule": "cdt", "gamma": gamma},
                "optimization": {"learning_rate": rate, "epochs": epochs},
            }
        )[0].key
        for gamma, rate, epochs in ((1, 1, 3), (1.0, 1.0, 3.0))
    }
    assert len(names) == 1


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("exp:5,16", ClassCounts.exponential(num_classes=5, imbalance_ratio=16, max_count=80)),
        ("step:4,8,0.25", ClassCounts([80, 80, 80, 10])),
        ("30,20,10", ClassCounts([30, 20, 10])),
        ([30, 20, 10], ClassCounts([30, 20, 10])),
    ],
)
def test_counts_are_what_predict_takes(profile, expected):
    (spec,) = sweep_specs({"counts": profile, "max_count": 80, "losses": "ce"})
    assert spec.class_counts() == expected


def test_every_mistake_is_named_with_its_place():
    document = {
        "data": {"name": "mnits", "test_per_class": 0, "augment": "maybe", "validation_per_class": None},
        "counts": ["step:10,10", "step:10"],
        "network": {"name": "mlp", "depth": [1, 0]},
        "losses": [
            "ce",
            "cdtt",
            {"rule": "cdt", "gama": 1},
            {"rule": ["ldt", "ce"], "gamma": [-0.5, "abc"]},
            {"rule": "ldam", "max_margin": -1},
            {"gamma": 0.5},
            3,
            {"rule": "cdt"},
        ],
        "optimization": {"epochs": 0, "learning_rat": 0.1, "schedule": ["cosine", "stp"], "weight_decay": True},
        "seed": 3,
        "seeds": [0, -1],
        "record_every": 0.5,
        "max_count": 0,
    }
    lines = mistakes(document)
    for start, part in [
        ("key must be one of data, counts", "got 'seed'; did you mean 'seeds'?"),
        ("record_every must be a whole number", "got 0.5"),
        ("max_count must be", "got 0"),
        ("seeds[1] must be", "got -1"),
        ("counts[1] must have the form step:K,R", "got 'step:10'"),
        ("data.name must be one of", "got 'mnits'; did you mean 'mnist'?"),
        ("data.test_per_class must be", "at least 1, got 0"),
        ("data.augment must be true or false", "got 'maybe'"),
        ("data.validation_per_class must have a value", "got none"),
        ("network.depth must be", "between 1 and 10000, got 0"),
        ("losses[1].rule must be one of", "got 'cdtt'; did you mean 'cdt'?"),
        ("losses[2]: key must be one of rule, gamma", "got 'gama'; did you mean 'gamma'?"),
        ("losses[3].gamma[1] must be a number", "got 'abc'"),
        ("losses[3]: key must be one of rule", "got 'gamma'"),
        ("losses[4].max_margin must be", "got -1"),
        ("losses[5].rule must be given", ""),
        ("losses[6] must be a rule", "got 3"),
        ("losses[7].gamma must be given", "cdt needs it"),
        ("optimization: key must be one of", "got 'learning_rat'; did you mean 'learning_rate'?"),
        ("optimization.epochs must be", "at least 1, got 0"),
        ("optimization.schedule[1] must be one of", "got 'stp'; did you mean 'step'?"),
        ("optimization.weight_decay must be a number", "got True"),
    ]:
        assert any(line.startswith(start) and part in line for line in lines), (start, lines)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"losses": []}, "losses must not be empty"),
        ({"seeds": []}, "seeds must not be empty"),
        ({"counts": []}, "counts must not be empty"),
        ({"counts": {"step": 10}}, "counts must be a sequence of numbers"),
        ({"counts": None}, "counts must be"),
        ({"counts": [[5, 1], [5, 0]]}, "counts[1] must be at least 1"),
        ({"seeds": 0}, "seeds must be"),
        ({"seeds": MAX_RUNS + 1}, "seeds must be"),
        (
            {"network": {"name": "mlp", "widht": 8}},
            "network: options of mlp must be among depth, width, normalization, head_bias, got",
        ),
        ({"network": {"name": []}}, "network.name must not be empty"),
        ({"network": "resnet81"}, "network must be one of"),
        ({"optimization": "fast"}, "optimization must be keys with values, got 'fast'"),
        ({"optimization": {"learning_rate": []}}, "optimization.learning_rate must not be empty"),
        ({"losses": {"rule": "cdt", "gamma": 2000}}, "losses.gamma must keep"),
        (
            {"losses": {"rule": "cdt", "gamma": 1, "normalize": "sum"}},
            "losses.normalize must be one of mean, max, none",
        ),
        ({"losses": {"rule": "ce", "label_smoothing": 1}}, "losses.label_smoothing must be below 1"),
        ({"losses": {"rule": "ce", "label_smoothing": -0.1}}, "losses.label_smoothing must be a finite number"),
        ({"losses": {"rule": "ce", "label_smoothing": math.nan}}, "losses.label_smoothing must be a finite number"),
        (
            {"losses": ["ce", {"rule": "ce", "label_smoothing": [0, "x"]}]},
            "losses[1].label_smoothing[1] must be a number",
        ),
        ({"losses": {"rule": "ce", "label_smoothing": None}}, "losses.label_smoothing must be a number"),
        ({"losses": {"rule": "ce", "label_smoothing": []}}, "losses.label_smoothing must not be empty"),
        ({"data": 3}, "data must be a name"),
        ({"data": {"name": "digits", "image_size": True}}, "data.image_size must be a whole number"),
    ],
)
def test_single_mistakes(change, line):
    (found,) = mistakes({**SMALL, **change})
    assert found.startswith(line)


@pytest.mark.parametrize("key", ["counts", "losses"])
def test_what_must_be_given(key):
    assert mistakes({k: v for k, v in SMALL.items() if k != key}) == [f"{key} must be given"]


def test_a_grid_beyond_reason_is_refused_before_it_is_made():
    many = [float(i) for i in range(400)]
    document = {**SMALL, "losses": {"rule": "vs", "gamma": many, "tau": many}}
    with pytest.raises(InputError, match="at most 100,000"):
        sweep_specs(document)
    with pytest.raises(InputError, match="at most 100,000"):
        sweep_specs({**SMALL, "seeds": 1000, "optimization": {"epochs": list(range(1, 102))}})


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("5E3", 5e3), ("-2.5e-1", -0.25), ("1.e2", 100.0), ("1e", "1e"), ("e5", "e5"), ("1e-4x", "1e-4x")],
)
def test_powers_of_ten_are_numbers(text, value):
    found = parse_yaml(text)
    assert type(found) is type(value)
    assert found == value if isinstance(value, str) else math.isclose(found, value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "sweep.yaml: file must describe something, got an empty one"),
        (
            "counts: [1",
            "sweep.yaml: line 1 must be valid YAML, got while parsing a flow sequence, expected ',' or ']'",
        ),
        (
            "losses: ce\ncounts: [2, 1]\nlosses: ce\n",
            "sweep.yaml: line 3 must be valid YAML, got the key 'losses' twice",
        ),
        (
            "losses:\n  - {rule: cdt, gamma: 1, gamma: 2}\n",
            "sweep.yaml: line 2 must be valid YAML, got the key 'gamma' twice",
        ),
        ("losses:\n\t- ce\n", "indent with spaces"),
        ("just words", "the sweep must have the keys data, counts"),
        ("a: 1\n---\nb: 2\n", "expected a single document"),
        ("losses: !!python/object:os.system {}\n", "could not determine a constructor"),
        ("counts: [2, 1]\nlosses: [ce, cdtt]\n", r"sweep.yaml: losses\[1\].rule must be one of"),
    ],
)
def test_bad_files(write, text, message):
    with pytest.raises(InputError, match=message):
        read_sweep(write(text))


BILLION_LAUGHS = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            BILLION_LAUGHS,
            "line 5 must be valid YAML, got more than 30,000 values, every alias in full",
            id="anchors",
        ),
        pytest.param(
            "base: &b0 {a: 1}\n"
            + "".join(f"m{i}: &b{i} {{<<: [{', '.join([f'*b{i - 1}'] * 9)}]}}\n" for i in range(1, 10)),
            "got more than 30,000 values, every alias in full",
            id="merged anchors",
        ),
        pytest.param(
            "counts: &a [*a]\n",
            "line 1 must be valid YAML, got an alias inside of what it stands for",
            id="itself",
        ),
        pytest.param("counts: " + "[" * 5000, "line 1 must be valid YAML, got more than 50 levels", id="brackets"),
        pytest.param("counts: " + "{a: " * 5000, "line 1 must be valid YAML, got more than 50 levels", id="braces"),
        pytest.param("- " * 5000, "got more than 50 levels", id="dashes"),
        pytest.param("seeds: " + "9" * 10_000, "line 1 must be valid YAML, got a number of 10,000 digits", id="digits"),
        pytest.param(
            "seeds: 0x" + "f" * 10_000,
            "line 1 must be valid YAML, got a number of 10,002 digits",
            id="hexadecimal",
        ),
        pytest.param(
            "seeds: 1" + ":59" * 3000,
            "line 1 must be valid YAML, got a number of 9,001 digits",
            id="base 60",
        ),
        pytest.param(
            "seeds: 1." + "9" * 10_000,
            "line 1 must be valid YAML, got a number of 10,002 digits",
            id="float",
        ),
        pytest.param("seeds: !!int ten", "line 1 must be valid YAML, got a value that cannot be read", id="no number"),
        pytest.param("seeds: !!int ''", "line 1 must be valid YAML, got a value that cannot be read", id="no digits"),
        pytest.param("seeds: !!bool maybe", "line 1 must be valid YAML, got a value that cannot be read", id="no flag"),
        pytest.param(
            "seeds: !!timestamp now",
            "line 1 must be valid YAML, got a value that cannot be read",
            id="no time",
        ),
        pytest.param("seeds: 2001-99-99", "line 1 must be valid YAML, got a value that cannot be read", id="no date"),
        pytest.param(
            "a: [" + "1," * 31_000 + "]",
            "line 1 must be valid YAML, got more than 30,000 values",
            id="values",
        ),
        pytest.param("a: " + "b" * 2**21, "at most 1,048,576 are read", id="size"),
        pytest.param("\x00", "text must be valid YAML, got unacceptable character", id="control character"),
        pytest.param(
            "counts: [2, 1]\nlosses: ce\nnetwork: '.x:f'\n",
            "network must name a module by its full name, as in package.module:NAME, got '.x'",
            id="relative module",
        ),
        pytest.param(
            "counts: [2, 1]\nlosses: ce\nnetwork: 'x..y:f'\n", "must name a module by its full name", id="empty part"
        ),
    ],
)
def test_a_file_that_would_fill_memory_or_time_is_one_error(write, text, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        read_sweep(write(text))
    assert len(str(error.value)) < 400


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_or_a_device_is_no_sweep_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", Path("/dev/zero")):
        with pytest.raises(InputError, match="it is no regular file"):
            read_sweep(path)


def test_of_thousands_of_mistakes_a_hundred_are_shown(write):
    with pytest.raises(InputError) as error:
        read_sweep(write(f"counts: [2, 1]\nlosses: [{', '.join(map(str, range(5000)))}]\n"))
    lines = str(error.value).split("\n")
    assert "5000 mistakes" in lines[0]
    assert lines[-1] == "  and 4900 more"
    assert len(lines) == 102


def test_a_module_of_a_network_that_fails_is_named(tmp_path, monkeypatch, write):
    (tmp_path / "broken_networks.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"'broken_networks' \(division by zero\)"):
        read_sweep(write("counts: [2, 1]\nlosses: ce\nnetwork: 'broken_networks:f'\n"))


def test_a_missing_file_a_folder_and_no_text(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"\xff\xfe\xfa")
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "latin.yaml"):
        with pytest.raises(InputError, match="must be a readable YAML file"):
            read_sweep(path)


def test_anchors_may_share_values(write):
    text = "counts: [2, 1]\nlosses:\n  - {rule: cdt, gamma: &grid [0.5, 1]}\n  - {rule: ldt, gamma: *grid}\n"
    assert len(read_sweep(write(text))) == 4


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_sweeps(path):
    assert len(read_sweep(path)) > 1


def test_max_count_is_a_grid_of_profiles():
    specs = sweep_specs({"counts": ["step:4,2", [9, 3]], "max_count": [20, 40], "losses": "ce"})
    assert [spec.counts for spec in specs] == [(20, 20, 10, 10), (40, 40, 20, 20), (9, 3)]


def test_a_bad_max_count_is_one_mistake():
    with pytest.raises(InputError) as error:
        sweep_specs({"counts": "step:10,10", "max_count": -4, "losses": "ce"})
    assert str(error.value).count("got") == 1
