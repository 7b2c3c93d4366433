import numpy as np
import pytest
import torch
from torch import nn

from implicit_geometry import ClassCounts
from implicit_geometry.experiments.training.evaluation import accuracies, predictions


def test_accuracies_by_hand():
    counts = ClassCounts([500, 500, 40, 5])
    labels = np.repeat(np.arange(4), [10, 10, 4, 2])
    guesses = labels.copy()
    guesses[[0, 10, 11, 20, 24]] = 3, 0, 0, 0, 0  # recall 9/10, 8/10, 3/4, 1/2
    found = accuracies(guesses, labels, counts)
    assert found == pytest.approx(
        {
            "overall": 21 / 26,
            "balanced": (0.9 + 0.8 + 0.75 + 0.5) / 4,
            "majority": (0.9 + 0.8) / 2,
            "minority": (0.75 + 0.5) / 2,
            "many": (0.9 + 0.8) / 2,
            "medium": 0.75,
            "few": 0.5,
            "worst": 0.5,
        }
    )


def test_groups_without_classes_are_nan():
    found = accuracies(np.array([0, 1]), np.array([0, 1]), ClassCounts([50, 50]))
    assert np.isnan([found["minority"], found["many"], found["few"]]).all()


@pytest.mark.parametrize("training", [True, False])
def test_predictions_are_those_of_eval_mode_and_leave_the_mode(training):
    model = nn.Sequential(nn.Dropout(0.99), nn.Identity()).train(training)
    inputs = torch.eye(5)
    assert predictions(model, [(inputs[:2], None), (inputs[2:], None)]).tolist() == [0, 1, 2, 3, 4]
    assert model.training is training
