"""The per-class vectors of a parameterised cross-entropy loss: the one place that fixes its sign and scale conventions.

The loss of a sample with logits ``z`` and label ``y`` is

    l(z, y) = -weight[y] * log softmax(label_scale[y] * (class_scale * z) + shift - margin[y] * e_y)[y]

| here | maths | Menon 2020 | Ye 2020 | Kini 2021 | Behnia 2023 | Cao 2019 |
|---|---|---|---|---|---|---|
| ``weight`` | omega_c | | | omega_y | omega_y | |
| ``shift`` | iota_c, added | tau log pi_y | | iota_y | iota_c | |
| ``class_scale`` | delta_c, multiplies logit c | | 1 / a_c (a_c divides) | Delta_c | delta_c (CDT) | s |
| ``label_scale`` | Delta_y, multiplies a sample's logits | | | | delta_y (LDT) | |
| ``margin`` | m_y, subtracted from the true logit | | | | | s Delta_y |

:class:`Pairwise` is the same loss written in the differences between a wrong class and the label.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from implicit_geometry._validate import (
    Floats,
    InputError,
    Ints,
    choice,
    class_number,
    class_vector,
    frozen,
    instance,
    shown,
)

_FORMAT = "implicit_geometry.parameterization"
_MOST_SHOWN, _LONGEST_SHOWN = 10, 150  # classes and characters in a repr


@dataclass(frozen=True, eq=False)
class Parameterization:
    """Five per-class vectors that turn cross-entropy into wCE, LA, CDT, LDT, VS, LDAM or any mixture of them.

    Every argument left out is neutral; at least one must be given, since it says how many classes there are
    (``Parameterization.neutral(k)`` is plain cross-entropy).

    Args:
        weight: omega, multiplies the loss of a sample by its label, > 0. Shape (num_classes,). Neutral: 1.
        shift: iota, added to the logits. Neutral: 0.
        class_scale: delta, multiplies the logit of its class in every sample, > 0. Neutral: 1.
        label_scale: Delta, multiplies all logits of the samples with its label, > 0. Neutral: 1.
        margin: m, subtracted from the true class's (scaled and shifted) logit. Neutral: 0.

    Raises:
        InputError: a vector is not one finite number per class, a weight or scale is not positive, or lengths differ.

    Example:
        >>> p = Parameterization(class_scale=[1.0, 0.5], shift=[0.0, -2.0])
        >>> p.num_classes, p.is_neutral("label_scale"), p == Parameterization.from_json(p.to_json())
        (2, True, True)
    """

    weight: Floats
    shift: Floats
    class_scale: Floats
    label_scale: Floats
    margin: Floats

    def __init__(
        self,
        *,
        weight: ArrayLike | None = None,
        shift: ArrayLike | None = None,
        class_scale: ArrayLike | None = None,
        label_scale: ArrayLike | None = None,
        margin: ArrayLike | None = None,
    ) -> None:
        given = {
            "weight": weight,
            "shift": shift,
            "class_scale": class_scale,
            "label_scale": label_scale,
            "margin": margin,
        }
        vectors = {
            name: class_vector(name, value, positive=NEUTRAL[name] == 1.0)
            for name, value in given.items()
            if value is not None
        }
        sizes = {name: vector.size for name, vector in vectors.items()}
        if len(set(sizes.values())) != 1:
            raise InputError("parameters", "must be vectors of one common length (num_classes)", f"lengths {sizes}")
        size = next(iter(sizes.values()))
        if size < 2:
            raise InputError("parameters", "must cover at least 2 classes", size)
        for name, neutral in NEUTRAL.items():
            object.__setattr__(self, name, vectors.get(name, frozen(np.full(size, neutral))))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Parameterization) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in NEUTRAL
        )

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name).tobytes() for name in NEUTRAL))

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_vectors, tuple(getattr(self, name) for name in NEUTRAL)

    def __repr__(self) -> str:
        names = self.effects()
        if not names:
            return f"Parameterization.neutral({self.num_classes})"
        if self.num_classes <= _MOST_SHOWN:
            options: dict[str, Any] = {"precision": 4, "separator": ", ", "max_line_width": _LONGEST_SHOWN}
            text = ", ".join(f"{name}={np.array2string(getattr(self, name), **options)}" for name in names)
            if len(text) <= _LONGEST_SHOWN:
                return f"Parameterization({text})"
        return f"Parameterization(num_classes={self.num_classes}, not neutral: {', '.join(names)})"

    @property
    def num_classes(self) -> int:
        """Number of classes k."""
        return int(self.weight.size)

    @classmethod
    def neutral(cls, num_classes: int) -> Parameterization:
        """Plain cross-entropy for ``num_classes`` classes."""
        return cls(weight=np.ones(class_number("num_classes", num_classes)))

    def is_neutral(self, name: str) -> bool:
        """Whether the named vector leaves plain cross-entropy unchanged."""
        return bool(np.all(getattr(self, choice("name", name, NEUTRAL)) == NEUTRAL[name]))

    def effects(self) -> list[str]:
        """Names of the vectors that are not neutral."""
        return [name for name in NEUTRAL if not self.is_neutral(name)]

    def canonical(self) -> Parameterization:
        """Return the representative of this loss without gauge freedom.

        ``(class_scale * a, label_scale / a)`` and ``shift + b`` leave the loss unchanged; here the geometric mean of
        ``class_scale`` is 1 and the mean of ``shift`` is 0.

        Raises:
            InputError: a vector of the representative leaves float64.

        Example:
            >>> Parameterization(class_scale=[2.0, 2.0], shift=[1.0, 3.0]).canonical()
            Parameterization(shift=[-1.,  1.], label_scale=[2., 2.])
        """
        scale = float(np.exp(np.mean(np.log(self.class_scale))))
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # what leaves float64 is refused by name
            shift = self.shift - self.shift.mean()
            class_scale, label_scale = self.class_scale / scale, self.label_scale * scale
        return Parameterization(
            weight=self.weight, shift=shift, class_scale=class_scale, label_scale=label_scale, margin=self.margin
        )

    def to_dict(self) -> dict[str, list[float]]:
        """Return the five vectors as lists of floats (exact: JSON's repr of a float64 round-trips)."""
        return {name: getattr(self, name).tolist() for name in NEUTRAL}

    def to_json(self) -> str:
        """Return a JSON document that :meth:`from_json` reads back to an equal value."""
        return json.dumps({"format": _FORMAT, "version": 1, **self.to_dict()})

    @classmethod
    def from_json(cls, text: str) -> Parameterization:
        """Read what :meth:`to_json` wrote.

        Raises:
            InputError: not JSON, another format, a missing or unknown key, or values out of range.
        """
        try:
            document: Any = json.loads(instance("text", text, str))
        except InputError:
            raise
        except (ValueError, RecursionError) as error:
            raise InputError("text", "must be a JSON document written by to_json", f"invalid JSON ({error})") from error
        if not isinstance(document, dict) or document.get("format") != _FORMAT or document.get("version") != 1:
            raise InputError("text", f"must be a JSON object with format {_FORMAT!r} and version 1", shown(text))
        vectors = {key: value for key, value in document.items() if key not in ("format", "version")}
        if set(vectors) != set(NEUTRAL):
            raise InputError("text", f"must hold exactly the keys {sorted(NEUTRAL)}", shown(sorted(vectors)))
        return _from_vectors(*(class_vector(name, vectors[name]) for name in NEUTRAL))


NEUTRAL: dict[str, float] = {
    field.name: 0.0 if field.name in ("shift", "margin") else 1.0 for field in fields(Parameterization)
}


def _from_vectors(*vectors: Floats) -> Parameterization:
    return Parameterization(**dict(zip(NEUTRAL, vectors, strict=True)))


@dataclass(frozen=True, eq=False)
class Pairwise:
    """The loss by pairs of a wrong class c and a label y: what theory and solvers compute with.

    Dividing the softmax by its entry y gives, for logits z,

        l(z, y) = weight[y] * log(1 + sum over c != y of exp(offsets[c, y] - margins[c, y])),
        offsets[c, y] = shift[c] - shift[y] + margin[y],
        margins[c, y] = label_scale[y] * (class_scale[y] * z[y] - class_scale[c] * z[c]).

    Arrays of pairs have a row for every wrong class and a column for every label. An entry stands for a class, or for
    all classes of a group that agree in the vectors used; the diagonal then is for two different classes of the group.
    Numbers beyond float64 become zero or infinite: callers check the ranges.

    Attributes:
        weight: omega, shape (m,); the other vectors of :class:`Parameterization` likewise.
        shift: iota.
        class_scale: delta.
        label_scale: Delta.
        margin: m.

    Source: Behnia et al. (2023), Eq. (3), with a margin added.

    Example:
        >>> pairs = Pairwise.of(Parameterization(class_scale=[1.0, 0.5], shift=[0.0, -2.0]))
        >>> pairs.slopes.tolist(), pairs.offsets.tolist()
        ([[1.0, 1.0], [0.5, 0.5]], [[0.0, 2.0], [-2.0, 0.0]])
    """

    weight: Floats
    shift: Floats
    class_scale: Floats
    label_scale: Floats
    margin: Floats

    @classmethod
    def of(cls, parameterization: Parameterization, classes: Ints | None = None) -> Pairwise:
        """The pairs of all classes, or of the given ones (one of each group)."""
        vectors = (getattr(parameterization, name) for name in NEUTRAL)
        return cls(*(vector if classes is None else vector[classes] for vector in vectors))

    @property
    def slopes(self) -> Floats:
        """Derivative by logit c of what the softmax sees of it in a sample of label y, shape (m, m)."""
        return np.asarray(self.class_scale[:, None] * self.label_scale)

    @property
    def true_slope(self) -> Floats:
        """The diagonal of :attr:`slopes`, that of the true logit, shape (m,)."""
        return np.asarray(self.class_scale * self.label_scale)

    @property
    def offsets(self) -> Floats:
        """Exponents at zero logits, shape (m, m); ``margin`` on the diagonal."""
        return np.asarray(self.shift[:, None] - self.shift + self.margin)

    @property
    def null(self) -> Floats:
        """The direction of logits that changes no margin, proportional to 1 / class_scale, largest entry 1."""
        return np.asarray(self.class_scale.min() / self.class_scale)

    def margins(self, logits: Floats) -> Floats:
        """Cost-sensitive margins of logits with one column per label, shape (m, m); zero on the diagonal."""
        scores = self.class_scale[:, None] * logits
        return np.asarray(self.label_scale * (scores.diagonal() - scores))

    def exponents(self, logits: Floats) -> Floats:
        """Logarithms of the odds of every class against the label, zero on the diagonal, shape (m, m).

        ``weight * np.logaddexp.reduce(exponents, axis=0)`` are the losses.
        """
        exponents = self.offsets - self.margins(logits)
        np.fill_diagonal(exponents, 0.0)
        return exponents

    def natural(self, cost: Floats | Ints) -> Floats:
        """The scales s for which all margins of the logits diag(s) / sqrt(cost) are 1, shape (m,)."""
        return np.asarray(np.sqrt(cost) / self.true_slope)
