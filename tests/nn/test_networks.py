"""Every network is features and a head, with a bias where asked; names and options are refused in words."""

import sys

import pytest
import torch
from torch import nn

from implicit_geometry import InputError
from implicit_geometry.nn.architectures import mlp
from implicit_geometry.nn.measuring.two_passes import measure
from implicit_geometry.nn.networks import check_network, linear_head, make_network

IMAGE = (3, 32, 32)
NAMED = "def named(**layers):\n    return nn.Sequential(__import__('collections').OrderedDict(layers))\n"

NETWORKS = [
    ("linear", (7,), {}, 7),
    ("mlp", (1, 8, 8), {"depth": 2, "width": 16}, 16),
    ("resnet18", (1, 28, 28), {"width": 4}, 32),
    ("resnet18", (5, 9, 9), {"width": 2}, 16),
    ("torchvision:resnet18", IMAGE, {}, 512),
    ("torchvision:mobilenet_v3_small", IMAGE, {}, 1024),
    ("torchvision:googlenet", (3, 64, 64), {"aux_logits": False, "init_weights": False}, 1024),
    ("timm:resnet10t", (1, 32, 32), {}, 512),
    ("timm:vit_tiny_patch16_224", IMAGE, {"img_size": 32}, 192),
]


@pytest.fixture(autouse=True)
def _libraries(request):
    name = getattr(getattr(request.node, "callspec", None), "params", {}).get("name", "")
    if str(name).startswith(("torchvision:", "timm:")):
        pytest.importorskip(name.partition(":")[0], reason="needs the extra vision")


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    """A module of the user's on the import path."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)

    def write(text):
        (tmp_path / "my_networks.py").write_text("import torch\nfrom torch import nn\n" + text)

    return write


@pytest.mark.parametrize(("name", "shape", "options", "width"), NETWORKS)
def test_a_network_is_features_and_a_head_without_bias(name, shape, options, width):
    network = make_network(name, shape, 10, **options)
    assert [child for child, _ in network.named_children()] == ["features", "fc"]
    assert network.fc.bias is None
    assert network.fc.weight.shape == (10, width)
    assert network.training
    inputs = torch.randn(3, *shape)
    assert network(inputs).shape == (3, 10)
    network.eval()
    torch.testing.assert_close(network(inputs), network.features(inputs) @ network.fc.weight.T)


@pytest.mark.parametrize(("name", "shape", "options", "width"), NETWORKS)
def test_a_head_has_a_bias_where_one_is_asked_for(name, shape, options, width):
    check_network(name, {**options, "head_bias": True})
    torch.manual_seed(0)
    network = make_network(name, shape, 10, **options, head_bias=True).eval()
    torch.manual_seed(0)
    without = make_network(name, shape, 10, **options, head_bias=False).eval()
    assert without.fc.bias is None
    assert network.fc.bias.shape == (10,)
    inputs = torch.randn(3, *shape)
    torch.testing.assert_close(network(inputs), without(inputs) + network.fc.bias)


@pytest.mark.parametrize("name", ["mlp", "torchvision:resnet18", "timm:resnet10t"])
def test_a_bias_is_true_or_false(name):
    for refuse in (check_network, lambda name, options: make_network(name, IMAGE, 10, **options)):
        with pytest.raises(InputError, match=r"^head_bias must be True or False, got 1$"):
            refuse(name, {"head_bias": 1})


def test_measure_finds_the_head():
    labels = torch.arange(6) % 3
    batches = [(torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)), labels)]
    measured = measure(make_network("resnet18", (1, 8, 8), 3, width=2), batches)
    assert measured.feature_dim == 16


def test_torchvisions_models_take_grey_images_as_three_equal_channels():
    network = make_network("torchvision:resnet18", (1, 32, 32), 5).eval()
    grey = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network(grey), network(grey.repeat(1, 3, 1, 1)))


def test_the_seed_is_the_callers():
    networks = []
    for build in (lambda: make_network("mlp", (2, 3), 4, depth=2, width=5), lambda: mlp(6, 4, depth=2, width=5)):
        torch.manual_seed(3)
        networks.append(build())
    for one, other in zip(*(network.parameters() for network in networks), strict=True):
        assert torch.equal(one, other)


class TestUsersOwn:
    def test_it_is_called_with_shape_classes_and_options(self, user_module):
        user_module(
            "class Net(nn.Sequential):\n"
            "    def __init__(self, size, k, width):\n"
            "        super().__init__(nn.Flatten(), nn.Linear(size, width))\n"
            "        self.fc = nn.Linear(width, k, bias=False)\n"
            "def build(input_shape, num_classes, *, width=3):\n"
            "    return Net(input_shape[0] * input_shape[1], num_classes, width)\n"
        )
        network = make_network("my_networks:build", (2, 4), 6, width=5)
        assert network.fc.weight.shape == (6, 5)
        assert network(torch.zeros(7, 2, 4)).shape == (7, 6)
        with pytest.raises(InputError, match=r"options of my_networks:build must be among width, got 'widht'.*'width'"):
            check_network("my_networks:build", {"widht": 5})

    @pytest.mark.parametrize(
        ("returned", "name", "bias"),
        [
            ("nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, num_classes))", "2", True),
            ("nn.Sequential(nn.Linear(2, num_classes, bias=False))", "0", False),
            ("named(fc=nn.Linear(2, num_classes))", "fc", True),
            ("named(fc=nn.Linear(2, num_classes), other=nn.Linear(num_classes, num_classes))", "fc", True),
            ("named(classifier=nn.Linear(2, num_classes), fc=nn.Linear(num_classes, num_classes))", "fc", True),
            ("named(fc=nn.Linear(2, 9), classifier=nn.Linear(9, num_classes))", "classifier", True),
        ],
    )
    def test_its_head_is_found_with_a_bias_or_without(self, user_module, returned, name, bias):
        user_module(f"{NAMED}def build(input_shape, num_classes):\n    return {returned}\n")
        found = linear_head(make_network("my_networks:build", (2,), 4), 4)
        assert (found.name, found.bias is not None) == (name, bias)

    @pytest.mark.parametrize(
        ("returned", "message"),
        [
            (
                "nn.Sequential(nn.Linear(2, 3))",
                r"head of my_networks:build must be .* with 4 outputs, got only '0' with 3",
            ),
            ("named(fc=nn.Linear(2, 9))", r"head of my_networks:build must be .* with 4 outputs, got only 'fc' with 9"),
            ("nn.Sequential(nn.Flatten())", r"head of my_networks:build must be .* with 4 outputs, got none"),
            ("named(fc=nn.Bilinear(2, 2, 4))", r"head of my_networks:build must be .* with 4 outputs, got none"),
            (
                "nn.Sequential(nn.Conv2d(2, 4, 1), nn.Flatten())",
                r"head of my_networks:build must be a linear layer with 4 outputs, got '0', a Conv2d",
            ),
            (
                "nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 4))",
                r"head of my_networks:build must be named where several layers .*'0' \(4 outputs\), '1' \(4 outputs\)",
            ),
            (
                "named(fc=nn.LazyLinear(9), head=nn.LazyLinear(4))",
                r"head of my_networks:build must be .* with 4 outputs",
            ),
            ("'text'", "my_networks:build must return an nn.Module, got a str"),
            ("nn.Linear", "my_networks:build must return an nn.Module, got a type"),
        ],
    )
    def test_without_a_linear_head_it_is_refused(self, user_module, returned, message):
        user_module(f"{NAMED}def build(input_shape, num_classes):\n    return {returned}\n")
        with pytest.raises(InputError, match=f"^{message}"):
            make_network("my_networks:build", (2,), 4)

    def test_a_module_that_makes_tensors_gets_real_ones_also_in_a_check(self, user_module):
        user_module(
            "values = torch.ones(2)\n"
            "def build(input_shape, num_classes):\n"
            "    assert not values.is_meta\n"
            "    head = nn.Linear(2, num_classes, bias=False)\n"
            "    return nn.Sequential(__import__('collections').OrderedDict(fc=head))\n"
        )
        check_network("my_networks:build", {})
        make_network("my_networks:build", (2,), 4)

    def test_it_is_found_in_the_current_folder(self, tmp_path, monkeypatch):
        (tmp_path / "here_only.py").write_text("def build(input_shape, num_classes): ...\n")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
        check_network("here_only:build", {})

    def test_module_and_function_must_exist(self, user_module):
        user_module("def build(input_shape, num_classes): ...\n")
        with pytest.raises(InputError, match=r"module that can be imported .*'no_such_module'"):
            check_network("no_such_module:build", {})
        with pytest.raises(InputError, match=r"function of module my_networks, got 'biuld'; did you mean 'build'\?"):
            check_network("my_networks:biuld", {})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet81", {}, r"network must be one of linear, mlp, .*did you mean 'resnet18'\?"),
        ("", {}, "network must be one of"),
        (7, {}, "network must be a str"),
        ("torchvison:resnet18", {}, r"did you mean 'torchvision'\?"),
        ("torchvision:resnet81", {}, r"of torchvision, got 'resnet81'; did you mean 'resnet18'\?"),
        ("torchvision:retinanet_resnet50_fpn", {}, "classification model of torchvision"),
        ("torchvision:squeezenet1_0", {}, "no linear layer"),
        ("torchvision:googlenet", {"init_weights": False}, "aux_logits=False"),
        ("torchvision:resnet18", {"widht": 3}, "options of torchvision:resnet18 .*'widht'"),
        ("timm:resnet81", {}, "of timm, got 'resnet81'; did you mean 'resnet"),
        ("timm:hf-hub:timm/resnet18", {}, "classification model of timm"),
        ("timm:resnet18", {"widht": 3}, "options of timm:resnet18 .*'widht'"),
        ("mlp", {"widht": 3}, "options of mlp must be among depth, width, normalization, head_bias, got 'widht'"),
        ("mlp", {"depth": 0}, "depth must be"),
        ("mlp", {"num_classes": 3}, "options of mlp must not hold .*num_classes"),
        ("resnet18", {"width": 0.5}, "width must be"),
        ("linear", {"width": 3}, "options of linear must be among head_bias, got 'width'"),
    ],
)
def test_names_and_options_are_checked_without_building(name, options, message):
    with pytest.raises(InputError, match=message):
        check_network(name, options)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("torchvision:resnet18", (2, 28, 28)), ("timm:vit_tiny_patch16_224", IMAGE)],
)
def test_inputs_that_a_network_cannot_take_are_refused(name, shape):
    with pytest.raises(InputError, match=f"input_shape must be one that {name} takes, got .*{shape[1]}"):
        make_network(name, shape, 10)


@pytest.mark.parametrize("shape", [(28, 28), (0, 28, 28), (1, 28.5, 28)])
def test_input_shapes_are_checked(shape):
    with pytest.raises(InputError, match="input_shape"):
        make_network("resnet18", shape, 10)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"pip install 'implicit-geometry\[vision\]'"):
        check_network("timm:resnet18", {})


def test_a_network_is_not_built_to_be_checked(monkeypatch):
    devices = []
    init = nn.Linear.__init__

    def record(self, *args, **kwargs):
        init(self, *args, **kwargs)
        devices.append(self.weight.device.type)

    monkeypatch.setattr(nn.Linear, "__init__", record)
    check_network("mlp", {"depth": 4, "width": 40_000})
    assert set(devices) == {"meta"}
