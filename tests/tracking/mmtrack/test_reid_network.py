"""The ReID network holds the checkpoint, and each way in which it might not is refused with its cause."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("mmtrack")

from mec_transfer.backbone.backbone import Backbone, Preprocessing
from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.common.errors import ConfigError, RunError
from mec_transfer.common.paths import CONFIGS
from mec_transfer.suite.registry import benchmark_config
from mec_transfer.tracking.mmtrack import engine
from mec_transfer.tracking.mmtrack.reid_config import ReidRecipe

engine.load()

from mmcv import Config  # noqa: E402
from mmtrack.models.reid import BaseReID  # noqa: E402

from mec_transfer.tracking.mmtrack.reid_network import (  # noqa: E402
    build_network,
    check_reid,
    normalising,
    read_reid_config,
)
from mec_transfer.tracking.mmtrack.training import Shares  # noqa: E402

CPU = torch.device("cpu")
RECIPE = ReidRecipe(config="reid_r50_mot17.py")
STOCK = CONFIGS / "tracking" / "mmtrack"


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return resolve_backbone("random:resnet18:5")


def built(backbone: Backbone, recipe: ReidRecipe = RECIPE) -> tuple[Any, Any]:
    config = read_reid_config(recipe, backbone, 6)
    torch.manual_seed(0)
    return build_network(config, backbone, CPU), config


def installed(name: str) -> Config:
    return Config.fromfile(str(Path(engine.load().__file__ or "").parent / ".mim" / "configs" / name))


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("reid_r50_mot17.py", "reid/resnet50_b32x8_MOT17.py"),
        ("deepsort_mot17.py", "mot/deepsort/deepsort_faster-rcnn_fpn_4e_mot17-public-half.py"),
    ],
)
def test_the_stock_files_are_the_installed_ones_but_for_their_weights(name: str, published: str) -> None:
    ours, theirs = (config.to_dict() for config in (Config.fromfile(str(STOCK / name)), installed(published)))
    assert _without_weights(ours) == _without_weights(theirs)
    assert "http" not in str(ours) and "torchvision://" not in str(ours)


def _without_weights(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_weights(inner) for key, inner in value.items() if key != "init_cfg"}
    return [_without_weights(inner) for inner in value] if isinstance(value, list) else value


def test_the_published_recipe_is_in_both_files() -> None:
    recipe = benchmark_config(CONFIGS / "tracking" / "reid_mot17.yaml").recipe
    stock = installed("reid/resnet50_b32x8_MOT17.py")
    assert recipe.persons == stock.data.train.triplet_sampler.num_ids == 8
    assert recipe.crops.model_dump() == {
        "min_visibility": 0.3,
        "val_share": 0.2,
        "min_per_person": 8,
        "max_per_person": 1000,
    }


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_a_right_network_passes_bitwise_and_stays_as_it_was(arch: str) -> None:
    source = resolve_backbone(f"random:{arch}:3")
    network, config = built(source)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert check_reid(network, config, source) == 0.0
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert network.head.fcs[0].fc.in_features == source.width
    assert network.head.classifier.out_features == 6


def test_other_pixels_of_a_checkpoint_are_written_into_both_pipelines(backbone: Backbone) -> None:
    pixels = Preprocessing(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.2), channel_order="BGR")
    other = dataclasses.replace(backbone, preprocessing=pixels)
    network, config = built(other)
    for part in (config.data.train, config.data.test):
        (step,) = normalising(part.pipeline)
        assert (step.mean, step.std, step.to_rgb) == ([25.5, 51.0, 76.5], [127.5, 63.75, 51.0], False)
    assert check_reid(network, config, other) == 0.0


def test_a_backbone_that_was_not_loaded_is_refused(backbone: Backbone) -> None:
    """As where a file's names keep `backbone.`, which MMTracking's loader only warns of."""
    network, config = built(backbone)
    torch.manual_seed(9)
    from mec_transfer.backbone.backbone import build_resnet

    network.backbone.load_state_dict(build_resnet("resnet18").state_dict(), strict=False)
    prefixed = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict.items()}
    assert network.backbone.load_state_dict(prefixed, strict=False).missing_keys
    with pytest.raises(
        RunError, match=r"the ReID network does not hold the checkpoint .*: conv1.weight differs and \d+ more tensors"
    ):
        check_reid(network, config, backbone)


def test_caffes_style_is_refused_before_and_after_building() -> None:
    source = resolve_backbone("random:resnet50:3")
    changes = {"model.reid.backbone.style": "caffe"}
    with pytest.raises(ConfigError, match="model.backbone.style is 'caffe', but the checkpoint's weights are those of"):
        built(source, RECIPE.model_copy(update={"changes": changes}))
    config = read_reid_config(RECIPE, source, 6)
    config.model.backbone.style = "caffe"
    with pytest.raises(RunError, match="layer2 is not the checkpoint's on the same image .*: style, strides or dilat"):
        check_reid(build_network(config, source, CPU), config, source)


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize(("key", "value"), [("to_rgb", False), ("mean", [0.0, 0.0, 0.0]), ("std", [1.0, 1.0, 1.0])])
def test_another_normalisation_is_refused(backbone: Backbone, part: str, key: str, value: Any) -> None:
    network, config = built(backbone)
    (step,) = normalising(config.data[part].pipeline)
    step[key] = value
    with pytest.raises(RunError, match=rf"data.{part}.pipeline: \w+ gives other pixels than .*: mean, std or to_rgb"):
        check_reid(network, config, backbone)


def test_a_pipeline_that_does_not_normalise_is_refused(backbone: Backbone) -> None:
    network, config = built(backbone)
    config.data.test.pipeline = [step for step in config.data.test.pipeline if step.type != "Normalize"]
    with pytest.raises(RunError, match=r"data.test.pipeline: normalises 0 times, not once"):
        check_reid(network, config, backbone)


def test_a_stock_file_of_ones_own_is_looked_through(backbone: Backbone, tmp_path: Path) -> None:
    base = f"_base_ = [{str(STOCK / 'reid_r50_mot17.py')!r}]\n"
    step = "dict(type='Normalize', mean=[0., 0., 0.], std=[1., 1., 1.], to_rgb=True)"
    wrong = {
        f"data = dict(test=dict(pipeline=[dict(type='LoadImageFromFile'), {step}]))": (
            r"Normalize has mean=\[0.0, 0.0, 0.0\], but the checkpoint .* was trained with \[123.675,"
        ),
        "model = dict(reid=dict(head=dict(init_cfg=dict(type='Pretrained', checkpoint='https://x.org/y.pth'))))": (
            r"model.head.init_cfg.checkpoint loads weights from https://x.org/y.pth"
        ),
        "load_from = 'https://x.org/y.pth'": "load_from is 'https://x.org/y.pth'; the checkpoint alone may be loaded",
        "model = dict(_delete_=True, type='FasterRCNN')": "not a config of a ReID network",
    }
    for text, message in wrong.items():
        (tmp_path / "mine.py").write_text(f"{base}{text}\n")
        with pytest.raises(ConfigError, match=message):
            built(backbone, ReidRecipe(config=str(tmp_path / "mine.py")))
    for key in ("model.reid.head.num_classes", "data.train.triplet_sampler.num_ids", "model.reid.backbone.depth"):
        with pytest.raises(ConfigError, match=f"recipe.changes: {key} has no effect"):
            built(backbone, RECIPE.model_copy(update={"changes": {key: 4}}))


def test_published_processes_keep_their_own_triplets_and_statistics(backbone: Backbone) -> None:
    """Three processes here are what three of MMTracking's networks compute, whose gradients are averaged."""
    network, config = built(backbone, ReidRecipe(config="reid_r50_demo.py"))
    torch.manual_seed(4)
    images, labels = torch.randn(3, 4, 3, 64, 32), torch.tensor([[0, 0, 1, 1], [0, 0, 2, 2], [3, 3, 4, 4]])
    plain = BaseReID(**{key: value for key, value in config.model.items() if key != "type"})
    begun = {name: value.clone() for name, value in network.state_dict().items()}
    losses, statistics = [], []
    for share in range(3):
        plain.load_state_dict(begun)
        found = plain.forward_train(images[share : share + 1], labels[share : share + 1])
        ((found["triplet_loss"] + found["ce_loss"]) / 3).backward()
        losses.append([float(found[name].detach()) for name in ("triplet_loss", "ce_loss")])
        statistics.append({name: value.clone() for name, value in plain.named_buffers()})
    together = Shares(network, range(3), 0)(img=images, gt_label=labels)
    (together["triplet_loss"] + together["ce_loss"]).backward()
    means = [sum(values) / 3 for values in zip(*losses, strict=True)]
    assert [float(together[name].detach()) for name in ("triplet_loss", "ce_loss")] == pytest.approx(means, rel=1e-6)
    assert all(torch.equal(value, statistics[0][name]) for name, value in network.named_buffers())
    assert not torch.equal(statistics[0]["backbone.bn1.running_mean"], statistics[1]["backbone.bn1.running_mean"])
    expected = dict(plain.named_parameters())
    for name, parameter in network.named_parameters():
        assert torch.allclose(parameter.grad, expected[name].grad, rtol=1e-4, atol=1e-6), name
