import pickle

import torch

from implicit_geometry.data.augment import Augmentation, standard_augmentation


def candidates(image, padding, mirror):
    """Every image that shifting (and mirroring) can give, by slicing a padded image."""
    channels, height, width = image.shape
    padded = torch.zeros(channels, height + 2 * padding, width + 2 * padding)
    padded[:, padding : padding + height, padding : padding + width] = image
    crops = [
        padded[:, top : top + height, left : left + width]
        for top in range(2 * padding + 1)
        for left in range(2 * padding + 1)
    ]
    return crops + [crop.flip(2) for crop in crops] if mirror else crops


def test_every_image_becomes_one_of_its_own_crops_and_all_crops_occur():
    images = torch.arange(1.0, 1 + 2 * 2 * 3 * 4).reshape(2, 2, 3, 4)
    torch.manual_seed(0)
    for mirror in (False, True):
        augmented = Augmentation(padding=1, mirror=mirror)(images.repeat(200, 1, 1, 1))
        for image, results in zip(images, (augmented[::2], augmented[1::2]), strict=True):
            expected = {tuple(crop.flatten().tolist()) for crop in candidates(image, 1, mirror)}
            assert len(expected) == (18 if mirror else 9)
            assert {tuple(result.flatten().tolist()) for result in results} == expected


def test_the_seed_of_torch_decides():
    images = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    augmentation = pickle.loads(pickle.dumps(Augmentation(padding=2, mirror=True)))
    results = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        results.append(augmentation(images))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_the_batch_given_is_left_alone():
    images = torch.ones(4, 3, 8, 8)
    Augmentation(padding=1, mirror=True)(images)
    assert torch.equal(images, torch.ones(4, 3, 8, 8))


def test_shifts_are_an_eighth_of_the_side():
    assert standard_augmentation((1, 28, 28), mirror=False) == Augmentation(padding=4, mirror=False)
    assert standard_augmentation((1, 8, 8), mirror=False).padding == 1
    assert standard_augmentation((3, 224, 224), mirror=True).padding == 28
