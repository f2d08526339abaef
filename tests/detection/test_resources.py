"""What a detector takes on the disk, against the networks that Detectron2 builds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mec_transfer.detection import network
from mec_transfer.detection.config import stock_path
from mec_transfer.results.record import DatasetInfo
from mec_transfer.suite.registry import benchmark_config, find_benchmark

INFO = DatasetInfo(name="x", fingerprint="f", num_images=1, classes=7)


@pytest.mark.parametrize("name", ["voc0712_c4", "coco_c4_1x", "coco_fpn_1x"])
def test_two_states_and_the_detector(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("normal_", "uniform_"):  # the numbers are not looked at
        monkeypatch.setattr(torch.Tensor, method, lambda tensor, *_, **__: tensor)
    config = benchmark_config(find_benchmark(name, Path()))
    detectron2 = network.read_config(stock_path(config.recipe.config))
    detectron2.MODEL.ROI_HEADS.NUM_CLASSES, detectron2.MODEL.DEVICE = INFO.classes, "cpu"
    detector = network.build_model(detectron2)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in detector.state_dict().values())
    momentum = 4 * sum(parameter.numel() for parameter in detector.parameters() if parameter.requires_grad)
    assert config.resources("resnet50", INFO).own_bytes == 2 * (weights + momentum) + weights


def test_another_network_is_unknown() -> None:
    path = find_benchmark("coco_fpn_1x", Path())
    changed = benchmark_config(path, ["recipe.changes={MODEL.RPN.CONV_DIMS: [64]}"])
    assert changed.resources("resnet50", INFO).own_bytes is None
    longer = benchmark_config(path, ["recipe.changes={SOLVER.MAX_ITER: 100000}"])
    assert longer.resources("resnet50", INFO).own_bytes and longer.resources("resnet101", INFO).own_bytes is None
