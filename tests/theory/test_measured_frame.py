"""Predicted geometries about the mean over the samples, against dense matrices."""

import numpy as np
import pytest

from implicit_geometry import ClassCounts, Problem, cdt, ldt, predict, vs
from implicit_geometry.theory.measured_frame import in_measured_frame

COUNTS = ClassCounts([50, 50, 50, 8, 8, 3])
LDT = ldt(COUNTS, gamma=0.5)
LOSSES = [None, cdt(COUNTS, gamma=0.5), vs(COUNTS, gamma=-0.25, tau=1.0)]


def about_sample_mean(geometry):
    return about_mean(geometry, COUNTS.values)


def about_mean(geometry, weights):
    k = COUNTS.num_classes
    centre = np.eye(k) - np.outer(np.ones(k), weights / weights.sum())
    return centre @ geometry.embedding.dense() @ centre.T, geometry.cross.dense() @ centre.T


@pytest.mark.parametrize("ridge", [0.0, 1e-3, 1.0])
@pytest.mark.parametrize("loss", LOSSES)
def test_embeddings_of_a_bias_with_a_ridge_are_moved_to_mean_zero(loss, ridge):
    solution = predict(Problem(COUNTS, loss, ridge=ridge, bias=True, bias_ridge=ridge or 1.0))
    found = in_measured_frame(solution)
    embedding, cross = about_sample_mean(solution.geometry)
    np.testing.assert_allclose(found.embedding.dense(), embedding, atol=1e-12 * np.abs(embedding).max())
    np.testing.assert_allclose(found.cross.dense(), cross, atol=1e-12 * np.abs(cross).max())
    np.testing.assert_allclose(COUNTS.values @ found.embedding.dense(), 0, atol=1e-9 * np.abs(embedding).max())
    assert found.classifier == solution.geometry.classifier
    np.testing.assert_allclose(found.cross.embedding_norms, np.sqrt(np.diag(embedding)), rtol=1e-12)


@pytest.mark.parametrize("loss", [*LOSSES, LDT])
@pytest.mark.parametrize(("ridge", "label_smoothing"), [(1e-3, 0.0), (1.0, 0.0), (0.0, 0.1)])
def test_the_papers_frame_is_about_the_mean_weighted_with_the_label_scales(loss, ridge, label_smoothing):
    problem = Problem(COUNTS, loss, ridge=ridge, label_smoothing=label_smoothing)
    solution, weights = predict(problem), problem.parameterization.label_scale
    found = in_measured_frame(solution, "centred")
    embedding, cross = about_mean(solution.geometry, weights)
    np.testing.assert_allclose(found.embedding.dense(), embedding, atol=1e-12 * np.abs(embedding).max())
    np.testing.assert_allclose(found.cross.dense(), cross, atol=1e-12 * np.abs(cross).max())
    np.testing.assert_allclose(weights @ found.embedding.dense(), 0, atol=1e-9 * np.abs(embedding).max())
    assert found.classifier == solution.geometry.classifier
    if ridge:
        moved = np.abs(embedding - solution.geometry.embedding.dense()).max()
        assert moved > 1e-6 * np.abs(embedding).max()


@pytest.mark.parametrize("loss", [*LOSSES, LDT])
def test_the_limit_has_the_mean_of_the_papers_frame_at_zero(loss):
    solution = predict(Problem(COUNTS, loss))
    assert in_measured_frame(solution, "centred") is solution.geometry
    embedding, _ = about_mean(solution.geometry, solution.problem.parameterization.label_scale)
    np.testing.assert_allclose(embedding, solution.geometry.embedding.dense(), atol=1e-12 * np.abs(embedding).max())


@pytest.mark.parametrize("bias_ridge", [0.0, 0.1])
def test_with_a_bias_both_frames_of_a_prediction_are_one(bias_ridge):
    solution = predict(Problem(COUNTS, LDT, ridge=0.1, bias=True, bias_ridge=bias_ridge))
    assert in_measured_frame(solution, "centred") == in_measured_frame(solution)


@pytest.mark.parametrize("ridge", [0.0, 0.1])
@pytest.mark.parametrize("bias", [False, True])
def test_others_are_left_as_they_are(ridge, bias):
    solution = predict(Problem(COUNTS, LOSSES[1], ridge=ridge, bias=bias))
    assert in_measured_frame(solution) is solution.geometry
    if bias:  # whose mean is zero
        embedding, _ = about_sample_mean(solution.geometry)
        np.testing.assert_allclose(embedding, solution.geometry.embedding.dense(), atol=1e-8 * np.abs(embedding).max())
