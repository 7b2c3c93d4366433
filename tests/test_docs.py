"""What the README and CONTRIBUTING say must run and exist."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from mkdocs.exceptions import PluginError
from typer.main import get_command

import api_reference
from implicit_geometry.cli._app import COMMANDS, app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
API_PAGES = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "api").glob("*.md"))]


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
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    out, err, status = api.run([*options, str(tmp_path / "example.py")])
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


def test_every_public_name_and_every_command_has_one_place_in_the_reference():
    assert api_reference.mistakes(API_PAGES) == []


@pytest.mark.parametrize(
    "name",
    [
        "implicit_geometry.theory.predict.predict",
        "implicit_geometry.nn.losses.criterion.VSLoss",
        "implicit_geometry.experiments.record_columns.COLUMNS",
        "implicit_geometry.report.write.write_report",
        "implicit_geometry.studies.demo.demo_specs",
        "implicit_geometry.reproduce.items.reproduce",
        "igeom sweep",
    ],
)
def test_a_name_without_a_place_fails_the_build(name):
    line = f"::: {name}\n"
    pages = "\n".join(API_PAGES)
    assert pages.count(line) == 1
    assert api_reference.mistakes([pages.replace(line, "")]) == [f"{name} has no place"]
    assert api_reference.mistakes([pages, line]) == [f"{name} has 2 places"]
    page = SimpleNamespace(src_uri="api/all.md", content_string=pages.replace(line, ""))
    with pytest.raises(PluginError, match=f"{name} has no place"):
        api_reference.on_files(SimpleNamespace(documentation_pages=lambda: [page]), config=None)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_place_of_a_command_is_filled_with_its_help_and_all_its_options(name):
    command = get_command(app).get_command(None, name)
    page = api_reference.on_page_markdown(f"## Commands\n\n::: igeom {name}\n")
    assert page.startswith(f"## Commands\n\n### igeom {name}\n")
    assert command.help.splitlines()[0] in page
    assert re.search(rf"```\nigeom {name}\b[^`]*\n```", page.partition("Examples:")[2])
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert f"\n| `{', '.join(parameter.opts)}` | {parameter.help} | " in page


@pytest.mark.slow
def test_the_documentation_builds_strictly_and_shows_every_public_name(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    shown = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "site" / "api").rglob("index.html"))
    for name in api_reference.public_names():
        assert f'id="{name.replace(" ", "-")}"' in shown, name
    assert not re.findall(r":(?:func|class|meth|mod|data):", shown)
