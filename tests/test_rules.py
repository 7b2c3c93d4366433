"""Every rule, through VSLoss, is the loss its paper prints; and what the rules promise of their vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from implicit_geometry._validate import InputError
from implicit_geometry.counts import ClassCounts
from implicit_geometry.nn.losses.criterion import VSLoss
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.rules import (
    RULES,
    cdt,
    ce,
    ldam,
    ldt,
    logit_adjusted,
    make_parameterization,
    vs,
    weighted,
)
from strategies import class_counts

COUNTS = [500, 120, 120, 30, 2]
LOGITS = [
    [1.5, -0.3, 0.2, 2.0, -1.0],
    [-4.0, 3.0, 0.5, 0.0, 1.0],
    [0.1, 0.2, -0.3, 0.4, 6.0],
    [9.0, 9.0, -9.0, 0.0, 0.5],
]
LABELS = [0, 4, 3, 1]

Loss = Callable[[Sequence[float], int], float]

exponents = st.floats(-2, 2)
normalizations = st.sampled_from(["mean", "max", "none"])


def losses_of(parameterization: Parameterization) -> list[float]:
    criterion = VSLoss(parameterization, reduction="none", dtype=torch.float64)
    values: list[float] = criterion(torch.tensor(LOGITS, dtype=torch.float64), torch.tensor(LABELS)).tolist()
    return values


def assert_same_loss(parameterization: Parameterization, paper: Loss) -> None:
    expected = [paper(z, y) for z, y in zip(LOGITS, LABELS, strict=True)]
    assert losses_of(parameterization) == pytest.approx(expected, rel=1e-12)


def negative_log_share(scores: Sequence[float], label: int) -> float:
    """-log(e^s_y / sum_c e^s_c)."""
    return -math.log(math.exp(scores[label]) / sum(math.exp(s) for s in scores))


def normalized(values: list[float], normalize: str) -> list[float]:
    unit = {"mean": sum(values) / len(values), "max": max(values), "none": 1.0}[normalize]
    return [value / unit for value in values]


# The papers' formulas, literally


def test_cross_entropy() -> None:
    assert_same_loss(ce(COUNTS), negative_log_share)


@pytest.mark.parametrize("tau", [-0.5, 0.0, 1.0, 2.5])
def test_logit_adjustment_is_equation_10_of_menon_2021(tau: float) -> None:
    prior = [n / sum(COUNTS) for n in COUNTS]

    def paper(f: Sequence[float], y: int) -> float:
        return math.log(1 + sum((prior[c] / prior[y]) ** tau * math.exp(f[c] - f[y]) for c in range(5) if c != y))

    assert_same_loss(logit_adjusted(COUNTS, tau), paper)


@pytest.mark.parametrize("gamma", [-0.5, 0.0, 0.3, 1.0])
def test_class_dependent_temperatures_divide_by_a_as_ye_2020(gamma: float) -> None:
    a = [(max(COUNTS) / n) ** gamma for n in COUNTS]

    def paper(f: Sequence[float], y: int) -> float:
        return negative_log_share([f[c] / a[c] for c in range(5)], y)

    assert_same_loss(cdt(COUNTS, gamma, normalize="none"), paper)


@pytest.mark.parametrize("normalize", ["mean", "max", "none"])
@pytest.mark.parametrize("gamma", [-0.5, 0.3, 1.0])
def test_class_dependent_temperatures_are_equation_3_of_behnia_2023(gamma: float, normalize: str) -> None:
    delta = normalized([(n / max(COUNTS)) ** gamma for n in COUNTS], normalize)

    def paper(z: Sequence[float], y: int) -> float:
        return math.log(1 + sum(math.exp(-(delta[y] * z[y] - delta[c] * z[c])) for c in range(5) if c != y))

    assert_same_loss(cdt(COUNTS, gamma, normalize=normalize), paper)


@pytest.mark.parametrize("normalize", ["mean", "max", "none"])
@pytest.mark.parametrize("gamma", [-0.5, 0.3, 1.0])
def test_label_dependent_temperatures_are_equation_3_of_behnia_2023(gamma: float, normalize: str) -> None:
    delta = normalized([(n / max(COUNTS)) ** gamma for n in COUNTS], normalize)

    def paper(z: Sequence[float], y: int) -> float:
        return math.log(1 + sum(math.exp(-delta[y] * (z[y] - z[c])) for c in range(5) if c != y))

    assert_same_loss(ldt(COUNTS, gamma, normalize=normalize), paper)


@pytest.mark.parametrize("normalize", ["mean", "max", "none"])
@pytest.mark.parametrize(("gamma", "tau"), [(0.15, 1.0), (0.3, 0.0), (-0.2, -1.5)])
def test_vector_scaling_is_equation_2_of_kini_2021(gamma: float, tau: float, normalize: str) -> None:
    delta = normalized([(n / max(COUNTS)) ** gamma for n in COUNTS], normalize)
    iota = [tau * math.log(n / sum(COUNTS)) for n in COUNTS]

    def paper(f: Sequence[float], y: int) -> float:
        return negative_log_share([delta[c] * f[c] + iota[c] for c in range(5)], y)

    assert_same_loss(vs(COUNTS, gamma, tau, normalize=normalize), paper)


@pytest.mark.parametrize("scale", [1.0, 5.0, 30.0])
@pytest.mark.parametrize("max_margin", [0.0, 0.5, 2.0])
def test_label_distribution_aware_margins_are_equation_13_of_cao_2019(max_margin: float, scale: float) -> None:
    constant = max_margin * min(COUNTS) ** (1 / 4)
    margin = [constant / n ** (1 / 4) for n in COUNTS]

    def paper(z: Sequence[float], y: int) -> float:
        true = math.exp(scale * (z[y] - margin[y]))
        return -math.log(true / (true + sum(math.exp(scale * z[c]) for c in range(5) if c != y)))

    assert_same_loss(ldam(COUNTS, max_margin, scale=scale), paper)


@pytest.mark.parametrize("normalize", ["mean", "max", "none"])
@pytest.mark.parametrize("gamma", [-0.5, 0.5, 1.0])
def test_weighted_cross_entropy_multiplies_by_a_power_of_the_inverse_count(gamma: float, normalize: str) -> None:
    omega = normalized([(max(COUNTS) / n) ** gamma for n in COUNTS], normalize)
    assert_same_loss(weighted(COUNTS, gamma, normalize=normalize), lambda z, y: omega[y] * negative_log_share(z, y))


def test_the_mean_of_weighted_cross_entropy_is_divided_by_the_weights_of_the_batch() -> None:
    omega = [max(COUNTS) / n for n in COUNTS]
    total = sum(omega[y] * negative_log_share(z, y) for z, y in zip(LOGITS, LABELS, strict=True))
    criterion = VSLoss(weighted(COUNTS, normalize="none"), dtype=torch.float64)
    mean = criterion(torch.tensor(LOGITS, dtype=torch.float64), torch.tensor(LABELS)).item()
    assert mean == pytest.approx(total / sum(omega[y] for y in LABELS), rel=1e-12)


# Laws


@given(counts=class_counts(), normalize=normalizations)
@settings(max_examples=30)
def test_a_neutral_hyperparameter_is_cross_entropy(counts: ClassCounts, normalize: str) -> None:
    for parameterization in (
        weighted(counts, 0, normalize=normalize),
        logit_adjusted(counts, 0),
        cdt(counts, 0, normalize=normalize),
        ldt(counts, 0, normalize=normalize),
        vs(counts, 0, 0, normalize=normalize),
        ldam(counts, 0),
    ):
        assert parameterization == ce(counts)


@given(counts=class_counts(), gamma=exponents, tau=exponents, normalize=normalizations)
@settings(max_examples=50)
def test_vector_scaling_joins_temperatures_and_logit_adjustment(
    counts: ClassCounts, gamma: float, tau: float, normalize: str
) -> None:
    assert vs(counts, gamma, 0, normalize=normalize) == cdt(counts, gamma, normalize=normalize)
    assert vs(counts, 0, tau, normalize=normalize) == logit_adjusted(counts, tau)


@given(counts=class_counts(), gamma=exponents, normalize=normalizations)
@settings(max_examples=50)
def test_temperatures_by_class_and_by_label_and_weights_are_one_power(
    counts: ClassCounts, gamma: float, normalize: str
) -> None:
    scale = cdt(counts, gamma, normalize=normalize).class_scale
    assert np.array_equal(ldt(counts, gamma, normalize=normalize).label_scale, scale)
    assert np.array_equal(weighted(counts, -gamma, normalize=normalize).weight, scale)


@given(counts=class_counts(), gamma=st.floats(0.01, 2), normalize=normalizations)
@settings(max_examples=50)
def test_vectors_follow_the_order_of_the_counts(counts: ClassCounts, gamma: float, normalize: str) -> None:
    order = np.argsort(counts.values, kind="stable")
    tied = np.diff(counts.values[order]) == 0
    growing = (
        cdt(counts, gamma, normalize=normalize).class_scale,
        -weighted(counts, gamma, normalize=normalize).weight,
        logit_adjusted(counts, gamma).shift,
        -ldam(counts).margin,
    )
    for vector in growing:
        steps = np.diff(vector[order])
        assert (steps[tied] == 0).all()
        assert (steps[~tied] > 0).all()


@given(counts=class_counts(), gamma=exponents)
@settings(max_examples=50)
def test_the_normalisation_changes_nothing_but_the_unit(counts: ClassCounts, gamma: float) -> None:
    mean, top, raw = (cdt(counts, gamma, normalize=kind).class_scale for kind in ("mean", "max", "none"))
    assert mean.mean() == pytest.approx(1, rel=1e-12)
    assert top.max() == 1
    assert raw[np.argmax(counts.values)] == 1
    np.testing.assert_allclose(mean / mean[0], raw / raw[0], rtol=1e-12)
    np.testing.assert_allclose(top / top[0], raw / raw[0], rtol=1e-12)


@given(counts=class_counts(max_count=1000), times=st.integers(2, 1000), gamma=exponents)
@settings(max_examples=30)
def test_only_relative_counts_matter(counts: ClassCounts, times: int, gamma: float) -> None:
    more = ClassCounts(counts.values * times)
    for rule in (cdt, ldt, weighted, vs):
        assert_close(rule(counts, gamma), rule(more, gamma))
    assert_close(ldam(counts), ldam(more))


@given(counts=class_counts(), gamma=exponents, data=st.data())
@settings(max_examples=30)
def test_renaming_the_classes_renames_the_entries(counts: ClassCounts, gamma: float, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(counts.num_classes)))
    for rule in (cdt, ldt, weighted, vs, lambda n, _: ldam(n, scale=2.0)):
        there, here = rule(counts.values[order], gamma), rule(counts, gamma)
        assert_close(there, Parameterization(**{name: np.array(v)[order] for name, v in here.to_dict().items()}))


@given(counts=class_counts(), gamma=exponents, tau=exponents)
@settings(max_examples=30)
def test_the_canonical_form_is_the_same_loss(counts: ClassCounts, gamma: float, tau: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(8, counts.num_classes, generator=generator, dtype=torch.float64)
    labels = torch.arange(8) % counts.num_classes
    for parameterization in (vs(counts, gamma, tau), ldt(counts, gamma), ldam(counts, scale=3.0)):
        given_form, canonical = (
            VSLoss(p, dtype=torch.float64)(logits, labels) for p in (parameterization, parameterization.canonical())
        )
        torch.testing.assert_close(given_form, canonical, rtol=1e-9, atol=1e-12)


def test_weights_of_exponent_one_give_every_class_the_same_total() -> None:
    totals = weighted(COUNTS, 1.0).weight * np.array(COUNTS)
    np.testing.assert_allclose(totals, totals[0], rtol=1e-12)


def test_on_balanced_counts_every_rule_but_margins_is_cross_entropy() -> None:
    balanced = [50] * 5
    expected = losses_of(ce(balanced))
    for parameterization in (weighted(balanced), logit_adjusted(balanced), cdt(balanced, 0.7), ldt(balanced, 0.7)):
        assert losses_of(parameterization) == pytest.approx(expected, rel=1e-12)


def assert_close(one: Parameterization, other: Parameterization) -> None:
    for name, values in one.to_dict().items():
        np.testing.assert_allclose(values, other.to_dict()[name], rtol=1e-9, atol=1e-12, err_msg=name)


# By name


@pytest.mark.parametrize(
    ("rule", "hyperparameters", "expected"),
    [
        ("ce", {}, ce(COUNTS)),
        ("weighted", {"gamma": 0.5, "normalize": "max"}, weighted(COUNTS, 0.5, normalize="max")),
        ("logit_adjusted", {"tau": 2.0}, logit_adjusted(COUNTS, 2.0)),
        ("cdt", {"gamma": 0.5}, cdt(COUNTS, 0.5)),
        ("ldt", {"gamma": 0.5}, ldt(COUNTS, 0.5)),
        ("vs", {"gamma": 0.5, "tau": 2.0}, vs(COUNTS, 0.5, 2.0)),
        ("ldam", {"max_margin": 1.0, "scale": 30.0}, ldam(COUNTS, 1.0, scale=30.0)),
    ],
)
def test_a_rule_by_name_is_the_rule(rule: str, hyperparameters: dict[str, Any], expected: Parameterization) -> None:
    assert make_parameterization(rule, COUNTS, **hyperparameters) == expected


def test_every_rule_has_a_name_and_the_name_of_its_function() -> None:
    assert {name: rule.function.__name__ for name, rule in RULES.items()} == {name: name for name in RULES}
    assert set(RULES) == {"ce", "weighted", "logit_adjusted", "cdt", "ldt", "vs", "ldam"}


@pytest.mark.parametrize("rule", ["ce", "weighted", "logit_adjusted", "ldam"])
def test_defaults_make_a_rule_of_the_counts_alone(rule: str) -> None:
    assert make_parameterization(rule, COUNTS).num_classes == 5


# Bad input


@pytest.mark.parametrize("rule", [weighted, cdt, ldt, vs])
@pytest.mark.parametrize("gamma", [math.nan, math.inf, -math.inf, "high", None])
def test_an_exponent_that_is_not_a_finite_number_is_refused(rule: Any, gamma: Any) -> None:
    with pytest.raises(InputError, match=r"^gamma must be a .*number.*, got '?(nan|-?inf|high|None)"):
        rule(COUNTS, gamma)


@pytest.mark.parametrize("tau", [math.nan, math.inf, "high"])
def test_a_strength_that_is_not_a_finite_number_is_refused(tau: Any) -> None:
    for make in (lambda: logit_adjusted(COUNTS, tau), lambda: vs(COUNTS, 0.5, tau)):
        with pytest.raises(InputError, match=r"^tau must be a"):
            make()


@pytest.mark.parametrize("max_margin", [-0.5, math.nan, math.inf])
def test_a_margin_that_is_negative_or_not_finite_is_refused(max_margin: float) -> None:
    with pytest.raises(InputError, match=r"^max_margin must be a finite number at least 0"):
        ldam(COUNTS, max_margin)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_a_scale_that_is_not_positive_is_refused(scale: float) -> None:
    with pytest.raises(InputError, match=r"^scale must be a finite number above 0"):
        ldam(COUNTS, scale=scale)


@pytest.mark.parametrize("rule", [weighted, cdt, ldt, vs])
@pytest.mark.parametrize(("normalize", "hint"), [("men", "mean"), ("maximum", "max"), ("None", "none")])
def test_an_unknown_normalisation_is_refused_with_the_nearest_name(rule: Any, normalize: str, hint: str) -> None:
    with pytest.raises(InputError, match=f"^normalize must be one of mean, max, none.*did you mean '{hint}'"):
        rule(COUNTS, 0.5, normalize=normalize)


@pytest.mark.parametrize(("rule", "hint"), [("ctd", "cdt"), ("logit_adjustment", "logit_adjusted"), ("CE", "")])
def test_an_unknown_rule_is_refused_with_the_nearest_name(rule: str, hint: str) -> None:
    with pytest.raises(InputError, match=f"^rule must be one of ce, weighted.*got '{rule}'.*{hint}"):
        make_parameterization(rule, COUNTS)


@pytest.mark.parametrize(
    ("rule", "hyperparameters", "culprit"),
    [("ce", {"gamma": 0.5}, "gamma"), ("cdt", {"gamma": 0.5, "tau": 1}, "tau"), ("ldt", {}, "gamma")],
)
def test_hyperparameters_a_rule_does_not_take_are_refused(rule: str, hyperparameters: Any, culprit: str) -> None:
    with pytest.raises(InputError, match=f"^hyperparameters must be those of rule '{rule}', got .*'{culprit}'"):
        make_parameterization(rule, COUNTS, **hyperparameters)


@pytest.mark.parametrize("rule", [weighted, cdt, ldt, vs])
@pytest.mark.parametrize("gamma", [-1e3, 1e3])
@pytest.mark.parametrize("normalize", ["mean", "max", "none"])
def test_scales_beyond_float64_are_refused(rule: Any, gamma: float, normalize: str) -> None:
    with pytest.raises(InputError, match=r"^gamma must keep .* within float64, got .*1000"):
        rule(COUNTS, gamma, normalize=normalize)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_refuses_counts_with_an_empty_class(rule: str) -> None:
    hyperparameters = {"gamma": 0.5} if rule in ("cdt", "ldt", "vs") else {}
    with pytest.raises(InputError, match=r"counts.*0 for class 1"):
        make_parameterization(rule, [5, 0], **hyperparameters)
