"""What a measurement removes from class means of a known geometry, and its collapse quantities by loops."""

import copy
import pickle
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from implicit_geometry._validate import InputError
from implicit_geometry.counts import ClassCounts
from implicit_geometry.frames import leading_rows
from implicit_geometry.measurement import ClassMeans, Measurement, OnePass, measurement_from_moments
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem
from implicit_geometry.theory.predict import predict

STEP = [60, 60, 60, 6, 6, 6]
LONG_TAIL = [100, 41, 17, 7, 3, 1]
RAMP = np.linspace(0.5, 2.0, 6)
ONES = np.ones(6)


def factors_of(scaled_logits, counts, dim, seed):
    """W and H with W H^T = X / sqrt(n) for a given X, as a minimal nuclear norm factors it, turned at random."""
    left, singular, right = np.linalg.svd(scaled_logits)
    rank = len(counts) - 1
    frame = np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, rank)))[0]
    root = np.sqrt(singular[:rank])
    return left[:, :rank] * root @ frame.T, (right[:rank].T * root) / np.sqrt(counts)[:, None] @ frame.T


def limit_factors(counts, class_scale, label_scale, dim=20, seed=0):
    """Factors of X* = P S."""
    blind = 1 / np.asarray(class_scale)
    blind /= np.linalg.norm(blind)
    scaled = np.diag(np.sqrt(counts) / class_scale / label_scale)
    return factors_of(scaled - np.outer(blind, blind @ scaled), counts, dim, seed)


def offset_outside(classifier, seed=1):
    """A vector orthogonal to every row of W, several times longer than the rows."""
    vector = np.random.default_rng(seed).normal(size=classifier.shape[1])
    vector -= np.linalg.pinv(classifier) @ (classifier @ vector)
    return 10 * vector


def moments(means, counts):
    """Sums of classes whose embeddings all equal their mean."""
    counts = np.asarray(counts)
    return counts, counts[:, None] * means, counts * (means**2).sum(axis=1)


def assert_same_geometry(measured, expected):
    for block in ("classifier", "embedding", "cross"):
        want = getattr(expected, block).dense()
        np.testing.assert_allclose(getattr(measured, block).dense(), want, atol=1e-10 * np.abs(want).max())


@pytest.mark.parametrize("counts", [STEP, LONG_TAIL], ids=["step", "long tail"])
@pytest.mark.parametrize(
    ("class_scale", "label_scale"),
    [(ONES, ONES), (RAMP, ONES), (ONES, RAMP), (RAMP, RAMP[::-1])],
    ids=["ce", "cdt", "ldt", "both"],
)
class TestTheFrameOfTheTheory:
    def loss(self, class_scale, label_scale):
        return Parameterization(class_scale=class_scale, label_scale=label_scale)

    def expected(self, counts, class_scale, label_scale):
        return predict(Problem(counts, self.loss(class_scale, label_scale))).geometry

    def test_projection_recovers_the_predicted_geometry(self, counts, class_scale, label_scale):
        w, h = limit_factors(counts, class_scale, label_scale)
        measured = measurement_from_moments(
            *moments(h + offset_outside(w), counts), classifier=w, parameterization=self.loss(class_scale, label_scale)
        )
        assert_same_geometry(measured.geometry, self.expected(counts, class_scale, label_scale))

    def test_projection_needs_no_scales_where_the_classifier_has_rank_k_minus_1(self, counts, class_scale, label_scale):
        w, h = limit_factors(counts, class_scale, label_scale)
        measured = measurement_from_moments(*moments(h + offset_outside(w), counts), classifier=w)
        assert_same_geometry(measured.geometry, self.expected(counts, class_scale, label_scale))

    def test_centring_recovers_the_predicted_geometry_up_to_any_common_offset(self, counts, class_scale, label_scale):
        w, h = limit_factors(counts, class_scale, label_scale)
        common = np.random.default_rng(2).normal(size=h.shape[1])
        measured = measurement_from_moments(
            *moments(h + common, counts),
            classifier=w,
            parameterization=self.loss(class_scale, label_scale),
            frame="centred",
        )
        assert_same_geometry(measured.geometry, self.expected(counts, class_scale, label_scale))

    def test_a_component_the_loss_is_blind_to_does_not_tilt_the_projection(self, counts, class_scale, label_scale):
        w, h = limit_factors(counts, class_scale, label_scale)
        left_over = np.random.default_rng(3).normal(size=h.shape[1])
        kept = w + 3 * np.linalg.norm(w, 2) * np.outer(1 / class_scale, left_over / np.linalg.norm(left_over))
        measured = measurement_from_moments(
            *moments(h + offset_outside(w), counts),
            classifier=kept,
            parameterization=self.loss(class_scale, label_scale),
        )
        np.testing.assert_allclose(measured.embedding, h, atol=1e-10)
        np.testing.assert_array_equal(measured.classifier, kept)


def test_centring_by_the_wrong_weights_is_not_the_predicted_geometry():
    w, h = limit_factors(STEP, ONES, RAMP)
    centred = measurement_from_moments(*moments(h, STEP), classifier=w, frame="centred")
    assert np.abs(centred.embedding - h).max() > 0.01 * np.abs(h).max()


def test_without_a_classifier_the_class_means_are_centred_and_there_is_no_geometry():
    means = np.random.default_rng(0).normal(size=(6, 4))
    measured = measurement_from_moments(*moments(means, STEP), parameterization=Parameterization(label_scale=RAMP))
    np.testing.assert_allclose(RAMP @ measured.embedding, 0, atol=1e-12)
    np.testing.assert_allclose(measured.class_means, means)
    for name in ("geometry", "self_duality", "classifier", "bias"):
        with pytest.raises(AttributeError, match=rf"{name} needs the weight of the head: compute\(classifier=\.\.\.\)"):
            getattr(measured, name)


@pytest.mark.parametrize("frame", ["projected", "centred"])
def test_with_a_bias_a_common_shift_is_removed_and_the_sample_mean_is_zero(frame):
    counts = np.array(LONG_TAIL)
    root = np.sqrt(counts / counts.sum())
    candidate = (np.eye(6) - 1 / 6) @ np.diag(np.sqrt(counts)) @ (np.eye(6) - np.outer(root, root))  # P S P_r
    w, h = factors_of(candidate, counts, 20, seed=0)
    shift = np.ones(6) @ h + (offset_outside(w) if frame == "projected" else 0)
    bias = -w @ shift
    measured = measurement_from_moments(*moments(h + shift, counts), classifier=w, bias=bias, frame=frame)
    np.testing.assert_allclose(measured.embedding, h, atol=1e-10)
    np.testing.assert_array_equal(measured.bias, bias)


@pytest.mark.parametrize("biased", [False, True])
def test_what_the_frame_rests_on_holds_at_the_optimum_of_a_finite_ridge(biased):
    """At any ridge sum w / class_scale is zero and sum label_scale * h is not; with a bias sum n * h is zero."""
    counts, class_scale, label_scale, ridge = (
        np.array([20, 4, 2]),
        np.array([1, 0.8, 0.6]),
        np.array([1, 0.9, 0.7]),
        0.1,
    )

    def unpack(x):
        return x[:9].reshape(3, 3), x[9:18].reshape(3, 3), x[18:]

    def objective(x):
        w, h, bias = unpack(x)
        logits = label_scale[:, None] * class_scale * (h @ w.T + bias * biased)
        log_p = log_softmax(logits, axis=1)
        slope = counts[:, None] * label_scale[:, None] * class_scale * (np.exp(log_p) - np.eye(3))
        value = -counts @ np.diag(log_p) + ridge / 2 * ((w**2).sum() + counts @ (h**2).sum(axis=1))
        gradient = [slope.T @ h + ridge * w, slope @ w + ridge * counts[:, None] * h]
        return value, np.concatenate([*(g.ravel() for g in gradient), slope.sum(axis=0) * biased])

    start = np.concatenate([np.random.default_rng(0).normal(size=18), np.zeros(3)])
    w, h, _ = unpack(minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 5000}).x)
    np.testing.assert_allclose((w / class_scale[:, None]).sum(axis=0), 0, atol=1e-6)
    assert np.linalg.norm(label_scale @ h) > 0.02 * np.linalg.norm(h)
    assert (np.linalg.norm(counts @ h) < 1e-6) == biased
    loss = Parameterization(class_scale=class_scale, label_scale=label_scale)
    measured = measurement_from_moments(
        *moments(h, counts), classifier=w, bias=np.zeros(3) if biased else None, parameterization=loss
    )
    np.testing.assert_allclose(measured.embedding, h, atol=1e-6)


def test_directions_that_a_collapsed_classifier_lost_are_not_projected_on():
    """Minority classifiers that coincide leave a row space of fewer than k - 1 dimensions."""
    w = np.array([[2.0, -1.0, 0, 0, 0], [-1, 2, 0, 0, 0], [-0.5, -0.5, 0, 0, 0], [-0.5, -0.5, 0, 0, 0]])
    means = np.random.default_rng(0).normal(size=(4, 5))
    measured = measurement_from_moments(*moments(means, [9, 9, 1, 1]), classifier=w)
    np.testing.assert_allclose(measured.embedding, means * [1, 1, 0, 0, 0], atol=1e-12)


def test_a_zero_classifier_has_a_zero_geometry_without_angles():
    measured = measurement_from_moments(*moments(np.eye(3), [1, 1, 1]), classifier=np.zeros((3, 3)))
    assert measured.geometry.embedding.frobenius_norm() == 0
    assert np.isnan(measured.self_duality)


def test_leading_rows_keep_the_known_rank_even_where_the_rest_is_large():
    matrix = np.diag([3.0, 2.0, 1.0])
    singular, basis = leading_rows(matrix, 2)
    np.testing.assert_allclose(singular, [3, 2])
    np.testing.assert_allclose(np.abs(basis), np.eye(3)[:2], atol=1e-15)


class TestQuantities:
    @pytest.fixture
    def samples(self):
        rng = np.random.default_rng(0)
        labels = np.repeat([0, 1, 2, 3], [7, 5, 2, 1])
        return rng.normal(size=(4, 6))[labels] + 0.3 * rng.normal(size=(15, 6)), labels

    @pytest.fixture
    def measured(self, samples):
        embeddings, labels = samples
        classes = [embeddings[labels == c] for c in range(4)]
        return measurement_from_moments(
            [len(rows) for rows in classes],
            np.array([rows.sum(axis=0) for rows in classes]),
            np.array([(rows**2).sum() for rows in classes]),
            classifier=np.random.default_rng(1).normal(size=(4, 6)),
        )

    def test_variance_is_the_mean_squared_distance_to_the_class_mean(self, samples, measured):
        embeddings, labels = samples
        for c in range(4):
            mean = embeddings[labels == c].mean(axis=0)
            distances = [np.linalg.norm(row - mean) ** 2 for row in embeddings[labels == c]]
            assert measured.class_variance[c] == pytest.approx(np.mean(distances), abs=1e-12)

    def test_variance_is_never_negative(self):
        mean = np.array([[0.1, 0.7], [0.3, 0.9]])
        measured = measurement_from_moments([3, 3], 3 * mean, 3 * (mean**2).sum(axis=1) * (1 - 1e-15))
        assert (measured.class_variance >= 0).all()

    def test_cdnv_is_the_mean_over_ordered_pairs(self, samples, measured):
        embeddings, labels = samples
        means = [embeddings[labels == c].mean(axis=0) for c in range(4)]
        spread = [((embeddings[labels == c] - means[c]) ** 2).sum(axis=1).mean() for c in range(4)]
        terms = [
            (spread[a] + spread[b]) / (2 * np.linalg.norm(means[a] - means[b]) ** 2)
            for a in range(4)
            for b in range(4)
            if a != b
        ]
        assert measured.cdnv == pytest.approx(np.mean(terms), rel=1e-12)

    def test_cdnv_of_thousands_of_classes_takes_bounded_memory(self):
        k = 6000
        means = np.arange(k)[:, None] * np.array([[3.0, 4.0]])
        measured = ClassMeans(ClassCounts(np.ones(k, dtype=int)), means, means, np.full(k, 2.0))
        tracemalloc.start()
        try:
            found = measured.cdnv
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        gaps = np.arange(1, k)
        assert found == pytest.approx(2 * np.sum((k - gaps) * 2 / (25.0 * gaps**2)) / (k * (k - 1)), rel=1e-12)
        assert peak < 1e8

    @pytest.mark.parametrize("scale", [1e-140, 1e140])
    def test_cdnv_does_not_depend_on_the_unit(self, samples, measured, scale):
        grown = replace(
            measured, class_means=measured.class_means * scale, class_variance=measured.class_variance * scale**2
        )
        assert grown.cdnv == pytest.approx(measured.cdnv, rel=1e-12)

    def test_cdnv_is_infinite_where_two_class_means_coincide(self):
        assert measurement_from_moments([2, 2], np.ones((2, 3)), np.array([9.0, 9.0])).cdnv == np.inf

    def test_self_duality_is_the_mean_cosine_of_classifier_and_embedding(self, measured):
        cosines = [
            w @ h / np.linalg.norm(w) / np.linalg.norm(h)
            for w, h in zip(measured.classifier, measured.embedding, strict=True)
        ]
        assert measured.self_duality == pytest.approx(np.mean(cosines), rel=1e-12)

    @pytest.mark.parametrize("name", ["nc1", "class_nc1", "accuracy", "class_accuracy", "centre_agreement"])
    def test_one_pass_says_what_needs_a_second(self, measured, name):
        with pytest.raises(AttributeError, match=rf"{name} needs a second pass .* implicit_geometry\.nn\.measure"):
            getattr(measured, name)

    def test_an_unknown_name_is_an_attribute_error(self, measured):
        with pytest.raises(AttributeError, match="'OnePass' object has no attribute 'nc2'"):
            measured.nc2  # noqa: B018

    def test_a_half_filled_measurement_is_refused(self, measured):
        with pytest.raises(InputError, match="classifier must be an array of numbers"):
            replace(measured, classifier=None)

    def test_a_measurement_can_be_copied_and_pickled(self, measured):
        for other in (copy.deepcopy(measured), pickle.loads(pickle.dumps(measured))):
            assert np.array_equal(other.class_means, measured.class_means)

    def test_accuracy_weighs_classes_by_their_samples(self):
        one = OnePass(ClassCounts([3, 1]), np.eye(2), np.eye(2), np.ones(2), np.eye(2))
        measured = Measurement.of(
            one, np.ones(2), class_nc1=np.ones(2), class_accuracy=[1.0, 0.0], centre_agreement=1.0
        )
        assert measured.accuracy == 0.75

    def test_arrays_are_read_only_copies(self, measured):
        with pytest.raises(ValueError, match="read-only"):
            measured.class_means[0, 0] = 1.0

    def test_repr_is_one_short_line(self, measured):
        assert repr(measured) == "OnePass(num_classes=4, feature_dim=6)"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"counts": [2, 0, 0]}, "got none of classes 1, 2"),
        ({"counts": [2, 0, 1]}, "got none of class 1$"),
        ({"counts": [0] * 3}, "got none of classes 0, 1, 2$"),
        ({"class_sums": np.array([[1.0, 2], [3, np.nan], [5, 6]])}, "finite, got NaN or infinity in class 1$"),
        ({"class_squares": np.array([1.0, 1, np.inf])}, "finite, got NaN or infinity in class 2$"),
        ({"classifier": np.zeros((2, 3))}, r"classifier must have shape \(3, 2\), got \(2, 3\)"),
        ({"classifier": np.full((3, 2), np.nan)}, "classifier must be finite"),
        ({"bias": np.zeros(3), "classifier": None}, "bias must come with the classifier"),
        ({"bias": np.zeros(2)}, r"bias must have shape \(3,\), got \(2,\)"),
        (
            {"parameterization": Parameterization.neutral(2)},
            "parameterization must cover the 3 measured classes, got 2",
        ),
        ({"parameterization": [1.0, 2.0, 3.0]}, "parameterization must be a Parameterization, got .1.0, 2.0, 3.0."),
        ({"class_scale": [1, 2, 3]}, "class_scale must be given with the whole training loss: parameterization="),
        ({"label_scale": [1, 2, 3]}, "label_scale must be given with the whole training loss: parameterization="),
        ({"class_sums": np.full((3, 2), 1e-200)}, "embeddings must be 0 or of at least 1e-145 on average.*0, 1, 2$"),
    ],
)
def test_bad_input_is_named(changed, message):
    good = {
        "counts": [1, 1, 1],
        "class_sums": np.arange(6.0).reshape(3, 2),
        "class_squares": np.array([1.0, 13.0, 41.0]),
        "classifier": np.ones((3, 2)),
    }
    with pytest.raises(InputError, match=message):
        measurement_from_moments(**good | changed)


def test_a_long_list_of_empty_classes_is_cut():
    with pytest.raises(InputError, match=r"classes 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\. \(30 classes\)$"):
        measurement_from_moments(np.zeros(30, dtype=int), np.zeros((30, 2)), np.zeros(30))


@pytest.mark.parametrize("along_the_blind_direction", [0.0, 1e4])
@pytest.mark.parametrize("smallest", [1.0, 1e-4, 1e-6, 0.0])
def test_many_classes_are_projected_on_the_row_space_of_what_the_loss_sees(smallest, along_the_blind_direction):
    rng = np.random.default_rng(0)
    weight, means = rng.normal(size=(2, 400, 12))
    weight *= np.geomspace(1.0, smallest or 1.0, 12) * 1e100
    if not smallest:
        weight[:, 5] = weight[:, 6]
    blind = np.full(400, 1 / 20)
    weight += np.outer(blind, along_the_blind_direction * 1e100 * rng.normal(size=12))
    _, singular, rows = np.linalg.svd(weight - np.outer(blind, blind @ weight), full_matrices=False)
    basis = rows[singular > 1e-13 * singular[0]]
    found = measurement_from_moments(*moments(means, np.ones(400, dtype=int)), classifier=weight).embedding
    np.testing.assert_allclose(found, means @ basis.T @ basis, atol=1e-9)


def test_the_classifier_that_was_measured_may_change_afterwards():
    weight = np.random.default_rng(0).normal(size=(4, 3))
    found = measurement_from_moments(np.ones(4), np.eye(4, 3), np.ones(4), classifier=weight)
    before = weight.copy()
    weight[:] = 0
    np.testing.assert_array_equal(found.classifier, before)


@pytest.mark.parametrize("smallest", [1.0, 1e-4, 1e-9, 0.0])
def test_row_spaces_of_many_classes_are_those_of_the_singular_vectors(smallest):
    """Whether the columns are well conditioned, badly or dependent."""
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(400, 12)) * np.geomspace(1.0, smallest or 1.0, 12) * 1e100
    if not smallest:
        matrix[:, 5] = matrix[:, 6]
    singular, basis = leading_rows(matrix, 399)
    _, values, rows = np.linalg.svd(matrix, full_matrices=False)
    rank = 12 if smallest else 11
    np.testing.assert_allclose(singular, values[:rank], rtol=1e-11 if smallest != 1e-9 else 1e-6)
    np.testing.assert_allclose(basis.T @ basis, rows[:rank].T @ rows[:rank], atol=1e-11)
