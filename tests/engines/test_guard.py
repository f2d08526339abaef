"""What both engines compare a network with: every tensor by itself, and what the network makes of an image."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.backends import cudnn

from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.common.errors import RunError
from mec_transfer.engines import guard


def test_tensors_that_are_missing_or_different_are_named() -> None:
    held = {"a": torch.ones(2), "b": torch.zeros(1, 3), "theirs": torch.ones(9)}
    guard.check_tensors(held, {"a": torch.ones(2), "b": torch.zeros(3)}, "x.pth", "tracker")
    with pytest.raises(RunError, match=r"^the tracker does not hold the checkpoint x.pth: b differs; nothing"):
        guard.check_tensors(held, {"b": torch.tensor([0.0, 0, 1e-7])}, "x.pth", "tracker")
    with pytest.raises(RunError, match="c is missing and 1 more tensors; nothing was trained"):
        guard.check_tensors(held, {"c": torch.ones(1), "a": torch.ones(1, 1)}, "x.pth", "tracker")


def test_tensors_are_compared_in_the_networks_own_precision() -> None:
    value = torch.tensor([0.1])
    guard.check_tensors({"a": value.half()}, {"a": value}, "x.pth", "tracker")
    with pytest.raises(RunError, match="a differs"):
        guard.check_tensors({"a": value.double()}, {"a": torch.tensor([0.1], dtype=torch.float64)}, "x.pth", "tracker")


@pytest.mark.parametrize(
    ("found", "difference"),
    [(torch.tensor([3.0, 4.01]), "0.002"), (torch.zeros(3), "inf"), (torch.tensor([3.0, float("nan")]), "nan")],
    ids=["value", "shape", "nan"],
)
def test_the_first_stage_that_differs_is_named_with_the_causes(found: torch.Tensor, difference: str) -> None:
    expected = {"layer1": torch.ones(2), "layer2": torch.tensor([3.0, 4.0])}
    close = {"layer1": torch.ones(2), "layer2": torch.tensor([3.0, 4.0001])}
    assert guard.check_features(close, expected, "tracker", "") == pytest.approx(2e-5, rel=0.1)
    with pytest.raises(RunError, match=rf"the tracker's layer2 .*{difference}, allowed 0.0001.*agree: style is wrong;"):
        guard.check_features(close | {"layer2": found}, expected, "tracker", "style is wrong")


def test_looking_leaves_every_module_in_the_mode_it_had() -> None:
    network = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2))
    network[1].eval()
    with pytest.raises(KeyError), guard.looking(network):
        assert not network.training and not network[0].training
        assert not torch.is_grad_enabled() and not cudnn.allow_tf32
        raise KeyError
    assert network.training and network[0].training and not network[1].training
    assert torch.is_grad_enabled() and cudnn.allow_tf32


def test_the_checkpoints_features_are_its_stages() -> None:
    backbone = resolve_backbone("random:resnet18:0")
    x = torch.zeros(1, 3, 64, 64)
    features = guard.checkpoint_features(backbone, x, ("res2", "res3", "res4", "res5"))
    assert [tuple(value.shape[1:]) for value in features.values()] == [
        (64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)
    ]  # fmt: skip
    assert torch.equal(features["res5"], guard.checkpoint_features(backbone, x)["layer4"])
    assert not features["res5"].requires_grad
