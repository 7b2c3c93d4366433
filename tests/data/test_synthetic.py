"""The exchangeable data set: nothing but chance tells its classes apart."""

import numpy as np
import pytest

from implicit_geometry import InputError
from implicit_geometry.data.load import load_source


def test_all_classes_are_equally_far_apart_and_equally_wide():
    source = load_source("gaussian:10")
    rows = [source.train[source.train_labels == c].astype(np.float64) for c in range(10)]
    means = np.array([row.mean(axis=0) for row in rows])
    assert [len(row) for row in rows] == [1000] * 10
    distances = np.linalg.norm(means[:, None] - means, axis=2)[np.triu_indices(10, 1)]
    np.testing.assert_allclose(distances, 8 * np.sqrt(2), atol=0.25)  # 1000 samples: noise of 0.04 in 64 dimensions
    np.testing.assert_allclose([row.var(axis=0).mean() for row in rows], 1, atol=0.02)


def test_nearest_means_tell_the_test_samples_apart():
    source = load_source("gaussian:10")
    means = np.array([source.train[source.train_labels == c].mean(axis=0) for c in range(10)])
    nearest = np.linalg.norm(source.test[:, None] - means, axis=2).argmin(axis=1)
    assert (nearest == source.test_labels).all()


def test_the_samples_are_always_the_same():
    first, second = (load_source("gaussian:3") for _ in range(2))
    np.testing.assert_array_equal(first.train, second.train)
    assert not np.array_equal(first.train[:600], first.test)


@pytest.mark.parametrize(
    "name", ["gaussian:1", "gaussian:101", "gaussian:ten", "gaussian:-3", "gaussian:2.5", "gaussian:²"]
)
def test_other_numbers_of_classes_are_refused(name):
    with pytest.raises(InputError, match="name must be gaussian:K with 2 to 100 classes K"):
        load_source(name)


def test_classes_in_another_order_keep_their_samples_and_names():
    source = load_source("digits")
    order = np.array([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    turned = source.in_class_order(order)
    assert turned.class_names == tuple("3140592687")
    assert turned.train is source.train
    np.testing.assert_array_equal(order[turned.train_labels], source.train_labels)
    for wrong in ([0, 1, 2], [0] * 10):
        with pytest.raises(InputError, match="order must hold each of 10 classes once"):
            source.in_class_order(np.array(wrong))
    official = load_source("gaussian:3").in_class_order(np.array([2, 0, 1]))
    assert official.test_labels[:200].tolist() == [1] * 200
