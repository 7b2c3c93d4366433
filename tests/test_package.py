"""What the published archives hold: everything that a user needs, and nothing else."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from implicit_geometry._version import __version__

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "implicit_geometry"


def source_files(folder, *endings):
    """Paths below a folder of the repository, as an archive has them."""
    return {str(path.relative_to(folder.parent)) for path in folder.rglob("*") if path.name.endswith(endings)}


@pytest.mark.slow
def test_the_wheel_is_the_package_with_its_types_and_its_page_and_nothing_else(distributions):
    with zipfile.ZipFile(distributions.wheel) as archive:
        names = set(archive.namelist())
    information = {name for name in names if ".dist-info/" in name}
    assert names - information == source_files(PACKAGE, ".py", ".pyi", "py.typed", ".html", ".css")
    assert {"implicit_geometry/py.typed", "implicit_geometry/__init__.pyi"} <= names
    assert {"implicit_geometry/report/page/page.html", "implicit_geometry/report/page/page.css"} <= names


@pytest.mark.slow
def test_the_wheel_has_the_licence_and_the_command(distributions):
    (information,) = distributions.unpacked.glob("*.dist-info")
    assert (information / "licenses" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert "igeom = implicit_geometry.cli:main" in (information / "entry_points.txt").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_sdist_is_the_sources_the_tests_and_the_documentation_and_nothing_else(distributions):
    top = f"implicit_geometry-{__version__}/"
    with tarfile.open(distributions.sdist) as archive:
        names = {member.name.removeprefix(top) for member in archive.getmembers() if member.isfile()}
    names = {name for name in names if ".egg-info/" not in name}
    in_folders = {name for name in names if "/" in name}
    expected = {f"src/{name}" for name in source_files(PACKAGE, ".py", ".pyi", "py.typed", ".html", ".css")}
    expected |= source_files(ROOT / "tests", ".py") | source_files(ROOT / "docs", ".md", ".png", ".csv")
    expected |= source_files(ROOT / "examples", ".py", ".yaml") | source_files(ROOT / "benchmarks", ".py")
    expected |= source_files(ROOT / "tools", ".py")
    assert in_folders == expected | {".ci/run", ".github/workflows/ci.yml"}
    assert names - in_folders == {
        *(
            "pyproject.toml",
            "setup.cfg",
            "MANIFEST.in",
            "Makefile",
            "mkdocs.yml",
            "PKG-INFO",
            ".pre-commit-config.yaml",
        ),
        *("README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff"),
    }


@pytest.mark.slow
def test_an_index_would_take_both(distributions):
    command = [sys.executable, "-m", "twine", "check", "--strict", str(distributions.wheel), str(distributions.sdist)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2


def test_the_changelog_has_what_is_unreleased_and_then_the_versions_with_this_one_first():
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    versions = [re.fullmatch(r"\[(.+?)\](?: - \d{4}-\d\d-\d\d)?", heading).group(1) for heading in headings]
    assert versions[:2] == ["Unreleased", __version__]


def test_the_citation_is_of_this_version_and_names_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    (paper,) = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Behnia", "Kini", "Vakilian", "Thrampoulidis"]
    assert (paper["year"], paper["volume"]) == (2023, 206)


def test_the_hooks_are_the_lint_of_the_makefile():
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlint: setup\n")[2].partition("\n\n")[0]
    tools = [re.match(r"(?:mypy|ruff(?: \w+)?)(?: --check)?", hook["entry"]).group() for hook in repository["hooks"]]
    assert tools == re.findall(r"\$\(BIN\)/(.+?)(?: \.)?$", recipe, re.MULTILINE)
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}


def test_ci_runs_the_local_check_on_every_supported_python():
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]["check"]
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
    supported = [text.rpartition(" ")[2] for text in classifiers if re.search(r"Python :: 3\.", text)]
    assert job["strategy"]["matrix"]["python"] == supported
    assert job["steps"][-1] == {"run": ".ci/run"}
