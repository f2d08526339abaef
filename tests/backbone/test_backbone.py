from __future__ import annotations

import dataclasses

import pytest
import torch

from mec_transfer.backbone.backbone import Backbone, Preprocessing, build_resnet


def random_backbone(stem: str = "imagenet") -> Backbone:
    torch.manual_seed(0)
    return Backbone(arch="resnet18", stem=stem, state_dict=build_resnet("resnet18", stem).state_dict())  # type: ignore[arg-type]


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_module_computes_what_torchvision_computes(stem: str) -> None:
    backbone = random_backbone(stem)
    expected = build_resnet("resnet18", stem).eval()  # type: ignore[arg-type]
    expected.load_state_dict(backbone.state_dict)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(backbone.module().eval()(images), expected(images))


def test_module_leaves_the_random_stream_and_the_backbone_alone() -> None:
    backbone = random_backbone()
    before, sha = torch.get_rng_state(), backbone.sha256
    network = backbone.module().train()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.requires_grad for parameter in network.parameters())
    network(torch.randn(4, 3, 32, 32)).sum().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    assert dataclasses.replace(backbone).sha256 == sha


def test_counters_may_be_absent_but_nothing_else() -> None:
    backbone = random_backbone()
    state = {name: t for name, t in backbone.state_dict.items() if not name.endswith("num_batches_tracked")}
    assert dataclasses.replace(backbone, state_dict=state).module().bn1.num_batches_tracked == 0  # type: ignore[union-attr]
    del state["layer1.0.bn1.running_var"]
    with pytest.raises(RuntimeError, match="running_var"):
        dataclasses.replace(backbone, state_dict=state).module()


def test_sha_is_of_weights_and_their_meaning() -> None:
    backbone = random_backbone()
    changed = dict(backbone.state_dict)
    changed["fc_like"] = changed.pop("conv1.weight")
    counters = {**backbone.state_dict, "bn1.num_batches_tracked": torch.tensor(7)}
    same = dataclasses.replace(backbone, state_dict=dict(reversed(backbone.state_dict.items())))
    assert same.sha256 == backbone.sha256
    assert dataclasses.replace(backbone, state_dict=counters).sha256 == backbone.sha256
    others = [
        dataclasses.replace(backbone, state_dict=changed),
        dataclasses.replace(backbone, preprocessing=Preprocessing(channel_order="BGR")),
        dataclasses.replace(backbone, state_dict={n: t.double() for n, t in backbone.state_dict.items()}),
    ]
    assert len({backbone.sha256, *(other.sha256 for other in others)}) == 4
