import json
import subprocess
import sys

import numpy as np
import pytest

from implicit_geometry.parameterization import Parameterization
from implicit_geometry.rules import cdt, ldt


def test_json_is_the_library_answer(igeom):
    code, out, _ = igeom("design", "5000,500,50", "--target", "etf", "--family", "ldt", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["exponent"] == 0.5
    assert document["exact"] is True
    assert document["warnings"] == []
    assert document["parameterization"] == ldt([5000, 500, 50], gamma=0.5).to_dict()


def test_the_written_loss_is_the_one_that_predict_reads(igeom, tmp_path):
    path = tmp_path / "loss.json"
    arguments = ("--target", "norm_ratio", "--value", 1.2, "--family", "cdt")
    code, _, _ = igeom("design", "step:10,10", *arguments, "--output", path)
    assert code == 0
    written = Parameterization.from_json(path.read_text())
    np.testing.assert_allclose(written.class_scale, cdt([10] * 5 + [1] * 5, gamma=0.5).class_scale, rtol=1e-9)
    _, out, _ = igeom("predict", "step:10,10", "--parameters", path, "--json")
    assert json.loads(out)["blocks"]["classifier"]["norm_ratio"] == pytest.approx(1.2)
    assert list(tmp_path.iterdir()) == [path]


def test_table_shows_the_answer(igeom):
    code, out, _ = igeom("design", "step:10,10", "--target", "norm_ratio", "--value", 1.2, "--family", "cdt")
    assert code == 0
    for text in ("0.5", "1.2", "reachable", "class_scale", "5 like 0", "5,000"):
        assert text in out
    assert "label_scale" not in out
    assert "warning" not in out


def test_free_scales_and_long_tables(igeom):
    code, out, _ = igeom("design", "exp:16,10", "--target", "norm_ratio", "--value", 1, "--family", "ldt", "--free")
    assert code == 0
    assert "free scales" in out
    assert "... 4 more" in out


def test_a_target_out_of_reach_warns(igeom):
    code, out, _ = igeom("design", "step:10,10", "--target", "etf", "--family", "cdt")
    assert code == 0
    assert "warning: No exponent of cdt" in out


def test_weight_decay_reaches_the_target(igeom):
    _, out, _ = igeom("design", "step:10,10", "--target", "no_collapse", "--weight-decay", 1e-3, "--json")
    assert json.loads(out)["exponent"] < 0
    assert json.loads(out)["residual"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("5,0",), "counts must be at least 1"),
        (("50,5", "--target", "etv"), "did you mean 'etf'"),
        (("50,5", "--family", "ce"), "family must be one of"),
        (("50,5", "--target", "norm_ratio"), "value must be given"),
        (("50,5", "--value", "2"), "value must be left out"),
        (("50,5", "--target", "no_collapse"), "weight_decay"),
        (("50,5", "--output", "no/such/folder/loss.json"), "no/such/folder"),
    ],
)
def test_a_mistake_gets_one_clear_line_and_exit_code_2(igeom, arguments, message):
    code, out, err = igeom("design", *arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_design_as_a_process_never_imports_torch(tmp_path):
    code = f"""
import sys
from implicit_geometry.cli import main
sys.argv = ["igeom", "design", "50,5", "--output", {str(tmp_path / "loss.json")!r}]
try:
    main()
except SystemExit:
    assert not {{"torch", "matplotlib", "pandas"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
