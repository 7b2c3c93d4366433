"""The printed formulas of Behnia et al. (2023) for STEP profiles, independent of the closed form for any counts.

A STEP profile has minority classes of one sample (n_min = 1) and majority classes of R. The scale of a minority class
is 1 and that of a majority class D: delta for CDT, Delta for LDT. Majority classes come first. For n_min samples per
minority class and a minority scale c, multiply inner products of classifiers by sqrt(n_min) / c, those of embeddings by
1 / (c sqrt(n_min)), those of a classifier and an embedding by 1 / c.

| paper | here | holds for |
|---|---|---|
| Def. 2, (delta, R)-SEL matrix | :func:`sel_matrix` | any minority fraction |
| Def. 3, (delta, R)-SELI geometry; Thm 1, CDT | :func:`seli_geometry` | any |
| Thm 1 (iii), LDT by the effective ratio R / D^2 | :func:`ldt_geometry` | any |
| Lemma B.1, singular values | :func:`sel_singular_values` | any |
| Lemmas D.1, D.2, D.3, CDT | :func:`cdt_classifiers`, :func:`cdt_embeddings`, :func:`cdt_alignment` | one half |
| Cor. 1.5, LDT | :func:`ldt_ratios`, :func:`ldt_classifiers`, :func:`ldt_embeddings` | one half |

Corollaries 1.1 to 1.4 and the paper's tables are in :mod:`implicit_geometry.paper.step_tables`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from implicit_geometry._validate import (
    LARGEST_NUM_CLASSES,
    Floats,
    InputError,
    class_number,
    instance,
    number,
    whole_number,
)
from implicit_geometry.geometry import Geometry
from implicit_geometry.gram import BlockSummary
from implicit_geometry.lowrank import MAX_DENSE_CLASSES

_LARGEST_RATIO = 1e200  # for the formulas' powers


@dataclass(frozen=True)
class StepProfile:
    """A STEP profile with two scales.

    Args:
        num_classes: k >= 2.
        imbalance_ratio: R, majority count over minority count (below 1 only as an effective ratio); 1e-150 to 1e150.
        scale_ratio: D, majority scale over minority scale; 1 is plain cross-entropy; 1e-150 to 1e150.
        minority_fraction: rho in (0, 1); ``rho * k``, rounded, classes are minorities (at least one of each kind).

    Raises:
        InputError: an argument is out of range.

    Source: Behnia et al. (2023), Definition 1.

    Example:
        >>> profile = StepProfile(num_classes=10, imbalance_ratio=100, scale_ratio=10, minority_fraction=0.3)
        >>> profile.num_majority, profile.num_minority, profile.effective().imbalance_ratio
        (7, 3, 1.0)
    """

    num_classes: int
    imbalance_ratio: float
    scale_ratio: float = 1.0
    minority_fraction: float = 0.5

    def __post_init__(self) -> None:
        k = class_number("num_classes", self.num_classes)
        fraction = number("minority_fraction", self.minority_fraction, minimum=0, maximum=1, exclusive=True)
        if not 1 <= round(fraction * k) <= k - 1:
            raise InputError(
                "minority_fraction", f"must leave at least one minority and one majority class of {k}", f"{fraction:g}"
            )
        for name in ("imbalance_ratio", "scale_ratio"):
            value = number(name, getattr(self, name), minimum=1 / _LARGEST_RATIO, maximum=_LARGEST_RATIO)
            object.__setattr__(self, name, value)

    @property
    def num_minority(self) -> int:
        """Number of minority classes, rho k."""
        return round(self.minority_fraction * self.num_classes)

    @property
    def num_majority(self) -> int:
        """Number of majority classes, (1 - rho) k."""
        return self.num_classes - self.num_minority

    def per_class(self, majority: float, minority: float = 1.0) -> Floats:
        """One value for every majority class, then one for every minority class, shape (num_classes,)."""
        return np.repeat([majority, minority], [self.num_majority, self.num_minority])

    def effective(self) -> StepProfile:
        """The profile without scales whose classifiers LDT learns: R~ = R / D^2 (Theorem 1 (iii))."""
        ratio = self.imbalance_ratio / self.scale_ratio / self.scale_ratio
        return StepProfile(self.num_classes, ratio, 1.0, self.minority_fraction)


@dataclass(frozen=True)
class StepBlock:
    """All inner products of one factor on a STEP profile.

    Attributes:
        majority: squared norm of a majority class.
        minority: squared norm of a minority class.
        within_majority: inner product of two different majority classes.
        within_minority: inner product of two different minority classes.
        between: inner product of a majority and a minority class.
    """

    majority: float
    minority: float
    within_majority: float
    within_minority: float
    between: float

    def summary(self) -> BlockSummary:
        """The squared norm ratio and the three cosines."""
        return BlockSummary(
            self.majority / self.minority,
            self.within_majority / self.majority,
            self.within_minority / self.minority,
            self.between / sqrt(self.majority) / sqrt(self.minority),
        )


# Any minority fraction


def sel_matrix(profile: StepProfile) -> Floats:
    """The (delta, R)-SEL matrix, one column per class: Xi[c, j] = (1{c = j} - delta_j^-2 / sum_i delta_i^-2) / delta_c.

    Returns:
        Logits of every class (rows) for the samples of every class (columns), shape (num_classes, num_classes).

    Source: Behnia et al. (2023), Definition 2.

    Example:
        >>> sel_matrix(StepProfile(num_classes=2, imbalance_ratio=10))
        array([[ 0.5, -0.5],
               [-0.5,  0.5]])
    """
    if instance("profile", profile, StepProfile).num_classes > MAX_DENSE_CLASSES:
        raise InputError("profile", f"must have at most {MAX_DENSE_CLASSES} classes for a matrix", profile.num_classes)
    scale = profile.per_class(profile.scale_ratio)
    share = scale**-2 / (scale**-2).sum()
    return np.asarray((np.eye(profile.num_classes) - share) / scale[:, None])


def seli_geometry(profile: StepProfile) -> Geometry:
    """The (delta, R)-SELI geometry: the balanced factors of the SEL matrix with every column repeated n_c times. CDT's.

    Source: Behnia et al. (2023), Definition 3 and Theorem 1.

    Example:
        >>> geometry = seli_geometry(StepProfile(num_classes=10, imbalance_ratio=10))
        >>> round(geometry.classifier.cosine(0, 9), 3)
        -0.139
    """
    matrix = sel_matrix(profile)
    root = np.sqrt(profile.per_class(profile.imbalance_ratio))
    left, singular, right = np.linalg.svd(matrix * root)
    singular[-1] = 0.0
    return Geometry.from_factors(left * np.sqrt(singular), right.T * np.sqrt(singular) / root[:, None])


def ldt_geometry(profile: StepProfile) -> Geometry:
    """LDT's geometry: (W, M diag(Delta)) follow the (1, R / D^2)-SELI geometry, M the class means.

    Source: Behnia et al. (2023), Theorem 1 (iii).

    Example:
        >>> geometry = ldt_geometry(StepProfile(num_classes=10, imbalance_ratio=100, scale_ratio=10))
        >>> round(geometry.classifier.cosine(0, 9), 3), round(geometry.embedding.cosine(0, 9), 3)
        (-0.111, -0.111)
    """
    seli = seli_geometry(instance("profile", profile, StepProfile).effective())
    scale = profile.per_class(profile.scale_ratio)
    return Geometry.from_factors(seli.cross.left, seli.cross.right / scale[:, None])


def sel_singular_values(profile: StepProfile) -> tuple[tuple[float, int], ...]:
    """Non-zero singular values of the SEL matrix with repeated columns, each with its multiplicity.

    They are, with rho' = 1 - rho: sqrt(R) / D, rho' k - 1 times; sqrt((rho' + R rho) / (rho' + rho D^2)), once;
    1, rho k - 1 times.

    Source: Behnia et al. (2023), Lemma B.1.

    Example:
        >>> sel_singular_values(StepProfile(num_classes=10, imbalance_ratio=49, scale_ratio=3))
        ((2.3333333333333335, 4), (2.23606797749979, 1), (1.0, 4))
    """
    ratio, scale = instance("profile", profile, StepProfile).imbalance_ratio, profile.scale_ratio
    rho = profile.num_minority / profile.num_classes
    bridge = sqrt((1 - rho + ratio * rho) / (1 - rho + rho * scale**2))
    return (
        (sqrt(ratio) / scale, profile.num_majority - 1),
        (bridge, 1),
        (1.0, profile.num_minority - 1),
    )


# One half of the classes are minorities


def cdt_classifiers(profile: StepProfile) -> StepBlock:
    """CDT's classifiers, with a = (1 + D^-2)^(-3/2) and b = (1 + D^2)^(-3/2).

    Raises:
        InputError: the profile is not an even number of at least 4 classes, half of them minorities.

    Source: Behnia et al. (2023), Lemma D.1.

    Example:
        >>> round(cdt_classifiers(StepProfile(num_classes=10, imbalance_ratio=10)).summary().norm_ratio, 3)
        2.672
    """
    k, ratio, scale = _halves(profile)
    a, b = (1 + scale**-2) ** -1.5, (1 + scale**2) ** -1.5
    return StepBlock(
        majority=((k - 2) * sqrt(ratio) + 2 * sqrt(ratio + 1) * a) / scale / k,
        minority=((k - 2) + 2 * sqrt(ratio + 1) * b) / k,
        within_majority=(-2 * sqrt(ratio) + 2 * sqrt(ratio + 1) * a) / scale / k,
        within_minority=(-2 + 2 * sqrt(ratio + 1) * b) / k,
        between=-2 * scale * sqrt(ratio + 1) * b / k,
    )


def cdt_embeddings(profile: StepProfile) -> StepBlock:
    """CDT's class-mean embeddings, with q = 1 / (sqrt(R + 1) sqrt(1 + D^2)).

    Raises:
        InputError: the profile is not an even number of at least 4 classes, half of them minorities.

    Source: Behnia et al. (2023), Lemma D.2.

    Example:
        >>> round(cdt_embeddings(StepProfile(num_classes=10, imbalance_ratio=10)).summary().norm_ratio, 3)
        0.351
    """
    k, ratio, scale = _halves(profile)
    q = 1 / (sqrt(ratio + 1) * sqrt(1 + scale**2))
    step = 1 / (scale * sqrt(ratio))
    return StepBlock(
        majority=((k - 2) * step + 2 * q) / k,
        minority=((k - 2) + 2 * q) / k,
        within_majority=-2 * (step - q) / k,
        within_minority=-2 * (1 - q) / k,
        between=-2 * q / k,
    )


def cdt_alignment(profile: StepProfile) -> tuple[float, float]:
    """CDT's inner products of classifier and class mean: of a majority class, of a minority class.

    Raises:
        InputError: the profile is not an even number of at least 4 classes, half of them minorities.

    Source: Behnia et al. (2023), Lemma D.3.

    Example:
        >>> cdt_alignment(StepProfile(num_classes=10, imbalance_ratio=10))
        (0.9, 0.9)
    """
    k, _, scale = _halves(profile)
    majority = (k * scale**2 + k - 2) / (scale * (scale**2 + 1)) / k
    minority = (k * scale**-2 + k - 2) / (scale**-2 + 1) / k
    return majority, minority


@dataclass(frozen=True)
class LdtRatios:
    """What Cor. 1.5 prints for LDT.

    Attributes:
        classifier_norm_ratio: ``|w_maj|^2 / |w_min|^2``.
        classifier_cos_majority: cosine of two majority classifiers.
        classifier_cos_minority: cosine of two minority classifiers.
        embedding_norm_ratio: ``|h_maj|^2 / |h_min|^2``.
    """

    classifier_norm_ratio: float
    classifier_cos_majority: float
    classifier_cos_minority: float
    embedding_norm_ratio: float


def ldt_ratios(profile: StepProfile) -> LdtRatios:
    """LDT's ratios, with r = sqrt((R + D^2) / 2).

    Raises:
        InputError: the profile is not an even number of at least 4 classes, half of them minorities.

    Source: Behnia et al. (2023), Corollary 1.5.

    Example:
        >>> ratios = ldt_ratios(StepProfile(num_classes=10, imbalance_ratio=100, scale_ratio=10))
        >>> round(ratios.classifier_norm_ratio, 12), round(ratios.embedding_norm_ratio, 12)
        (1.0, 0.01)
    """
    k, ratio, scale = _halves(profile)
    root, r = sqrt(ratio), sqrt((ratio + scale**2) / 2)
    return LdtRatios(
        classifier_norm_ratio=((k - 2) * root + r) / ((k - 2) * scale + r),
        classifier_cos_majority=(-2 * root + r) / ((k - 2) * root + r),
        classifier_cos_minority=(-2 * scale + r) / ((k - 2) * scale + r),
        embedding_norm_ratio=((k - 2) / root + 1 / r) / ((k - 2) * scale + scale**2 / r),
    )


def ldt_classifiers(profile: StepProfile) -> StepBlock:
    """LDT's classifiers: Lemma D.1 at the effective ratio.

    Raises:
        InputError: the profile is not an even number of at least 4 classes, half of them minorities.

    Source: Behnia et al. (2023), Theorem 1 (iii) and Lemma D.1.
    """
    return cdt_classifiers(instance("profile", profile, StepProfile).effective())


def ldt_embeddings(profile: StepProfile) -> StepBlock:
    """LDT's class-mean embeddings: Lemma D.2 at the effective ratio, divided by the scales.

    Raises:
        InputError: the profile is not an even number of at least 4 classes, half of them minorities.

    Source: Behnia et al. (2023), Theorem 1 (iii) and Lemma D.2.
    """
    effective = instance("profile", profile, StepProfile).effective()
    block, scale = cdt_embeddings(effective), profile.scale_ratio
    return StepBlock(
        majority=block.majority / scale**2,
        minority=block.minority,
        within_majority=block.within_majority / scale**2,
        within_minority=block.within_minority,
        between=block.between / scale,
    )


def even_classes(num_classes: int) -> int:
    """Return k, an even number of at least 4 classes: half of them are minorities, two of each kind."""
    k = whole_number("num_classes", num_classes, minimum=4, maximum=LARGEST_NUM_CLASSES)
    if k % 2:
        raise InputError("num_classes", "must be even, half of the classes being minorities", k)
    return k


def _halves(profile: StepProfile) -> tuple[int, float, float]:
    """k, R and D of a profile with as many minority as majority classes."""
    k = even_classes(instance("profile", profile, StepProfile).num_classes)
    if profile.num_minority != profile.num_majority:
        raise InputError("minority_fraction", "must be 0.5 for this formula", f"{profile.minority_fraction:g}")
    return k, profile.imbalance_ratio, profile.scale_ratio
