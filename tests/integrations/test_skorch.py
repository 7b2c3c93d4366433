"""skorch: the loss of each fold has the counts of that fold, and its hyperparameters can be searched."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, LRScheduler

from implicit_geometry._validate import InputError
from implicit_geometry.counts import ClassCounts
from implicit_geometry.integrations.skorch import FoldCounts
from implicit_geometry.nn import VSLoss
from implicit_geometry.rules import cdt, logit_adjusted, make_parameterization

COUNTS = [41, 18, 7]  # their folds differ in their counts


def make_data(*counts, seed=0):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    noise = np.random.default_rng(seed + 1).standard_normal((len(labels), 3))
    return (2 * np.eye(3)[labels] + noise).astype(np.float32), labels


def make_net(**options):
    settings = {
        "module__in_features": 3,
        "module__out_features": 3,
        "criterion": VSLoss.from_rule,
        "criterion__rule": "cdt",
        "criterion__counts": COUNTS,
        "criterion__gamma": 0.5,
        "max_epochs": 2,
        "lr": 0.1,
        "train_split": None,
        "verbose": 0,
        "callbacks": [FoldCounts()],
    }
    return NeuralNetClassifier(torch.nn.Linear, **{**settings, **options})


def test_the_loss_is_that_of_the_labels_that_fit_is_given():
    inputs, labels = make_data(*COUNTS)
    net = make_net().fit(inputs[:40], labels[:40])
    counts = ClassCounts(np.bincount(labels[:40]))
    assert net.criterion__counts == counts
    assert counts != ClassCounts(COUNTS)
    assert net.criterion_.parameterization == cdt(counts, 0.5)


def test_training_is_the_same_as_with_these_counts_from_the_start():
    inputs, labels = make_data(*COUNTS)
    inputs, labels = inputs[:40], labels[:40]
    torch.manual_seed(0)
    counted = make_net().fit(inputs, labels)
    torch.manual_seed(0)
    given = make_net(criterion__counts=np.bincount(labels), callbacks=[]).fit(inputs, labels)
    assert counted.history[:, "train_loss"] == given.history[:, "train_loss"]
    assert torch.equal(counted.module_.weight, given.module_.weight)


def test_probabilities_are_the_softmax_of_the_plain_logits():
    inputs, labels = make_data(*COUNTS)
    net = make_net().fit(inputs, labels)
    found = net.predict_proba(inputs)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(found, net.module_(torch.tensor(inputs)).softmax(1).detach().numpy(), rtol=1e-6)


class Recorder(Callback):
    """What every fit was given and the loss that it then had."""

    fits = []  # noqa: RUF012  # of all clones that a search makes

    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        labels = np.asarray(dataset_train.y)
        self.fits.append((tuple(np.bincount(labels).tolist()), net.criterion__gamma, net.criterion_.parameterization))


def test_a_grid_search_gives_every_fold_its_own_counts():
    inputs, labels = make_data(*COUNTS)
    folds = StratifiedKFold(3)
    Recorder.fits = []
    search = GridSearchCV(
        make_net(callbacks=[FoldCounts(), Recorder()], max_epochs=1),
        {"criterion__gamma": [0.0, 0.5, 1.0]},
        cv=folds,
        scoring="balanced_accuracy",
        error_score="raise",
    ).fit(inputs, labels)
    expected = [tuple(np.bincount(labels[train]).tolist()) for train, _ in folds.split(inputs, labels)]
    assert len(set(expected)) > 1
    *searched, refit = Recorder.fits
    assert sorted(counts for counts, _, _ in searched) == sorted(expected * 3)
    assert refit[:2] == (tuple(COUNTS), search.best_params_["criterion__gamma"])
    assert all(loss == cdt(list(counts), gamma) for counts, gamma, loss in Recorder.fits)


def test_the_rule_can_be_searched_too():
    inputs, labels = make_data(*COUNTS)
    net = make_net(criterion__gamma=0.25)
    search = GridSearchCV(net, {"criterion__rule": ["weighted", "cdt", "ldt"]}, cv=3, error_score="raise")
    best = search.fit(inputs, labels).best_estimator_
    assert best.criterion_.parameterization == make_parameterization(best.criterion__rule, COUNTS, gamma=0.25)


def test_a_clone_of_a_fitted_network_counts_anew():
    inputs, labels = make_data(*COUNTS)
    net = clone(make_net().fit(inputs[:40], labels[:40])).fit(inputs, labels)
    assert net.criterion__counts == ClassCounts(COUNTS)


def test_more_training_keeps_the_optimizer_and_counts_anew():
    inputs, labels = make_data(*COUNTS)
    net = make_net(optimizer=torch.optim.Adam).fit(inputs, labels)
    optimizer = net.optimizer_
    net.partial_fit(inputs[:40], labels[:40])
    assert net.optimizer_ is optimizer
    assert net.criterion_.parameterization == cdt(np.bincount(labels[:40]), 0.5)


@pytest.mark.parametrize("first", [True, False])
def test_the_order_of_callbacks_does_not_matter(first):
    inputs, labels = make_data(*COUNTS)
    schedule = LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    callbacks = [FoldCounts(), schedule] if first else [schedule, FoldCounts()]
    net = make_net(callbacks=callbacks).fit(inputs, labels)
    assert net.optimizer_.param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**2)
    assert net.criterion__counts == ClassCounts(COUNTS)


def test_other_losses_that_take_counts_are_made_anew_too():
    inputs, labels = make_data(*COUNTS)

    def make(counts, tau):
        return VSLoss(logit_adjusted(counts, tau))

    options = {"criterion__rule": None, "criterion__gamma": None}
    net = make_net(criterion=make, criterion__tau=2.0)
    for name in options:
        del vars(net)[name]
    net.fit(inputs[:40], labels[:40])
    assert net.criterion_.parameterization == logit_adjusted(np.bincount(labels[:40]), 2.0)


# What is refused


def test_a_class_that_the_fold_lacks_is_named():
    inputs, labels = make_data(*COUNTS)
    with pytest.raises(InputError, match=r"^labels must hold every class 0..2, got no sample of classes \[2\]"):
        make_net().fit(inputs[labels < 2], labels[labels < 2])


def test_a_criterion_without_counts_is_told_what_it_lacks():
    inputs, labels = make_data(*COUNTS)
    net = NeuralNetClassifier(
        torch.nn.Linear,
        module__in_features=3,
        module__out_features=3,
        criterion=torch.nn.CrossEntropyLoss,
        callbacks=[FoldCounts()],
    )
    with pytest.raises(InputError, match=r"^criterion__counts must be given to the network, for a criterion such as"):
        net.fit(inputs, labels)


def test_labels_within_a_data_set_are_not_looked_for():
    inputs, labels = make_data(*COUNTS)
    data = torch.utils.data.TensorDataset(torch.tensor(inputs), torch.tensor(labels))
    with pytest.raises(InputError, match=r"^y must be given to fit: its classes are counted, got None"):
        make_net().fit(data, y=None)
