"""The cost-sensitive SVM of binary linear data: equal to scikit-learn's, tight, and refused where none exists."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC

from implicit_geometry._validate import InputError
from implicit_geometry.solvers.binary_svm import cost_sensitive_svm
from strategies import seeds


def separable(seed, num_samples=30, dim=3, gap=0.2):
    """Clouds on either side of a hyperplane through the origin, at least ``gap`` away from it."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal(dim)
    normal /= np.linalg.norm(normal)
    inputs = rng.standard_normal((num_samples, dim))
    signs = np.where(inputs @ normal > 0, 1.0, -1.0)
    return inputs + gap * np.outer(signs, normal), (signs > 0).astype(int)


def hard_margin_svc(inputs, labels, label_scale):
    """scikit-learn's SVM on Delta_y sign_y x, with its mirror image as the other class: the intercept is then 0."""
    rows = np.array([label_scale[y] * (2 * y - 1) * x for x, y in zip(inputs, labels, strict=True)])
    mirrored, sides = np.vstack([rows, -rows]), np.repeat([1, -1], len(rows))
    fitted = SVC(kernel="linear", C=1e10, tol=1e-10).fit(mirrored, sides)
    assert abs(fitted.intercept_[0]) < 1e-3
    return fitted.coef_[0]


@given(seeds, st.integers(1, 5), st.floats(0.2, 5), st.floats(0.2, 5))
@settings(max_examples=30)
def test_it_is_the_hard_margin_svm_of_scaled_samples(seed, dim, scale_0, scale_1):
    inputs, labels = separable(seed, dim=dim)
    expected = hard_margin_svc(inputs, labels, (scale_0, scale_1))
    found = cost_sensitive_svm(inputs, labels, [scale_0, scale_1])
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.linalg.norm(expected))
    assert np.linalg.norm(found) <= np.linalg.norm(expected) * (1 + 1e-9) / smallest_margin(
        expected, inputs, labels, (scale_0, scale_1)
    )


def smallest_margin(vector, inputs, labels, label_scale):
    return min(label_scale[y] * (2 * y - 1) * float(x @ vector) for x, y in zip(inputs, labels, strict=True))


@given(seeds, st.floats(1e-6, 1e6), st.floats(0.1, 10))
@settings(max_examples=20)
def test_margins_are_tight_and_scale_with_the_data(seed, unit, scale):
    inputs, labels = separable(seed)
    found = cost_sensitive_svm(unit * inputs, labels, [1.0, scale])
    assert smallest_margin(found, unit * inputs, labels, (1.0, scale)) == pytest.approx(1.0, rel=1e-9)
    np.testing.assert_allclose(found, cost_sensitive_svm(inputs, labels, [1.0, scale]) / unit, rtol=1e-9)
    both = cost_sensitive_svm(inputs, labels, [2.0, 2.0 * scale])
    np.testing.assert_allclose(2 * both, cost_sensitive_svm(inputs, labels, [1.0, scale]), rtol=1e-9)


def test_the_smaller_label_scale_gets_the_larger_margin():
    inputs, labels = [[2.0, 1.0], [2.0, -1.0], [-2.0, 1.0], [-2.0, -1.0]], [1, 1, 0, 0]
    equal, favoured = (cost_sensitive_svm(inputs, labels, scale) for scale in ([1.0, 1.0], [1.0, 0.25]))
    np.testing.assert_allclose(equal, [0.5, 0.0], atol=1e-12)
    np.testing.assert_allclose(favoured, [2.0, 0.0], atol=1e-12)  # label 1 keeps a margin of 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0], [2.0]], [0, 1]), "inputs must be separated by a hyperplane through the origin, got 2 samples"),
        (([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]], [1, 0, 1]), "inputs must be separated"),
        (([[0.0], [0.0]], [0, 1]), "inputs must be .* not all zero"),
        (([1.0, 2.0], [0, 1]), r"inputs must be a finite matrix.* got shape \(2,\)"),
        (([[np.nan], [2.0]], [0, 1]), "inputs must be a finite matrix"),
        (([[1.0], [-2.0]], [0, 2]), "labels must be 2 values 0 or 1"),
        (([[1.0], [-2.0]], [0, 1, 1]), r"labels must be 2 values 0 or 1, one per sample, got shape \(3,\)"),
        (([[1.0], [-2.0]], [1, 0], [1.0, 0.0]), "label_scale must be finite and positive"),
        (([[1.0], [-2.0]], [1, 0], [1.0, 1.0, 1.0]), "label_scale must hold the scales of the 2 classes, got 3"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        cost_sensitive_svm(*arguments)


@given(seeds)
@settings(max_examples=20)
def test_data_that_no_hyperplane_separates_are_refused(seed):
    inputs, labels = separable(seed)
    with pytest.raises(InputError, match="inputs must be separated"):
        cost_sensitive_svm(np.vstack([inputs, inputs[:1]]), [*labels, 1 - labels[0]])
