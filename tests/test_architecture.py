"""Imports go downward, and a few things are nowhere in the package."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

PACKAGE = "implicit_geometry"
REPOSITORY = Path(__file__).parents[1]
SOURCE = REPOSITORY / "src" / PACKAGE

LAYERS = (  # from the ground up: a module imports from its own layer and from lower ones
    "_extras _validate _version",
    "_files",
    "labels",
    "counts parameterization lowrank gram certificate",
    "rules profiles geometry",
    "problem",
    "groups frames cdnv differences comparison summary measurement",
    "correction",
    "theory.numerics theory.expand theory.smoothed_labels theory.nonnegative.orthogonal",
    "theory.limit",
    "theory.ridge",
    "theory",
    "solvers paper",
    "nn",
    "integrations",
    "data",
    "experiments experiments.ends_with_parent experiments.spec experiments.file_checksum",
    "experiments.run experiments.spec_texts",
    "experiments.record_columns",
    "experiments.run_files experiments.store",
    "experiments.sweep_file experiments.training",
    "experiments.backends",
    "studies",
    "report",
    "reproduce",
    "cli __main__",
)
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names.split()}
HEAVY = ("torch", "torchmetrics", "torchvision", "lightning", "pytorch_lightning", "matplotlib", "pandas")
PICKLES = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")
DRAWS_IN_PLACE = tuple(f"nn.measuring.{name}" for name in ("history_plot", "monitor", "watch"))  # where it is asked for
LONGEST_FILE = 450


class Module:
    """One source file: its dotted name without the package's, its layer and its imports."""

    def __init__(self, path: Path, source: Path) -> None:
        parts = path.relative_to(source).with_suffix("").parts
        self.is_package = parts[-1] == "__init__"
        self.name = ".".join(parts[:-1] if self.is_package else parts)
        self.top = parts[0]
        self.tree = ast.parse(path.read_text(encoding="utf-8"))

    def imports(self, *, module_level: bool = False) -> Iterator[tuple[int, str]]:
        """Line and absolute dotted target of every import; ``from a import b`` gives ``a.b``."""
        for node in _outside_functions(self.tree) if module_level else ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                package = f"{PACKAGE}.{self.name}" if self.is_package else f"{PACKAGE}.{self.name}".rpartition(".")[0]
                home = resolve_name("." * node.level + (node.module or ""), package)
                yield from ((node.lineno, f"{home}.{alias.name}") for alias in node.names)

    def layer(self) -> int:
        found = layer_of(self.name)
        assert found is not None, f"{self.name}: give it a layer"
        return found


def layer_of(name: str) -> int | None:
    """The layer of the module, or of the nearest package around it that has one."""
    while name and name not in LAYER:
        name = name.rpartition(".")[0]
    return LAYER.get(name)


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from _outside_functions(child)


@cache
def modules(source: Path) -> list[Module]:
    """Every module but the package root, which is a facade over all of them."""
    return [Module(path, source) for path in sorted(source.rglob("*.py")) if path != source / "__init__.py"]


def upward_imports(source: Path) -> list[str]:
    return [
        f"{module.name}:{line} imports {target}"
        for module in modules(source)
        for line, target in module.imports()
        if target.startswith(f"{PACKAGE}.")
        and (layer := layer_of(target.removeprefix(f"{PACKAGE}."))) is not None
        and layer > module.layer()
    ]


def root_imports(source: Path) -> list[str]:
    """Imports of the package root, or of a name that only the root defines."""
    known = {path.stem if path.suffix == ".py" else path.name for path in source.iterdir()}
    return [
        f"{module.name}:{line} imports {target}"
        for module in modules(source)
        for line, target in module.imports()
        if target == PACKAGE or (target.startswith(f"{PACKAGE}.") and target.split(".")[1] not in known)
    ]


def import_cycle(source: Path) -> list[str]:
    """A cycle of module-level imports, first and last module the same; empty where there is none."""
    found = modules(source)
    names = {module.name for module in found}

    def home(target: str) -> str:
        name = target.removeprefix(f"{PACKAGE}.")
        while name and name not in names:
            name = name.rpartition(".")[0]
        return name

    graph = {
        module.name: {
            home(target) for _, target in module.imports(module_level=True) if target.startswith(f"{PACKAGE}.")
        }
        - {module.name, ""}
        for module in found
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def heavy_imports(source: Path) -> list[str]:
    """torch and its like in theory, solvers and root-level modules; plots in nn."""
    forbidden: dict[str, tuple[str, ...]] = {
        **dict.fromkeys(("theory", "solvers", "paper", "correction"), HEAVY),
        "nn": ("matplotlib",),
    }
    return [
        f"{module.name}:{line} imports {target}"
        for module in modules(source)
        for line, target in module.imports()
        if module.name not in DRAWS_IN_PLACE
        and target.split(".")[0] in forbidden.get(module.top, HEAVY if (source / f"{module.top}.py").exists() else ())
    ]


def report_in_experiments(source: Path) -> list[str]:
    return [
        f"{module.name}:{line} imports {target}"
        for module in modules(source)
        for line, target in module.imports()
        if module.top == "experiments" and target.split(".")[0] == "matplotlib"
    ]


def theory_in_drawings(source: Path) -> list[str]:
    """Predictions reach a figure as data."""
    theory = tuple(f"{PACKAGE}.{name}" for name in ("theory", "solvers", "paper", "studies"))
    return [
        f"{module.name}:{line} imports {target}"
        for module in modules(source)
        for line, target in module.imports()
        if module.name.startswith(("report.figures", "report.page")) and target.startswith(theory)
    ]


def solvers_in_the_engine(source: Path) -> list[str]:
    """Independent solvers are for tests and users: the engine must not rest on what judges it."""
    return [
        f"{module.name}:{line} imports {target}"
        for module in modules(source)
        for line, target in module.imports()
        if module.top != "solvers" and target.startswith(f"{PACKAGE}.solvers")
    ]


def unsafe_code(source: Path) -> list[str]:
    """pickle, eval, exec, allow_pickle=True, weights_only=False and bare except."""
    return [
        f"{module.name}:{getattr(node, 'lineno', 0)} {what}"
        for module in modules(source)
        for node in ast.walk(module.tree)
        if (what := _unsafe(node))
    ] + [
        f"{module.name}:{line} imports {target}"
        for module in modules(source)
        for line, target in module.imports()
        if target.split(".")[0] in PICKLES
    ]


def _unsafe(node: ast.AST) -> str:
    if isinstance(node, ast.ExceptHandler) and node.type is None:
        return "bare except"
    if isinstance(node, ast.Call) and getattr(node.func, "id", None) in ("eval", "exec"):
        return "eval or exec"
    if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant):
        if node.arg == "allow_pickle" and node.value.value is not False:
            return "allow_pickle"
        if node.arg == "weights_only" and node.value.value is not True:
            return "weights_only=False"
    return ""


CHECKS: dict[str, Callable[[Path], list[str]]] = {
    "imports go downward": upward_imports,
    "no module imports the package root": root_imports,
    "there is no import cycle": import_cycle,
    "theory and values are free of torch, nn of plots": heavy_imports,
    "experiments know nothing of plots": report_in_experiments,
    "drawing computes no theory": theory_in_drawings,
    "the engine imports no independent solver": solvers_in_the_engine,
    "no pickle, eval or bare except": unsafe_code,
}


@pytest.mark.parametrize("rule", CHECKS)
def test_the_package_obeys(rule: str) -> None:
    assert CHECKS[rule](SOURCE) == []


def test_every_module_has_a_layer() -> None:
    assert [module.name for module in modules(SOURCE) if layer_of(module.name) is None] == []


@pytest.mark.parametrize("folder", ["src", "benchmarks", "examples"])
def test_no_file_is_long(folder: str) -> None:
    lengths = {
        str(path.relative_to(REPOSITORY)): len(path.read_text(encoding="utf-8").splitlines())
        for path in (REPOSITORY / folder).rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


@pytest.mark.parametrize(
    ("rule", "files"),
    [
        ("imports go downward", {"counts.py": "from implicit_geometry.rules import ce"}),
        ("imports go downward", {"theory/limit.py": "def f():\n    from implicit_geometry.nn import losses"}),
        ("imports go downward", {"experiments/run.py": "import implicit_geometry.report.a"}),
        ("imports go downward", {"theory/limit.py": "from ..nn import measure"}),
        ("no module imports the package root", {"rules.py": "import implicit_geometry"}),
        ("no module imports the package root", {"rules.py": "from implicit_geometry import ClassCounts"}),
        ("no module imports the package root", {"theory/limit.py": "from .. import ClassCounts"}),
        (
            "there is no import cycle",
            {"nn/a.py": "from implicit_geometry.nn.b import x", "nn/b.py": "from implicit_geometry.nn import a"},
        ),
        ("theory and values are free of torch, nn of plots", {"theory/limit.py": "import torch.nn"}),
        ("theory and values are free of torch, nn of plots", {"geometry.py": "def f():\n    import pandas as pd"}),
        ("theory and values are free of torch, nn of plots", {"nn/a.py": "from matplotlib import pyplot"}),
        ("experiments know nothing of plots", {"experiments/run.py": "import matplotlib"}),
        ("drawing computes no theory", {"report/figures/a.py": "from implicit_geometry.theory.predict import predict"}),
        (
            "the engine imports no independent solver",
            {"solvers/__init__.py": "", "report/b.py": "import implicit_geometry.solvers.margin"},
        ),
        ("no pickle, eval or bare except", {"counts.py": "import pickle"}),
        ("no pickle, eval or bare except", {"counts.py": "eval('1')"}),
        ("no pickle, eval or bare except", {"counts.py": "try:\n    pass\nexcept:\n    pass"}),
        ("no pickle, eval or bare except", {"counts.py": "load(path, allow_pickle=True)"}),
    ],
)
def test_a_breach_is_found(rule: str, files: dict[str, str], tmp_path: Path) -> None:
    empty = (
        "__init__.py",
        "rules.py",
        "measurement.py",
        "theory/__init__.py",
        "nn/__init__.py",
        "report/a.py",
    )
    files = {**dict.fromkeys(empty, ""), **files}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert CHECKS[rule](tmp_path)
    assert [other for other in CHECKS if other != rule and CHECKS[other](tmp_path)] == []
