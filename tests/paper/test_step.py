"""The paper's printed formulas for STEP profiles against dense decompositions, and its errata."""

from __future__ import annotations

from dataclasses import astuple
from math import inf, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracles
from implicit_geometry._validate import InputError
from implicit_geometry.comparison import compare
from implicit_geometry.geometry import simplex_etf
from implicit_geometry.paper import step_formulas as step
from implicit_geometry.paper import step_tables
from implicit_geometry.paper.step_formulas import StepBlock, StepProfile

profiles = st.builds(
    StepProfile,
    num_classes=st.integers(4, 20),
    imbalance_ratio=st.floats(1, 1000),
    scale_ratio=st.floats(0.05, 50),
    minority_fraction=st.floats(0.25, 0.75),
)
halves = st.builds(
    StepProfile,
    num_classes=st.integers(2, 20).map(lambda half: 2 * half),
    imbalance_ratio=st.floats(1, 1000),
    scale_ratio=st.floats(0.05, 50),
)


def vectors_of(profile: StepProfile, loss: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts, class_scale and label_scale, majority first, written out class by class."""
    majority, minority = profile.num_majority, profile.num_minority
    counts = np.array([profile.imbalance_ratio] * majority + [1.0] * minority)
    scale = np.array([profile.scale_ratio] * majority + [1.0] * minority)
    ones = np.ones(majority + minority)
    return (counts, scale, ones) if loss == "cdt" else (counts, ones, scale)


def decomposition(profile: StepProfile, loss: str) -> oracles.DenseGeometry:
    return oracles.limit_geometry(*vectors_of(profile, loss))


def inner_products(matrix: np.ndarray, profile: StepProfile) -> tuple[float, ...]:
    first = profile.num_majority
    return (matrix[0, 0], matrix[first, first], matrix[0, 1], matrix[first, first + 1], matrix[0, first])


def assert_block(block: StepBlock, matrix: np.ndarray, profile: StepProfile, rtol: float = 1e-11) -> None:
    """Every inner product agrees, relative to the norms of the two vectors."""
    big, small = sqrt(block.majority), sqrt(block.minority)
    magnitude = (big * big, small * small, big * big, small * small, big * small)
    for printed, exact, size in zip(astuple(block), inner_products(matrix, profile), magnitude, strict=True):
        assert printed == pytest.approx(exact, rel=0, abs=rtol * size)


# Any minority fraction


@given(profiles)
def test_the_sel_matrix_is_definition_2_entry_by_entry(profile: StepProfile) -> None:
    scale = vectors_of(profile, "cdt")[1]
    total = sum(1 / d**2 for d in scale)
    matrix = step.sel_matrix(profile)
    for c, delta in enumerate(scale):
        for j, other in enumerate(scale):
            assert matrix[c, j] == pytest.approx(((c == j) - other**-2 / total) / delta, rel=1e-12, abs=1e-15)


@given(profiles)
def test_the_sel_matrix_holds_the_limits_mean_logits_with_unit_margins(profile: StepProfile) -> None:
    counts, class_scale, label_scale = vectors_of(profile, "cdt")
    matrix = step.sel_matrix(profile)
    np.testing.assert_allclose(matrix, decomposition(profile, "cdt").cross, rtol=1e-9, atol=1e-11)
    assert oracles.smallest_margin(matrix * np.sqrt(counts), counts, class_scale, label_scale) == pytest.approx(
        1, rel=1e-12
    )


@given(profiles)
def test_the_seli_geometry_is_that_of_the_matrix_with_repeated_columns(profile: StepProfile) -> None:
    """Definition 3 literally, for whole R: the decomposition of the k x n matrix, then one column per class."""
    ratio = round(profile.imbalance_ratio) % 20 + 1
    profile = StepProfile(profile.num_classes, ratio, profile.scale_ratio, profile.minority_fraction)
    repeats = [ratio] * profile.num_majority + [1] * profile.num_minority
    left, singular, right = np.linalg.svd(np.repeat(step.sel_matrix(profile), repeats, axis=1), full_matrices=False)
    kept = profile.num_classes - 1
    classifier = left[:, :kept] * np.sqrt(singular[:kept])
    embedding = (right[:kept].T * np.sqrt(singular[:kept]))[np.cumsum(repeats) - 1]
    geometry = step.seli_geometry(profile)
    for found, expected in (
        (geometry.classifier.dense(), classifier @ classifier.T),
        (geometry.embedding.dense(), embedding @ embedding.T),
        (geometry.cross.dense(), classifier @ embedding.T),
    ):
        np.testing.assert_allclose(found, expected, atol=1e-11 * np.abs(expected).max())


@given(profiles)
def test_both_losses_have_the_geometry_of_the_decomposition_at_any_minority_fraction(profile: StepProfile) -> None:
    for loss, geometry in (("cdt", step.seli_geometry(profile)), ("ldt", step.ldt_geometry(profile))):
        exact = decomposition(profile, loss)
        for name in ("classifier", "embedding", "cross"):
            expected = getattr(exact, name)
            np.testing.assert_allclose(getattr(geometry, name).dense(), expected, atol=1e-10 * np.abs(expected).max())


@given(profiles)
def test_lemma_b1_singular_values(profile: StepProfile) -> None:
    printed = [value for value, times in step.sel_singular_values(profile) for _ in range(times)]
    exact = np.linalg.svd(oracles.limit_logits(*vectors_of(profile, "cdt")), compute_uv=False)
    assert len(printed) == profile.num_classes - 1
    np.testing.assert_allclose(sorted(printed, reverse=True), exact[:-1], rtol=1e-10)
    assert exact[-1] < 1e-10 * exact[0]


@given(profiles)
def test_the_geometry_depends_on_the_ratio_of_the_scales_only(profile: StepProfile) -> None:
    counts, class_scale, label_scale = vectors_of(profile, "cdt")
    stretched = oracles.limit_geometry(counts, 3 * class_scale, label_scale)
    geometry = step.seli_geometry(profile)
    expected = geometry.classifier.dense() / 3
    np.testing.assert_allclose(stretched.classifier, expected, atol=1e-10 * np.abs(expected).max())


# Corollaries 1.1 and 1.2


@pytest.mark.parametrize("minority_fraction", [0.1, 0.5, 0.7])
@pytest.mark.parametrize("ratio", [1.0, 10.0, 1e4])
def test_at_the_root_of_r_cdt_aligns_and_ldt_is_an_etf(ratio: float, minority_fraction: float) -> None:
    profile = StepProfile(10, ratio, sqrt(ratio), minority_fraction)
    aligned, etf = step.seli_geometry(profile), step.ldt_geometry(profile)
    np.testing.assert_allclose(aligned.alignment(), 1, rtol=1e-12)
    assert compare(etf, simplex_etf(10)).classifier < 1e-12
    if ratio > 1:
        assert np.ptp(aligned.classifier.norms()) > 0.01  # aligned "without equal norms"
        assert compare(aligned, simplex_etf(10)).classifier > 0.01


# Appendix D, half of the classes minorities


@given(halves)
def test_lemma_d1_classifiers(profile: StepProfile) -> None:
    assert_block(step.cdt_classifiers(profile), decomposition(profile, "cdt").classifier, profile)


@given(halves)
def test_lemma_d2_embeddings(profile: StepProfile) -> None:
    assert_block(step.cdt_embeddings(profile), decomposition(profile, "cdt").embedding, profile)


@given(halves)
def test_lemma_d3_alignment(profile: StepProfile) -> None:
    cross = decomposition(profile, "cdt").cross
    expected = (cross[0, 0], cross[-1, -1])
    assert step.cdt_alignment(profile) == pytest.approx(expected, rel=1e-9)


@given(halves)
def test_ldt_inner_products_by_the_effective_ratio(profile: StepProfile) -> None:
    exact = decomposition(profile, "ldt")
    assert_block(step.ldt_classifiers(profile), exact.classifier, profile)
    assert_block(step.ldt_embeddings(profile), exact.embedding, profile)


@given(halves)
def test_corollary_1_5_ratios(profile: StepProfile) -> None:
    exact, first = decomposition(profile, "ldt"), profile.num_majority
    w, h = exact.classifier, exact.embedding
    expected = (w[0, 0] / w[-1, -1], w[0, 1] / w[0, 0], w[first, first + 1] / w[-1, -1], h[0, 0] / h[-1, -1])
    assert astuple(step.ldt_ratios(profile)) == pytest.approx(expected, rel=1e-9, abs=1e-10)
    summary = step.ldt_classifiers(profile).summary()
    assert astuple(step.ldt_ratios(profile))[:3] == pytest.approx(astuple(summary)[:3], rel=1e-11, abs=1e-12)


def test_the_formulas_of_appendix_d_are_refused_where_they_do_not_hold() -> None:
    for formula in (
        step.cdt_classifiers,
        step.cdt_embeddings,
        step.cdt_alignment,
        step.ldt_ratios,
        step.ldt_embeddings,
    ):
        with pytest.raises(InputError, match=r"minority_fraction must be 0\.5"):
            formula(StepProfile(10, 10, minority_fraction=0.3))
        with pytest.raises(InputError, match="num_classes must be even"):
            formula(StepProfile(5, 10))
        with pytest.raises(InputError, match="num_classes"):
            formula(StepProfile(2, 10))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("num_classes", 1),
        ("num_classes", 4.5),
        ("imbalance_ratio", 0),
        ("imbalance_ratio", float("nan")),
        ("scale_ratio", 0),
        ("scale_ratio", -1),
        ("scale_ratio", float("inf")),
        ("minority_fraction", 0),
        ("minority_fraction", 1),
        ("minority_fraction", 0.01),
    ],
)
def test_a_profile_out_of_range_is_refused(argument: str, value: float) -> None:
    valid = {"num_classes": 10, "imbalance_ratio": 10.0, "scale_ratio": 1.0, "minority_fraction": 0.5}
    with pytest.raises(InputError, match=argument):
        StepProfile(**{**valid, argument: value})  # type: ignore[arg-type]


# Corollaries 1.3 and 1.4, Tables 1 and 2: R -> infinity

EXPONENTS = (-1.5, -0.75, -0.5, -0.25, 0.0, 1 / 12, 1 / 6, 1 / 3, 0.5, 0.75, 1.5)


def summary_of(matrix: np.ndarray, half: int) -> tuple[float, float, float, float]:
    w, u = matrix[0, 0], matrix[-1, -1]
    return w / u, matrix[0, 1] / w, matrix[half, half + 1] / u, matrix[0, half] / sqrt(w * u)


def assert_tends_to(limit: float, nearer: float, farther: float) -> None:
    """The value at the larger R is at the limit, or at least clearly on its way there."""
    if limit == inf:
        assert nearer > 2 * farther
    else:
        assert abs(nearer - limit) <= max(0.5 * abs(farther - limit), 1e-9)


@pytest.mark.parametrize("num_classes", [4, 6, 10])
@pytest.mark.parametrize("gamma", EXPONENTS)
@pytest.mark.parametrize("loss", ["cdt", "ldt"])
def test_the_formulas_tend_to_the_limits(loss: str, gamma: float, num_classes: int) -> None:
    limits = {"cdt": step_tables.cdt_limits, "ldt": step_tables.ldt_limits}[loss](num_classes, gamma)
    blocks = {
        "cdt": (step.cdt_classifiers, step.cdt_embeddings),
        "ldt": (step.ldt_classifiers, step.ldt_embeddings),
    }[loss]
    for limit, block in zip((limits.classifier, limits.embedding), blocks, strict=True):
        at = [astuple(block(StepProfile(num_classes, R, R**gamma)).summary()) for R in (1e40, 1e30)]
        for wanted, nearer, farther in zip(astuple(limit), *at, strict=True):
            assert_tends_to(wanted, nearer, farther)
            if wanted != inf:
                assert nearer == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize("gamma", [-0.5, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("loss", ["cdt", "ldt"])
def test_the_limits_are_reached_by_a_decomposition_at_ratio_1e12(loss: str, gamma: float) -> None:
    limits = {"cdt": step_tables.cdt_limits, "ldt": step_tables.ldt_limits}[loss](6, gamma)
    profile = StepProfile(6, 1e12, 1e12**gamma)
    exact = oracles.precise_limit_geometry(*vectors_of(profile, loss), digits=100)
    for limit, matrix in ((limits.classifier, exact.classifier), (limits.embedding, exact.embedding)):
        for wanted, found in zip(astuple(limit), summary_of(matrix, 3), strict=True):
            if wanted == inf:
                assert found > 1e5
            else:
                assert found == pytest.approx(wanted, abs=5e-4)


def test_ldt_keeps_both_groups_apart_only_at_one_half() -> None:
    for gamma in EXPONENTS:
        summary = step_tables.ldt_limits(10, gamma).classifier
        apart = summary.cos_majority < 0.5 and summary.cos_minority < 0.5
        assert apart == (gamma == 0.5)
    assert astuple(step_tables.ldt_limits(10, 0.5).classifier) == pytest.approx((1, -1 / 9, -1 / 9, -1 / 9))


def test_cdt_keeps_minority_classifiers_apart_for_every_exponent_above_one_sixth() -> None:
    for gamma in EXPONENTS:
        merged = step_tables.cdt_limits(10, gamma).classifier.cos_minority == 1
        assert merged == (gamma < 1 / 6)


@pytest.mark.parametrize("num_classes", [2, 5, 0, 4.5])
def test_limits_need_two_classes_of_either_kind(num_classes: float) -> None:
    for limits in (step_tables.cdt_limits, step_tables.ldt_limits):
        with pytest.raises(InputError, match="num_classes"):
            limits(num_classes, 0.5)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="gamma"):
            limits(4, float("nan"))


# Rows for a table


def test_every_formula_row_agrees_with_our_closed_form() -> None:
    rows = step_tables.formula_rows(num_classes=10, imbalance_ratio=10)
    assert {(row.source, row.loss) for row in rows} == {
        *((f"Lemma {name}", "cdt") for name in ("B.1", "D.1", "D.2", "D.3")),
        ("Cor. 1.5", "ldt"),
    }
    assert {row.gamma for row in rows} == set(step_tables.GAMMAS)
    for row in rows:
        assert row.ours == pytest.approx(row.paper, rel=1e-11, abs=1e-13), row


@pytest.mark.parametrize("minority_fraction", [0.1, 0.5, 0.8])
def test_every_balancing_row_agrees(minority_fraction: float) -> None:
    rows = step_tables.balancing_rows(10, 10, minority_fraction)
    for row in rows:
        assert row.ours == pytest.approx(row.paper, rel=1e-12), row
    assert [row.source for row in rows] == ["Cor. 1.1"] * 2 + ["Cor. 1.2"] * (3 if minority_fraction == 0.1 else 4)


def test_limit_rows_at_a_large_ratio_approach_the_limit() -> None:
    rows = step_tables.limit_rows(num_classes=10, imbalance_ratio=10**12)
    assert len(rows) == 16 * len(step_tables.GAMMAS)
    for row in rows:
        assert (row.source == "Lemma D.2") == (row.loss == "cdt" and "h_" in row.quantity)
        assert row.ours > 1e3 if row.paper == inf else row.ours == pytest.approx(row.paper, abs=0.15), row


@pytest.mark.parametrize("function", [step_tables.formula_rows, step_tables.limit_rows])
def test_rows_refuse_what_has_no_formula(function: object) -> None:
    with pytest.raises(InputError, match="num_classes"):
        function(num_classes=5)  # type: ignore[operator]
    with pytest.raises(InputError, match="imbalance_ratio"):
        function(imbalance_ratio=10.5)  # type: ignore[operator]
    with pytest.raises(InputError, match="gamma"):
        function(gammas=[float("nan")])  # type: ignore[operator]


# Errata


@pytest.mark.parametrize("num_classes", [4, 10])
@pytest.mark.parametrize("gamma", [-0.25, 0.0, 0.25])
def test_erratum_1_embedding_cosines_follow_lemma_d2(gamma: float, num_classes: int) -> None:
    """cos(h_min) -> -2/(k-2) always; cos(h_maj) -> -2/(k-2), (2-2 sqrt 2)/(2+sqrt 2 (k-2)), 0 by the sign of gamma."""
    k = num_classes
    majority = {-0.25: -2 / (k - 2), 0.0: (2 - 2 * sqrt(2)) / (2 + sqrt(2) * (k - 2)), 0.25: 0.0}[gamma]
    profile = StepProfile(k, 1e12, 1e12**gamma)
    exact = oracles.precise_limit_geometry(*vectors_of(profile, "cdt"), digits=100).embedding
    _, found_majority, found_minority, _ = summary_of(exact, k // 2)
    assert found_majority == pytest.approx(majority, abs=3e-3)
    assert found_minority == pytest.approx(-2 / (k - 2), abs=1e-3)
    limits = step_tables.cdt_limits(k, gamma).embedding
    assert (limits.cos_majority, limits.cos_minority) == pytest.approx((majority, -2 / (k - 2)), abs=1e-14)
