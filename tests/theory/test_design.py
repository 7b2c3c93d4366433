import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from implicit_geometry._validate import InputError
from implicit_geometry.counts import ClassCounts
from implicit_geometry.problem import Problem
from implicit_geometry.rules import cdt, ldt, vs
from implicit_geometry.theory.design import FAMILIES, LARGEST_EXPONENT, TARGETS, design
from implicit_geometry.theory.predict import predict
from oracles import factor_logits, limit_geometry
from strategies import class_counts

STEP = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)
SINGLE = ("ldt", "cdt", "vs")


def dense(counts, loss):
    """W W^T, H H^T and W H^T of the limit by a dense SVD."""
    return limit_geometry(ClassCounts(counts).values, loss.class_scale, loss.label_scale)


def distance_to_etf(gram):
    k = len(gram)
    etf = np.eye(k) - 1 / k
    return np.linalg.norm(gram / np.linalg.norm(gram) - etf / np.linalg.norm(etf))


def cosines(gram):
    norms = np.sqrt(np.diag(gram))
    return (gram / np.outer(norms, norms))[np.triu_indices(len(gram), 1)]


def norm_ratio(counts, gram):
    majority, squared = ClassCounts(counts).majority, np.diag(gram)
    return squared[majority].mean() / squared[~majority].mean()


def minority_cosine(counts, gram):
    minority = np.flatnonzero(~ClassCounts(counts).majority)
    return cosines(gram[np.ix_(minority, minority)]).mean()


def deviation(target, gram):
    if target == "etf":
        return distance_to_etf(gram)
    if target == "equal_norms":
        return np.log(np.sqrt(np.diag(gram))).std()
    return np.sqrt(np.mean((cosines(gram) + 1 / (len(gram) - 1)) ** 2))


def unit_mean(*scales):
    return all(np.isclose(scale.mean(), 1) for scale in scales)


# Exact answers, for any counts


@settings(deadline=None, max_examples=25)
@given(class_counts(min_classes=3))
@pytest.mark.parametrize("target", ["etf", "equal_norms", "equal_angles"])
def test_label_scale_makes_an_etf_whatever_the_counts(target, counts):
    found = design(counts, target=target, family="ldt")
    assert found.exact
    assert found.residual == found.reached == 0
    assert found.reachable is None
    gram = dense(counts, found.parameterization).classifier
    assert distance_to_etf(gram) < 1e-12
    if counts.imbalance_ratio > 1:
        assert found.parameterization == ldt(counts, gamma=0.5)


@settings(deadline=None, max_examples=25)
@given(class_counts())
@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_aligns_perfectly_whatever_the_counts(family, free, counts):
    found = design(counts, target="alignment", family=family, free=free)
    assert (found.exact, found.residual, found.reached) == (True, 0, 1)
    classifier, embedding, cross = dense(counts, found.parameterization)
    alignment = np.diag(cross) / np.sqrt(np.diag(classifier) * np.diag(embedding))
    np.testing.assert_allclose(alignment, 1, atol=1e-12)


def test_both_scales_make_an_etf_only_when_they_are_free():
    free = design(STEP, target="etf", family="cdt+ldt", free=True)
    assert free.exact
    assert free.exponent is None
    assert distance_to_etf(dense(STEP, free.parameterization).classifier) < 1e-12
    tied = design(STEP, target="etf", family="cdt+ldt")
    assert not tied.exact
    assert tied.residual > 0.1
    np.testing.assert_array_equal(tied.parameterization.class_scale, tied.parameterization.label_scale)


def test_corollaries_of_the_paper():
    """Ratio sqrt(R) of the scales: LDT gives an ETF; CDT aligns perfectly, with unequal norms."""
    etf, aligned = design(STEP, target="etf"), design(STEP, target="alignment", family="cdt")
    assert etf.exponent == aligned.exponent == 0.5
    assert aligned.parameterization == cdt(STEP, gamma=0.5)
    assert norm_ratio(STEP, dense(STEP, aligned.parameterization).classifier) == pytest.approx(1.2)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("target", ["etf", "equal_norms", "equal_angles", "alignment"])
def test_balanced_counts_need_no_scales(target, family):
    found = design([7, 7, 7], target=target, family=family)
    assert found.exact
    assert found.parameterization.is_neutral("class_scale")
    assert found.parameterization.is_neutral("label_scale")


# Heads with a bias


@settings(deadline=None, max_examples=25)
@given(class_counts())
@pytest.mark.parametrize("family", ["cdt", "vs", "cdt+ldt"])
def test_class_scales_align_a_head_with_a_bias_whatever_the_counts(family, counts):
    """X = P S P_r with v = r is symmetric; formed densely here."""
    found = design(counts, target="alignment", family=family, bias=True)
    assert (found.exact, found.residual, found.reached) == (True, 0, 1)
    loss, n = found.parameterization, counts.values
    v, r = 1 / loss.class_scale, np.sqrt(n)
    left, right = (np.eye(n.size) - np.outer(x, x) / (x @ x) for x in (v, r))
    dense_logits = left @ np.diag(r / loss.class_scale / loss.label_scale) @ right
    classifier, embedding, cross = factor_logits(dense_logits, n)
    alignment = np.diag(cross) / np.sqrt(np.diag(classifier) * np.diag(embedding))
    np.testing.assert_allclose(alignment, 1, atol=1e-9)
    solution = predict(Problem(counts, loss, bias=True))
    assert solution.certificate.status.value == "optimal"
    np.testing.assert_allclose(solution.geometry.alignment(), 1, atol=1e-9)


def test_what_is_found_for_a_head_with_a_bias_is_what_its_limit_has():
    for target, value, family in (
        ("equal_norms", None, "cdt"),
        ("norm_ratio", 1.2, "vs"),
        ("minority_cosine", -0.2, "cdt"),
        ("etf", None, "ldt"),
    ):
        found = design(STEP, target=target, value=value, family=family, bias=True)
        gram = predict(Problem(STEP, found.parameterization, bias=True)).geometry.classifier.dense()
        number = {"norm_ratio": norm_ratio, "minority_cosine": minority_cosine}.get(target)
        assert (deviation(target, gram) if number is None else number(STEP, gram)) == pytest.approx(
            found.reached, abs=1e-8
        )
        if target != "etf":
            assert found.residual < 1e-7
            assert found.exponent != pytest.approx(design(STEP, target=target, value=value, family=family).exponent)
        else:
            assert found.residual > 0.01
            assert "No exponent of ldt" in found.warnings[0]


def test_balanced_counts_need_no_scales_with_a_bias_either():
    assert design([7, 7, 7], target="etf", bias=True).exact


def test_a_value_of_thousands_of_digits_is_refused_like_any_other():
    with pytest.raises(InputError, match="value must be left out"):
        design(STEP, target="etf", value=10**5000)


def test_label_scales_alone_are_refused_for_the_alignment_of_a_head_with_a_bias():
    with pytest.raises(InputError, match="family must scale classes"):
        design(STEP, target="alignment", bias=True)


# One exponent


@pytest.mark.parametrize(
    ("family", "target", "value", "exponent"),
    [
        ("cdt", "norm_ratio", 1.2, 0.5),
        ("vs", "norm_ratio", 1.2, 0.5),
        ("ldt", "norm_ratio", 1.0, 0.5),
        ("ldt", "minority_cosine", -1 / 9, 0.5),
    ],
)
def test_known_answers_for_step(family, target, value, exponent):
    found = design(STEP, target=target, family=family, value=value)
    assert found.exponent == pytest.approx(exponent, abs=1e-9)
    assert found.reached == pytest.approx(value, abs=1e-12)
    assert found.residual < 1e-12
    assert found.warnings == ()


def lemma_d1(num_classes, ratio, scale_ratio):
    """|w_maj|^2 / |w_min|^2 and cos(w_min, w_min') of CDT on a balanced STEP profile (the paper's Lemma D.1)."""
    k, big, d = num_classes, ratio, scale_ratio
    a, b, root = (1 + d**-2) ** -1.5, (1 + d**2) ** -1.5, np.sqrt(big + 1)
    majority, minority = ((k - 2) * np.sqrt(big) + 2 * root * a) / d, (k - 2) + 2 * root * b
    return majority / minority, (-2 + 2 * root * b) / minority


@pytest.mark.parametrize("gamma", [-0.7, 0.1, 0.4])
@pytest.mark.parametrize("position", [0, 1])
def test_exponent_of_the_papers_formula_is_recovered(gamma, position):
    target = ("norm_ratio", "minority_cosine")[position]
    value = lemma_d1(10, 10, 10**gamma)[position]
    found = design(STEP, target=target, family="cdt", value=value)
    reached = lemma_d1(10, 10, 10**found.exponent)[position]
    assert reached == pytest.approx(value, abs=1e-10)
    assert abs(found.exponent) <= abs(gamma) + 1e-9


@settings(deadline=None, max_examples=10)
@given(class_counts(min_classes=3, max_count=500), st.sampled_from(SINGLE), st.floats(-1, 1))
def test_a_ratio_that_some_exponent_has_is_reached(counts, family, gamma):
    if counts.imbalance_ratio == 1:
        return
    rule = {"ldt": ldt, "cdt": cdt, "vs": vs}[family]
    value = norm_ratio(counts, dense(counts, rule(counts, gamma)).classifier)
    found = design(counts, target="norm_ratio", family=family, value=value)
    assert norm_ratio(counts, dense(counts, found.parameterization).classifier) == pytest.approx(value, rel=1e-8)
    assert abs(found.exponent) <= abs(gamma) + 1e-6


@pytest.mark.parametrize("counts", [STEP, ClassCounts([300, 100, 20, 20, 3])])
@pytest.mark.parametrize("family", ["cdt", "cdt+ldt"])
@pytest.mark.parametrize("target", ["etf", "equal_norms", "equal_angles"])
def test_the_nearest_exponent_is_nearer_than_a_dense_scan(target, family, counts):
    found = design(counts, target=target, family=family)
    scale = [ldt(counts, e).label_scale for e in np.linspace(-LARGEST_EXPONENT, LARGEST_EXPONENT, 241)]
    label_scale = scale if family == "cdt+ldt" else [np.ones(counts.num_classes)] * len(scale)
    scan = [
        deviation(target, limit_geometry(counts.values, *pair).classifier)
        for pair in zip(scale, label_scale, strict=True)
    ]
    gram = dense(counts, found.parameterization).classifier
    assert found.residual == pytest.approx(deviation(target, gram), abs=1e-10)
    assert found.residual <= min(scan) + 1e-12
    assert found.reachable[1] <= max(scan) + 1e-9


def test_two_groups_get_equal_norms_from_one_cdt_exponent():
    found = design(STEP, target="equal_norms", family="cdt")
    assert found.residual < 1e-7
    assert found.warnings == ()
    assert norm_ratio(STEP, dense(STEP, found.parameterization).classifier) == pytest.approx(1, abs=1e-6)


# Free vectors


@settings(deadline=None, max_examples=8)
@given(class_counts(min_classes=3, max_classes=6, max_count=300))
def test_free_class_scales_make_equal_norms(counts):
    found = design(counts, target="equal_norms", family="cdt", free=True)
    squared = np.diag(dense(counts, found.parameterization).classifier)
    np.testing.assert_allclose(squared, squared[0], rtol=1e-7)
    assert unit_mean(found.parameterization.class_scale)


@pytest.mark.parametrize(
    ("family", "target", "value"),
    [
        ("cdt", "etf", None),
        ("vs", "equal_angles", None),
        ("ldt", "norm_ratio", 1.5),
        ("cdt+ldt", "minority_cosine", 0.1),
    ],
)
def test_free_vectors_are_never_farther_than_an_exponent(family, target, value):
    counts = ClassCounts([300, 100, 20, 20, 3])
    free = design(counts, target=target, family=family, value=value, free=True)
    tied = design(counts, target=target, family=family, value=value)
    assert free.residual <= tied.residual + 1e-12
    assert free.exponent is free.reachable is None
    for scale in (free.parameterization.class_scale, free.parameterization.label_scale):
        assert scale[2] == scale[3]
        assert scale.mean() == pytest.approx(1)
    gram = dense(counts, free.parameterization).classifier
    reached = {"norm_ratio": norm_ratio, "minority_cosine": minority_cosine}
    oracle = reached[target](counts, gram) if value is not None else deviation(target, gram)
    assert free.reached == pytest.approx(oracle, abs=1e-9)


def test_free_vectors_reach_what_no_exponent_does():
    counts = ClassCounts([300, 100, 20, 20, 3])
    tied = design(counts, target="equal_norms", family="cdt")
    free = design(counts, target="equal_norms", family="cdt", free=True)
    assert tied.residual > 1e-3
    assert tied.warnings
    assert free.residual < 1e-9
    assert free.warnings == ()


def test_vs_carries_the_logit_adjustment_of_its_rule():
    for free in (False, True):
        found = design(STEP, target="equal_norms", family="vs", free=free)
        np.testing.assert_array_equal(found.parameterization.shift, vs(STEP, gamma=0.0).shift)


# Out of reach


def test_a_target_out_of_reach_comes_with_the_nearest_and_a_warning():
    found = design(STEP, target="norm_ratio", value=200, family="ldt")
    assert found.exponent == -LARGEST_EXPONENT
    assert found.reachable[1] == pytest.approx(found.reached)
    assert found.residual == pytest.approx(np.log(200 / found.reached))
    assert any("No exponent of ldt" in warning and "norm_ratio 200" in warning for warning in found.warnings)
    free = design(STEP, target="norm_ratio", value=200, family="ldt", free=True)
    assert free.residual <= found.residual
    assert "No free scales of ldt" in free.warnings[0]


def test_wide_scales_are_warned_of():
    found = design([100_000, 100_000, 1, 1], target="norm_ratio", value=0.05, family="ldt")
    assert any("label_scale spans a factor" in warning for warning in found.warnings)
    assert not design(STEP, target="etf").warnings


# Collapse


def collapse_ridges(counts, loss):
    return loss.weight * loss.class_scale * loss.label_scale * np.sqrt(ClassCounts(counts).values)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_collapse_is_the_gentlest_exponent(family):
    weight_decay = 1.15 * np.sqrt(5) / STEP.num_samples
    found = design(STEP, target="no_collapse", family=family, weight_decay=weight_decay)
    ridge = weight_decay * STEP.num_samples
    assert collapse_ridges(STEP, found.parameterization).min() > ridge
    assert found.residual == 0
    assert found.warnings == ()
    assert -0.5 < found.exponent < 0
    gentler = ldt(STEP, gamma=found.exponent * (1 - 1e-6)).label_scale
    both = gentler**2 if family == "cdt+ldt" else gentler
    assert (both * np.sqrt(STEP.values)).min() < ridge


def test_no_collapse_leaves_every_direction_alive_at_the_weight_decay():
    found = design(STEP, target="no_collapse", weight_decay=1.02 * 1.15 * np.sqrt(5) / STEP.num_samples)
    for loss, rank in ((found.parameterization, 9), (None, 5)):
        logits = predict(Problem(STEP, loss, ridge=1.15 * np.sqrt(5))).geometry.cross.dense() * np.sqrt(STEP.values)
        assert np.linalg.matrix_rank(logits, tol=1e-6) == rank


def test_no_collapse_needs_nothing_where_nothing_collapses():
    found = design(STEP, target="no_collapse", weight_decay=1e-6)
    assert found.exponent == 0
    assert found.exact
    assert found.reached == pytest.approx(np.sqrt(5) / (1e-6 * STEP.num_samples))


@settings(deadline=None, max_examples=25)
@given(class_counts(max_count=1000), st.sampled_from(FAMILIES), st.integers(0, 2**32 - 1))
def test_no_scales_of_mean_one_stand_more_weight_decay(counts, family, seed):
    found = design(counts, target="no_collapse", family=family, weight_decay=1.0)
    assert found.reached == found.reachable[1] < 1
    assert f"stand up to {found.reached:.4g} times it, with exponent" in found.warnings[0]
    assert "collapse threshold" in found.warnings[-1]
    scales = np.random.default_rng(seed).uniform(0.2, 5, (2 if family == "cdt+ldt" else 1, counts.num_classes))
    scales = scales / scales.mean(axis=1, keepdims=True)
    thresholds = scales.prod(axis=0) * np.sqrt(counts.values)
    assert thresholds.min() / counts.num_samples <= found.reached * (1 + 1e-12)


def test_other_targets_warn_of_collapse():
    assert not design(STEP, target="etf", weight_decay=1e-6).warnings
    threshold = collapse_ridges(STEP, ldt(STEP, gamma=0.5)).min() / STEP.num_samples
    (warning,) = design(STEP, target="etf", weight_decay=1.01 * threshold).warnings
    assert "5 of 10 classes" in warning


# The value, and bad input


def test_a_design_is_a_frozen_value():
    found = design(STEP, target="etf", family="ldt")
    assert found == design(list(STEP.values), target="etf")
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.exponent = 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "etv"}, "did you mean 'etf'"),
        ({"target": "etf", "family": "lda"}, "family must be one of"),
        ({"target": "etf", "value": 1.0}, "value must be left out"),
        ({"target": "norm_ratio"}, "value must be given"),
        ({"target": "minority_cosine"}, "value must be given"),
        ({"target": "norm_ratio", "value": 0.0}, "value must be a finite number above 0"),
        ({"target": "norm_ratio", "value": float("nan")}, "value must be a finite number"),
        ({"target": "minority_cosine", "value": 1.1}, "value must be a finite number between -1 and 1"),
        ({"target": "no_collapse"}, "weight_decay=None"),
        ({"target": "no_collapse", "weight_decay": 1e-3, "free": True}, "free=True"),
        ({"target": "etf", "weight_decay": 0.0}, "weight_decay must be a finite number above 0"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        design(STEP, **arguments)


@pytest.mark.parametrize(
    ("counts", "target"),
    [([5, 5, 5], "norm_ratio"), ([5, 5, 5], "minority_cosine"), ([50, 50, 5], "minority_cosine")],
)
def test_targets_between_majority_and_minority_need_both(counts, target):
    with pytest.raises(InputError, match="counts must have at least"):
        design(counts, target=target, value=0.5)


def test_every_target_has_an_answer_in_every_family():
    given = {"norm_ratio": {"value": 1.5}, "minority_cosine": {"value": 0.0}, "no_collapse": {"weight_decay": 1e-3}}
    for target in TARGETS:
        for family in FAMILIES:
            found = design(STEP, target=target, family=family, **given.get(target, {}))
            assert (found.target, found.family) == (target, family)
