"""The example scripts run as a user runs them, in seconds, and print what their documentation says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PRINTED = {
    "torch_cnn": [
        r"W is 0\.\d\d from its limit, 0\.\d\d from the ETF",
        r"plain   balanced accuracy 0\.\d+, calibration error 0\.\d+",
        r"link    balanced accuracy 0\.\d+, calibration error 0\.\d+",
        r"fitted  balanced accuracy 0\.\d+, calibration error 0\.\d+",
        r"\{'many': [\d.]+, 'medium': [\d.]+, 'few': [\d.]+, 'worst': [\d.]+\}",
    ],
    "lightning_monitor": [
        r"\{'balanced': [\d.]+, 'balanced/low': [\d.]+, 'balanced/high': [\d.]+\}",
        *[rf"epoch {n}: 0\.\d\d from the limit, closest [+-]0\.\d\d" for n in (1, 4, 7, 10)],
    ],
    "segmentation": [
        r"ClassCounts\(\[\d+, \d+, \d+\]\): pixels per class; W is [\d.]+ from its limit",
        r"plain     \{'overall': [\d.]+, 'balanced': [\d.]+, 'class/bright': [\d.]+, 'class/dark': [\d.]+\}",
        r"balanced  \{'overall': [\d.]+, 'balanced': [\d.]+, 'class/bright': [\d.]+, 'class/dark': [\d.]+\}",
    ],
}


@pytest.mark.parametrize("name", PRINTED)
def test_it_runs_and_prints_what_it_found(name, tmp_path):
    script = EXAMPLES / f"{name}.py"
    arguments = [str(tmp_path / "history.png")] if name == "lightning_monitor" else []
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:__main__", str(script), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) == len(PRINTED[name]), done.stdout
    for line, pattern in zip(lines, PRINTED[name], strict=True):
        assert re.fullmatch(pattern, line), line
    assert all(Path(path).stat().st_size > 10_000 for path in arguments)


@pytest.mark.parametrize("name", PRINTED)
def test_it_is_short(name):
    code = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert 30 <= len([line for line in code if line.strip()]) <= 75
