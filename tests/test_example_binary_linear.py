"""Proposition 1 and Lemma 3.1 by ``examples/binary_linear.py``: where gradient descent on binary linear losses goes."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.svm import SVC

from implicit_geometry.nn.losses.criterion import VSLoss
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.rules import cdt, ce, ldt, vs

SCRIPT = Path(__file__).parents[1] / "examples" / "binary_linear.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("binary_linear", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def data(example):
    return example.make_data(seed=0, noise=0.55)


@pytest.fixture(scope="module")
def results(example, data):
    return example.compare_losses(*data)


def svm_direction(inputs, labels, label_scale):
    """scikit-learn's hard-margin SVM on Delta_y sign_y x; the mirror image as the other class makes the intercept 0."""
    rows = inputs * (np.asarray(label_scale)[labels] * (2 * labels - 1))[:, None]
    return SVC(kernel="linear", C=1e10, tol=1e-10).fit(np.vstack([rows, -rows]), np.repeat([1, -1], len(rows))).coef_[0]


@pytest.mark.parametrize(
    ("name", "scale"),
    [("ce", [1.0, 1.0]), ("cdt", [1.0, 1.0]), ("ldt", [10**0.5, 1.0]), ("vs", [10**0.5, 1.0])],
)
def test_every_loss_turns_to_its_svm(example, data, results, name, scale):
    expected = svm_direction(*data, scale)
    angles = [example.angle(vector, expected) for vector in results[name][0]]
    assert angles[-1] < 0.01
    assert angles[-1] < angles[-3] / 5  # a tenth of the angle for ten times the iterations
    assert angles[0] > 0.2


def test_the_two_svms_are_far_apart(example, results):
    assert example.angle(results["cdt"][1], results["ldt"][1]) > 0.3
    assert example.angle(results["cdt"][0][-1], results["ldt"][0][-1]) > 0.3


@pytest.mark.parametrize("gamma", [-1.0, 0.5, 2.0])
def test_cdt_decides_as_cross_entropy_at_every_iteration(example, data, gamma):
    plain = example.descend(example.two_vectors(*data, ce(example.COUNTS)), [10, 1000])
    scaled = example.descend(example.two_vectors(*data, cdt(example.COUNTS, gamma)), [10, 1000])
    for a, b in zip(plain, scaled, strict=True):
        assert example.angle(a, b) < 1e-6


def test_the_direction_of_ldt_is_that_of_binary_vs_with_its_scales(example, results):
    assert example.angle(results["ldt"][0][-1], results["vs"][0][-1]) < 0.01


def test_weight_shift_and_margin_do_not_move_the_direction(example, data):
    loss = Parameterization(weight=[1.0, 9.0], shift=[-0.1, -2.0], margin=[0.2, 0.5], label_scale=[1.5, 0.5])
    (found,) = example.descend(example.two_vectors(*data, loss), [20_000])
    assert example.angle(found, svm_direction(*data, loss.label_scale)) < 0.01


# The steps are those of gradient descent


@pytest.mark.parametrize(
    "rule",
    [
        ce,
        lambda counts: cdt(counts, 0.5),
        lambda counts: ldt(counts, 0.5),
        lambda counts: vs(counts, 0.5, tau=1.0),
        lambda counts: Parameterization(weight=[1.0, 3.0], margin=[0.2, 0.5], label_scale=[1.5, 0.5]),
    ],
)
def test_a_step_has_the_direction_of_the_gradient_of_the_torch_loss(example, data, rule):
    loss, (inputs, labels) = rule(example.COUNTS), data
    theta = np.random.default_rng(0).standard_normal(4)
    parameters = torch.tensor(theta).view(2, 2).requires_grad_()
    criterion = VSLoss(loss, reduction="sum", dtype=torch.float64)
    criterion(torch.tensor(inputs) @ parameters.T, torch.tensor(labels)).backward()
    step = example.step_direction(example.two_vectors(inputs, labels, loss), theta)
    assert example.angle(step, -parameters.grad.numpy().ravel()) < 1e-9


def test_a_step_on_one_vector_has_the_direction_of_the_binary_vs_gradient(example, data):
    inputs, labels = data
    scale, shift, w = np.array([1.5, 0.5]), np.array([-0.1, -2.0]), torch.tensor([0.3, -0.2], dtype=torch.float64)
    w.requires_grad_()
    signs = torch.tensor(2.0 * labels - 1)
    margins = torch.tensor(scale[labels]) * signs * (torch.tensor(inputs) @ w)
    torch.log(1 + torch.exp(torch.tensor(shift[labels]) - margins)).sum().backward()
    step = example.step_direction(example.one_vector(inputs, labels, scale, shift), w.detach().numpy())
    assert example.angle(step, -w.grad.numpy()) < 1e-9


# The script


def test_the_script_prints_angles_and_writes_the_picture(example, tmp_path, capsys):
    picture = tmp_path / "picture.png"
    example.main(["--output", str(picture), "--seed", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:6]] == ["CE", "CDT", "LDT", "VS,"]
    assert all(float(line.split()[-1]) < 0.02 for line in lines[2:6])
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_data_that_cannot_be_separated_give_one_clear_line(example, capsys):
    with pytest.raises(SystemExit) as stopped:
        example.main(["--noise", "3"])
    assert stopped.value.code == 2
    assert "inputs must be separated by a hyperplane through the origin" in capsys.readouterr().err.splitlines()[-1]
