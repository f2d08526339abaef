"""Whether a batch fits into a CPU's memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from mec_transfer.segmentation.config import SegmentationConfig
from mec_transfer.segmentation.memory import check_memory, needed_bytes
from mec_transfer.suite.registry import benchmark_config, find_benchmark


@pytest.mark.parametrize(
    ("name", "measured"),
    [
        ("voc12aug_fcn_moco", 2.16),
        ("voc12aug_fcn_mmseg", 3.62),
        ("cityscapes_fcn_moco", 3.49),
        ("cityscapes_fcn_mmseg", 6.24),
    ],
)
def test_the_estimate_is_what_was_measured(name: str, measured: float) -> None:
    config = benchmark_config(find_benchmark(name, Path()), ["recipe.batch=2"])
    assert isinstance(config, SegmentationConfig)
    assert needed_bytes(config.recipe) / 2**30 == pytest.approx(measured, rel=0.1)
    assert check_memory(config.recipe, 16 << 30) == check_memory(config.recipe, None) == []
    (problem,) = check_memory(config.recipe, 1 << 30)
    assert problem.severity == "warning" and "a batch of 2 crops of " in problem.message
