import json
import os
import subprocess
import sys

import numpy as np
import pytest

from implicit_geometry import ClassCounts, InputError, Problem, cdt, predict
from implicit_geometry.profiles import parse_counts
from implicit_geometry.theory.weight_decay import MEASURED_EXPONENTS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500,50", [500, 50]),
        ("500 50 5", [500, 50, 5]),
        ("1e3,1e2", [1000, 100]),
        ("step:4,10", [100, 100, 10, 10]),
        ("step:4,10,0.25", [100, 100, 100, 10]),
        ("exp:3,100", [100, 10, 1]),
        ("zipf:3,11", [6, 3, 2]),
    ],
)
def test_counts_in_every_form(text, expected):
    assert parse_counts(text, max_count=100) == ClassCounts(expected)


@pytest.mark.parametrize("content", ["500\n50\n5\n", "500, 50, 5", "[500, 50, 5]", "[500,\n 50,\n 5\n]\n"])
def test_counts_from_a_file(tmp_path, content):
    path = tmp_path / "counts.txt"
    path.write_text(content)
    assert parse_counts(str(path)) == ClassCounts([500, 50, 5])


@pytest.mark.parametrize(
    "text", ["missing.txt", "step:4", "step:4,10,0.5,7", "step:four,10", "exp:3", "zipf:3.5,10", "5,,x"]
)
def test_counts_that_are_none_are_refused(text):
    with pytest.raises(InputError):
        parse_counts(text)


def test_json_is_the_library_answer(igeom):
    code, out, _ = igeom("predict", "step:10,10", "--loss", "cdt", "--gamma", 0.5, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["blocks"]["classifier"]["norm_ratio"] == pytest.approx(1.2)
    assert document["certificate"]["status"] == "optimal"
    assert np.array(document["classifier_gram"]).shape == (10, 10)
    assert [row["classes"] for row in document["groups"]] == [5, 5]


def test_table_shows_the_known_numbers(igeom):
    code, out, _ = igeom("predict", "step:10,10")
    assert code == 0
    for number in ("2.672", "-0.144", "0.03337", "0.3508", "optimal"):
        assert number in out


def test_smoothed_labels_relu_features_and_prices_are_those_of_the_library(igeom):
    options = [
        "--loss",
        "cdt",
        "--gamma",
        "0.5",
        "--label-smoothing",
        "0.1",
        "--features",
        "nonnegative",
        "--count-exponent",
        "0.8",
        "--json",
    ]
    code, out, _ = igeom("predict", "50,20,5", *options)
    assert code == 0
    found = json.loads(out)
    counts = ClassCounts([50, 20, 5])
    problem = Problem(counts, cdt(counts, gamma=0.5), label_smoothing=0.1, features="nonnegative", count_exponent=0.8)
    np.testing.assert_allclose(found["classifier_gram"], predict(problem).geometry.classifier.dense(), rtol=1e-12)
    assert (found["label_smoothing"], found["features"]) == (0.1, "nonnegative")
    _, text, _ = igeom("predict", "50,20,5", *options[:-1])
    assert "labels smoothed by 0.1, nonnegative features, embeddings at another price" in " ".join(text.split())


@pytest.mark.parametrize(
    ("normalization", "exponent", "ridge", "factor"),
    [("batch", MEASURED_EXPONENTS["batch"].middle, 660**0.5 * 1e-3, "sqrt(N)"), ("none", 0.1, 0.66, "is N times")],
)
def test_a_normalisation_gives_the_price_of_embeddings_and_the_ridge(igeom, normalization, exponent, ridge, factor):
    asked = ["predict", "step:10,10", "--max-count", 120, "--normalization", normalization, "--weight-decay", 1e-3]
    asked += [] if normalization == "batch" else ["--count-exponent", exponent]
    found = json.loads(igeom(*asked, "--json")[1])
    assert found["ridge"] == pytest.approx(ridge)
    assert found["embedding_cost"] == pytest.approx([120**exponent] * 5 + [12**exponent] * 5)
    printed = " ".join(igeom(*asked)[1].split())
    measured = MEASURED_EXPONENTS[normalization]
    assert f"n^{measured.low:g} to n^{measured.high:g}" in printed
    assert factor in printed


def test_without_a_weight_decay_a_normalisation_has_the_limit(igeom):
    code, out, _ = igeom("predict", "step:10,10", "--normalization", "layer")
    assert code == 0
    assert "limit of vanishing ridge" in out
    assert "times the weight decay" not in out


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_geometry_that_is_not_proven_ends_with_exit_code_1_and_says_so(igeom, options):
    strong = "vs", "--gamma", -2.71, "--tau", 1, "--bias"
    code, out, err = igeom("predict", "1900,25,26108548,36922537", "--loss", *strong, *options)
    assert code == 1
    assert "inaccurate" in out
    assert "not proven: status inaccurate, relative gap" in err
    if options:
        assert json.loads(out)["certificate"]["relative_gap"] > 1e-8


def test_norms_that_are_not_proven_are_marked(igeom):
    strong = "--loss", "vs", "--gamma", -2.653, "--ridge", 5.66e-5
    code, out, _ = igeom("predict", "761278186,185008065,11760,4,1", *strong)
    assert code == 0
    assert "not proven to 1%" in out
    rows = json.loads(igeom("predict", "761278186,185008065,11760,4,1", *strong, "--json")[1])["groups"]
    uncertain = [row["norm_error"] is None or row["norm_error"] > 0.01 for row in rows]
    assert out.count(" * ") == sum(uncertain) > 0
    assert not all(uncertain)
    assert all(row["alignment"] is None or abs(row["alignment"]) <= 1 for row in rows)
    assert "not proven" not in igeom("predict", "step:10,10", "--ridge", 0.01)[1]


def test_balanced_counts_have_no_block_table(igeom):
    code, out, _ = igeom("predict", "50,50,50")
    assert code == 0
    assert "minority" not in out


def test_parameters_from_a_file(igeom, tmp_path):
    path = tmp_path / "loss.json"
    path.write_text(cdt([50, 5], gamma=0.5).to_json())
    _, by_file, _ = igeom("predict", "50,5", "--parameters", path, "--json")
    _, by_name, _ = igeom("predict", "50,5", "--loss", "cdt", "--gamma", 0.5, "--json")
    assert json.loads(by_file) == json.loads(by_name)


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_picture_is_written(igeom, tmp_path, suffix, start):
    path = tmp_path / f"geometry{suffix}"
    code, _, _ = igeom("predict", "exp:5,10", "--plot", path)
    assert code == 0
    assert path.read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("5,0,3",), "counts must be at least 1"),
        (("5,-1",), "counts must be at least 1"),
        (("5,nan",), "counts must be a finite whole number"),
        (("5,1.5",), "whole number"),
        (("5",), "at least 2 classes"),
        (("nowhere.txt",), "nowhere.txt"),
        (("5,3", "--loss", "ctd"), "did you mean 'cdt'"),
        (("5,3", "--loss", "cdt"), "gamma"),
        (("5,3", "--gamma", "0.5"), "gamma"),
        (("5,3", "--loss", "cdt", "--gamma", "inf"), "gamma must be a finite number"),
        (("5,3", "--parameters", "none.json"), "none.json"),
        (("5,3", "--plot", "no/such/folder/x.png"), "no/such/folder"),
        (("5,3", "--plot", "x.bmp"), ".bmp"),
        (("5,3", "--features", "relu"), "features must be one of free, nonnegative"),
        (("exp:31,10", "--features", "nonnegative", "--bias"), "features must be 'free' for a head with a bias"),
        (("5,3", "--count-exponent", "nan"), "count_exponent must be a finite number"),
        (("5,3", "--normalization", "group"), "normalization must be one of batch, layer, none, got 'group'"),
        (("5,3", "--label-smoothing", "1"), "label_smoothing must be below 1"),
    ],
)
def test_a_mistake_gets_one_clear_line_and_exit_code_2(igeom, arguments, message):
    code, out, err = igeom("predict", *arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err


def test_version_and_help(igeom):
    assert igeom("--version")[1].strip() == "0.1.0"
    assert "Examples" in igeom("predict", "--help")[1]


def test_predict_as_a_process_never_imports_torch():
    code = """
import sys
from implicit_geometry.cli import main
sys.argv = ["igeom", "predict", "50,5"]
try:
    main()
except SystemExit:
    assert not {"torch", "matplotlib", "pandas"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("place", ["counts", "parameters"])
def test_a_pipe_or_a_device_in_place_of_a_file_is_not_waited_for(igeom, tmp_path, place):
    pipe, device = tmp_path / "pipe", tmp_path / "device"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    for path in (pipe, device):
        given = [path] if place == "counts" else ["5,5", "--parameters", path]
        code, _, err = igeom("predict", *given)
        assert code == 2
        assert f"{place} must be" in err
        assert "it is no regular file" in err
