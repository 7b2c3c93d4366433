"""What runs with which extra, and what a user reads where one is missing.

Everything runs in the built wheel, in an interpreter to which the packages of all other extras do not exist.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from implicit_geometry._extras import EXTRAS, MissingExtra, require

ROOT = Path(__file__).parents[1]
OTHERS = ("pytorch_lightning", "torchvision", "timm", "ray", "tensorboard", "wandb")
OPTIONAL = {*EXTRAS["train"], *EXTRAS["integrations"], *OTHERS}
NO_EXTRA: frozenset[str] = frozenset()

INTERPRETER = """
import sys

class Installed:
    # Finds what Python finds, except for some packages, which it finds as little as if they had never been installed.
    absent = {absent!r}
    finders = list(sys.meta_path)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.absent:
            return None
        return next((spec for one in self.finders if (spec := one.find_spec(name, path, target))), None)

    def find_distributions(self, context):  # torchmetrics asks for versions before it imports
        if context.name in self.absent:
            return []
        return [found for one in self.finders if hasattr(one, "find_distributions")
                for found in one.find_distributions(context)]

sys.meta_path[:] = [Installed()]
"""

COMMAND = """
sys.argv = ["igeom", *{arguments!r}]
from implicit_geometry.cli import main
main()
"""


@pytest.fixture
def python(distributions, tmp_path):
    """Run code where only the base install and some packages are installed."""

    def run(code, *, installed):
        absent = sorted(OPTIONAL - set(installed))
        done = subprocess.run(
            [sys.executable, "-c", INTERPRETER.format(absent=absent) + code],
            env={**os.environ, "PYTHONPATH": str(distributions.unpacked), "MPLBACKEND": "Agg"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done

    return run


@pytest.fixture
def igeom(python):
    """Run the command where only the base install and some packages are installed."""
    return lambda *arguments, installed: python(COMMAND.format(arguments=arguments), installed=installed)


def requirements(extra):
    """Distributions that an extra in pyproject.toml installs, those of the extras it names included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = set()
    for requirement in project["optional-dependencies"][extra]:
        name, inner = re.match(r"([\w-]+)(?:\[([\w,]+)\])?", requirement).groups()
        found |= set().union(*map(requirements, inner.split(","))) if name == project["name"] else {name}
    return found


def test_the_base_install_is_numpy_scipy_and_the_lazy_loader():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {re.match(r"[\w-]+", text).group() for text in project["dependencies"]} == {"numpy", "scipy", "lazy-loader"}


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_sentences_know_every_package_of_an_extra(extra):
    assert set(EXTRAS[extra].values()) == requirements(extra)


def test_all_is_every_extra_of_a_user():
    assert requirements("all") == set().union(*map(requirements, ("torch", "cli", "train", "vision", "ray", "loggers")))


def test_a_sentence_names_all_that_is_missing_and_the_extra():
    with pytest.raises(MissingExtra, match=re.escape("this needs pillow: pip install 'implicit-geometry[train]'")):
        raise_without("PIL")
    with pytest.raises(MissingExtra, match=re.escape("this needs typer and rich: pip install")):
        raise_without("typer", "rich")
    require("this", "train", "torch", "matplotlib")


def raise_without(*packages):
    with pytest.MonkeyPatch.context() as patch:
        for package in packages:
            patch.setitem(sys.modules, package, None)
        patch.setattr("implicit_geometry._extras.find_spec", lambda name: sys.modules.get(name, "installed"))
        require("this", "train")


@pytest.mark.slow
class TestEnough:
    def test_nothing_for_a_prediction(self, python, distributions):
        code = """
import implicit_geometry as ig
counts = ig.ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)
print(ig.predict(ig.Problem(counts, ig.cdt(counts, gamma=0.5))).certificate.status.value)
print(ig.design(counts, target="etf", family="ldt").exact)
print(ig.__file__)
"""
        done = python(code, installed=NO_EXTRA)
        assert done.returncode == 0, done.stderr
        status, exact, file = done.stdout.splitlines()
        assert (status, exact) == ("optimal", "True")
        assert Path(file).is_relative_to(distributions.unpacked)

    def test_torch_to_train_with_a_loss_and_to_measure_towards_its_prediction(self, python):
        code = """
import torch
import implicit_geometry as ig
from implicit_geometry.nn import GeometryMetric, VSLoss

torch.manual_seed(0)
counts = ig.ClassCounts([40, 40, 4, 4])
loss = ig.cdt(counts, gamma=0.5)
target = ig.predict(ig.Problem(counts, loss)).geometry
labels = torch.repeat_interleave(torch.arange(4), torch.tensor([40, 40, 4, 4]))
inputs = torch.eye(4)[labels] + 0.1 * torch.randn(len(labels), 4)
body, head, criterion = torch.nn.Linear(4, 8), torch.nn.Linear(8, 4, bias=False), VSLoss(loss)
optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], lr=0.5)

def distance():
    metric = GeometryMetric(num_classes=4, feature_dim=8)
    metric.update(body(inputs).detach(), labels)
    measured = metric.compute(classifier=head.weight.detach(), parameterization=loss)
    return ig.compare(measured.geometry, target).classifier

before = distance()
for step in range(300):
    optimizer.zero_grad()
    criterion(head(body(inputs)), labels).backward()
    optimizer.step()
print(distance() < before / 2)
"""
        done = python(code, installed=EXTRAS["torch"])
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == "True"

    def test_torch_for_a_loss_and_metrics_of_a_trainer(self, python):
        code = """
import torch
from implicit_geometry.integrations.huggingface import compute_loss_func, long_tail_metrics
from implicit_geometry.rules import cdt
loss = compute_loss_func([9, 1], cdt([9, 1], 0.5))
print(loss({"logits": torch.zeros(2, 2)}, torch.tensor([0, 1])).item() > 0)
"""
        done = python(code, installed=EXTRAS["torch"])
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == "True"

    def test_torch_for_every_name_of_nn_but_the_monitor(self, python):
        code = """
from implicit_geometry import nn
for name in nn.__all__:
    try:
        getattr(nn, name)
    except ImportError:
        print(name)
"""
        done = python(code, installed=EXTRAS["torch"])
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["GeometryMonitor"]

    @pytest.mark.parametrize(
        "arguments",
        [
            ["predict", "50,5", "--loss", "cdt", "--gamma", "0.5"],
            ["design", "50,5"],
            ["reproduce", "tables"],
            ["--help"],
            ["train", "--help"],
        ],
        ids=" ".join,
    )
    def test_cli_for_the_commands_that_train_nothing_and_for_all_help(self, igeom, arguments):
        done = igeom(*arguments, installed=EXTRAS["cli"])
        assert done.returncode == 0, done.stderr
        assert done.stdout

    def test_train_for_a_run_its_page_and_a_plot(self, igeom, tmp_path):
        run = ["train", "--counts", "step:10,10", "--max-count", "20", "--epochs", "1", "--output", "runs"]
        for arguments in (run, ["report", "runs"], ["predict", "50,5", "--plot", "plot.png"]):
            done = igeom(*arguments, installed=EXTRAS["train"])
            assert done.returncode == 0, done.stderr
        assert (tmp_path / "runs" / "report.html").exists()
        assert (tmp_path / "plot.png").exists()


@pytest.mark.slow
class TestMissing:
    def test_cli_for_the_command(self, igeom):
        done = igeom("predict", "50,5", installed=NO_EXTRA)
        assert done.returncode == 2
        assert done.stderr == "igeom needs typer and rich: pip install 'implicit-geometry[cli]'\n"

    @pytest.mark.parametrize(
        "arguments",
        [
            ["demo"],
            ["train", "--counts", "50,5"],
            ["sweep", "runs.yaml"],
            ["report", "runs"],
            ["reproduce", "fig1"],
        ],
        ids=" ".join,
    )
    def test_train_for_the_commands_that_train_or_show_what_was_trained(self, igeom, arguments, tmp_path):
        done = igeom(*arguments, installed=EXTRAS["cli"])
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"igeom {arguments[0]} needs torch, torchmetrics, lightning, ")
        assert line.endswith(": pip install 'implicit-geometry[train]'")
        assert list(tmp_path.iterdir()) == []

    def test_train_for_a_plot_and_then_nothing_is_printed(self, igeom):
        done = igeom("predict", "50,5", "--plot", "plot.png", installed=EXTRAS["cli"])
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "igeom predict --plot needs matplotlib and pillow: pip install 'implicit-geometry[train]'\n"
        )

    @pytest.mark.parametrize(
        ("home", "name", "installed", "sentence"),
        [
            ("nn", "VSLoss", NO_EXTRA, "needs torch: pip install 'implicit-geometry[torch]'"),
            ("nn", "GeometryMetric", {"torch"}, "needs torchmetrics: pip install 'implicit-geometry[torch]'"),
            ("nn", "GeometryMonitor", EXTRAS["torch"], "needs lightning: pip install 'implicit-geometry[train]'"),
            ("experiments", "train_run", NO_EXTRA, "needs lightning: pip install 'implicit-geometry[train]'"),
            ("experiments", "open_store", EXTRAS["torch"], "needs pandas: pip install 'implicit-geometry[train]'"),
            ("report", "save_figure", EXTRAS["cli"], "needs matplotlib: pip install 'implicit-geometry[train]'"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_a_name_of_a_package_is_an_import_error_that_names_the_extra(self, python, home, name, installed, sentence):
        done = python(f"from implicit_geometry.{home} import {name}", installed=installed)
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert last == f"implicit_geometry._extras.MissingExtra: implicit_geometry.{home}.{name} {sentence}"
        assert "direct cause" not in done.stderr
        assert "During handling" not in done.stderr

    @pytest.mark.parametrize(
        ("module", "installed", "package"),
        [
            ("huggingface", NO_EXTRA, "torch"),
            ("skorch", EXTRAS["torch"], "skorch"),
            ("sklearn", NO_EXTRA, "scikit-learn"),
        ],
    )
    def test_a_module_for_another_library_names_that_library(self, python, module, installed, package):
        done = python(f"import implicit_geometry.integrations.{module}", installed=installed)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == (
            f"implicit_geometry._extras.MissingExtra: implicit_geometry.integrations.{module} needs {package}: "
            "pip install 'implicit-geometry[integrations]'"
        )
        assert "During handling" not in done.stderr

    def test_a_package_of_no_extra_is_not_explained_away(self, python):
        code = """
Installed.absent = ["numpy"]
try:
    from implicit_geometry.nn import VSLoss
except ModuleNotFoundError as error:
    print(type(error).__name__, error.name)
"""
        assert python(code, installed=OPTIONAL).stdout.strip() == "ModuleNotFoundError numpy"
