import hashlib
import os
import pickle
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from implicit_geometry._validate import InputError
from implicit_geometry.counts import ClassCounts
from implicit_geometry.data.load import SOURCES, load_source
from implicit_geometry.data.split import make_split

REAL_DATA = Path(os.environ.get("IGEOM_DATA", Path(__file__).parents[3] / "shared" / "data"))


def write_idx(path, array):
    """An IDX file: two zero bytes, type 8 (uint8), the number of axes, their lengths, the values."""
    path.write_bytes(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())


def write_mnist(root, folder="MNIST", train=40, test=20):
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for prefix, number in (("train", train), ("t10k", test)):
        write_idx(raw / f"{prefix}-images-idx3-ubyte", generator.integers(0, 256, (number, 28, 28), dtype=np.uint8))
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", (np.arange(number) % 10).astype(np.uint8))
    return raw


def write_cifar(root, monkeypatch, name, per_file=30):
    """CIFAR's files, with torchvision's checksums replaced by those of what is written."""
    datasets = pytest.importorskip("torchvision.datasets")
    reader, key, k = {"cifar10": (datasets.CIFAR10, "labels", 10), "cifar100": (datasets.CIFAR100, "fine_labels", 100)}[
        name
    ]
    folder = root / reader.base_folder
    folder.mkdir()
    generator = np.random.default_rng(0)

    def write(file, content):
        (folder / file).write_bytes(pickle.dumps(content))
        return [file, hashlib.md5((folder / file).read_bytes()).hexdigest()]

    def batch():
        return {
            "data": generator.integers(0, 256, (per_file, 3072), dtype=np.uint8),
            key: [i % k for i in range(per_file)],
        }

    for parts in ("train_list", "test_list"):
        monkeypatch.setattr(reader, parts, [write(file, batch()) for file, _ in getattr(reader, parts)])
    _, digest = write(reader.meta["filename"], {reader.meta["key"]: [f"name {c}" for c in range(k)]})
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": digest})
    return folder


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_idx_files_are_read(tmp_path, name, folder):
    pytest.importorskip("torchvision")
    raw = write_mnist(tmp_path, folder)
    source = load_source(name, root=tmp_path)
    assert source.train.shape == (40, 1, 28, 28)
    assert source.train.dtype == np.uint8
    assert source.train.tobytes() == (raw / "train-images-idx3-ubyte").read_bytes()[16:]
    assert source.test_labels.tolist() == [*range(10), *range(10)]
    assert source.class_names[:2] == {"mnist": ("0", "1"), "fashion_mnist": ("T-shirt/top", "Trouser")}[name]
    data = make_split(source, ClassCounts([3] * 5 + [1] * 5), test_per_class=1, validation_per_class=1, augment=True)
    assert len(data.train_labels) == 20
    assert data.augmentation.mirror == (name == "fashion_mnist")


@pytest.mark.parametrize(("name", "per_file", "train"), [("cifar10", 30, 150), ("cifar100", 100, 100)])
def test_cifar_files_are_read(tmp_path, monkeypatch, name, per_file, train):
    folder = write_cifar(tmp_path, monkeypatch, name, per_file)
    source = load_source(name, root=tmp_path)
    assert source.train.shape == (train, 3, 32, 32)
    first = pickle.loads((folder / ("data_batch_1" if name == "cifar10" else "train")).read_bytes())["data"]
    assert np.array_equal(source.train[:per_file].reshape(per_file, 3072), first)  # the files hold red, green, blue
    assert source.test_labels.tolist() == [i % len(source.class_names) for i in range(per_file)]
    assert source.class_names[-1] == f"name {len(source.class_names) - 1}"


class _Bomb:
    def __reduce__(self):
        return (os.mkdir, (os.environ["IGEOM_TEST_BOMB"],))


def test_a_cifar_file_with_another_checksum_is_never_unpickled(tmp_path, monkeypatch):
    folder = write_cifar(tmp_path, monkeypatch, "cifar10")
    monkeypatch.setenv("IGEOM_TEST_BOMB", str(tmp_path / "exploded"))
    (folder / "data_batch_3").write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(InputError, match=r"cifar10 cannot be read: .*corrupted"):
        load_source("cifar10", root=tmp_path)
    assert not (tmp_path / "exploded").exists()
    pickle.loads((folder / "data_batch_3").read_bytes())
    assert (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "digits"])
def test_a_missing_data_set_says_where_and_how(tmp_path, name):
    pytest.importorskip("torchvision")
    with pytest.raises(InputError, match=r"must lie in .*, got no such folder: .*--data-root .*--download") as caught:
        load_source(name, root=tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_missing_file_says_where_and_how(tmp_path):
    pytest.importorskip("torchvision")
    (write_mnist(tmp_path) / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match=rf"mnist cannot be read: .*not found.*{tmp_path.name}.*--download"):
        load_source("mnist", root=tmp_path)


@pytest.mark.parametrize("damage", ["cut", "empty", "magic", "other type", "labels out of range", "fewer labels"])
def test_damaged_idx_files_are_refused(tmp_path, damage):
    pytest.importorskip("torchvision")
    raw = write_mnist(tmp_path)
    images, labels = raw / "train-images-idx3-ubyte", raw / "train-labels-idx1-ubyte"
    whole = images.read_bytes()
    if damage == "labels out of range":
        write_idx(labels, np.full(40, 11, np.uint8))
    elif damage == "fewer labels":
        write_idx(labels, np.arange(30, dtype=np.uint8) % 10)
    else:
        images.write_bytes(
            {
                "cut": whole[:5000],
                "empty": b"",
                "magic": b"\x00\x00\x08\x09" + whole[4:],
                "other type": b"\0\0\x0a\3" + whole[4:],
            }[damage]
        )
    with pytest.raises(InputError, match="mnist"):
        load_source("mnist", root=tmp_path)


def test_without_torchvision_the_extra_is_named(tmp_path, monkeypatch):
    for module in ("torchvision", "torchvision.datasets"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"mnist needs torchvision: pip install 'implicit-geometry\[vision\]'"):
        load_source("mnist", root=tmp_path)


def test_downloading_is_asked_of_torchvision_only_on_request(tmp_path, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets")

    def no_network(self):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr(datasets.MNIST, "download", no_network)
    with pytest.raises(InputError, match="mnist cannot be read: Error downloading"):
        load_source("mnist", root=tmp_path, download=True)
    write_mnist(tmp_path)
    assert load_source("mnist", root=tmp_path).num_classes == 10


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "mnits",
            "name must be one of digits, mnist, .*folder:PATH, .*, gaussian:K, got 'mnits'; did you mean 'mnist'",
        ),
        ("folder:", "did you mean 'folder:PATH'"),
        ("cifar:x", "name must be one of"),
        ("", "name must be one of"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest_right_one(name, message):
    with pytest.raises(InputError, match=message):
        load_source(name)


def test_only_folders_are_scaled():
    with pytest.raises(InputError, match="image_size must be left out for digits"):
        load_source("digits", image_size=32)


@pytest.mark.skipif(not (REAL_DATA / "MNIST" / "raw").is_dir(), reason=f"no MNIST files in {REAL_DATA} (IGEOM_DATA)")
def test_real_mnist():
    pytest.importorskip("torchvision")
    source = load_source("mnist", root=REAL_DATA)
    data = make_split(source, ClassCounts([100] * 5 + [10] * 5), test_per_class=None, validation_per_class=20)
    assert np.bincount(data.train_labels).tolist() == [100] * 5 + [10] * 5
    assert len(data.test_labels) == len(source.test)
    inputs, labels = data.train[:]
    assert abs(inputs.mean()) < 0.1
    assert abs(inputs.std() - 1) < 0.1
    ones, zeros = inputs[labels == 1], inputs[labels == 0]
    assert zeros[..., 14, 14].mean() < ones[..., 14, 14].mean()  # a nought is empty in the middle
