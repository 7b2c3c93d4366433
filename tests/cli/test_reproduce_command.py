import json

import pandas as pd
import pytest


def test_tables_print_paper_and_ours_side_by_side(igeom):
    code, out, _ = igeom("reproduce", "tables", "--json")
    assert code == 0
    sections = json.loads(out)
    rows = sections["Printed formulas, k = 10, R = 10"]
    assert {row["source"] for row in rows} >= {"Lemma B.1", "Lemma D.1", "Lemma D.2", "Lemma D.3", "Cor. 1.5"}
    assert all(row["ours"] == pytest.approx(row["paper"], rel=1e-9) for row in rows)


def test_tables_as_text(igeom):
    code, out, _ = igeom("reproduce", "tables")
    assert code == 0
    assert "Errata" in out
    assert "2.6721" in out


@pytest.mark.slow
@pytest.mark.parametrize(("figure", "rows"), [("fig1", 28), ("fig3", 26)])
def test_a_figure_comes_with_its_numbers(igeom, tmp_path, figure, rows):
    code, _, _ = igeom("reproduce", figure, "--epochs", 5, "--output", tmp_path)
    assert code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{figure}-ufm{suffix}" for suffix in (".csv", ".png", ".svg")
    ]
    assert len(pd.read_csv(tmp_path / f"{figure}-ufm.csv")) == rows


@pytest.mark.slow
def test_fig4_has_a_row_an_epoch(igeom, tmp_path):
    code, _, _ = igeom("reproduce", "fig4", "--epochs", 3, "--output", tmp_path)
    assert code == 0
    numbers = pd.read_csv(tmp_path / "fig4-ufm.csv")
    assert set(numbers["imbalance_ratio"]) == {2, 10}
    assert numbers["epoch"].max() == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fig7",), "item must be one of"),
        (("tabels",), "did you mean 'tables'"),
        (("fig1", "--model", "cnn"), "model must be one of"),
        (("fig1", "--epochs", "0"), "epochs must be"),
        (("fig1", "--ridge", "-1"), "ridge must be"),
    ],
)
def test_mistakes_get_one_line(igeom, arguments, message):
    code, _, err = igeom("reproduce", *arguments)
    assert code == 2
    assert message in err
