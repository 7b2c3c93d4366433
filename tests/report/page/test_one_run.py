"""What a page says of one run, against its record and its vectors."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from implicit_geometry.experiments.run import TrainedRun
from implicit_geometry.experiments.spec import Optimization, RunSpec
from implicit_geometry.experiments.spec_texts import run_title
from implicit_geometry.problem import Problem
from implicit_geometry.report.page.one_run import run_article, run_content
from implicit_geometry.report.predictions import predicted_geometries
from implicit_geometry.summary import geometry_summary
from implicit_geometry.theory.measured_frame import in_measured_frame
from implicit_geometry.theory.predict import predict
from made_up_runs import EPOCHS, RIDGE, made_up_run, of_an_earlier_version

SPEC = RunSpec("ldt", {"gamma": 0.5}, counts=(40, 40, 4), seed=2)
RUN = made_up_run(SPEC)


def shown(run: TrainedRun, history: pd.DataFrame, place: str) -> str:
    return run_content(run, history, place, predicted_geometries(run))


@pytest.fixture(scope="module")
def content() -> str:
    return shown(RUN, pd.DataFrame(RUN.history), "runs/demo/trials/abc")


def values(html: str, label: str) -> list[float]:
    """Sorting values of the row with this heading."""
    (row,) = re.findall(rf">{re.escape(label)}</th>(.*?)</tr>", html)
    return [float(text) for text in re.findall(r'data-value="([^"]+)"', row)]


def test_measured_numbers_stand_beside_both_predictions(content: str) -> None:
    counts, loss = SPEC.class_counts(), SPEC.parameterization()
    limit, optimum = (geometry_summary(predict(Problem(counts, loss, ridge=r)).geometry, counts) for r in (0.0, RIDGE))
    for label, key in {
        "W: squared norm ratio": "classifier_norm_ratio",
        "H: cos majority–minority": "embedding_cos_between",
    }.items():
        assert values(content, label) == pytest.approx([RUN.record[key], limit[key], optimum[key]])
    assert values(content, "worst") == [1.0, 0.8]


def test_distances_stand_beside_their_parts(content: str) -> None:
    keys = ("limit_distance", "limit_systematic", "ridge_distance", "ridge_systematic", "etf_distance", "heterogeneity")
    for label, block in {"W Hᵀ": "cross", "H centred": "centred_embedding"}.items():
        found = values(content, f"distance of {label}")
        assert found == [RUN.record[f"{block}_{key}"] for key in keys]
        assert found[1] ** 2 + found[5] ** 2 == pytest.approx(found[0] ** 2)
        assert found[3] ** 2 + found[5] ** 2 == pytest.approx(found[2] ** 2)
    assert "A squared distance to theory is the sum of two squares" in content


def test_numbers_of_both_frames_stand_beside_their_predictions(content: str) -> None:
    problem = replace(RUN.problem, ridge=RIDGE)
    optimum = in_measured_frame(predict(problem), "centred")
    found = values(content, "H centred: squared norm ratio")
    assert found[0] == RUN.record["centred_embedding_norm_ratio"]
    assert found[2] == pytest.approx(optimum.embedding.block_summary(problem.counts.majority).norm_ratio)


def test_a_run_of_an_earlier_version_shows_what_it_has() -> None:
    old = of_an_earlier_version(RUN)
    html = shown(old, pd.DataFrame(old.history), "x")
    expected = [old.record[f"cross_{target}_distance"] for target in ("limit", "ridge", "etf")]
    assert values(html, "distance of W Hᵀ") == expected
    for text in ("H centred", "heterogeneity", "systematic"):
        assert text not in html


def test_where_all_classes_differ_the_missing_parts_are_explained() -> None:
    html = shown(made_up_run(RunSpec("ce", {}, counts=(9, 5, 3))), pd.DataFrame(), "x")
    assert "No two classes are equal in counts and loss" in html
    assert "systematic</th>" not in html


@pytest.mark.parametrize("weight_decay", [5e-4, 0.0])
def test_a_head_with_a_bias_stands_beside_the_theory_of_one(weight_decay: float) -> None:
    spec = replace(SPEC, optimization=Optimization(weight_decay=weight_decay))
    run = made_up_run(spec, bias=True)
    html = shown(run, pd.DataFrame(), "x")
    counts, loss = spec.class_counts(), spec.parameterization()
    limit = predict(Problem(counts, loss, bias=not weight_decay)).geometry  # a bias with a ridge comes to nothing
    optimum = predict(Problem(counts, loss, ridge=RIDGE, bias=True, bias_ridge=RIDGE if weight_decay else 0.0)).geometry
    expected = [geometry_summary(geometry, counts)["classifier_norm_ratio"] for geometry in (limit, optimum)]
    assert values(html, "W: squared norm ratio") == pytest.approx([run.record["classifier_norm_ratio"], *expected])
    centre = np.eye(3) - np.outer(np.ones(3), counts.values / counts.num_samples)
    squared = [np.diag(centre @ geometry.embedding.dense() @ centre.T) for geometry in (limit, optimum)]
    assert values(html, "H: squared norm ratio")[1:] == pytest.approx(
        [norms[:2].mean() / norms[2] for norms in squared]
    )
    assert "<dd>mlp, head with a bias</dd>" in html


def test_what_a_run_is_not_compared_with_is_said() -> None:
    run = made_up_run(SPEC, bias=True)
    lacking = {name: None for name in run.record if name.endswith("_limit_distance")}
    record = {**run.record, **lacking, "not_compared": {"limit": "too <many> kinds"}}
    html = shown(replace(run, record=record), pd.DataFrame(), "x")
    assert "<dt>no distances to the limit</dt><dd>too &lt;many&gt; kinds</dd>" in html
    assert "Gram matrix of W, optimum" in html
    assert "Gram matrix of W, limit" not in html


def test_every_chart_that_has_numbers_is_drawn(content: str) -> None:
    assert re.findall(r"<h4>(.*?)</h4>", content) == [
        "Accuracy",
        "Distance to theory",
        "Squared norm ratio",
        "Collapse and loss",
    ]
    (points,) = re.findall(r'points="([^"]*)"[^>]*><title>CDNV', content)
    assert len(points.split()) == len(EPOCHS)
    assert "NC1</li>" not in content


def test_without_a_history_there_are_no_charts() -> None:
    html = shown(RUN, pd.DataFrame(), "x")
    assert "By epoch" not in html
    assert "Gram matrices" in html


def test_a_pixel_a_pair_of_classes(content: str) -> None:
    images = re.findall(r'alt="(Gram matrix of [^"]*)" src="data:image/png;base64,([^"]*)"', content)
    assert [name for name, _ in images][:3] == [
        f"Gram matrix of W, {source}" for source in ("measured", "limit", "optimum")
    ]
    assert len(images) == 9
    for _, picture in images:
        assert Image.open(io.BytesIO(base64.b64decode(picture))).size == (3, 3)


def test_balanced_counts_and_missing_numbers_are_left_out() -> None:
    run = made_up_run(RunSpec("ce", {}, counts=(9, 9, 9)))
    html = shown(replace(run, record={**run.record, "effective_ridge": None, "nc1": None}), pd.DataFrame(), "x")
    assert "<h3>Geometry</h3>" not in html
    assert "optimum</span>" not in html
    assert "<dt>NC1</dt>" not in html


def test_the_specification_is_there_and_escaped() -> None:
    spec = RunSpec("ce", {}, counts=(9, 3), data=replace(SPEC.data, name="folder:<b>"))
    html = shown(made_up_run(spec), pd.DataFrame(), "<i>")
    assert "<b>" not in html
    assert "<i>" not in html
    assert "&quot;rule&quot;: &quot;ce&quot;" in html


def test_an_article_has_its_address_and_leads_to_its_neighbours() -> None:
    other = RunSpec("cdt", {"gamma": 0.5}, counts=(40, 40, 4))
    html = run_article(SPEC, "content", bias=True, before=other)
    assert f'id="run-{SPEC.key}"' in html
    assert re.findall(r'href="([^"]*)"', html) == ["#runs", f"#run-{other.key}"]
    assert "LDT, γ = 0.5, seed 2" in html
    assert "digits, step:3,10,0.333 of 40, mlp, head with a bias" in html


@pytest.mark.parametrize(
    ("rule", "given", "label"),
    [
        ("ce", {}, "CE, seed 0"),
        ("logit_adjusted", {"tau": 1.5}, "LA, τ = 1.5, seed 0"),
        ("vs", {"gamma": 0.5, "tau": 0.0}, "VS (tau 0), γ = 0.5, seed 0"),
        ("ldam", {"max_margin": 0.2}, "LDAM, largest margin = 0.2, seed 0"),
    ],
)
def test_runs_have_names(rule: str, given: dict[str, float], label: str) -> None:
    assert run_title(RunSpec(rule, given, counts=(9, 3))) == label


def test_many_classes_are_shown_by_some() -> None:
    counts = tuple(np.linspace(300, 3, 120).astype(int).tolist())
    html = shown(made_up_run(RunSpec("ce", {}, counts=counts)), pd.DataFrame(), "x")
    assert "100 of 120 classes, evenly spaced" in html
