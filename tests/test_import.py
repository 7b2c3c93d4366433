"""The package root: cheap to import, free of torch, and consistent about its names."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import implicit_geometry as ig

ROOT = Path(ig.__file__)
HEAVY = ("torch", "lightning", "torchmetrics", "matplotlib", "pandas", "sklearn", "pyarrow", "typer")
PUBLIC = sorted(set(ig.__all__) - {"__version__"})


def run(code: str) -> str:
    """What a fresh interpreter prints, warnings being errors."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def type_checking_names() -> dict[str, str]:
    """Name -> home module of every import in the stub, which type checkers and the lazy loader read."""
    tree = ast.parse(ROOT.with_suffix(".pyi").read_text(encoding="utf-8"))
    return {
        alias.asname or alias.name: f"implicit_geometry.{node.module}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "_version"
        for alias in node.names
    }


def test_importing_the_package_imports_nothing_heavy() -> None:
    loaded = run("import sys, implicit_geometry; print(*sorted(sys.modules))").split()
    assert not set(HEAVY) & set(loaded)


def test_no_public_name_needs_torch() -> None:
    code = (
        "import sys, implicit_geometry as ig; [getattr(ig, name) for name in ig.__all__]; print(*sorted(sys.modules))"
    )
    assert not set(HEAVY) & set(run(code).split())


def test_a_prediction_needs_no_torch() -> None:
    code = """
import sys
import implicit_geometry as ig
counts = ig.ClassCounts.step(num_classes=10, imbalance_ratio=10, minority_fraction=0.5, max_count=5000)
geometry = ig.predict(ig.Problem(counts, ig.cdt(counts, gamma=0.5))).geometry
print(round(ig.compare(geometry, ig.simplex_etf(10)).classifier, 3) > 0, "torch" in sys.modules)
"""
    assert run(code) == "True False"


def test_static_and_lazy_names_are_the_same_and_have_the_same_home() -> None:
    static = type_checking_names()
    assert set(static) == set(PUBLIC)
    for name, home in static.items():
        assert getattr(ig, name) is getattr(importlib.import_module(home), name), name


def test_every_public_name_is_listed_once() -> None:
    assert len(ig.__all__) == len(set(ig.__all__))
    assert set(dir(ig)) >= set(ig.__all__)
    code = "from implicit_geometry import *; import implicit_geometry as ig; print(set(ig.__all__) <= set(globals()))"
    assert run(code) == "True"


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_what_its_home_defines_and_never_a_module(name: str) -> None:
    assert not inspect.ismodule(getattr(ig, name))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="No implicit_geometry attribute precidt"):
        ig.precidt  # noqa: B018


@pytest.mark.parametrize(
    "first",
    [
        "[importlib.import_module(home) for home in homes]",
        "[getattr(ig, name) for name in ig.__all__]",
        "[getattr(ig, name) for name in reversed(ig.__all__)]",
        "exec('from implicit_geometry import *')",
        "ig.compare; importlib.import_module('implicit_geometry.comparison')",
        "ig.Comparison",
    ],
)
def test_a_public_name_never_becomes_the_module_of_that_name_whatever_was_imported_before(first: str) -> None:
    code = f"""
import importlib, inspect
import implicit_geometry as ig
homes = {sorted(set(type_checking_names().values()))}
{first}
print([name for name in ig.__all__ if inspect.ismodule(getattr(ig, name))])
"""
    assert run(code) == "[]"


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_documented_with_an_example(name: str) -> None:
    document = inspect.getdoc(getattr(ig, name)) or ""
    assert ">>>" in document, f"{name} has no example"
