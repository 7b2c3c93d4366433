import numpy as np
import pytest

from implicit_geometry import ClassCounts, Problem, cdt, compare, logit_adjusted, predict
from implicit_geometry.nn import train_ufm
from implicit_geometry.studies.figure_plans import FIGURES, Loss
from implicit_geometry.studies.ufm import measured, study_records, train_study

LOSSES = [Loss("cdt", 0.5), Loss("ldt", -0.5)]
COUNTS = FIGURES["fig3"].ufm_counts(10)


@pytest.fixture(scope="module")
def history():
    return train_study(COUNTS, LOSSES, epochs=60, seeds=(0, 1))


def test_scales_sum_to_k(history):
    for loss in history.parameterizations:
        assert loss.class_scale.sum() == pytest.approx(10)
        assert loss.label_scale.sum() == pytest.approx(10)


def test_one_row_per_loss_and_seed_at_the_end(history):
    records = study_records(history, LOSSES)
    assert records[["rule", "exponent", "seed"]].values.tolist() == [
        ["cdt", 0.5, 0],
        ["cdt", 0.5, 1],
        ["ldt", -0.5, 0],
        ["ldt", -0.5, 1],
    ]
    assert (records["epoch"] == 60).all()
    assert (records["effective_ridge"] > 0).all()
    assert (records["imbalance_ratio"] == 10).all()


def test_distances_are_those_to_the_limit_by_hand(history):
    records = study_records(history, LOSSES, every_epoch=True)
    last = records[(records["rule"] == "cdt") & (records["seed"] == 1)].iloc[-1]
    limit = predict(Problem(COUNTS, cdt(COUNTS, gamma=0.5))).geometry
    w = history.classifier[0, 1, -1]
    gram, target = w @ w.T, limit.classifier.dense()
    by_hand = np.linalg.norm(gram / np.linalg.norm(gram) - target / np.linalg.norm(target))
    assert last["classifier_limit_distance"] == pytest.approx(by_hand, rel=1e-10)
    assert last["cross_limit_distance"] == pytest.approx(compare(history.geometry(0, 1), limit).cross, rel=0.2)


def test_smoothed_labels_are_compared_with_their_own_limit():
    counts, losses = ClassCounts([4, 2, 1]), [Loss("logit_adjusted", 1.0)]
    loss = logit_adjusted(counts)
    history = train_ufm(counts, [loss], feature_dim=3, epochs=30, label_smoothing=0.1)
    (record,) = study_records(history, losses).to_dict("records")
    own, hard = (predict(Problem(counts, loss, label_smoothing=eps)).geometry for eps in (0.1, 0.0))
    found = measured(history, 0, 0, -1).geometry
    assert record["cross_limit_distance"] == pytest.approx(compare(found, own).cross)
    assert abs(compare(found, own).cross - compare(found, hard).cross) > 1e-2


def test_training_comes_nearer_to_the_limit(history):
    records = study_records(history, LOSSES, every_epoch=True).set_index("epoch")
    for _, run in records.groupby(["rule", "seed"]):
        assert run.loc[60, "classifier_limit_distance"] < 0.5 * run.loc[1, "classifier_limit_distance"]
