"""A loss that another package defines goes everywhere that those of this package go, workers included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from implicit_geometry._validate import InputError
from implicit_geometry.rules import RULES, Rule, find_rule, in_order

MODULE = '''
import numpy as np

from implicit_geometry import ClassCounts, Parameterization, Rule


def blend(counts, strength: float = 0.5, *, floor: float = 0.1):
    """Class scales that go from 1 to the relative count, but not below a floor."""
    values = ClassCounts(counts).values
    relative = np.maximum(values / values.max(), floor)
    return Parameterization(class_scale=relative**strength)


BLEND = Rule(blend, "Blend", "strength", "s", equals_ce_at_zero=True)
NOT_A_RULE = blend
'''
SWEEP = """
counts: [[24, 24, 6, 6]]
data: {name: "features:digits.npz", test_per_class: 5}
network: linear
losses: [ce, {rule: NAME, strength: [0.25, 0.5], floor: 0.2}]
optimization: {epochs: 3, batch_size: 16}
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with an installed package that has the loss under an entry point, and features of four classes."""
    (tmp_path / "my_losses.py").write_text(MODULE, encoding="utf-8")
    info = tmp_path / "my_losses-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-losses\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[implicit_geometry.rules]\nblend = my_losses:BLEND\n", encoding="utf-8")
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 40)
    embeddings = (np.eye(4, 6)[labels] * 4 + random.normal(size=(160, 6))).astype(np.float32)
    np.savez(tmp_path / "digits.npz", embeddings=embeddings, labels=labels)
    return tmp_path


def igeom(package: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), *sys.path])}
    command = [sys.executable, "-m", "implicit_geometry", *arguments]
    done = subprocess.run(
        command, cwd=package, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_foreign_loss_is_predicted_trained_by_workers_and_reported(package: Path) -> None:
    given = ("--param", "strength=0.25", "--param", "floor=0.2")
    predicted = json.loads(igeom(package, "predict", "24,24,6,6", "--loss", "blend", *given, "--json"))
    assert predicted["parameterization"]["class_scale"] == [1.0, 1.0, 0.25**0.25, 0.25**0.25]

    (package / "sweep.yaml").write_text(SWEEP.replace("NAME", "blend"), encoding="utf-8")
    swept = json.loads(igeom(package, "sweep", "sweep.yaml", "--output", "runs", "--workers", "2", "--json"))
    assert (swept["finished"], swept["failures"]) == (3, [])

    igeom(package, "report", "runs", "--output", "page.html")
    page = (package / "page.html").read_text(encoding="utf-8")
    assert "Blend (floor 0.2): measured geometry over theory" in page
    assert "Blend (floor 0.2), s = 0.25, seed 0" in page


def test_a_foreign_loss_works_in_a_spec_and_a_torch_loss(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from implicit_geometry.experiments.spec import RunSpec
    from implicit_geometry.experiments.spec_texts import exponent, variant
    from implicit_geometry.nn import VSLoss

    monkeypatch.syspath_prepend(str(package))
    spec = RunSpec("my_losses:BLEND", {"strength": 1.0, "floor": 0.2}, counts=(20, 10))
    assert RunSpec.from_dict(spec.to_dict()) == spec
    assert (exponent(spec), variant(spec)) == (1.0, "floor 0.2")
    logits, labels = torch.tensor([[2.0, 1.0]]), torch.tensor([0])
    expected = torch.nn.functional.cross_entropy(logits * torch.tensor([1.0, 0.5]), labels)
    torch.testing.assert_close(VSLoss(spec.parameterization())(logits, labels), expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cdf", "rule must be one of ce, weighted, .*did you mean 'cdt'"),
        ("my_losses:BLEND2", "rule must name a Rule of module my_losses, got 'BLEND2'; did you mean 'BLEND'"),
        ("my_losses:NOT_A_RULE", "rule must name a Rule of module my_losses"),
        ("no_such_module:RULE", "rule must name a module that can be imported .*no_such_module"),
        ("not a module:RULE", "rule must name a module by its full name"),
        (3, "rule must be one of"),
        (["ce"], "rule must be one of"),
    ],
)
def test_a_name_that_is_no_rule_is_refused(package: Path, monkeypatch, name: object, message: str) -> None:
    monkeypatch.syspath_prepend(str(package))
    with pytest.raises(InputError, match=message):
        find_rule(name)


def test_a_rule_must_be_plotted_against_one_of_its_hyperparameters() -> None:
    with pytest.raises(InputError, match="exponent must be one of gamma, normalize, got 'tau'"):
        Rule(RULES["cdt"].function, "CDT", exponent="tau")


def test_foreign_rules_come_after_those_of_this_package() -> None:
    assert in_order(["zeta", "vs", "alpha", "ce"]) == ["ce", "vs", "alpha", "zeta"]
