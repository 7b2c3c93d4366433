"""Label-imbalanced data in scikit-learn: a loss whose exponent is searched by skorch, and an adjusted classifier.

python examples/skorch_sklearn.py
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from skorch import NeuralNetClassifier

import implicit_geometry as ig
from implicit_geometry.integrations.sklearn import LogitAdjustedClassifier
from implicit_geometry.integrations.skorch import FoldCounts
from implicit_geometry.nn import VSLoss

COUNTS = ig.ClassCounts([600, 100, 20])
MODULE = {"module": torch.nn.Linear, "module__in_features": 3, "module__out_features": 3}
LOSS = {"criterion": VSLoss.from_rule, "criterion__rule": "vs", "criterion__counts": COUNTS, "criterion__tau": 1.0}
FIT = {"max_epochs": 10, "lr": 0.5, "train_split": None, "verbose": 0}


def make_data(counts: ig.ClassCounts, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Clouds around the corners of a triangle."""
    labels = np.repeat(np.arange(counts.num_classes), counts.values)
    noise = np.random.default_rng(seed).standard_normal((len(labels), counts.num_classes))
    return (1.5 * np.eye(counts.num_classes)[labels] + noise).astype(np.float32), labels


def search_gamma(inputs: NDArray[np.float32], labels: NDArray[np.int64]) -> GridSearchCV:
    """The exponent of the VS loss by cross-validation, where every fold has class counts of its own."""
    torch.manual_seed(0)
    net = NeuralNetClassifier(**MODULE, **LOSS, **FIT, callbacks=[FoldCounts()])
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    grid = {"criterion__gamma": [0.0, 0.1, 0.3]}
    return GridSearchCV(net, grid, cv=folds, scoring="balanced_accuracy").fit(inputs, labels)


def main() -> None:
    inputs, labels = make_data(COUNTS, seed=0)
    test, test_labels = make_data(ig.ClassCounts([500, 500, 500]), seed=1)
    search = search_gamma(inputs, labels)
    models = {
        "logistic regression": LogisticRegression().fit(inputs, labels),
        "the same, adjusted": LogitAdjustedClassifier(LogisticRegression()).fit(inputs, labels),
        f"VS, gamma = {search.best_params_['criterion__gamma']}": search,
    }
    print("balanced accuracy on balanced data")
    for name, model in models.items():
        print(f"{name:22}{balanced_accuracy_score(test_labels, model.predict(test)):.2f}")


if __name__ == "__main__":
    main()
