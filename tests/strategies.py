"""What hypothesis draws: class counts, scales, parameterizations, problems and factors."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from implicit_geometry.counts import ClassCounts
from implicit_geometry.geometry import Geometry
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem

Floats = NDArray[np.float64]

seeds = st.integers(0, 2**32 - 1)


def count_lists(*, min_classes: int = 2, max_classes: int = 7, max_count: int = 10_000) -> Any:
    """Lists of whole numbers in 1..max_count, repeats likely."""
    return st.lists(st.integers(1, max_count) | st.just(7), min_size=min_classes, max_size=max_classes)


def class_counts(**limits: int) -> Any:
    """``ClassCounts`` of :func:`count_lists`."""
    return count_lists(**limits).map(ClassCounts)


@st.composite
def scales(draw: Any, num_classes: int, decades: float = 0.5) -> Floats:
    """A positive vector spread over ``decades`` powers of ten on either side of 1."""
    exponents = draw(st.lists(st.floats(-decades, decades) | st.just(0.0), min_size=num_classes, max_size=num_classes))
    return 10.0 ** np.array(exponents)


@st.composite
def parameterizations(draw: Any, num_classes: int, decades: float = 0.5) -> Parameterization:
    """Losses in which all five vectors vary."""
    finite = st.lists(st.floats(-3, 3), min_size=num_classes, max_size=num_classes)
    return Parameterization(
        weight=draw(scales(num_classes, decades)),
        shift=draw(finite),
        class_scale=draw(scales(num_classes, decades)),
        label_scale=draw(scales(num_classes, decades)),
        margin=draw(finite),
    )


@st.composite
def problems(draw: Any, decades: float = 0.5, **limits: int) -> Problem:
    """Problems of the limit: any counts, all five vectors."""
    counts = draw(class_counts(**limits))
    return Problem(counts, draw(parameterizations(counts.num_classes, decades)))


@st.composite
def factors(draw: Any, num_classes: int | None = None) -> Floats:
    """A matrix of k vectors, shape (k, r), normally distributed."""
    k = draw(st.integers(2, 7)) if num_classes is None else num_classes
    return np.random.default_rng(draw(seeds)).standard_normal((k, draw(st.integers(1, 5))))


@st.composite
def geometries(draw: Any, num_classes: int) -> Geometry:
    """The geometry of random vectors."""
    classifier = draw(factors(num_classes))
    return Geometry.from_factors(classifier, np.random.default_rng(draw(seeds)).standard_normal(classifier.shape))
