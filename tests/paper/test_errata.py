"""Every misprint beside what it should say, both judged by decompositions, many digits and a convex solver."""

from __future__ import annotations

from math import inf, sqrt

import cvxpy
import numpy as np
import pytest

import oracles
from implicit_geometry._validate import InputError
from implicit_geometry.counts import ClassCounts
from implicit_geometry.paper import step_formulas as step
from implicit_geometry.paper.errata import errata_rows
from implicit_geometry.paper.step_formulas import StepProfile
from implicit_geometry.paper.step_tables import StepRow, norm_rows
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.rules import cdt, ce, logit_adjusted, weighted


def rows_of(source: str, num_classes: int = 10, ratio: int = 10) -> list[StepRow]:
    return [row for row in errata_rows(num_classes, ratio) if row.source.startswith(source)]


def vectors(num_classes: int, ratio: float, gamma: float, loss: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts, class_scale and label_scale, majority first."""
    half = num_classes // 2
    counts, scale = (np.array([value] * half + [1.0] * half) for value in (ratio, ratio**gamma))
    ones = np.ones(num_classes)
    return (counts, scale, ones) if loss == "cdt" else (counts, ones, scale)


def cosines(matrix: np.ndarray) -> tuple[float, float, float]:
    half = len(matrix) // 2
    big, small = matrix[0, 0], matrix[-1, -1]
    return matrix[0, 1] / big, matrix[half, half + 1] / small, matrix[0, half] / sqrt(big * small)


def norm_ratio(matrix: np.ndarray) -> float:
    return float(matrix[0, 0] / matrix[-1, -1])


def at_ridge(counts: ClassCounts, loss: Parameterization, ridge: float = 0.01) -> oracles.DenseGeometry:
    return oracles.factor_logits(oracles.solve_ridge_program(counts.values, loss, ridge), counts.values)


def test_every_row_shows_a_difference() -> None:
    rows = errata_rows()
    assert len(rows) == 13
    for row in rows:
        assert abs(row.paper - row.ours) > 0.05, row


@pytest.mark.parametrize("num_classes", [6, 10])
def test_the_three_wrong_entries_of_table_1(num_classes: int) -> None:
    exact = {
        gamma: cosines(oracles.precise_limit_geometry(*vectors(num_classes, 1e12, gamma, "cdt"), digits=100).embedding)
        for gamma in (-1.0, 1.0)
    }
    rows = rows_of("Table 1", num_classes)
    right = [exact[-1.0][1], exact[-1.0][0], exact[1.0][0]]
    simplex = -2 / (num_classes - 2)
    assert [(row.gamma, row.paper) for row in rows] == [(-1.0, 0.0), (-1.0, 0.0), (1.0, simplex)]
    for row, value in zip(rows, right, strict=True):
        assert row.ours == pytest.approx(value, abs=1e-9)
        assert abs(row.paper - value) > 0.2


@pytest.mark.parametrize("loss", ["cdt", "ldt"])
@pytest.mark.parametrize("gamma", [-1.0, 1.0])
def test_all_other_entries_of_both_tables_are_as_printed(loss: str, gamma: float) -> None:
    k = 10
    s, a, b = -2 / (k - 2), (1 - 2 * sqrt(2)) / (1 + sqrt(2) * (k - 2)), (2 - 2 * sqrt(2)) / (2 + sqrt(2) * (k - 2))
    printed = {  # w majority, w minority, h majority, h minority; None is one of the three misprints
        ("cdt", -1.0): (s, 1.0, None, None),
        ("cdt", 1.0): (0.0, s, None, s),
        ("ldt", -1.0): (a, 1.0, -sqrt(2) / (-sqrt(2) + k * (1 + sqrt(2))), s),
        ("ldt", 1.0): (1.0, a, s, b),
    }[loss, gamma]
    exact = oracles.precise_limit_geometry(*vectors(k, 1e12, gamma, loss), digits=100)
    found = (*cosines(exact.classifier)[:2], *cosines(exact.embedding)[:2])
    for value, expected in zip(found, printed, strict=True):
        assert expected is None or value == pytest.approx(expected, abs=1e-4)


def test_figure_1_plots_the_unsquared_ratio_in_two_panels() -> None:
    squared = norm_ratio(oracles.limit_geometry(*vectors(10, 10, 0.0, "cdt")).classifier)
    (row,) = rows_of("Fig. 1")
    assert squared == pytest.approx(2.672, abs=5e-4)
    assert (row.paper, row.ours) == pytest.approx((sqrt(squared), squared), rel=1e-12)
    assert row.paper == pytest.approx(1.635, abs=5e-4)


def test_the_sign_of_iota_shows_at_a_ridge() -> None:
    (row,) = rows_of("Eq. (2)", num_classes=4)
    counts = ClassCounts([50, 50, 5, 5])
    loss = logit_adjusted(counts)
    right, turned = (
        norm_ratio(at_ridge(counts, Parameterization(shift=sign * loss.shift)).embedding) for sign in (1, -1)
    )
    assert (row.paper, row.ours) == pytest.approx((turned, right), rel=1e-3)
    plain = norm_ratio(at_ridge(counts, ce(counts)).embedding)
    assert right < plain < turned  # minorities are to get longer embeddings


@pytest.mark.parametrize("ratio", [10, 49])
def test_only_u_with_a_row_per_sample_has_orthonormal_columns(ratio: int) -> None:
    repeats = [ratio] * 5 + [1] * 5
    _, _, rows = np.linalg.svd(np.repeat(step.sel_matrix(StepProfile(10, ratio)), repeats, axis=1), full_matrices=False)
    by_sample = rows[:-1].T
    by_class = by_sample[np.cumsum(repeats) - 1]
    np.testing.assert_allclose(by_sample.T @ by_sample, np.eye(9), atol=1e-12)
    lengths = np.linalg.norm(by_class, axis=0)
    only_majority = np.linalg.norm(by_class[5:], axis=0) < 1e-9
    assert only_majority.sum() == 4
    np.testing.assert_allclose(lengths[only_majority], 1 / sqrt(ratio), rtol=1e-10)  # U_maj = P / sqrt R
    (row,) = rows_of("Def. 2", ratio=ratio)
    assert (row.paper, row.ours) == pytest.approx((1.0, lengths.min()), rel=1e-10)


@pytest.mark.parametrize(("alpha", "smallest"), [(5, 0.48), (1, 3.0), (7, 0.1)])
def test_footnote_5_how_singular_values_scale(alpha: int, smallest: float) -> None:
    counts, scale, ones = vectors(10, 10, 0.5, "cdt")
    unit = np.linalg.svd(oracles.limit_logits(counts, scale, ones), compute_uv=False)
    scaled = np.linalg.svd(oracles.limit_logits(alpha * counts, smallest * scale, ones), compute_uv=False)
    np.testing.assert_allclose(scaled[:-1], unit[:-1] * sqrt(alpha) / smallest, rtol=1e-12)
    assert abs(sqrt(alpha) / sqrt(smallest) - sqrt(alpha) / smallest) > 0.1


def test_footnote_5_in_the_papers_own_set_up() -> None:
    loss = cdt(ClassCounts([50] * 5 + [5] * 5), gamma=0.5)
    logits = oracles.limit_logits([50] * 5 + [5] * 5, loss.class_scale, loss.label_scale)
    total = np.linalg.norm(logits, "nuc")
    (row,) = rows_of("footnote 5")
    assert (row.paper, row.ours) == pytest.approx((total * sqrt(loss.class_scale[-1]), total), rel=1e-10)


def binary_pair(class_scale: tuple[float, float], label_scale: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """min |w1|^2 + |w2|^2 under unit cost-sensitive margins on three points of the plane, by a convex solver."""
    inputs, labels = np.array([[2.0, 1.0], [1.0, -0.5], [-1.0, 1.0]]), [0, 0, 1]
    weights = cvxpy.Variable((2, 2))
    margins = [
        label_scale[y] * (class_scale[y] * weights[y] - class_scale[1 - y] * weights[1 - y]) @ x >= 1
        for x, y in zip(inputs, labels, strict=True)
    ]
    cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(weights)), margins).solve(solver=cvxpy.CLARABEL)
    return weights.value[0], weights.value[1]


def binary_margin(label_scale: tuple[float, float]) -> np.ndarray:
    """The cost-sensitive SVM w on the same points, class 1 positive."""
    first, second = binary_pair((1.0, 1.0), label_scale)
    return first - second


@pytest.mark.parametrize("scales", [(3.0, 1.0), (0.5, 2.0)])
def test_lemma_a1_the_constants_of_two_classes(scales: tuple[float, float]) -> None:
    """w1 = w_VS / 2 for LDT; w1 and w2 are delta1 and -delta2, over delta1^2 + delta2^2, times w_CE for CDT."""
    first, second = binary_pair((1.0, 1.0), scales)
    w_vs = binary_margin(scales)
    np.testing.assert_allclose((first, second), (w_vs / 2, -w_vs / 2), atol=1e-6)
    first, second = binary_pair(scales, (1.0, 1.0))
    w_ce, total = binary_margin((1.0, 1.0)), scales[0] ** 2 + scales[1] ** 2
    np.testing.assert_allclose(first, scales[0] / total * w_ce, atol=1e-6)
    np.testing.assert_allclose(second, -scales[1] / total * w_ce, atol=1e-6)
    assert np.abs(w_vs - w_ce).max() > 0.1  # LDT decides otherwise than CE, CDT does not


def test_lemma_a2_the_second_w1_is_w2() -> None:
    first, second = binary_pair((sqrt(10), 1.0), (1.0, 1.0))
    w_ce = binary_margin((1.0, 1.0))
    along = [weights @ w_ce / (w_ce @ w_ce) for weights in (first, second)]
    (row,) = rows_of("Lemma A.2")
    assert (row.ours, row.paper) == pytest.approx(along, abs=1e-6)


def test_equation_15_the_blocks_are_positive_semidefinite() -> None:
    (row,) = rows_of("Eq. (15)")
    left, _, right = np.linalg.svd(oracles.limit_logits(*vectors(10, 10, 0.0, "ce")))
    dual = left[:, :-1] @ right[:-1]
    values = np.linalg.eigvalsh(np.block([[np.eye(10), dual], [dual.T, np.eye(10)]]))
    assert values.min() == pytest.approx(0, abs=1e-12)
    assert row.ours == pytest.approx(values.max(), rel=1e-12)
    assert row.ours > row.paper == 0


def test_ldt_with_r_in_place_of_the_effective_ratio_is_flat_in_gamma() -> None:
    def circulating(gamma: float) -> tuple[float, float]:
        """Classifier and embedding norm ratio with R where R / D^2 belongs; only the division by Delta is left."""
        plain = StepProfile(10, 10)
        embedding = step.cdt_embeddings(plain).summary().norm_ratio / (10**gamma) ** 2
        return step.cdt_classifiers(plain).summary().norm_ratio, embedding

    def right(gamma: float) -> tuple[float, float]:
        exact = oracles.limit_geometry(*vectors(10, 10, gamma, "ldt"))
        return norm_ratio(exact.classifier), norm_ratio(exact.embedding)

    assert circulating(0.0) == pytest.approx(right(0.0), rel=1e-12)
    assert circulating(-1.0) == pytest.approx((2.67, 35.1), abs=0.05)
    assert right(-1.0) == pytest.approx((9.07, 3.70), abs=0.005)
    printed = step.ldt_ratios(StepProfile(10, 10, 0.1))
    assert (printed.classifier_norm_ratio, printed.embedding_norm_ratio) == pytest.approx(right(-1.0), rel=1e-12)
    classifier_row, embedding_row = rows_of("LDT code")
    assert (classifier_row.paper, embedding_row.paper) == pytest.approx(circulating(-1.0), rel=1e-12)
    assert (classifier_row.ours, embedding_row.ours) == pytest.approx(right(-1.0), rel=1e-12)


def test_code_called_wce_that_trains_plain_ce() -> None:
    counts = ClassCounts([50, 50, 5, 5])
    plain, right = (norm_ratio(at_ridge(counts, rule(counts)).classifier) for rule in (ce, weighted))
    (row,) = rows_of("wCE", num_classes=4)
    assert (row.paper, row.ours) == pytest.approx((plain, right), rel=1e-3)


def test_the_fixed_number_of_pairs_is_that_of_ten_classes() -> None:
    classifier = oracles.limit_geometry(*vectors(6, 10, 0.0, "ce")).classifier
    norms = np.sqrt(classifier.diagonal())
    pairs = [classifier[c, j] / norms[c] / norms[j] for c in range(3) for j in range(3, 6)]
    (row,) = rows_of("code with 25")
    assert (row.paper, row.ours) == pytest.approx((sum(pairs) / 25, sum(pairs) / 9), rel=1e-10)


# The note beside both tables


def test_the_angles_of_the_tables_say_nothing_of_norms() -> None:
    rows = {(row.loss, row.gamma): row for row in norm_rows() if row.loss == "cdt"}
    for (loss, gamma), row in rows.items():
        exact = norm_ratio(oracles.precise_limit_geometry(*vectors(10, 1e12, gamma, loss), digits=100).classifier)
        assert row.ours == pytest.approx(exact, rel=1e-6)
    assert rows["cdt", 1 / 6].ours == pytest.approx(1e4, rel=1e-3)
    assert {gamma for _, gamma in rows if rows["cdt", gamma].paper == inf} == {1 / 6, 0.25}
    assert rows["cdt", 0.5].paper == 10 / 8
    assert rows["cdt", 1.0].paper == 0


def test_ldt_near_one_half_is_far_from_its_limit_even_at_1e24() -> None:
    near, far = (row for row in norm_rows() if row.loss == "ldt")
    for row, ratio in ((near, 1e12), (far, 1e24)):
        exact = oracles.precise_limit_geometry(*vectors(10, ratio, 0.4, "ldt"), digits=120).classifier
        assert row.ours == pytest.approx(cosines(exact)[1], abs=1e-9)
        assert row.paper == 1
    assert far.ours == pytest.approx(0.946, abs=5e-4)


@pytest.mark.parametrize("num_classes", [2, 5])
def test_rows_refuse_what_has_no_halves(num_classes: int) -> None:
    for rows in (errata_rows, norm_rows):
        with pytest.raises(InputError, match="num_classes"):
            rows(num_classes)
