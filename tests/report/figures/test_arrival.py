"""The figure of distances by epoch."""

import pandas as pd
import pytest

from implicit_geometry import InputError
from implicit_geometry.report.figures.arrival import arrival_figure

BLOCKS = ("classifier", "embedding", "cross")


def histories():
    rows = [
        {
            "loss": loss,
            "label_smoothing": eps,
            "epoch": epoch,
            **{f"{b}_limit_systematic": level / epoch for b in BLOCKS},
        }
        for level, (loss, eps) in enumerate([("CE", 0.0), ("CE", 0.1), ("CDT 0.5", 0.1)], start=1)
        for epoch in (25, 50)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("narrow", [False, True])
def test_one_line_per_loss_and_smoothing_in_every_panel(narrow):
    figure = arrival_figure(histories(), narrow=narrow)
    for ax in figure.axes:
        hard, smoothed, other = ax.lines
        assert (hard.get_linestyle(), smoothed.get_linestyle()) == ("--", "-")
        assert hard.get_color() == smoothed.get_color() != other.get_color()
        assert other.get_ydata().tolist() == [3 / 25, 3 / 50]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == ["hard labels", "labels smoothed by 0.1", "CE", "CDT 0.5"]


def test_a_missing_column_is_named():
    with pytest.raises(InputError, match=r"^histories must have the columns epoch"):
        arrival_figure(histories().drop(columns="epoch"))
