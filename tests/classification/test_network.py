"""How precisely features and gradients are computed, and what the published configs ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.backends import cudnn

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.classification.network import Encoder
from mec_transfer.suite.registry import benchmark_config, benchmark_files
from mec_transfer.tracking.mmtrack.config import EngineConfig

FILES = benchmark_files()
# Trainings through MMTracking have none: float32 alone, as published.
WITH_A_FASTER_ONE = [path for path in FILES if not isinstance(benchmark_config(path), EngineConfig)]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_float32_keeps_all_its_bits_forward_and_backward(resnet18: Backbone, precision: str) -> None:
    encoder = Encoder(resnet18, torch.device("cpu"), mixed_precision=precision == "bfloat16")
    encoder.precision = precision  # as on a GPU
    seen: list[tuple[bool, bool]] = []

    def look(*_: object) -> None:
        seen.append((cudnn.enabled, cudnn.allow_tf32))

    encoder.network.conv1.register_forward_hook(look)
    encoder.network.conv1.weight.register_hook(look)  # type: ignore[union-attr]
    before = cudnn.allow_tf32
    encoder.backward(encoder(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).sum())
    assert seen == [(True, precision == "bfloat16")] * 2
    assert cudnn.allow_tf32 == before


@pytest.mark.parametrize("path", WITH_A_FASTER_ONE, ids=lambda path: path.stem)
def test_a_config_that_ships_computes_in_float32_and_a_faster_one_has_an_id_of_its_own(path: Path) -> None:
    config = benchmark_config(path)
    key, exact, fast = {
        "classification": ("mixed_precision", False, True),
        "detection": ("tf32", False, True),
        "segmentation": ("tf32", False, True),
        "tracking": ("precision", "fp32", "bf16"),
    }[config.family]
    assert getattr(config.recipe, key) == exact  # type: ignore[attr-defined]
    faster = benchmark_config(path, [f"recipe.{key}={str(fast).lower()}"])
    assert faster.protocol.startswith(f"{config.protocol}+custom-")
