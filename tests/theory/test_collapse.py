import numpy as np
import pytest

from implicit_geometry import (
    ClassCounts,
    InputError,
    Problem,
    cdt,
    collapse_thresholds,
    ldam,
    make_parameterization,
    predict,
)

STEP = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)


def apart(loss, ridge, classes):
    gram = predict(Problem(STEP, loss, ridge=ridge)).geometry.classifier
    one, other = classes
    return gram.entry(one, one) - gram.entry(one, other)


@pytest.mark.parametrize(
    ("rule", "given"),
    [
        ("ce", {}),
        ("weighted", {"gamma": 0.5}),
        ("logit_adjusted", {"tau": 1.0}),
        ("cdt", {"gamma": 0.5}),
        ("ldt", {"gamma": 0.25}),
        ("vs", {"gamma": 0.3, "tau": 1.0}),
        ("ldam", {"max_margin": 2.0}),
    ],
)
@pytest.mark.parametrize("classes", [(0, 1), (8, 9)])
def test_the_optimum_changes_at_the_threshold_and_nowhere_else(rule, given, classes):
    loss = make_parameterization(rule, STEP, **given)
    threshold = collapse_thresholds(STEP, loss).ridge[classes[0]]
    for below in (0.5, 0.9, 0.999):
        assert apart(loss, threshold * below, classes) > 1e-9
    for above in (1.001, 1.1, 1.5):
        assert apart(loss, threshold * above, classes) == pytest.approx(0.0, abs=1e-12)


def test_cross_entropy_collapses_at_the_root_of_the_count():
    np.testing.assert_allclose(collapse_thresholds(STEP).ridge, np.sqrt(STEP.values), rtol=1e-15)


def test_a_margin_raises_the_threshold():
    assert collapse_thresholds(STEP, ldam(STEP, max_margin=2.0)).ridge[9] > np.sqrt(5) * 1.01


def test_a_class_without_an_equal_has_no_exact_threshold():
    assert collapse_thresholds([9, 9, 4]).exact.tolist() == [True, True, False]


def test_everything_is_zero_from_the_total_threshold_on():
    total = collapse_thresholds(STEP).total
    below, above = (predict(Problem(STEP, ridge=total * factor)).geometry.classifier for factor in (0.999, 1.001))
    assert below.norms().max() > 0
    assert above.norms().max() == 0


def test_the_smallest_surviving_count_is_where_the_threshold_meets_the_weight_decay():
    loss = cdt(STEP, gamma=0.5)
    thresholds = collapse_thresholds(STEP, loss)
    decay = thresholds.weight_decay()
    assert decay[9] == pytest.approx(thresholds.ridge[9] / 275)
    assert thresholds.smallest_surviving_count(decay[9] * 0.999)[9] == 5
    assert thresholds.smallest_surviving_count(decay[9] * 1.001)[9] == 6
    assert thresholds.weight_decay(num_samples=100)[0] == pytest.approx(thresholds.ridge[0] / 100)


def test_bad_input():
    with pytest.raises(InputError, match="weight_decay"):
        collapse_thresholds(STEP).smallest_surviving_count(-1.0)
    with pytest.raises(InputError, match="num_samples"):
        collapse_thresholds(STEP).weight_decay(num_samples=0)
