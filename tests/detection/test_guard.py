"""The guard lets a right network pass and catches each of the field's classic failures."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.backends import cudnn

from mec_transfer.backbone.backbone import Backbone, Preprocessing
from mec_transfer.backbone.convert import convert
from mec_transfer.backbone.layouts import LAYOUTS
from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.common.errors import ConfigError, RunError
from mec_transfer.common.paths import CONFIGS
from mec_transfer.datasets.pixels import normalise
from mec_transfer.detection import engine

engine.load()

from detectron2.checkpoint import DetectionCheckpointer  # noqa: E402
from detectron2.modeling import build_model  # noqa: E402

from mec_transfer.detection.guard import check_network, checkpoint_features  # noqa: E402
from mec_transfer.detection.loading import MappedImages  # noqa: E402
from mec_transfer.detection.network import (  # noqa: E402
    STAGES,
    build_network,
    fit_backbone,
    read_config,
    stage_features,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return resolve_backbone("random:resnet50:5")


def config_of(backbone: Backbone, name: str = "voc07_c4_d2.yaml", **changes: object):
    config = read_config(CONFIGS / "detection" / name)
    fit_backbone(config, backbone)
    config.merge_from_list([item for pair in changes.items() for item in (pair[0].replace("__", "."), pair[1])])
    config.MODEL.DEVICE = "cpu"
    return config


@pytest.mark.parametrize("name", ["voc07_c4_d2.yaml", "coco_fpn_1x_d2.yaml"])
def test_a_right_network_passes_and_stays_as_it_was(backbone, name):
    network = build_network(config_of(backbone, name), backbone, CPU)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert network.training
    assert check_network(network, backbone, "RGB") < 1e-5
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_convolutions_keep_all_bits_while_looking_and_the_gpus_choice_after(backbone):
    network = build_network(config_of(backbone, "coco_fpn_1x_d2.yaml"), backbone, CPU)
    flags = []
    resnet = network.backbone.bottom_up
    resnet.stem.register_forward_hook(lambda *_: flags.append((cudnn.enabled, cudnn.allow_tf32)))
    check_network(network, backbone, "RGB")
    assert flags == [(True, False)] and cudnn.allow_tf32


def test_a_small_resnet_passes_under_fpn_and_is_refused_under_c4():
    small = resolve_backbone("random:resnet18:5")
    network = build_network(config_of(small, "coco_fpn_1x_d2.yaml"), small, CPU)
    assert check_network(network, small, "RGB") < 1e-5
    with pytest.raises(ConfigError, match="no bottleneck blocks"):
        config_of(small)


def test_a_bgr_checkpoint_sees_through_detectron2_what_its_own_network_sees(tmp_path):
    """From the file on: Detectron2 reads the image as BGR, and takes blue's mean and deviation first, as stated."""
    stated = Preprocessing(mean=(0.1, 0.4, 0.7), std=(0.2, 0.3, 0.5), channel_order="BGR")
    small = dataclasses.replace(resolve_backbone("random:resnet18:5"), preprocessing=stated)
    config = config_of(small, "coco_fpn_1x_d2.yaml", INPUT__MIN_SIZE_TEST=96)
    assert config.INPUT.FORMAT == "BGR"
    settings = LAYOUTS["detectron2"].settings(small)
    assert pytest.approx(settings["MODEL.PIXEL_MEAN"]) == config.MODEL.PIXEL_MEAN == [25.5, 102, 178.5]
    assert pytest.approx(settings["MODEL.PIXEL_STD"]) == config.MODEL.PIXEL_STD
    network = build_network(config, small, CPU).eval()
    assert check_network(network, small, config.INPUT.FORMAT) < 1e-5

    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    item = {"file_name": str(tmp_path / "a.png"), "image_id": 1, "width": 128, "height": 96}
    image = MappedImages([item], config, seed=0, training=False)[0, 0, 0]["image"]
    rgb = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    with torch.no_grad():
        found, expected = stage_features(network, image), checkpoint_features(small, normalise(rgb, stated))
    for stage in STAGES:
        torch.testing.assert_close(found[stage], expected[stage], rtol=1e-4, atol=1e-4)


def test_detectron2s_own_loading_of_our_file_passes(backbone, tmp_path):
    convert(backbone, "detectron2", tmp_path / "b.pkl")
    network = build_model(config_of(backbone))
    DetectionCheckpointer(network).load(str(tmp_path / "b.pkl"))
    assert check_network(network, backbone, "RGB") < 1e-5


def test_an_empty_file_of_a_wrong_prefix_is_caught(backbone, tmp_path):
    """What MoCo's converter leaves of another prefix's file; Detectron2 warns, and would train from scratch."""
    left = {"module.encoder.res2.0.conv1.weight": np.zeros((64, 64, 1, 1), dtype=np.float32)}
    content = {"model": left, "__author__": "MOCO", "matching_heuristics": True}
    (tmp_path / "empty.pkl").write_bytes(pickle.dumps(content))
    network = build_model(config_of(backbone))
    DetectionCheckpointer(network).load(str(tmp_path / "empty.pkl"))
    with pytest.raises(
        RunError, match=r"does not hold the checkpoint random:resnet50:5: .* differs and \d+ more tensors"
    ):
        check_network(network, backbone, "RGB")


def test_a_missing_shortcut_is_caught(backbone):
    network = build_network(config_of(backbone), backbone, CPU)
    torch.nn.init.normal_(network.roi_heads.res5[0].shortcut.weight)
    with pytest.raises(RunError, match=r"roi_heads.res5.0.shortcut.weight differs;"):
        check_network(network, backbone, "RGB")


@pytest.mark.parametrize(
    ("changes", "order"),
    [
        ({"MODEL__RESNETS__STRIDE_IN_1X1": True}, "RGB"),
        ({"INPUT__FORMAT": "BGR"}, "BGR"),
        ({"MODEL__PIXEL_MEAN": [103.53, 116.28, 123.675], "MODEL__PIXEL_STD": [1.0, 1.0, 1.0]}, "RGB"),
    ],
)
def test_a_wrong_stride_channel_order_or_scale_is_caught(backbone, changes, order):
    network = build_network(config_of(backbone, **changes), backbone, CPU)
    with pytest.raises(RunError, match="although the tensors agree: STRIDE_IN_1X1, INPUT.FORMAT, PIXEL_MEAN"):
        check_network(network, backbone, order)
