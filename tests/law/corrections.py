"""Attacks on what serves at test time and while a network trains: corrections, calibration, accuracies, watching."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from torch import nn

import implicit_geometry as ig
from implicit_geometry.nn import (
    CorrectedLogits,
    DeferredLoss,
    GeometryWatch,
    LongTailAccuracy,
    VSLoss,
    calibration,
    reliability,
    tau_normalized,
)
from law.attack import HELD, ORACLE, Attack
from law.cases import Ask, close, draw_ask, draw_counts, seeds
from law.nonsense import nonsense_for


def _drawn(seed: int) -> tuple[Any, Ask, np.ndarray]:
    rng = np.random.default_rng(seed)
    ask = draw_ask(rng, most_classes=6, decades=6, exponent=0.5)
    return rng, ask, rng.uniform(0.1, 5) * rng.normal(size=(7, ask.num_classes))


def check_link(seed: int) -> str:
    """The probabilities solve the equations of the least expected loss, written with loops over pairs."""
    _, ask, logits = _drawn(seed)
    loss = ask.problem().parameterization
    p = ig.logit_correction(ask.counts, loss, "train").probabilities(logits)
    assert close(p.sum(1), np.ones(7), 1e-9)
    for z, row in zip(logits, p, strict=True):
        columns = loss.label_scale[:, None] * loss.class_scale * z + loss.shift - np.diag(loss.margin)
        flow = softmax(columns, axis=1)  # row y: the softmax of a sample of label y
        v = row * loss.weight * loss.label_scale
        assert np.abs(v @ flow - v).max() <= 1e-8 * np.abs(v).max()
    return ORACLE


def check_prior(seed: int) -> str:
    """A change of prior multiplies the probabilities."""
    rng, ask, logits = _drawn(seed)
    q = rng.dirichlet(np.ones(ask.num_classes))
    correction = ig.logit_correction(ask.counts, ask.problem().parameterization, "train")
    before, after = correction.probabilities(logits), correction.with_prior(q).probabilities(logits)
    with np.errstate(divide="ignore"):
        expected = softmax(np.log(before) + np.log(q) - np.log(np.array(ask.counts) / sum(ask.counts)), axis=1)
    assert close(after, expected, 1e-6)
    tensor = correction.with_prior(q).probabilities(torch.tensor(logits))
    assert close(tensor.numpy(), after, 1e-9)
    return ORACLE


def check_extremes(case: tuple[list[int], float, str]) -> str:
    counts, size, rule = case
    given: dict[str, float] = {"gamma": 0.3} if rule in ("cdt", "ldt", "vs") else {}
    loss = ig.make_parameterization(rule, counts, **given)
    logits = size * np.random.default_rng(0).normal(size=(5, len(counts)))
    for eps in (0.0, 0.1):
        p = ig.logit_correction(counts, loss, label_smoothing=eps).probabilities(logits)
        assert np.isfinite(p).all()
        assert close(p.sum(1), np.ones(5), 1e-9)
    return HELD


def check_fit(seed: int) -> str:
    rng = np.random.default_rng(seed)
    counts = np.array(draw_counts(rng, 5, 4))
    k = len(counts)
    logits, labels = 2 * rng.normal(size=(60, k)), rng.integers(0, k, 60)
    found = ig.fit_logit_correction(logits, labels, counts)
    log_pi = np.log(counts / counts.sum())
    share = np.bincount(labels, minlength=k)

    def loss(inverse: float, tau: float) -> float:
        rows = log_softmax(inverse * logits - tau * log_pi, axis=1)
        return float(-np.mean([rows[i, y] / share[y] for i, y in enumerate(labels)]))

    reached = loss(1 / found.temperature, found.tau)
    least = 1e-3 / logits.std()  # the smallest 1 / temperature there is
    for step in (1e-3, -1e-3):
        assert reached <= loss(max(1 / found.temperature + step, least), found.tau) + 1e-9
        assert reached <= loss(1 / found.temperature, found.tau + step) + 1e-9
    return ORACLE


def check_estimate(seed: int) -> str:
    _, ask, logits = _drawn(seed)
    correction = ig.logit_correction(ask.counts, ask.problem().parameterization)
    prior = ig.estimate_prior(logits, correction)
    likelihood = correction.with_prior("balanced").probabilities(logits)
    slope = (likelihood / (likelihood @ prior)[:, None]).mean(0)  # of the mean log-likelihood, which is concave
    assert close(float(prior.sum()), 1.0, 1e-9)
    assert slope.max() <= 1 + 1e-5
    return ORACLE


def check_calibration(seed: int) -> str:
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(1, 30)), int(rng.integers(2, 6))
    logits, labels = 3 * rng.normal(size=(n, k)), rng.integers(0, k, n)
    found, curve = calibration(logits, labels), reliability(logits, labels)
    p = softmax(logits, axis=1)
    assert close(found.nll, float(-np.mean(np.log(p[np.arange(n), labels]))), 1e-9)
    assert close(found.accuracy, float(np.mean(p.argmax(1) == labels)), 1e-12)
    assert close(found.brier, float(np.mean(np.sum((p - np.eye(k)[labels]) ** 2, 1))), 1e-9)
    assert close(float(curve.share.sum()), 1.0, 1e-12)
    assert abs(found.ece - float(curve.share @ np.abs(curve.accuracy - curve.confidence))) < 1e-6
    return ORACLE


def check_corrected(seed: int) -> str:
    _, ask, logits = _drawn(seed)
    correction = ig.logit_correction(ask.counts, ask.problem().parameterization)
    found = CorrectedLogits(correction)(torch.tensor(logits).float())
    expected = correction.apply(logits)
    assert close(softmax(found.double().numpy(), axis=1), softmax(expected, axis=1), 1e-2)
    head = nn.Linear(3, 4)
    rows = tau_normalized(head, 1.0).weight.detach().double()
    assert close(rows.norm(dim=1).numpy(), np.ones(4), 1e-5)
    return ORACLE


def check_long_tail(seed: int) -> str:
    rng = np.random.default_rng(seed)
    counts = draw_counts(rng, 6, 4)
    k = len(counts)
    logits, labels = torch.tensor(rng.normal(size=(20, k))), torch.tensor(rng.integers(0, k, 20))
    metric = LongTailAccuracy(counts, num_bootstraps=20)
    metric.update(logits, labels)
    found = {name: value.item() for name, value in metric.compute().items()}
    rates = [(logits[labels == c].argmax(1) == c).double().mean().item() for c in sorted(set(labels.tolist()))]
    assert close(found["balanced"], float(np.mean(rates)), 1e-6)
    assert close(found["worst"], min(rates), 1e-6)
    assert found["balanced/low"] <= found["balanced/high"]
    return ORACLE


def check_deferred(case: tuple[list[int], int, int, int]) -> str:
    counts, start, ramp, epoch = case
    late = ig.vs(counts, gamma=0.3)
    criterion = DeferredLoss(late, start=start, ramp=ramp)
    criterion.set_epoch(epoch)
    progress = float(epoch >= start) if ramp == 0 else min(max((epoch - start) / ramp, 0), 1)
    k = len(counts)
    between = ig.Parameterization(class_scale=late.class_scale**progress, shift=late.shift * progress)
    logits, labels = torch.linspace(-1, 1, 4 * k, dtype=torch.float64).view(4, k), torch.arange(4) % k
    assert close(criterion(logits, labels).item(), VSLoss(between)(logits, labels).item(), 1e-9)
    again = DeferredLoss(late, start=start, ramp=ramp)
    again.load_state_dict(criterion.state_dict())
    assert again.progress == criterion.progress
    return ORACLE


def check_watch(seed: int) -> str:
    rng = np.random.default_rng(seed)
    k, d, n = int(rng.integers(2, 6)), int(rng.integers(2, 7)), 30
    model = nn.Sequential(nn.Linear(d, k, bias=bool(rng.integers(0, 2))))
    embeddings = torch.tensor(rng.normal(size=(n, d)), dtype=torch.float32)
    labels = torch.tensor(np.concatenate([np.arange(k), rng.integers(0, k, n - k)]))
    watch = GeometryWatch(model, early_warning=False)
    with watch.batch(labels):
        logits = model(embeddings)
    row = watch.end_epoch()
    assert close(row["train_overall"], float((logits.argmax(1) == labels).double().mean()), 1e-9)
    weight = model[0].weight.detach().double().numpy()
    cosines = weight @ weight.T / np.outer(*[np.linalg.norm(weight, axis=1)] * 2) - 3 * np.eye(k)
    assert -1 - 1e-9 <= row["closest_cosine"] <= cosines.max() + 1e-6
    assert not math.isnan(row["cdnv"])
    return ORACLE


def _applied(logits: Any, axis: Any) -> Any:
    scores = ig.logit_correction([5, 2]).apply(logits, axis=axis)
    return None if getattr(scores, "is_meta", False) else scores  # a meta tensor has no entries to look at


_counts = st.lists(st.integers(1, 10**6), min_size=2, max_size=6)
_LOGITS = {"logits": lambda: [[1.0, 0.0], [0.0, 1.0], [0.2, 0.1]], "labels": lambda: [0, 1, 1]}

ATTACKS: tuple[Attack, ...] = (
    Attack("logit_correction: stationary", ("logit_correction", "LogitCorrection"), seeds, check_link, 20),
    Attack("logit_correction: priors", ("logit_correction",), seeds, check_prior, 10),
    Attack(
        "logit_correction: extremes",
        ("logit_correction",),
        st.tuples(
            _counts, st.sampled_from([1e-3, 1.0, 40.0, 1e3, 1e6]), st.sampled_from(["ce", "cdt", "ldt", "vs", "ldam"])
        ),
        check_extremes,
        8,
    ),
    Attack("fit_logit_correction", ("fit_logit_correction",), seeds, check_fit, 8, ("logits", "labels")),
    Attack("estimate_prior", ("estimate_prior",), seeds, check_estimate, 6, ("logits",)),
    Attack(
        "calibration", ("calibration", "Calibration", "reliability", "ReliabilityCurve"), seeds, check_calibration, 8
    ),
    Attack("CorrectedLogits", ("CorrectedLogits", "tau_normalized"), seeds, check_corrected, 6),
    Attack("LongTailAccuracy", ("LongTailAccuracy",), seeds, check_long_tail, 8),
    Attack(
        "DeferredLoss",
        ("DeferredLoss",),
        st.tuples(_counts, st.integers(0, 9), st.integers(0, 9), st.integers(0, 20)),
        check_deferred,
        6,
    ),
    Attack("GeometryWatch", ("GeometryWatch",), seeds, check_watch, 8),
    nonsense_for(
        "logit_correction",
        ig.logit_correction,
        {
            "counts": lambda: [5, 2],
            "parameterization": lambda: ig.ce([5, 2]),
            "prior": lambda: [0.5, 0.5],
            "label_smoothing": lambda: 0.1,
            "sampling": lambda: [0.5, 0.5],
        },
        share=8,
    ),
    nonsense_for(
        "LogitCorrection.apply",
        _applied,
        {"logits": lambda: [[1.0, 0.0]], "axis": lambda: -1},
        share=6,
        covers=("LogitCorrection",),
    ),
    nonsense_for(
        "fit_logit_correction",
        ig.fit_logit_correction,
        {**_LOGITS, "counts": lambda: [5, 2], "prior": lambda: "balanced"},
        share=6,
        names=("labels", "logits"),
    ),
    nonsense_for(
        "estimate_prior",
        ig.estimate_prior,
        {"logits": lambda: [[1.0, 0.0]], "correction": lambda: ig.logit_correction([5, 2])},
        share=4,
    ),
    nonsense_for("calibration", calibration, {**_LOGITS, "correction": lambda: None, "bins": lambda: 5}, share=5),
    nonsense_for("CorrectedLogits", CorrectedLogits, {"correction": lambda: ig.logit_correction([5, 2])}, share=3),
    nonsense_for("tau_normalized", tau_normalized, {"head": lambda: nn.Linear(2, 2), "tau": lambda: 1.0}, share=3),
    nonsense_for(
        "LongTailAccuracy",
        LongTailAccuracy,
        {"counts": lambda: [5, 2], "many": lambda: 100, "few": lambda: 20, "confidence": lambda: 0.9},
        share=4,
    ),
    nonsense_for(
        "DeferredLoss",
        DeferredLoss,
        {"parameterization": lambda: ig.ce([5, 2]), "start": lambda: 1, "ramp": lambda: 1, "early": lambda: None},
        share=4,
    ),
    nonsense_for(
        "GeometryWatch",
        GeometryWatch,
        {
            "model": lambda: nn.Linear(2, 2),
            "problem": lambda: None,
            "head": lambda: None,
            "ignore_index": lambda: -100,
            "class_names": lambda: (),
        },
        share=4,
    ),
)
