"""Gram matrices as pixels."""

from __future__ import annotations

import io

import numpy as np
from matplotlib import colormaps
from PIL import Image

from implicit_geometry.gram import Gram
from implicit_geometry.report.page.heatmap import MOST_CLASSES, drawn_classes, drawn_entries, heatmap_pngs, scale_png


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_a_pixel_is_an_entry_on_a_symmetric_scale_of_signed_roots() -> None:
    matrix = np.array([[4.0, -1.0], [0.0, 1.0]])
    (found,) = map(pixels, heatmap_pngs([matrix]))
    assert found.shape == (2, 2, 3)
    for index, place in {(0, 0): 1.0, (0, 1): 0.25, (1, 0): 0.5, (1, 1): 0.75}.items():
        expected = np.array(colormaps["RdBu_r"](place)[:3]) * 255
        np.testing.assert_allclose(found[index], expected, atol=1)


def test_pictures_that_belong_together_share_a_scale() -> None:
    first, second = map(pixels, heatmap_pngs([np.full((1, 1), 2.0), np.array([[2.0, 8.0], [0.0, 0.0]])]))
    assert (first[0, 0] == second[0, 0]).all()
    assert (pixels(scale_png())[0, -1] == second[0, 1]).all()


def test_what_is_no_number_is_grey() -> None:
    for png in heatmap_pngs([np.full((1, 1), np.nan), np.eye(1)])[:1]:
        assert pixels(png)[0, 0].tolist() == [0xBB] * 3


def test_entries_are_those_of_the_unit_norm_matrix() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 3))
    dense = rows @ rows.T
    np.testing.assert_allclose(drawn_entries(Gram.from_factors(rows)), dense / np.sqrt((dense**2).sum()), atol=1e-14)
    assert np.isnan(drawn_entries(Gram.from_factors(np.zeros((2, 2))))).all()


def test_of_many_classes_evenly_spaced_ones_are_drawn() -> None:
    rows = np.random.default_rng(0).normal(size=(1000, 3))
    shown = drawn_classes(1000)
    assert len(shown) == MOST_CLASSES
    assert (shown[0], shown[-1]) == (0, 999)
    dense = rows @ rows.T
    expected = (dense / np.linalg.norm(dense))[np.ix_(shown, shown)]
    np.testing.assert_allclose(drawn_entries(Gram.from_factors(rows)), expected, atol=1e-14)
