"""One deterministic hypothesis profile for every test, and the package as it is published."""

import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None, derandomize=True, print_blob=True, max_examples=50)
settings.load_profile("default")

ROOT = Path(__file__).parents[1]
PUBLISHED_FROM = ("src", "tests", "docs", "examples", "benchmarks", "tools", ".ci", ".github")
LEFT_BY_WORK = (  # what a working copy holds besides, and no archive may
    "src/implicit_geometry/__pycache__/counts.cpython-311.pyc",
    "tests/__pycache__/conftest.cpython-311.pyc",
    "tests/.hypothesis/examples/0",
    "shared/data/train-images",
    "runs/demo/report.html",
    "site/index.html",
)


@dataclass(frozen=True)
class Distributions:
    """The archives of the package, and the folder that the wheel was unpacked to."""

    wheel: Path
    sdist: Path
    unpacked: Path


@pytest.fixture(scope="session")
def distributions(tmp_path_factory):
    """Build the sdist of a copy of this repository, and the wheel from that sdist, without a network."""
    copy, built, unpacked = (tmp_path_factory.mktemp(name) for name in ("copy", "built", "unpacked"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    for name in PUBLISHED_FROM:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in LEFT_BY_WORK:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).touch()
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(copy)]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    return Distributions(wheel, sdist, unpacked)
