import pytest
import torch

from implicit_geometry import InputError
from implicit_geometry.nn.models import mlp


def test_mlp_has_depth_hidden_layers_and_a_head_without_bias():
    model = mlp(64, 10, depth=4, width=32)
    kinds = [type(layer).__name__ for layer in model.features]
    assert kinds == ["Flatten"] + ["Linear", "BatchNorm1d", "ReLU"] * 4
    assert model.fc.bias is None
    assert model.fc.weight.shape == (10, 32)
    assert model(torch.randn(3, 8, 8)).shape == (3, 10)


def test_embeddings_are_the_input_of_the_head():
    model = mlp(5, 3, depth=1, width=7).eval()
    inputs = torch.randn(4, 5)
    torch.testing.assert_close(model(inputs), model.features(inputs) @ model.fc.weight.T)


@pytest.mark.parametrize("size", [{"depth": 0}, {"width": 0}, {"in_features": 0}, {"num_classes": 1}, {"width": 2.5}])
def test_sizes_are_checked(size):
    arguments = {"in_features": 4, "num_classes": 3, "depth": 1, "width": 8, **size}
    with pytest.raises(InputError, match=next(iter(size))):
        mlp(arguments.pop("in_features"), arguments.pop("num_classes"), **arguments)
