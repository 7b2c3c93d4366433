"""Attacks on the command line, in this process: exit code 0, 1 (not proven) or 2 with its reason."""

from __future__ import annotations

import contextlib
import io
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

import implicit_geometry as ig
from implicit_geometry.cli._app import main
from law.attack import HELD, ORACLE, REFUSED, Attack
from law.cases import close, draw_counts, seeds
from oracles import limit_geometry


def run(arguments: list[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``igeom``."""
    before, out, err = sys.argv, io.StringIO(), io.StringIO()
    sys.argv = ["igeom", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
                code = 0
            except SystemExit as stopped:
                code = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    finally:
        sys.argv = before
    return code, out.getvalue(), err.getvalue()


def check_predict(seed: int) -> str:
    """``--json`` agrees with a dense singular value decomposition."""
    rng = np.random.default_rng(seed)
    counts = draw_counts(rng, 6, 4.0)
    loss, gamma = str(rng.choice(["cdt", "ldt", "vs"])), float(rng.uniform(-1, 1))
    code, out, err = run(["predict", ",".join(map(str, counts)), "--loss", loss, "--gamma", repr(gamma), "--json"])
    assert code == 0, err
    document = json.loads(out)
    made = ig.make_parameterization(loss, counts, gamma=gamma)
    dense = limit_geometry(counts, made.class_scale, made.label_scale)
    assert document["certificate"]["status"] == "optimal"
    for group in document["groups"]:
        first = group["first_class"]
        for block in ("classifier", "embedding"):
            matrix = getattr(dense, block)
            assert close(group[f"squared_norm_{block}"], matrix[first, first], 1e-6, 1e-9 * float(matrix.max()))
    return ORACLE


def check_design(seed: int) -> str:
    rng = np.random.default_rng(seed)
    counts = sorted({*draw_counts(rng, 4, 3.0), 1, 50}, reverse=True)
    code, out, err = run(["design", ",".join(map(str, counts)), "--target", "etf", "--json"])
    assert code == 0, err
    document = json.loads(out)
    assert math.isclose(document["exponent"], 0.5, abs_tol=1e-12)
    return ORACLE


WORDS = [
    "step:4,10",
    "50,5",
    "exp:4,20",
    "zipf:1e9,1e12",
    "",
    "nan,1",
    "größe",
    "-1",
    "1e400",
    "--",
    "step:9223372036854775808,2",
    "/dev/null",
    "/",
    "\u202e",
    "5",
    "5,5,",
]
NUMBERS = ["0.5", "nan", "inf", "-inf", "1e308", "1e-320", "", "x", "-3", "1e400", "0x1", "None", "٣", "1_0", "5"]
OPTIONS = {
    "predict": {
        "--loss": ["ce", "cdt", "cdtt", "", "ldam", "logit_adjusted"],
        "--gamma": NUMBERS,
        "--tau": NUMBERS,
        "--max-margin": NUMBERS,
        "--normalize": ["mean", "max", "none", "x"],
        "--ridge": NUMBERS,
        "--weight-decay": NUMBERS,
        "--label-smoothing": NUMBERS,
        "--max-count": NUMBERS,
        "--parameters": ["/does/not/exist", "/dev/null", "/", ""],
        "--plot": ["/does/not/exist/a.png", "/dev/full/x.png", "a.xyz"],
    },
    "design": {
        "--target": ["etf", "norm_ratio", "no_collapse", "minority_cosine", "equal_norms", "x", ""],
        "--family": ["ldt", "cdt", "vs", "x"],
        "--value": NUMBERS,
        "--weight-decay": NUMBERS,
        "--label-smoothing": NUMBERS,
        "--max-count": NUMBERS,
        "--output": ["/does/not/exist/a.json", "/", ""],
    },
    "report": {"--output": ["/", "/does/not/exist/report.html"]},
    "sweep": {"--output": ["/", "/dev/null/x"], "--workers": ["0", "-1", "x", "nan"]},
}
FLAGS = {"predict": ["--json", "--bias"], "design": ["--json", "--free"], "report": [], "sweep": ["--dry-run"]}


@st.composite
def command_lines(draw: Any) -> list[str]:
    command = draw(st.sampled_from(["predict", "predict", "predict", "design", "report", "sweep"]))
    arguments = [command]
    if draw(st.integers(0, 9)):
        arguments.append(draw(st.sampled_from(WORDS) | st.text(max_size=8)))
    for option in draw(st.lists(st.sampled_from(sorted(OPTIONS[command])), max_size=3, unique=True)):
        arguments += [option, draw(st.sampled_from(OPTIONS[command][option]))]
    if FLAGS[command] and draw(st.booleans()):
        arguments.append(draw(st.sampled_from(FLAGS[command])))
    return arguments


def check_command_line(arguments: list[str]) -> str:
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(Path(place)):
        code, out, err = run(arguments)
    assert code in (0, 1, 2), code
    assert "Traceback" not in out + err
    if "--json" in arguments and code == 0:
        json.loads(out, parse_constant=_refuse_constant)
    if code == 2:
        assert err.strip(), "refused without a word"
        return REFUSED
    return HELD


def _refuse_constant(name: str) -> float:
    raise AssertionError(f"{name} in JSON")


ATTACKS = [
    Attack("igeom predict", ("igeom predict",), seeds, check_predict, 8),
    Attack("igeom design", ("igeom design",), seeds, check_design, 4),
    Attack(
        "igeom: nonsense",
        ("igeom predict", "igeom design", "igeom report", "igeom sweep"),
        command_lines(),
        check_command_line,
        15,
    ),
]
