"""Networks by name: the library's own, any of torchvision or timm, and a user's function.

timm takes off its models' heads itself (``num_classes=0``); torchvision has no such option, so its models' last linear
layer is replaced here.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any

import torch
from torch import nn

from implicit_geometry._validate import InputError, choice, flag, instance, nearest, user_object
from implicit_geometry.nn import architectures
from implicit_geometry.nn.check import dimension
from implicit_geometry.nn.measuring.head_hook import Head, find_head

Shape = tuple[int, ...]


def make_network(name: str, input_shape: Shape, num_classes: int, **options: Any) -> nn.Module:
    """Build a classifier by name, with a linear head whose input is the embedding.

    | name | network |
    |---|---|
    | ``"linear"`` | the head alone, for inputs that are embeddings |
    | ``"mlp"`` | :func:`~implicit_geometry.nn.architectures.mlp`; options ``depth``, ``width``, ``normalization`` |
    | ``"resnet18"`` | :func:`~implicit_geometry.nn.architectures.resnet18`, small images; option ``width`` |
    | ``"torchvision:NAME"`` | a classification model of torchvision; options are its own, such as ``weights`` |
    | ``"timm:NAME"`` | a model of timm; options are those of ``timm.create_model``, such as ``pretrained`` |
    | ``"MODULE:FUNCTION"`` | your own: ``FUNCTION(input_shape, num_classes, **options)`` in an importable module |

    All but your own also take ``head_bias=True``: a head with a bias.

    Args:
        name: one of these.
        input_shape: shape of one input without the batch, such as (channels, height, width).
        num_classes: k >= 2.
        **options: of the network.

    Returns:
        ``nn.Sequential`` of ``features`` and ``fc``, the head. A user's own network is returned as it is; its head must
        be one that :func:`linear_head` finds.

    Raises:
        InputError: an unknown name (with the nearest right one) or option (with those the network takes), inputs that
            the network cannot take, a package that is not installed, or a network without such a head.

    Example:
        >>> network = make_network("resnet18", (3, 32, 32), 10, width=4)
        >>> network.fc
        Linear(in_features=32, out_features=10, bias=False)
    """
    check_network(name, options)
    if not isinstance(input_shape, Iterable) or isinstance(input_shape, str):
        raise InputError("input_shape", "must be a sequence of sizes", type(input_shape).__name__)
    shape = tuple(dimension("input_shape", size) for size in input_shape)
    if not shape:
        raise InputError("input_shape", "must hold at least one size", "none")
    k = dimension("num_classes", num_classes, minimum=2)
    source, _, part = name.partition(":")
    if name in _OWN:
        return _OWN[name](shape, k, **options)
    if source in _LIBRARIES:
        theirs, head_bias = _without_head_bias(options)
        features = _LIBRARIES[source](part, shape[0], theirs)
        return architectures.with_head(features, _feature_dim(name, features, shape), k, head_bias=head_bias)
    network = _users_function(source, part)(shape, k, **options)
    if not isinstance(network, nn.Module):
        raise InputError(name, "must return an nn.Module", f"a {type(network).__name__}")
    try:
        linear_head(network, k)
    except InputError as error:
        raise InputError(f"{error.argument} of {name}", error.expectation, error.given) from error
    return network


def linear_head(network: nn.Module, num_classes: int) -> Head:
    """The head of a network that :func:`make_network` builds, with a bias or without.

    It is the layer ``fc`` where that is linear and has ``num_classes`` outputs, else the one that
    :func:`~implicit_geometry.nn.measuring.head_hook.find_head` finds.

    Args:
        network: with one embedding and one label per input.
        num_classes: k.

    Raises:
        InputError: there is no such layer, several could be meant, or it is a convolution.

    Example:
        >>> linear_head(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), 3).name
        '2'
    """
    usual = getattr(network, "fc", None)
    if isinstance(usual, nn.Linear) and usual.out_features == num_classes:
        return Head("fc", usual)
    found = find_head(network, num_classes=num_classes)
    if not isinstance(found.layer, nn.Linear):
        kind = f"{found.name!r}, a {type(found.layer).__name__}"
        raise InputError("head", f"must be a linear layer with {num_classes} outputs", kind)
    return found


def check_network(name: str, options: Mapping[str, Any]) -> None:
    """Refuse a name or options that :func:`make_network` would refuse, without data and without loading weights.

    A user's function is not called: only the names of its options are checked.

    Args:
        name: of the network.
        options: its options.

    Raises:
        InputError: as :func:`make_network`.

    Example:
        >>> try:
        ...     check_network("mlp", {"widht": 512})
        ... except InputError as error:
        ...     print(error)
        options of mlp must be among depth, width, normalization, head_bias, got 'widht'; did you mean 'width'?
    """
    if not isinstance(options, Mapping):
        raise InputError("options", "must be a mapping of names to values", type(options).__name__)
    source, _, part = instance("network", name, str).partition(":")
    if reserved := {"name", "input_shape", "num_classes"} & set(options):
        raise InputError(f"options of {name}", "must not hold what is given beside them", sorted(reserved))
    if name in _OWN:
        _check_options(name, _OWN[name], options)
        with torch.device("meta"):
            _OWN[name]((3, 32, 32), 2, **options)
    elif source in _LIBRARIES:
        _library(source)
        theirs, _ = _without_head_bias(options)
        unloaded = {key: value for key, value in theirs.items() if key not in ("weights", "pretrained")}
        with torch.device("meta"), suppress(RuntimeError):  # where construction needs values, which meta tensors lack
            _LIBRARIES[source](part, 3, unloaded)
    elif source and part:
        _check_options(name, _users_function(source, part), options)
    else:
        choice("network", name, [*_OWN, "torchvision:NAME", "timm:NAME", "MODULE:FUNCTION"])


def _linear(input_shape: Shape, num_classes: int, *, head_bias: bool = False) -> nn.Module:
    return architectures.linear(math.prod(input_shape), num_classes, head_bias=head_bias)


def _mlp(
    input_shape: Shape,
    num_classes: int,
    *,
    depth: int = 3,
    width: int = 256,
    normalization: str = "batch",
    head_bias: bool = False,
) -> nn.Module:
    size = math.prod(input_shape)
    return architectures.mlp(
        size, num_classes, depth=depth, width=width, normalization=normalization, head_bias=head_bias
    )


def _resnet18(input_shape: Shape, num_classes: int, *, width: int = 64, head_bias: bool = False) -> nn.Module:
    if len(input_shape) != 3:
        raise InputError("input_shape", "must be (channels, height, width) for resnet18", input_shape)
    return architectures.resnet18(input_shape[0], num_classes, width=width, head_bias=head_bias)


def _without_head_bias(options: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The options that are the other library's, and whether the head has a bias, which is put on here."""
    theirs = dict(options)
    return theirs, flag("head_bias", theirs.pop("head_bias", False))


def _torchvision(name: str, channels: int, options: Mapping[str, Any]) -> nn.Module:
    """A model of torchvision whose last linear layer is the identity."""
    library = _library("torchvision").models
    _check_known("torchvision", name, library.list_models(module=library))
    model = _with_options(f"torchvision:{name}", library.get_model, name, options)
    if getattr(model, "aux_logits", False):
        raise InputError(f"torchvision:{name}", "must have the option aux_logits=False: it has several heads otherwise")
    linear = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise InputError("network", "must have a linear head", f"torchvision:{name}, which has no linear layer")
    parent, _, last = linear[-1].rpartition(".")
    setattr(model.get_submodule(parent), last, nn.Identity())
    if channels == 1:
        model.register_forward_pre_hook(_as_colour)
    return model


def _as_colour(model: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    """Grey images with the three equal channels that torchvision's models expect."""
    return (inputs[0].expand(-1, 3, -1, -1),)


def _timm(name: str, channels: int, options: Mapping[str, Any]) -> nn.Module:
    """A model of timm without its head."""
    library = _library("timm")
    if not library.is_model(name):
        _check_known("timm", name, library.list_models())
    return _with_options(
        f"timm:{name}", library.create_model, name, {"in_chans": channels, **options, "num_classes": 0}
    )


_OWN: dict[str, Callable[..., nn.Module]] = {"linear": _linear, "mlp": _mlp, "resnet18": _resnet18}
_FUNCTION: Any = Callable  # a class of networks is one too
_LIBRARIES: dict[str, Callable[[str, int, Mapping[str, Any]], nn.Module]] = {
    "torchvision": _torchvision,
    "timm": _timm,
}


def _library(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(
            "network", f"needs {package}, which cannot be imported ({error}): pip install 'implicit-geometry[vision]'"
        ) from error


def _check_known(library: str, name: str, known: Iterable[str]) -> None:
    names = list(known)
    if name not in names:
        raise InputError("network", f"must be a classification model of {library}", f"{name!r}{nearest(name, names)}")


def _with_options(network: str, build: Callable[..., nn.Module], name: str, options: Mapping[str, Any]) -> nn.Module:
    try:
        return build(name, **options)
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        raise InputError(f"options of {network}", "must be some that it takes", f"{dict(options)} ({error})") from error


def _check_options(network: str, build: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse options that are no keywords of a function of (input_shape, num_classes, ...)."""
    parameters = list(inspect.signature(build).parameters.values())
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return
    names = [parameter.name for parameter in parameters[2:]]
    for option in options:
        if option not in names:
            taken = f"among {', '.join(names)}" if names else "none"
            raise InputError(f"options of {network}", f"must be {taken}", f"{option!r}{nearest(option, names)}")


def _users_function(module: str, function: str) -> Callable[..., Any]:
    try:
        found: Callable[..., Any] = user_object("network", module, function, _FUNCTION, "a function")
        return found
    except InputError as error:
        hint = nearest(module, _LIBRARIES)
        raise InputError(error.argument, error.expectation, f"{error.given}{hint}") from error


def _feature_dim(name: str, features: nn.Module, shape: Shape) -> int:
    """Embedding dimension of features, by a trial in eval mode; they are left in training mode."""
    features.eval()
    try:
        with torch.no_grad():
            embeddings = features(torch.zeros(1, *shape))
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        raise InputError("input_shape", f"must be one that {name} takes", f"{shape} ({error})") from error
    if not isinstance(embeddings, torch.Tensor) or embeddings.ndim != 2:
        found = tuple(embeddings.shape) if isinstance(embeddings, torch.Tensor) else type(embeddings).__name__
        raise InputError(name, "must give one embedding per input, shape (1, d)", found)
    features.train()
    return int(embeddings.shape[1])
