import numpy as np
import pytest

from implicit_geometry._validate import InputError
from implicit_geometry.certificate import Status
from implicit_geometry.comparison import compare, gram_distance
from implicit_geometry.counts import ClassCounts
from implicit_geometry.geometry import Geometry, simplex_etf
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.problem import Problem
from implicit_geometry.rules import cdt, ce, ldam, ldt, vs, weighted
from implicit_geometry.theory.effective_ridge import RidgeSearch, effective_ridge
from implicit_geometry.theory.predict import predict
from implicit_geometry.theory.ridge_path import ridge_path

STEP = ClassCounts.step(num_classes=10, imbalance_ratio=10, max_count=50)
LOSSES = {
    "ce": ce(STEP),
    "weighted": weighted(STEP),
    "cdt": cdt(STEP, gamma=0.5),
    "ldt": ldt(STEP, gamma=0.5),
    "vs": vs(STEP, gamma=0.3),
    "ldam": ldam(STEP),
}


def at(ridge, loss="ce"):
    return predict(Problem(STEP, LOSSES[loss], ridge=ridge)).geometry


def noisy(geometry, level, seed):
    """Vectors of a network: exact factors of W H^T in 30 dimensions plus Gaussian noise."""
    rng = np.random.default_rng(seed)
    root_count = np.sqrt(STEP.values)
    left, singular, right = np.linalg.svd(geometry.cross.dense() * root_count)
    turn = np.linalg.qr(rng.standard_normal((30, 10)))[0].T
    factors = (left * np.sqrt(singular)) @ turn, (right.T * np.sqrt(singular)) @ turn / root_count[:, None]
    np.testing.assert_allclose(factors[0] @ factors[0].T, geometry.classifier.dense(), atol=1e-9)
    return Geometry.from_factors(
        *(factor + level * np.sqrt(np.mean(factor**2)) * rng.standard_normal(factor.shape) for factor in factors)
    )


@pytest.mark.parametrize("ridge", [1e-7, 1e-2, 0.7])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_ridge_of_a_prediction_is_recovered(loss, ridge):
    found = effective_ridge(at(ridge, loss), Problem(STEP, LOSSES[loss]))
    assert found.ridge == pytest.approx(ridge, rel=1e-3)
    assert found.distance < 1e-5
    assert not found.at_edge


@pytest.mark.parametrize("decay", [0.0, 1.0, 3.0], ids=["free", "decayed alike", "decayed more"])
@pytest.mark.parametrize("loss", ["ce", "ldt"])
def test_so_is_that_of_a_head_with_a_bias(loss, decay):
    truth = Problem(STEP, LOSSES[loss], ridge=0.02, bias=True, bias_ridge=0.02 * decay)
    asked = Problem(STEP, LOSSES[loss], ridge=1.0 if decay != 1 else 0.0, bias=True, bias_ridge=decay)
    found = effective_ridge(predict(truth).geometry, asked)
    assert found.ridge == pytest.approx(0.02, rel=1e-3)
    assert found.distance < 1e-5
    assert found.solution.problem.bias_ridge == pytest.approx(0.02 * decay, rel=1e-3)


def test_a_search_begins_where_a_free_bias_is_all_that_is_left():
    counts = ClassCounts([90, 10, 5])
    search = RidgeSearch(Problem(counts, bias=True))
    for factor, alive in ((0.999, True), (1.02, False)):
        solution = predict(Problem(counts, ridge=search.highest / search._HIGHEST * factor, bias=True))
        assert (solution.certificate.status != Status.COLLAPSED) == alive


@pytest.mark.parametrize("block", ["classifier", "embedding", "cross"])
def test_every_block_can_be_fitted(block):
    found = effective_ridge(at(0.05, "cdt"), Problem(STEP, LOSSES["cdt"]), block=block)
    assert found.ridge == pytest.approx(0.05, rel=1e-3)
    assert found.distance == getattr(found.comparison, block)


def test_counts_may_all_differ():
    counts = ClassCounts.exponential(num_classes=8, imbalance_ratio=30, max_count=60)
    problem = Problem(counts, ldt(counts, gamma=0.8), ridge=0.02)
    assert effective_ridge(predict(problem).geometry, problem).ridge == pytest.approx(0.02, rel=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_a_noisy_geometry_gets_a_ridge_nearby_and_no_scanned_one_is_nearer(seed):
    measured = noisy(at(0.1), 0.05, seed)
    found = effective_ridge(measured, Problem(STEP))
    assert 0.03 < found.ridge < 0.3
    assert found.comparison == compare(measured, found.solution.geometry)
    assert found.distance == found.comparison.classifier
    assert found.solution.problem == Problem(STEP, ridge=found.ridge)
    for ridge in np.geomspace(1e-3, 3, 40):
        assert found.distance <= compare(measured, at(ridge)).classifier + 1e-9


def test_scale_plays_no_part():
    measured = at(0.1)
    longer = Geometry(measured.classifier.scaled(100), measured.embedding.scaled(3), measured.cross.scaled(7))
    assert effective_ridge(longer, Problem(STEP)).ridge == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize("scale", [0.01, 100.0])
@pytest.mark.parametrize("counts", [[8, 8, 8, 8], [50, 50, 5, 5]])
def test_losses_with_small_or_large_scales_are_searched_up_to_their_own_collapse(counts, scale):
    """Also where every collapse threshold is below 1. Balanced counts have one geometry, whatever the ridge."""
    problem = Problem(counts, Parameterization(label_scale=np.full(4, scale)), ridge=scale)
    found = effective_ridge(predict(problem).geometry, problem)
    assert found.distance < 1e-5
    assert found.at_edge == (counts == [8, 8, 8, 8])
    assert found.at_edge or found.ridge == pytest.approx(scale, rel=1e-3)


def test_the_ridge_of_the_given_problem_plays_no_part():
    measured = at(0.1)
    assert effective_ridge(measured, Problem(STEP, ridge=3.0)) == effective_ridge(measured, Problem(STEP))


def test_a_geometry_beyond_the_limit_sits_at_the_lower_edge():
    """CDT's limit is nearer to the geometry with a larger exponent than any of its positive ridges."""
    measured = predict(Problem(STEP, cdt(STEP, gamma=0.7))).geometry
    found = effective_ridge(measured, Problem(STEP, LOSSES["cdt"]))
    assert found.at_edge
    assert found.ridge < 1e-10


def test_collapsed_minorities_sit_at_the_upper_edge():
    """Above sqrt(n_min) the minorities are gone, and the rest no longer changes but for its scale."""
    found = effective_ridge(at(4.0), Problem(STEP))
    assert found.at_edge
    assert found.ridge > np.sqrt(5)
    assert found.distance < 1e-9


def zero(num_classes):
    return Geometry.from_factors(np.zeros((num_classes, 2)), np.zeros((num_classes, 2)))


@pytest.mark.parametrize(
    ("measured", "problem", "block", "message"),
    [
        (simplex_etf(9), Problem(STEP), "classifier", "measured must have the 10 classes of problem, got 9"),
        (zero(10), Problem(STEP), "embedding", "embedding block that is not zero"),
        (simplex_etf(10), Problem(STEP), "classifiers", "did you mean 'classifier'"),
    ],
)
def test_bad_input_is_refused(measured, problem, block, message):
    with pytest.raises(InputError, match=message):
        effective_ridge(measured, problem, block=block)


def test_a_search_gives_what_each_geometry_gets_alone_and_keeps_its_solutions():
    search = RidgeSearch(Problem(STEP))
    measured = [noisy(at(ridge), 0.05, 0) for ridge in (0.5, 0.01)]
    found = [search.nearest(geometry, exact=True) for geometry in measured]
    assert [each.ridge for each in found] == [effective_ridge(geometry, Problem(STEP)).ridge for geometry in measured]
    solved = set(search.solved)
    search.nearest(measured[0])
    assert set(search.solved) == solved


@pytest.mark.parametrize("level", [0.0, 0.05, 0.3])
def test_the_parabola_is_near_the_exact_ridge(level):
    search, measured = RidgeSearch(Problem(STEP)), noisy(at(0.03), level, 1)
    quick, exact = search.nearest(measured), search.nearest(measured, exact=True)
    assert quick.ridge == pytest.approx(exact.ridge, rel=1e-3)
    assert quick.distance == pytest.approx(exact.distance, abs=1e-3)


@pytest.mark.parametrize("block", ["classifier", "embedding", "cross"])
def test_the_lattice_is_searched_for_the_smallest_distance_of_classes_in_any_order(block):
    problem = Problem([5, 60, 5, 60, 60, 20])
    search = RidgeSearch(problem, block=block)
    vectors = np.random.default_rng(0).normal(size=(2, 6, 9))
    ridges = [search.ridge(step) for step in range(search.coarse[0], 1)]
    path = ridge_path(problem.counts, None, ridges)
    for ridge in (1e-5, 0.3, 3.0):
        dense = predict(Problem(problem.counts, ridge=ridge)).geometry
        left, singular, right = np.linalg.svd(dense.cross.dense())
        factors = left * np.sqrt(singular), right.T * np.sqrt(singular)
        w, h = (np.hstack([factor, np.zeros((6, 3))]) for factor in factors)
        measured = Geometry.from_factors(w + 0.05 * vectors[0], h + 0.05 * vectors[1])
        wanted = getattr(measured, block)
        distances = [gram_distance(wanted, getattr(solution.geometry, block)) for solution in path]
        found = search.nearest(measured)
        assert found.distance <= min(distances) * (1 + 1e-9)
        assert abs(np.log10(found.ridge / ridges[int(np.argmin(distances))])) <= 1.01 / 32


@pytest.mark.parametrize("loss", [ce, lambda counts: ldt(counts, 0.25)])
def test_so_is_that_of_many_kinds_of_classes(loss):
    counts = ClassCounts.exponential(num_classes=60, imbalance_ratio=100, max_count=5000)
    problem = Problem(counts, loss(counts), ridge=0.05)
    found = effective_ridge(predict(problem).geometry, problem)
    assert found.ridge == pytest.approx(0.05, rel=2e-3)
    assert found.distance < 1e-4
    assert not found.at_edge


@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "free bias"])
def test_two_ridges_of_many_kinds_of_classes_are_enough_or_three(bias, monkeypatch):
    """Beside searches of fewer kinds; the second one says that the first is the nearest, or where that is."""
    counts = ClassCounts.exponential(num_classes=130, imbalance_ratio=100, max_count=50_000)
    problem = Problem(counts, ldt(counts, 0.25), ridge=0.05, bias=bias)
    measured, solved = predict(problem).geometry, []

    def counted(each, tolerance=1e-8):
        solved.extend([each.ridge] * (each.counts == counts))
        return predict(each, tolerance)

    monkeypatch.setattr("implicit_geometry.theory.effective_ridge.predict", counted)
    found = effective_ridge(measured, problem)
    assert found.ridge == pytest.approx(0.05, rel=1e-3)
    assert found.solution.certificate.relative_gap <= 1e-8
    assert len(solved) in (2, 3)


def test_no_ridge_nearby_is_nearer_to_a_geometry_of_many_kinds_that_none_predicts():
    counts = ClassCounts.exponential(num_classes=60, imbalance_ratio=100, max_count=5000)
    problem, other = Problem(counts, bias=True), Problem(counts, ldt(counts, 0.4), ridge=0.3)
    measured = predict(other).geometry
    found = effective_ridge(measured, problem)
    assert found.distance > 0.01
    for factor in (0.7, 0.95, 1.05, 1.4):
        nearby = predict(problem.at_ridge(found.ridge * factor))
        assert found.distance < gram_distance(measured.classifier, nearby.geometry.classifier)


def test_the_search_of_many_kinds_for_runs_agrees_with_the_exact_one():
    counts = ClassCounts.exponential(num_classes=60, imbalance_ratio=100, max_count=5000)
    problem = Problem(counts, bias=True, bias_ridge=1.0, ridge=1.0)
    search = RidgeSearch(problem)
    measured = [predict(problem.at_ridge(ridge)).geometry for ridge in (0.02, 0.03)]
    assert [search.nearest(each).ridge for each in measured] == pytest.approx([0.02, 0.03], rel=5e-3)


def test_many_kinds_may_lie_beyond_all_ridges():
    counts = ClassCounts.exponential(num_classes=60, imbalance_ratio=100, max_count=5000)
    assert effective_ridge(predict(Problem(counts)).geometry, Problem(counts)).at_edge
