"""The adjusted classifier: scikit-learn's own checks of estimators, and Bayes' rule by hand."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from implicit_geometry._validate import InputError
from implicit_geometry.correction.fit import fit_logit_correction
from implicit_geometry.integrations.sklearn import LogitAdjustedClassifier

NAMES = np.array(["ant", "bee", "cat"])


def make_data(*counts, seed=0, spread=1.0):
    """Gaussian clouds around the corners of a triangle, with the classes by name."""
    labels = np.repeat(np.arange(len(counts)), counts)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    inputs = 2 * np.eye(3)[labels] + spread * rng.standard_normal((len(labels), 3))
    return inputs[order], NAMES[labels][order]


# Checks that scikit-learn has for every estimator; data of some can be classified without an error


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [
        LogitAdjustedClassifier(LogisticRegression()),
        LogitAdjustedClassifier(LogisticRegression(), tau=1.0),
        LogitAdjustedClassifier(GaussianNB(), prior="train", cv=3),
    ]
)
def test_it_is_an_estimator_of_scikit_learn(estimator, check):
    check(estimator)


# The adjustment


@pytest.mark.parametrize("tau", [0, 0.5, 1.0, 2])
@pytest.mark.parametrize("prior", ["balanced", "train", [0.2, 0.2, 0.6], [0.5, 0.5, 0.0]])
def test_a_fixed_tau_is_bayes_rule_with_powers_of_the_shares(tau, prior):
    inputs, names = make_data(60, 30, 10)
    model = LogitAdjustedClassifier(GaussianNB(), tau=tau, prior=prior).fit(inputs, names)
    share = np.array([0.6, 0.3, 0.1])
    target = {"balanced": np.full(3, 1 / 3), "train": share}[prior] if isinstance(prior, str) else np.array(prior)
    product = GaussianNB().fit(inputs, names).predict_proba(inputs) * target / share**tau
    expected = product / product.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(inputs), expected, rtol=1e-9, atol=1e-14)
    assert (model.predict(inputs) == NAMES[expected.argmax(axis=1)]).all()


def test_tau_by_cv_fits_out_of_fold_predictions():
    inputs, names = make_data(200, 60, 20)
    folds = StratifiedKFold(4, shuffle=True, random_state=0)
    model = LogitAdjustedClassifier(LogisticRegression(), cv=folds).fit(inputs, names)
    held_out = np.log(cross_val_predict(LogisticRegression(), inputs, names, cv=folds, method="predict_proba"))
    expected = fit_logit_correction(held_out, np.searchsorted(NAMES, names), [200, 60, 20])
    assert (model.correction_.tau, model.correction_.temperature) == (expected.tau, expected.temperature)
    scores = np.log(LogisticRegression().fit(inputs, names).predict_proba(inputs)) / expected.temperature
    adjusted = softmax(scores - expected.tau * np.log(np.array([200, 60, 20]) / 280), axis=1)
    np.testing.assert_allclose(model.predict_proba(inputs), adjusted, rtol=1e-9)


@pytest.mark.parametrize(
    "estimator", [LogisticRegression(), GaussianNB(), RandomForestClassifier(50, random_state=0)], ids=repr
)
def test_it_makes_balanced_data_easier(estimator):
    inputs, names = make_data(1000, 100, 20)
    balanced = make_data(500, 500, 500, seed=1)
    plain = balanced_accuracy_score(balanced[1], clone(estimator).fit(inputs, names).predict(balanced[0]))
    adjusted = LogitAdjustedClassifier(estimator).fit(inputs, names)
    assert balanced_accuracy_score(balanced[1], adjusted.predict(balanced[0])) > plain + 0.03


def test_probabilities_of_zero_count_as_the_least_that_a_float_tells_from_one():
    inputs, names = make_data(60, 30, 10)
    tree = DecisionTreeClassifier(random_state=0).fit(inputs, names)
    assert (tree.predict_proba(inputs) == 0).any()
    model = LogitAdjustedClassifier(tree, tau=1.0).fit(inputs, names)
    product = np.maximum(tree.predict_proba(inputs), 2.220446049250313e-16) / [0.6, 0.3, 0.1]
    np.testing.assert_allclose(model.predict_proba(inputs), product / product.sum(axis=1, keepdims=True), rtol=1e-9)


def test_where_every_out_of_fold_prediction_is_right_tau_is_1_and_a_warning_says_so():
    inputs, names = make_data(60, 30, 10, spread=0.01)
    with pytest.warns(ConvergenceWarning, match=r"^out-of-fold predictions are all right and tell no tau"):
        model = LogitAdjustedClassifier(GaussianNB()).fit(inputs, names)
    assert (model.correction_.tau, model.correction_.temperature) == (1, 1)


# As a part of scikit-learn


@pytest.mark.parametrize("kind", [str, object, bool, np.int64])
def test_classes_may_be_of_any_kind(kind):
    inputs, names = make_data(60, 30)
    labels = {str: names, object: names.astype(object), bool: names == "bee", np.int64: np.where(names == "bee", 7, -2)}
    model = LogitAdjustedClassifier(LogisticRegression(), tau=1.0).fit(inputs, labels[kind])
    assert (model.classes_ == np.unique(labels[kind])).all()
    assert set(model.predict(inputs)) == set(labels[kind])
    assert model.predict(inputs).dtype == labels[kind].dtype


def test_it_works_in_a_pipeline_and_in_a_grid_search():
    inputs, names = make_data(100, 50, 20)
    pipeline = make_pipeline(StandardScaler(), LogitAdjustedClassifier(LogisticRegression(), tau=1.0))
    grid = {"logitadjustedclassifier__tau": [0.0, 0.5, 1.0], "logitadjustedclassifier__estimator__C": [0.1, 1.0]}
    search = GridSearchCV(pipeline, grid, scoring="balanced_accuracy", cv=3, error_score="raise").fit(inputs, names)
    assert search.best_params_["logitadjustedclassifier__tau"] > 0


def test_before_fit_it_is_not_fitted():
    with pytest.raises(NotFittedError):
        LogitAdjustedClassifier(LogisticRegression()).predict([[0.0]])


class Raw(ClassifierMixin, BaseEstimator):
    """A classifier of texts that scikit-learn's checks of arrays would refuse."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.array([[0.6, 0.4] if "a" in text else [0.3, 0.7] for text in X])


def test_inputs_are_the_business_of_the_estimator():
    model = LogitAdjustedClassifier(Raw(), tau=1.0).fit(["a", "b", "ab", "c"], [0, 0, 0, 1])
    np.testing.assert_allclose(model.predict_proba(["a"]), [[0.6 / 3, 0.4]] / np.sum([0.6 / 3, 0.4]))
    assert not hasattr(model, "n_features_in_")


# What is refused


@pytest.mark.parametrize(
    ("options", "names", "sentence"),
    [
        ({"estimator": LinearSVC()}, NAMES[[0, 0, 1, 1]], "estimator must be a classifier with predict_proba, got "),
        ({"tau": "best"}, NAMES[[0, 0, 1, 1]], "tau must be \"cv\" or a number, got 'best'"),
        ({"tau": float("nan")}, NAMES[[0, 0, 1, 1]], "tau must be a finite number, got nan"),
        ({"prior": "even"}, NAMES[[0, 0, 1, 1]], "prior must be one of balanced, train, got 'even'"),
        ({"prior": [0.5, 0.4]}, NAMES[[0, 0, 1, 1]], "prior must sum to 1, got a sum of 0.9"),
        ({}, NAMES[[0, 0, 0, 0]], "y must hold at least 2 classes, got one class, "),
        ({}, NAMES[[0, 0, 0, 1]], "y must hold at least 2 samples of every class to fit tau, got 1 of class "),
    ],
)
def test_what_cannot_be_fitted_is_one_clear_sentence(options, names, sentence):
    with pytest.raises(InputError) as caught:
        LogitAdjustedClassifier(**{"estimator": GaussianNB(), **options}).fit(np.eye(4), names)
    assert str(caught.value).startswith(sentence)


def test_a_class_that_a_training_fold_lacks_is_warned_of_by_scikit_learn():
    inputs, names = make_data(40, 4)
    order = np.argsort(names)
    with pytest.warns(RuntimeWarning, match="Number of classes in training fold"):
        LogitAdjustedClassifier(GaussianNB(), cv=KFold(11)).fit(inputs[order], names[order])
