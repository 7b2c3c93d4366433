"""Line charts: the shapes are read back and turned into data again."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from implicit_geometry._validate import InputError
from implicit_geometry.report.page.chart import MOST_POINTS, Line, line_chart


class Shapes(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def pieces(html: str) -> list[np.ndarray]:
    """Points of every polyline, shape (n, 2)."""
    found = [item["points"] or "" for tag, item in Shapes(html).tags if tag == "polyline"]
    return [np.array([pair.split(",") for pair in points.split()], dtype=float) for points in found]


def test_points_keep_their_proportions() -> None:
    x, y = np.array([1.0, 2.0, 5.0, 10.0]), np.array([0.0, 4.0, 1.0, 2.0])
    ((across, down),) = (points.T for points in pieces(line_chart("t", [Line("a", x, y, "red")])))
    np.testing.assert_allclose(np.diff(across) / np.ptp(across), np.diff(x) / np.ptp(x), atol=1e-3)
    np.testing.assert_allclose(np.diff(down) / np.ptp(down), -np.diff(y) / np.ptp(y), atol=1e-3)


def test_a_logarithmic_axis_makes_equal_steps_of_equal_ratios() -> None:
    (points,) = pieces(line_chart("t", [Line("a", [1, 2, 3], [1e-3, 1e-1, 1e1], "red")], log=True))
    first, second = np.diff(points[:, 1])
    assert first == pytest.approx(second, abs=0.11)


def test_ticks_are_where_their_numbers_are() -> None:
    html = line_chart("t", [Line("a", [0, 10], [0.0, 1.0], "red")])
    ((across, down),) = (points.T for points in pieces(html))
    ticks = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" class="(mid|end)">([\d.]+)</text>', html)
    assert len(ticks) >= 6
    for x, y, kind, value in ticks:
        share = float(value) / (10 if kind == "mid" else 1)
        ends, at = (across, float(x)) if kind == "mid" else (down, float(y) - 4)
        assert at == pytest.approx(ends[0] + share * (ends[1] - ends[0]), abs=0.2)


def test_gaps_stay_gaps_and_a_point_alone_is_seen() -> None:
    y = [1.0, 2.0, np.nan, 3.0, np.nan, np.inf, 4.0, 5.0]
    assert [len(points) for points in pieces(line_chart("t", [Line("a", range(8), y, "red")]))] == [2, 2, 2]
    log = line_chart("t", [Line("a", range(4), [1.0, 0.0, 2.0, 3.0], "red")], log=True)
    assert [len(points) for points in pieces(log)] == [2, 2]


@pytest.mark.parametrize("log", [False, True])
def test_a_constant_line_is_drawn_inside(log: bool) -> None:
    (points,) = pieces(line_chart("t", [Line("a", [1, 2], [3.0, 3.0], "red")], log=log))
    assert np.isfinite(points).all()
    assert 10 < points[0, 1] < 172


def test_a_long_line_is_thinned_and_ends_where_it_ended() -> None:
    x = np.arange(10_001)
    (points,) = pieces(line_chart("t", [Line("a", x, np.sin(x), "red")]))
    assert len(points) == MOST_POINTS
    assert points[-1, 0] == pytest.approx(350)


def test_every_line_is_in_the_legend_and_text_is_escaped() -> None:
    lines = [Line("<a>", [1, 2], [1, 2], "red", value="2"), Line("b", [1, 2], [2, 1], "blue", "5 3")]
    html = line_chart("<t>", lines)
    assert "<a>" not in html
    assert "<t>" not in html
    assert html.count("<li>") == 2
    assert html.count('stroke-dasharray="5 3"') == 2
    assert 'role="img" aria-label="&lt;t&gt; by epoch"' in html


@pytest.mark.parametrize("lines", [[], [Line("a", [1.0], [np.nan], "red")], [Line("a", [], [], "red")]])
def test_nothing_to_draw_is_refused(lines: list[Line]) -> None:
    with pytest.raises(InputError, match="lines of chart 't' must have a point that can be drawn, got none"):
        line_chart("t", lines)
