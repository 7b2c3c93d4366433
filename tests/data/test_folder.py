import io
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from implicit_geometry._validate import InputError
from implicit_geometry.counts import ClassCounts
from implicit_geometry.data.folder import LabelledImages
from implicit_geometry.data.load import load_source
from implicit_geometry.data.split import make_split

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def save(folder, classes, number, size=(8, 8), suffix="png"):
    """Images of one colour: the sample's number in red, the class in green."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(number):
            Image.new("RGB", size, (10 * i, 100 * label, 50)).save(folder / name / f"{i:02}.{suffix}")


def colour(image):
    """The colour of an image of one colour, 0..255."""
    pixels = image.permute(1, 2, 0).reshape(-1, 3).double().numpy() * STD + MEAN
    assert np.ptp(pixels, axis=0).max() < 1e-6
    return np.round(pixels[0] * 255).astype(int).tolist()


def test_training_and_validation_folders(tmp_path):
    save(tmp_path / "train", ["bee", "ant"], 5)
    save(tmp_path / "val", ["bee", "ant"], 2)
    source = load_source(f"folder:{tmp_path}", image_size=8)
    assert source.class_names == ("ant", "bee")
    assert source.input_shape == (3, 8, 8)
    data = make_split(source, ClassCounts([3, 1]), test_per_class=None, validation_per_class=2, augment=True)
    assert data.test_labels.tolist() == [0, 0, 1, 1]
    assert [colour(data.test[i][0]) for i in range(4)] == [[0, 100, 50], [10, 100, 50], [0, 0, 50], [10, 0, 50]]
    inputs, labels = data.train[[0, 3]]
    assert colour(inputs[1]) == [10 * (data.train_indices[3] - 5), 0, 50]
    assert labels.tolist() == [0, 1]
    assert len(data.validation) == 4
    assert data.augmentation.mirror


def test_a_test_folder_stands_in_for_val(tmp_path):
    save(tmp_path / "train", ["a", "b"], 3)
    save(tmp_path / "test", ["a", "b"], 1)
    assert load_source(f"folder:{tmp_path}").test_labels.tolist() == [0, 1]


@pytest.mark.parametrize("inside", ["", "train"])
def test_folders_without_a_test_part_are_split_with_a_seed(tmp_path, inside):
    save(tmp_path / inside, ["a", "b"], 5)
    source = load_source(f"folder:{tmp_path}")
    assert source.test is None
    data = make_split(source, ClassCounts([2, 1]), test_per_class=2, seed=1)
    assert data.test_labels.tolist() == [0, 0, 1, 1]
    seen = {tuple(colour(dataset[i][0])) for dataset in (data.train, data.test) for i in range(len(dataset))}
    assert len(seen) == 7


def test_a_class_may_be_called_train(tmp_path):
    save(tmp_path, ["car", "train"], 2)
    assert load_source(f"folder:{tmp_path}").class_names == ("car", "train")


def test_images_of_every_kind_become_rgb_of_the_size_asked_for(tmp_path):
    for label, kind in enumerate(["grey", "transparent"]):
        (tmp_path / kind).mkdir()
        Image.new(("L", "RGBA")[label], (50, 20), (7, (7, 7, 7, 255))[label]).save(tmp_path / kind / "wide.PNG")
        Image.new("RGB", (3, 5), (7, 7, 7)).save(tmp_path / kind / "tall.jpeg")
        (tmp_path / kind / "notes.txt").write_text("not an image")
        (tmp_path / kind / "._wide.PNG").write_text("left by a file manager")
    (tmp_path / ".cache").mkdir()
    source = load_source(f"folder:{tmp_path}")
    assert source.train.shape == (4, 3, 32, 32)
    assert [colour(source.train.read(i)) for i in range(4)] == [[7, 7, 7]] * 4


def test_the_middle_square_is_kept(tmp_path):
    save(tmp_path, ["a", "b"], 1)
    stripes = np.zeros((4, 12, 3), np.uint8)
    stripes[:, 4:8] = 255
    Image.fromarray(stripes).save(tmp_path / "a" / "00.png")
    assert colour(load_source(f"folder:{tmp_path}", image_size=4).train.read(0)) == [255, 255, 255]


def test_a_jpeg_keeps_the_detail_that_the_size_asked_for_can_show(tmp_path):
    save(tmp_path, ["a", "b"], 1, suffix="jpg")
    wave = 127 + 110 * np.cos(2 * np.pi * 3 * (np.arange(64) + 0.5) / 64)  # three periods over the width
    pixels = np.broadcast_to(wave[:, None], (64, 64, 3)).round().astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a" / "00.jpg", quality=95)
    image = load_source(f"folder:{tmp_path}", image_size=16).train.read(0).permute(1, 2, 0).numpy() * STD + MEAN
    expected = np.broadcast_to(wave.reshape(16, 4).mean(1)[:, None] / 255, (16, 16, 3))
    np.testing.assert_allclose(image, expected, atol=0.1)


def test_nothing_is_decoded_before_it_is_asked_for(tmp_path):
    save(tmp_path, ["a", "b"], 4)
    (tmp_path / "b" / "01.png").write_bytes(b"")
    source = load_source(f"folder:{tmp_path}")
    data = make_split(source, ClassCounts([1, 3]), test_per_class=1)
    dataset = pickle.loads(pickle.dumps(LabelledImages(source.train, torch.from_numpy(source.train_labels))))
    assert dataset[0][1] == 0
    assert len(data.train) == 4
    with pytest.raises(InputError, match=r"image .*b.01\.png cannot be read"):
        dataset[[0, 5]]


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp"])
def test_a_cut_off_image_is_named(tmp_path, suffix):
    save(tmp_path, ["a", "b"], 1, suffix=suffix)
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    whole = io.BytesIO()
    Image.fromarray(noise).save(whole, "jpeg" if suffix == "jpg" else suffix)
    (tmp_path / "a" / f"00.{suffix}").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    with pytest.raises(InputError, match=rf"image .*a.00\.{suffix} cannot be read"):
        load_source(f"folder:{tmp_path}").train.read(0)


def test_folders_that_are_no_data_set_are_refused(tmp_path):
    def refused(message, **arguments):
        with pytest.raises(InputError, match=message):
            load_source(f"folder:{tmp_path / 'data'}", **arguments)

    refused("image folder .*data cannot be read")
    (tmp_path / "data").mkdir()
    refused("must hold at least 2 class folders, got 0")
    save(tmp_path / "data" / "train", ["a", "b"], 1)
    refused("image_size must be", image_size=0)
    save(tmp_path / "data" / "val", ["a", "c"], 1)
    refused(r"val must hold the classes of the training part, differs in \['b', 'c'\]")
    (tmp_path / "data" / "train" / "a" / "00.png").unlink()
    refused("class folder .*a must hold images .*got none")
