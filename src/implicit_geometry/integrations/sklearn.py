"""Classifiers of scikit-learn for another class prior than that of their training set."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from implicit_geometry._extras import explained
from implicit_geometry._validate import Floats, InputError, number, shown
from implicit_geometry.correction.fit import NoFiniteTemperature, fit_logit_correction
from implicit_geometry.correction.logits import LogitCorrection, logit_correction
from implicit_geometry.counts import ClassCounts

with explained(__name__, "integrations"):
    from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import check_cv, cross_val_predict
    from sklearn.utils import check_array, column_or_1d, get_tags, indexable
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted

_LEAST = float(np.finfo(np.float64).eps)  # probability that is taken where an estimator gives 0, as log_loss does


class LogitAdjustedClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose probabilities are adjusted from the class shares of its training set to other ones.

    With p(y) the probabilities of the estimator, pi the shares of the classes in ``fit`` and q those of ``prior``, the
    score of a class is ``log p(y) / temperature - tau log pi_y + log q_y``. At tau = temperature = 1 this is Bayes'
    rule for estimators whose probabilities are right; others need less or more of it, which out-of-fold predictions
    tell. A probability of 0 counts as 2.2e-16.

    Args:
        estimator: any classifier with ``predict_proba``.
        tau: how much of the shares of the training set is taken away; ``"cv"`` fits it, and a temperature, to
            predictions of ``cross_val_predict`` by :func:`~implicit_geometry.correction.fit.fit_logit_correction`.
            Where these are all right, so that no temperature is best, both are 1, with a ``ConvergenceWarning``.
        prior: of the data to classify: ``"balanced"``, ``"train"``, or one share for each of the sorted classes.
        cv: folds for ``tau="cv"``: a number, a splitter or an iterable, as in scikit-learn.

    Attributes:
        classes_: the classes, sorted, shape (k,).
        estimator_: fitted on all data.
        correction_: the :class:`~implicit_geometry.correction.logits.LogitCorrection` of its log-probabilities.

    Raises:
        InputError: in ``fit``: the estimator has no ``predict_proba``, ``tau`` or ``prior`` is out of range, or a class
            has too few samples.

    Example:
        >>> from sklearn.linear_model import LogisticRegression
        >>> X, y = [[0.0], [0.3], [0.5], [0.7], [0.9], [0.8]], ["usual"] * 4 + ["rare"] * 2
        >>> usual = LogisticRegression().fit(X, y)
        >>> adjusted = LogitAdjustedClassifier(LogisticRegression(), tau=1.0).fit(X, y)
        >>> usual.predict([[0.6]]).item(), adjusted.predict([[0.6]]).item()
        ('usual', 'rare')
    """

    classes_: NDArray[Any]
    estimator_: Any
    correction_: LogitCorrection

    def __init__(
        self, estimator: Any, tau: float | str = "cv", prior: str | ArrayLike = "balanced", cv: Any = 5
    ) -> None:
        self.estimator = estimator
        self.tau = tau
        self.prior = prior
        self.cv = cv

    def fit(self, X: Any, y: Any) -> Self:
        """Fit the adjustment, and the estimator on all data."""
        if not hasattr(self.estimator, "predict_proba"):
            raise InputError("estimator", "must be a classifier with predict_proba", shown(self.estimator))
        X, y = indexable(X, y)
        y = check_array(column_or_1d(y, warn=True), ensure_2d=False, dtype=None, input_name="y")
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError("y", "must hold at least 2 classes", f"one class, {shown(self.classes_[0])}")
        counts = ClassCounts(np.bincount(labels))
        fixed = None if isinstance(self.tau, str) and self.tau == "cv" else _tau(self.tau)
        correction = logit_correction(counts, prior=self.prior)
        self.correction_ = replace(correction, tau=fixed) if fixed is not None else self._fitted(X, y, labels, counts)
        self.estimator_ = clone(self.estimator).fit(X, y)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.estimator_, name):
                setattr(self, name, getattr(self.estimator_, name))
        return self

    def predict_proba(self, X: Any) -> Floats:
        """Adjusted probabilities of ``classes_``, shape (n, k)."""
        check_is_fitted(self)
        found: Floats = self.correction_.probabilities(_log(self.estimator_.predict_proba(X)))
        return found

    def predict(self, X: Any) -> NDArray[Any]:
        """The class of each sample that is most probable, shape (n,)."""
        probabilities = self.predict_proba(X)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags

    def _fitted(self, X: Any, y: Any, labels: Any, counts: ClassCounts) -> LogitCorrection:
        if counts.values.min() < 2:
            rarest = self.classes_[counts.values.argmin()]
            raise InputError(
                "y", "must hold at least 2 samples of every class to fit tau", f"1 of class {shown(rarest)}"
            )
        folds = check_cv(self.cv, y, classifier=True)
        held_out = cross_val_predict(clone(self.estimator), X, y, cv=folds, method="predict_proba")
        try:
            return fit_logit_correction(_log(held_out), labels, counts, self.prior)
        except NoFiniteTemperature:
            warnings.warn(
                "out-of-fold predictions are all right and tell no tau: tau and the temperature are 1",
                ConvergenceWarning,
                stacklevel=3,
            )
            return logit_correction(counts, prior=self.prior)


def _tau(value: Any) -> float:
    if isinstance(value, str):
        raise InputError("tau", 'must be "cv" or a number', shown(value))
    return number("tau", value)


def _log(probabilities: Any) -> Floats:
    return np.asarray(np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), _LEAST)))
