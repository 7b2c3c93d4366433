"""The paper's corollaries and tables for STEP profiles: limits R -> infinity, and every printed number beside ours.

With D = R^gamma the four numbers of either factor converge for R -> infinity; the limits here are those of Lemmas D.1,
D.2 and of Cor. 1.5. (The embedding rows of the paper's Table 1 contradict Lemma D.2, which a decomposition confirms.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass
from math import inf, isnan, sqrt

import numpy as np

from implicit_geometry._validate import LARGEST_COUNT, number, whole_number
from implicit_geometry.counts import ClassCounts
from implicit_geometry.gram import BlockSummary
from implicit_geometry.paper.step_formulas import (
    StepProfile,
    cdt_alignment,
    cdt_classifiers,
    cdt_embeddings,
    even_classes,
    ldt_ratios,
    sel_singular_values,
)
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem, Solution
from implicit_geometry.theory.limit.plain import limit_solution

GAMMAS = (-1.0, -0.5, 0.0, 0.1, 1 / 6, 0.25, 0.5, 1.0)
"""Exponents at and between all thresholds of the limits."""

SUMMARY_NAMES = ("|{0}_maj|^2/|{0}_min|^2", "cos({0}_maj, {0}_maj')", "cos({0}_min, {0}_min')", "cos({0}_maj, {0}_min)")
"""What a :class:`BlockSummary` holds, to be formatted with the name of the factor."""


@dataclass(frozen=True)
class StepLimits:
    """The four numbers of both factors in the limit of an infinite imbalance ratio (``inf`` where a ratio diverges)."""

    classifier: BlockSummary
    embedding: BlockSummary


def cdt_limits(num_classes: int, gamma: float) -> StepLimits:
    """CDT's geometry for R -> infinity, D = R^gamma: the limits of Lemmas D.1 and D.2.

    Minority classifiers merge (cosine 1) for gamma < 1/6; majority embeddings are orthogonal for gamma > 0.

    Raises:
        InputError: not an even number of at least 4 classes, or ``gamma`` is not finite.

    Source: Behnia et al. (2023), Corollary 1.4 and Tables 1, 2 (embedding rows: from Lemma D.2, not from Table 1).

    Example:
        >>> [cdt_limits(10, gamma).classifier.cos_minority for gamma in (0.1, 1 / 6, 0.2)]
        [1.0, 0.0, -0.25]
    """
    k, gamma = even_classes(num_classes), number("gamma", gamma)
    etf, h = -2 / (k - 2), 1 / sqrt(2)  # etf: the cosine of a simplex of k / 2 vectors
    norm = _by_case(gamma, {0.0: (inf, (k - 2) / h + 1), 0.5: (inf, k / (k - 2))}, 0.0)
    majority = _by_case(gamma, {0.0: (etf, (-2 + h) / (k - 2 + h))}, 0.0)
    minority = _by_case(gamma, {1 / 6: (1.0, 0.0)}, etf)
    between = _by_case(gamma, {0.0: (0.0, -1 / sqrt((k - 2) / h + 1)), 1 / 6: (-sqrt(2 / k), -2 / k)}, 0.0)
    return StepLimits(
        BlockSummary(norm, majority, minority, between),
        BlockSummary(
            norm_ratio=_by_case(gamma, {-0.5: (inf, 1.0)}, 0.0),
            cos_majority=_by_case(gamma, {0.0: (etf, (2 - 2 * sqrt(2)) / (2 + sqrt(2) * (k - 2)))}, 0.0),
            cos_minority=etf,
            cos_between=0.0,
        ),
    )


def ldt_limits(num_classes: int, gamma: float) -> StepLimits:
    """LDT's geometry for R -> infinity, D = R^gamma: the limits of Cor. 1.5 and of Lemmas D.1, D.2 at R / D^2.

    Minority classifiers merge for gamma < 1/2, majority classifiers for gamma > 1/2; at 1/2 both are a simplex ETF.

    Raises:
        InputError: not an even number of at least 4 classes, or ``gamma`` is not finite.

    Source: Behnia et al. (2023), Corollary 1.3 and Tables 1, 2.

    Example:
        >>> [round(ldt_limits(10, gamma).classifier.cos_minority, 3) for gamma in (0.4, 0.5, 0.6)]
        [1.0, -0.111, -0.148]
    """
    k, gamma = even_classes(num_classes), number("gamma", gamma)
    etf, whole, h = -2 / (k - 2), -1 / (k - 1), 1 / sqrt(2)
    spread = (k - 2) / h + 1
    apart, close = (-2 + h) / (k - 2 + h), (-2 + 2 * h) / (k - 2 + 2 * h)
    return StepLimits(
        BlockSummary(
            norm_ratio=_by_case(gamma, {0.5: (spread, 1.0)}, 1 / spread),
            cos_majority=_by_case(gamma, {0.5: (apart, whole)}, 1.0),
            cos_minority=_by_case(gamma, {0.5: (1.0, whole)}, apart),
            cos_between=_by_case(gamma, {0.5: (-1 / sqrt(spread), whole)}, -1 / sqrt(spread)),
        ),
        BlockSummary(
            norm_ratio=_by_case(gamma, {-0.5: (inf, (k - 2 + 2 * h) / (k - 2))}, 0.0),
            cos_majority=_by_case(gamma, {0.5: (close, whole)}, etf),
            cos_minority=_by_case(gamma, {0.5: (etf, whole)}, close),
            cos_between=_by_case(gamma, {0.5: (0.0, whole)}, 0.0),
        ),
    )


def _by_case(gamma: float, cases: dict[float, tuple[float, float]], above: float) -> float:
    """The value for gamma, given for each threshold in rising order the value below it and the value at it."""
    for threshold, (below, at) in cases.items():
        if gamma < threshold:
            return below
        if gamma == threshold:
            return at
    return above


# Every printed number beside ours


@dataclass(frozen=True)
class StepRow:
    """One number of the paper.

    Attributes:
        source: where the paper gives it.
        loss: "cdt" or "ldt"; of errata also "ce", "la" and "wce".
        gamma: D = R^gamma; tau of "la".
        quantity: what it is.
        paper: the value of the paper's formula.
        ours: the value of :func:`~implicit_geometry.theory.limit.plain.limit_solution`.
    """

    source: str
    loss: str
    gamma: float
    quantity: str
    paper: float
    ours: float


def formula_rows(num_classes: int = 10, imbalance_ratio: int = 10, gammas: Iterable[float] = GAMMAS) -> list[StepRow]:
    """Lemmas B.1, D.1, D.2, D.3 (CDT) and Cor. 1.5 (LDT) for a whole R, half of the classes being minorities.

    Raises:
        InputError: not an even number of at least 4 classes, R is not whole, or an exponent is not finite.

    Example:
        >>> row = formula_rows(gammas=[0.5])[1]
        >>> row.quantity, round(row.paper, 3), round(row.ours, 3)
        ('|w_maj|^2/|w_min|^2', 1.2, 1.2)
    """
    ratio = whole_number("imbalance_ratio", imbalance_ratio, minimum=1)
    return [
        row
        for gamma in gammas
        for row in (*_cdt_rows(num_classes, ratio, gamma), *_ldt_rows(num_classes, ratio, gamma))
    ]


def balancing_rows(num_classes: int = 10, imbalance_ratio: int = 10, minority_fraction: float = 0.5) -> list[StepRow]:
    """Cor. 1.1 and 1.2, the ratio sqrt(R): CDT aligns classifiers and embeddings, LDT makes the classifiers an ETF.

    Raises:
        InputError: a number is out of range.

    Example:
        >>> [round(row.ours, 12) for row in balancing_rows(10, 10, 0.2)[:3]]
        [1.0, 1.0, 1.0]
    """
    ratio = whole_number("imbalance_ratio", imbalance_ratio, minimum=1)
    cdt, ldt = (solved(loss, num_classes, ratio, 0.5, minority_fraction) for loss in ("cdt", "ldt"))
    aligned = [
        StepRow("Cor. 1.1", "cdt", 0.5, quantity, 1.0, float(cdt.geometry.alignment()[index]))
        for quantity, index in (("cos(w_maj, h_maj)", 0), ("cos(w_min, h_min)", -1))
    ]
    etf = (1.0, *[-1 / (num_classes - 1)] * 3)
    rows = _summary_rows("Cor. 1.2", "ldt", 0.5, "w", etf, summaries(ldt)[0])
    return aligned + [row for row in rows if not isnan(row.ours)]  # a single class has no cosine within its group


def limit_rows(num_classes: int = 10, gammas: Iterable[float] = GAMMAS, imbalance_ratio: int = 10**12) -> list[StepRow]:
    """Cor. 1.3, 1.4 and Tables 1, 2: the limits R -> infinity beside our values at a large R.

    Those of CDT's embeddings are derived from Lemma D.2, which the paper's Table 1 contradicts.

    Raises:
        InputError: not an even number of at least 4 classes, R is not whole, or an exponent is not finite.

    Example:
        >>> row = limit_rows(gammas=[1.0])[2]
        >>> row.quantity, row.paper, round(row.ours, 6)
        ("cos(w_min, w_min')", -0.25, -0.25)
    """
    ratio = whole_number("imbalance_ratio", imbalance_ratio, minimum=2)
    rows = []
    for gamma in gammas:
        for loss, limits in (("cdt", cdt_limits(num_classes, gamma)), ("ldt", ldt_limits(num_classes, gamma))):
            classifier, embedding = summaries(solved(loss, num_classes, ratio, gamma))
            rows += _summary_rows("Table 1, 2", loss, gamma, "w", astuple(limits.classifier), classifier)
            source = "Lemma D.2" if loss == "cdt" else "Table 1, 2"  # Table 1 contradicts it
            rows += _summary_rows(source, loss, gamma, "h", astuple(limits.embedding), embedding)
    return rows


def norm_rows(num_classes: int = 10) -> list[StepRow]:
    """What the angles of Tables 1 and 2 do not say: norms that diverge, and limits that are far at any R of practice.

    CDT's ratio of classifier norms diverges for gamma < 1/2 (but for plain cross-entropy, gamma = 0) and vanishes for
    gamma > 1/2; at 1/2 it is k / (k - 2). LDT's angles are far from their limit near gamma = 1/2 even at R = 1e24.

    Raises:
        InputError: not an even number of at least 4 classes.

    Example:
        >>> row = norm_rows()[-1]
        >>> row.quantity, row.paper, round(row.ours, 3)
        ("cos(w_min, w_min') at R = 1e+24", 1.0, 0.946)
    """
    ratios = [("cdt", gamma, 1e12, "norm_ratio") for gamma in (0.0, 1 / 6, 0.25, 0.5, 1.0)]
    angles = [("ldt", 0.4, ratio, "cos_minority") for ratio in (1e12, 1e24)]
    rows = []
    for loss, gamma, ratio, field in (*ratios, *angles):
        limits = cdt_limits(num_classes, gamma) if loss == "cdt" else ldt_limits(num_classes, gamma)
        name = SUMMARY_NAMES[list(asdict(limits.classifier)).index(field)].format("w")
        found = summaries(solved(loss, num_classes, ratio, gamma))[0]
        quantity = f"{name} at R = {ratio:.0e}"
        rows.append(
            StepRow("Table 1, 2", loss, gamma, quantity, getattr(limits.classifier, field), getattr(found, field))
        )
    return rows


def _cdt_rows(num_classes: int, ratio: int, gamma: float) -> list[StepRow]:
    profile = profile_at(num_classes, ratio, gamma)
    solution = solved("cdt", num_classes, ratio, gamma)
    classifier, embedding = cdt_classifiers(profile), cdt_embeddings(profile)
    found = summaries(solution)
    norms = (sqrt(classifier.majority * embedding.majority), sqrt(classifier.minority * embedding.minority))
    trace = sum(value * times for value, times in sel_singular_values(profile))
    alignment = solution.geometry.alignment()
    return [
        StepRow("Lemma B.1", "cdt", gamma, "sum of singular values", trace, solution.certificate.primal),
        *_summary_rows("Lemma D.1", "cdt", gamma, "w", astuple(classifier.summary()), found[0]),
        *_summary_rows("Lemma D.2", "cdt", gamma, "h", astuple(embedding.summary()), found[1]),
        *(
            StepRow("Lemma D.3", "cdt", gamma, f"cos(w_{kind}, h_{kind})", inner / norm, float(alignment[index]))
            for kind, index, inner, norm in zip(("maj", "min"), (0, -1), cdt_alignment(profile), norms, strict=True)
        ),
    ]


def _ldt_rows(num_classes: int, ratio: int, gamma: float) -> list[StepRow]:
    printed = ldt_ratios(profile_at(num_classes, ratio, gamma))
    classifier, embedding = summaries(solved("ldt", num_classes, ratio, gamma))
    found = (classifier.norm_ratio, classifier.cos_majority, classifier.cos_minority, embedding.norm_ratio)
    names = (*(name.format("w") for name in SUMMARY_NAMES[:3]), SUMMARY_NAMES[0].format("h"))
    return [
        StepRow("Cor. 1.5", "ldt", gamma, name, paper, ours)
        for name, paper, ours in zip(names, astuple(printed), found, strict=True)
    ]


def profile_at(num_classes: int, ratio: float, gamma: float, minority_fraction: float = 0.5) -> StepProfile:
    """The profile with D = R^gamma."""
    try:
        scale_ratio = float(ratio) ** number("gamma", gamma)
    except OverflowError:
        scale_ratio = inf
    return StepProfile(num_classes, ratio, scale_ratio, minority_fraction)


def solved(loss: str, num_classes: int, ratio: float, gamma: float, minority_fraction: float = 0.5) -> Solution:
    """Our limit, with the scales of the profile in place of a rule's normalised ones.

    A ratio that is no count of samples, such as 1e24, is one of prices of the embeddings, which is all that the limit
    knows of counts.
    """
    profile = profile_at(num_classes, ratio, gamma, minority_fraction)
    scale = profile.per_class(profile.scale_ratio)
    parameters = Parameterization(class_scale=scale) if loss == "cdt" else Parameterization(label_scale=scale)
    if ratio <= LARGEST_COUNT:
        return limit_solution(Problem(ClassCounts(profile.per_class(ratio)), parameters))
    return limit_solution(Problem(profile.per_class(2), parameters, embedding_cost=profile.per_class(ratio)))


def summaries(solution: Solution) -> tuple[BlockSummary, BlockSummary]:
    """The four numbers of both factors; majority classes come first."""
    counts = solution.problem.counts.values
    majority = np.arange(counts.size) < np.count_nonzero(counts == counts[0])
    return solution.geometry.classifier.block_summary(majority), solution.geometry.embedding.block_summary(majority)


def _summary_rows(
    source: str, loss: str, gamma: float, factor: str, paper: tuple[float, ...], ours: BlockSummary
) -> list[StepRow]:
    return [
        StepRow(source, loss, gamma, name.format(factor), value, found)
        for name, value, found in zip(SUMMARY_NAMES, paper, astuple(ours), strict=True)
    ]
