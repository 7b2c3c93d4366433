import os

import numpy as np
import pytest

from implicit_geometry._validate import InputError
from implicit_geometry.counts import ClassCounts
from implicit_geometry.data.load import load_source
from implicit_geometry.data.split import make_split

EMBEDDINGS = np.random.default_rng(0).normal(size=(12, 3))
LABELS = np.arange(12) % 3


def load(path, **arrays):
    np.savez(path / "f.npz", **arrays)
    return load_source(f"features:{path / 'f.npz'}")


def test_embeddings_are_read_as_they_are(tmp_path):
    source = load(tmp_path, embeddings=EMBEDDINGS, labels=LABELS.astype(np.uint8))
    assert source.train.dtype == np.float32
    assert np.array_equal(source.train, EMBEDDINGS.astype(np.float32))
    assert source.train_labels.dtype == np.int64
    assert source.class_names == ("0", "1", "2")
    assert source.test is None
    assert source.input_shape == (3,)


def test_an_official_test_part(tmp_path):
    source = load(
        tmp_path, embeddings=EMBEDDINGS, labels=LABELS, test_embeddings=EMBEDDINGS[:6], test_labels=LABELS[:6]
    )
    data = make_split(source, ClassCounts([4, 2, 1]), test_per_class=None)
    assert np.array_equal(data.test[:][0], EMBEDDINGS[:6].astype(np.float32))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": LABELS}, "must hold embeddings, got labels"),
        ({"embeddings": EMBEDDINGS}, "must hold labels, got embeddings"),
        ({"x": LABELS}, "must hold embeddings, got none of its arrays"),
        (
            {"embeddings": EMBEDDINGS[0], "labels": LABELS},
            r"embeddings of .*f.npz must be .*\(n, d\), got shape \(3,\)",
        ),
        ({"embeddings": EMBEDDINGS[:, :0], "labels": LABELS}, r"got shape \(12, 0\)"),
        ({"embeddings": EMBEDDINGS[:5], "labels": LABELS}, "got 5 samples and labels of shape"),
        (
            {"embeddings": EMBEDDINGS * 1e300, "labels": LABELS},
            "must be finite in float32, got .*e[+](299|300) in row 0",
        ),
        (
            {"embeddings": np.where(np.eye(12, 3, -2) > 0, np.nan, 0), "labels": LABELS},
            "must be finite in float32, got nan in row 2",
        ),
        ({"embeddings": EMBEDDINGS.astype(str), "labels": LABELS}, "embeddings of .* must be numbers"),
        ({"embeddings": EMBEDDINGS.astype(object), "labels": LABELS}, "cannot be read: Object arrays cannot be loaded"),
        ({"embeddings": EMBEDDINGS, "labels": LABELS + 0.5}, "labels of .*f.npz must be class indices"),
        ({"embeddings": EMBEDDINGS, "labels": LABELS * 1e300}, "labels of .*f.npz must be class indices"),
        ({"embeddings": EMBEDDINGS, "labels": LABELS.astype(str)}, "labels of .*f.npz must be class indices"),
        ({"embeddings": EMBEDDINGS, "labels": LABELS * 2}, r"no sample of classes \[1, 3\]"),
        ({"embeddings": EMBEDDINGS, "labels": LABELS - 1}, r"labels must be class indices, at least 0, got -1"),
        ({"embeddings": EMBEDDINGS, "labels": LABELS, "test_labels": LABELS}, "must hold test_embeddings"),
        (
            {"embeddings": EMBEDDINGS, "labels": LABELS, "test_labels": LABELS + 1, "test_embeddings": EMBEDDINGS},
            "test_labels of features:.* must lie in 0..2, got 1..3",
        ),
        (
            {"embeddings": EMBEDDINGS, "labels": LABELS, "test_labels": LABELS, "test_embeddings": EMBEDDINGS[:, :2]},
            r"test samples of .* must have shape \(3,\), got \(2,\)",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, message):
    with pytest.raises(InputError, match=message):
        load(tmp_path, **arrays)


def test_every_damaged_file_is_one_input_error(tmp_path):
    load(tmp_path, embeddings=EMBEDDINGS, labels=LABELS)
    path = tmp_path / "f.npz"
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    messages = []
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[generator.integers(len(damaged))] ^= generator.integers(1, 256)
        path.write_bytes(damaged if generator.random() < 0.7 else damaged[: generator.integers(len(damaged))])
        try:
            load_source(f"features:{path}")
        except InputError as error:
            messages.append(str(error))
    assert len(messages) > 60
    assert all(str(path) in message for message in messages)


def test_other_files_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", EMBEDDINGS)
    for name, message in [
        ("a.npy", "must be an .npz archive"),
        ("missing.npz", "missing.npz cannot be read"),
        (".", "cannot be read"),
    ]:
        with pytest.raises(InputError, match=message):
            load_source(f"features:{tmp_path / name}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_no_feature_file(tmp_path):
    os.mkfifo(tmp_path / "features.npz")
    with pytest.raises(InputError, match="cannot be read: it is no regular file"):
        load_source(f"features:{tmp_path}/features.npz")
