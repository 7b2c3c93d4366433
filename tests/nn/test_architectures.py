import pytest
import torch

from implicit_geometry import InputError
from implicit_geometry.nn.architectures import linear, mlp, resnet18


def test_mlp_has_depth_hidden_layers_and_a_head_without_bias():
    model = mlp(64, 10, depth=4, width=32)
    kinds = [type(layer).__name__ for layer in model.features]
    assert kinds == ["Flatten"] + ["Linear", "BatchNorm1d", "ReLU"] * 4
    assert model.fc.bias is None
    assert model.fc.weight.shape == (10, 32)
    assert model(torch.randn(3, 8, 8)).shape == (3, 10)


@pytest.mark.parametrize(
    ("normalization", "layers"), [("layer", ["Linear", "LayerNorm", "ReLU"]), ("none", ["Linear", "ReLU"])]
)
def test_mlp_without_batch_norm(normalization, layers):
    model = mlp(6, 3, depth=2, width=8, normalization=normalization)
    assert [type(layer).__name__ for layer in model.features] == ["Flatten", *layers, *layers]
    one, many = model(torch.ones(1, 6)), model(torch.ones(4, 6))
    torch.testing.assert_close(many, one.expand(4, 3))


def test_another_normalization_is_refused():
    with pytest.raises(InputError, match=r"^normalization must be one of batch, layer, none, got 'group'"):
        mlp(6, 3, normalization="group")


def test_embeddings_are_the_input_of_the_head():
    model = mlp(5, 3, depth=1, width=7).eval()
    inputs = torch.randn(4, 5)
    torch.testing.assert_close(model(inputs), model.features(inputs) @ model.fc.weight.T)


@pytest.mark.parametrize("size", [{"depth": 0}, {"width": 0}, {"in_features": 0}, {"num_classes": 1}, {"width": 2.5}])
def test_sizes_are_checked(size):
    arguments = {"in_features": 4, "num_classes": 3, "depth": 1, "width": 8, **size}
    with pytest.raises(InputError, match=next(iter(size))):
        mlp(arguments.pop("in_features"), arguments.pop("num_classes"), **arguments)


def test_resnet18_is_that_of_torchvision_with_another_stem():
    resnet = pytest.importorskip("torchvision.models.resnet")
    expected = resnet.resnet18(num_classes=7)
    expected.conv1 = torch.nn.Conv2d(2, 64, 3, padding=1, bias=False)
    expected.maxpool = torch.nn.Identity()
    expected.fc = torch.nn.Linear(512, 7, bias=False)
    model = resnet18(2, 7)
    source, target = expected.state_dict(), model.state_dict()
    assert [value.shape for value in source.values()] == [value.shape for value in target.values()]
    model.load_state_dict(dict(zip(target, source.values(), strict=True)))
    inputs = torch.randn(2, 2, 12, 12, generator=torch.Generator().manual_seed(0))
    for mode in (True, False):
        torch.testing.assert_close(model.train(mode)(inputs), expected.train(mode)(inputs))


def test_resnet18_has_the_width_asked_for():
    model = resnet18(1, 3, width=4)
    convolutions = [layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert {layer.out_channels for layer in convolutions} == {4, 8, 16, 32}
    assert len([layer for layer in convolutions if layer.kernel_size == (3, 3)]) == 17
    assert model.features[:-2](torch.zeros(1, 1, 32, 32)).shape == (1, 32, 4, 4)


def test_the_linear_network_is_its_head():
    model = linear(6, 3)
    inputs = torch.randn(4, 6)
    torch.testing.assert_close(model(inputs), inputs @ model.fc.weight.T)
    assert [name for name, _ in model.named_parameters()] == ["fc.weight"]


@pytest.mark.parametrize("size", [{"in_channels": 0}, {"width": 0}, {"num_classes": 1}])
def test_sizes_of_resnet18_are_checked(size):
    arguments = {"in_channels": 1, "num_classes": 3, "width": 2, **size}
    with pytest.raises(InputError, match=next(iter(size))):
        resnet18(arguments.pop("in_channels"), arguments.pop("num_classes"), **arguments)
