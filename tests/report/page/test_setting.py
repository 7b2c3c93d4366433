"""Runs in settings, with figures and findings that fit what the runs have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from implicit_geometry import InputError
from implicit_geometry.experiments.run import TrainedRun
from implicit_geometry.experiments.spec import DataSpec, NetworkSpec, Optimization, RunSpec
from implicit_geometry.problem import Problem
from implicit_geometry.report.page.setting import (
    NamedFigure,
    Setting,
    accuracy_sentence,
    geometry_sentence,
    setting_facts,
    setting_figures,
    setting_sentences,
    settings_of,
    terminal_sentence,
)
from implicit_geometry.report.predictions import limit_geometry, setting_curves
from implicit_geometry.rules import cdt, vs
from implicit_geometry.summary import geometry_summary
from implicit_geometry.theory.predict import predict
from made_up_runs import RIDGE, made_up_run, of_an_earlier_version

COUNTS = (40, 40, 4, 4)


def spec(rule: str = "ce", seed: int = 0, counts: tuple[int, ...] = COUNTS, **hyperparameters: float) -> RunSpec:
    return RunSpec(rule, hyperparameters, counts, seed=seed)


def figures_of(setting: Setting, load: Callable[[RunSpec], TrainedRun]) -> list[NamedFigure]:
    return setting_figures(setting, load, setting_curves, limit_geometry)


def one_setting(*specs: RunSpec) -> Setting:
    (setting,) = settings_of(made_up_run(item) for item in specs)
    return setting


def no_vectors(wanted: RunSpec) -> TrainedRun:
    raise AssertionError("no figure was drawn, so no vectors are needed")


def test_settings_differ_in_anything_but_loss_and_seed() -> None:
    base = {"rule": "ce", "hyperparameters": {}, "counts": COUNTS}
    specs = [
        RunSpec(**base),
        RunSpec(**base, seed=1),
        RunSpec("ldt", {"gamma": 0.5}, COUNTS, record_every=5),
        RunSpec("ce", {}, (40, 40, 8, 8)),
        RunSpec(**base, data=DataSpec("mnist")),
        RunSpec(**base, network=NetworkSpec("mlp", {"width": 8})),
        RunSpec(**base, optimization=Optimization(weight_decay=0.0)),
        RunSpec(**base, label_smoothing=0.1),
        RunSpec("ldt", {"gamma": 0.5}, COUNTS, label_smoothing=0.1),
    ]
    settings = settings_of(map(made_up_run, specs))
    found = sorted(sorted(specs.index(run.spec) for run in setting.runs) for setting in settings)
    assert found == [[0, 1, 2], [3], [4], [5], [6], [7, 8]]
    assert [s.title.endswith("labels smoothed by 0.1") for s in settings] == [len(s.runs) == 2 for s in settings]


def test_runs_are_in_the_order_of_rules_exponents_and_seeds() -> None:
    ordered = [
        spec("ce"),
        spec("cdt", gamma=-0.5),
        spec("cdt", gamma=0.5),
        spec("cdt", 1, gamma=0.5),
        spec("vs", gamma=0.1),
    ]
    setting = one_setting(*ordered[::-1])
    assert [run.spec for run in setting.runs] == ordered
    assert setting.records["run"].tolist() == [item.key for item in ordered]


def test_every_loss_and_variant_has_a_figure_over_its_theory() -> None:
    setting = one_setting(spec(), spec("vs", gamma=0.5), spec("vs", gamma=0.5, tau=0.25), spec("ldam", max_margin=0.5))
    figures = figures_of(setting, no_vectors)
    assert [figure.name for figure in figures] == [
        "geometry-vs",
        "geometry-vs-tau0.25",
        "geometry-ldam",
        "accuracy",
        "gram",
    ]
    drawn = figures[1].draw(False)
    (limit,) = [line for line in drawn.axes[0].lines if line.get_label() == "theory: limit"]
    at = int(np.argmin(np.abs(np.asarray(limit.get_xdata()) - 0.5)))
    exponent = float(np.asarray(limit.get_xdata())[at])
    counts = setting.spec.class_counts()
    expected = geometry_summary(predict(Problem(counts, vs(counts, gamma=exponent, tau=0.25))).geometry, counts)
    assert np.asarray(limit.get_ydata())[at] == pytest.approx(expected["classifier_norm_ratio"])
    (measured,) = [line for line in drawn.axes[0].lines if line.get_label() == "measured"]
    mine = setting.records[setting.records["variant"] == "tau 0.25"]
    assert list(measured.get_ydata()) == mine["classifier_norm_ratio"].tolist()
    assert f"ridge {RIDGE:g}" in figures[1].caption


def test_smoothed_labels_are_compared_with_the_lines_of_their_own_theory() -> None:
    soft = [RunSpec("vs", {"gamma": gamma}, COUNTS, label_smoothing=0.1) for gamma in (0.25, 0.5)]
    setting = one_setting(*soft)
    figure = figures_of(setting, no_vectors)[0]
    assert "Solid: the limit of vanishing weight decay with labels smoothed by 0.1." in figure.caption
    assert setting_facts(setting)["labels"] == "smoothed by 0.1"
    drawn = figure.draw(False).axes[0]
    (limit,) = [line for line in drawn.lines if line.get_label() == "theory: limit"]
    at = int(np.argmin(np.abs(np.asarray(limit.get_xdata()) - 0.5)))
    counts, gamma = setting.spec.class_counts(), float(np.asarray(limit.get_xdata())[at])
    hard, smoothed = (
        geometry_summary(predict(Problem(counts, vs(counts, gamma=gamma), label_smoothing=eps)).geometry, counts)
        for eps in (0.0, 0.1)
    )
    assert np.asarray(limit.get_ydata())[at] == pytest.approx(smoothed["classifier_norm_ratio"])
    assert abs(hard["classifier_norm_ratio"] / smoothed["classifier_norm_ratio"] - 1) > 0.05


def test_theory_reaches_as_far_as_the_runs_and_margins_are_not_negative() -> None:
    setting = one_setting(spec("cdt", gamma=2.5), spec("ldam", max_margin=0.5))
    cdt, ldam = (figure.draw(False).axes[0] for figure in figures_of(setting, no_vectors)[:2])
    reach = {
        ax: next(line for line in ax.lines if line.get_label() == "theory: limit").get_xdata() for ax in (cdt, ldam)
    }
    assert (min(reach[cdt]), max(reach[cdt])) == (-2.5, 2.5)
    assert min(reach[ldam]) == 0


@pytest.mark.parametrize("weight_decay", [5e-4, 0.0])
def test_theory_is_that_of_the_head_of_the_runs(weight_decay: float) -> None:
    plan = Optimization(weight_decay=weight_decay)
    runs = [made_up_run(replace(item, optimization=plan), bias=True) for item in (spec(), spec("cdt", gamma=0.5))]
    (setting,) = settings_of(runs)
    figure = figures_of(setting, no_vectors)[0]
    drawn = figure.draw(False)
    lines = {line.get_label(): line for line in drawn.axes[0].lines}
    exponents = np.asarray(lines["theory: limit"].get_xdata())
    at = int(np.argmin(np.abs(exponents - 0.5)))
    counts, free = setting.spec.class_counts(), weight_decay == 0
    loss = cdt(counts, gamma=float(exponents[at]))
    expected = {
        "theory: limit": Problem(counts, loss, bias=free),
        "theory: finite ridge": Problem(counts, loss, ridge=RIDGE, bias=True, bias_ridge=0.0 if free else RIDGE),
    }
    for name, problem in expected.items():
        ratio = geometry_summary(predict(problem).geometry, counts)["classifier_norm_ratio"]
        assert np.asarray(lines[name].get_ydata())[at] == pytest.approx(ratio), name
    assert ("a free bias" if free else "a bias under weight decay") in figure.caption
    assert setting.title.endswith("mlp, head with a bias")


def test_runs_with_a_bias_and_without_are_two_settings() -> None:
    settings = settings_of([made_up_run(spec(), bias=True), made_up_run(spec("cdt", gamma=0.5))])
    assert sorted(setting.records["bias"].tolist() for setting in settings) == [[False], [True]]


def test_runs_without_a_limit_are_not_in_figures_that_draw_it() -> None:
    def without(run: TrainedRun, target: str) -> TrainedRun:
        lacking = {name: None for name in run.record if f"_{target}_distance" in name}
        return replace(run, record={**run.record, **lacking, "not_compared": {target: "too many kinds"}})

    runs = [made_up_run(item, bias=True) for item in (spec(), spec("cdt", gamma=0.5))]
    (setting,) = settings_of(without(run, "limit") for run in runs)
    assert [figure.name for figure in figures_of(setting, no_vectors)] == ["geometry-cdt", "accuracy"]
    mean = setting.records["classifier_ridge_distance"].mean()
    assert f"classifiers stand {mean:.2f} from the regularised optimum that" in geometry_sentence(setting.records)
    assert "nan" not in geometry_sentence(setting.records)
    (setting,) = settings_of(without(run, "ridge") for run in runs)
    assert "limit (mean distance of unit-norm Gram matrices), and " in geometry_sentence(setting.records)


def test_balanced_counts_have_no_panels_of_majorities() -> None:
    setting = one_setting(
        *(spec(rule, counts=(9, 9, 9), **given) for rule, given in (("ce", {}), ("cdt", {"gamma": 0.5})))
    )
    assert [figure.name for figure in figures_of(setting, no_vectors)] == ["accuracy", "gram"]


def test_without_test_samples_there_is_no_accuracy() -> None:
    setting = one_setting(spec(), spec("cdt", gamma=0.5))
    untested = Setting(
        setting.runs, setting.records.drop(columns=[name for name in setting.records if "test_" in name])
    )
    assert "accuracy" not in [figure.name for figure in figures_of(untested, no_vectors)]
    assert len(setting_sentences(untested.records)) == 2


def test_gram_matrices_are_those_of_the_measured_vectors() -> None:
    runs = {item.key: made_up_run(item) for item in (spec(), spec("cdt", gamma=0.25), spec("cdt", gamma=1.0))}
    (setting,) = settings_of(runs.values())
    gram = figures_of(setting, lambda wanted: runs[wanted.key])[-1].draw(False)
    titles = {ax.get_title(loc="left"): ax for ax in gram.axes}
    assert "CDT 0.25: H, measured" in titles
    rows = runs[spec("cdt", gamma=0.25).key].arrays["embedding"]
    expected = rows @ rows.T / np.linalg.norm(rows @ rows.T)
    np.testing.assert_allclose(titles["CDT 0.25: H, measured"].images[0].get_array(), expected, atol=1e-12)


def test_figures_show_embeddings_in_the_papers_frame_where_that_is_asked_for() -> None:
    runs = {item.key: made_up_run(item) for item in (spec(), spec("cdt", gamma=0.25))}
    (setting,) = settings_of(runs.values())
    arguments = setting, lambda wanted: runs[wanted.key], setting_curves, limit_geometry
    geometry, *_, gram = setting_figures(*arguments, frame="centred")
    panel = geometry.draw(False).axes[4]
    assert panel.get_title(loc="left") == "H centred:\nsquared norm ratio"
    assert "centred as in the paper" in geometry.caption
    titles = {ax.get_title(loc="left"): ax for ax in gram.draw(False).axes}
    rows = runs[spec("cdt", gamma=0.25).key].arrays["class_means"]
    rows = rows - rows.mean(axis=0)
    expected = rows @ rows.T / np.linalg.norm(rows @ rows.T)
    np.testing.assert_allclose(titles["CDT 0.25: H, measured"].images[0].get_array(), expected, atol=1e-12)


def test_runs_of_an_earlier_version_are_drawn_projected_only() -> None:
    runs = {item.key: of_an_earlier_version(made_up_run(item)) for item in (spec(), spec("cdt", gamma=0.25))}
    (setting,) = settings_of(runs.values())
    for figure in figures_of(setting, lambda wanted: runs[wanted.key]):
        figure.draw(False)
    with pytest.raises(InputError, match="frame must be 'projected' for runs of earlier versions"):
        setting_figures(setting, lambda wanted: runs[wanted.key], setting_curves, limit_geometry, "centred")


def table(rows: list[tuple[str, float, float]]) -> pd.DataFrame:
    names = ["rule", "exponent", "test_balanced"]
    return pd.DataFrame(rows, columns=names).assign(variant="", terminal_phase=True, test_minority=0.25)


def test_the_best_accuracy_is_a_mean_over_seeds_beside_cross_entropy() -> None:
    records = table(
        [("ce", 0, 0.5), ("ce", 0, 0.7), ("ldt", 0.5, 0.8), ("ldt", 0.5, 0.8), ("vs", 0.5, 0.99), ("vs", 0.5, 0.5)]
    )
    assert accuracy_sentence(records) == (
        "LDT at 0.5 has the highest balanced test accuracy of the grid (picked after the fact): 80.0% against 60.0% "
        "for CE, and on the minority classes 25.0% against 25.0%."
    )


def test_cross_entropy_is_not_compared_with_itself() -> None:
    records = table([("ce", 0, 0.9), ("ldt", 0.5, 0.8)]).assign(test_minority=np.nan)
    expected = "CE has the highest balanced test accuracy of the grid (picked after the fact): 90.0%."
    assert accuracy_sentence(records) == expected


def test_findings_are_means_of_the_records() -> None:
    setting = one_setting(spec(), spec("cdt", gamma=0.5), spec("ldt", gamma=0.5))
    mean = setting.records["classifier_limit_distance"].mean()
    assert f"classifiers stand {mean:.2f} from their own predicted limit" in geometry_sentence(setting.records)
    mixed = setting.records.assign(terminal_phase=[True, False, True])
    assert terminal_sentence(mixed).startswith("2 of 3 networks reached 100 % training accuracy")


def test_facts_say_what_was_trained() -> None:
    facts = setting_facts(one_setting(spec(), spec(seed=3)))
    assert facts["training samples per class"] == "40, 40, 4, 4"
    assert facts["seeds"] == "0, 3"
    assert facts["versions"] == "python 3.12, torch 2.8"
    many = setting_facts(one_setting(spec(counts=(50,) * 30)))
    assert many["training samples per class"].endswith("... (30 classes)")
