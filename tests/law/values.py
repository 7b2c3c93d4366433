"""Attacks on the values that everything starts from: counts, losses, Gram matrices, comparisons."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
from hypothesis import strategies as st

import implicit_geometry as ig
from implicit_geometry.profiles import parse_counts
from implicit_geometry.summary import accuracy_summary, geometry_summary
from law.attack import ORACLE, Attack
from law.cases import VECTORS, Floats, close, draw_ask, draw_counts, seeds
from law.nonsense import nonsense_for

# Counts


def check_step(case: tuple[int, float, float, int]) -> str:
    k, ratio, fraction, largest = case
    made = ig.ClassCounts.step(num_classes=k, imbalance_ratio=ratio, minority_fraction=fraction, max_count=largest)
    minorities, smallest = round(fraction * k), round(Fraction(largest) / Fraction(ratio))
    values = made.values.tolist()
    assert values[: k - minorities] == [largest] * (k - minorities)
    assert all(abs(n - smallest) <= 1 for n in values[k - minorities :]), smallest
    assert made.num_classes == k
    assert made.num_samples == sum(values)
    assert parse_counts(f"step:{k},{ratio!r},{fraction!r}", max_count=largest) == made
    return ORACLE


def check_exponential(case: tuple[int, float, int]) -> str:
    k, ratio, largest = case
    values = ig.ClassCounts.exponential(num_classes=k, imbalance_ratio=ratio, max_count=largest).values.tolist()
    with mpmath.workdps(40):
        exact = [largest * mpmath.mpf(ratio) ** (mpmath.mpf(-c) / (k - 1)) for c in range(k)]
        assert all(
            x * (1 - mpmath.mpf(10) ** -11) - 1 <= n <= x * (1 + mpmath.mpf(10) ** -11)
            for n, x in zip(values, exact, strict=True)
        )
    assert values[0] == largest
    assert values == sorted(values, reverse=True)
    assert values[-1] >= 1
    return ORACLE


def check_zipf(case: tuple[int, int, float]) -> str:
    k, n, exponent = case
    values = ig.ClassCounts.zipf(num_classes=k, num_samples=n, exponent=exponent).values.tolist()
    assert sum(values) == n, (sum(values), n)
    assert min(values) >= 1, values
    assert values == sorted(values, reverse=True), values
    head = [value for value in values if value > 1]
    with mpmath.workdps(40):
        share = [mpmath.mpf(c + 1) ** -mpmath.mpf(exponent) for c in range(len(head))]
        spread = [s * sum(head) / sum(share) for s in share]
        assert all(abs(x - value) <= 2 + x * mpmath.mpf(10) ** -14 for x, value in zip(spread, head, strict=True))
    return ORACLE


def _labels_as(kind: str, labels: list[int]) -> tuple[Any, dict[str, Any]]:
    """Labels in one of the forms that a training set has them, with the options that say which."""
    import pandas as pd
    import torch
    from torch.utils.data import ConcatDataset, DataLoader, StackDataset, Subset, TensorDataset

    tensor = torch.tensor(labels)
    pairs = TensorDataset(torch.zeros(len(labels)), tensor)
    forms: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {
        "list": lambda: (labels, {}),
        "tensor": lambda: (tensor, {}),
        "iterator": lambda: (iter(labels), {}),
        "iterator of samples": lambda: (((0, label) for label in labels), {"column": 1}),
        "series": lambda: (pd.Series(labels), {}),
        "frame": lambda: (pd.DataFrame({"x": 0, "kind": labels}), {"column": "kind"}),
        "loader": lambda: (DataLoader(pairs, 7), {}),
        "samples": lambda: (StackDataset(torch.zeros(len(labels)), tensor), {}),
        "subset": lambda: (Subset(ConcatDataset([pairs, pairs]), range(len(labels), 2 * len(labels))), {}),
        "one-hot": lambda: (np.eye(max(labels) + 1)[labels], {"one_hot": True}),
        "map": lambda: (tensor[None], {"one_hot": False}),
    }
    return forms[kind]() if kind in forms else (np.array(labels, dtype=kind), {})


def check_from_labels(case: tuple[list[int], str]) -> str:
    labels, kind = case
    given, options = _labels_as(kind, labels)
    counted = Counter(labels)
    whole = set(counted) == set(range(max(counted) + 1)) and len(counted) > 1
    try:
        found = ig.ClassCounts.from_labels(given, **options)
    except ig.InputError:
        assert not whole
        raise
    assert whole
    assert found.values.tolist() == [counted[c] for c in range(len(counted))]
    return ORACLE


def check_counts(case: list[int]) -> str:
    counts = ig.ClassCounts(case)
    assert counts.values.tolist() == case
    assert counts.num_samples == sum(case)
    assert close(counts.imbalance_ratio, float(Fraction(max(case), min(case))), 1e-15)
    middle = Fraction(max(case) * min(case))
    assert all(
        mask == (Fraction(n) ** 2 >= middle) or Fraction(n) ** 2 == middle or abs(n * n / middle - 1) < 1e-11
        for n, mask in zip(case, counts.majority.tolist(), strict=True)
    )
    assert parse_counts(",".join(map(str, case))) == counts
    return ORACLE


# Losses


def check_rule(seed: int) -> str:
    rng = np.random.default_rng(seed)
    counts = draw_counts(rng, 6, float(rng.choice([2.0, 5.0, 9.0])))
    rule = str(rng.choice(["ce", "weighted", "logit_adjusted", "cdt", "ldt", "vs", "ldam"]))
    gamma, tau = float(rng.uniform(-5, 5)), float(rng.uniform(-3, 3))
    normalize = str(rng.choice(["mean", "max", "none"]))
    given = {
        "ce": {},
        "weighted": {"gamma": gamma, "normalize": normalize},
        "logit_adjusted": {"tau": tau},
        "cdt": {"gamma": gamma, "normalize": normalize},
        "ldt": {"gamma": gamma, "normalize": normalize},
        "vs": {"gamma": gamma, "tau": tau, "normalize": normalize},
        "ldam": {"max_margin": abs(tau), "scale": abs(gamma) + 0.1},
    }[rule]
    made = ig.make_parameterization(rule, counts, **given)
    assert made == getattr(ig, rule)(counts, **given)
    power = [mpmath.mpf(n) / max(counts) for n in counts]
    expected = {name: [0.0 if name in ("shift", "margin") else 1.0] * len(counts) for name in VECTORS}
    if rule in ("weighted", "cdt", "ldt", "vs"):
        scale = [x ** (-gamma if rule == "weighted" else gamma) for x in power]
        unit = {"mean": mpmath.fsum(scale) / len(scale), "max": max(scale), "none": 1}[normalize]
        name = {"weighted": "weight", "ldt": "label_scale"}.get(rule, "class_scale")
        expected[name] = [float(x / unit) for x in scale]
    if rule in ("logit_adjusted", "vs"):
        expected["shift"] = [float(tau * mpmath.log(mpmath.mpf(n) / sum(counts))) for n in counts]
    if rule == "ldam":
        scale = given["scale"]
        expected["class_scale"] = [scale] * len(counts)
        expected["margin"] = [float(scale * abs(tau) * (mpmath.mpf(min(counts)) / n) ** 0.25) for n in counts]
    for name in VECTORS:
        assert close(getattr(made, name), expected[name], 1e-12, 1e-13), (rule, counts, given, name)
    return ORACLE


def check_parameterization(case: dict[str, list[float]]) -> str:
    made = ig.Parameterization(**case)
    document = json.loads(made.to_json())
    assert ig.Parameterization.from_json(made.to_json()) == made
    assert all(document[name] == made.to_dict()[name] == getattr(made, name).tolist() for name in VECTORS)
    assert all(close(getattr(made, name), values, 0) for name, values in case.items())
    assert made.num_classes == len(next(iter(case.values())))
    repr(made)
    return ORACLE


def loss_values(vectors: Any, logits: Floats) -> Floats:
    """The loss of a sample of every label at given logits, by a plain formula."""
    label = np.arange(logits.size)
    adjusted = np.outer(vectors.label_scale, vectors.class_scale * logits) + vectors.shift
    adjusted[label, label] -= vectors.margin
    peak = adjusted.max(axis=1, keepdims=True)
    total = peak[:, 0] + np.log(np.exp(adjusted - peak).sum(axis=1))
    return np.asarray(vectors.weight * (total - adjusted[label, label]))


def check_canonical(seed: int) -> str:
    ask = draw_ask(seed, everything=True, exponent=1.0)
    loss = ig.Parameterization(**ask.vectors) if ask.vectors else ig.Parameterization.neutral(ask.num_classes)
    found = loss.canonical()
    logits = np.random.default_rng(seed).normal(size=ask.num_classes)
    assert close(loss_values(found, logits), loss_values(loss, logits), 1e-9, 1e-9)
    assert abs(np.log(found.class_scale).mean()) < 1e-12
    assert abs(found.shift.mean()) < 1e-9
    return ORACLE


def check_ridge_from_weight_decay(case: tuple[float, int, float | None]) -> str:
    decay, samples, other = case
    found = ig.ridge_from_weight_decay(decay, samples, embedding_weight_decay=other)
    with mpmath.workdps(40):
        exact = samples * mpmath.sqrt(mpmath.mpf(decay) * mpmath.mpf(decay if other is None else other))
        assert abs(found - exact) <= exact * 1e-14
    return ORACLE


def check_with_weight_decay(case: tuple[list[int], float, str, float | None]) -> str:
    counts, decay, normalization, exponent = case
    found = ig.with_weight_decay(ig.Problem(counts), decay, normalization=normalization, count_exponent=exponent)
    n = np.array(counts, dtype=np.float64)
    assert close(found.ridge, decay * (n.sum() ** 0.5 if normalization == "batch" else n.sum()), 1e-12)
    price = exponent if exponent is not None else float(normalization == "batch")
    assert np.abs(found.embedding_cost / n**price - 1).max() < 1e-12
    return ORACLE


# Gram matrices


def draw_factors(seed: int, reach: float) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    shape = int(rng.integers(2, 9)), int(rng.integers(1, 6))
    size = 10.0 ** rng.uniform(-reach, reach)
    return rng.normal(size=shape) * size, rng.normal(size=shape) * size


def check_gram(seed: int) -> str:
    left, right = draw_factors(seed, 8.0)
    rng = np.random.default_rng(seed + 1)
    k = len(left)
    dense = left @ left.T
    gram = ig.Gram.from_factors(left)
    top = float(np.abs(dense).max())
    i, j = (int(c) for c in rng.integers(0, k, 2))
    norms = np.linalg.norm(left, axis=1)
    cosines = dense / np.outer(norms, norms)
    assert gram.num_classes == k
    assert close(gram.dense(), dense, 1e-12, 1e-12 * top)
    assert close(gram.entry(i, j), dense[i, j], 0, 1e-12 * top)
    assert close(gram.norms(), norms, 1e-12)
    assert close(gram.squared_norms(), norms**2, 1e-12)
    assert close(gram.cosine(i, j), cosines[i, j] if i != j else 1.0, 1e-9, 1e-12)
    assert close(gram.frobenius_norm(), np.linalg.norm(dense), 1e-12)
    factor = float(rng.normal())
    assert close(gram.scaled(factor).dense(), factor * dense, 1e-12, 1e-12 * top)
    assert close(
        gram.minus(ig.Gram.from_dense(right @ right.T)).dense(),
        dense - right @ right.T,
        1e-12,
        1e-11 * (top + float(np.abs(right @ right.T).max())),
    )
    mask = np.arange(k) < rng.integers(1, k)
    summary = gram.block_summary(mask)
    pairs = ~np.eye(k, dtype=bool)

    def mean(rows: Any, columns: Any) -> float:
        chosen = np.outer(rows, columns) & pairs
        return float(cosines[chosen].mean()) if chosen.any() else math.nan

    assert close(summary.norm_ratio, (norms[mask] ** 2).mean() / (norms[~mask] ** 2).mean(), 1e-10)
    for found, expected in (
        (summary.cos_majority, mean(mask, mask)),
        (summary.cos_minority, mean(~mask, ~mask)),
        (summary.cos_between, mean(mask, ~mask)),
    ):
        assert close(found, expected, 1e-9, 1e-11) or (math.isnan(found) and math.isnan(expected))
    return ORACLE


def check_extreme_gram(seed: int) -> str:
    """Vectors of any size: norms and cosines as in exact arithmetic, or a refusal."""
    rng = np.random.default_rng(seed)
    size = 10.0 ** rng.uniform(-320, 308, (int(rng.integers(2, 5)), 1) if rng.random() < 0.5 else ())
    with np.errstate(over="ignore", under="ignore"):
        factor = rng.uniform(-1, 1, (np.size(size) if np.ndim(size) else 3, 2)) * size
    if rng.random() < 0.3:
        factor[0] = 0.0
    gram = ig.Gram.from_factors(factor)
    exact = [[mpmath.mpf(float(x)) for x in row] for row in factor]
    norms = [mpmath.sqrt(mpmath.fdot(row, row)) for row in exact]
    assert close(gram.norms(), [float(x) for x in norms], 1e-12)
    for i, j in ((0, 1), (1, 0), (1, 1)):
        found = gram.cosine(i, j)
        if norms[i] * norms[j] == 0:
            assert math.isnan(found)
        else:
            assert abs(found - mpmath.fdot(exact[i], exact[j]) / norms[i] / norms[j]) < 1e-6
    assert math.isfinite(gram.frobenius_norm())
    return ORACLE


def scaled_distance(a: Floats, b: Floats) -> float:
    return float(np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b)))


def check_compare(seed: int) -> str:
    w, h = draw_factors(seed, 8.0)
    v, g = draw_factors(seed + 1, 8.0)
    one = ig.Geometry.from_factors(w, h)
    if len(v) != len(w):
        v = np.resize(v, w.shape)
        g = np.resize(g, h.shape) * 1.5
    found = ig.compare(one, ig.Geometry.from_factors(v, g))
    assert close(found.classifier, scaled_distance(w @ w.T, v @ v.T), 1e-9, 1e-12)
    assert close(found.embedding, scaled_distance(h @ h.T, g @ g.T), 1e-9, 1e-12)
    assert close(found.cross, scaled_distance(w @ h.T, v @ g.T), 1e-9, 1e-12)
    itself = ig.compare(one, one)
    assert max(itself.classifier, itself.embedding, itself.cross) < 1e-12
    return ORACLE


def averaged(matrix: Floats, group: Any) -> Floats:
    """The average over permutations inside groups, entry by entry."""
    k, average = len(matrix), np.empty_like(matrix)
    for i in range(k):
        for j in range(k):
            mine, theirs = np.flatnonzero(group == group[i]), np.flatnonzero(group == group[j])
            average[i, j] = np.mean([matrix[a, b] for a in mine for b in theirs if (a == b) == (i == j)])
    return average


def check_mean_geometry(seed: int) -> str:
    rng = np.random.default_rng(seed)
    k, d, n = int(rng.integers(2, 9)), int(rng.integers(1, 5)), int(rng.integers(1, 5))
    vectors = 10.0 ** rng.uniform(-8, 8, (n, 2, 1, 1)) * rng.standard_normal((n, 2, k, d))
    found = ig.mean_geometry([ig.Geometry.from_factors(w, h) for w, h in vectors])
    for place, block in enumerate((found.classifier, found.embedding)):
        grams = [pair[place] @ pair[place].T for pair in vectors]
        assert close(block.dense(), np.mean([gram / np.linalg.norm(gram) for gram in grams], axis=0), 1e-9, 1e-12)
    return ORACLE


def check_split(seed: int) -> str:
    rng = np.random.default_rng(seed)
    k, d = int(rng.integers(2, 9)), int(rng.integers(1, 5))
    w, h, v, g = 10.0 ** rng.uniform(-8, 8, (4, 1, 1)) * rng.standard_normal((4, k, d))
    counts = rng.integers(1, 4, k)
    one, other = ig.Geometry.from_factors(w, h), ig.Geometry.from_factors(v, g)
    try:
        found = ig.compare(one, other, groups=ig.Problem(counts) if seed % 2 else counts)
    except ig.InputError:
        assert np.unique(counts).size == k
        raise
    for name, a, b in (("classifier", w @ w.T, v @ v.T), ("embedding", h @ h.T, g @ g.T), ("cross", w @ h.T, v @ g.T)):
        difference = a / np.linalg.norm(a) - b / np.linalg.norm(b)
        average = averaged(difference, counts)
        assert close(getattr(found, name), float(np.linalg.norm(difference)), 1e-9, 1e-12)
        assert close(getattr(found.systematic, name), float(np.linalg.norm(average)), 1e-9, 1e-9)
        assert close(getattr(found.heterogeneity, name), float(np.linalg.norm(difference - average)), 1e-9, 1e-9)
    return ORACLE


def check_geometry(seed: int) -> str:
    w, h = draw_factors(seed, 4.0)
    geometry = ig.Geometry.from_factors(w, h)
    norms = np.linalg.norm(w, axis=1) * np.linalg.norm(h, axis=1)
    assert close(geometry.alignment(), np.einsum("ij,ij->i", w, h) / norms, 1e-10, 1e-13)
    cross = geometry.cross
    assert close(cross.dense(), w @ h.T, 1e-12, 1e-12 * float(np.abs(w @ h.T).max()))
    cosines = w @ h.T / np.outer(np.linalg.norm(w, axis=1), np.linalg.norm(h, axis=1))
    k = len(w)
    assert close([[cross.cosine(c, y) for y in range(k)] for c in range(k)], cosines, 1e-9, 1e-12)
    assert close(cross.alignment(), np.diag(cosines), 1e-10, 1e-13)
    summary = geometry_summary(geometry, ig.ClassCounts(np.arange(1, len(w) + 1)))
    assert all(isinstance(value, float) for value in summary.values())
    repr(geometry)
    return ORACLE


def check_simplex(k: int) -> str:
    etf = ig.simplex_etf(k)
    expected = np.full((min(k, 50),) * 2, -1 / (k - 1))
    np.fill_diagonal(expected, 1.0)
    found = (
        etf.classifier.dense()[:50, :50]
        if k <= 200
        else np.array([[etf.classifier.entry(i, j) for j in range(50)] for i in range(50)])
    )
    assert close(found, expected, 1e-14)
    assert close(etf.alignment(), np.ones(k), 1e-14)
    return ORACLE


def check_accuracy(case: list[tuple[int, int, int]]) -> str:
    counts = [n for n, _, _ in case]
    seen = [s for _, s, _ in case]
    hits = [min(h, s) for _, s, h in case]
    found = accuracy_summary(hits, seen, ig.ClassCounts(counts))
    rates = [h / s for h, s in zip(hits, seen, strict=True)]
    assert close(found["overall"], sum(hits) / sum(seen), 1e-12)
    assert close(found["balanced"], np.mean(rates), 1e-12)
    assert close(found["worst"], min(rates), 1e-12)
    many = [rate for rate, n in zip(rates, counts, strict=True) if n > 100]
    assert close(found["many"], np.mean(many), 1e-12) if many else math.isnan(found["many"])
    return ORACLE


small_counts = st.lists(st.integers(1, 10**6) | st.sampled_from([1, 7, 2**53, 10**9]), min_size=2, max_size=30)
ratios = st.floats(1, 1e9) | st.integers(1, 10**9) | st.sampled_from([1.0, 10.0, 100.0])
sizes = st.integers(2, 60)
largest = st.integers(1, 10**6) | st.sampled_from([5000, 2**53, 10**15])
exponents = st.floats(-3, 3)
positive = st.floats(1e-6, 1e6) | st.sampled_from([1.0, 1e-300, 1e300])


def _vectors(k: int) -> Any:
    finite = st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1e300, -1e300]), min_size=k, max_size=k)
    scale = st.lists(positive, min_size=k, max_size=k)
    return st.fixed_dictionaries(
        {}, optional={name: finite if name in ("shift", "margin") else scale for name in VECTORS}
    ).filter(bool)


COUNTS = {"counts": lambda: [50, 5]}
ATTACKS = [
    Attack("ClassCounts", ("ClassCounts",), small_counts, check_counts, 20),
    Attack(
        "ClassCounts.step",
        ("ClassCounts", "counts profiles"),
        st.tuples(sizes, ratios, st.floats(0.01, 0.99), largest),
        check_step,
        25,
        ("minority_fraction", "imbalance_ratio"),
    ),
    Attack(
        "ClassCounts.exponential",
        ("ClassCounts",),
        st.tuples(sizes, ratios, largest),
        check_exponential,
        20,
        ("imbalance_ratio",),
    ),
    Attack(
        "ClassCounts.zipf",
        ("ClassCounts",),
        st.tuples(
            sizes,
            st.integers(1, 10**9) | st.sampled_from([2**53, 2**53 - 1]),
            st.floats(0, 5) | st.sampled_from([1e-300, 1e300]),
        ),
        check_zipf,
        20,
        ("num_samples",),
    ),
    Attack(
        "ClassCounts.from_labels",
        ("ClassCounts",),
        st.tuples(
            st.lists(st.integers(0, 6), min_size=1, max_size=60)
            | st.lists(st.integers(0, 3), max_size=30).map(lambda tail: [*range(4), *tail]),
            st.sampled_from(
                [
                    *("list", "tensor", "int64", "uint8", "float32", "iterator", "iterator of samples", "series"),
                    *("frame", "loader", "samples", "subset", "one-hot", "map"),
                ]
            ),
        ),
        check_from_labels,
        20,
        ("labels",),
    ),
    Attack(
        "rules",
        ("ce", "weighted", "logit_adjusted", "cdt", "ldt", "vs", "ldam", "make_parameterization"),
        seeds,
        check_rule,
        50,
    ),
    Attack("Parameterization", ("Parameterization",), st.integers(2, 6).flatmap(_vectors), check_parameterization, 25),
    Attack("Parameterization.canonical", ("Parameterization",), seeds, check_canonical, 15),
    Attack(
        "ridge_from_weight_decay",
        ("ridge_from_weight_decay",),
        st.tuples(st.floats(1e-300, 1e300), st.integers(1, 2**53), st.none() | st.floats(1e-300, 1e300)),
        check_ridge_from_weight_decay,
        15,
        ("ridge",),
    ),
    Attack(
        "with_weight_decay",
        ("with_weight_decay",),
        st.tuples(
            st.lists(st.integers(1, 10**6), min_size=2, max_size=9),
            st.floats(1e-12, 1e3),
            st.sampled_from(["batch", "layer", "none"]),
            st.none() | st.floats(-2, 2),
        ),
        check_with_weight_decay,
        15,
    ),
    Attack("Gram", ("Gram", "LowRank", "BlockSummary"), seeds, check_gram, 50),
    Attack("Gram: extremes", ("Gram",), seeds, check_extreme_gram, 15, ("left", "classes", "vectors")),
    Attack("compare", ("compare", "Comparison"), seeds, check_compare, 45),
    Attack("compare by groups", ("compare", "SplitComparison"), seeds, check_split, 30, ("groups",)),
    Attack("Geometry", ("Geometry", "Cross"), seeds, check_geometry, 20),
    Attack("mean_geometry", ("mean_geometry",), seeds, check_mean_geometry, 10),
    Attack("simplex_etf", ("simplex_etf",), st.integers(2, 100_000), check_simplex, 10),
    Attack(
        "accuracy_summary",
        ("accuracy_summary",),
        st.lists(st.tuples(st.integers(1, 10**4), st.integers(1, 100), st.integers(0, 100)), min_size=2, max_size=12),
        check_accuracy,
        10,
    ),
    nonsense_for("ClassCounts", lambda counts: ig.ClassCounts(counts), COUNTS, share=12),
    nonsense_for(
        "ClassCounts.step",
        ig.ClassCounts.step,
        {
            "num_classes": lambda: 4,
            "imbalance_ratio": lambda: 10,
            "minority_fraction": lambda: 0.5,
            "max_count": lambda: 100,
        },
        share=8,
        covers=("ClassCounts",),
        names=("counts",),
    ),
    nonsense_for(
        "ClassCounts.exponential",
        ig.ClassCounts.exponential,
        {"num_classes": lambda: 4, "imbalance_ratio": lambda: 10, "max_count": lambda: 100},
        share=6,
        covers=("ClassCounts",),
    ),
    nonsense_for(
        "ClassCounts.zipf",
        ig.ClassCounts.zipf,
        {"num_classes": lambda: 4, "num_samples": lambda: 100, "exponent": lambda: 1.0},
        share=6,
        covers=("ClassCounts",),
    ),
    nonsense_for(
        "ClassCounts.from_labels",
        ig.ClassCounts.from_labels,
        {
            "labels": lambda: [0, 1, 1],
            "num_classes": lambda: 2,
            "class_names": lambda: ("a", "b"),
            "column": lambda: None,
            "ignore_index": lambda: 7,
            "one_hot": lambda: None,
            "zeros": lambda: "error",
            "progress": lambda: None,
        },
        share=8,
        covers=("ClassCounts",),
    ),
    nonsense_for(
        "parse_counts",
        parse_counts,
        {"text": lambda: "step:4,10", "max_count": lambda: 50},
        share=6,
        covers=("counts profiles",),
        names=("counts", "num_classes", "imbalance_ratio"),
    ),
    nonsense_for(
        "Parameterization",
        ig.Parameterization,
        {name: (lambda: [1.0, 2.0]) for name in VECTORS},
        share=10,
        names=("parameters",),
    ),
    nonsense_for(
        "Parameterization.neutral",
        ig.Parameterization.neutral,
        {"num_classes": lambda: 2},
        share=4,
        covers=("Parameterization",),
    ),
    nonsense_for(
        "Parameterization.from_json",
        ig.Parameterization.from_json,
        {"text": lambda: "{}"},
        share=4,
        covers=("Parameterization",),
    ),
    *(
        nonsense_for(name, getattr(ig, name), COUNTS | given, share=3, names=("gamma",))
        for name, given in {
            "ce": {},
            "weighted": {"gamma": lambda: 0.5, "normalize": lambda: "max"},
            "logit_adjusted": {"tau": lambda: 1.0},
            "cdt": {"gamma": lambda: 0.5, "normalize": lambda: "mean"},
            "ldt": {"gamma": lambda: 0.5, "normalize": lambda: "none"},
            "vs": {"gamma": lambda: 0.5, "tau": lambda: 1.0, "normalize": lambda: "mean"},
            "ldam": {"max_margin": lambda: 0.5, "scale": lambda: 1.0},
        }.items()
    ),
    nonsense_for(
        "make_parameterization",
        ig.make_parameterization,
        COUNTS | {"rule": lambda: "cdt", "gamma": lambda: 0.5},
        share=4,
    ),
    nonsense_for(
        "Rule",
        ig.Rule,
        {
            "function": lambda: ig.cdt,
            "label": lambda: "CDT",
            "exponent": lambda: "gamma",
            "symbol": lambda: "γ",
            "nonnegative": lambda: False,
        },
        share=2,
    ),
    nonsense_for(
        "ridge_from_weight_decay",
        ig.ridge_from_weight_decay,
        {"weight_decay": lambda: 1e-3, "num_samples": lambda: 10, "embedding_weight_decay": lambda: 1e-3},
        share=4,
        names=("ridge",),
    ),
    nonsense_for(
        "with_weight_decay",
        ig.with_weight_decay,
        {
            "problem": lambda: ig.Problem([3, 2]),
            "weight_decay": lambda: 1e-3,
            "normalization": lambda: "batch",
            "count_exponent": lambda: 0.5,
        },
        share=4,
    ),
    *(
        nonsense_for(
            name,
            made,
            {
                "counts": lambda: ig.ClassCounts([2, 1]),
                "class_means": lambda: np.eye(2),
                "embedding": lambda: np.eye(2),
                "class_variance": lambda: np.ones(2),
                **more,
            },
            share=2,
            may_hold_nan=True,
        )
        for name, made, more in (
            ("ClassMeans", ig.ClassMeans, {}),
            ("OnePass", ig.OnePass, {"classifier": lambda: np.eye(2), "bias": lambda: np.ones(2)}),
        )
    ),
    nonsense_for(
        "Gram",
        ig.Gram,
        {
            "diagonal": lambda: [1.0, 1.0],
            "left": lambda: [[1.0], [1.0]],
            "right": lambda: [[1.0], [1.0]],
            "group": lambda: [0, 1],
        },
        share=5,
        names=("parts",),
    ),
    nonsense_for(
        "Gram.from_factors",
        ig.Gram.from_factors,
        {"left": lambda: np.eye(2), "right": lambda: np.eye(2)},
        share=5,
        covers=("Gram",),
    ),
    nonsense_for("Gram.from_dense", ig.Gram.from_dense, {"matrix": lambda: np.eye(2)}, share=3, covers=("Gram",)),
    nonsense_for(
        "Gram methods",
        lambda **given: [
            getattr(ig.Gram.from_factors(np.eye(3)), name)(*([value] if name != "entry" else [value, 0]))
            for name, value in given.items()
        ],
        {
            "scaled": lambda: 1.0,
            "minus": lambda: ig.Gram.from_factors(np.eye(3)),
            "entry": lambda: 0,
            "block_cosines": lambda: [0, 0, 1],
            "block_summary": lambda: [True, True, False],
        },
        share=6,
        covers=("Gram",),
        names=("factor", "other", "i", "groups", "majority", "classes"),
        may_hold_nan=True,
    ),
    nonsense_for(
        "Cross methods",
        lambda c, y: [
            getattr(ig.Geometry.from_factors(np.eye(3), np.eye(3)).cross, name)(c, y) for name in ("entry", "cosine")
        ],
        {"c": lambda: 0, "y": lambda: 1},
        share=3,
        covers=("Cross",),
    ),
    nonsense_for(
        "LowRank",
        ig.LowRank,
        {
            "diagonal": lambda: [1.0, 1.0],
            "left": lambda: [[1.0], [1.0]],
            "right": lambda: [[1.0], [1.0]],
            "group": lambda: [0, 1],
        },
        share=4,
        names=("parts",),
    ),
    nonsense_for(
        "Geometry",
        ig.Geometry,
        {name: (lambda: ig.Gram.from_factors(np.eye(2))) for name in ("classifier", "embedding", "cross")},
        share=4,
        names=("blocks",),
        may_hold_nan=True,
    ),
    nonsense_for(
        "Geometry.from_factors",
        ig.Geometry.from_factors,
        {"classifier": lambda: np.eye(2), "embedding": lambda: np.eye(2)},
        share=4,
        covers=("Geometry",),
        names=("left", "right"),
    ),
    nonsense_for("mean_geometry", ig.mean_geometry, {"geometries": lambda: [ig.simplex_etf(3)]}, share=3),
    nonsense_for("simplex_etf", ig.simplex_etf, {"num_classes": lambda: 4}, share=3),
    nonsense_for(
        "compare",
        ig.compare,
        {
            "geometry_a": lambda: ig.simplex_etf(3),
            "geometry_b": lambda: ig.simplex_etf(3),
            "groups": lambda: [9, 1, 1],
        },
        share=3,
        covers=("SplitComparison",),
    ),
]
