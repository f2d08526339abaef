"""Whether a batch fits into a CPU's memory."""

from __future__ import annotations

import pytest

from mec_transfer.common.paths import CONFIGS
from mec_transfer.detection.memory import check_memory, needed_bytes


@pytest.mark.parametrize(
    ("name", "batch", "measured"),
    [
        ("coco_c4_1x_d2.yaml", 1, 5.71),
        ("coco_c4_1x_d2.yaml", 2, 10.13),
        ("coco_fpn_1x_d2.yaml", 1, 3.58),
        ("coco_fpn_1x_d2.yaml", 2, 6.07),
    ],
)
def test_the_estimate_is_what_was_measured(name: str, batch: int, measured: float) -> None:
    pytest.importorskip("detectron2")
    from mec_transfer.detection import engine
    from mec_transfer.detection.network import read_config

    engine.load()
    config = read_config(CONFIGS / "detection" / name, {"SOLVER.IMS_PER_BATCH": batch})
    assert needed_bytes(config) / 2**30 == pytest.approx(measured, rel=0.1)
    assert check_memory(config, 16 << 30) == check_memory(config, None) == []
    (problem,) = check_memory(config, 3 << 30)
    assert problem.severity == "warning" and f"a batch of {batch} images takes about " in problem.message
