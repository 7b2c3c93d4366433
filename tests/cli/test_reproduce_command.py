import json
from dataclasses import replace

import pandas as pd
import pytest

from implicit_geometry.experiments.backends.estimate import training_seconds
from implicit_geometry.experiments.training.train_run import Resources
from implicit_geometry.studies.figure_plans import network_specs


@pytest.fixture(autouse=True)
def few_points(monkeypatch):
    """Lines of theory through five exponents: they are drawn, and nothing is read from them here."""
    monkeypatch.setattr("implicit_geometry.studies.figure_runs._CURVE_POINTS", 5)


def test_tables_print_paper_and_ours_side_by_side(igeom):
    code, out, _ = igeom("reproduce", "tables", "--json")
    assert code == 0
    sections = json.loads(out)
    rows = sections["Printed formulas, k = 10, R = 10"]
    assert {row["source"] for row in rows} >= {"Lemma B.1", "Lemma D.1", "Lemma D.2", "Lemma D.3", "Cor. 1.5"}
    assert all(row["ours"] == pytest.approx(row["paper"], rel=1e-9) for row in rows)


def test_tables_print_the_note_beside_tables_1_and_2_and_all_errata(igeom):
    _, out, _ = igeom("reproduce", "tables", "--json")
    *_, (note, beside), (_, errata) = json.loads(out).items()
    assert "angles say nothing of norms" in note
    assert beside[-1]["ours"] == pytest.approx(0.946, abs=5e-4)
    sources = {row["source"].split(",")[0] for row in errata}
    assert sources >= {"Table 1", "Fig. 1", "Eq. (2)", "Def. 2", "footnote 5", "Lemma A.2", "Eq. (15)"}


def test_tables_as_text(igeom):
    code, out, _ = igeom("reproduce", "tables")
    assert code == 0
    assert "Errata" in out
    assert "2.6721" in out
    assert "…" not in out


@pytest.mark.slow
@pytest.mark.parametrize(("figure", "rows"), [("fig1", 25), ("fig2", 36), ("fig3", 25)])
def test_a_figure_of_the_ufm_comes_with_its_numbers(igeom, tmp_path, figure, rows):
    code, _, _ = igeom("reproduce", figure, "--model", "ufm", "--epochs", 5, "--output", tmp_path)
    assert code == 0
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [f"{figure}-ufm{suffix}" for suffix in (".csv", ".png", ".svg")]
    assert len(pd.read_csv(tmp_path / f"{figure}-ufm.csv")) == rows


@pytest.mark.slow
def test_fig4_has_one_row_per_epoch(igeom, tmp_path):
    code, _, _ = igeom("reproduce", "fig4", "--model", "ufm", "--epochs", 3, "--output", tmp_path)
    assert code == 0
    numbers = pd.read_csv(tmp_path / "fig4-ufm.csv")
    assert set(numbers["imbalance_ratio"]) == {2, 10}
    assert numbers["epoch"].max() == 3


@pytest.mark.slow
def test_convergence_comes_with_rates_and_gaps(igeom, tmp_path):
    code, out, _ = igeom("reproduce", "convergence", "--epochs", 40, "--output", tmp_path)
    assert code == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        *(f"{stem}.{ending}" for stem in ("convergence", "convergence-gap") for ending in ("png", "svg")),
        "convergence.csv",
        "convergence-rates.csv",
    }
    rates = pd.read_csv(tmp_path / "convergence-rates.csv")
    assert rates["imbalance_ratio"].value_counts().to_dict() == {2: 11, 5: 11, 20: 11}
    assert f"{rates['gap_end'].iloc[0]:.3f}" in out


@pytest.mark.slow
def test_fig4_as_printed(igeom, tmp_path):
    arguments = ("reproduce", "fig4", "--model", "ufm", "--scale", "paper", "--epochs", 3, "--output", tmp_path)
    assert igeom(*arguments)[0] == 0
    numbers = pd.read_csv(tmp_path / "fig4-ufm-paper.csv")
    assert set(zip(numbers["imbalance_ratio"], numbers["rule"], numbers["exponent"], strict=True)) == {
        (ratio, "cdt", gamma) for ratio in (2, 20) for gamma in (0.5, 1.0)
    }


@pytest.mark.slow
def test_the_printed_mlp_stands_beside_the_small_one(igeom, tmp_path, monkeypatch):
    def first_two(item, model, **options):
        return network_specs(item, model, **options)[:2]

    monkeypatch.setattr("implicit_geometry.studies.figure_runs.network_specs", first_two)
    arguments = ("reproduce", "fig3", "--model", "mlp,mlp-6x2048", "--epochs", 1, "--workers", 1, "--output", tmp_path)
    code, out, _ = igeom(*arguments)
    assert code == 0
    assert "2 networks of the paper's size will take about" in out.replace("\n", " ")
    numbers = pd.read_csv(tmp_path / "fig3-mlp-mlp-6x2048-small.csv")
    assert numbers["model"].value_counts().to_dict() == {"mlp": 2, "mlp-6x2048": 2}
    svg = (tmp_path / "fig3-mlp-mlp-6x2048-small.svg").read_text(encoding="utf-8")
    assert "6 × 2048 MLP on digits" in svg
    trials = {path: path.stat().st_mtime_ns for path in (tmp_path / "networks" / "trials").iterdir()}
    assert len(trials) == 4
    assert igeom(*arguments)[0] == 0  # what is finished is used again
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "networks" / "trials").iterdir()} == trials


@pytest.mark.slow
def test_networks_are_trained_once_for_all_figures(igeom, tmp_path):
    code, out, _ = igeom("reproduce", "fig5", "--model", "mlp", "--epochs", 2, "--output", tmp_path)
    assert code == 0
    assert "fig5-mlp-small.png" in out
    numbers = pd.read_csv(tmp_path / "fig5-mlp-small.csv")
    assert len(numbers) == 13 * 2
    assert numbers["train_balanced"].between(0, 1).all()
    trials = {path: path.stat().st_mtime_ns for path in (tmp_path / "networks" / "trials").iterdir()}
    code, _, _ = igeom("reproduce", "fig3", "--model", "mlp", "--epochs", 2, "--output", tmp_path)
    assert code == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "networks" / "trials").iterdir()} == trials
    assert len(pd.read_csv(tmp_path / "fig3-mlp-small.csv")) == 13


@pytest.mark.slow
def test_fig2_trains_networks_on_three_classes(igeom, tmp_path):
    code, _, _ = igeom("reproduce", "fig2", "--epochs", 2, "--output", tmp_path)
    assert code == 0
    numbers = pd.read_csv(tmp_path / "fig2-ufm-mlp-small.csv")
    assert sorted(set(numbers["model"])) == ["mlp", "theory", "ufm"]
    assert len(numbers) == 3 * 3 * 6


@pytest.mark.slow
def test_a_network_that_diverges_is_reported_and_the_rest_is_drawn(igeom, tmp_path, monkeypatch):
    first, *rest = network_specs("fig3", "mlp", epochs=2)[:3]
    wild = replace(first, optimization=replace(first.optimization, learning_rate=1e30))
    monkeypatch.setattr("implicit_geometry.studies.figure_runs.network_specs", lambda *_, **__: [wild, *rest])
    code, out, _ = igeom("reproduce", "fig3", "--model", "mlp", "--output", tmp_path)
    assert code == 1
    assert "failed: ce, seed 0, digits, mlp" in out.replace("\n", " ")
    assert len(pd.read_csv(tmp_path / "fig3-mlp-small.csv")) == 2


@pytest.mark.slow
def test_paper_scale_without_a_gpu_says_how_long_it_will_take(igeom, tmp_path, monkeypatch):
    specs = network_specs("fig5", "mlp", epochs=1)[:1]
    monkeypatch.setattr("implicit_geometry.studies.figure_runs.network_specs", lambda *_, **__: specs)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    arguments = ("reproduce", "fig5", "--model", "mlp", "--scale", "paper", "--output", tmp_path)
    code, out, _ = igeom(*arguments)
    assert code == 0
    assert "There is no GPU: 1 networks of the paper's size will take about 0.0 hours with 1 process" in out
    _, out, _ = igeom(*arguments)
    assert "There is no GPU" not in out  # nothing is left to train


def test_the_estimate_grows_with_samples_and_epochs():
    specs = network_specs("fig3", "mlp", epochs=1)[:1]
    one = min(training_seconds(specs, Resources()) for _ in range(5))
    assert 0 < one < 60
    many = network_specs("fig3", "mlp", epochs=1000)[:3]
    assert min(training_seconds(many, Resources()) for _ in range(5)) > 300 * one


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fig7",), "item must be one of"),
        (("tabels",), "did you mean 'tables'"),
        (("fig1", "--model", "cnn"), "model must be one of"),
        (("fig2", "--model", "ufm,resnet18"), "model must be one of ufm, mlp"),
        (("fig1", "--model", "mlp-6x2048"), "model must be one of ufm, mlp, resnet18"),
        (("fig5", "--model", "ufm"), "model must be one of mlp, resnet18"),
        (("fig1", "--epochs", "0"), "epochs must be"),
        (("fig1", "--ridge", "-1"), "ridge must be"),
        (("fig1", "--seeds", "0"), "seeds must be"),
        (("fig1", "--scale", "big"), "scale must be one of small, paper"),
        (("fig1", "--model", "ufm", "--scale", "big"), "scale must be one of small, paper"),
        (("fig1", "--data", "cifar100"), "data must be one of"),
        (("fig1", "--data", "digits,mnist"), "one data set for a figure"),
        (("fig1", "--data", "mnist", "--data-root", "nowhere"), "mnist must lie in"),
        (("fig3", "--scale", "paper", "--data-root", "nowhere"), "cifar10 must lie in"),
        (("accuracy", "--data", "imagenet"), "data must be one of"),
        (("logits", "--data", "imagenet"), "data must be one of digits, mnist, cifar10 or folder:PATH"),
        (("logits", "--seeds", "1"), "seeds must be a whole number at least 2"),
    ],
)
def test_mistakes_get_one_line(igeom, tmp_path, arguments, message):
    code, _, err = igeom("reproduce", *arguments, "--output", tmp_path)
    assert code == 2
    assert message in err
