"""ResNet-18 weights to put into checkpoints, and objects whose classes no longer exist when the file is read."""

from __future__ import annotations

import argparse
import sys
import types
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from mec_transfer.backbone.backbone import build_resnet

Weights = dict[str, torch.Tensor]


def make_weights(seed: int, arch: str = "resnet18", stem: str = "imagenet") -> Weights:
    """Positive values, distinct by name: every tensor is another window on one small storage, so files are small."""
    with torch.device("meta"):
        like = build_resnet(arch, stem).state_dict()
    base = torch.rand(7 * len(like) + 5000, generator=torch.Generator().manual_seed(seed)) + 0.1
    return {
        name: base.as_strided(tensor.shape, [1] * tensor.ndim, 7 * i)
        if tensor.is_floating_point()
        else torch.tensor(1000 + i)
        for i, (name, tensor) in enumerate(like.items())
    }


@pytest.fixture(scope="session")
def weights() -> Weights:
    return make_weights(0)


@pytest.fixture(scope="session")
def teacher() -> Weights:
    return make_weights(1)


@pytest.fixture(scope="session")
def cifar() -> Weights:
    return make_weights(2, stem="cifar")


@pytest.fixture
def vanished() -> Iterator[Callable[[], dict[str, object]]]:
    """Objects as training scripts leave them beside the weights; `vanish` removes their modules afterwards."""
    modules = {}

    def define(module: str, name: str, *bases: type) -> type:
        parts = module.split(".")
        for i in range(len(parts)):
            dotted = ".".join(parts[: i + 1])
            if dotted not in sys.modules:
                modules[dotted] = sys.modules[dotted] = types.ModuleType(dotted)
        made = type(name, bases, {"__module__": module, "__qualname__": name})
        setattr(sys.modules[module], name, made)
        return made

    attributes = define("vanished_lightning.utilities.parsing", "AttributeDict", dict)
    config = define("vanished_omegaconf.dictconfig", "DictConfig")
    made = config()
    made.__dict__.update(_content={"lr": 0.1, "parent": made}, _flags_cache=None)
    counter = define("vanished_lightning.callbacks", "Callback")

    yield lambda: {
        "args": argparse.Namespace(lr=0.1, dist_url="tcp://localhost:10001", gpu=None),
        "hyper_parameters": attributes(lr=np.float64(0.3), dims=[1, 2]),
        "config": made,
        "callbacks": {counter: {"best": np.float32(71.5), counter(): {1, 2}}},
        "best_acc1": np.float64(70.8),
        "rng": np.arange(5, dtype=np.uint32),
        "size": torch.Size([2, 3]),
        "dtype": torch.float16,
        "device": torch.device("cpu"),
    }
    for name in modules:
        sys.modules.pop(name, None)


@pytest.fixture
def vanish() -> Callable[[], None]:
    """Remove the modules of `vanished`, so that reading the file could not import them even if it tried."""

    def remove() -> None:
        for name in [name for name in sys.modules if name.startswith("vanished_")]:
            del sys.modules[name]

    return remove
