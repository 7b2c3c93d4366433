"""The question: counts, loss, ridge and head, checked where they meet; and the gathering of equal classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from implicit_geometry._validate import InputError
from implicit_geometry.counts import ClassCounts
from implicit_geometry.groups import group_classes, varying_vectors
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem


def test_plain_cross_entropy_in_the_limit_without_bias_is_the_default() -> None:
    problem = Problem([50, 5])
    assert problem.counts == ClassCounts([50, 5])
    assert problem.parameterization == Parameterization.neutral(2)
    assert (problem.ridge, problem.bias, problem.num_classes) == (0.0, False, 2)


def test_equal_questions_are_equal() -> None:
    assert Problem([50, 5], ridge=1) == Problem(np.array([50, 5]), Parameterization.neutral(2), ridge=1.0)
    assert hash(Problem([50, 5])) == hash(Problem((50, 5)))
    assert Problem([50, 5]) != Problem([50, 5], bias=True)
    assert Problem([50, 5]) != Problem([50, 5], ridge=1e-300)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"counts": [5, 0]}, "counts"),
        ({"counts": [5]}, "counts"),
        (
            {"parameterization": Parameterization.neutral(3)},
            "parameterization must cover the 2 classes of counts, got 3",
        ),
        ({"parameterization": "cdt"}, "parameterization"),
        ({"parameterization": [1.0, 1.0]}, "parameterization"),
        ({"ridge": -1e-9}, "ridge"),
        ({"ridge": float("nan")}, "ridge"),
        ({"ridge": float("inf")}, "ridge"),
        ({"ridge": None}, "ridge"),
        ({"ridge": "large"}, "ridge"),
        ({"ridge": [0.1, 0.2]}, "ridge"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Problem(**{"counts": [50, 5], **arguments})  # type: ignore[arg-type]


rows = st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.5, 1.0])), min_size=1, max_size=12)


@given(rows)
def test_classes_are_gathered_exactly_where_all_vectors_agree(drawn: list[tuple[int, float]]) -> None:
    first, second = (np.array(column) for column in zip(*drawn, strict=True))
    groups = group_classes(first, second)
    for i, one in enumerate(drawn):
        for j, other in enumerate(drawn):
            assert (groups.group[i] == groups.group[j]) == (one == other)
    assert groups.size.tolist() == [np.count_nonzero(groups.group == g) for g in range(groups.size.size)]
    assert groups.first.tolist() == sorted(groups.first.tolist()), "groups stand in order of first appearance"
    assert [groups.group[c] for c in groups.first] == list(range(groups.size.size))


def test_only_what_varies_tells_classes_apart() -> None:
    problem = Problem([5, 5, 5], Parameterization(weight=[2, 2, 2], shift=[0, 0, 1], class_scale=[1, 2, 2]))
    kept = varying_vectors(problem)
    assert [vector.tolist() for vector in kept] == [[5, 5, 5], [0, 0, 1], [1, 2, 2]]
    assert len(varying_vectors(problem, ("class_scale", "label_scale"))) == 2
