"""What the paper or code in circulation gets wrong: for each a number of the printed form beside that of the theory.

| where | printed | right |
|---|---|---|
| Table 1, embeddings | 0, 0, s for h_min and h_maj at gamma < 0, h_maj at gamma > 0 | s, s, 0 (Lemma D.2) |
| Fig. 1, left and middle | the norm ratio | its square, as labelled |
| Eq. (2), Fig. 1's caption | a sign of iota turned | +iota in the softmax |
| Def. 2 | U has orthonormal columns | U with a row per sample has; U_maj = P / sqrt(R) |
| footnote 5 | singular values scale by sqrt(alpha) / sqrt(delta_min) | sqrt(alpha) / delta_min |
| Lemma A.2 | w1 twice | the second is w2 |
| Eq. (15) | the block matrix with the wrong sign and size | blocks >= 0, with I_k |
| code for LDT | R | the effective ratio R / D^2 |
| code for wCE | plain cross-entropy | weights omega |
| code for averages | 25 pairs | (k / 2)^2 pairs |

Here s = -2 / (k - 2), alpha is the samples of a minority class, delta_min its scale, U, V the singular vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np

from implicit_geometry._validate import whole_number
from implicit_geometry.counts import ClassCounts
from implicit_geometry.gram import BlockSummary
from implicit_geometry.paper.step_formulas import (
    StepProfile,
    cdt_classifiers,
    cdt_embeddings,
    even_classes,
    sel_matrix,
    sel_singular_values,
)
from implicit_geometry.paper.step_tables import SUMMARY_NAMES, StepRow, profile_at, solved, summaries
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem
from implicit_geometry.rules import cdt, ce, logit_adjusted, weighted
from implicit_geometry.theory.limit.plain import limit_solution
from implicit_geometry.theory.predict import predict

_INFINITY = 10**12  # the R at which Table 1's limits are judged
_RIDGE = 0.01
_MIN_COUNT = 5  # samples of a minority class in the paper's experiments
_FIXED_PAIRS = 25  # of a majority and a minority class, for k = 10
_OTHER_CLASSES = 6  # a k whose pairs are not 25


def errata_rows(num_classes: int = 10, imbalance_ratio: int = 10) -> list[StepRow]:
    """Numbers in print or in circulating code that differ from the theory they stand for, beside the right ones.

    Raises:
        InputError: not an even number of at least 4 classes, or R is not whole.

    Example:
        >>> row = errata_rows()[3]
        >>> row.source, round(row.paper, 3), round(row.ours, 3)
        ('Fig. 1, left and middle', 1.635, 2.672)
    """
    k, ratio = even_classes(num_classes), whole_number("imbalance_ratio", imbalance_ratio, minimum=1)
    parts: list[Callable[[int, int], list[StepRow]]] = [
        _table_1,
        _figure_1,
        _sign_of_the_shift,
        _definition_2,
        _footnote_5,
        _lemma_a2,
        _equation_15,
        _ldt_code,
        _weighted_code,
        _fixed_sizes,
    ]
    return [row for part in parts for row in part(k, ratio)]


def _table_1(num_classes: int, ratio: int) -> list[StepRow]:
    """Three cosines of embeddings."""
    simplex = -2 / (num_classes - 2)
    below, above = (summaries(solved("cdt", num_classes, _INFINITY, gamma))[1] for gamma in (-1.0, 1.0))
    majority, minority = (name.format("h") for name in SUMMARY_NAMES[1:3])
    return [
        StepRow("Table 1", "cdt", -1.0, f"{minority}, R = 1e12", 0.0, below.cos_minority),
        StepRow("Table 1", "cdt", -1.0, f"{majority}, R = 1e12", 0.0, below.cos_majority),
        StepRow("Table 1", "cdt", 1.0, f"{majority}, R = 1e12", simplex, above.cos_majority),
    ]


def _figure_1(num_classes: int, ratio: int) -> list[StepRow]:
    """Two panels show the un-squared ratio under the label of the squared one."""
    squared = summaries(solved("cdt", num_classes, ratio, 0.0))[0].norm_ratio
    return [StepRow("Fig. 1, left and middle", "ce", 0.0, SUMMARY_NAMES[0].format("w"), sqrt(squared), squared)]


def _sign_of_the_shift(num_classes: int, ratio: int) -> list[StepRow]:
    """The limit knows no shift: the sign shows at a ridge."""
    counts = _experiment(num_classes, ratio)
    loss = logit_adjusted(counts)
    turned = Parameterization(shift=-loss.shift)
    printed, ours = (_at_ridge(counts, parameters)[1] for parameters in (turned, loss))
    name = f"{SUMMARY_NAMES[0].format('h')}, tau = 1, ridge {_RIDGE:g}"
    return [StepRow("Eq. (2), sign of iota", "la", 1.0, name, printed.norm_ratio, ours.norm_ratio)]


def _definition_2(num_classes: int, ratio: int) -> list[StepRow]:
    """Only with a row for each sample are the columns of U orthonormal."""
    profile = StepProfile(num_classes, ratio)
    root = np.sqrt(profile.per_class(ratio))
    _, _, rows = np.linalg.svd(sel_matrix(profile) * root)
    by_class = rows[:-1].T / root[:, None]  # the last singular value is zero
    shortest = float(np.linalg.norm(by_class, axis=0).min())
    return [StepRow("Def. 2, columns of U", "ce", 0.0, "shortest column of U, one row per class", 1.0, shortest)]


def _footnote_5(num_classes: int, ratio: int) -> list[StepRow]:
    """In the set-up of the experiments: 5 samples of a minority class, scales that sum to k."""
    counts, profile = _experiment(num_classes, ratio), profile_at(num_classes, ratio, 0.5)
    loss = cdt(counts, gamma=0.5)
    unit = sum(value * times for value, times in sel_singular_values(profile))
    printed = unit * sqrt(_MIN_COUNT) / sqrt(loss.class_scale[-1])
    ours = limit_solution(Problem(counts, loss)).certificate.primal
    name = f"sum of singular values, alpha = {_MIN_COUNT}"
    return [StepRow("footnote 5", "cdt", 0.5, name, printed, ours)]


def _lemma_a2(num_classes: int, ratio: int) -> list[StepRow]:
    """Two classes, a sample x of unit margin under plain cross-entropy's w: the formula printed for w1 is w2's."""
    first, second = sqrt(ratio), 1.0
    printed = -second / (first**2 + second**2)
    logits = limit_solution(Problem([1, 1], Parameterization(class_scale=[first, second]))).geometry.cross
    return [StepRow("Lemma A.2, w1 for w2", "cdt", 0.5, "w1 . x for w . x = 1, k = 2", printed, logits.entry(0, 0))]


def _equation_15(num_classes: int, ratio: int) -> list[StepRow]:
    """The blocks that hold the dual matrix B are positive semidefinite: they reach 2, and <= 0 allows none above 0."""
    left, _, right = np.linalg.svd(sel_matrix(StepProfile(num_classes, ratio)) * np.sqrt(ratio))
    dual, unit = left[:, :-1] @ right[:-1], np.eye(num_classes)
    largest = float(np.linalg.eigvalsh(np.block([[unit, dual], [dual.T, unit]])).max())
    return [
        StepRow("Eq. (15), were its blocks <= 0", "ce", 0.0, "largest eigenvalue of [I_k, B; B', I_k]", 0.0, largest)
    ]


def _ldt_code(num_classes: int, ratio: int) -> list[StepRow]:
    """With R for R / D^2 classifiers do not depend on the temperatures."""
    raw = StepProfile(num_classes, ratio)
    inverse = summaries(solved("ldt", num_classes, ratio, -1.0))
    classifier, embedding = (block(raw).summary().norm_ratio for block in (cdt_classifiers, cdt_embeddings))
    w, h = (SUMMARY_NAMES[0].format(factor) for factor in ("w", "h"))
    return [
        StepRow("LDT code with R for R / D^2", "ldt", -1.0, w, classifier, inverse[0].norm_ratio),
        StepRow("LDT code with R for R / D^2", "ldt", -1.0, h, embedding * ratio**2, inverse[1].norm_ratio),
    ]


def _weighted_code(num_classes: int, ratio: int) -> list[StepRow]:
    """Weights, too, show at a ridge only."""
    counts = _experiment(num_classes, ratio)
    printed, ours = (_at_ridge(counts, rule(counts))[0].norm_ratio for rule in (ce, weighted))
    name = f"{SUMMARY_NAMES[0].format('w')}, ridge {_RIDGE:g}"
    return [StepRow("wCE code without weights", "wce", 1.0, name, printed, ours)]


def _fixed_sizes(num_classes: int, ratio: int) -> list[StepRow]:
    """A sum over pairs divided by the number of pairs that k = 10 has."""
    ours = summaries(solved("cdt", _OTHER_CLASSES, ratio, 0.0))[0].cos_between
    pairs = (_OTHER_CLASSES // 2) ** 2
    name = f"{SUMMARY_NAMES[3].format('w')}, k = {_OTHER_CLASSES}"
    return [StepRow("code with 25 pairs for any k", "ce", 0.0, name, ours * pairs / _FIXED_PAIRS, ours)]


def _experiment(num_classes: int, ratio: int) -> ClassCounts:
    """The counts of the paper's experiments."""
    return ClassCounts.step(num_classes=num_classes, imbalance_ratio=ratio, max_count=_MIN_COUNT * ratio)


def _at_ridge(counts: ClassCounts, loss: Parameterization) -> tuple[BlockSummary, BlockSummary]:
    return summaries(predict(Problem(counts, loss, _RIDGE)))
