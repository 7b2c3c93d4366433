"""What the README and CONTRIBUTING say must run and exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from implicit_geometry.cli._app import COMMANDS, app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_example_runs_as_printed(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code.splitlines()) <= 20
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "norm_ratio=1.2" in done.stdout
    assert "Status.OPTIMAL True" in done.stdout.replace(": 'optimal'>", "")


def test_readme_example_passes_the_type_checker(tmp_path):
    api = pytest.importorskip("mypy.api")
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    out, err, status = api.run(
        ["--strict", "--config-file", "", "--cache-dir", str(tmp_path), str(tmp_path / "example.py")]
    )
    assert status == 0, out + err


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_examples_in_the_pages_run(page):
    for code in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(code, str(page), "exec"), {})


def test_every_command_stands_in_the_readme_and_has_help_with_an_example():
    group = get_command(app)
    assert group.list_commands(None) == list(COMMANDS)
    for name in COMMANDS:
        assert f"igeom {name}" in README
        assert f"igeom {name}" in group.get_command(None, name).help


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: path.name
)
def test_local_links_and_pictures_exist(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


def test_make_targets_named_in_the_documents_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = re.findall(r"make ([a-z-]+)", README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert set(named) <= targets
