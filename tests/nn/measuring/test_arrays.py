"""Stored embeddings are measured as a network that gives them is, whatever holds them and however they are cut."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from implicit_geometry._validate import InputError
from implicit_geometry.nn.measuring import arrays
from implicit_geometry.nn.measuring.arrays import measure_arrays
from implicit_geometry.nn.measuring.two_passes import measure
from implicit_geometry.rules import cdt

K, D, N = 4, 6, 50
QUANTITIES = ("class_means", "embedding", "class_variance", "class_nc1", "class_accuracy", "classifier")


@pytest.fixture(params=[True, False], ids=["bias", "no bias"])
def head(request):
    torch.manual_seed(0)
    return nn.Linear(D, K, bias=request.param).double()


@pytest.fixture
def stored():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.concatenate([np.arange(K), rng.integers(0, K, N - K)]))
    return (3 * np.eye(K, D)[labels] + rng.standard_normal((N, D))), labels


def assert_same(found, expected):
    assert found.counts == expected.counts
    assert found.centre_agreement == expected.centre_agreement
    for name in QUANTITIES:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12, atol=1e-14)


def of_network(head, embeddings, labels, **options):
    """The same by the head of a network, in one batch."""
    return measure(nn.Sequential(head), [(torch.tensor(embeddings), torch.tensor(labels))], head="0", **options)


@pytest.mark.parametrize("entries", [1, 7 * D, 10**6], ids=["one by one", "chunks", "at once"])
@pytest.mark.parametrize("frame", ["projected", "centred"])
def test_arrays_are_measured_as_the_network_is(head, stored, entries, frame, monkeypatch):
    monkeypatch.setattr(arrays, "_ENTRIES_AT_ONCE", entries)
    loss = cdt([40, 30, 20, 10], gamma=0.5)
    found = measure_arrays(*stored, head.weight, head.bias, parameterization=loss, frame=frame)
    assert_same(found, of_network(head, *stored, parameterization=loss, frame=frame))


def test_memory_maps_and_files_are_measured(head, stored, tmp_path):
    paths = [str(tmp_path / f"{name}.npy") for name in ("embeddings", "labels")]
    for path, array in zip(paths, stored, strict=True):
        np.save(path, array)
    expected = of_network(head, *stored)
    assert_same(measure_arrays(*(np.load(path, mmap_mode="r") for path in paths), head.weight, head.bias), expected)
    assert_same(measure_arrays(paths[0], Path(paths[1]), head.weight, head.bias), expected)


def test_samples_of_the_ignored_label_do_not_count(head, stored):
    embeddings, labels = stored
    hidden = np.arange(N) % 5 == 4
    hidden[:K] = False
    given = np.where(hidden[:, None], np.nan, embeddings), np.where(hidden, 9, labels)
    assert_same(
        measure_arrays(*given, head.weight, head.bias, ignore_index=9),
        of_network(head, embeddings[~hidden], labels[~hidden]),
    )


def test_a_memory_map_is_never_read_whole(stored, monkeypatch):
    longest = []
    convert = arrays.tensor_of
    monkeypatch.setattr(arrays, "_ENTRIES_AT_ONCE", 8 * D)
    monkeypatch.setattr(arrays, "tensor_of", lambda name, part: longest.append(len(part)) or convert(name, part))
    measure_arrays(*stored, np.eye(K, D))
    assert max(longest) == 8


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"labels": np.zeros(N - 1, dtype=int)},
            r"^labels must have one entry per embedding, shape \(50,\), got \(49,\)",
        ),
        (
            {"embeddings": np.zeros((N, D + 1))},
            r"^embeddings must have shape \(N, 6\), as classifier has, got \(50, 7\)",
        ),
        ({"embeddings": np.zeros((N, D), dtype=int)}, "^embeddings must have a floating dtype, got int64"),
        ({"embeddings": [[0.0] * D] * N}, "^embeddings must be a NumPy array or the path of an .npy file, got list"),
        ({"labels": np.full(N, K)}, r"^labels must lie in 0\.\.3, got 4 of the 50 from 0 on"),
        (
            {"embeddings": np.full((N, D), np.nan)},
            "^embeddings must be finite, got NaN, infinity or overflow in row 0 of",
        ),
        (
            {"labels": np.zeros(N, dtype=int)},
            "^embeddings must have samples of every class, got none of classes 1, 2, 3",
        ),
        ({"classifier": np.eye(K)[0]}, "^classifier must be a finite, non-empty matrix"),
        ({"bias": np.zeros(K + 1)}, r"^bias must have shape \(4,\), got \(5,\)"),
        ({"frame": "upright"}, "^frame must be"),
    ],
)
def test_bad_input_is_named(stored, changed, message):
    given = {"embeddings": stored[0], "labels": stored[1], "classifier": np.eye(K, D)}
    with pytest.raises(InputError, match=message):
        measure_arrays(**(given | changed))


class TestAFileThatEndsEarly:
    @pytest.fixture
    def path(self, stored, tmp_path):
        path = tmp_path / "embeddings.npy"
        np.save(path, stored[0])
        return path

    def test_is_refused_by_its_path(self, stored, path):
        os.truncate(path, path.stat().st_size - 8)
        with pytest.raises(
            InputError, match=r"^embeddings must be a whole \.npy file that can be read, got .*npy \(mmap"
        ):
            measure_arrays(path, stored[1], np.eye(K, D))

    @pytest.mark.parametrize("part", [slice(None), slice(10, None)], ids=["whole", "a view"])
    def test_is_refused_where_it_was_cut_after_it_was_mapped(self, stored, path, part):
        mapped = np.load(path, mmap_mode="r")
        os.truncate(path, 1000)
        expected = r"^embeddings must be a memory map of a file that has its 2,528 bytes, got .*npy of 1,000 bytes"
        with pytest.raises(InputError, match=expected):
            measure_arrays(mapped[part], stored[1][part], np.eye(K, D))

    def test_other_files_are_refused(self, stored, tmp_path):
        archive = tmp_path / "features.npz"
        np.savez(archive, embeddings=stored[0])
        for path, message in (
            (archive, "got NpzFile"),
            (tmp_path, "it is no regular file"),
            (tmp_path / "none", "No such"),
        ):
            with pytest.raises(InputError, match=rf"^embeddings must be .*{message}"):
                measure_arrays(path, stored[1], np.eye(K, D))
