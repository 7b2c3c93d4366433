"""The diagonal + low rank representation against the k x k matrix it stands for."""

from __future__ import annotations

import dataclasses
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from implicit_geometry._validate import InputError
from implicit_geometry.gram import Gram
from implicit_geometry.lowrank import MAX_DENSE_CLASSES
from strategies import factors, seeds


def written_out(gram: Gram) -> np.ndarray:
    """Entry (i, j) is diagonal[g(i)] if i = j, else left[g(i)] . right[g(j)]."""
    k, g = gram.num_classes, gram.group
    return np.array(
        [
            [gram.diagonal[g[i]] if i == j else float(gram.left[g[i]] @ gram.right[g[j]]) for j in range(k)]
            for i in range(k)
        ]
    )


def mean_cosine(matrix: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> float:
    """The average over all pairs of different classes, one after the other; NaN where there is none."""
    norms = np.sqrt(np.diag(matrix))
    pairs = [(i, j) for i in np.flatnonzero(rows) for j in np.flatnonzero(columns) if i != j]
    return float(np.mean([matrix[i, j] / norms[i] / norms[j] for i, j in pairs])) if pairs else float("nan")


@st.composite
def grouped_grams(draw: Any, num_classes: int | None = None) -> Gram:
    """Matrices in which classes share rows, the diagonal not that of left @ right.T."""
    rng = np.random.default_rng(draw(seeds))
    k = draw(st.integers(2, 9)) if num_classes is None else num_classes
    rows, rank = draw(st.integers(1, 4)), draw(st.integers(0, 3))
    group = np.concatenate([np.arange(min(rows, k)), rng.integers(0, min(rows, k), k - min(rows, k))])
    return Gram(
        rng.uniform(0.1, 3, min(rows, k)),
        rng.standard_normal((min(rows, k), rank)),
        rng.standard_normal((min(rows, k), rank)),
        rng.permutation(group),
    )


# Construction


def test_factors_give_all_inner_products() -> None:
    left, right = np.array([[3.0, 4.0], [0.0, 2.0], [1.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 5.0]])
    np.testing.assert_array_equal(Gram.from_factors(left).dense(), left @ left.T)
    np.testing.assert_array_equal(Gram.from_factors(left, right).dense(), left @ right.T)
    np.testing.assert_array_equal(Gram.from_factors(left).norms(), [5, 2, np.sqrt(2)])


def test_a_dense_matrix_comes_back_as_it_was() -> None:
    matrix = np.arange(9.0).reshape(3, 3)
    np.testing.assert_array_equal(Gram.from_dense(matrix).dense(), matrix)


@pytest.mark.parametrize(
    "factor",
    [
        [1.0, 2.0],
        [[]],
        [],
        5.0,
        [[1.0, float("nan")]],
        [[1.0, float("inf")]],
        [["a", "b"]],
        [[1.0], [1.0, 2.0]],
        None,
        [[1j, 2.0]],
    ],
    ids=repr,
)
def test_factors_that_are_not_finite_matrices_are_refused(factor: object) -> None:
    with pytest.raises(InputError, match=r"^left must be "):
        Gram.from_factors(factor)


def test_factors_and_matrices_of_the_wrong_shape_are_refused() -> None:
    with pytest.raises(InputError, match=r"right.*\(2, 2\).*\(3, 2\)"):
        Gram.from_factors(np.ones((2, 2)), np.ones((3, 2)))
    with pytest.raises(InputError, match=r"square.*\(2, 3\)"):
        Gram.from_dense(np.ones((2, 3)))


@pytest.mark.parametrize(
    "parts",
    [
        {"left": np.ones((3, 1))},
        {"right": np.ones((2, 2))},
        {"diagonal": np.ones(3)},
        {"group": np.array([0, 2])},
        {"group": np.array([0, -1])},
        {"group": np.array([0.0, 1.0])},
        {"group": np.array([[0, 1]])},
    ],
    ids=[
        "left",
        "right",
        "diagonal",
        "group too large",
        "group negative",
        "group of floats",
        "group of two dimensions",
    ],
)
def test_parts_that_do_not_fit_together_are_refused(parts: dict[str, np.ndarray]) -> None:
    valid = {"diagonal": np.ones(2), "left": np.ones((2, 1)), "right": np.ones((2, 1)), "group": np.array([0, 1])}
    with pytest.raises(InputError):
        Gram(**{**valid, **parts})


def test_a_gram_cannot_be_changed() -> None:
    source = np.array([[3.0, 4.0], [0.0, 2.0]])
    gram = Gram.from_factors(source)
    source[:] = 7
    np.testing.assert_array_equal(gram.dense(), [[25, 8], [8, 4]])
    for part in (gram.diagonal, gram.left, gram.right, gram.group):
        with pytest.raises(ValueError, match="read-only"):
            part[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        gram.left = source  # type: ignore[misc]


def test_the_parts_given_to_a_gram_can_be_changed_without_changing_it() -> None:
    left = np.ones((2, 1))
    gram = Gram(np.ones(2), left, left, np.arange(2))
    left[:] = 7
    assert gram.entry(0, 1) == 1


# Algebra, against the matrix written out


@given(grouped_grams())
def test_entries_and_norms_are_those_of_the_matrix(gram: Gram) -> None:
    matrix = written_out(gram)
    np.testing.assert_allclose(gram.dense(), matrix, rtol=1e-14, atol=1e-15)
    np.testing.assert_array_equal(gram.squared_norms(), np.diag(matrix))
    np.testing.assert_allclose(gram.norms(), np.sqrt(np.diag(matrix)), rtol=1e-15)
    for i, j in product(range(gram.num_classes), repeat=2):
        assert gram.entry(i, j) == pytest.approx(matrix[i, j], rel=1e-14, abs=1e-15)
        cosine = 1.0 if i == j else matrix[i, j] / np.sqrt(matrix[i, i] * matrix[j, j])
        assert gram.cosine(i, j) == pytest.approx(cosine, rel=1e-13, abs=1e-15)


@given(grouped_grams(), seeds)
def test_block_cosines_are_averages_over_pairs(gram: Gram, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 3, gram.num_classes)
    matrix, names = written_out(gram), np.unique(labels)
    blocks = gram.block_cosines(labels)
    assert blocks.shape == (names.size, names.size)
    for (a, first), (b, second) in product(enumerate(names), repeat=2):
        expected = mean_cosine(matrix, labels == first, labels == second)
        assert blocks[a, b] == pytest.approx(expected, rel=1e-12, abs=1e-13, nan_ok=True)


@given(factors())
def test_block_summary_is_the_four_numbers_of_the_paper(vectors: np.ndarray) -> None:
    matrix = vectors @ vectors.T
    majority = np.arange(len(vectors)) < (len(vectors) + 1) // 2
    summary = Gram.from_factors(vectors).block_summary(majority)
    squared = np.diag(matrix)
    assert summary.norm_ratio == pytest.approx(squared[majority].mean() / squared[~majority].mean(), rel=1e-12)
    assert summary.cos_majority == pytest.approx(mean_cosine(matrix, majority, majority), abs=1e-13, nan_ok=True)
    assert summary.cos_minority == pytest.approx(mean_cosine(matrix, ~majority, ~majority), abs=1e-13, nan_ok=True)
    assert summary.cos_between == pytest.approx(mean_cosine(matrix, majority, ~majority), abs=1e-13)


@given(grouped_grams())
def test_the_frobenius_norm_is_that_of_the_matrix(gram: Gram) -> None:
    assert gram.frobenius_norm() == pytest.approx(np.linalg.norm(written_out(gram)), rel=1e-13)


@pytest.mark.parametrize("scale", [1e-120, 1.0, 1e120])
def test_the_frobenius_norm_neither_under_nor_overflows_on_the_way(scale: float) -> None:
    vectors = np.array([[3.0, 4.0], [1.0, 2.0], [0.0, 1.0]])
    expected = np.linalg.norm(vectors @ vectors.T) * scale**2
    assert Gram.from_factors(vectors * scale).frobenius_norm() == pytest.approx(expected, rel=1e-13, abs=0)


def test_the_frobenius_norm_of_many_rows_needs_no_large_matrix() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, 4500, 3))
    plain = Gram.from_factors(left, right)
    assert plain.frobenius_norm() == pytest.approx(np.linalg.norm(left @ right.T), rel=1e-12)
    diagonal = rng.uniform(1, 2, 4500)
    matrix = left @ right.T
    np.fill_diagonal(matrix, diagonal)
    own_diagonal = Gram(diagonal, left, right, np.arange(4500))
    assert own_diagonal.frobenius_norm() == pytest.approx(np.linalg.norm(matrix), rel=1e-12)


def test_the_frobenius_norm_of_many_grouped_rows_counts_every_class() -> None:
    rng = np.random.default_rng(1)
    left, diagonal = rng.standard_normal((4200, 2)), rng.uniform(1, 2, 4200)
    group = np.concatenate([np.arange(4200), rng.integers(0, 4200, 700)])
    matrix = left[group] @ left[group].T
    np.fill_diagonal(matrix, diagonal[group])
    assert Gram(diagonal, left, left, group).frobenius_norm() == pytest.approx(np.linalg.norm(matrix), rel=1e-12)


@given(grouped_grams(), st.floats(-10, 10))
def test_scaling_scales_every_entry(gram: Gram, factor: float) -> None:
    np.testing.assert_allclose(gram.scaled(factor).dense(), factor * written_out(gram), rtol=1e-13, atol=1e-15)


@given(st.integers(2, 8).flatmap(lambda k: st.tuples(grouped_grams(k), grouped_grams(k))))
def test_the_difference_is_taken_class_by_class_whatever_the_groups(pair: tuple[Gram, Gram]) -> None:
    a, b = pair
    difference = a.minus(b)
    np.testing.assert_allclose(difference.dense(), written_out(a) - written_out(b), rtol=1e-13, atol=1e-14)
    assert difference.diagonal.size <= min(a.num_classes, a.diagonal.size * b.diagonal.size)
    assert difference.frobenius_norm() == pytest.approx(np.linalg.norm(written_out(a) - written_out(b)), rel=1e-11)


def test_a_difference_needs_the_same_classes() -> None:
    with pytest.raises(InputError, match=r"other must have 2 classes, got 3"):
        Gram.from_factors(np.eye(2)).minus(Gram.from_factors(np.eye(3)))


def test_a_million_classes_in_two_groups_cost_two_rows() -> None:
    k = 1_000_000
    group = np.arange(k) // (k // 2)
    gram = Gram(np.array([4.0, 1.0]), np.array([[1.0], [0.5]]), np.array([[1.0], [0.5]]), group)
    assert gram.norms().shape == (k,)
    np.testing.assert_allclose(gram.block_cosines(group), [[0.25, 0.25], [0.25, 0.25]], rtol=1e-12)
    half = k // 2
    squares = half * (16 + 1) + half * (half - 1) * (1 + 0.5**4) + 2 * half * half * 0.5**2
    assert gram.frobenius_norm() == pytest.approx(np.sqrt(squares), rel=1e-12)


# NaN


def test_a_zero_vector_has_no_cosine_and_touches_only_its_own_groups() -> None:
    gram = Gram.from_factors([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert np.isnan(gram.cosine(0, 1))
    assert np.isnan(gram.cosine(1, 1))
    assert gram.cosine(0, 2) == 0
    blocks = gram.block_cosines(["a", "a", "b", "b"])
    assert np.isnan(blocks[0]).all()
    assert np.isnan(blocks[:, 0]).all()
    assert blocks[1, 1] == pytest.approx(np.sqrt(0.5))


def test_a_group_of_one_class_has_no_mean_cosine_within() -> None:
    blocks = Gram.from_factors([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]).block_cosines([0, 1, 1])
    assert np.isnan(blocks[0, 0])
    assert blocks[0, 1] == pytest.approx(np.sqrt(0.5) / 2)
    assert blocks[1, 1] == pytest.approx(np.sqrt(0.5))


def test_all_vectors_zero_is_all_nan_without_a_warning() -> None:
    zero = Gram.from_factors(np.zeros((4, 2)))
    assert zero.frobenius_norm() == 0
    assert zero.norms().tolist() == [0, 0, 0, 0]
    assert np.isnan(zero.block_cosines([0, 0, 1, 1])).all()
    summary = zero.block_summary([True, True, False, False])
    assert all(np.isnan(value) for value in dataclasses.astuple(summary))


def test_collapsed_minorities_leave_the_majority_readable() -> None:
    summary = Gram.from_factors([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]).block_summary(
        [True, True, False, False]
    )
    assert summary.norm_ratio == np.inf
    assert summary.cos_majority == -1
    assert np.isnan([summary.cos_minority, summary.cos_between]).all()


# Refusals


def test_a_matrix_too_large_for_memory_is_refused_and_the_way_out_named() -> None:
    k = MAX_DENSE_CLASSES + 1
    gram = Gram(np.ones(1), np.ones((1, 1)), np.ones((1, 1)), np.zeros(k, dtype=np.int64))
    with pytest.raises(InputError, match=rf"num_classes must be at most {MAX_DENSE_CLASSES} .*dense\(\).*, got {k}"):
        gram.dense()


@pytest.mark.parametrize(("i", "j"), [(0, 3), (-1, 0), (0, 1.5), ("a", 0), (True, 0), (None, 0)])
def test_a_class_that_does_not_exist_is_refused(i: object, j: object) -> None:
    gram = Gram.from_factors(np.eye(3))
    for method in (gram.entry, gram.cosine):
        with pytest.raises(InputError, match=r"[ij] must be"):
            method(i, j)  # type: ignore[arg-type]


@pytest.mark.parametrize("groups", [[0, 1], [[0, 1, 1]], 0, []])
def test_groups_need_one_label_per_class(groups: object) -> None:
    with pytest.raises(InputError, match=r"groups must have one label per class, shape \(3,\)"):
        Gram.from_factors(np.eye(3)).block_cosines(groups)


@pytest.mark.parametrize("majority", [[True, True, True], [False] * 3, [True, False], [[True, False, True]]])
def test_a_summary_needs_classes_of_both_kinds(majority: object) -> None:
    with pytest.raises(InputError, match="majority must be a mask"):
        Gram.from_factors(np.eye(3)).block_summary(majority)


@settings(max_examples=60)
@given(st.floats(0, 16), seeds)
def test_a_cosine_is_right_to_five_digits_or_refused(decades: float, seed: int) -> None:
    """left . right are terms of size 10^decades that cancel down to a cosine of order one."""
    rng = np.random.default_rng(seed)
    vectors, big = rng.standard_normal((2, 3)), 10.0**decades
    push = rng.standard_normal((2, 1)) * big
    matrix = vectors @ vectors.T
    gram = Gram(
        np.diag(matrix), np.hstack([vectors, push, push]), np.hstack([vectors, push[::-1], -push[::-1]]), np.arange(2)
    )
    exact = matrix[0, 1] / np.sqrt(matrix[0, 0] * matrix[1, 1])
    for cosine in (lambda: gram.cosine(0, 1), lambda: gram.block_cosines([0, 1])[0, 1]):
        try:
            assert cosine() == pytest.approx(exact, abs=1e-5)
        except InputError as error:
            assert "comparable size" in str(error)  # noqa: PT017
            assert decades > 3


def test_a_cosine_lost_to_rounding_is_refused() -> None:
    push = np.array([[1e9], [1e9]])
    gram = Gram(np.ones(2), np.hstack([push, push]), np.hstack([push, -push]), np.arange(2))
    with pytest.raises(InputError, match=r"comparable size.*1e\+18|comparable size.*2\.0e\+18"):
        gram.cosine(0, 1)
    with pytest.raises(InputError, match="comparable size"):
        gram.block_cosines([0, 1])
    with pytest.raises(InputError, match="comparable size"):
        gram.block_summary([True, False])
