"""What the README and CONTRIBUTING say must run and exist."""

import re
import subprocess
import sys
import tomllib
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


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_stands_in_the_readme_and_has_help_with_an_example(name):
    command = get_command(app).get_command(None, name)
    assert f"igeom {name}" in README
    assert f"igeom {name}" in command.help


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: path.name
)
def test_local_links_and_pictures_exist(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


def test_the_readme_says_what_every_extra_adds_and_which_one_to_try_first():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra in set(project["optional-dependencies"]) - {"dev"}:
        assert f"\n| `{extra}` |" in README
    assert "\npip install '.[all]'\n" in README


def test_make_targets_named_in_the_documents_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = re.findall(r"make ([a-z-]+)", README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert set(named) <= targets
