"""The limit of vanishing ridge against dense SVDs, many digits, interior points and the laws it must obey."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracles
from implicit_geometry.certificate import Status
from implicit_geometry.comparison import compare
from implicit_geometry.counts import ClassCounts
from implicit_geometry.geometry import Geometry, simplex_etf
from implicit_geometry.paper import step_formulas as step
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem, Solution
from implicit_geometry.rules import cdt, ce, ldt, vs
from implicit_geometry.theory.limit.plain import limit_solution, sum_of_others
from implicit_geometry.theory.predict import predict
from solutions import BLOCKS, logits_of, vectors_of
from strategies import class_counts, problems, scales, seeds


def solve(counts: object, class_scale: object = None, label_scale: object = None) -> Solution:
    values = ClassCounts(counts)
    ones = np.ones(values.num_classes)
    parameters = Parameterization(
        class_scale=ones if class_scale is None else class_scale,
        label_scale=ones if label_scale is None else label_scale,
    )
    return limit_solution(Problem(values, parameters))


def normwise_error(geometry: Geometry, expected: oracles.DenseGeometry) -> float:
    """Largest relative Frobenius error of the three blocks."""
    errors = [getattr(geometry, name).dense() - getattr(expected, name) for name in BLOCKS]
    return max(
        float(np.linalg.norm(error) / np.linalg.norm(getattr(expected, name)))
        for name, error in zip(BLOCKS, errors, strict=True)
    )


# Every entry against a dense singular value decomposition


@given(problems(decades=1.0, max_count=100_000))
def test_all_entries_are_those_of_the_dense_decomposition(problem: Problem) -> None:
    assert normwise_error(limit_solution(problem).geometry, oracles.limit_geometry(*vectors_of(problem))) < 1e-11


def two_hundred_classes() -> dict[str, Problem]:
    rng = np.random.default_rng(0)
    tail = ClassCounts(np.round(np.geomspace(1e6, 1, 200)))
    step_profile = ClassCounts.step(num_classes=200, imbalance_ratio=1e6, minority_fraction=0.3, max_count=10**6)
    both = Parameterization(class_scale=rng.uniform(0.3, 3, 200), label_scale=rng.uniform(0.3, 3, 200))
    return {
        "long tail, ce": Problem(tail),
        "long tail, cdt": Problem(tail, cdt(tail, gamma=0.25)),
        "long tail, ldt": Problem(tail, ldt(tail, gamma=0.25)),
        "long tail, random scales": Problem(tail, both),
        "step, ce": Problem(step_profile),
        "step, cdt": Problem(step_profile, cdt(step_profile, gamma=0.25)),
        "step, random scales": Problem(step_profile, both),
    }


@pytest.mark.parametrize("name", two_hundred_classes())
def test_two_hundred_classes_at_ratio_a_million_agree_to_twelve_digits(name: str) -> None:
    problem = two_hundred_classes()[name]
    assert normwise_error(limit_solution(problem).geometry, oracles.limit_geometry(*vectors_of(problem))) <= 1e-12


# The cost-sensitive SVM


@pytest.mark.parametrize(
    ("counts", "class_scale", "label_scale"),
    [
        ([50, 5, 5], [1, 1, 1], [1, 1, 1]),
        ([200, 3, 17], [0.4, 2.5, 1], [1, 1, 1]),
        ([100, 10, 1, 4], [1, 1, 1, 1], [3, 0.5, 0.3, 1]),
        ([120, 7, 31, 2], [0.3, 1.1, 2.9, 0.7], [1.7, 0.4, 1, 2.2]),
        ([10, 10, 10, 1, 1, 1], [1.2, 0.6, 1, 2, 0.5, 1], [1, 0.7, 1.4, 0.5, 0.9, 1.1]),
    ],
)
def test_an_interior_point_solver_finds_the_same_optimum(
    counts: list[int], class_scale: list[float], label_scale: list[float]
) -> None:
    numerical = oracles.solve_margin_program(counts, class_scale, label_scale)
    logits = logits_of(solve(counts, class_scale, label_scale))
    np.testing.assert_allclose(logits, numerical, atol=1e-5 * np.abs(numerical).max())
    assert np.linalg.norm(logits, "nuc") == pytest.approx(np.linalg.norm(numerical, "nuc"), rel=1e-8)


@given(problems(decades=1.0))
def test_every_cost_sensitive_margin_is_exactly_one(problem: Problem) -> None:
    counts, class_scale, label_scale = vectors_of(problem)
    solution = limit_solution(problem)
    logits = logits_of(solution)
    margins = [
        label_scale[y] * (class_scale[y] * logits[y, y] - class_scale[c] * logits[c, y]) / np.sqrt(counts[y])
        for y in range(counts.size)
        for c in range(counts.size)
        if c != y
    ]
    np.testing.assert_allclose(margins, 1, rtol=1e-10)
    assert oracles.smallest_margin(logits, *vectors_of(problem)) == pytest.approx(
        solution.certificate.smallest_margin, rel=1e-10
    )


@given(problems())
def test_both_factors_and_the_logits_have_the_null_vectors_of_the_theory(problem: Problem) -> None:
    """sum_c w_c / delta_c = 0 and sum_c Delta_c h_c = 0: this is how features must be centred."""
    _, class_scale, label_scale = vectors_of(problem)
    geometry = limit_solution(problem).geometry
    for matrix, null in (
        (geometry.classifier.dense(), 1 / class_scale),
        (geometry.embedding.dense(), label_scale),
        (geometry.cross.dense(), label_scale),
        (geometry.cross.dense().T, 1 / class_scale),
    ):
        assert np.abs(matrix @ null).max() <= 1e-12 * np.abs(matrix).max() * np.abs(null).max() * null.size


@given(problems())
def test_the_factorisation_is_balanced(problem: Problem) -> None:
    """sum_c |w_c|^2 = sum_c n_c |h_c|^2 = |X|_*, the value of the certificate."""
    solution = limit_solution(problem)
    nuclear_norm = np.linalg.norm(oracles.limit_logits(*vectors_of(problem)), "nuc")
    classifier, embedding = solution.geometry.classifier, solution.geometry.embedding
    assert classifier.squared_norms().sum() == pytest.approx(nuclear_norm, rel=1e-12)
    assert problem.counts.values @ embedding.squared_norms() == pytest.approx(nuclear_norm, rel=1e-12)
    assert solution.certificate.primal == pytest.approx(nuclear_norm, rel=1e-12)


# The certificate, recomputed densely


@given(problems(decades=1.0))
def test_the_certificate_is_that_of_a_dense_polar_factor(problem: Problem) -> None:
    solution = limit_solution(problem)
    recomputed = oracles.margin_certificate(logits_of(solution), *vectors_of(problem))
    certificate = solution.certificate
    assert certificate.primal == pytest.approx(recomputed.primal, rel=1e-9)
    assert certificate.dual == pytest.approx(recomputed.dual, rel=1e-9)
    assert certificate.smallest_margin == pytest.approx(1, rel=1e-12)
    assert certificate.relative_gap < 1e-13
    assert certificate.status is Status.OPTIMAL


@given(problems(decades=1.0))
def test_the_dual_point_is_feasible_since_no_off_diagonal_entry_is_positive(problem: Problem) -> None:
    left, _, right = np.linalg.svd(oracles.limit_logits(*vectors_of(problem)))
    polar = left[:, :-1] @ right[:-1]
    np.fill_diagonal(polar, -1)
    assert polar.max() <= 1e-12


# Known numbers (k = 10, half of the classes minorities, R = 10)

FACTS = [
    ("ce", 0.0, (2.672, -0.144, 0.033, -0.139), (0.351, -0.070, -0.187, -0.085)),
    ("cdt", 0.25, (1.901, -0.065, -0.139, -0.115), (0.207, -0.035, -0.205, -0.078)),
    ("cdt", 0.5, (1.200, -0.019, -0.222, -0.064), (0.120, -0.019, -0.222, -0.064)),
    ("cdt", -1.5, (54.708, -0.250, 0.316, -0.002), (9.369, -0.241, -0.162, -0.023)),
    ("ldt", 0.25, (1.659, -0.135, -0.059, -0.119), (0.189, -0.083, -0.150, -0.103)),
    ("ldt", 0.5, (1.000, -0.111, -0.111, -0.111), (0.100, -0.111, -0.111, -0.111)),
    ("ldt", -1.5, (11.062, -0.148, 0.873, -0.270), (11.747, -0.062, -0.248, -0.016)),
]


@pytest.mark.parametrize("normalize", ["mean", "max", "none"])
@pytest.mark.parametrize(("loss", "gamma", "classifier", "embedding"), FACTS)
def test_the_four_numbers_of_the_paper(
    loss: str, gamma: float, classifier: tuple[float, ...], embedding: tuple[float, ...], normalize: str
) -> None:
    counts = ClassCounts.step(num_classes=10, imbalance_ratio=10, minority_fraction=0.5, max_count=50)
    parameters = {
        "ce": lambda: ce(counts),
        "cdt": lambda: cdt(counts, gamma, normalize=normalize),
        "ldt": lambda: ldt(counts, gamma, normalize=normalize),
    }[loss]()
    geometry = predict(Problem(counts, parameters)).geometry
    for block, expected in ((geometry.classifier, classifier), (geometry.embedding, embedding)):
        summary = block.block_summary(counts.majority)
        found = (summary.norm_ratio, summary.cos_majority, summary.cos_minority, summary.cos_between)
        np.testing.assert_allclose(found, expected, atol=5.0001e-4)


# Appendix D: the printed formulas for rho = 1/2


@pytest.mark.parametrize("num_classes", [4, 10, 100])
@pytest.mark.parametrize("ratio", [1, 10, 1000])
@pytest.mark.parametrize("gamma", [-1.5, -0.5, 0.0, 0.25, 0.5, 1.5])
@pytest.mark.parametrize("loss", ["cdt", "ldt"])
def test_the_printed_formulas_of_appendix_d(num_classes: int, ratio: int, gamma: float, loss: str) -> None:
    half = num_classes // 2
    counts = ClassCounts([ratio] * half + [1] * half)
    profile = step.StepProfile(num_classes, ratio, scale_ratio=ratio**gamma)
    rule, classifiers, embeddings = {
        "cdt": (cdt, step.cdt_classifiers, step.cdt_embeddings),
        "ldt": (ldt, step.ldt_classifiers, step.ldt_embeddings),
    }[loss]
    scale_of_a_minority = (1 / ratio) ** gamma  # normalize="none" makes the majority's 1, the paper the minority's
    geometry = predict(Problem(counts, rule(counts, gamma, normalize="none"))).geometry
    for gram, printed in ((geometry.classifier, classifiers(profile)), (geometry.embedding, embeddings(profile))):
        found = (
            gram.entry(0, 0),
            gram.entry(half, half),
            gram.entry(0, 1),
            gram.entry(half, half + 1),
            gram.entry(0, half),
        )
        expected = (
            printed.majority,
            printed.minority,
            printed.within_majority,
            printed.within_minority,
            printed.between,
        )
        magnitude = np.sqrt(printed.majority * printed.minority)
        np.testing.assert_allclose(np.array(found) * scale_of_a_minority, expected, rtol=1e-11, atol=1e-13 * magnitude)


# Laws


@given(class_counts(), seeds)
def test_the_sum_of_others_is_that_of_a_loop(size: ClassCounts, seed: int) -> None:
    group = np.repeat(np.arange(len(size.values)), size.values % 5 + 1)
    values = np.random.default_rng(seed).uniform(0, 1, (group.max() + 1, 3))
    others = [[values[group].sum(axis=0)[q] - values[g, q] for q in range(3)] for g in range(len(values))]
    sizes = np.bincount(group).astype(float)
    np.testing.assert_allclose(sum_of_others(sizes, values), others, atol=1e-12)
    np.testing.assert_allclose(sum_of_others(sizes, values[:, 0]), np.array(others)[:, 0], atol=1e-12)


@given(st.integers(2, 40), st.integers(1, 10**9), st.floats(0.1, 10), st.floats(0.1, 10))
def test_balanced_counts_and_equal_scales_give_a_simplex_etf(k: int, count: int, delta: float, label: float) -> None:
    geometry = solve([count] * k, [delta] * k, [label] * k).geometry
    distance = compare(geometry, simplex_etf(k))
    assert max(distance.classifier, distance.embedding, distance.cross) < 1e-13
    np.testing.assert_allclose(geometry.alignment(), 1, rtol=1e-13)


@given(class_counts(max_count=10**6), st.floats(0.1, 10))
def test_label_scales_of_root_counts_give_an_etf_whatever_the_imbalance(counts: ClassCounts, scale: float) -> None:
    """W is an ETF, H has its angles and norms proportional to 1 / sqrt(n), and every class is aligned."""
    root = np.sqrt(counts.values)
    geometry = solve(counts, None, scale * root).geometry
    k = counts.num_classes
    etf = simplex_etf(k).classifier.dense()
    classifier, embedding = geometry.classifier.dense(), geometry.embedding.dense()
    np.testing.assert_allclose(classifier / classifier[0, 0], etf, rtol=1e-12)
    np.testing.assert_allclose(embedding * np.outer(root, root) / (embedding[0, 0] * counts.values[0]), etf, rtol=1e-12)
    np.testing.assert_allclose(geometry.alignment(), 1, rtol=1e-12)


@given(class_counts(max_count=10**6))
def test_class_scales_of_root_counts_align_classifier_and_embedding(counts: ClassCounts) -> None:
    geometry = solve(counts, np.sqrt(counts.values)).geometry
    np.testing.assert_allclose(geometry.alignment(), 1, rtol=1e-12)


@given(problems(), st.randoms(use_true_random=False))
def test_relabelling_the_classes_relabels_the_geometry(problem: Problem, random: object) -> None:
    vectors = vectors_of(problem)
    order = list(range(problem.num_classes))
    random.shuffle(order)  # type: ignore[attr-defined]
    plain, relabelled = solve(*vectors).geometry, solve(*(vector[order] for vector in vectors)).geometry
    for name in BLOCKS:
        expected = getattr(plain, name).dense()[np.ix_(order, order)]
        np.testing.assert_allclose(getattr(relabelled, name).dense(), expected, atol=1e-12 * np.abs(expected).max())


@given(problems(), st.floats(0.01, 100))
def test_the_gauge_of_the_scales_leaves_the_geometry_unchanged(problem: Problem, factor: float) -> None:
    """(class_scale * a, label_scale / a) is the same loss."""
    counts, class_scale, label_scale = vectors_of(problem)
    plain = solve(counts, class_scale, label_scale).geometry
    moved = solve(counts, class_scale * factor, label_scale / factor).geometry
    for name in BLOCKS:
        expected = getattr(plain, name).dense()
        np.testing.assert_allclose(getattr(moved, name).dense(), expected, atol=1e-12 * np.abs(expected).max())


@given(problems(), st.floats(0.01, 100))
def test_a_common_factor_of_a_scale_only_shrinks_the_geometry(problem: Problem, factor: float) -> None:
    """X is inversely proportional to either scale: shape unchanged, whatever the normalisation."""
    counts, class_scale, label_scale = vectors_of(problem)
    plain = solve(counts, class_scale, label_scale).geometry
    for stretched in (
        solve(counts, class_scale * factor, label_scale),
        solve(counts, class_scale, label_scale * factor),
    ):
        for name in BLOCKS:
            expected = getattr(plain, name).dense() / factor
            found = getattr(stretched.geometry, name).dense()
            np.testing.assert_allclose(found, expected, atol=1e-12 * np.abs(expected).max())


@given(problems(max_count=1000), st.integers(2, 10**6))
def test_more_of_the_same_data_changes_sizes_only(problem: Problem, factor: int) -> None:
    """n -> c n: W W^T grows by sqrt(c), H H^T shrinks by it, the mean logits stay."""
    counts, class_scale, label_scale = vectors_of(problem)
    plain, more = (
        solve(counts, class_scale, label_scale).geometry,
        solve(counts * factor, class_scale, label_scale).geometry,
    )
    for name, power in (("classifier", 0.5), ("embedding", -0.5), ("cross", 0.0)):
        expected = getattr(plain, name).dense() * factor**power
        np.testing.assert_allclose(getattr(more, name).dense(), expected, atol=1e-12 * np.abs(expected).max())


@given(
    class_counts(max_count=1000).flatmap(
        lambda counts: st.tuples(
            st.just(counts),
            scales(counts.num_classes),
            st.lists(st.integers(1, 9), min_size=counts.num_classes, max_size=counts.num_classes),
        )
    )
)
def test_label_scales_act_as_effective_counts(drawn: tuple[ClassCounts, np.ndarray, list[int]]) -> None:
    """Counts n with label scales Delta have the classifiers of counts n / Delta^2 without them (for any class scales).

    The embeddings and the columns of the logits of the latter are Delta times those of the former: M diag(Delta) stands
    in the place of M.
    """
    effective, class_scale, factors = drawn
    label_scale = np.array(factors)
    ldt_geometry = solve(effective.values * label_scale**2, class_scale, label_scale).geometry
    ce_geometry = solve(effective, class_scale).geometry
    for found, expected in (
        (ldt_geometry.classifier.dense(), ce_geometry.classifier.dense()),
        (ldt_geometry.embedding.dense() * np.outer(label_scale, label_scale), ce_geometry.embedding.dense()),
        (ldt_geometry.cross.dense() * label_scale, ce_geometry.cross.dense()),
    ):
        np.testing.assert_allclose(found, expected, atol=1e-12 * np.abs(expected).max())


@given(problems())
def test_weight_shift_and_margin_drop_out(problem: Problem) -> None:
    plain = solve(*vectors_of(problem)).geometry
    full = limit_solution(problem).geometry
    for name in BLOCKS:
        np.testing.assert_array_equal(getattr(full, name).dense(), getattr(plain, name).dense())


# Size


def test_equal_classes_share_a_row() -> None:
    counts = ClassCounts.step(num_classes=100_000, imbalance_ratio=100, minority_fraction=0.2, max_count=10_000)
    geometry = limit_solution(Problem(counts, cdt(counts, gamma=0.3))).geometry
    assert all(getattr(geometry, name).diagonal.size == 2 for name in BLOCKS)


def test_a_hundred_thousand_classes_obey_the_laws_too() -> None:
    """Trace and null vectors, checked from the factors: no k x k matrix exists."""
    counts = ClassCounts.zipf(num_classes=100_000, num_samples=100_000_000)
    problem = Problem(counts, vs(counts, gamma=0.2))
    solution = limit_solution(problem)
    geometry, n = solution.geometry, counts.values
    assert solution.certificate.relative_gap < 1e-11
    assert geometry.classifier.squared_norms().sum() == pytest.approx(solution.certificate.primal, rel=1e-11)
    assert n @ geometry.embedding.squared_norms() == pytest.approx(solution.certificate.primal, rel=1e-11)
    for gram, null in (
        (geometry.classifier, 1 / problem.parameterization.class_scale),
        (geometry.embedding, np.ones(n.size)),
    ):
        g = gram.group
        own = np.einsum("ij,ij->i", gram.left, gram.right)[g]
        image = gram.left[g] @ (gram.right[g].T @ null) + (gram.squared_norms() - own) * null
        assert np.abs(image).max() <= 1e-9 * np.abs(gram.squared_norms() * null).max()


def test_prediction_without_ridge_is_the_limit() -> None:
    problem = Problem([50, 5, 5], Parameterization(class_scale=[1, 0.5, 0.5]))
    limit, predicted = limit_solution(problem), predict(problem)
    assert predicted.problem == problem
    assert predicted.certificate == limit.certificate
    np.testing.assert_array_equal(predicted.geometry.classifier.dense(), limit.geometry.classifier.dense())
