"""What is measured of a trained network, in the frame in which it is compared with theory (:mod:`.frames`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from implicit_geometry._validate import Floats, InputError, choice, frozen, instance, numeric_vector
from implicit_geometry.cdnv import SampledMean, mean_cdnv, sampled_cdnv
from implicit_geometry.counts import ClassCounts
from implicit_geometry.frames import FRAMES, Frame, FramedGeometry, centre_shares, projected
from implicit_geometry.geometry import Geometry
from implicit_geometry.gram import Gram
from implicit_geometry.parameterization import Parameterization

_HAS_VECTORS = {  # whether an array has a vector for each class, or a number
    "class_means": True,
    "embedding": True,
    "class_variance": False,
    "classifier": True,
    "bias": False,
    "class_nc1": False,
    "class_accuracy": False,
}
_OF_A_CLASSIFIER = ("classifier", "bias", "geometry", "self_duality")
_OF_TWO_PASSES = ("class_nc1", "class_accuracy", "centre_agreement", "nc1", "accuracy")
_REPLACED = {
    "class_scale": "with the whole training loss: parameterization=...",
    "label_scale": "with the whole training loss: parameterization=...",
    "project": "as a frame: frame='projected' for True, frame='centred' for False",
}
_SMALLEST = 1e-145  # entry of a class mean whose square float64 holds

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True, eq=False, repr=False)
class ClassMeans:
    """The class means of embeddings in one pass, without a classifier to compare them with.

    Arrays are float64 and read-only.

    Attributes:
        counts: samples of each class.
        class_means: mean embedding of every class as it is, shape (k, d).
        embedding: the class means in the frame of the measurement (projected or centred), shape (k, d).
        class_variance: mean squared distance of a class's embeddings to their mean, shape (k,).

    Example:
        >>> ClassMeans(ClassCounts([2, 1]), np.eye(2), np.eye(2), np.ones(2)).cdnv
        0.5
    """

    counts: ClassCounts
    class_means: Floats
    embedding: Floats
    class_variance: Floats

    def __post_init__(self) -> None:
        instance("counts", self.counts, ClassCounts)
        for name in [item.name for item in fields(self) if item.name in _HAS_VECTORS]:
            given: Any = getattr(self, name)
            if given is None and name == "bias":
                continue
            array = _numbers(name, given)
            if name == "class_means":
                fits = array.ndim == 2 and len(array) == self.num_classes
            else:
                fits = array.shape == (self.class_means.shape if _HAS_VECTORS[name] else (self.num_classes,))
            if not fits:
                raise InputError(name, "must have one entry or vector for each class", f"shape {array.shape}")
            object.__setattr__(self, name, frozen(array) if array.flags.writeable else array)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_classes={self.num_classes}, feature_dim={self.feature_dim})"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Say where a name of another kind of measurement is to be had."""
            if name in _OF_TWO_PASSES:
                raise AttributeError(f"{name} needs a second pass over the data: implicit_geometry.nn.measure(...)")
            if name in _OF_A_CLASSIFIER:
                raise AttributeError(f"{name} needs the weight of the head: compute(classifier=...)")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def num_classes(self) -> int:
        """Number of classes k."""
        return self.counts.num_classes

    @property
    def feature_dim(self) -> int:
        """Embedding dimension d."""
        return int(self.class_means.shape[1])

    @cached_property
    def cdnv(self) -> float:
        """Class-distance normalised variance, mean over pairs of (var_c + var_c') / (2 |mean_c - mean_c'|^2).

        Computed when asked for, in O(k^2 d) time and bounded memory: of 50,000 classes in a quarter of a minute.
        Infinite where two class means coincide; NaN where they do so without any variance.

        Source: Galanti, Gyorgy, Hutter (2022), Definition 1.
        """
        return mean_cdnv(self.class_means, self.class_variance)

    def sampled_cdnv(self, num_pairs: int = 100_000, *, seed: int = 0) -> SampledMean:
        """The same from pairs of classes that are drawn at random, with its standard error.

        Args:
            num_pairs: how many pairs to draw, with replacement.
            seed: of the draws.

        Raises:
            InputError: ``num_pairs`` is below 2 or above 1e9, or ``seed`` is out of range.

        Example:
            >>> ClassMeans(ClassCounts([2, 1]), np.eye(2), np.eye(2), np.ones(2)).sampled_cdnv(10)
            SampledMean(value=0.5, standard_error=0.0)
        """
        return sampled_cdnv(self.class_means, self.class_variance, num_pairs, seed)


@dataclass(frozen=True, eq=False, repr=False)
class OnePass(ClassMeans):
    """The geometry of a network on a data set, from one pass over its embeddings.

    Attributes:
        classifier: W as it is, shape (k, d).
        bias: bias of the head, shape (k,); ``None`` for a head without.

    Example:
        >>> OnePass(ClassCounts([2, 1]), np.eye(2), np.eye(2), np.ones(2), np.eye(2)).self_duality
        1.0
    """

    classifier: Floats
    bias: Floats | None = None

    @cached_property
    def geometry(self) -> Geometry:
        """The three blocks W W^T, H H^T, W H^T with H = ``embedding``."""
        return Geometry.from_factors(self.classifier, self.embedding)

    def in_both_frames(self, label_scale: Floats) -> FramedGeometry:
        """The geometry, with H H^T as centred beside that of ``embedding``.

        Args:
            label_scale: that of the loss, for each class measured, shape (k,).
        """
        centre = centre_shares(label_scale, self.counts.values, bias=self.bias is not None) @ self.class_means
        return FramedGeometry(self.geometry, Gram.from_factors(self.class_means - centre))

    @property
    def self_duality(self) -> float:
        """Mean over the classes of cos(w_c, h_c); 1 where classifiers and embeddings are aligned."""
        return float(self.geometry.alignment().mean())


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Measurement(OnePass):
    """The geometry of a network on a data set, and how far its classes have collapsed, from two passes.

    Attributes:
        class_nc1: tr(S_c S_B^+) / k for the covariance S_c of every class, shape (k,).
        class_accuracy: share of each class that the network labels rightly, shape (k,).
        centre_agreement: share of the samples on which the network and the nearest class mean agree.

    Example:
        >>> one = OnePass(ClassCounts([3, 1]), np.eye(2), np.eye(2), np.ones(2), np.eye(2))
        >>> found = Measurement.of(one, np.ones(2), class_nc1=np.ones(2), class_accuracy=[1, 0], centre_agreement=1.0)
        >>> found.nc1, found.accuracy
        (1.0, 0.75)
    """

    class_nc1: Floats
    class_accuracy: Floats
    centre_agreement: float

    @classmethod
    def of(
        cls,
        one: OnePass,
        class_variance: Floats,
        *,
        class_nc1: ArrayLike,
        class_accuracy: ArrayLike,
        centre_agreement: float,
    ) -> Measurement:
        """What a second pass adds to the first, whose variances it replaces by those about the class means."""
        return cls(
            one.counts,
            one.class_means,
            one.embedding,
            class_variance,
            one.classifier,
            one.bias,
            class_nc1=np.asarray(class_nc1),
            class_accuracy=np.asarray(class_accuracy),
            centre_agreement=centre_agreement,
        )

    @property
    def nc1(self) -> float:
        """tr(S_W S_B^+) / k in which every class counts alike.

        S_W is the mean over the classes of their covariances, S_B the covariance of the k class means: on balanced data
        exactly the usual quantity. Weighting by samples instead is ``counts @ class_nc1 / num_samples``.

        Source: Papyan, Han, Donoho (2020), NC1.
        """
        return float(self.class_nc1.mean())

    @property
    def accuracy(self) -> float:
        """Share of the samples that the network labels rightly; below 1 the terminal phase has not been reached."""
        return float(self.counts.values @ self.class_accuracy / self.counts.num_samples)


def refuses_replaced_arguments(measure: Callable[_P, _T]) -> Callable[_P, _T]:
    """Refuse arguments of earlier versions: a measurement takes the whole loss, and a frame by its name."""

    @wraps(measure)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        for name, instead in _REPLACED.items():
            if name in kwargs:
                raise InputError(name, f"must be given {instead}", f"{name}=")
        return measure(*args, **kwargs)

    return checked


@overload
def measurement_from_moments(
    counts: ArrayLike,
    class_sums: Floats,
    class_squares: Floats,
    *,
    classifier: None = None,
    parameterization: Parameterization | None = None,
    frame: Literal["centred"] | None = None,
    leave_out_unseen: bool = False,
) -> ClassMeans: ...


@overload
def measurement_from_moments(
    counts: ArrayLike,
    class_sums: Floats,
    class_squares: Floats,
    *,
    classifier: ArrayLike,
    bias: ArrayLike | None = None,
    parameterization: Parameterization | None = None,
    frame: Frame | None = None,
    leave_out_unseen: bool = False,
) -> OnePass: ...


@refuses_replaced_arguments
def measurement_from_moments(
    counts: ArrayLike,
    class_sums: Floats,
    class_squares: Floats,
    *,
    classifier: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    parameterization: Parameterization | None = None,
    frame: Frame | None = None,
    leave_out_unseen: bool = False,
) -> ClassMeans | OnePass:
    """Make a measurement of what one pass over the embeddings sums up: of class means alone without a classifier.

    Args:
        counts: samples per class, shape (k,).
        class_sums: sum of each class's embeddings, shape (k, d).
        class_squares: sum of each class's squared embedding norms, shape (k,).
        classifier: W, shape (k, d).
        bias: bias of the head, shape (k,), for a head that has one; needs a classifier.
        parameterization: the training loss; plain cross-entropy where left out. Its ``class_scale`` matters to what is
            projected, its ``label_scale`` to what is centred.
        frame: ``"projected"``, the default with a classifier, or ``"centred"``, the default and the only one without.
        leave_out_unseen: measure the classes that have samples, at least two, where others have none; the classifiers
            of all classes still say what the embeddings are projected on.

    Raises:
        InputError: a class has no samples, an embedding was not finite or so small that float64 cannot square it, an
            argument has the wrong type or shape, or there is no such frame, or none without a classifier.

    Example:
        >>> sums, squares = np.array([[4.0, 2.0], [0.0, 1.0]]), np.array([10.0, 1.0])
        >>> m = measurement_from_moments([2, 1], sums, squares, classifier=[[1.0, 0.0], [-1.0, 0.0]])
        >>> m.class_means.tolist(), m.embedding.tolist(), m.class_variance.tolist()
        ([[2.0, 1.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, 0.0]], [0.0, 0.0])
    """
    samples = numeric_vector("counts", counts)
    num_classes = samples.size
    if num_classes < 2 or not (np.isfinite(samples) & (samples >= 0) & (samples == np.floor(samples))).all():
        raise InputError("counts", "must hold a whole number >= 0 for each of at least 2 classes", samples[:10])
    chosen = frame_of(frame, has_classifier=classifier is not None)
    class_sums = _numbers("class_sums", class_sums)
    if class_sums.ndim != 2 or class_sums.shape[0] != num_classes or class_sums.size == 0:
        raise InputError("class_sums", f"must have shape ({num_classes}, d)", class_sums.shape)
    class_squares = _numbers("class_squares", class_squares)
    if class_squares.shape != samples.shape:
        raise InputError("class_squares", f"must have shape ({num_classes},)", class_squares.shape)
    seen = samples > 0
    if not leave_out_unseen or np.count_nonzero(seen) < 2:
        _refuse_classes(~seen, "must have samples of every class", "none of")
    finite = np.isfinite(class_sums).all(axis=1) & np.isfinite(class_squares)
    _refuse_classes(~finite, "must be finite", "NaN or infinity in")
    weight = None if classifier is None else _array("classifier", classifier, class_sums.shape)
    offset = None if bias is None else _array("bias", bias, (num_classes,))
    if offset is not None and weight is None:
        raise InputError("bias", "must come with the classifier it belongs to", "classifier=None")
    loss = Parameterization.neutral(num_classes) if parameterization is None else parameterization
    if instance("parameterization", loss, Parameterization).num_classes != num_classes:
        raise InputError("parameterization", f"must cover the {num_classes} measured classes", loss.num_classes)

    means = class_sums / np.maximum(samples, 1)[:, None]
    means.setflags(write=False)
    largest = np.maximum(means.max(axis=1), -means.min(axis=1))
    lost = (largest > 0) & (largest < _SMALLEST)
    _refuse_classes(lost, f"must be 0 or of at least {_SMALLEST:g} on average", "smaller ones in")
    if not seen.all():
        means = means[seen]
    embedding = means
    if offset is not None or chosen == "centred":
        embedding = means - centre_shares(loss.label_scale[seen], samples[seen], bias=offset is not None) @ means
    if weight is not None and chosen == "projected":
        embedding = projected(embedding, weight, loss)
    variance = np.maximum(class_squares[seen] / samples[seen] - np.einsum("ij,ij->i", means, means), 0.0)
    found = ClassCounts(samples[seen]), means, embedding, variance
    if weight is None:
        return ClassMeans(*found)
    if not seen.all():
        weight, offset = weight[seen], None if offset is None else offset[seen]
    return OnePass(*found, weight, offset)


def frame_of(frame: Frame | None, *, has_classifier: bool) -> str:
    """The frame that is asked for, or the default: what the logits see, which needs a classifier.

    Raises:
        InputError: there is no such frame, or none without a classifier.

    Example:
        >>> frame_of(None, has_classifier=True), frame_of(None, has_classifier=False)
        ('projected', 'centred')
    """
    if frame is None:
        return "projected" if has_classifier else "centred"
    if choice("frame", frame, FRAMES) == "projected" and not has_classifier:
        raise InputError("frame", "must be 'centred' where no classifier is given to project on", "'projected'")
    return frame


def _numbers(name: str, values: ArrayLike) -> Floats:
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "iuf":
            raise TypeError(f"dtype {array.dtype}")
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(name, "must be an array of numbers", str(error)[:80]) from error
    with np.errstate(over="ignore"):  # of longer floats: infinity is refused by name
        return array.astype(np.float64, copy=False)


def _array(name: str, values: ArrayLike, shape: tuple[int, ...]) -> Floats:
    array = _numbers(name, values)
    if array.shape != shape:
        raise InputError(name, f"must have shape {shape}", array.shape)
    if not np.isfinite(array).all():
        raise InputError(name, "must be finite", "NaN or infinity")
    return array


def _refuse_classes(bad: NDArray[np.bool_], expectation: str, given: str) -> None:
    if bad.any():
        names = np.flatnonzero(bad)
        shown = ", ".join(str(index) for index in names[:10])
        more = f", ... ({names.size} classes)" if names.size > 10 else ""
        got = f"{given} class{'es' if names.size > 1 else ''} {shown}{more}"
        raise InputError("embeddings", expectation, got)
