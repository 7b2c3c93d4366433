"""Attacks on predictions: the limit, the ridge, heads with a bias, collapse, design."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

import implicit_geometry as ig
from bias_oracles import loss_gradient
from implicit_geometry.paper.step_formulas import (
    StepProfile,
    cdt_alignment,
    cdt_classifiers,
    cdt_embeddings,
    ldt_geometry,
    sel_matrix,
    sel_singular_values,
    seli_geometry,
)
from law.attack import HELD, ORACLE, REFUSED, Attack
from law.cases import Ask, asks, close, draw_ask, seeds
from law.nonsense import nonsense_for
from law.precise import biased_candidate, largest_entry, limit_of, ridge_bounds
from law.values import scaled_distance
from oracles import DenseGeometry, factor_logits, fenchel_certificate, limit_geometry, precise_limit_geometry
from smoothed_oracles import dense_logits, label_entropy, minimise_smoothed, smoothed_loss

OPTIMAL, COLLAPSED, INACCURATE = ig.Status.OPTIMAL, ig.Status.COLLAPSED, ig.Status.INACCURATE


def blocks(geometry: ig.Geometry) -> DenseGeometry:
    return DenseGeometry(geometry.classifier.dense(), geometry.embedding.dense(), geometry.cross.dense())


def assert_finite(solution: ig.Solution) -> None:
    for name, block in zip(("classifier", "embedding", "cross"), blocks(solution.geometry), strict=True):
        assert np.isfinite(block).all(), f"{name} is not finite"
    certificate = solution.certificate
    assert not any(math.isnan(x) for x in (certificate.primal, certificate.dual, certificate.relative_gap)), certificate
    if certificate.status is not INACCURATE:
        assert math.isfinite(certificate.primal), certificate
        assert certificate.dual <= certificate.primal + 1e-8 * abs(certificate.primal), certificate
    repr(solution)


# The limit without a bias


def check_limit(ask: Ask) -> str:
    """Against a dense singular value decomposition."""
    solution = ask.predict()
    assert_finite(solution)
    assert solution.certificate.status is OPTIMAL, solution.certificate
    expected = limit_geometry(ask.counts, ask.vector("class_scale"), ask.vector("label_scale"))
    for found, dense in zip(blocks(solution.geometry), expected, strict=True):
        assert close(found, dense, 1e-7, 1e-10 * largest_entry(dense))
    return ORACLE


def check_limit_precisely(ask: Ask) -> str:
    """Against 300 digits: every norm to 1e-9."""
    solution = ask.predict()
    assert_finite(solution)
    assert solution.certificate.status is OPTIMAL, solution.certificate
    expected = precise_limit_geometry(ask.counts, ask.vector("class_scale"), ask.vector("label_scale"), digits=300)
    geometry = solution.geometry
    for block, dense in zip((geometry.classifier, geometry.embedding), expected[:2], strict=True):
        assert close(block.squared_norms(), np.diag(dense), 1e-9), (block.squared_norms(), np.diag(dense))
    assert close(geometry.cross.dense(), expected.cross, 1e-9, 1e-12 * largest_entry(expected.cross))
    return ORACLE


# The limit with a free bias


def check_biased_limit(ask: Ask) -> str:
    """Primal value and feasibility from the returned matrices with 60 digits; the optimum where it is known."""
    solution = ask.predict()
    assert_finite(solution)
    certificate = solution.certificate
    assert solution.bias is not None
    assert np.isfinite(solution.bias).all()
    if certificate.status is not OPTIMAL:
        assert certificate.status.remedy
        return HELD
    norm, margin = limit_of(ask, solution.geometry.cross.dense(), solution.bias)
    assert margin > 1 - 1e-6, f"smallest margin {margin}"
    assert certificate.dual <= norm / margin * (1 + 1e-7), (certificate, norm)
    assert close(certificate.primal, norm, 1e-6), (certificate, norm)
    candidate = biased_candidate(ask)
    if candidate.is_optimal:
        assert close(certificate.primal, candidate.nuclear_norm, 1e-7), (certificate, candidate)
        geometry = solution.geometry
        error = np.abs(geometry.cross.dense() - candidate.mean_logits)
        assert (error <= 1e-6 * np.outer(geometry.classifier.norms(), geometry.embedding.norms())).all(), candidate
    squared = solution.geometry.classifier.squared_norms()
    assert close(squared.sum(), certificate.primal, 1e-6), "the classifiers' norms do not add up to the nuclear norm"
    return ORACLE


# A positive ridge


def check_ridge(ask: Ask) -> str:
    """The objective and a Fenchel dual in NumPy from the returned logits."""
    return _check_ridge(ask, ask.predict(), 1e-6)


def _check_ridge(ask: Ask, solution: ig.Solution, tolerance: float) -> str:
    assert_finite(solution)
    certificate, found = solution.certificate, blocks(solution.geometry)
    problem = solution.problem
    root = np.sqrt(problem.counts.values)
    x = found.cross * root
    bounds = fenchel_certificate(x, ask.counts, problem.parameterization, ask.ridge)
    size = abs(bounds.primal)
    assert certificate.dual <= bounds.primal + 1e-8 * size, (certificate, bounds)
    if certificate.status is INACCURATE:
        return HELD
    assert close(certificate.primal, bounds.primal, tolerance), (certificate, bounds)
    assert bounds.dual <= certificate.primal + 1e-8 * size, (certificate, bounds)
    assert bounds.primal - bounds.dual <= tolerance * size, (certificate, bounds)
    if certificate.status is COLLAPSED:
        assert not any(block.any() for block in found)
    expected = x @ x.T
    assert close(found.classifier @ found.classifier, expected, 1e-6, 1e-8 * (largest_entry(expected) + 1e-300))
    return ORACLE


def check_ridge_precisely(ask: Ask) -> str:
    """The same with 60 digits, at ridges down to a hundred-millionth and with strong temperatures."""
    solution = ask.predict()
    assert_finite(solution)
    certificate = solution.certificate
    bounds = ridge_bounds(ask, solution.geometry.cross.dense())
    size = abs(bounds.primal)
    assert certificate.dual <= bounds.primal + 1e-8 * size, (certificate, bounds)
    if certificate.status is INACCURATE:
        return HELD
    assert close(certificate.primal, bounds.primal, 1e-6), (certificate, bounds)
    assert bounds.dual <= certificate.primal + 1e-8 * size, (certificate, bounds)
    return ORACLE


def check_biased_ridge(ask: Ask) -> str:
    """Objective and optimality conditions in NumPy from the returned logits and bias."""
    solution = ask.predict()
    assert_finite(solution)
    certificate = solution.certificate
    assert solution.bias is not None
    assert np.isfinite(solution.bias).all()
    loss, root = solution.problem.parameterization, np.sqrt(ask.counts)
    x = solution.geometry.cross.dense() * root
    total = ask.bias_ridge / 2 * float(solution.bias @ solution.bias) + ask.ridge * float(np.linalg.norm(x, "nuc"))
    for y, n in enumerate(ask.counts):
        adjusted = loss.label_scale[y] * loss.class_scale * (x[:, y] / root[y] + solution.bias) + loss.shift
        adjusted[y] -= loss.margin[y]
        total += n * loss.weight[y] * float(np.log1p(np.exp(np.delete(adjusted - adjusted[y], y)).sum()))
    assert certificate.dual <= total * (1 + 1e-8), (certificate, total)
    if certificate.status is INACCURATE:
        return HELD
    assert close(certificate.primal, total, 1e-6), (certificate, total)
    by_logits, by_bias = loss_gradient(x, solution.bias, ask.counts, loss)
    by_bias = by_bias + ask.bias_ridge * solution.bias
    assert np.linalg.norm(by_logits, 2) <= ask.ridge * (1 + 1e-3), np.linalg.norm(by_logits, 2) / ask.ridge
    assert np.linalg.norm(by_bias) <= 1e-3 * (np.linalg.norm(by_logits) * root.max() + 1e-300), by_bias
    return ORACLE


def check_path(seed: int) -> str:
    ask = draw_ask(seed, most_classes=4, decades=3, ridge=(0.0, 0.1), everything=True)
    ridges = [ask.ridge * 10.0**-power for power in np.random.default_rng(seed).uniform(0, 5, 2)]
    path = ig.ridge_path(ask.counts, ask.problem().parameterization, ridges)
    assert len(path) == len(ridges)
    for ridge, solution in zip(ridges, path, strict=True):
        assert solution.problem.ridge == ridge
        _check_ridge(replace(ask, ridge=ridge), solution, 1e-6)
    return ORACLE


# Soft labels


def draw_soft(seed: int) -> Ask:
    """A problem of the limit or at a ridge, with any head; labels are smoothed, or have a distribution per class."""
    rng = np.random.default_rng(seed)
    ridge, head = (None, (-0.2, 6.0))[int(rng.integers(2))], bool(rng.random() < 0.5)
    few, decades = (3, 2.0) if ridge and rng.random() < 0.3 else (6, 4.0)
    ask = draw_ask(
        int(rng.integers(2**32)),
        most_classes=few,
        decades=decades,
        ridge=ridge,
        bias=head,
        everything=bool(rng.random() < 0.7),
        smoothed=True,
    )
    if rng.random() < 0.6:
        return ask
    shares = 10 ** -rng.uniform(0, rng.choice([1.0, 4.0, 15.0]), (ask.num_classes, ask.num_classes))
    shares = shares / shares.sum(axis=1, keepdims=True)
    return replace(ask, label_smoothing=0.0, label_distribution=[[float(q) for q in row] for row in shares])


def check_soft(ask: Ask) -> str:
    """The limit against dense logits; at a ridge the objective by torch, and the smallest one found by descent."""
    solution = ask.predict()
    assert_finite(solution)
    problem, certificate = solution.problem, solution.certificate
    assert (solution.bias is None) == (not ask.bias)
    found = blocks(solution.geometry)
    if not ask.ridge:
        assert certificate.status is OPTIMAL, certificate
        for block, dense in zip(found, factor_logits(dense_logits(problem), problem.counts.values), strict=True):
            assert close(block, dense, 1e-7, 1e-9 * largest_entry(dense))
        return ORACLE
    bias = np.zeros(ask.num_classes) if solution.bias is None else solution.bias
    loss = float(smoothed_loss(problem, torch.tensor(found.cross.T + bias)))
    decay = ask.bias_ridge / 2 * float(bias @ bias)
    nuclear_norm = float(np.linalg.norm(found.cross * np.sqrt(ask.counts), "nuc"))
    total, rounding = (
        loss - label_entropy(problem) + decay + ask.ridge * nuclear_norm,
        1e-12 * loss + 1e-15 * float(np.max(problem.parameterization.weight) * sum(ask.counts)),
    )
    assert certificate.dual <= total * (1 + 1e-8) + rounding, (certificate, total)
    if certificate.status is INACCURATE:
        return HELD
    assert close(certificate.primal, total, 1e-6, rounding), (certificate, total)
    if ask.num_classes <= 3 and sum(ask.counts) <= 300:
        least = minimise_smoothed(problem).objective
        assert certificate.dual <= least * (1 + 1e-7) + rounding, (certificate, least)
        assert certificate.primal <= least * (1 + 1e-5) + rounding, (certificate, least)
    return ORACLE


# Extremes: right, refused, or a status; never NaN, never a warning


def draw_extreme(seed: int) -> Ask:
    """One or two things beyond all measure, the rest as usual."""
    rng = np.random.default_rng(seed)
    ask = draw_ask(seed, most_classes=4, decades=float(rng.choice([2.0, 9.0])), everything=bool(rng.random() < 0.5))
    k, vectors = ask.num_classes, dict(ask.vectors)
    biased = bool(rng.random() < 0.3)
    ridge, bias_ridge = float(rng.choice([0.0, 1.0])), 0.0
    for what in rng.choice(["ridge", "bias_ridge", "weight", "shift", "margin", "class_scale", "label_scale"], 2):
        decades = float(rng.choice([20.0, 50.0, 150.0, 300.0]))
        if what == "ridge":
            ridge = float(rng.choice([1e-300, 1e300, 5e-324, 1.7e308, 10 ** rng.uniform(-decades, decades)]))
        elif what == "bias_ridge":
            bias_ridge = float(10 ** rng.uniform(-decades, decades)) if biased else 0.0
        elif what in ("shift", "margin"):
            size = 10.0 ** rng.uniform(-decades, decades)
            vectors[what] = [float(x) for x in rng.choice([-size, 0.0, size, 1.0], k)]
        else:
            drawn = 10.0 ** rng.uniform(-decades, decades, k)
            vectors[what] = [float(x) for x in (drawn if rng.random() < 0.5 else np.full(k, drawn[0]))]
    return Ask(ask.counts, vectors, ridge, biased, bias_ridge)


def check_extreme(ask: Ask) -> str:
    solution = ask.predict()
    assert_finite(solution)
    if solution.certificate.status is INACCURATE or ask.bias:
        return HELD
    cross = solution.geometry.cross.dense()
    if ask.ridge == 0:
        expected = precise_limit_geometry(ask.counts, ask.vector("class_scale"), ask.vector("label_scale"), digits=700)
        assert close(cross, expected.cross, 1e-8, 1e-10 * largest_entry(expected.cross))
        return ORACLE
    bounds = ridge_bounds(ask, cross, digits=400)  # weights of 1e120 make odds of 1e-240
    assert close(solution.certificate.primal, bounds.primal, 1e-5), (solution.certificate, bounds)
    assert bounds.dual <= solution.certificate.primal * (1 + 1e-7), (solution.certificate, bounds)
    return ORACLE


# Collapse


def check_collapse_total(ask: Ask) -> str:
    """The total threshold is the operator norm of the loss gradient at zero; just above it all is zero."""
    problem = ask.problem()
    found = ig.collapse_thresholds(problem.counts, problem.parameterization)
    loss, k = problem.parameterization, ask.num_classes
    gradient = np.zeros((k, k))
    for y, n in enumerate(ask.counts):
        adjusted = loss.shift - loss.margin[y] * (np.arange(k) == y)
        odds = np.exp(adjusted - adjusted.max())
        gradient[:, y] = (
            np.sqrt(n)
            * loss.weight[y]
            * loss.label_scale[y]
            * loss.class_scale
            * (odds / odds.sum() - (np.arange(k) == y))
        )
    assert close(found.total, np.linalg.norm(gradient, 2), 1e-9), (found.total, np.linalg.norm(gradient, 2))
    above = replace(ask, ridge=found.total * 1.000001).predict()
    below = replace(ask, ridge=found.total * 0.999).predict()
    assert above.certificate.status is COLLAPSED
    assert below.certificate.status is not COLLAPSED
    assert np.isfinite(found.ridge).all()
    assert (found.ridge > 0).all()
    assert close(found.weight_decay() * sum(ask.counts), found.ridge, 1e-12)
    return ORACLE


def draw_twins(seed: int) -> Ask:
    """Problems in which every class has an equal one."""
    ask = draw_ask(seed, most_classes=3, decades=3, everything=True)
    twice = {name: [x for x in values for _ in (0, 1)] for name, values in ask.vectors.items()}
    return Ask([n for n in ask.counts for _ in (0, 1)], twice)


def check_collapse_within(ask: Ask) -> str:
    """Just above its threshold a group's embeddings coincide, just below they do not."""
    problem = ask.problem()
    found = ig.collapse_thresholds(problem.counts, problem.parameterization)
    index = int(np.argmin(found.ridge)) // 2 * 2
    assert found.exact.all()
    for factor, together in ((1.001, True), (0.97, False)):
        solution = replace(ask, ridge=float(found.ridge[index]) * factor).predict()
        if solution.certificate.status is INACCURATE:
            return HELD
        block = solution.geometry.embedding
        apart = block.entry(index, index) - block.entry(index, index + 1)
        scale = max(block.entry(index, index), 1e-300)
        assert (apart <= 1e-6 * scale) if together else (apart > 1e-6 * scale), (factor, apart, scale)
    return ORACLE


# Design and effective ridge


def draw_design(seed: int) -> tuple[list[int], dict[str, Any]]:
    rng = np.random.default_rng(seed)
    counts = sorted({int(n) for n in 10 ** rng.uniform(0, 3.5, int(rng.integers(2, 6)))} | {1, 2}, reverse=True)
    target = str(rng.choice(["etf", "equal_norms", "equal_angles", "alignment", "norm_ratio", "minority_cosine"]))
    family = str(rng.choice(["ldt", "cdt", "vs", "cdt+ldt"]))
    given: dict[str, Any] = {"target": target, "family": family, "bias": bool(rng.random() < 0.3)}
    if target == "norm_ratio":
        given["value"] = float(rng.uniform(0.5, 2))
    if target == "minority_cosine":
        given["value"] = float(rng.uniform(-0.5, 0.5))
    return counts, given


def check_design(case: tuple[list[int], dict[str, Any]]) -> str:
    """What the loss is said to reach, from a dense singular value decomposition of its limit."""
    counts, given = case
    found = ig.design(counts, **given)
    loss, k = found.parameterization, len(counts)
    if given["bias"]:
        dense = blocks(ig.predict(ig.Problem(counts, loss, bias=True)).geometry)
    else:
        dense = limit_geometry(counts, loss.class_scale, loss.label_scale)
    norms = np.sqrt(np.diag(dense.classifier))
    cosines = dense.classifier / np.outer(norms, norms)
    apart = ~np.eye(k, dtype=bool)
    n = np.array(counts, dtype=np.float64)
    minority = n < math.sqrt(n.min() * n.max())
    etf = np.where(apart, -1 / (k - 1), 1.0)
    unit = dense.classifier / np.trace(dense.classifier) * k
    reached = {
        "etf": lambda: scaled_distance(dense.classifier, etf),
        "equal_norms": lambda: float(np.log(norms).std()),
        "equal_angles": lambda: float(np.sqrt(((cosines - etf)[apart] ** 2).mean())),
        "alignment": lambda: float((np.diag(dense.cross) / norms / np.sqrt(np.diag(dense.embedding))).min()),
        "norm_ratio": lambda: float((norms[~minority] ** 2).mean() / (norms[minority] ** 2).mean()),
        "minority_cosine": lambda: float(cosines[np.outer(minority, minority) & apart].mean()),
    }[found.target]()
    del unit
    assert close(found.reached, reached, 1e-5, 1e-6), (found.reached, reached)
    if "value" in given:
        gap = abs(math.log(reached / given["value"])) if found.target == "norm_ratio" else abs(reached - given["value"])
        assert close(found.residual, gap, 1e-4, 1e-6), (found.residual, gap)
    assert found.exact or found.residual < 1e-5 or found.warnings
    assert all(abs(getattr(loss, name).mean() - 1) < 1e-9 for name in ("class_scale", "label_scale"))
    return ORACLE


def check_effective_ridge(seed: int) -> str:
    """The ridge of a predicted geometry is found again; distances from dense matrices."""
    ask = draw_ask(seed, most_classes=4, decades=2, exponent=0.5, ridge=(0.7, 2.5))
    truth = ask.predict()
    if truth.certificate.status is not OPTIMAL:
        return HELD
    found = ig.effective_ridge(truth.geometry, ask.problem())
    there, here = blocks(found.solution.geometry), blocks(truth.geometry)
    for name, one, other in zip(("classifier", "embedding", "cross"), there, here, strict=True):
        assert close(getattr(found.comparison, name), scaled_distance(one, other), 1e-6, 1e-9)
    assert found.distance == found.comparison.classifier < 1e-4, found.distance
    assert found.at_edge or abs(math.log(found.ridge / ask.ridge)) < 0.05, (found.ridge, ask.ridge)
    return ORACLE


def check_effective_counts(seed: int) -> str:
    """The count exponent of a predicted geometry is found again, from the dense logits of the limit."""
    ask = draw_ask(seed, most_classes=6, decades=2, exponent=0.4)
    counts = np.array(ask.counts, dtype=np.float64)
    if len(set(ask.counts)) < 2 or ask.num_classes < 3:
        return HELD
    exponent = float(np.random.default_rng(seed).uniform(-0.5, 1.5))
    truth = limit_geometry(counts**exponent, ask.vector("class_scale"), ask.vector("label_scale"))
    problem = replace(ask, ridge=0.0).problem()
    measured = ig.predict(replace(problem, embedding_cost=counts**exponent)).geometry
    assert scaled_distance(measured.classifier.dense(), truth.classifier) < 1e-9
    found = ig.effective_counts(measured, problem, fit_ridge=False)
    low, high = found.interval
    assert low <= found.count_exponent <= high
    assert abs(found.count_exponent - exponent) < 1e-3, (found.count_exponent, exponent)
    return ORACLE


def check_nonnegative(ask: Ask) -> str:
    """Nonnegative features in the limit, from dense logits; at a ridge the objective of the returned blocks."""
    problem = replace(ask.problem(), features="nonnegative")
    limit = ig.predict(replace(problem, ridge=0.0))
    n = np.array(ask.counts, dtype=np.float64)
    dense = limit_geometry(n, ask.vector("class_scale"), ask.vector("label_scale")).cross
    norms = np.linalg.norm(dense, axis=0)
    cross, classifier = limit.geometry.cross.dense(), (dense * np.sqrt(n) / norms) @ dense.T
    assert np.abs(cross - dense).max() <= 1e-9 * np.abs(dense).max()
    assert np.abs(limit.geometry.classifier.dense() - classifier).max() <= 1e-8 * np.abs(classifier).max()
    assert close(limit.certificate.primal, float(np.sqrt(n) @ norms), 1e-8)
    try:
        solution = ig.predict(problem)
    except ig.InputError as error:
        return ORACLE if error.argument == "features" else REFUSED
    assert solution.certificate.status in (OPTIMAL, COLLAPSED, ig.Status.DESCENDED), solution
    loss, logits = problem.parameterization, solution.geometry.cross.dense()
    seen = loss.label_scale * (loss.class_scale[:, None] * logits) + loss.shift[:, None] - np.diag(loss.margin)
    losses = np.logaddexp.reduce(seen, axis=0) - seen.diagonal()
    heads, features = (getattr(solution.geometry, name).squared_norms() for name in ("classifier", "embedding"))
    objective = float((n * loss.weight * losses).sum() + problem.ridge / 2 * (heads.sum() + n @ features))
    assert close(solution.certificate.primal, objective, 1e-8), (solution.certificate, objective)
    free = ig.predict(replace(problem, features="free")).certificate
    assert free.dual <= solution.certificate.primal * (1 + 1e-9), (free, solution.certificate)
    return ORACLE


# Closed forms on STEP profiles


def check_step_formulas(case: tuple[int, float, float]) -> str:
    half, ratio, scale = case
    profile = StepProfile(2 * half, ratio, scale)
    dense = sel_matrix(profile) * np.sqrt(profile.per_class(ratio))
    singular = np.linalg.svd(dense, compute_uv=False)
    stated = sorted((value for value, times in sel_singular_values(profile) for _ in range(times)), reverse=True)
    assert close(singular[:-1], stated, 1e-8, 1e-10 * singular[0])
    seli = blocks(seli_geometry(profile))
    k = 2 * half
    for block, matrix in ((cdt_classifiers(profile), seli.classifier), (cdt_embeddings(profile), seli.embedding)):
        stated_entries = (block.majority, block.minority, block.within_majority, block.within_minority, block.between)
        entries = (matrix[0, 0], matrix[-1, -1], matrix[0, 1], matrix[-1, -2], matrix[0, k - 1])
        assert close(stated_entries, entries, 1e-6, 1e-9 * largest_entry(matrix)), (stated_entries, entries)
    assert close(cdt_alignment(profile), (seli.cross[0, 0], seli.cross[-1, -1]), 1e-6, 1e-9 * largest_entry(seli.cross))
    assert np.isfinite(ldt_geometry(profile).classifier.dense()).all()
    return ORACLE


def _problem() -> ig.Problem:
    return ig.Problem([50, 50, 5, 5], ridge=0.1)


PROBLEM = {
    "counts": lambda: [50, 5],
    "parameterization": lambda: None,
    "ridge": lambda: 0.1,
    "bias": lambda: True,
    "bias_ridge": lambda: 0.0,
    "label_smoothing": lambda: 0.0,
    "features": lambda: "free",
    "count_exponent": lambda: 1.0,
    "embedding_cost": lambda: None,
    "label_distribution": lambda: [[0.9, 0.1], [0.2, 0.8]],
}
LOSS = ("parameterization",)
ATTACKS = [
    Attack(
        "predict: limit",
        ("predict", "Problem", "Solution", "Certificate", "Status"),
        asks(most_classes=12),
        check_limit,
        150,
    ),
    Attack(
        "predict: limit, any ratio",
        ("predict",),
        asks(most_classes=4, decades=9, exponent=2.5),
        check_limit_precisely,
        35,
    ),
    Attack(
        "predict: limit with bias",
        ("predict",),
        asks(most_classes=5, exponent=1.0, bias=True).map(lambda ask: replace(ask, bias=True)),
        check_biased_limit,
        25,
    ),
    Attack(
        "predict: limit with bias, any ratio",
        ("predict",),
        asks(most_classes=5, decades=9, exponent=3.0).map(lambda ask: replace(ask, bias=True)),
        check_biased_limit,
        25,
        ("parameterization", "problem"),
    ),
    Attack("predict: ridge", ("predict",), asks(ridge=(-0.2, 4.0), everything=True), check_ridge, 45),
    Attack(
        "predict: ridge, any ratio",
        ("predict",),
        asks(most_classes=4, decades=9, exponent=1.5, ridge=(0.0, 8.0), everything=True),
        check_ridge_precisely,
        35,
        LOSS,
    ),
    Attack(
        "predict: ridge with bias",
        ("predict",),
        asks(most_classes=5, ridge=(-0.2, 4.0), bias=True, everything=True).map(lambda ask: replace(ask, bias=True)),
        check_biased_ridge,
        35,
    ),
    Attack("predict: soft labels", ("predict",), seeds.map(draw_soft), check_soft, 20, ("margin",)),
    Attack("predict: extremes", ("predict",), seeds.map(draw_extreme), check_extreme, 30, None),
    Attack("predict: limit, many classes", ("predict",), asks(most_classes=150, exponent=0.8), check_limit, 10),
    Attack(
        "predict: nonnegative features",
        ("predict",),
        asks(most_classes=6, decades=3, ridge=(0.2, 4.0), everything=True),
        check_nonnegative,
        6,
    ),
    Attack("ridge_path", ("ridge_path",), seeds, check_path, 6),
    Attack(
        "collapse_thresholds: total",
        ("collapse_thresholds", "CollapseThresholds"),
        asks(most_classes=5, everything=True),
        check_collapse_total,
        15,
    ),
    Attack("collapse_thresholds: groups", ("collapse_thresholds",), seeds.map(draw_twins), check_collapse_within, 8),
    Attack("design", ("design", "Design"), seeds.map(draw_design), check_design, 20, ("counts", "family")),
    Attack("effective_counts", ("effective_counts", "EffectiveCounts"), seeds, check_effective_counts, 2),
    Attack("effective_ridge", ("effective_ridge", "EffectiveRidge"), seeds, check_effective_ridge, 1),
    Attack(
        "STEP formulas",
        ("STEP formulas",),
        st.tuples(st.integers(2, 8), st.floats(1, 1e4), st.floats(0.1, 10)),
        check_step_formulas,
        15,
    ),
    nonsense_for("Problem", ig.Problem, PROBLEM, share=8),
    nonsense_for("predict", ig.predict, {"problem": _problem}, share=4),
    nonsense_for(
        "ridge_path",
        ig.ridge_path,
        {
            "counts": lambda: [50, 5],
            "parameterization": lambda: None,
            "ridges": lambda: [0.1],
        },
        share=4,
    ),
    nonsense_for(
        "collapse_thresholds",
        ig.collapse_thresholds,
        {
            "counts": lambda: [50, 50],
            "parameterization": lambda: None,
        },
        share=4,
        may_hold_nan=True,
    ),
    nonsense_for(
        "CollapseThresholds methods",
        lambda **given: [getattr(ig.collapse_thresholds([50, 5]), name)(value) for name, value in given.items()],
        {"weight_decay": lambda: 10, "smallest_surviving_count": lambda: 1e-3},
        share=3,
        covers=("CollapseThresholds",),
        names=("num_samples",),
    ),
    nonsense_for(
        "design",
        ig.design,
        {
            "counts": lambda: [50, 5],
            "target": lambda: "etf",
            "family": lambda: "ldt",
            "value": lambda: None,
            "free": lambda: False,
            "weight_decay": lambda: 1e-3,
            "bias": lambda: True,
            "label_smoothing": lambda: 0.0,
        },
        share=4,
        names=("ridge",),
    ),
    nonsense_for(
        "effective_counts",
        ig.effective_counts,
        {"measured": lambda: _GEOMETRY, "problem": _problem, "fit_ridge": lambda: False},
        share=2,
        names=("counts", "problem"),
    ),
    nonsense_for(
        "effective_ridge",
        ig.effective_ridge,
        {"measured": lambda: _GEOMETRY, "problem": _problem, "block": lambda: "classifier"},
        share=2,
    ),
    nonsense_for(
        "StepProfile",
        lambda **given: sel_singular_values(StepProfile(**given)),
        {
            "num_classes": lambda: 4,
            "imbalance_ratio": lambda: 10.0,
            "scale_ratio": lambda: 2.0,
            "minority_fraction": lambda: 0.5,
        },
        share=4,
        covers=("STEP formulas",),
    ),
    nonsense_for(
        "STEP formulas",
        lambda profile: [formula(profile) for formula in (sel_matrix, seli_geometry, cdt_classifiers)],
        {"profile": lambda: StepProfile(4, 10.0)},
        share=2,
        covers=("STEP formulas",),
    ),
]
_GEOMETRY = ig.predict(_problem()).geometry
